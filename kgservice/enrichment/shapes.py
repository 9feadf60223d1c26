"""What a graph shows of its relations: who stands at their ends, how many at once, which way round.

Learnt from the statements, since few graphs come with a schema. It prunes candidates before they are scored and refuses
those that contradict what the relation never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kgservice.arrays.ordering import first_of_equal
from kgservice.arrays.ragged import Ragged, offsets_of
from kgservice.graph import ALL_SPLITS, KnowledgeGraph
from kgservice.graph.statements import Split
from kgservice.query import QueryBatch

Ids = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]

TYPE_SHARE = 0.05
"""Of the typed entities at one end of a relation: the share that must have a type for others of it to be plausible there."""
SUPPORT = 20
"""Statements from which what a relation never does is believed."""
SINGLE = 0.98
"""Share of subjects with one object from which a relation is functional; dumps hold a few mistakes."""


@dataclass(frozen=True)
class Shapes:
    """The habits of `r` relations.

    Attributes:
        graph: where they were learnt.
        subjects, objects: ragged `[r]`, the entities that stand at either end, sorted.
        domains, ranges: ragged `[r]`, the types that are usual at either end.
        functional: bool `[r]`, one object for a subject; `inverse_functional`: one subject for an object.
        asymmetric: bool `[r]`, never both ways between two entities.
    """

    graph: KnowledgeGraph
    subjects: Ragged
    objects: Ragged
    domains: Ragged
    ranges: Ragged
    functional: Flags
    inverse_functional: Flags
    asymmetric: Flags

    @classmethod
    def learn(cls, graph: KnowledgeGraph, splits: Sequence[Split] = ALL_SPLITS) -> Shapes:
        """Look at every statement of some splits."""
        table = graph.statements
        if set(splits) != set(ALL_SPLITS):
            table = table.take(np.isin(table.split, splits))
        fresh = first_of_equal(
            [table.subject, table.relation, table.object]
        )  # sorted; qualifiers make several rows of one
        subject, relation, object = table.subject[fresh], table.relation[fresh], table.object[fresh]
        subjects, per_subject = _ends(relation, subject, graph.r)
        objects, per_object = _ends(relation, object, graph.r)
        count = np.bincount(relation, minlength=graph.r)
        both = reversed_too(graph, subject, relation, object) & (subject != object)
        return cls(
            graph,
            subjects,
            objects,
            _usual(graph, subjects),
            _usual(graph, objects),
            _single(subjects, per_subject, count),
            _single(objects, per_object, count),
            (np.bincount(relation[both], minlength=graph.r) == 0) & (count >= SUPPORT),
        )

    def plausible_subjects(self, relation: int) -> Ids:
        """int32, sorted: what stands there already, and what has a type that is usual there."""
        return self._plausible(self.subjects[relation], self.domains[relation])

    def plausible_objects(self, relation: int) -> Ids:
        """The same of the other end."""
        return self._plausible(self.objects[relation], self.ranges[relation])

    def _plausible(self, seen: Ids, types: Ids) -> Ids:
        members = self.graph.types.members.take(types).values if len(types) else seen[:0]
        chosen = np.zeros(self.graph.n, dtype=bool)
        chosen[seen] = chosen[members] = True
        return np.flatnonzero(chosen & ~self.graph.erased).astype(np.int32)


def reversed_too(graph: KnowledgeGraph, subject: Ids, relation: Ids, object: Ids) -> Flags:
    """bool `[m]`: whether the graph states the same the other way round."""
    back = graph.known(QueryBatch.objects(object, relation))
    found = np.zeros(len(subject), dtype=bool)
    found[back.rows()[back.values == np.repeat(subject, back.lengths)]] = True
    return found


def _ends(relation: Ids, entity: Ids, r: int) -> tuple[Ragged, npt.NDArray[np.int64]]:
    """Ragged `[r]` of distinct entities, and how many statements each of them has there."""
    keys, counts = np.unique(relation.astype(np.int64) << 32 | entity.astype(np.int64), return_counts=True)
    of = np.bincount((keys >> 32).astype(np.int64), minlength=r)
    return Ragged(offsets_of(of), (keys & 0xFFFFFFFF).astype(np.int32)), counts


def _single(ends: Ragged, counts: npt.NDArray[np.int64], statements: npt.NDArray[np.int64]) -> Flags:
    single = np.bincount(ends.rows()[counts == 1], minlength=len(ends))
    return (single >= SINGLE * ends.lengths) & (statements >= SUPPORT)


def _usual(graph: KnowledgeGraph, ends: Ragged) -> Ragged:
    """Ragged `[r]`: types that at least `TYPE_SHARE` of the typed entities at an end have."""
    if not len(graph.types):
        return Ragged.empty(len(ends))
    of_entity = graph.types.of_entity.take(ends.values)
    relation = ends.rows()
    typed = np.bincount(relation[of_entity.lengths > 0], minlength=len(ends))
    keys, counts = np.unique(relation[of_entity.rows()] << 32 | of_entity.values.astype(np.int64), return_counts=True)
    of = (keys >> 32).astype(np.int64)
    usual = counts >= TYPE_SHARE * typed[of]
    lengths = np.bincount(of[usual], minlength=len(ends))
    return Ragged(offsets_of(lengths), (keys[usual] & 0xFFFFFFFF).astype(np.int32))
