"""What is shipped: one import package, the declared things beside it, light start-up."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from kgservice.cli import COMMANDS, cli
from kgservice.cli.doctor import find_problems

ROOT = Path(__file__).resolve().parent.parent
DECLARED = ("models", "data", "api")
SMALL = """[graph]
dataset = "world"

[models.complex]
width = 16
training.epochs = 1
"""

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a git checkout")


def tracked(*folders: str) -> set[str]:
    listed = subprocess.run(["git", "ls-files", "-z", *folders], cwd=ROOT, capture_output=True, check=True).stdout
    return {name for name in listed.decode().split("\0") if name and (ROOT / name).exists()}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the tracked files."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl"))


def test_the_wheel_holds_one_package_and_the_declared_things(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"kgservice"}
    shared = {name.removeprefix("kgservice/_share/") for name in names if name.startswith("kgservice/_share/")}
    assert shared == tracked(*DECLARED)
    assert "kgservice/evaluation/report/report.html.j2" in names


def test_declared_folders_hold_no_python() -> None:
    assert not [name for name in tracked(*DECLARED) if name.endswith(".py")]


def test_the_installed_wheel_builds_a_release_outside_any_checkout(wheel: Path, tmp_path: Path) -> None:
    installed, work = tmp_path / "site", tmp_path / "work"
    zipfile.ZipFile(wheel).extractall(installed)
    work.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KGSERVICE_")} | {
        "PYTHONPATH": str(installed)
    }
    (work / "small.toml").write_text(SMALL, encoding="utf-8")
    command = ["-c", "from kgservice.cli import main; main()", "build", "small.toml", "--set", "search.encoder=none"]
    done = subprocess.run(
        [sys.executable, *command], cwd=work, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("release ")
    assert (work / "var" / "releases" / "CURRENT").exists()


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from kgservice.cli import cli; cli(['--help'], standalone_mode=False); print(sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    for heavy in ("torch", "numpy", "pydantic", "fastapi", "pyarrow", "sklearn", "polars"):
        assert f"'{heavy}'" not in done.stdout, heavy


def test_the_service_starts_without_what_one_model_or_command_needs() -> None:
    """Each took a process half a second to three, and up to 200 MiB."""
    heavy = (
        "torch_geometric",
        "torch._dynamo",
        "numba",
        "sympy",
        "sklearn",
        "transformers",
        "sentence_transformers",
        "pandas",
    )
    code = "import sys, kgservice.server.app, kgservice.pipeline, kgservice.evaluation.ranking; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert set(heavy).isdisjoint(done.stdout.split())


def test_importing_has_no_effect() -> None:
    """No module prints, logs, writes or reads the environment's secrets at import."""
    code = (
        "import pkgutil, importlib, kgservice\n"
        "for m in pkgutil.walk_packages(kgservice.__path__, 'kgservice.'):\n"
        "    importlib.import_module(m.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == ""


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output


def test_a_mistyped_command_is_told_the_closest() -> None:
    result = CliRunner().invoke(cli, ["bild"])
    assert result.exit_code == 2
    assert "'bild' is not a command. Did you mean build?" in result.output


@pytest.mark.parametrize(
    ("installed", "message"),
    [
        ({}, "no FAISS is installed, so only exact indexes work. Mend it with: pip install 'kgservice[cpu]'"),
        (
            {"faiss-cpu": "1", "faiss-gpu": "1"},
            "faiss-cpu and faiss-gpu install the same module and overwrite each other",
        ),
    ],
)
def test_doctor_finds_none_and_two_of_faiss(installed: dict[str, str], message: str) -> None:
    assert any(message in problem for problem in find_problems(installed))
    assert not any("FAISS" in problem or "faiss" in problem for problem in find_problems({"faiss-cpu": "1"}))
