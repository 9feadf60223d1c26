"""A statement with one hole: the one shape of every question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from kgservice.arrays.ragged import Ragged, places_in
from kgservice.errors import InvalidQuestion

Ids = npt.NDArray[np.int32]


class Slot(StrEnum):
    """The part of a statement that is missing."""

    SUBJECT = "subject"
    RELATION = "relation"
    OBJECT = "object"
    QUALIFIER = "qualifier"


@dataclass(frozen=True)
class QueryBatch:
    """`b` questions with the same slot missing.

    Attributes:
        slot: what is asked for.
        subject, relation, object: int32 `[b]`; the asked one is ignored and by habit -1.
        qualifier_relation, qualifier_value: ragged `[b]` lists of pairs that hold beside the statement. A value is an
            entity, or a literal as `-1 - id`.
        qualifier_number: float64, as long as the values: what each literal measures, NaN for what is no number.
        asked: int32 `[b]`: where a qualifier's value is asked for, the relation of that qualifier.
    """

    slot: Slot
    subject: Ids
    relation: Ids
    object: Ids
    qualifier_relation: Ragged = field(default=None)  # type: ignore[assignment]
    qualifier_value: Ragged = field(default=None)  # type: ignore[assignment]
    qualifier_number: npt.NDArray[np.float64] = field(default=None)  # type: ignore[arg-type]
    asked: Ids = field(default=None)  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        if not len(self.subject) == len(self.relation) == len(self.object):
            raise InvalidQuestion("subject, relation and object must have the same length")
        if self.slot is Slot.QUALIFIER and self.asked is None:
            raise InvalidQuestion("a question for a qualifier's value names the qualifier's relation")
        defaults: dict[str, Callable[[], object]] = {
            "qualifier_relation": lambda: Ragged.empty(len(self)),
            "qualifier_value": lambda: Ragged.empty(len(self)),
            "qualifier_number": lambda: np.full(len(self.qualifier_value.values), np.nan),
            "asked": lambda: np.full(len(self), -1, np.int32),
        }
        for name, default in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default())

    @classmethod
    def objects(cls, subject: npt.ArrayLike, relation: npt.ArrayLike) -> QueryBatch:
        """Ask (subject, relation, ?)."""
        return cls(Slot.OBJECT, _ids(subject), _ids(relation), np.full(np.size(subject), -1, np.int32))

    @classmethod
    def subjects(cls, relation: npt.ArrayLike, object: npt.ArrayLike) -> QueryBatch:
        """Ask (?, relation, object)."""
        return cls(Slot.SUBJECT, np.full(np.size(object), -1, np.int32), _ids(relation), _ids(object))

    @classmethod
    def relations(cls, subject: npt.ArrayLike, object: npt.ArrayLike) -> QueryBatch:
        """Ask (subject, ?, object)."""
        return cls(Slot.RELATION, _ids(subject), np.full(np.size(subject), -1, np.int32), _ids(object))

    def __len__(self) -> int:
        return len(self.subject)

    @property
    def anchor(self) -> Ids:
        """int32 `[b]`: the entity that is known, where an entity is asked for."""
        return self.object if self.slot is Slot.SUBJECT else self.subject

    @property
    def value_columns(self) -> tuple[Ids, ...]:
        """int32 `[b]` each: the first value of every question's qualifiers, the second, and so on; -1 where there is none."""
        values = self.qualifier_value
        columns = np.full((int(values.lengths.max(initial=0)), len(self)), -1, np.int32)
        columns[places_in(values.rows()), values.rows()] = values.values
        return tuple(columns)

    def asking(self, slot: Slot) -> QueryBatch:
        """The same statements with another part missing; all their parts must be there."""
        return replace(self, slot=slot)

    def take(self, rows: npt.ArrayLike) -> QueryBatch:
        """The questions at `rows`."""
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        pairs = Ragged(self.qualifier_value.offset, np.arange(len(self.qualifier_number), dtype=np.int32)).take(rows)
        return QueryBatch(
            self.slot,
            self.subject[rows],
            self.relation[rows],
            self.object[rows],
            Ragged(pairs.offset, self.qualifier_relation.values[pairs.values]),
            Ragged(pairs.offset, self.qualifier_value.values[pairs.values]),
            self.qualifier_number[pairs.values],
            self.asked[rows],
        )


def _ids(column: npt.ArrayLike) -> Ids:
    return np.atleast_1d(np.asarray(column, dtype=np.int32))
