"""What relations are like: how many to how many, of which types, and which of them say the same or the reverse."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import sparse

from kgservice.arrays.ordering import first_of_equal, order_of
from kgservice.graph import KnowledgeGraph
from kgservice.graph.names import Names

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MANY = 1.5
"""Partners on average from which a side counts as many (Bordes et al. 2013)."""
SUPPORT = 10
"""Pairs a relation must have for its overlap with another to say anything."""
TOP_TYPES = 3


@dataclass(frozen=True)
class TypeShare:
    """A type and the share of statements whose subject (or object) has it."""

    type: str
    share: float


@dataclass(frozen=True)
class RelationProfile:
    """One relation that links entities.

    Attributes:
        name, label: as in the graph; the label is the name where there is none.
        statements: in all splits; `pairs` are the distinct (subject, object) among them, `loops` those of one entity.
        tails_per_head, heads_per_tail: distinct objects per subject on average, and the reverse.
        cardinality: "1-1", "1-N", "N-1" or "N-N".
        symmetric: share of the pairs, loops apart, that occur reversed under the relation itself.
        domain, range: the commonest types of subjects and of objects.
    """

    name: str
    label: str
    statements: int
    pairs: int
    loops: int
    tails_per_head: float
    heads_per_tail: float
    cardinality: str
    symmetric: float
    domain: tuple[TypeShare, ...]
    range: tuple[TypeShare, ...]


@dataclass(frozen=True)
class RelationPair:
    """Two relations that link many of the same pairs of entities.

    Attributes:
        kind: "inverse" if the pairs are the same once reversed, "duplicate" if they are the same as they stand.
        first_pairs, second_pairs: distinct pairs of each, of an inverse without loops.
        first_share: share of the pairs of `first` that `second` has too; `second_share` the other way round.
        mutual: both shares reach the threshold; else `first`, the one of fewer pairs, implies `second` alone.
    """

    kind: str
    first: str
    second: str
    first_pairs: int
    second_pairs: int
    first_share: float
    second_share: float
    mutual: bool


class PairTable:
    """The distinct triples of a graph and how far the pairs of each relation are those of another.

    Args:
        graph: the graph, all splits.
        threshold: share of a relation's pairs from which another relation has them too.
    """

    def __init__(self, graph: KnowledgeGraph, threshold: float) -> None:
        table = graph.statements
        fresh = first_of_equal((table.subject, table.relation, table.object))
        self.threshold = threshold
        self.subject, self.relation, self.object = table.subject[fresh], table.relation[fresh], table.object[fresh]
        self.n, self.r = graph.n, graph.r

    @property
    def loop(self) -> npt.NDArray[np.bool_]:
        """bool `[t]`: triples that link an entity to itself."""
        return np.asarray(self.subject == self.object)

    @cached_property
    def linked_pairs(self) -> int:
        """Distinct ordered pairs of two entities with a statement from the one to the other."""
        forward, backward = self._incidence
        return int(
            np.diff(forward.tocsc().indptr).astype(bool).sum() + np.diff(backward.tocsc().indptr).astype(bool).sum()
        )

    @cached_property
    def _incidence(self) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Relation × unordered pair, 1 where a triple leads from the lower id to the higher, and from higher to lower."""
        low, high = np.minimum(self.subject, self.object), np.maximum(self.subject, self.object)
        distinct = self.subject != self.object
        keys = low[distinct].astype(np.uint64) * np.uint64(self.n) + high[distinct].astype(np.uint64)
        pairs, pair = np.unique(keys, return_inverse=True)
        relation, upward = self.relation[distinct], (self.subject < self.object)[distinct]

        def matrix(chosen: npt.NDArray[np.bool_]) -> sparse.csr_array:
            ones = np.ones(np.count_nonzero(chosen), np.int32)
            return sparse.csr_array((ones, (relation[chosen], pair[chosen])), shape=(self.r, len(pairs)))

        return matrix(upward), matrix(~upward)

    @cached_property
    def sizes(self) -> Ids:
        """int64 `[r]`: distinct pairs of each relation, loops apart."""
        return np.bincount(self.relation[~self.loop], minlength=self.r)

    @cached_property
    def reversed_counts(self) -> sparse.csr_array:
        """int32 `[r, r]`: pairs (x, y) of the row's relation with (y, x) in the column's."""
        forward, backward = self._incidence
        return forward @ backward.T + backward @ forward.T

    @cached_property
    def same_counts(self) -> sparse.csr_array:
        """int32 `[r, r]`: pairs (x, y) of the row's relation with (x, y) in the column's; the diagonal is `sizes`."""
        forward, backward = self._incidence
        return forward @ forward.T + backward @ backward.T

    def implies(self, counts: sparse.csr_array) -> sparse.csr_array:
        """bool `[r, r]`: the column's relation has at least `threshold` of the pairs of the row's, of enough pairs."""
        found = counts.tocoo()
        kept = (found.data >= self.threshold * self.sizes[found.row]) & (self.sizes[found.row] >= SUPPORT)
        ones = np.ones(np.count_nonzero(kept), bool)
        return sparse.csr_array((ones, (found.row[kept], found.col[kept])), shape=counts.shape)

    def agrees(self, counts: sparse.csr_array) -> sparse.csr_array:
        """bool `[r, r]`: both relations have at least `threshold` of each other's pairs."""
        implied = self.implies(counts)
        return implied.multiply(implied.T).tocsr()

    @cached_property
    def symmetric(self) -> Floats:
        """float64 `[r]`: share of each relation's pairs that occur reversed under it; 0 where it has none."""
        return np.asarray(self.reversed_counts.diagonal() / np.maximum(self.sizes, 1))

    def overlapping(self, names: list[str]) -> tuple[RelationPair, ...]:
        """Relations of which at least one implies the other: the mutual first, then by how many pairs they share."""
        found: list[tuple[tuple[bool, int], RelationPair]] = []
        for kind, counts in (("inverse", self.reversed_counts), ("duplicate", self.same_counts)):
            implied = self.implies(counts).tocoo()
            apart = implied.row != implied.col
            low, high = np.minimum(implied.row, implied.col)[apart], np.maximum(implied.row, implied.col)[apart]
            for key in np.unique(low.astype(np.int64) * self.r + high).tolist():
                a, b = divmod(key, self.r)
                if self.sizes[b] < self.sizes[a]:  # the one with fewer pairs is the one that implies
                    a, b = b, a
                common = int(counts[a, b])
                shares = common / self.sizes[a], common / self.sizes[b]
                mutual = bool(min(shares) >= self.threshold)
                sizes = int(self.sizes[a]), int(self.sizes[b])
                pair = RelationPair(kind, names[a], names[b], *sizes, float(shares[0]), float(shares[1]), mutual)
                found.append(((not mutual, -common), pair))
        return tuple(pair for _, pair in sorted(found, key=lambda each: each[0]))


def profiles(graph: KnowledgeGraph, pairs: PairTable) -> tuple[RelationProfile, ...]:
    """Every relation that links entities, most statements first."""
    statements = np.bincount(graph.statements.relation, minlength=graph.r)
    triples = np.bincount(pairs.relation, minlength=graph.r)
    tails_per_head, heads_per_tail = partners(pairs.subject, pairs.relation, pairs.object, graph.r)
    classes = cardinalities(tails_per_head, heads_per_tail)
    loops = np.bincount(pairs.relation[pairs.loop], minlength=graph.r)
    domains = _top_types(graph, graph.statements.subject, statements)
    ranges = _top_types(graph, graph.statements.object, statements)
    order = np.lexsort((np.arange(graph.r), -statements))[: np.count_nonzero(statements)]
    labels = relation_labels(graph)
    return tuple(
        RelationProfile(
            name=graph.relations.name(id),
            label=labels[id],
            statements=int(statements[id]),
            pairs=int(triples[id]),
            loops=int(loops[id]),
            tails_per_head=float(tails_per_head[id]),
            heads_per_tail=float(heads_per_tail[id]),
            cardinality=str(classes[id]),
            symmetric=float(pairs.symmetric[id]),
            domain=domains.get(id, ()),
            range=ranges.get(id, ()),
        )
        for id in order.tolist()
    )


def partners(
    subject: npt.NDArray[np.int32], relation: npt.NDArray[np.int32], object: npt.NDArray[np.int32], r: int
) -> tuple[Floats, Floats]:
    """float64 `[r]` twice: distinct objects per subject of each relation, and the reverse; 0 without statements.

    Args:
        subject, relation, object: int32 `[t]`, distinct triples.
        r: how many relations.
    """
    triples = np.bincount(relation, minlength=r)
    return (
        triples / np.maximum(_distinct(relation, subject, r), 1),
        triples / np.maximum(_distinct(relation, object, r), 1),
    )


def cardinalities(tails_per_head: Floats, heads_per_tail: Floats) -> npt.NDArray[np.str_]:
    """str `[r]`: "1-1", "1-N", "N-1" or "N-N", the side of the subjects first."""
    first, second = (np.where(mean >= MANY, "N", "1") for mean in (heads_per_tail, tails_per_head))
    return np.char.add(np.char.add(first, "-"), second)


def relation_labels(graph: KnowledgeGraph) -> list[str]:
    """A label of each relation, else its name, shortened by a prefix where one fits."""
    short = Names.relations(graph.relations, graph.prefixes, "").short
    labels = graph.relation_texts.labels(np.arange(graph.r))
    return [label or short(name) for label, name in zip(labels, graph.relations.names.to_pylist(), strict=True)]


def _distinct(relation: npt.NDArray[np.int32], entity: npt.NDArray[np.int32], r: int) -> Ids:
    """int64 `[r]`: distinct entities per relation."""
    order = order_of((relation, entity))
    relation, entity = relation[order], entity[order]
    return np.bincount(relation[first_of_equal((relation, entity))], minlength=r)


def _top_types(
    graph: KnowledgeGraph, entity: npt.NDArray[np.int32], statements: Ids
) -> dict[int, tuple[TypeShare, ...]]:
    """The commonest types on one side of each relation; empty where the graph has no types."""
    held, c = graph.types.of_entity, len(graph.types)
    if not c or len(held) != graph.n:
        return {}
    ones = np.ones(len(entity), np.int32)
    uses = sparse.csr_array((ones, (graph.statements.relation, entity)), shape=(graph.r, graph.n))
    kinds = sparse.csr_array((np.ones(len(held.values), np.int32), held.values, held.offset), shape=(graph.n, c))
    counts = (uses @ kinds).tocoo()
    order = np.lexsort((counts.col, -counts.data, counts.row))
    row, kind, count = counts.row[order], counts.col[order], counts.data[order]
    top = np.arange(len(row)) - np.searchsorted(row, row) < TOP_TYPES
    labels = graph.types.texts.labels(kind[top])
    names = graph.types.vocabulary.names_of(kind[top])
    found: dict[int, tuple[TypeShare, ...]] = {}
    for id, name, label, share in zip(
        row[top].tolist(), names, labels, (count / statements[row])[top].tolist(), strict=True
    ):
        found[id] = (*found.get(id, ()), TypeShare(label or name, share))
    return found
