"""RDF in every syntax that pyoxigraph parses, as one column of terms: subject, predicate, object, subject, ...

N-Triples and N-Quads are parsed in blocks of lines, so that a bad line can be skipped alone; the other syntaxes are
parsed as documents, where nothing after an error can be trusted. Graph names of N-Quads, TriG and JSON-LD are not kept;
the report counts how many triples had one.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import polars as pl
import pyarrow as pa
import pyoxigraph as ox

from kgservice.errors import MalformedStatement
from kgservice.readers.assembly import GraphBuilder
from kgservice.readers.columns import Coded
from kgservice.readers.interpretation import Triples, interpret
from kgservice.readers.report import FileReport
from kgservice.readers.sources import Source, blocks

_log = logging.getLogger(__name__)

SYNTAXES: Mapping[str, ox.RdfFormat] = {
    ".nt": ox.RdfFormat.N_TRIPLES,
    ".nq": ox.RdfFormat.N_QUADS,
    ".ttl": ox.RdfFormat.TURTLE,
    ".trig": ox.RdfFormat.TRIG,
    ".rdf": ox.RdfFormat.RDF_XML,
    ".owl": ox.RdfFormat.RDF_XML,
    ".xml": ox.RdfFormat.RDF_XML,
    ".jsonld": ox.RdfFormat.JSON_LD,
}
_LINE_SYNTAXES = (ox.RdfFormat.N_TRIPLES, ox.RdfFormat.N_QUADS)
_DATASET_SYNTAXES = (ox.RdfFormat.N_QUADS, ox.RdfFormat.TRIG, ox.RdfFormat.JSON_LD)
_BATCH_TRIPLES = 1 << 17
_POSITION = re.compile(r"^Parser error .*?\d: |\s*\(line \d+\)$")
# A random label that pyoxigraph gives to a node without one: up to 128 bits in hexadecimal that begin with a letter.
# A file's own label of that form is numbered too: as stable within the file, if it keeps its order.
_ANONYMOUS = re.compile(r"[a-f][0-9a-f]{15,31}")
_BNODE_OR_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|_:([^\s]+)')


def read_rdf(
    sources: Sequence[Source], builder: GraphBuilder, *, syntax: ox.RdfFormat | None, skip_malformed: bool
) -> tuple[list[FileReport], dict[str, str]]:
    """Read files into the builder.

    Args:
        syntax: of all files; by default each file's suffix tells.
        skip_malformed: count and skip malformed lines of N-Triples and N-Quads.

    Returns:
        One account per file, and the prefixes that the files declare; of two meanings the first file's holds.

    Raises:
        MalformedStatement: a line that does not parse, or any error in a document.
        DataError: a file that cannot be read to its end.
    """
    scopes = _scopes(sources)
    files = [
        _File(source, syntax or SYNTAXES[source.suffix], scope) for source, scope in zip(sources, scopes, strict=True)
    ]
    prefixes: dict[str, str] = {}
    for file in files:
        file.read(skip_malformed)
        for name, iri in sorted(file.prefixes.items()):
            if prefixes.setdefault(name, iri) != iri:
                _log.warning("%s: prefix %s: means %s already, not %s", file.source.name, name, prefixes[name], iri)
    terms = Coded.concat([batch for file in files for batch in file.batches])
    file_of = np.repeat(np.arange(len(files), dtype=np.int32), [file.triples for file in files])
    outcomes = interpret(Triples.of(terms), builder)
    reports = []
    for number, file in enumerate(files):
        report = FileReport(file.source.name, file.syntax.name, read=file.triples, malformed=file.malformed)
        report.notes.update({"named_graphs": file.in_named_graphs} if file.in_named_graphs else {})
        for outcome, count in outcomes.counts(file_of == number).items():
            (report.kept if outcome.is_kept else report.dropped)[outcome.label] = count
        reports.append(report)
    return reports, prefixes


def _scopes(sources: Sequence[Source]) -> list[str]:
    """A short hash per file that its blank nodes bear: of its name, and of its content where two names are the same."""
    names = Counter(source.plain_name for source in sources)
    scopes = []
    for source in sources:
        digest = hashlib.sha256(source.plain_name.encode("utf-8", "surrogateescape"))
        if names[source.plain_name] > 1:
            with source.path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        scopes.append(digest.hexdigest()[:10])
    return scopes


@dataclass
class _File:
    source: Source
    syntax: ox.RdfFormat
    scope: str
    batches: list[Coded] = field(default_factory=list)
    prefixes: dict[str, str] = field(default_factory=dict)
    triples: int = 0
    malformed: int = 0
    in_named_graphs: int = 0
    _anonymous: dict[str, int] = field(default_factory=dict)

    def read(self, skip_malformed: bool) -> None:
        with self.source.open() as stream:
            quads = self._lines(stream, skip_malformed) if self.syntax in _LINE_SYNTAXES else self._document(stream)
            while terms := self._terms(itertools.islice(quads, _BATCH_TRIPLES)):
                self.triples += len(terms) // 3
                self.batches.append(self._scoped(Coded.of(terms)))
        _log.info("%s: %d triples read, %d lines skipped", self.source.name, self.triples, self.malformed)

    def _terms(self, quads: Iterator[ox.Quad]) -> list[str]:
        terms: list[str] = []
        if self.syntax in _DATASET_SYNTAXES:
            default = ox.DefaultGraph()
            for quad in quads:
                terms += (str(quad.subject), str(quad.predicate), str(quad.object))
                self.in_named_graphs += quad.graph_name != default
        else:
            for quad in quads:
                terms += (str(quad.subject), str(quad.predicate), str(quad.object))
        return terms

    def _document(self, stream: BinaryIO) -> Iterator[ox.Quad]:
        parser = ox.parse(stream, format=self.syntax)
        hint = (
            f"Mend the file: after an error the rest of a {self.syntax.name} document cannot be trusted, "
            "so --on-error=skip does not apply to it."
        )
        try:
            yield from parser
        except SyntaxError as error:
            raise self._malformed(error, 0, hint) from error
        self.prefixes = dict(parser.prefixes)

    def _lines(self, stream: BinaryIO, skip_malformed: bool) -> Iterator[ox.Quad]:
        for first_line, block in blocks(stream):
            if not skip_malformed:
                try:
                    yield from ox.parse(block, format=self.syntax)
                except SyntaxError as error:
                    raise self._malformed(error, first_line - 1) from error
                continue
            try:
                quads = list(ox.parse(block, format=self.syntax))
            except SyntaxError:
                quads = list(self._salvaged(block, first_line))
            yield from quads

    def _salvaged(self, block: bytes, first_line: int) -> Iterator[ox.Quad]:
        """Line by line: slow, but an error stays within its line."""
        for number, line in enumerate(block.split(b"\n"), first_line):
            try:
                yield from list(ox.parse(line, format=self.syntax))
            except SyntaxError as error:
                self.malformed += 1
                _log.warning("skipped: %s", self._malformed(error, number - 1))

    def _malformed(self, error: SyntaxError, lines_before: int, hint: str | None = None) -> MalformedStatement:
        problem = _POSITION.sub("", str(error.msg))
        line = None if error.lineno is None else error.lineno + lines_before
        return MalformedStatement(self.source.name, line, error.offset, problem[:1].lower() + problem[1:], hint=hint)

    def _scoped(self, terms: Coded) -> Coded:
        """Give blank nodes names that are unique to the file and the same in every run; mark triple terms as such.

        Python sees only the distinct blank nodes and triple terms of a batch.
        """
        values = pl.Series("term", terms.values, dtype=pl.String)
        is_bnode = values.str.starts_with("_:")
        # pyoxigraph writes a triple term as its three parts alone; no IRI contains a space.
        is_triple = values.str.starts_with("<") & values.str.contains(" ", literal=True)
        chosen = (is_bnode | is_triple).arg_true()
        if not len(chosen):
            return terms
        named = [
            self._bnode(term[2:]) if term.startswith("_:") else f"<<( {self._with_scoped_bnodes(term)} )>>"
            for term in values.gather(chosen).to_list()
        ]
        return Coded(values.scatter(chosen, named).to_arrow().cast(pa.large_string()), terms.codes)

    def _with_scoped_bnodes(self, triple: str) -> str:
        return _BNODE_OR_STRING.sub(lambda match: match[0] if match[1] is None else self._bnode(match[1]), triple)

    def _bnode(self, label: str) -> str:
        return f"_:{self.scope}-{self._label(label)}"

    def _label(self, label: str) -> str:
        if self.syntax in _LINE_SYNTAXES or not _ANONYMOUS.fullmatch(label):
            return label
        # No label that stands in a file begins with a dot.
        return f".{self._anonymous.setdefault(label, len(self._anonymous))}"
