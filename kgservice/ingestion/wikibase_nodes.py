"""Wikibase's statement nodes, put together: `Q p:P S`, and about `S` its value, qualifiers, rank and references.

The value of `S` is the literal that its value node stands for (`psv:P`), where there is one, else `ps:P`; qualifiers
likewise (`pqv:P`, `pq:P`). All triples about a node lie in one part of the sorted triples; whose statement it is comes
from the part of `Q`.
"""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kgservice.arrays.ragged import offsets_of
from kgservice.graph.literals import WIKIBASE
from kgservice.graph.statements import Rank
from kgservice.ingestion.chunks import Chunks, Range
from kgservice.ingestion.marks import LITERAL, Ids, Marks, Mask, mark
from kgservice.ingestion.rows import Output, add_qualified, add_types
from kgservice.ingestion.spool import int32
from kgservice.ingestion.terms import Terms
from kgservice.readers.options import ReadOptions
from kgservice.readers.wikibase import SOME_VALUE
from kgservice.readers.wikidata_rdf import PROPERTY

CLAIMS = pa.schema({"node": pa.int32(), "subject": pa.int32(), "property": pa.int32()})
DERIVED = "http://www.w3.org/ns/prov#wasDerivedFrom"


class Use(IntEnum):
    """What a predicate says of a property."""

    NONE = 0
    CLAIM = 1
    VALUE = 2
    FULL_VALUE = 3
    QUALIFIER = 4
    FULL_QUALIFIER = 5
    NO_VALUE = 6


_USE_OF = {
    "": Use.CLAIM,
    "statement/": Use.VALUE,
    "statement/value/": Use.FULL_VALUE,
    "qualifier/": Use.QUALIFIER,
    "qualifier/value/": Use.FULL_QUALIFIER,
    "novalue/": Use.NO_VALUE,
}
_PREDICATE = re.compile(re.escape(PROPERTY) + r"((?:[a-z]+/)*)(P[1-9][0-9]*)")


class StatementNodes:
    """Finds statement nodes in parts of the sorted triples, and turns them into rows.

    Args:
        folder: for the claims, which go from the part of their subject to that of their node.
    """

    def __init__(
        self, terms: Terms, marks: Marks, kinds: npt.NDArray[np.uint8], folder: Path, options: ReadOptions
    ) -> None:
        self._marks, self._kinds, self._options = marks, kinds, options
        self._claims = Chunks(folder, CLAIMS)
        # The predicates of all properties lie side by side among the sorted terms.
        self._low, high = terms.range_of(PROPERTY)
        names = terms.take(np.arange(self._low, high)).to_pylist()
        found = [_PREDICATE.fullmatch(name) for name in names]
        self._use = np.array([_USE_OF.get(match[1], Use.NONE) if match else Use.NONE for match in found], np.int8)
        self._property = terms.find([match[2] if match else "" for match in found])
        self.active = bool(np.any(self._use))
        self._rank = dict(
            zip(
                (
                    int(place)
                    for place in terms.find([f"{WIKIBASE}{name}Rank" for name in ("Normal", "Preferred", "Deprecated")])
                ),
                (Rank.NORMAL, Rank.PREFERRED, Rank.DEPRECATED),
                strict=True,
            )
        )
        found_terms = terms.find([WIKIBASE + "rank", DERIVED, SOME_VALUE, options.type_property])
        self._has_rank, self._derived, self._some_value, self.type_property = (int(place) for place in found_terms)
        wanted = terms.find(sorted(options.properties or ()))
        self._wanted = None if options.properties is None else wanted

    def find_claims(self, s: Ids, p: Ids, o: Ids) -> None:
        """Mark nodes, and keep whose statements they are."""
        if not self.active:
            return
        use = self._use_of(p)
        mark(self._marks.node, s[use > Use.CLAIM], o[use == Use.CLAIM])
        claim = np.flatnonzero(use == Use.CLAIM)
        claim = claim[np.argsort(o[claim], kind="stable")]
        columns = o[claim], s[claim], self._property_of(p[claim])
        self._claims.add(pa.record_batch([int32(column) for column in columns], schema=CLAIMS))

    def restated(self, s: Ids, p: Ids) -> Mask:
        """bool `[m]`: truthy triples of a subject and property that have statement nodes too."""
        if not self.active:
            return np.zeros(len(s), bool)
        claim = self._use_of(p) == Use.CLAIM
        full = s[claim].astype(np.int64) << 32 | self._property_of(p[claim])
        restated: Mask = np.isin(s.astype(np.int64) << 32 | p, full)
        return restated

    def emit(self, out: Output, s: Ids, p: Ids, o: Ids, keys: Range) -> Mask:
        """Add the rows of all nodes in a part; bool `[m]`, the triples that are accounted for."""
        settled = np.zeros(len(s), bool)
        if not self.active:
            return settled
        use = self._use_of(p)

        def settle(rows: Mask, outcome: str) -> None:
            chosen = rows & ~settled
            settled[chosen] = True
            out.account.add(outcome, p[chosen])

        settle(use == Use.CLAIM, "reifications")
        of_node = self._marks.node[s] & ~settled
        node, subject, property_ = (column.to_numpy() for column in self._claims.read(keys).columns)
        order = np.argsort(node, kind="stable")
        node, first = np.unique(node[order], return_index=True)
        subject, property_ = subject[order][first], property_[order][first]
        c = len(node)
        claim = np.minimum(np.searchsorted(node, s), max(c - 1, 0))
        known = of_node & (node[claim] == s) if c else np.zeros(len(s), bool)
        settle(of_node & ~known, "unasserted")

        rank = np.zeros(c, np.int8)
        for place, rated in self._rank.items():
            rank[claim[known & (p == self._has_rank) & (o == place)]] = rated
        if self._wanted is not None:
            settle(known & ~np.isin(property_[claim], self._wanted), "filtered_property")
        if not self._options.include_deprecated:
            settle(known & (rank[claim] == Rank.DEPRECATED), "deprecated_rank")
        live = known & ~settled
        about, value_of = self._property_of(p), property_[claim] if c else p
        is_literal = self._kinds[o] == LITERAL
        full = is_literal & live
        main = np.flatnonzero(
            (live & (use == Use.VALUE) & (about == value_of))
            | (full & (use == Use.FULL_VALUE) & (about == value_of))
            | (live & (use == Use.NO_VALUE) & (about == value_of))
        )
        best = main[np.lexsort((-(use[main] == Use.FULL_VALUE).astype(np.int8), claim[main]))]
        stated, chosen = np.unique(claim[best], return_index=True)
        row = best[chosen]
        has_value = np.zeros(c, bool)
        has_value[stated] = True
        settle(live & ~has_value[claim] if c else live, "unknown_value")
        live &= ~settled

        full_qualifier = full & live & (use == Use.FULL_QUALIFIER)
        pair = claim.astype(np.int64) << 32 | about
        replaced = is_literal & (o != self._some_value) & np.isin(pair, pair[full_qualifier])
        qualifier = (live & (use == Use.QUALIFIER) & ~replaced) | full_qualifier
        qualifier |= live & (use == Use.NO_VALUE) & (about != value_of)
        references = np.bincount(claim[live & (p == self._derived)], minlength=c)

        pairs = np.flatnonzero(qualifier)
        pairs = pairs[np.argsort(claim[pairs], kind="stable")]
        counts = np.bincount(claim[pairs], minlength=c)[stated]
        value, literal = o[pairs], is_literal[pairs]
        add_qualified(
            out.qualified,
            subject=subject[stated],
            relation=property_[stated],
            object=o[row],
            literal=is_literal[row],
            rank=rank[stated],
            references=references[stated],
            qualifier_offset=offsets_of(counts),
            qualifier_relation=about[pairs],
            qualifier_value=np.where(literal, -1 - value, value),
        )
        self._mark(out, subject[stated], property_[stated], o[row], is_literal[row])
        mark(self._marks.linked, value[~literal])
        mark(self._marks.rdf_relation, about[pairs])
        is_main = np.zeros(len(s), bool)
        is_main[row] = True
        settle(is_main & is_literal, "literals")
        settle(is_main, "statements")
        settle(qualifier, "qualifiers")
        settle(live & (p == self._derived), "reference")
        settle(live, "reifications")
        return settled

    def _mark(self, out: Output, subject: Ids, property_: Ids, object: Ids, is_literal: Mask) -> None:
        links = ~is_literal
        mark(self._marks.linked, subject[links], object[links])
        mark(self._marks.described, subject)
        mark(self._marks.rdf_relation, property_)
        typed = links & (property_ == self.type_property)
        add_types(out.types, subject[typed], object[typed], counted=False)

    def _use_of(self, p: Ids) -> npt.NDArray[np.int8]:
        return self._at(self._use, p, Use.NONE).astype(np.int8)

    def _property_of(self, p: Ids) -> Ids:
        return self._at(self._property.astype(np.int32), p, -1).astype(np.int32)

    def _at(self, values: npt.NDArray[np.int8] | Ids, p: Ids, absent: int) -> npt.NDArray[np.integer]:
        place = p - self._low
        inside = (place >= 0) & (place < len(values))
        return np.where(inside, values[np.where(inside, place, 0)] if len(values) else absent, absent).astype(
            values.dtype
        )
