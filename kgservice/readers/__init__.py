"""Readers: files in, one graph out.

Adding a format is one module with a function like `read_tsv`, and one line in `FORMATS`.
"""

from __future__ import annotations

import difflib
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal as OneOf

import pyoxigraph as ox

from kgservice.errors import DataError, InputError
from kgservice.graph import KnowledgeGraph
from kgservice.readers import rdf, tsv
from kgservice.readers.assembly import GraphBuilder
from kgservice.readers.report import FileReport, summary
from kgservice.readers.sources import Source, find

__all__ = ["FORMATS", "Format", "GraphBuilder", "OnError", "load_into", "read", "resolve"]

_log = logging.getLogger(__name__)

OnError = OneOf["fail", "skip"]
ReadFiles = Callable[..., tuple[list[FileReport], dict[str, str]]]


@dataclass(frozen=True)
class Format:
    """A format that can be read.

    Attributes:
        title: its name for people.
        suffixes: of its files, after a compression suffix is taken off.
        reader: `(sources, builder, *, skip_malformed) → (reports, prefixes)`.
        accepts: whether a file's name says that it has this format.
    """

    title: str
    suffixes: tuple[str, ...]
    reader: ReadFiles
    accepts: Callable[[Source], bool]


def _rdf(title: str, syntax: ox.RdfFormat, *suffixes: str) -> Format:
    return Format(title, suffixes, partial(rdf.read_rdf, syntax=syntax), lambda source: source.suffix in suffixes)


_RDF = Format(
    "RDF, each file's syntax told by its suffix",
    tuple(rdf.SYNTAXES),
    partial(rdf.read_rdf, syntax=None),
    lambda source: source.suffix in rdf.SYNTAXES,
)
FORMATS: Mapping[str, Format] = {
    "rdf": _RDF,
    "ntriples": _rdf("N-Triples", ox.RdfFormat.N_TRIPLES, ".nt"),
    "nquads": _rdf("N-Quads", ox.RdfFormat.N_QUADS, ".nq"),
    "turtle": _rdf("Turtle", ox.RdfFormat.TURTLE, ".ttl"),
    "trig": _rdf("TriG", ox.RdfFormat.TRIG, ".trig"),
    "rdfxml": _rdf("RDF/XML", ox.RdfFormat.RDF_XML, ".rdf", ".owl", ".xml"),
    "jsonld": _rdf("JSON-LD", ox.RdfFormat.JSON_LD, ".jsonld"),
    "tsv": Format("tab-separated triples, split by file name", (".tsv", ".txt"), tsv.read_tsv, tsv.is_tsv),
}
"""Formats by the name that `--format` takes. Without one, the first format that accepts a file reads it."""


def read(
    sources: Sequence[Path | str],
    *,
    format: str | None = None,
    on_error: OnError = "fail",
    progress: bool = False,
) -> KnowledgeGraph:
    """Read files, folders and globs, compressed or not, into one graph.

    The same content gives the same graph in whatever order and in however many files it comes; only blank nodes are
    particular to a file. What became of every statement read is in `graph.provenance["report"]`.

    Args:
        sources: a folder stands for the files in it that a format accepts by name.
        format: a key of `FORMATS`; by default told from each file's name.
        on_error: "skip" counts and skips malformed lines, where lines stand for themselves.
        progress: show a bar, if standard error is a terminal.

    Raises:
        InputError: no such path, nothing readable in it, an unknown format.
        MalformedStatement: names file, line and column.
        DataError: a file is empty, truncated or damaged, or the sources hold no statement at all.
    """
    builder = GraphBuilder()
    loaded = load_into(builder, sources, format=format, on_error=on_error, progress=progress)
    graph = builder.build(prefixes=loaded.prefixes, provenance=loaded.provenance())
    if not graph.n:
        names = ", ".join(source.name for source in loaded.sources[:5])
        raise DataError(f"{names}: no entity was found. Expected statements; see the format with --format.")
    return graph


@dataclass(frozen=True)
class Loaded:
    """What a builder was given."""

    sources: list[Source]
    reports: list[FileReport]
    prefixes: dict[str, str]

    def provenance(self) -> dict[str, object]:
        """The files with their checksums, and what became of their content."""
        return {
            "sources": [source.fingerprint() for source in self.sources],
            "report": summary(self.reports),
        }


def load_into(
    builder: GraphBuilder,
    sources: Sequence[Path | str],
    *,
    format: str | None = None,
    on_error: OnError = "fail",
    progress: bool = False,
) -> Loaded:
    """Like `read`, but into a builder that may be given more; see there."""
    files = _find(sources, format)
    by_format: dict[str, list[Source]] = {}
    for source in files:
        by_format.setdefault(_format_of(source, format), []).append(source)

    started, reports, prefixes = time.monotonic(), [], {}
    with ExitStack() as stack:
        _show_progress(stack, files, progress)
        for name, group in by_format.items():
            found, declared = FORMATS[name].reader(group, builder, skip_malformed=on_error == "skip")
            reports += found
            prefixes.update(declared)
    read_count = sum(report.read for report in reports)
    _log.info("%d statements read from %d files in %.1f s", read_count, len(files), time.monotonic() - started)
    return Loaded(files, sorted(reports, key=lambda report: report.name), prefixes)


def resolve(sources: Sequence[Path | str], *, format: str | None = None) -> list[Path]:
    """The files that `read` would read, in its order; raises what it would raise of paths and formats."""
    return [source.path for source in _find(sources, format)]


def _find(sources: Sequence[Path | str], format: str | None) -> list[Source]:
    if format is not None and format not in FORMATS:
        close = difflib.get_close_matches(format, FORMATS, n=1)
        hint = f"Did you mean {close[0]}? " if close else ""
        raise InputError(f"{format!r} is not a format. {hint}Known: {', '.join(FORMATS)}.")
    formats = FORMATS if format is None else {format: FORMATS[format]}
    files = find(sources, lambda source: any(candidate.accepts(source) for candidate in formats.values()))
    if not files:
        raise InputError("no sources were given. Expected files, folders or globs.")
    return files


def _format_of(source: Source, format: str | None) -> str:
    name = format or next((name for name, candidate in FORMATS.items() if candidate.accepts(source)), None)
    if name is None or (name == "rdf" and source.suffix not in rdf.SYNTAXES):
        known = sorted({suffix for candidate in FORMATS.values() for suffix in candidate.suffixes})
        raise InputError(
            f"{source.name}: the suffix {source.suffix or '(none)'} tells no format. Known: {', '.join(known)}, "
            "also compressed. Name the format with --format, or rename the file."
        )
    return name


def _show_progress(stack: ExitStack, files: Sequence[Source], progress: bool) -> None:
    if not (progress and sys.stderr.isatty()):
        return
    from tqdm import tqdm

    total = sum(source.path.stat().st_size for source in files)
    bar = stack.enter_context(tqdm(total=total, unit="B", unit_scale=True, desc="reading"))
    for source in files:
        source.on_bytes = bar.update
