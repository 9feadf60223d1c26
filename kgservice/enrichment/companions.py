"""What usually goes together: whether a statement fits the other things that are known of its ends.

A *facet* of an entity is one thing known of it: a relation with whatever stands at its other end, either way round, or a type. A
statement gives its subject one facet and its object another. Where entities with that facet have the other facets of this one
more often than chance, the statement has support. Nothing is trained: a statement that is judged is left out by subtracting it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kgservice.arrays.ordering import first_of_equal
from kgservice.arrays.ragged import Ragged, offsets_of
from kgservice.evaluation.evidence import LEARNT
from kgservice.graph import KnowledgeGraph

Ids = npt.NDArray[np.int32]
Keys = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

WITNESSES = 32
"""Facets of an entity that are asked, the rarest that another entity shares: they say most."""
PRIOR = 5.0
"""Entities that chance counts for, beside those that have a facet."""


@dataclass(frozen=True)
class Companions:
    """Facets and how often they meet.

    Attributes:
        n, r: entities and relations.
        keys: int64 `[g]`, sorted: the facets, see `_facet`.
        counts: int64 `[g]`, entities that have each.
        witnesses: ragged `[n]`, the places of at most `WITNESSES` facets of each entity.
        pairs: int64 `[p]`, sorted: facet times g plus witness, where some entity has both.
        together: int64 `[p]`, how many do.
    """

    n: int
    r: int
    keys: Keys
    counts: Keys
    witnesses: Ragged
    pairs: Keys
    together: Keys

    @classmethod
    def learn(cls, graph: KnowledgeGraph) -> Companions:
        """Count over training statements and types; time and memory are `WITNESSES` times the number of facets."""
        table = graph.statements
        rows = first_of_equal([table.subject, table.relation, table.object]) & np.isin(table.split, LEARNT)
        subject, relation, object = table.subject[rows], table.relation[rows], table.object[rows]
        n, r, types = graph.n, graph.r, graph.types.of_entity
        entity = np.concatenate([subject, object, types.rows().astype(np.int32)])
        key = np.concatenate(
            [_facet(n, r, relation, object, 0), _facet(n, r, relation, subject, 1), 2 * np.int64(n) * r + types.values]
        )
        order = np.lexsort((key, entity))
        entity, key = entity[order], key[order]
        fresh = first_of_equal([entity, key])
        entity, key = entity[fresh], key[fresh]
        keys, place, counts = np.unique(key, return_inverse=True, return_counts=True)
        chosen = np.flatnonzero(counts[place] > 1)
        chosen = chosen[np.lexsort((counts[place[chosen]], entity[chosen]))]
        first = np.searchsorted(entity[chosen], entity[chosen], side="left")
        chosen = chosen[np.arange(len(chosen)) - first < WITNESSES]
        offset = offsets_of(np.bincount(entity[chosen], minlength=n))
        witnesses = Ragged(offset, place[chosen].astype(np.int32))
        asked = witnesses.take(entity)
        met, together = np.unique(place[asked.rows()] * np.int64(len(keys)) + asked.values, return_counts=True)
        return cls(n, r, keys, counts, witnesses, met, together)

    def support(self, relation: int, subject: Ids, object: Ids, stated: npt.NDArray[np.bool_]) -> Floats:
        """float64 `[m, 2]`: mean log-lift of the subject's other facets given this one, and of the object's; 0 without any.

        Args:
            relation: of all pairs.
            subject, object: int32 `[m]`.
            stated: bool `[m]`, whether training states the pair, which then does not count.
        """
        ends = ((subject, object, 0), (object, subject, 1))
        sides = [self._side(one, _facet(self.n, self.r, relation, other, way), stated) for one, other, way in ends]
        return np.stack(sides, axis=1)

    def _side(self, entity: Ids, key: Keys, stated: npt.NDArray[np.bool_]) -> Floats:
        place = np.minimum(np.searchsorted(self.keys, key), max(len(self.keys) - 1, 0))
        held = self.keys[place] == key
        asked = self.witnesses.take(entity)
        row, witness = asked.rows(), asked.values.astype(np.int64)
        others = held[row] & (witness != place[row])
        row, witness = row[others], witness[others]
        wanted = place[row] * np.int64(len(self.keys)) + witness
        at = np.minimum(np.searchsorted(self.pairs, wanted), max(len(self.pairs) - 1, 0))
        together = np.where(self.pairs[at] == wanted, self.together[at], 0) - stated[row]
        chance = self.counts[witness] / self.n
        with_facet = self.counts[place[row]] - stated[row]
        lift = np.log((together + PRIOR * chance) / (with_facet + PRIOR)) - np.log(chance)
        sums = np.bincount(row, lift, minlength=len(entity))
        return np.asarray(sums / np.maximum(np.bincount(row, minlength=len(entity)), 1))


def _facet(n: int, r: int, relation: Ids | int, other: Ids, way: int) -> Keys:
    """int64: relation and the entity at its other end as one number, the object's facets behind the subject's."""
    return np.asarray((np.int64(way) * r + relation) * np.int64(n) + other)
