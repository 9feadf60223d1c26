"""Statements as questions: what a hole in each asks, what filled it, and answers found by the rest of the statement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal as OneOf

import numpy as np
import numpy.typing as npt

from kgservice.arrays.ordering import mix
from kgservice.arrays.ragged import Ragged, offsets_of
from kgservice.graph.literals import Literals
from kgservice.graph.statements import StatementTable
from kgservice.query import QueryBatch, Slot

Ids = npt.NDArray[np.int32]
Level = OneOf["triple", "statement"]


@dataclass(frozen=True)
class AnswerIndex:
    """What fills a hole, by the rest of the statement.

    Attributes:
        keys: uint64 `[u]`, sorted and distinct.
        answers: ragged `[u]`, sorted and distinct ids.
        first_row: int64 `[u]`, where each key was seen first.
    """

    keys: npt.NDArray[np.uint64]
    answers: Ragged
    first_row: npt.NDArray[np.int64]

    @classmethod
    def build(cls, keys: npt.NDArray[np.uint64], answers: npt.NDArray[np.int32]) -> AnswerIndex:
        """Group `answers` by `keys`, both `[m]`."""
        order = np.lexsort((answers, keys))
        keys, answers = keys[order], answers[order]
        new_key = np.ones(len(keys), dtype=bool)
        new_key[1:] = keys[1:] != keys[:-1]
        fresh = new_key.copy()
        fresh[1:] |= answers[1:] != answers[:-1]
        group = np.cumsum(new_key) - 1
        counts = np.bincount(group[fresh], minlength=int(new_key.sum()))
        return cls(keys[new_key], Ragged(offsets_of(counts), answers[fresh]), order[new_key])

    def lookup(self, keys: npt.NDArray[np.uint64]) -> Ragged:
        """ragged `[b]`: the answers of each key, empty where it is not held."""
        return self.answers.take(self._places(keys)) if len(self.keys) else Ragged.empty(len(keys))

    def count(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """int64 `[b]`: how many answers each key has; unlike `lookup`, nothing is gathered."""
        if not len(self.keys):
            return np.zeros(len(keys), np.int64)
        place = self._places(keys)
        offset, held = self.answers.offset, np.maximum(place, 0)
        return np.where(place >= 0, offset[held + 1] - offset[held], 0)

    def _places(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, place, -1)


def questions_of(
    slot: Slot, table: StatementTable, literals: Literals
) -> tuple[QueryBatch, Ids, npt.NDArray[np.int64]]:
    """What a hole in the statements of `table` asks, with their qualifiers, and what filled it.

    Args:
        slot: what is hidden.
        table: `m` statements.
        literals: of their graph.

    Returns:
        `b` questions, int32 `[b]` answers, int64 `[b]` rows of `table`: one of each statement, or, for qualifiers,
        one of each pair whose value is an entity, the other pairs standing beside it.
    """
    subject, relation, object = table.subject, table.relation, table.object
    relations = Ragged(table.qualifier_offset, table.qualifier_relation)
    values = Ragged(table.qualifier_offset, table.qualifier_value)
    number = numbers_of(values.values, literals)
    every = np.arange(len(table))
    if slot is not Slot.QUALIFIER:
        filled = {Slot.SUBJECT: subject, Slot.RELATION: relation, Slot.OBJECT: object}[slot]
        return QueryBatch(slot, subject, relation, object, relations, values, number), filled, every
    pair = np.flatnonzero(values.values >= 0)
    row = values.rows()[pair]
    # All pairs of the statement, but for the one that is asked.
    places = Ragged(values.offset, np.arange(len(number), dtype=np.int32)).take(row)
    kept = places.values != np.repeat(pair, places.lengths)
    offset = offsets_of(np.bincount(places.rows()[kept], minlength=len(pair)))
    others = places.values[kept]
    queries = QueryBatch(
        slot,
        subject[row],
        relation[row],
        object[row],
        Ragged(offset, relations.values[others]),
        Ragged(offset, values.values[others]),
        number[others],
        relations.values[pair],
    )
    return queries, values.values[pair], row


def numbers_of(value: Ids, literals: Literals) -> npt.NDArray[np.float64]:
    """float64: of the values that are literals with a number, else NaN."""
    number = np.full(len(value), np.nan)
    if len(literals.number):
        literal = np.flatnonzero(value < 0)
        number[literal] = literals.number[-1 - value[literal]]
    return number


def keys_of(queries: QueryBatch, level: Level) -> npt.NDArray[np.uint64]:
    """uint64 `[b]`: what is known of each question as one number; equal for equal questions.

    At statement level a hash of the qualifiers is mixed in: a sum over pairs, so their order does not matter; two of
    10^7 statements collide with odds of 10^-6.
    """
    first, second = {
        Slot.OBJECT: (queries.subject, queries.relation),
        Slot.SUBJECT: (queries.object, queries.relation),
        Slot.RELATION: (queries.subject, queries.object),
        Slot.QUALIFIER: (queries.subject, queries.relation),
    }[queries.slot]
    keys = _pairs(first, second)
    if queries.slot is Slot.QUALIFIER:
        keys = mix(keys) + mix(_pairs(queries.asked, queries.object))
    if level == "triple":
        return keys
    relation, value = queries.qualifier_relation, queries.qualifier_value.values
    total = np.zeros(len(value) + 1, dtype=np.uint64)
    np.cumsum(mix(_pairs(relation.values, value)), out=total[1:])
    return mix(keys + mix(total[relation.offset[1:]] - total[relation.offset[:-1]]))


def pair_keys(relation: Ids, value: Ids, number: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
    """uint64: a key of each pair of a qualifier, the same where literals have the same number."""
    bits = (number + 0.0).view(np.uint64)  # of both zeros one
    of_number = mix(mix(bits) + relation.astype(np.uint64))
    return np.where((value < 0) & np.isfinite(number), of_number, mix(_pairs(relation, value)))


def _pairs(relation: Ids, value: Ids) -> npt.NDArray[np.uint64]:
    return relation.astype(np.uint64) << np.uint64(32) | value.astype(np.uint32).astype(np.uint64)
