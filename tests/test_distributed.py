"""Reading on a cluster: a real one of two nodes on this machine gives what one process gives, whatever happens to it."""

from __future__ import annotations

import bz2
import gzip
import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kgservice import errors
from kgservice.errors import DataError, KGServiceError, MalformedStatement, MissingDependency
from kgservice.graph import KnowledgeGraph
from kgservice.ingestion import distributed, ingest, tasks
from kgservice.ingestion.distributed import read_with_ray
from kgservice.ingestion.parsing import Parsing
from kgservice.ingestion.progress import Progress
from kgservice.ingestion.tasks import Task, line_ranges
from kgservice.readers import ReadOptions, resolve
from kgservice.readers.sources import Source, blocks

pytest.importorskip("ray", reason="the extra kgservice[ray] is not installed")

# Ray's own settings warn of each other when they are made.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*")

MEMORY = 4 << 20
"""So little that blocks have 64 KiB."""
BLOCK = 1 << 16
IRI = "https://example.org/"


class Nodes:
    """A cluster of two nodes with one core each, of which one can be lost."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        small = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
        quick = {"health_check_period_ms": 500, "health_check_failure_threshold": 4}
        self.cluster = Cluster(initialize_head=True, head_node_args={**small, "_system_config": quick})
        self.small = small
        self.add()

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self) -> None:
        self.second = self.cluster.add_node(**{**self.small, "include_dashboard": None})
        self.cluster.wait_for_nodes()

    def lose(self) -> None:
        self.cluster.remove_node(self.second, allow_graceful=False)


@contextmanager
def started() -> Iterator[Nodes]:
    """A cluster for as long as it is needed."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        nodes = Nodes()
        try:
            ray.init(nodes.address, logging_level=logging.ERROR)
            yield nodes
        finally:
            ray.shutdown()
            nodes.cluster.shutdown()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with started() as cluster:
        yield cluster


def ntriples(count: int, *, first: int = 0) -> bytes:
    lines = []
    for i in range(first, first + count):
        lines.append(f"<{IRI}e{i % 997}> <{IRI}r{i % 7}> <{IRI}e{i * 31 % 1009}> .\n")
        lines.append(f'<{IRI}e{i % 997}> <http://www.w3.org/2000/01/rdf-schema#label> "Thing {i % 997}"@en .\n')
        lines.append(f'_:b{i % 500} <{IRI}weighs> "{i}"^^<http://www.w3.org/2001/XMLSchema#integer> .\n')
    return "".join(lines).encode()


def wikidata(count: int) -> bytes:
    """A dump as it is published: an array, one entity a line."""

    def entity(i: int) -> str:
        snak = {
            "snaktype": "value",
            "property": "P17",
            "datatype": "wikibase-item",
            "datavalue": {"type": "wikibase-entityid", "value": {"id": f"Q{i * 7 % count}", "entity-type": "item"}},
        }
        year = {
            "snaktype": "value",
            "property": "P585",
            "datatype": "string",
            "datavalue": {"type": "string", "value": str(1900 + i % 100)},
        }
        claim = {"type": "statement", "rank": "normal", "mainsnak": snak, "qualifiers": {"P585": [year]}}
        labels = {"en": {"language": "en", "value": f"Item {i}"}}
        return json.dumps({"id": f"Q{i}", "type": "item", "labels": labels, "claims": {"P17": [claim]}})

    return b"[\n" + ",\n".join(map(entity, range(count))).encode() + b"\n]\n"


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every way of reading: ranges, a compressed file of lines and one of a document, JSON in ranges and in one piece."""
    folder = tmp_path_factory.mktemp("dump")
    (folder / "a.nt").write_bytes(ntriples(4000) + b"# the last line has no end")
    (folder / "b.nt.bz2").write_bytes(bz2.compress(ntriples(1000, first=9000)))
    turtle = "".join(f"ex:e{i} ex:near ex:e{i + 1} {{| ex:by {i} |}} .\n" for i in range(300))
    (folder / "c.ttl.gz").write_bytes(gzip.compress(f"@prefix ex: <{IRI}> .\n{turtle}".encode()))
    (folder / "d.json").write_bytes(wikidata(600))
    first = json.loads(wikidata(601))[600]
    (folder / "e.json").write_text(json.dumps({"entities": {"Q600": first}}, indent=1), encoding="utf-8")
    (folder / "empty.nt").write_bytes(b"\n")
    return folder


@pytest.fixture(scope="module")
def locally(dump: Path, tmp_path_factory: pytest.TempPathFactory) -> KnowledgeGraph:
    return ingest([dump], tmp_path_factory.mktemp("local") / "graph", memory=MEMORY)


def ingest_with_ray(patch: pytest.MonkeyPatch, sources: list[Path], out: Path, **options: Any) -> KnowledgeGraph:
    """`ingest`, with its reading done on the cluster."""
    if (progress := options.get("progress")) is not None:
        patch.setattr(Progress, "found", lambda self, count: progress(count))
    return ingest(sources, out, memory=MEMORY, options=options.get("options"), ray="")


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def read_locally(sources: list[Source], folder: Path, options: ReadOptions) -> dict[str, bytes]:
    with ThreadPoolExecutor(2) as pool:
        Parsing(folder, options, pool, 2, BLOCK).read(sources)
    return listing(folder)


def test_two_nodes_give_the_same_graph(
    nodes: Nodes,
    dump: Path,
    locally: KnowledgeGraph,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, distributed.__name__):
        graph = ingest_with_ray(monkeypatch, [dump], tmp_path / "graph")
    assert "read on 2 nodes" in caplog.text
    assert graph.content_hash == locally.content_hash
    assert graph.provenance["sources"] == locally.provenance["sources"]
    assert graph.provenance["report"] == locally.provenance["report"]


def test_the_runs_are_the_same_and_what_exists_is_kept(nodes: Nodes, dump: Path, tmp_path: Path) -> None:
    options, files = ReadOptions(), resolve([dump])
    expected = read_locally(files, tmp_path / "local", options)
    assert sum(name.startswith("00000-") for name in expected) > 10, "the N-Triples should be read in many ranges"
    folder, counts, seen = tmp_path / "cluster", [], 0

    def on_bytes(count: int) -> None:
        nonlocal seen
        seen += count

    for file in files:
        file.on_bytes = on_bytes
    runs = read_with_ray(files, folder, options, block_bytes=BLOCK, progress=counts.append)
    assert listing(folder) == expected
    assert [run.path.name for run in runs] == sorted(name for name in expected if name.endswith(".run"))
    assert sum(counts) > 15_000
    assert seen == sum(file.path.stat().st_size for file in files)
    # As if the driver had been killed: a run is missing, and another was half written by a node.
    removed = [folder / "00000-000003.run", folder / "00000.done", folder / "00001.done"]
    for path in removed:
        path.unlink()
    (folder / "00000-000003.0123.attempt").write_bytes(b"half")
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.run")}
    again: list[int] = []
    read_with_ray(files, folder, options, block_bytes=BLOCK, progress=again.append)
    assert listing(folder) == expected
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert 0 < sum(again) < sum(counts) / 10
    untouched: list[int] = []
    read_with_ray(files, folder, options, block_bytes=BLOCK, progress=untouched.append)
    assert untouched == []


def test_benchmark_files_are_read_together(nodes: Nodes, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "valid", "test"):
        (data / f"{split}.tsv").write_text(f"a\tr\t{split}\nb\tr\t{split}\n")
    expected = read_locally(resolve([data]), tmp_path / "local", ReadOptions())
    for _ in range(2):
        read_with_ray(resolve([data]), tmp_path / "cluster", ReadOptions(), block_bytes=BLOCK)
        assert listing(tmp_path / "cluster") == expected


def test_a_lost_node_loses_nothing(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import ray

    path = tmp_path / "long.nt"
    path.write_bytes(ntriples(30_000))
    expected = ingest([path], tmp_path / "local", memory=MEMORY)
    rows: list[int] = []

    def progress(count: int) -> None:
        rows.append(count)
        if len(rows) == 15:
            nodes.lose()

    caplog.set_level(logging.INFO, distributed.__name__)
    try:
        graph = ingest_with_ray(monkeypatch, [path], tmp_path / "graph", progress=progress)
        alive = sum(node["Alive"] for node in ray.nodes())
    finally:
        if len(rows) >= 15:
            nodes.add()
    assert alive == 1
    assert len(rows) > 100, "most of the work should come after the loss"
    assert "read on 2 nodes" in caplog.text
    assert graph.content_hash == expected.content_hash
    assert graph.provenance["sources"] == expected.provenance["sources"]
    assert graph.provenance["report"] == expected.provenance["report"]


def test_a_malformed_line_is_named_by_its_number(nodes: Nodes, tmp_path: Path) -> None:
    lines = ntriples(2000).splitlines(keepends=True)
    lines[5000] = b"<https://example.org/a> <https://example.org/b> .\n"
    path = tmp_path / "bad.nt"
    path.write_bytes(b"".join(lines))
    with pytest.raises(MalformedStatement) as local:
        read_locally(resolve([path]), tmp_path / "local", ReadOptions())
    with pytest.raises(MalformedStatement, match=r"^bad\.nt:5001:") as raised:
        read_with_ray(resolve([path]), tmp_path / "cluster", ReadOptions(), block_bytes=BLOCK)
    assert type(raised.value) is MalformedStatement
    assert str(raised.value) == str(local.value)
    assert vars(raised.value) == vars(local.value)
    assert not list((tmp_path / "cluster").glob("*.done"))


def test_skipped_lines_are_counted_and_numbered(nodes: Nodes, tmp_path: Path) -> None:
    lines = ntriples(2000).splitlines(keepends=True)
    lines[5000] = lines[100] = b"<https://example.org/a> <https://example.org/b> .\n"
    path = tmp_path / "skipped.nt"
    path.write_bytes(b"".join(lines))
    options = ReadOptions(on_error="skip")
    expected = read_locally(resolve([path]), tmp_path / "local", options)
    planned: list[Task] = []
    with pytest.MonkeyPatch.context() as patch:
        plan = distributed._with_first_lines
        patch.setattr(distributed, "_with_first_lines", lambda *given: planned.extend(plan(*given)) or planned)
        read_with_ray(resolve([path]), tmp_path / "cluster", options, block_bytes=BLOCK)
    assert listing(tmp_path / "cluster") == expected
    content = path.read_bytes()
    ranges = [task for task in planned if task.kind == "lines"]
    assert len(ranges) > 5
    assert [task.first_line for task in ranges] == [1 + content[: task.start].count(b"\n") for task in ranges]


def test_damaged_and_missing_files(nodes: Nodes, tmp_path: Path) -> None:
    whole = gzip.compress(ntriples(3000))
    path = tmp_path / "cut.nt.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"^cut\.nt\.gz: the compressed stream ends too early"):
        read_with_ray(resolve([path]), tmp_path / "runs", ReadOptions(), block_bytes=BLOCK)
    (tmp_path / "nothing.nt").write_bytes(b"")
    with pytest.raises(DataError, match=r"^nothing\.nt: the file is empty"):
        read_with_ray(resolve([tmp_path / "nothing.nt"]), tmp_path / "runs", ReadOptions(), block_bytes=BLOCK)


def test_a_folder_that_is_not_shared(nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.nt").write_bytes(ntriples(10))
    (tmp_path / "other").mkdir()
    other = str(tmp_path / "other")

    def elsewhere(row: dict[str, str], *, folder: str, **given: Any) -> dict[str, str]:
        from kgservice.ingestion import distributed as there

        return there._work(row, folder=other, **given)

    monkeypatch.setattr(distributed, "_work", elsewhere)
    with pytest.raises(DataError, match=r"00000-000000\.run: was written on another node and is not here\. Expected"):
        read_with_ray(resolve([tmp_path / "a.nt"]), tmp_path / "runs", ReadOptions(), block_bytes=BLOCK)


def test_a_mistake_of_ours_keeps_its_name(nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.nt").write_bytes(ntriples(10))

    def mistaken(row: dict[str, str], **given: Any) -> dict[str, str]:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr(distributed, "_work", mistaken)
    with pytest.raises(ZeroDivisionError, match="by nought"):
        read_with_ray(resolve([tmp_path / "a.nt"]), tmp_path / "runs", ReadOptions(), block_bytes=BLOCK)


def test_a_row_that_always_kills_its_process_ends(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.nt.gz").write_bytes(gzip.compress(ntriples(10)))
    died = tmp_path / "died"
    died.mkdir()

    def dying(row: dict[str, str], **given: Any) -> dict[str, str]:
        from kgservice.ingestion import distributed as there

        def die(*_: Any) -> None:
            (died / str(os.getpid())).touch()
            os._exit(1)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(there, "done", die)
            patch.setattr(there, "ATTEMPTS", 2)
            return there._work(row, **given)

    monkeypatch.setattr(distributed, "_work", dying)
    with pytest.raises(DataError, match=r"^a\.nt\.gz: the file: reading was begun 2 times.*Nothing is lost"):
        read_with_ray(resolve([tmp_path / "a.nt.gz"]), tmp_path / "runs", ReadOptions(), block_bytes=BLOCK)
    assert len(list(died.iterdir())) == 2


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    (tmp_path / "a.nt").write_bytes(ntriples(1))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # bound, and not listening
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(DataError, match=rf"^{address}: no Ray cluster answers there: .*see `ray status`"):
            read_with_ray(
                resolve([tmp_path / "a.nt"]), tmp_path / "runs", ReadOptions(), block_bytes=BLOCK, address=address
            )


def test_no_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.nt").write_bytes(ntriples(1))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependency, match=r"pip install 'kgservice\[ray\]'"):
        read_with_ray(resolve([tmp_path / "a.nt"]), tmp_path / "runs", ReadOptions(), block_bytes=BLOCK)


@given(
    st.lists(st.integers(0, 40), max_size=30).map(lambda sizes: b"".join(b"x" * size + b"\n" for size in sizes)),
    st.integers(0, 30),
    st.integers(1, 50),
)
def test_ranges_are_the_blocks(lines: bytes, rest: int, size: int) -> None:
    import io
    import tempfile

    content = lines + b"y" * rest
    with tempfile.NamedTemporaryFile() as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "_PIECE_BYTES", 7)
        file.write(content)
        file.flush()
        found = [content[start:stop] for start, stop in line_ranges(Path(file.name), size)]
    assert found == [block for _, block in blocks(io.BytesIO(content), size)]


@pytest.mark.parametrize(
    "error",
    [
        MalformedStatement("a.nt", 3, 5, "expected '.'"),
        MalformedStatement("a.nt", None, None, "no", hint="Look."),
        errors.UnknownEntity("Q1", "in the graph", ["Q2"]),
        DataError("damaged"),
        OSError(28, "No space left on device", "/full/disk"),
    ],
)
def test_errors_travel_as_they_are(error: KGServiceError | OSError) -> None:
    arrived = tasks.as_raised(json.loads(json.dumps(tasks.as_told(error))))
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert vars(arrived) == vars(error)
    assert os.strerror(28) in str(arrived) or not isinstance(error, OSError)
