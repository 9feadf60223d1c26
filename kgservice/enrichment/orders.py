"""Which dates come before which, around the statements of a relation: learnt, since few graphs say it.

A statement has dates at three places: those of its subject, those of its object, and those among its qualifiers. Where, of a
relation, one date hardly ever comes before another (nobody is born after the end of a membership, nobody's mother is
younger), it never should: a link that would break such an order is refused, and a statement that does is doubted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kgservice.arrays.ordering import first_of_equal
from kgservice.arrays.ragged import Ragged, offsets_of
from kgservice.enrichment.shapes import SINGLE, SUPPORT
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import StatementTable

Ids = npt.NDArray[np.int32]
Keys = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SLACK = 1.0
"""Years by which a date may be off: many are known by their year alone."""
BLOCK = 1 << 20
"""Statements looked at together."""
PLACES = 3


@dataclass(frozen=True)
class Dates:
    """Of each of `m` things its dates.

    Attributes:
        of: ragged `[m]`, which dates: relations that give them, counted apart by place, see `Orders`.
        year: float64, one for each value of `of`.
    """

    of: Ragged
    year: Floats


@dataclass(frozen=True)
class Orders:
    """The orders of `r` relations.

    Attributes:
        r: relations; a date is the relation that gives it, plus `r` where it is the object's, plus `2 r` where a qualifier's.
        dates: the earliest of each entity and relation.
        keys: int64, sorted: relation, earlier date and later date as one number.
        broken: float64, the share of statements that break each order, smoothed; never above 1 - `SINGLE` by much.
    """

    r: int
    dates: Dates
    keys: Keys
    broken: Floats

    @classmethod
    def learn(cls, graph: KnowledgeGraph) -> Orders:
        """Count over the statements of all splits, a block at a time."""
        r = graph.r
        dates = _dates_of_entities(graph)
        empty = cls(r, dates, np.empty(0, np.int64), np.empty(0))
        if not len(dates.year):
            return empty
        keys, counts = np.empty(0, np.int64), np.empty((0, 2), np.int64)
        table = graph.statements
        for start in range(0, len(table), BLOCK):
            rows = np.arange(start, min(start + BLOCK, len(table)))
            _, key, gap = empty._pairs(
                table.subject[rows], table.relation[rows], table.object[rows], _of_qualifiers(graph, table, rows)
            )
            found = np.stack([np.ones(len(key), np.int64), (gap < -SLACK).astype(np.int64)], axis=1)
            keys, place = np.unique(np.concatenate([keys, key]), return_inverse=True)
            summed = np.zeros((len(keys), 2), np.int64)
            np.add.at(summed, place, np.concatenate([counts, found]))
            counts = summed
        share = (counts[:, 1] + 0.5) / (counts[:, 0] + 1)
        rule = (counts[:, 0] >= SUPPORT) & (counts[:, 1] <= (1 - SINGLE) * counts[:, 0])
        return cls(r, dates, keys[rule], share[rule])

    def doubt(self, subject: Ids, relation: Ids, object: Ids, qualifiers: Dates | None = None) -> Floats:
        """float64 `[m]`: log-odds that the orders broken by a statement take away from its being right; 0 without any.

        Each order broken counts for its share among statements against a half among wrong ones, whose dates fall anyhow.

        Args:
            subject, relation, object: int32 `[m]`.
            qualifiers: of the statements, see `of_statements`.
        """
        found = np.zeros(len(subject))
        if not len(self.keys):
            return found
        row, key, gap = self._pairs(subject, relation, object, qualifiers)
        place = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
        breaks = (self.keys[place] == key) & (gap < -SLACK)
        np.add.at(found, row[breaks], -np.log(2 * self.broken[place[breaks]]))
        return found

    def of_statements(self, graph: KnowledgeGraph, rows: npt.NDArray[np.integer]) -> Dates:
        """The dates among the qualifiers of some statements."""
        return _of_qualifiers(graph, graph.statements, rows)

    def _pairs(self, subject: Ids, relation: Ids, object: Ids, qualifiers: Dates | None) -> tuple[Keys, Keys, Floats]:
        """Two dates of different places of a statement, each both ways round: row, key, years from the first to the second."""
        places = [_taken(self.dates, subject, 0), _taken(self.dates, object, self.r)]
        if qualifiers is not None:
            places.append(qualifiers)
        rows, keys, gaps = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0)]
        for one, first in enumerate(places):
            for second in places[one + 1 :]:
                row, left, right = _crossed(first.of, second.of)
                a, b = first.of.values[left], second.of.values[right]
                gap = second.year[right] - first.year[left]
                wide = np.int64(PLACES * self.r)
                of = relation[row].astype(np.int64) * wide
                rows += [row, row]
                keys += [(of + a) * wide + b, (of + b) * wide + a]
                gaps += [gap, -gap]
        return np.concatenate(rows), np.concatenate(keys), np.concatenate(gaps)


def _crossed(one: Ragged, other: Ragged) -> tuple[Keys, Keys, Keys]:
    """Row, and the places of both, of every value of one with every value of the other of the same row."""
    row = one.rows()
    with_each = other.lengths[row]
    left = np.repeat(np.arange(len(row)), with_each)
    start = np.repeat(offsets_of(with_each)[:-1], with_each)
    right = other.offset[row[left]] + np.arange(len(left)) - start
    return row[left], left, right


def _taken(dates: Dates, entity: Ids, shift: int) -> Dates:
    places = Ragged(dates.of.offset, np.arange(len(dates.year), dtype=np.int32)).take(entity)
    return Dates(Ragged(places.offset, dates.of.values[places.values] + np.int32(shift)), dates.year[places.values])


def _dates_of_entities(graph: KnowledgeGraph) -> Dates:
    """The earliest date of each entity and relation."""
    literals = graph.literals
    table = literals.statements
    rows = np.flatnonzero(literals.dates[table.object] & np.isfinite(literals.number[table.object]))
    subject, relation, year = table.subject[rows], table.relation[rows], literals.number[table.object[rows]]
    order = np.lexsort((year, relation, subject))
    subject, relation, year = subject[order], relation[order], year[order]
    fresh = first_of_equal([subject, relation])
    counts = np.bincount(subject[fresh], minlength=graph.n)
    return Dates(Ragged(offsets_of(counts), relation[fresh].astype(np.int32)), year[fresh])


def _of_qualifiers(graph: KnowledgeGraph, table: StatementTable, rows: npt.NDArray[np.integer]) -> Dates:
    literals = graph.literals
    every = Ragged(table.qualifier_offset, np.arange(len(table.qualifier_value), dtype=np.int32)).take(rows)
    value, relation = table.qualifier_value[every.values], table.qualifier_relation[every.values]
    dated = np.zeros(len(value), bool)
    of_literal = np.flatnonzero(value < 0)
    literal = -1 - value[of_literal]
    dated[of_literal] = literals.dates[literal] & np.isfinite(literals.number[literal])
    counts = np.bincount(every.rows()[dated], minlength=len(rows))
    kept = relation[dated] + np.int32(2 * graph.r)
    return Dates(Ragged(offsets_of(counts), kept.astype(np.int32)), literals.number[-1 - value[dated]])
