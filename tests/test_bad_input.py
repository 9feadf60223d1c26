"""Bad input: the message says where, and what is opened as a graph is always whole."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import random
import shutil
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from kgservice import ingestion
from kgservice.errors import DataError, InputError, KGServiceError, MalformedStatement
from kgservice.graph import KnowledgeGraph
from kgservice.readers import sources
from kgservice.readers.options import RDF, RDFS, ReadOptions
from tests.dumps import dump, graph_in, item, line, links

SKIP = ReadOptions(on_error="skip")
BOTH = pytest.mark.parametrize("options", [ReadOptions(), SKIP], ids=["fail", "skip"])
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return graph_in(tmp_path)


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
