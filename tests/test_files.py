"""What is on the disk under a name is always whole: the old or the new, never neither."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from kgservice import files
from kgservice.graph import KnowledgeGraph
from kgservice.ingestion import ingest


def test_a_graph_written_anew_is_there_at_every_moment(family_ttl: Path, tmp_path: Path) -> None:
    folder = tmp_path / "family"
    ingest([family_ttl], folder)
    graph = KnowledgeGraph.open(folder)
    done, gone = threading.Event(), []

    def look() -> None:
        while not done.is_set():
            if not (folder / "graph.json").exists():
                gone.append("gone")

    looking = threading.Thread(target=look)
    looking.start()
    for _ in range(20):
        graph.save(folder)
    done.set()
    looking.join()
    assert not gone
    assert KnowledgeGraph.open(folder).content_hash == graph.content_hash
    assert [path.name for path in tmp_path.iterdir()] == ["family"]


@pytest.mark.parametrize("system", ["this", "without", "refusing"])
def test_names_are_exchanged(tmp_path: Path, system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if system != "this":
        libc = SimpleNamespace() if system == "without" else SimpleNamespace(renameat2=lambda *_: -1)
        monkeypatch.setattr(files.ctypes, "CDLL", lambda *_, **__: libc)
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    files.exchange(tmp_path / "one", tmp_path / "other")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "one",
        "one/other",
        "other",
        "other/one",
    ]


@pytest.mark.parametrize("there", ["one", "other"])
def test_an_exchange_with_nothing_loses_nothing(tmp_path: Path, there: str) -> None:
    (tmp_path / there).touch()
    with pytest.raises(FileNotFoundError):
        files.exchange(tmp_path / "one", tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == [there]
