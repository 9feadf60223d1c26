"""What RDF triples mean to a knowledge graph: links, texts, types, literals and qualifiers, decided on whole columns.

Qualifiers come from reifiers (RDF 1.2, `_:r rdf:reifies <<( s p o )>>`), from classical reification
(`_:r rdf:subject s` and so on) and from Wikibase's statement nodes (see `wikibase_nodes`): every other triple about a
reifier qualifies the statement. Quoting does not assert, so a reified triple counts only if it is also stated. A stated
triple with reifiers gives one row per reifier that has qualifiers, and no row without.

The triples are sorted by subject and cut into parts that fit into memory. Three passes over the parts share marks on
terms: who is a reifier; what each reifier quotes; and what every triple becomes.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kgservice.arrays.ordering import first_of_equal, order_of, pack, sort_rows
from kgservice.arrays.ragged import Ragged, offsets_of
from kgservice.ingestion.chunks import Chunks, Range, ranges
from kgservice.ingestion.marks import BNODE, IRI, LITERAL, Ids, Marks, Mask, mark
from kgservice.ingestion.rows import Output, add_plain, add_qualified, add_types
from kgservice.ingestion.spool import int32, read_batch, write_batch
from kgservice.ingestion.terms import Terms
from kgservice.ingestion.wikibase_nodes import StatementNodes
from kgservice.readers.options import RDF, ReadOptions

TRIPLES = pa.schema({"s": pa.int32(), "p": pa.int32(), "o": pa.int32()})
QUOTES = pa.schema({"s": pa.int32(), "p": pa.int32(), "o": pa.int32(), "r": pa.int32()})
BASES = pa.schema({"r": pa.int32(), "s": pa.int32(), "p": pa.int32(), "o": pa.int32()})

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Part:
    """Distinct triples in order, with what pass B and C ask of each.

    Attributes:
        link, typed, literal: bool `[m]`, what a triple about a plain node is.
        restated: a truthy Wikidata triple whose statement node is there too.
        remark: says something about a reifier; `scaffold` does nothing but quote, `misplaced` cannot qualify.
    """

    s: Ids
    p: Ids
    o: Ids
    link: Mask
    typed: Mask
    literal: Mask
    restated: Mask
    to_reifier: Mask
    remark: Mask
    scaffold: Mask
    misplaced: Mask


class Interpreter:
    """Turns triples into rows of a graph.

    Args:
        terms: all terms.
        kinds: uint8 `[t]`, see `marks.kinds_of`.
        triples, quotes: what readers found; quotes are those of RDF 1.2.
        folder: for intermediate files.
        part_rows: triples in memory at a time per thread.
    """

    def __init__(
        self,
        terms: Terms,
        kinds: npt.NDArray[np.uint8],
        marks: Marks,
        *,
        triples: Chunks,
        quotes: Chunks,
        output: Output,
        folder: Path,
        options: ReadOptions,
        part_rows: int,
    ) -> None:
        self._kinds, self._marks, self._out, self._folder = kinds, marks, output, folder
        self._triples, self._quotes = triples, quotes
        self._classical = Chunks(folder / "classical", QUOTES)
        self._bases = Chunks(folder / "bases", BASES)
        names = ("type", "Statement", "subject", "predicate", "object")
        found = terms.find([RDF + name for name in names])
        self._type, self._statement, *self._parts_of = (int(place) for place in found)
        self._nodes = StatementNodes(terms, marks, kinds, folder / "claims", options)
        self._ranges = ranges([triples, quotes], len(terms), rows=part_rows)

    def run(self, pool: Executor, each: Callable[[], None] = lambda: None) -> None:
        """All passes.

        Args:
            each: called after each part of each pass.
        """
        if not (self._triples.rows or self._quotes.rows):
            return
        for step in (self._find_reifiers, self._find_bases, self._emit):
            for _ in pool.map(partial(_in_order, step), enumerate(self._ranges)):
                each()

    def _find_reifiers(self, number: int, keys: Range) -> None:
        """Pass A: sort a part, mark reifiers and statement nodes."""
        batch = self._triples.read(keys)
        columns = sort_rows([batch.column(name).to_numpy() for name in TRIPLES.names])
        fresh = first_of_equal(columns)
        self._out.account.add("duplicate", columns[1][~fresh])
        s, p, o = (column[fresh] for column in columns)
        write_batch(self._folder / f"{number}.part", pa.record_batch([int32(s), int32(p), int32(o)], schema=TRIPLES))
        mark(self._marks.reifier, self._quotes.read(keys).column("r").to_numpy())
        self._find_classical(s, p, o)
        self._nodes.find_claims(s, p, o)

    def _find_classical(self, s: Ids, p: Ids, o: Ids) -> None:
        """Nodes with exactly one rdf:subject, rdf:predicate and rdf:object each are reifiers."""
        rows = [np.flatnonzero(p == part) for part in self._parts_of]
        typed = np.flatnonzero((p == self._type) & (o == self._statement))
        nodes = np.unique(np.concatenate([s[found] for found in (*rows, typed)]))
        if not len(nodes):
            return
        counts = np.stack([np.bincount(np.searchsorted(nodes, s[found]), minlength=len(nodes)) for found in rows])
        complete = np.all(counts == 1, axis=0)
        declared = np.all(counts > 0, axis=0) | np.isin(nodes, s[typed])
        mark(self._marks.broken, nodes[declared & ~complete])
        mark(self._marks.reifier, nodes[complete])
        mark(self._marks.classical, nodes[complete])
        quoted = np.zeros((3, len(nodes)), np.int32)
        for place, found in enumerate(rows):
            quoted[place, np.searchsorted(nodes, s[found])] = o[found]
        table = np.concatenate([quoted, nodes[None].astype(np.int32)])[:, complete]
        table = table[:, np.argsort(table[0], kind="stable")]
        self._classical.add(pa.record_batch([int32(column) for column in table], schema=QUOTES))

    def _find_bases(self, number: int, keys: Range) -> None:
        """Pass B: what each reifier quotes, and which reifiers say something."""
        part = self._part(number)
        q, base = self._quoted(part, keys)
        stated = base >= 0
        is_link = stated & part.link[base]
        mark(self._marks.quotes_link, q[3][is_link])
        mark(self._marks.quotes_other, q[3][stated & ~is_link])
        mark(self._marks.remarked, part.s[part.remark & ~part.scaffold & ~part.misplaced])
        table = q[:, is_link][[3, 0, 1, 2]]
        table = table[:, np.argsort(table[0], kind="stable")]
        self._bases.add(pa.record_batch([int32(column) for column in table], schema=BASES))

    def _emit(self, number: int, keys: Range) -> None:
        """Pass C: every triple becomes a row or is dropped for a reason."""
        part, marks, account = self._part(number), self._marks, self._out.account
        s, p, o = part.s, part.p, part.o
        q, base = self._quoted(part, keys)
        bare = part.link.copy()
        bare[base[(base >= 0) & marks.remarked[q[3]]]] = False
        qualifier = part.remark & ~part.scaffold & ~part.misplaced & marks.quotes_link[s]
        add_plain(self._out.plain, s[bare], p[bare], o[bare], literal=False)
        add_plain(self._out.plain, s[part.literal], p[part.literal], o[part.literal], literal=True)
        add_types(self._out.types, s[part.typed], o[part.typed], counted=True)
        by_property = part.link & (p == self._nodes.type_property)
        add_types(self._out.types, s[by_property], o[by_property], counted=False)
        self._add_qualified(part, np.flatnonzero(qualifier), keys)
        is_value_node = qualifier & (self._kinds[o] != LITERAL)
        mark(marks.linked, s[part.link], o[part.link], o[is_value_node])
        mark(marks.rdf_relation, p[part.link | part.literal | qualifier])
        mark(marks.rdf_class, o[part.typed])
        mark(marks.described, s[part.typed | part.literal])

        settled = np.zeros(len(s), bool)

        def settle(rows: Mask, outcome: str) -> None:
            chosen = rows & ~settled
            settled[chosen] = True
            account.add(outcome, p[chosen])

        settled |= self._nodes.emit(self._out, s, p, o, keys)
        settle(part.restated, "restated")
        settle(part.link, "statements")
        settle(part.typed, "types")
        settle(part.literal, "literals")
        settle(marks.broken[s] & ~marks.reifier[s], "broken_reification")
        settle(part.remark & part.misplaced & ~part.scaffold, "about_a_reifier")
        settle(part.to_reifier, "about_a_reifier")
        settle(part.scaffold & marks.quotes_link[s], "reifications")
        settle(qualifier, "qualifiers")
        settle(part.remark & marks.quotes_other[s], "qualifies_no_link")
        settle(part.remark, "unasserted")
        assert settled.all()
        self._account_quotes(q, base, part.link, keys)

    def _account_quotes(self, q: npt.NDArray[np.int32], base: Rows, link: Mask, keys: Range) -> None:
        """The triples that say rdf:reifies; those of classical reification are counted as they are."""
        count = len(self._quotes.read(keys))
        of_rdf12 = ~self._marks.classical[q[3]]
        for outcome, chosen in (
            ("reifications", (base >= 0) & link[base]),
            ("qualifies_no_link", (base >= 0) & ~link[base]),
            ("unasserted", base < 0),
        ):
            number = int(np.count_nonzero(chosen & of_rdf12))
            count -= number
            self._out.account.add_named(outcome, RDF + "reifies", number)
        self._out.account.add_named("duplicate", RDF + "reifies", count)

    def _quoted(self, part: _Part, keys: Range) -> tuple[npt.NDArray[np.int32], Rows]:
        """int32 `[4, x]` the distinct quotes of triples in a range (s, p, o, reifier), and the row of each or -1."""
        batches = [table.read(keys) for table in (self._quotes, self._classical)]
        q = np.concatenate([np.stack([column.to_numpy() for column in batch.columns]) for batch in batches], axis=1)
        if not q.shape[1]:
            return q, np.empty(0, np.int64)
        q = q[:, order_of(list(q))]
        q = q[:, first_of_equal(list(q))]
        m = len(part.s)
        columns = [np.concatenate(pair) for pair in zip((part.s, part.p, part.o), q[:3], strict=True)]
        key = pack(columns)
        if key is None:  # too wide to pack: number the distinct triples instead
            order = order_of(columns)
            key = np.empty(len(order), np.uint64)
            key[order] = np.cumsum(first_of_equal([column[order] for column in columns])).astype(np.uint64)
        if not m:
            return q, np.full(q.shape[1], -1, np.int64)
        place = np.minimum(np.searchsorted(key[:m], key[m:]), m - 1)
        about_plain = part.link | part.typed | part.literal
        found = (key[:m][place] == key[m:]) & about_plain[place]
        return q, np.where(found, place, -1)

    def _add_qualified(self, part: _Part, rows: Rows, keys: Range) -> None:
        """One row per pair of a link and a reifier of it that has qualifiers."""
        batch = self._bases.read(keys)
        reifier, s, p, o = (batch.column(name).to_numpy() for name in BASES.names)
        chosen = self._marks.remarked[reifier]
        reifier, s, p, o = (column[chosen] for column in (reifier, s, p, o))
        having, counts = np.unique(part.s[rows], return_counts=True)  # rows are in the order of their subjects
        if not len(having):
            return
        pairs = Ragged(offsets_of(counts), rows.astype(np.int32)).take(np.searchsorted(having, reifier))
        value, is_literal = part.o[pairs.values], self._kinds[part.o[pairs.values]] == LITERAL
        add_qualified(
            self._out.qualified,
            subject=s,
            relation=p,
            object=o,
            qualifier_offset=pairs.offset,
            qualifier_relation=part.p[pairs.values],
            qualifier_value=np.where(is_literal, -1 - value, value),
        )

    def _part(self, number: int) -> _Part:
        batch = read_batch(self._folder / f"{number}.part")
        s, p, o = (batch.column(name).to_numpy() for name in TRIPLES.names)
        marks, kind = self._marks, self._kinds[o]
        reifier, broken, node = marks.reifier[s], marks.broken[s], marks.node[s]
        plain = ~(reifier | broken | node)
        to_reifier = marks.reifier[o] | marks.broken[o] | marks.node[o]
        is_type = p == self._type
        to_node = (kind == IRI) | (kind == BNODE)
        scaffold = (
            reifier
            & marks.classical[s]
            & (np.isin(p, [part for part in self._parts_of if part >= 0]) | (is_type & (o == self._statement)))
        )
        scaffold |= reifier & is_type & (o == self._statement)
        restated = plain & self._nodes.restated(s, p)
        free = plain & ~restated
        return _Part(
            s,
            p,
            o,
            link=free & to_node & ~to_reifier & ~is_type,
            typed=free & to_node & ~to_reifier & is_type,
            literal=free & (kind == LITERAL),
            restated=restated,
            to_reifier=free & to_reifier,
            remark=reifier,
            scaffold=scaffold,
            misplaced=is_type | to_reifier,
        )


def _in_order(step: Callable[[int, Range], Any], numbered: tuple[int, Range]) -> None:
    step(*numbered)
