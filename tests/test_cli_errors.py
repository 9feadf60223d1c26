"""What people type wrongly, and what the system refuses: one line that says what to do, before the work where it can be known."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kgservice import pipeline
from kgservice.alone import alone
from kgservice.cli import cli
from kgservice.errors import DataError
from kgservice.recipe import Recipe
from kgservice.release import ReleaseStore


def typed(*words: object, **settings: str) -> subprocess.CompletedProcess[str]:
    """A command as people run it."""
    return subprocess.run(
        [sys.executable, "-m", "kgservice", *map(str, words)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("recipe", "closest"), [("kinshp", "'kinship'"), ("models/wrld.toml", "'world'"), ("qqqqqq", "")]
)
def test_a_mistyped_recipe_is_told_the_closest(recipe: str, closest: str) -> None:
    done = typed("build", recipe)
    assert done.returncode == 2
    assert f"RecipeError: {recipe} is neither a file nor a recipe that comes with kgservice" in done.stderr
    assert (f"Closest: {closest}" if closest else "do).\n") in done.stderr


def test_a_folder_of_a_recipes_name_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kinship").mkdir()
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["build", "kinship", "--set", "models.complex.wdth=3"])
    assert "models.complex.wdth is not a setting. Did you mean models.complex.width?" in str(result.exception)


@pytest.mark.parametrize(
    "words",
    [
        "evaluate kinship --out",
        "evaluate kinship --ranks",
        "tune kinship --record",
        "enrich --out",
        "ingest x.nt --report",
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work(tmp_path: Path, words: str) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "result.json"
    result = CliRunner().invoke(cli, [*words.split(), str(path)])
    assert result.exit_code == 2
    assert (
        f"{path} cannot be written: Not a directory" in result.output.replace("\n", "")
        or "File exists" in result.output
    )


def test_folders_of_results_are_made(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["enrich", "nothing", "--out", str(tmp_path / "new" / "links.what")])
    assert (tmp_path / "new").is_dir()
    assert "its name tells no format" in str(result.exception)


def test_a_format_that_cannot_say_it_is_refused_before_the_work(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["enrich", "--errors", "--out", str(tmp_path / "x.mismatches.csv")])
    assert "mismatches of existing values need statement ids" in str(result.exception)


def test_what_the_system_refuses_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    done = typed("train", "kinship", KGSERVICE_HOME=str(tmp_path / "home" / "within"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"{tmp_path / 'home'}" in done.stderr
    assert "Not a directory" in done.stderr or "File exists" in done.stderr


def test_a_table_larger_than_the_memory_is_one_line(tmp_path: Path, family_ttl: Path) -> None:
    recipe = tmp_path / "wide.toml"
    recipe.write_text(f'[graph]\nsources = ["{family_ttl}"]\n[models.complex]\nwidth = 1_000_000_000_000\n')
    done = typed("train", recipe, KGSERVICE_HOME=str(tmp_path / "home"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "OutOfMemory: " in done.stderr
    assert "Take a smaller width, batch or graph" in done.stderr


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_an_address_that_is_taken(tmp_path: Path, release_store: ReleaseStore, command: str) -> None:
    """`demo` says so before it builds anything."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        home = release_store.folder.parent if command == "serve" else tmp_path
        done = typed(command, KGSERVICE_HOME=str(home), KGSERVICE_PORT=str(port))
    assert done.returncode == 2
    assert f"InputError: cannot listen on 127.0.0.1, port {port}: Address already in use. Choose another" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_interrupted_ends_well(release_store: ReleaseStore) -> None:
    call = [sys.executable, "-m", "kgservice", "serve", "--port", "0"]
    environ = {**os.environ, "KGSERVICE_HOME": str(release_store.folder.parent)}
    with subprocess.Popen(call, env=environ, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        told = []
        for line in server.stderr:
            told.append(line)
            if "Application startup complete" in line:
                server.send_signal(signal.SIGINT)
    assert "serving release" in "".join(told)
    assert "Application shutdown complete" in "".join(told)
    assert "Abort" not in told[-1]
    assert server.returncode == 0


def test_no_address_of_this_machine(release_store: ReleaseStore) -> None:
    done = typed("serve", "--host", "192.0.2.1", KGSERVICE_HOME=str(release_store.folder.parent))
    assert "cannot listen on 192.0.2.1, port 8000: Cannot assign requested address" in done.stderr


def test_two_at_one_training(tmp_path: Path, family_ttl: Path) -> None:
    model = {"width": 8, "training": {"epochs": 1}}
    recipe = Recipe.parse({"name": "family", "graph": {"sources": ["family.ttl"]}, "models": {"complex": model}})
    graph = pipeline.prepare_graph(recipe, tmp_path, family_ttl.parent)
    pipeline.learn(recipe, "complex", graph, tmp_path)
    checkpoint = next((tmp_path / "builds").glob("*.safetensors"))
    with (
        alone(checkpoint.with_suffix(".lock"), ""),
        pytest.raises(DataError, match=r"family-complex-.*: another process is at this training\. Wait for its end"),
    ):
        pipeline.learn(recipe, "complex", graph, tmp_path)
    pipeline.learn(recipe, "complex", graph, tmp_path)
