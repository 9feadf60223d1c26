"""A statement with one hole: the one shape of every question."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from kgservice.errors import InvalidQuestion
from kgservice.ragged import Ragged

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
        qualifier_relation, qualifier_value: ragged `[b]` lists of pairs that hold beside the statement.
    """

    slot: Slot
    subject: Ids
    relation: Ids
    object: Ids
    qualifier_relation: Ragged = field(default=None)  # type: ignore[assignment]
    qualifier_value: Ragged = field(default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if not len(self.subject) == len(self.relation) == len(self.object):
            raise InvalidQuestion("subject, relation and object must have the same length")
        for name in ("qualifier_relation", "qualifier_value"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, Ragged.empty(len(self)))

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

    def take(self, rows: npt.ArrayLike) -> QueryBatch:
        """The questions at `rows`."""
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        return QueryBatch(
            self.slot,
            self.subject[rows],
            self.relation[rows],
            self.object[rows],
            self.qualifier_relation.take(rows),
            self.qualifier_value.take(rows),
        )


def _ids(column: npt.ArrayLike) -> Ids:
    return np.atleast_1d(np.asarray(column, dtype=np.int32))
