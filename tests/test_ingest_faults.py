"""Full disks and kills: what is opened as a graph is always whole, and the same command goes on."""

from __future__ import annotations

import contextlib
import gc
import gzip
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kgservice import ingestion
from kgservice.errors import DataError
from kgservice.graph import KnowledgeGraph
from kgservice.ingestion import making
from kgservice.readers.options import RDF, RDFS, ReadOptions
from tests.dumps import dump, graph_in, item, line, links


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return graph_in(tmp_path)


# Disks


@contextlib.contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """What is written beyond fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def varied() -> bytes:
    """RDF that fills every table."""
    triples = []
    for i in range(3000):
        s, o = f"<http://x/{i}>", f"<http://x/{i * 7 % 3000}>"
        triples += [
            f"{s} <http://x/p> {o} .",
            f'{s} <http://www.w3.org/2000/01/rdf-schema#label> "label {i}"@en .',
            f"{s} <{RDF}type> <http://x/T{i % 7}> .",
            f'{s} <http://x/height> "{i}"^^<http://www.w3.org/2001/XMLSchema#integer> .',
            f"_:r{i} <{RDF}reifies> <<( {s} <http://x/p> {o} )>> .",
            f'_:r{i} <http://x/since> "{i}" .',
        ]
    random.Random(0).shuffle(triples)
    return "\n".join(triples).encode()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # columns that are never finished
def test_a_disk_that_fills_at_any_stage(tmp_path: Path, out: Path, varied: bytes) -> None:
    path = tmp_path / "x.nt"
    path.write_bytes(varied)
    whole = ingestion.ingest([path], tmp_path / "whole").content_hash
    sizes = [100, 1000, 5000, 20_000, 40_000, 60_000, 100_000, 200_000, 400_000, 1_000_000]
    failures = 0
    for size in sizes:
        former = KnowledgeGraph.open(out).content_hash
        try:
            with files_of_at_most(size):
                ingestion.ingest([path], out, memory=1 << 20)
        except DataError as error:
            failures += 1
            assert "File too large. Nothing is lost: free some space" in str(error)  # noqa: PT017
            assert KnowledgeGraph.open(out).content_hash == former
        assert {entry.name for entry in out.parent.iterdir()} <= {"graph", ".graph.ingest"}
        KnowledgeGraph.open(out)
        gc.collect()
    assert 4 <= failures < len(sizes)
    assert ingestion.ingest([path], out, memory=1 << 20).content_hash == whole


def command(*arguments: object, **settings: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", "from kgservice.cli import main; main()", "ingest", *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **settings,
    )


def finish(process: subprocess.Popen[str]) -> str:
    told, wrong = process.communicate(timeout=120)
    assert process.returncode == 0, wrong
    return told


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a file system of few bytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = False

    def mount(size: int) -> Path:
        nonlocal mounted
        if mounted:
            subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=True)
            return place
        call = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
        if os.geteuid() or not shutil.which("mount") or subprocess.run(call, capture_output=True).returncode:
            pytest.skip("only root may mount a file system")
        mounted = True
        return place

    yield mount
    if mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_noticed_before_files_are_mapped(small_disk: Callable[[int], Path]) -> None:
    code = f"""
from pathlib import Path
from kgservice.ingestion.marks import Marks
try:
    marks = Marks(Path({str(small_disk(1 << 16))!r}) / "marks", 1 << 20)
    for name in Marks.NAMES:
        getattr(marks, name)[:] = True
except OSError as error:
    print(error.strerror)
"""
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True).returncode == 0


@pytest.mark.parametrize("kib", [100, 1500])
def test_a_real_disk_that_fills(tmp_path: Path, small_disk: Callable[[int], Path], varied: bytes, kib: int) -> None:
    disk = small_disk(kib << 10)
    (tmp_path / "x.nt").write_bytes(varied)
    process = command(tmp_path / "x.nt", "--out", disk / "graph", "--memory", "1MiB")
    _, wrong = process.communicate(timeout=120)
    assert process.returncode == 1, wrong
    assert "No space left on device. Nothing is lost" in wrong
    assert "Traceback" not in wrong
    assert [entry.name for entry in disk.iterdir()] == [".graph.ingest"]
    small_disk(64 << 20)
    finish(command(tmp_path / "x.nt", "--out", disk / "graph", "--memory", "1MiB"))
    whole = ingestion.read([tmp_path / "x.nt"]).content_hash
    assert KnowledgeGraph.open(disk / "graph").content_hash == whole


# Kills

MEMORY = "16MiB"  # blocks of 256 KiB


def runs(out: Path) -> dict[str, int]:
    """When each run was written."""
    return {path.name: path.stat().st_mtime_ns for path in (out.parent / f".{out.name}.ingest" / "runs").glob("*.run")}


def killed(moment: Callable[[], bool], *arguments: object) -> bool:
    """Start an ingestion and kill it at some moment, with no chance to tidy up; whether it came to that."""
    process = command(*arguments, "--memory", MEMORY)
    children: set[int] = set()
    while process.poll() is None and not moment():
        children |= children_of(process.pid)
        time.sleep(0.002)
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 20
    while any(is_alive(child) for child in children):
        assert time.monotonic() < deadline, "workers outlive the process that was killed"
        time.sleep(0.02)
    return process.returncode == -signal.SIGKILL


def children_of(process: int) -> set[int]:
    try:
        return set(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))
    except OSError:
        return set()


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """300,000 lines, and the hash of their graph."""
    path = tmp_path_factory.mktemp("many") / "many.nt"
    rng = random.Random(0)
    with path.open("w") as file:
        for i in range(75_000):
            s = f"<http://x/{rng.randrange(50_000)}>"
            file.write(f"{s} <http://x/p{i % 20}> <http://x/{rng.randrange(50_000)}> .\n")
            file.write(f'{s} <{RDFS}label> "label {i}"@en .\n{s} <{RDF}type> <http://x/T{i % 100}> .\n')
            file.write(f'{s} <http://x/height> "{i}" .\n')
    return path, ingestion.read([path]).content_hash


def test_a_killed_ingestion_goes_on(tmp_path: Path, many: tuple[Path, str]) -> None:
    path, whole = many
    out = tmp_path / "graph"
    work = tmp_path / ".graph.ingest"
    rng = random.Random()
    moments: list[Callable[[], bool]] = [
        lambda: len(runs(out)) >= rng.randrange(1, 30),
        lambda: (work / "runs" / "00000.done").exists(),
        lambda: (work / "marks").exists(),
    ]
    before: dict[str, int] = {}
    for moment in moments:
        assert killed(moment, path, "--out", out)
        assert not out.exists()
        after = runs(out)
        assert after.items() >= before.items()
        before = after
    assert len(before) > 60
    told = finish(command(path, "--out", out, "--memory", MEMORY, "--report", tmp_path / "report.json"))
    assert "300,000 read" in told
    assert KnowledgeGraph.open(out).content_hash == whole
    report = json.loads((tmp_path / "report.json").read_text())["report"]
    assert report["read"] == 300_000 == sum(report["kept"].values()) + sum(report["dropped"].values())
    assert {entry.name for entry in tmp_path.iterdir()} == {"graph", "report.json"}


def test_runs_are_kept_until_the_end_and_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "graph"
    for name in ("a.nt", "b.nt", "c.ttl"):
        (tmp_path / name).write_bytes(links(3000, seed=ord(name[0])))
    given = [tmp_path / name for name in ("a.nt", "b.nt", "c.ttl")]

    def interrupted(**settings: Any) -> dict[str, int]:
        class Interrupt(Exception):
            pass

        def interrupt(*_: object, **__: object) -> None:
            raise Interrupt

        with monkeypatch.context() as patch:
            patch.setattr(making, "merge", interrupt)
            with pytest.raises(Interrupt):
                ingestion.ingest(given, out, memory=1 << 20, **settings)
        return runs(out)

    first = interrupted()
    assert len(first) >= 6
    assert interrupted() == first
    gone = tmp_path / ".graph.ingest" / "runs" / "00001-000001.run"
    gone.unlink()
    (gone.parent / "00001.done").unlink()
    again = interrupted()
    assert {name for name in first if again[name] != first[name]} == {gone.name}
    for settings in (
        {"options": ReadOptions(on_error="skip")},
        {"options": ReadOptions(languages=frozenset({"en"}))},
        {"format": "ntriples"},
    ):
        changed = interrupted(**settings)
        assert changed.keys() == first.keys() - ({"00002-000001.run"} if "format" in settings else set()) or changed
        assert not set(changed.values()) & set(again.values())
        again = changed
    first = interrupted()
    (tmp_path / "a.nt").write_bytes((tmp_path / "a.nt").read_bytes().replace(b"<http://x/p>", b"<http://x/q>", 1))
    assert not set(interrupted().values()) & set(first.values())
    graph = ingestion.ingest(given, out, memory=1 << 20)
    assert graph.relations.names.to_pylist() == ["http://x/p", "http://x/q"]
    assert graph.content_hash == ingestion.read(given).content_hash
    assert not (tmp_path / ".graph.ingest").exists()


def test_a_killed_wikidata_ingestion_goes_on(tmp_path: Path) -> None:
    path, out = tmp_path / "dump.json", tmp_path / "graph"
    rng = random.Random(0)
    content = dump(*(item(i, rng.randbytes(5000).hex(), P1=[i // 2, i * 7], P31=[i % 9]) for i in range(1, 1000)))
    path.write_bytes(content)
    assert len(content) > (8 << 20)  # what starts processes
    assert killed(lambda: len(runs(out)) >= 3, path, "--out", out)
    before = runs(out)
    assert killed(lambda: len(runs(out)) >= len(before) + 3, path, "--out", out)
    assert runs(out).items() >= before.items()
    finish(command(path, "--out", out, "--memory", MEMORY))
    assert KnowledgeGraph.open(out).content_hash == ingestion.read([path]).content_hash
    assert {entry.name for entry in tmp_path.iterdir()} == {"graph", "dump.json"}


def test_a_killed_ingestion_of_real_entities_goes_on(tmp_path: Path, mirror: Path) -> None:
    with gzip.open(mirror / "wikidata" / "dump-sample-A.json.gz") as file:
        sample = [line.rstrip(b",\n") for line in file if line.startswith(b"{")]
    path, out = tmp_path / "dump.json", tmp_path / "graph"
    with path.open("wb") as file:
        for copy in range(3):
            for entity in sample:
                file.write(entity.replace(b'"id":"Q', b'"id":"Q%d000' % copy, 1) + b",\n")
            if file.tell() > 20 << 20:
                break
    assert killed(lambda: len(runs(out)) >= 5, path, "--out", out)
    before = runs(out)
    assert before
    finish(command(path, "--out", out, "--memory", MEMORY))
    assert KnowledgeGraph.open(out).content_hash == ingestion.read([path]).content_hash


@pytest.mark.parametrize("at", ["while the graph is written", "while it takes the place of the former"])
def test_a_kill_while_the_graph_is_written_leaves_nothing_behind(tmp_path: Path, out: Path, at: str) -> None:
    path = tmp_path / "x.nt"
    path.write_bytes(links(100))
    code = f"""
import os, signal, sys
from pathlib import Path
from kgservice import ingestion
from kgservice.ingestion import assembly, folders
kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
out = Path({str(out)!r})
if {at.startswith("while the graph")}:
    assembly.sync_tree = kill
else:
    folders.exchange = lambda one, other: False  # as where the system cannot swap two names in one step
    rename = Path.rename
    def rename_or_die(self, target):
        if Path(target) == out:
            kill()
        return rename(self, target)
    Path.rename = rename_or_die
ingestion.ingest([{str(path)!r}], out, into=out)
"""
    former = KnowledgeGraph.open(out).content_hash
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == -signal.SIGKILL
    if at == "while the graph is written":
        assert KnowledgeGraph.open(out).content_hash == former
    graph = ingestion.ingest([path], out, into=out)  # puts the former graph back first, where it has lost its name
    assert len(graph.statements) == 101
    assert {entry.name for entry in out.parent.iterdir()} == {"graph"}


def test_two_that_read_into_one_graph(tmp_path: Path, out: Path) -> None:
    """The second is refused before it reads anything; nothing of the first is lost."""
    (tmp_path / "x.nt").write_bytes(line("x", "y"))
    first = command("-", "--format", "ntriples", "--into", out, stdin=subprocess.PIPE)
    assert first.stdin
    until = time.monotonic() + 60
    while (
        not list(out.parent.glob(".graph.*/stdin")) and time.monotonic() < until
    ):  # made with the lock held, not before
        time.sleep(0.01)
    assert (lock := out.parent / ".graph.lock").exists()
    with pytest.raises(DataError, match=r"graphs/graph: another process is reading into it\. Wait for its end"):
        ingestion.ingest([tmp_path / "x.nt"], out, into=out)
    first.stdin.write(line("first", "said").decode())
    finish(first)
    assert not lock.exists()
    assert len(ingestion.ingest([tmp_path / "x.nt"], out, into=out).statements) == 3


def test_the_lock_of_a_killed_one_is_no_hindrance(tmp_path: Path, out: Path) -> None:
    (tmp_path / "x.nt").write_bytes(line("x", "y"))
    (out.parent / ".graph.lock").touch()
    ingestion.ingest([tmp_path / "x.nt"], out, into=out)
    assert {entry.name for entry in out.parent.iterdir()} == {"graph"}
