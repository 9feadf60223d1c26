"""Which facts beside an entity tell something of a relation asked about it, counted from the graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kgservice.arrays.ordering import first_of_equal, mix, sort_rows
from kgservice.arrays.ragged import Ragged, offsets_of, places_in
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import StatementTable

Ids = npt.NDArray[np.int64]

KEPT = 48
"""Facts kept beside one entity; of more, as many drawn by their hashes."""
COUNTED = 12
"""Of them, how many are looked at to tell what matters."""
SAMPLED = 20_000
"""Entities that are looked at."""
DOUBT = 20.0
"""Pairs of entities that a share is drawn towards the mean with."""
REPEATED = 0.7
"""What each fact of the same relation before it costs a fact, in units of relevance."""


@dataclass(frozen=True)
class Neighbourhood:
    """Facts beside each entity, both ways, and how much each kind of fact matters to each relation.

    Attributes:
        offset: int64 `[n + 1]`: the facts of entity i lie at `offset[i] : offset[i + 1]`.
        relation: int32 `[f]`, in `[0, 2r)`: an inverse where the entity is the object.
        end: int32 `[f]`, the entity at the other end.
        relevance: float32 `[2r, 2r]`, of a relation asked for (row) and a fact's (column): the logarithm of how much likelier two
            entities that share such a fact are to share an answer than two of those that have answers at all.
    """

    offset: Ids
    relation: npt.NDArray[np.int32]
    end: npt.NDArray[np.int32]
    relevance: npt.NDArray[np.float32]

    @classmethod
    def of(cls, graph: KnowledgeGraph, rows: Ids, seed: int) -> Neighbourhood:
        """Count some of a graph's statements.

        Args:
            graph: whose.
            rows: int64, which of its statements are known.
            seed: of what is drawn where there is too much.
        """
        table, n, r = graph.statements, graph.n, graph.r
        subject, object = table.subject[rows], table.object[rows]
        relation = table.relation[rows].astype(np.int64)
        owner = np.concatenate([subject, object]).astype(np.int64)
        kind = np.concatenate([relation, relation + r])
        end = np.concatenate([object, subject]).astype(np.int64)
        # The same triple with other qualifiers is one fact here.
        owner, kind, end = sort_rows([owner, kind, end])
        first = first_of_equal([owner, kind, end])
        owner, kind, end = owner[first], kind[first], end[first]
        order = np.lexsort((_hashed(seed, owner, kind, end), owner))
        owner, kind, end = owner[order], kind[order], end[order]
        place = places_in(owner)
        near = place < KEPT
        relevance = _relevance(owner[place < COUNTED], kind[place < COUNTED], end[place < COUNTED], n, r, seed)
        offset = offsets_of(np.bincount(owner[near], minlength=n))
        return cls(offset, kind[near].astype(np.int32), end[near].astype(np.int32), relevance)

    def beside(self, table: StatementTable, a: int) -> Neighbourhood:
        """With facts of entities behind those there are; the others' stay as they were.

        Args:
            table: statements with one of them as subject or object.
            a: how many they are.
        """
        n, r = len(self.offset) - 1, len(self.relevance) // 2
        relation = table.relation.astype(np.int64)
        owner = np.concatenate([table.subject, table.object]).astype(np.int64)
        kind = np.concatenate([relation, relation + r])
        end = np.concatenate([table.object, table.subject]).astype(np.int64)
        own = owner >= n
        owner, kind, end = sort_rows([owner[own], kind[own], end[own]])
        first = first_of_equal([owner, kind, end])
        owner, kind, end = owner[first], kind[first], end[first]
        near = places_in(owner) < KEPT
        owner, kind, end = owner[near], kind[near], end[near]
        offset = offsets_of(np.bincount(owner - n, minlength=a))[1:] + self.offset[-1]
        return Neighbourhood(
            np.concatenate([self.offset, offset]),
            np.concatenate([self.relation, kind.astype(np.int32)]),
            np.concatenate([self.end, end.astype(np.int32)]),
            self.relevance,
        )

    @classmethod
    def empty(cls, n: int, r: int) -> Neighbourhood:
        """Of a graph that is not read yet."""
        nothing = np.empty(0, np.int32)
        return cls(np.zeros(n + 1, np.int64), nothing, nothing, np.zeros((2 * r, 2 * r), np.float32))

    def chosen(
        self, anchor: Ids, relation: Ids, most: int, *, hidden: Ragged | None, draw: int, spread: float
    ) -> tuple[Ids, Ids]:
        """The facts beside each question's entity that matter most to its relation, the best first.

        Args:
            anchor, relation: int64 `[b]`, relations in `[0, 2r)`.
            most: facts of a question at most.
            hidden: ragged `[b]`, answers that must not be read off a fact.
            draw: decides what is as good as random.
            spread: of the noise on relevance; 0 breaks ties alone.

        Returns:
            int64 `[c]` twice: the question and the fact of each choice, question after question.
        """
        low, high = self.offset[anchor], self.offset[anchor + 1]
        question = np.repeat(np.arange(len(anchor)), high - low)
        fact = np.arange(len(question)) + np.repeat(low - offsets_of(high - low)[:-1], high - low)
        if hidden is not None and len(hidden.values):
            # What is asked for is no fact of its own question.
            stride = np.int64(1) << 32
            barred = np.isin(question * stride + self.end[fact], hidden.rows() * stride + hidden.values)
            stays = ~(barred & (self.relation[fact] == relation[question]))
            question, fact = question[stays], fact[stays]
        score = self.relevance[relation[question], self.relation[fact]].astype(np.float64)
        noise = _hashed(draw, anchor[question], relation[question], fact) / 2.0**64
        score += max(spread, 1e-6) * -np.log(-np.log(np.clip(noise, 1e-12, 1 - 1e-12)))
        # The second fact of the same relation tells less than the first.
        order = np.lexsort((-score, self.relation[fact], question))
        group = question[order] * np.int64(len(self.relevance) or 1) + self.relation[fact[order]]
        score[order] -= REPEATED * places_in(group)
        order = np.lexsort((-score, question))
        order = order[places_in(question[order]) < most]
        return question[order], fact[order]


def _hashed(seed: int, *columns: Ids) -> npt.NDArray[np.uint64]:
    """uint64: a number of each row that is as good as random."""
    found = np.full(len(columns[0]), seed, dtype=np.int64).view(np.uint64)
    for column in columns:
        found = mix(found + mix(column.astype(np.uint64)))
    return found


def _relevance(owner: Ids, kind: Ids, end: Ids, n: int, r: int, seed: int) -> npt.NDArray[np.float32]:
    """float32 `[2r, 2r]`, from facts sorted by owner: shares of agreeing pairs of entities, against their mean."""
    width = 2 * r
    found = np.zeros((width, width), dtype=np.float32)
    if not len(owner):
        return found
    if len(np.unique(owner)) > SAMPLED:
        chosen = np.random.default_rng(seed).choice(np.unique(owner), SAMPLED, replace=False)
        kept = np.isin(owner, chosen)
        owner, kind, end = owner[kept], kind[kept], end[kept]
    # Every fact of an entity beside every other one: the first is what two entities share, the second what is asked.
    lengths = np.unique(owner, return_counts=True)[1]
    starts = offsets_of(lengths)[:-1]
    left = np.repeat(np.arange(len(owner)), np.repeat(lengths, lengths))
    right = np.arange(len(left)) - np.repeat(offsets_of(lengths**2)[:-1], lengths**2)
    right = right % np.repeat(lengths, lengths**2) + np.repeat(starts, lengths**2)
    other = left != right
    left, right = left[other], right[other]
    shared = (kind[left] * n + end[left]) * width + kind[right]
    asked = kind[right]
    agreeing, of = _pairs(mix(shared.astype(np.uint64)) + end[right].astype(np.uint64))
    every, of_all = _pairs(mix(shared.astype(np.uint64)))
    cell_of, cells = kind[left] + width * asked, width * width
    agree = np.bincount(cell_of[of], agreeing, cells).reshape(width, width)
    total = np.bincount(cell_of[of_all], every, cells).reshape(width, width)
    # How often any two entities with an answer have the same one.
    alike, one = _pairs(kind * n + end)
    both, some = _pairs(kind)
    base = np.bincount(kind[one], alike, width) / np.maximum(np.bincount(kind[some], both, width), 1)
    base = np.clip(base, 1e-6, 1.0)[:, None]
    share = (agree + DOUBT * base) / (total + DOUBT)
    return np.asarray(np.log(share / base), dtype=np.float32)


def _pairs(keys: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.float64], Ids]:
    """float64: ordered pairs of rows with the same key, for each distinct key, and int64 one of its rows."""
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    return counts * (counts - 1.0), first
