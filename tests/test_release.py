"""Releases: sealed, swapped in one step, never broken, whatever is killed or damaged."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kgservice import pipeline
from kgservice.answers import Question
from kgservice.engine import Engine, canaries
from kgservice.errors import CorruptRelease, UnknownRelease
from kgservice.release import ReleaseStore
from tests.conftest import family_recipe

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, family_ttl: Path) -> Path:
    home = tmp_path_factory.mktemp("family-home")
    pipeline.build(family_recipe(), home, base=family_ttl.parent)
    return home


@pytest.fixture
def store(home: Path, tmp_path: Path) -> ReleaseStore:
    """A copy that a test may damage."""
    shutil.copytree(home / "releases", tmp_path / "releases")
    return ReleaseStore(tmp_path / "releases")


def test_everything_in_the_manifest_and_nothing_pickled(store: ReleaseStore) -> None:
    release = store.get()
    release.verify()
    on_disk = {p.relative_to(release.folder).as_posix() for p in release.folder.rglob("*") if p.is_file()}
    assert on_disk == {*release.manifest["files"], "release.json"}
    wanted = {"recipe.toml", "weights.safetensors", "calibration.json", "metrics.json", "README.md"}
    wanted |= {"estimates.safetensors", "types.safetensors", "zero_shot.safetensors"}
    assert {p.name for p in release.model_folder("complex").iterdir()} == wanted
    assert {"graph/graph.json", "search/search.json", "report.html", "canary.json"} <= on_disk
    assert not [name for name in on_disk if name.endswith((".pkl", ".pt", ".pth", ".bin", ".pickle"))]


def test_named_by_its_manifest(store: ReleaseStore) -> None:
    release = store.get()
    assert len(release.id) == 12
    path = release.folder / "release.json"
    changed = json.loads(path.read_text()) | {"commit": "another"}
    path.write_text(json.dumps(changed))
    with pytest.raises(CorruptRelease, match=r"release\.json was changed"):
        store.get().verify()


@pytest.mark.parametrize("name", ["models/complex/weights.safetensors", "graph/statements.arrow", "report.html"])
def test_any_damaged_file_is_named(store: ReleaseStore, name: str) -> None:
    release = store.get()
    path = release.folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)
    with pytest.raises(CorruptRelease, match=rf"{path.name} has sha256 \w+…, \w+… was sealed"):
        Engine.open(release)
    path.write_bytes(content[:-1])
    with pytest.raises(CorruptRelease, match=rf"{path.name} has \d+ bytes, \d+ were sealed"):
        Engine.open(release)
    path.unlink()
    with pytest.raises(CorruptRelease, match=rf"{path.name} is missing"):
        Engine.open(release)


def test_a_damaged_release_never_becomes_current(store: ReleaseStore, family_ttl: Path) -> None:
    first = store.get().id
    other = pipeline.build(family_recipe(width=16), store.folder.parent, base=family_ttl.parent, activate=False)
    (other.folder / "report.html").write_text("damaged")
    with pytest.raises(CorruptRelease):
        store.activate(other.id)
    assert store.current_id() == first


def test_canaries_catch_other_answers(store: ReleaseStore) -> None:
    release = store.get()
    engine = Engine.open(release)
    assert len(release.canaries()) >= 5
    with pytest.MonkeyPatch.context() as patch:
        wrong = release.canaries()
        wrong[0]["scores"][0] += 1
        patch.setattr(type(release), "canaries", lambda self: wrong)
        with pytest.raises(CorruptRelease, match="the canary .* gives scores"):
            canaries.replay(engine)


def test_activate_and_rollback(store: ReleaseStore, family_ttl: Path) -> None:
    first = store.get().id
    second = pipeline.build(family_recipe(width=16), store.folder.parent, base=family_ttl.parent).id
    assert store.current_id() == second != first
    assert store.ids() == [first, second]
    assert store.rollback().id == first
    assert store.current_id() == first
    store.activate(second[:6])
    assert store.current_id() == second
    with pytest.raises(UnknownRelease, match=rf"'nope' is not a release in .*Closest: '{first}', '{second}'"):
        store.activate("nope")


def test_many_activate_at_once(store: ReleaseStore) -> None:
    """As administrators of one server may: requests of one process."""
    id = store.get().id
    with ThreadPoolExecutor(8) as pool:
        assert {release.id for release in pool.map(store.activate, [id] * 64)} == {id}
    assert store.current_id() == id
    assert not list(store.folder.glob(".CURRENT*"))


def test_nothing_to_roll_back_to(store: ReleaseStore) -> None:
    with pytest.raises(UnknownRelease, match="nothing to roll back to"):
        store.rollback()


def test_no_release_yet(tmp_path: Path) -> None:
    with pytest.raises(UnknownRelease, match="Build one first: kgservice demo --no-serve"):
        ReleaseStore(tmp_path).get()


def test_the_same_build_gives_the_same_answers_and_shares_files(store: ReleaseStore, family_ttl: Path) -> None:
    first = store.get()
    second = pipeline.build(family_recipe(), store.folder.parent, base=family_ttl.parent)
    name = "models/complex/weights.safetensors"
    assert first.manifest["files"][name] == second.manifest["files"][name]
    assert first.canaries() == second.canaries()


def test_a_child_with_another_index_answers_alike(store: ReleaseStore) -> None:
    parent = store.get()
    child, figures = pipeline.reindex(store, None, None, "Flat")
    assert figures["recall@10"] == 1.0
    assert child.manifest["parent"] == parent.id
    question = Question(subject="https://example.org/child3", relation="https://example.org/parent")
    answers = [Engine.open(release).complete([question], k=5)[0] for release in (parent, child)]
    assert [c.id for c in answers[0].candidates] == [c.id for c in answers[1].candidates]
    assert answers[0].exact
    assert not answers[1].exact


def test_kill_9_at_any_moment_leaves_a_whole_release(home: Path, tmp_path: Path, family_ttl: Path) -> None:
    """Builds of ever new recipes are killed at random moments; what is current always opens, and a rerun finishes."""
    shutil.copytree(home / "releases", tmp_path / "releases")
    store = ReleaseStore(tmp_path / "releases")
    recipe = family_ttl.parent / "family.toml"
    recipe.write_text(family_recipe().to_toml().replace("epochs = 20", "epochs = 60"), encoding="utf-8")
    code = "from kgservice.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KGSERVICE_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    before = store.current_id()
    command = [sys.executable, "-c", code, "build", str(recipe)]

    started = time.monotonic()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    whole_s = time.monotonic() - started
    assert store.current_id() != before
    dice = random.Random(0)
    for attempt in range(3):
        process = subprocess.Popen(
            [*command, "--set", f"models.complex.training.seed={attempt + 1}"],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(whole_s * dice.uniform(0.5, 1.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        Engine.open(store.get())
        for id in store.ids():
            store.get(id).verify()
    final = [*command, "--set", "models.complex.training.seed=1"]
    done = subprocess.run(final, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    Engine.open(store.get())
    assert not list(store.folder.glob(".staging-*"))
