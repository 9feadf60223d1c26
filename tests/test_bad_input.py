"""Bad input, full disks and kills: the message says where, and what is opened as a graph is always whole."""

from __future__ import annotations

import bz2
import contextlib
import gc
import gzip
import json
import lzma
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from kgservice import ingestion
from kgservice.errors import DataError, InputError, KGServiceError, MalformedStatement
from kgservice.graph import KnowledgeGraph
from kgservice.ingestion import making
from kgservice.readers import sources
from kgservice.readers.options import RDF, RDFS, ReadOptions

SKIP = ReadOptions(on_error="skip")
BOTH = pytest.mark.parametrize("options", [ReadOptions(), SKIP], ids=["fail", "skip"])
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}


def line(s: object, o: object) -> bytes:
    return f"<http://x/{s}> <http://x/p> <http://x/{o}> .\n".encode()


def links(count: int, seed: int = 0) -> bytes:
    """Lines that do not compress well."""
    rng = random.Random(seed)
    return b"".join(line(rng.randbytes(12).hex(), rng.randrange(count)) for _ in range(count))


def item(number: int, label: str = "x", **claims: list[int]) -> dict[str, Any]:
    """An entity of a Wikidata dump whose claims name items."""

    def claim(other: int) -> dict[str, Any]:
        value = {"value": {"entity-type": "item", "id": f"Q{other}"}, "type": "wikibase-entityid"}
        return {"mainsnak": {"snaktype": "value", "datavalue": value}, "rank": "normal"}

    return {
        "type": "item",
        "id": f"Q{number}",
        "labels": {"en": {"language": "en", "value": label}},
        "claims": {name: [claim(other) for other in others] for name, others in claims.items()},
    }


def dump(*entities: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(entity).encode() + b"\n" for entity in entities)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where a whole graph lies already."""
    (tmp_path / "former.nt").write_bytes(line("former", "graph"))
    ingestion.ingest([tmp_path / "former.nt"], tmp_path / "graphs" / "graph")
    return tmp_path / "graphs" / "graph"


def refused(given: Path | str, out: Path, error: type[KGServiceError], message: str, **settings: Any) -> None:
    """Neither the graph that is there nor one that is not changes, and nothing lies about but what resumes the work."""
    former = KnowledgeGraph.open(out).content_hash
    fresh = out.with_name("fresh")
    for target in (out, fresh):
        with pytest.raises(error, match=message):
            ingestion.ingest([given], target, **settings)
    assert KnowledgeGraph.open(out).content_hash == former
    assert {path.name for path in out.parent.iterdir()} <= {"graph", ".graph.ingest", ".fresh.ingest"}


def malformed(path: Path, message: str, kept: int, **settings: Any) -> None:
    """One malformed line: by default it is refused with its place, else counted."""
    with pytest.raises(MalformedStatement, match=message):
        ingestion.ingest([path], path.parent / "refused", **settings)
    assert not (path.parent / "refused").exists()
    graph = ingestion.ingest([path], path.parent / "graph", options=SKIP, **settings)
    report = graph.provenance["report"]
    assert report["notes"]["malformed"] == 1
    assert len(graph.statements) == report["kept"]["statements"] == kept
    assert report["read"] == sum(report["kept"].values()) + sum(report["dropped"].values())


def test_what_is_no_json(tmp_path: Path, out: Path) -> None:
    (tmp_path / "x.json").write_bytes(dump(item(1)) + b"?")
    refused(tmp_path / "x.json", out, MalformedStatement, r"x\.json:2:1: JSON is malformed: invalid character")


# Streams


@BOTH
@pytest.mark.parametrize("suffix", COMPRESSIONS)
@pytest.mark.parametrize("format", [".nt", ".ttl", ".tsv", ".json"])
def test_a_truncated_stream(tmp_path: Path, out: Path, format: str, suffix: str, options: ReadOptions) -> None:
    content = {
        ".nt": links(4000),
        ".ttl": links(4000),
        ".tsv": b"".join(b"%d\tr\t%d\n" % (i * 7919 % 20000, i) for i in range(20000)),
        ".json": dump(*(item(i * 7919 % 20000, P1=[i]) for i in range(500))),
    }[format]
    packed = COMPRESSIONS[suffix](content)
    path = tmp_path / f"data{format}{suffix}"
    path.write_bytes(packed[: len(packed) // 2])
    refused(path, out, DataError, rf"^data\{format}\{suffix}: the compressed stream ends too early", options=options)


@BOTH
def test_a_bzip2_block_that_is_bad(tmp_path: Path, out: Path, options: ReadOptions) -> None:
    packed = bytearray(bz2.compress(links(4000)))
    packed[len(packed) // 2] ^= 1
    (tmp_path / "data.nt.bz2").write_bytes(packed)
    refused(tmp_path / "data.nt.bz2", out, DataError, r"^data\.nt\.bz2: .*Invalid data stream", options=options)


@pytest.fixture(scope="module")
def large_bzip2() -> bytes:
    """Large enough for the reader that decompresses many blocks at a time."""
    rng = random.Random(0)
    text = rng.randbytes(9 << 20).hex()
    width = 60
    content = "".join(f"<u:{text[at : at + width]}> <u:p> <u:o> .\n" for at in range(0, len(text), width))
    packed = bz2.compress(content.encode(), 9)
    assert len(packed) > sources.PARALLEL_FROM_BYTES
    return packed


def test_a_large_bzip2_stream_that_is_truncated_or_bad(tmp_path: Path, out: Path, large_bzip2: bytes) -> None:
    path = tmp_path / "data.nt.bz2"
    path.write_bytes(large_bzip2[:-9])
    refused(path, out, DataError, r"^data\.nt\.bz2: the compressed stream ends too early")
    bad = bytearray(large_bzip2)
    bad[len(bad) // 2] ^= 1
    path.write_bytes(bad)
    refused(path, out, DataError, r"^data\.nt\.bz2: cannot be read: damaged bzip2 block", options=SKIP)
    path.write_bytes(b"x" * len(bad))
    refused(path, out, DataError, r"^data\.nt\.bz2: its suffix says bzip2, its content does not")
    path.write_bytes(b"BZh9" + b"x" * len(bad))
    refused(path, out, DataError, r"^data\.nt\.bz2: .*(ends too early|damaged)")


def test_the_head_of_a_file_is_read_alone(tmp_path: Path) -> None:
    path = tmp_path / "data.nt.gz"
    packed = gzip.compress(links(20000))
    path.write_bytes(packed[: len(packed) // 2])
    taken: list[int] = []
    source = sources.Source(path, path.name, on_bytes=taken.append)
    assert source.head(100) == links(20000)[:100]
    assert not taken
    assert not source.sha256


def test_what_goes_wrong_elsewhere_is_not_the_files_fault(tmp_path: Path) -> None:
    path = tmp_path / "data.nt"
    path.write_bytes(line(1, 2))
    with pytest.raises(OSError, match="no space"), sources.Source(path, path.name).open():
        raise OSError("no space")


# Lines


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("x.nt", line(1, 2) + b'<http://x/a> <http://x/p> "\xff" .\n' + line(3, 4), r"^x\.nt:2:\d+: invalid UTF-8"),
        ("x.nt", line(1, 2) + b"<http://x/\xc3\x28> <http://x/p> <http://x/b> .\n" + line(3, 4), r"^x\.nt:2:\d+: "),
        ("x.nt", line(1, 2) + b'<http://x/a> <http://x/p> "\xed\xa0\x80" .\n' + line(3, 4), r"^x\.nt:2:\d+: "),
        (
            "x.nq",
            line(1, 2) + b"<http://x/a> <http://x/p> <http://x/b> <http://x/\xf0\x9f> .\n" + line(3, 4),
            r"^x\.nq:2:\d+: ",
        ),
        ("x.tsv", b"a\tr\tb\na\tr\tb\xff\nc\tr\td\n", r"^x\.tsv:2:6: not UTF-8"),
        ("x.json", dump(item(1, P1=[2]), item(3, "@", P1=[4]), item(5, P1=[6])).replace(b"@", b"\xff"), r"^x\.json:2"),
    ],
)
def test_a_line_that_is_not_utf8(tmp_path: Path, name: str, content: bytes, place: str) -> None:
    (tmp_path / name).write_bytes(content)
    malformed(tmp_path / name, place, 2)


@BOTH
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "x.ttl",
            b'@prefix : <http://x/> .\n:a :p :b .\n:a :q "\xff" .\n',
            r"^x\.ttl:3:8: invalid UTF-8.*Mend the file",
        ),
        ("x.trig", b'<http://x/g> {\n<http://x/a> <http://x/p> "\xff" }', r"^x\.trig:2:\d+: .*Mend the file"),
        ("x.jsonld", b'{"@id": "http://x/a",\n"http://x/p": "\xff"}', r"^x\.jsonld:2:\d+: .*Mend the file"),
        ("x.json", b'{\n"type": "item", "id": "Q\xff"}', r"^x\.json.*Mend the file"),
    ],
)
def test_a_document_that_is_not_utf8(
    tmp_path: Path, out: Path, name: str, content: bytes, message: str, options: ReadOptions
) -> None:
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, out, MalformedStatement, message, options=options)


def test_the_first_of_many_bad_lines_is_named(tmp_path: Path) -> None:
    good = links(20_000)  # the first bad line comes after much work, the second at once
    (tmp_path / "x.nt").write_bytes(good + b"bad\n" + b"worse\n" * 5000)
    for _ in range(5):
        with pytest.raises(MalformedStatement, match=r"^x\.nt:20001:"):
            ingestion.ingest([tmp_path / "x.nt"], tmp_path / "graph", memory=1 << 20, workers=3)
        shutil.rmtree(tmp_path / ".graph.ingest")


def test_a_line_of_100_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "x.nt"
    with path.open("wb") as file:
        file.write(line(1, 2) + b'<http://x/1> <http://x/p> "')
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b'" .\n' + line(3, 4) + line(5, 6))
    malformed(path, r"^x\.nt:2: expected a line of at most 16,777,216 bytes, found a longer one", 3, memory=64 << 20)


def test_a_term_of_20_megabytes_in_a_document(tmp_path: Path, out: Path) -> None:
    (tmp_path / "x.ttl").write_bytes(b"<u:a> <u:p> <u:b> .\n<u:a> <u:q> '" + b"x" * 20_000_000 + b"' .")
    refused(tmp_path / "x.ttl", out, MalformedStatement, r"^x\.ttl")


def test_memory_does_not_grow_with_a_line() -> None:
    class Endless:
        left = 1 << 30

        def read(self, size: int) -> bytes:
            size = min(size, self.left)
            self.left -= size
            return b"x" * size

    tracemalloc.start()
    try:
        found = list(sources.blocks(Endless(), 1 << 20))  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [(number, len(block)) for number, block in found] == [(1, sources.MAX_LINE_BYTES + 2)]
    assert peak < 4 * sources.MAX_LINE_BYTES


LONG = "y" * 3000


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.nt", line(1, 2) + line(3, LONG) + line(4, 5)),
        ("x.nt", line(1, 2) + f'<http://x/1> <http://x/p> "{LONG}"@en .\n'.encode() + line(4, 5)),
        # What is kept of these lines would be whole without the rest.
        ("x.nt", line(1, 2) + line(3, 4)[:-1] + b" " * 3000 + b"\n" + line(4, 5)),
        ("x.nt", line(1, 2) + line(3, 4)[:-1] + b" # " + b"-" * 3000 + b"\n" + line(4, 5)),
        ("x.nq", line(1, 2) + f"<http://x/3> <http://x/p> <http://x/4> <http://x/{LONG}> .\n".encode() + line(4, 5)),
        pytest.param(
            "x.tsv",
            f"a\tr\tb\na\tr\t{LONG}\nc\tr\td\n".encode(),
        ),
        ("x.json", dump(item(1, P1=[2]), item(3, LONG, P1=[4]), item(5, P1=[6]))),
    ],
)
@pytest.mark.parametrize("at", ["middle", "end", "no line feed"])
def test_a_line_beyond_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, at: str
) -> None:
    monkeypatch.setattr(sources, "MAX_LINE_BYTES", 2000)
    monkeypatch.setattr(sources, "BLOCK_BYTES", 500)
    place = 2
    if at != "middle":
        first, second, third = content.splitlines(keepends=True)
        content, place = first + third + second, 3
    path = tmp_path / name
    path.write_bytes(content.removesuffix(b"\n") if at == "no line feed" else content)
    malformed(path, rf"^x\.\w+:{place}\b", 2)


@pytest.mark.parametrize("size", [1, 7, 64, 1000, 1 << 20])
def test_blocks_are_the_whole_and_number_their_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(sources, "MAX_LINE_BYTES", 50)
    rng = random.Random(size)
    lines = [bytes(rng.choices(b"abc", k=rng.choice([0, 1, 10, 49, 50, 51, 52, 200]))) for _ in range(300)]
    path = tmp_path / "lines"
    path.write_bytes(b"\n".join([*lines, b""]))
    with sources.Source(path, "lines").open() as stream:
        found = list(sources.blocks(stream, size))
    expected = [line if len(line) <= 50 else line[:50] + b"\xff" for line in lines]
    assert b"".join(block for _, block in found).split(b"\n") == [*expected, b""]
    place = 1
    for first_line, block in found:
        assert first_line == place
        place += block.count(b"\n")


# Files


@BOTH
@pytest.mark.parametrize("name", ["x.nt", "x.nq", "x.ttl", "x.tsv", "x.json", "x.jsonld", "x.rdf"])
def test_an_empty_file(tmp_path: Path, out: Path, name: str, options: ReadOptions) -> None:
    (tmp_path / name).touch()
    refused(tmp_path / name, out, DataError, rf"^{name}: the file is empty", options=options)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.nt", b"# only\n\n# comments"),
        ("x.nt.gz", gzip.compress(b"", mtime=0)),
        ("x.ttl", b"@prefix : <http://x/> .\n# nothing"),
        ("x.json", b"[\n]\n"),
        ("x.nt", b"\n"),
    ],
)
def test_a_file_without_statements(tmp_path: Path, out: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, out, DataError, rf"^{name}: no entity was found")


def test_files_that_disagree_are_both_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    head = "@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> . @prefix xsd: <http://www.w3.org/2001/XMLSchema#> ."
    for name, label, height, space in (("a", "A", '"5"^^xsd:integer', "one"), ("b", "B", '"5"', "two")):
        (tmp_path / f"{name}.ttl").write_text(
            f"{head} @prefix p: <http://{space}/> . <http://x/s> <http://x/p> <http://x/o> ;"
            f' rdfs:label "{label}"@en ; <http://x/height> {height} ; a p:T .'
        )
    graph = ingestion.ingest([tmp_path], tmp_path / "graph")
    assert "prefix p: means http://one/ already, not http://two/" in caplog.text
    entity = graph.entities.id("http://x/s")
    assert sorted(text for _, _, text in graph.texts.rows(entity)) == ["A", "B"]
    facts = graph.literals.statements
    assert [graph.literals.vocabulary.name(value) for value in facts.object] == [
        '"5"',
        '"5"^^<http://www.w3.org/2001/XMLSchema#integer>',
    ]
    assert graph.types.vocabulary.names.to_pylist() == ["http://one/T", "http://two/T"]
    assert graph.provenance["report"]["dropped"] == {"duplicate": 1}
    (tmp_path / "c.nt.gz").write_bytes(line(1, 2))
    with pytest.raises(DataError, match=r"^c\.nt\.gz: its suffix says gzip, its content does not"):
        ingestion.ingest([tmp_path], tmp_path / "graph")
    assert KnowledgeGraph.open(tmp_path / "graph").content_hash == graph.content_hash


def test_a_circle_of_subclasses(tmp_path: Path) -> None:
    sub, is_a = f"<{RDFS}subClassOf>", f"<{RDF}type>"
    triples = [f"<u:C{i}> {sub} <u:C{(i + 1) % 5}> ." for i in range(5)]  # a circle of five
    triples += [f"<u:Own> {sub} <u:Own> .", f"<u:Below> {sub} <u:C3> .", f"<u:C3> {sub} <u:Above> ."]
    for name in ("C0", "C4", "Own", "Below", "Above", "Other"):
        triples += [f"<u:i{name}> {is_a} <u:{name}> .", f"<u:i{name}> <u:p> <u:o{name}> ."]
    (tmp_path / "x.nt").write_text("\n".join(triples))

    def instances(*classes: str) -> set[str]:
        options = ReadOptions(instance_of=frozenset(classes))
        graph = ingestion.ingest([tmp_path / "x.nt"], tmp_path / "graph", options=options)
        return {graph.entities.name(s).removeprefix("u:i") for s in graph.statements.subject.tolist()}

    assert instances("u:C1") == {"C0", "C4", "Below"}
    assert instances("u:Above") == {"C0", "C4", "Below", "Above"}
    assert instances("u:Own", "u:Below") == {"Own", "Below"}


def test_paths_that_cannot_be_read(tmp_path: Path, out: Path) -> None:
    (tmp_path / "folder.nt").mkdir()
    refused(tmp_path / "folder.nt", out, InputError, r"folder\.nt: the folder holds no files")
    (tmp_path / "folder.nt" / ".hidden.nt").write_bytes(line(1, 2))
    refused(tmp_path / "folder.nt", out, InputError, r"folder\.nt: the folder holds no files")
    (tmp_path / "dangling.nt").symlink_to(tmp_path / "nowhere.nt")
    refused(tmp_path / "dangling.nt", out, InputError, r"dangling\.nt: no such file or folder")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "good.nt").write_bytes(line(1, 2))
    (tmp_path / "folder" / "dangling.nt").symlink_to(tmp_path / "nowhere.nt")
    refused(tmp_path / "folder", out, InputError, r"folder: .*nowhere\.nt: cannot be read: No such file")
    refused(tmp_path / "former.nt" / "x.nt", out, InputError, r"former\.nt/x\.nt: no such file or folder")
    refused(tmp_path / ("x" * 300 + ".nt"), out, InputError, r"x\.nt: cannot be read: File name too long")
    (tmp_path / "circle.nt").symlink_to(tmp_path / "circle.nt")
    refused(tmp_path / "circle.nt", out, InputError, r"circle\.nt: (no such file|cannot be read)")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may use."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """Permissions do not hold for root."""
    mine = os.geteuid()
    if not mine:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(mine)


def test_files_without_permission(open_folder: Path) -> None:
    data = open_folder / "data"
    data.mkdir()
    (data / "secret.nt").write_bytes(line(1, 2))
    (data / "secret.nt").chmod(0)
    with without_privileges(), pytest.raises(DataError, match=r"^secret\.nt: cannot be read: Permission denied"):
        ingestion.ingest([data / "secret.nt"], open_folder / "graph")
    assert not (open_folder / "graph").exists()
    (data / "secret.nt").chmod(0o644)
    (data / "inner").mkdir(0)
    try:
        with without_privileges(), pytest.raises(InputError, match=r"data: .*inner: cannot be read: Permission denied"):
            ingestion.ingest([data], open_folder / "graph")
        with without_privileges(), pytest.raises(InputError, match=r"x\.nt: cannot be read: Permission denied"):
            ingestion.ingest([data / "inner" / "x.nt"], open_folder / "graph")
    finally:
        (data / "inner").chmod(0o755)
    assert not (open_folder / "graph").exists()


def test_a_target_within_a_file(tmp_path: Path, out: Path) -> None:
    with pytest.raises(KGServiceError, match=r"former\.nt/graph: "):
        ingestion.ingest([tmp_path / "former.nt"], tmp_path / "former.nt" / "graph")


@pytest.mark.parametrize("target", ["former.nt", "documents"])
def test_a_target_that_is_no_graph_is_not_replaced(tmp_path: Path, out: Path, target: str) -> None:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=target):
        ingestion.ingest([tmp_path / "former.nt"], tmp_path / target)
    assert (tmp_path / "former.nt").read_bytes() == line("former", "graph")
    assert (tmp_path / "documents" / "thesis.tex").exists()


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
        {"options": SKIP},
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
    while not (lock := out.parent / ".graph.lock").exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert lock.exists()
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
