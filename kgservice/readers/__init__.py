"""Readers: bytes in, batches out. Pure functions that run in any thread, process or machine.

Adding a format is one module with a function that makes batches, and one line in `FORMATS`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

import pyoxigraph as ox

from kgservice.errors import InputError
from kgservice.readers import benchmark, hynt, hyper, openke, rdf, tsv, wikidata
from kgservice.readers.assembly import BatchBuilder
from kgservice.readers.batch import Batch
from kgservice.readers.options import OnError, ReadOptions
from kgservice.readers.report import FileReport
from kgservice.readers.sources import Source, find

__all__ = ["FORMATS", "BatchBuilder", "Format", "OnError", "ReadOptions", "format_of", "resolve"]


class ReadBlock(Protocol):
    """Whole lines become a batch; `first_line` counts from 1, `scope` is borne by the source's blank nodes."""

    def __call__(self, block: bytes, options: ReadOptions, *, source: str, scope: str, first_line: int) -> Batch: ...


class ReadDocument(Protocol):
    """A stream becomes parts, in its order; each has yet to be made into a batch, in any thread."""

    def __call__(
        self, stream: BinaryIO, options: ReadOptions, *, source: str, scope: str
    ) -> Iterator[Callable[[], Batch]]: ...


ReadFiles = Callable[..., tuple[list[FileReport], dict[str, str]]]
"""All files of a format at once: `(sources, builder, *, skip_malformed) → (reports, prefixes)`."""


@dataclass(frozen=True)
class Format:
    """A format that can be read, in one of three ways.

    Attributes:
        title: its name for people.
        suffixes: of its files, after a compression suffix is taken off.
        files: reads all files of the format together; for benchmarks, whose files belong to each other.
        accepts: whether a file's name says that it has this format.
        block: reads blocks of lines; the way of large dumps.
        document: reads a file from its beginning to its end.
        is_document: of a format that is read by blocks or as a document: whether a file that begins so is a document.
        in_processes: whether `block` is mostly Python, so that threads would wait for each other.
    """

    title: str
    suffixes: tuple[str, ...]
    files: ReadFiles | None
    accepts: Callable[[Source], bool]
    block: ReadBlock | None = None
    document: ReadDocument | None = None
    is_document: Callable[[bytes], bool] = lambda head: False
    in_processes: bool = False

    def by_blocks(self, source: Source) -> bool:
        """Whether a file is read by blocks."""
        return self.block is not None and (self.document is None or not self.is_document(source.head()))


def _wikidata_block(block: bytes, options: ReadOptions, *, source: str, scope: str, first_line: int) -> Batch:
    return wikidata.read_block(block, options, source=source, first_line=first_line)


def _wikidata_document(
    stream: BinaryIO, options: ReadOptions, *, source: str, scope: str
) -> Iterator[Callable[[], Batch]]:
    yield partial(wikidata.read_document, stream.read(), options, source=source)


def _rdf(title: str, syntax: ox.RdfFormat, *suffixes: str) -> Format:
    by_lines = syntax in rdf.LINE_SYNTAXES
    return Format(
        title,
        suffixes,
        None,
        lambda source: source.suffix in suffixes,
        block=partial(rdf.read_block, syntax=syntax) if by_lines else None,
        document=None if by_lines else partial(rdf.read_document, syntax=syntax),
    )


FORMATS: Mapping[str, Format] = {
    "ntriples": _rdf("N-Triples", ox.RdfFormat.N_TRIPLES, ".nt"),
    "nquads": _rdf("N-Quads", ox.RdfFormat.N_QUADS, ".nq"),
    "turtle": _rdf("Turtle", ox.RdfFormat.TURTLE, ".ttl"),
    "trig": _rdf("TriG", ox.RdfFormat.TRIG, ".trig"),
    "rdfxml": _rdf("RDF/XML", ox.RdfFormat.RDF_XML, ".rdf", ".owl", ".xml"),
    "jsonld": _rdf("JSON-LD", ox.RdfFormat.JSON_LD, ".jsonld"),
    "wikidata": Format(
        "Wikidata JSON dump, or entities one by one",
        (".json", ".ndjson"),
        None,
        lambda source: source.suffix in (".json", ".ndjson") and not hyper.is_wikipeople(source),
        block=_wikidata_block,
        document=_wikidata_document,
        is_document=wikidata.is_document,
        in_processes=True,
    ),
    "tsv": Format("tab-separated triples, split by file name", (".tsv", ".txt"), tsv.read_tsv, tsv.is_tsv),
    "openke": Format("triples as numbers, as OpenKE writes them", (".txt",), openke.read_openke, openke.is_openke),
    "benchmark": Format(
        "benchmark triples, with labels 1 and -1 or with facts given at inference",
        (".txt", ".tsv"),
        benchmark.read_benchmark,
        benchmark.is_benchmark,
    ),
    "wd50k": Format("statements with qualifiers, as in WD50K", (".txt",), hyper.read_wd50k, benchmark.is_benchmark),
    "nary": Format("n-ary facts, as in JF17K", (".txt",), hyper.read_nary, benchmark.is_benchmark),
    "hynt": Format(
        "statements with numbers and qualifiers, as in HN-YG", (".txt",), hynt.read_hynt, benchmark.is_benchmark
    ),
    "wikipeople": Format(
        "n-ary facts as JSON, as in WikiPeople", (".json",), hyper.read_wikipeople, hyper.is_wikipeople
    ),
}
"""Formats by the name that `--format` takes. Without one, the first format that accepts a file reads it."""


def resolve(sources: Sequence[Path | str], *, format: str | None = None) -> list[Source]:
    """The files meant by files, folders and globs, each once, in the order of their names.

    Raises:
        InputError: no such path, nothing readable in it, an unknown format.
    """
    if format is not None and format not in FORMATS:
        close = difflib.get_close_matches(format, FORMATS, n=1)
        hint = f"Did you mean {close[0]}? " if close else ""
        raise InputError(f"{format!r} is not a format. {hint}Known: {', '.join(FORMATS)}.")
    formats = FORMATS if format is None else {format: FORMATS[format]}
    files = find(sources, lambda source: any(candidate.accepts(source) for candidate in formats.values()))
    if not files:
        raise InputError("no sources were given. Expected files, folders or globs.")
    for source in files:
        format_of(source, format)
    return files


def format_of(source: Source, format: str | None = None) -> str:
    """The name of a file's format.

    Raises:
        InputError: its name tells none.
    """
    name = format or next((name for name, candidate in FORMATS.items() if candidate.accepts(source)), None)
    if name is None:
        known = sorted({suffix for candidate in FORMATS.values() for suffix in candidate.suffixes})
        raise InputError(
            f"{source.name}: the suffix {source.suffix or '(none)'} tells no format. Known: {', '.join(known)}, "
            "also compressed. Name the format with --format, or rename the file."
        )
    return name
