"""RDF in every syntax: blocks of lines and whole documents become batches of triples.

N-Triples and N-Quads are read in blocks, so that a bad line can be skipped alone; the other syntaxes are documents, where
nothing after an error can be trusted. Documents are parsed by pyoxigraph and pass on as canonical lines, so that columns
are made in one place. Graph names are not kept; the report counts how many triples had one.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyoxigraph as ox

from kgservice.arrays.digests import parts
from kgservice.errors import MalformedStatement
from kgservice.graph.literals import Literal
from kgservice.graph.names import NAMESPACE, name_of
from kgservice.readers import wikidata_rdf
from kgservice.readers.batch import Batch, Owner, Places, Tally, TextRows
from kgservice.readers.columns import Coded, large_strings
from kgservice.readers.lines import Lines, canonical, cut_canonical, problem_of, read_lines
from kgservice.readers.options import RDF, ReadOptions
from kgservice.readers.sources import Source

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
LINE_SYNTAXES = (ox.RdfFormat.N_TRIPLES, ox.RdfFormat.N_QUADS)
_DATASET_SYNTAXES = (ox.RdfFormat.N_QUADS, ox.RdfFormat.TRIG, ox.RdfFormat.JSON_LD)
DOCUMENT_TRIPLES = 1 << 18
"""Triples per batch of a document."""
# A random label that pyoxigraph gives to a node without one: up to 128 bits in hexadecimal that begin with a letter.
# A file's own label of that form is numbered too: as stable within the file, if it keeps its order.
_ANONYMOUS = re.compile(rb"_:([a-f][0-9a-f]{15,31})(?= )")
_BNODE_OR_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|_:([^\s]+)')
_QUOTED = r"(?s)^<<\( (?P<s>[^ ]+) (?P<p>[^ ]+) (?P<o>.*) \)>>$"


def scope_of(source: Source, *, same_name: bool) -> str:
    """A short hash that a file's blank nodes bear: of its name, and of its content where another file has the same name."""
    digest = hashlib.sha256(source.plain_name.encode("utf-8", "surrogateescape"))
    if same_name:
        with source.path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:10]


def read_block(
    block: bytes, options: ReadOptions, *, syntax: ox.RdfFormat, source: str, scope: str, first_line: int
) -> Batch:
    """Whole lines of N-Triples or N-Quads as a batch.

    Raises:
        MalformedStatement: names file, line and column.
    """
    lines = read_lines(block, syntax, source=source, first_line=first_line, skip_malformed=options.on_error == "skip")
    return batch_of(lines, options, lambda label: f"_:{scope}-{label}")


def read_document(
    stream: BinaryIO, options: ReadOptions, *, syntax: ox.RdfFormat, source: str, scope: str
) -> Iterator[Callable[[], Batch]]:
    """A document in parts, in its order; each still has to be made into a batch, which other threads may do.

    Raises:
        MalformedStatement: names file, line and column.
    """
    numbers: dict[str, int] = {}

    def rename(label: str) -> str:
        # No label that stands in a file begins with a dot.
        number = numbers.get(label)
        return f"_:{scope}-{label}" if number is None else f"_:{scope}-.{number}"

    def make(written: bytes) -> Batch:
        return batch_of(cut_canonical(written, quads=syntax in _DATASET_SYNTAXES), options, rename)

    parser = ox.parse(stream, format=syntax)
    while True:
        try:
            written = canonical(itertools.islice(parser, DOCUMENT_TRIPLES))
        except MemoryError as error:
            raise MalformedStatement(
                source, None, None, "a term is longer than 16 MiB, which the parser cannot hold", hint="Shorten it."
            ) from error
        except SyntaxError as error:
            raise MalformedStatement(
                source,
                error.lineno,
                error.offset,
                problem_of(error),
                hint=f"Mend the file: after an error the rest of a {syntax.name} document cannot be trusted, "
                "so --on-error=skip does not apply to it.",
            ) from error
        if not written:
            break
        if b"_:" in written:
            for label in _ANONYMOUS.findall(written):
                numbers.setdefault(label.decode(), len(numbers))
        yield partial(make, written)
    prefixes = dict(parser.prefixes)
    yield lambda: Batch(pa.array([], pa.large_string()), prefixes=prefixes)


def batches_of_triples(triples: Iterable[ox.Triple | ox.Quad], options: ReadOptions) -> Iterator[Batch]:
    """Triples or quads of pyoxigraph as batches; blank nodes keep their labels."""
    rest = iter(triples)
    while some := list(itertools.islice(rest, DOCUMENT_TRIPLES)):
        yield batch_of(cut_canonical(canonical(some), quads=True), options, lambda label: f"_:{label}")


def batch_of(lines: Lines, options: ReadOptions, rename: Callable[[str], str]) -> Batch:
    """Sort what can be told from a triple alone: texts, quotes, what is no part of a graph; the rest stays triples.

    Args:
        rename: the name of a blank node in the graph, from its label.
    """
    triples = _Triples.of(Coded.of(lines.terms), rename)
    if lines.malformed:
        triples.tally["malformed", ""] += lines.malformed
    if lines.in_named_graphs:
        triples.tally["named_graphs", ""] += lines.in_named_graphs
    wikidata = wikidata_rdf.rewrite(triples, options) if wikidata_rdf.is_meant(triples.terms) else None
    quotes = _quotes(triples, rename)
    texts = _texts(triples, options)
    s, p, o = (column[triples.rows] for column in (triples.s, triples.p, triples.o))
    columns = [np.stack([s, p, o]), quotes, texts.owner, texts.predicate, _names(triples)]
    if wikidata is not None:
        columns += [wikidata.value_nodes, wikidata.aliases, wikidata.properties]
    terms, (kept, quotes, owner, predicate, aliases, *rest) = _compact(triples.terms, columns)
    texts = TextRows(owner, texts.of, texts.kind, texts.language, texts.text, texts.languages, predicate)
    value_nodes, redirects = rest[:2] or (np.empty((3, 0), np.int32), np.empty((2, 0), np.int32))
    aliases = np.concatenate([aliases, redirects], axis=1)
    return Batch(
        terms, triples=kept, quotes=quotes, value_nodes=value_nodes, aliases=aliases, texts=texts, tally=triples.tally
    )


@dataclass
class _Triples:
    """The triples of a block while they are sorted.

    Attributes:
        terms: `[t]`, named as in a batch; grows.
        s, p, o: `[m]`, places.
        left: bool `[m]`: the rows that nobody has taken yet.
        tally: what became of those that are gone for good.
    """

    terms: pa.LargeStringArray
    s: Places
    p: Places
    o: Places
    left: npt.NDArray[np.bool_]
    tally: Tally = field(default_factory=Counter)

    @classmethod
    def of(cls, column: Coded, rename: Callable[[str], str]) -> _Triples:
        terms = pl.Series("term", column.values, dtype=pl.String)
        renamed = (terms.str.starts_with("_:") | terms.str.starts_with("<<(")).arg_true()
        if len(renamed):
            named = [
                rename(term[2:]) if term.startswith("_:") else _rename_within(term, rename)
                for term in terms.gather(renamed).to_list()
            ]
            terms = terms.scatter(renamed, named)
        s, p, o = np.ascontiguousarray(column.codes.reshape(-1, 3).T)
        return cls(large_strings(terms.to_arrow()), s, p, o, np.ones(len(s), bool))

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        return np.flatnonzero(self.left)

    def starts(self, sign: str) -> npt.NDArray[np.bool_]:
        """bool `[t]`: the terms that begin so."""
        found: npt.NDArray[np.bool_] = pc.starts_with(self.terms, sign).to_numpy(zero_copy_only=False)
        return found

    def find(self, names: list[str]) -> Places:
        """int32: places of names, -1 where there is none."""
        found = pc.index_in(pa.array(names, pa.large_string()), value_set=self.terms)
        return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), dtype=np.int32)

    def places(self, names: pa.Array) -> Places:
        """int32: places of names, which are added where they are new."""
        found = pc.index_in(names, value_set=self.terms)
        missing = pc.unique(names.filter(pc.is_null(found)))
        if len(missing):
            self.terms = pa.concat_arrays([self.terms, missing])
            found = pc.index_in(names, value_set=self.terms)
        return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int32)

    def drop(self, rows: npt.NDArray[np.bool_], reason: str) -> None:
        """Count rows as gone for a reason."""
        rows = rows & self.left
        self.left &= ~rows
        counts = np.bincount(self.p[rows], minlength=0)
        for place in np.flatnonzero(counts).tolist():
            self.tally[reason, self.terms[place].as_py()] += int(counts[place])


def _rename_within(triple: str, rename: Callable[[str], str]) -> str:
    return _BNODE_OR_STRING.sub(lambda match: match[0] if match[1] is None else rename(match[1]), triple)


def _quotes(triples: _Triples, rename: Callable[[str], str]) -> Places:
    """Take `R rdf:reifies <<( s p o )>>` out; a triple term anywhere else is no part of a graph."""
    is_triple_term = triples.starts("<<(")
    if not is_triple_term.any():
        return np.empty((4, 0), np.int32)
    quoting = triples.left & is_triple_term[triples.o] & (triples.p == triples.find([RDF + "reifies"])[0])
    triples.left &= ~quoting
    triples.drop(is_triple_term[triples.o], "triple_term")
    used, back = np.unique(triples.o[quoting], return_inverse=True)
    quoted = pl.Series("quoted", triples.terms.take(pa.array(used)), dtype=pl.String)
    columns = quoted.str.extract_groups(_QUOTED).struct.unnest()
    bare = [
        pl.select(
            pl.when(part.str.starts_with("<") & ~part.str.starts_with("<<"))
            .then(part.str.slice(1).str.strip_suffix(">"))
            .otherwise(part)
        ).to_series()
        for part in columns
    ]
    s, p, o = (triples.places(large_strings(part.to_arrow())) for part in bare)
    return np.stack([triples.s[quoting], s[back], p[back], o[back]]).astype(np.int32)


def _names(triples: _Triples) -> Places:
    """int32 `[2, x]`: places of the IRIs that stand for names that are none, such as `Q80`, and of these names.

    So what is written about a graph of such names (proposals, accepted links, the graph itself) is about it when it is read.
    """
    used = np.flatnonzero(triples.starts(NAMESPACE)).astype(np.int32)
    iris = triples.terms.take(pa.array(used)).to_pylist()
    named = [name_of(iri) for iri in iris]
    meant = [name != iri and not name.startswith(('"', "<<(")) for name, iri in zip(named, iris, strict=True)]
    names = pa.array([name for name, is_meant in zip(named, meant, strict=True) if is_meant], pa.large_string())
    return np.stack([used[np.array(meant, bool)], triples.places(names)]).astype(np.int32)


def _texts(triples: _Triples, options: ReadOptions) -> TextRows:
    """Take strings of the predicates that mean texts out."""
    predicates = options.text_predicates
    places = triples.find(list(predicates))
    kinds = np.full(len(triples.terms), -1, np.int8)
    kinds[places[places >= 0]] = np.array(list(predicates.values()), np.int8)[places >= 0]
    ends = pc.ends_with(triples.terms, ">").to_numpy(zero_copy_only=False)
    is_plain = triples.starts('"') & ~ends
    rows = np.flatnonzero(triples.left & (kinds[triples.p] >= 0) & is_plain[triples.o])
    if not len(rows):
        return TextRows()
    triples.left[rows] = False
    used, back = np.unique(triples.o[rows], return_inverse=True)
    terms = triples.terms.take(pa.array(used))
    text, language = _cut_texts(terms)
    escaped = np.flatnonzero(pc.match_substring(terms, "\\").to_numpy(zero_copy_only=False))
    if len(escaped):
        text = text.scatter(
            escaped, [Literal.parse(term).lexical for term in terms.take(pa.array(escaped)).to_pylist()]
        )
    if options.languages is not None:
        wanted = language.is_in(["", *options.languages]).to_numpy()[back]
        others = np.zeros(len(triples.s), bool)
        others[rows[~wanted]] = triples.left[rows[~wanted]] = True
        triples.drop(others, "filtered_language")
        rows, back = rows[wanted], back[wanted]
    languages = Coded.of(language.to_arrow())
    return TextRows(
        owner=triples.s[rows],
        of=np.full(len(rows), Owner.ANY, np.int8),
        kind=kinds[triples.p[rows]],
        language=languages.codes[back],
        text=large_strings(text.gather(back).to_arrow()),
        languages=languages.values.to_pylist(),
        predicate=triples.p[rows],
    )


def _cut_texts(terms: pa.LargeStringArray) -> tuple[pl.Series, pl.Series]:
    """The text and the language, without a direction, of plain and tagged strings: cut at their last quotation marks."""
    offset, data = parts(terms)
    starts, ends = offset[:-1] - offset[0], offset[1:] - offset[0]
    quotes = np.flatnonzero(data == ord('"'))
    last = quotes[np.searchsorted(quotes, ends) - 1]
    bounds = np.stack([starts + 1, last, np.minimum(last + 2, ends), ends], axis=1)
    buffers = pa.py_buffer(np.append(bounds.ravel(), len(data))), pa.py_buffer(np.ascontiguousarray(data))
    pieces = pa.LargeStringArray.from_buffers(4 * len(terms), *buffers)
    text, language = (pl.Series("part", pieces.take(pa.array(np.arange(k, 4 * len(terms), 4)))) for k in (0, 2))
    return text, language.str.to_lowercase().str.replace(r"--(ltr|rtl)$", "")


def _compact(terms: pa.LargeStringArray, columns: list[Places]) -> tuple[pa.LargeStringArray, list[Places]]:
    """Only the terms in use, and the columns in their places."""
    used = np.zeros(len(terms), bool)
    for column in columns:
        used[column] = True
    place = np.cumsum(used, dtype=np.int32) - np.int32(1)
    return terms.filter(pa.array(used)), [place[column] for column in columns]
