"""The statements that models learnt from as edges that can be walked both ways."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from kgservice.arrays.ragged import Ragged, offsets_of
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split

LEARNT = (Split.TRAIN, Split.CONTEXT)
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Adjacency:
    """Every triple as two edges: from its subject with its relation, and from its object with the inverse one, `relation + r`.

    Attributes:
        n, r: entities and relations.
        key: int64 `[2m]`, sorted: the entity an edge leaves, times 2r, plus the directed relation.
        neighbour: int32 `[2m]`, where it leads.
        row: int64 `[2m]`, its statement; of those that differ in qualifiers the first.
    """

    n: int
    r: int
    key: Ints
    neighbour: npt.NDArray[np.int32]
    row: Ints

    @classmethod
    def of(cls, graph: KnowledgeGraph) -> Self:
        """The training statements and those given as context; none with an erased end. O(m log m)."""
        table = graph.statements
        kept = np.isin(table.split, LEARNT) & ~(graph.erased[table.subject] | graph.erased[table.object])
        rows = np.flatnonzero(kept)
        s, p, o = (column[rows].astype(np.int64) for column in (table.subject, table.relation, table.object))
        fresh = np.ones(len(rows), dtype=bool)  # equal triples lie beside each other
        fresh[1:] = (s[1:] != s[:-1]) | (p[1:] != p[:-1]) | (o[1:] != o[:-1])
        s, p, o, rows = s[fresh], p[fresh], o[fresh], rows[fresh]
        key = np.concatenate([s * 2 * graph.r + p, o * 2 * graph.r + p + graph.r])
        order = np.argsort(key, kind="stable")
        neighbour = np.concatenate([o, s])[order].astype(np.int32)
        return cls(graph.n, graph.r, key[order], neighbour, np.concatenate([rows, rows])[order])

    def edges(self, entities: npt.ArrayLike) -> Ragged:
        """ragged `[b]`: the places of all edges that leave each entity."""
        start = np.asarray(entities, dtype=np.int64) * 2 * self.r
        return self._between(start, start + 2 * self.r)

    def along(self, entities: npt.ArrayLike, directed: int) -> Ragged:
        """ragged `[b]`: the places of those with one directed relation in `[0, 2r)`."""
        key = np.asarray(entities, dtype=np.int64) * 2 * self.r + directed
        return self._between(key, key + 1)

    def source(self, places: npt.ArrayLike) -> Ints:
        """int64: the entities that edges leave."""
        sources: Ints = self.key[np.asarray(places)] // (2 * self.r)
        return sources

    def relation(self, places: npt.ArrayLike) -> Ints:
        """int64 in `[0, 2r)`: the directed relations of edges."""
        directed: Ints = self.key[np.asarray(places)] % (2 * self.r)
        return directed

    def inverse(self, directed: Ints) -> Ints:
        """The same relations walked the other way."""
        return (directed + self.r) % (2 * self.r)

    @cached_property
    def degree(self) -> Ints:
        """int64 `[n]`: edges that leave each entity."""
        return np.bincount(self.key // (2 * self.r), minlength=self.n)

    @cached_property
    def _by_relation(self) -> Ragged:
        directed = self.key % (2 * self.r)
        counts = np.bincount(directed, minlength=2 * self.r)
        return Ragged(offsets_of(counts), np.argsort(directed, kind="stable").astype(np.int32))

    def of_relation(self, directed: int) -> npt.NDArray[np.int32]:
        """int32: the places of the edges with one directed relation."""
        return self._by_relation[directed]

    def _between(self, low: Ints, high: Ints) -> Ragged:
        first, last = np.searchsorted(self.key, low), np.searchsorted(self.key, high)
        return spans(first, last)


def spans(first: Ints, last: Ints) -> Ragged:
    """ragged `[b]`: the numbers from `first` up to before `last`."""
    offset = offsets_of(last - first)
    shift = np.repeat(first - offset[:-1], last - first)
    return Ragged(offset, (np.arange(offset[-1], dtype=np.int64) + shift).astype(np.int32))
