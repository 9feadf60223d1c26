"""Statements as columns: subject, relation, object, split, and qualifiers.

A qualifier's value is an entity id, or a literal written as `-1 - literal_id` (see `literals`), so that two statements
that differ in a date alone stay two statements.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kgservice.arrays.digests import ColumnDigest
from kgservice.arrays.ordering import first_of_equal, order_of
from kgservice.arrays.ragged import Ragged, offsets_of
from kgservice.errors import GraphError

Ids = npt.NDArray[np.int32]

SCHEMA = pa.schema(
    {
        "subject": pa.int32(),
        "relation": pa.int32(),
        "object": pa.int32(),
        "split": pa.int8(),
        "rank": pa.int8(),
        "references": pa.int32(),
        "qualifier_relation": pa.large_list(pa.int32()),
        "qualifier_value": pa.large_list(pa.int32()),
    }
)
"""Columns on disk, those of `StatementTable`."""


class Split(IntEnum):
    """What a statement is for."""

    TRAIN = 0
    VALID = 1
    TEST = 2
    CONTEXT = 3  # facts given at inference about entities unseen in training


class Rank(IntEnum):
    """How the source of a statement rates it among others of its subject and relation."""

    DEPRECATED = -1
    NORMAL = 0
    PREFERRED = 1


@dataclass(frozen=True)
class StatementTable:
    """`m` statements, sorted by (subject, relation, object, qualifiers, split) and each there once.

    Attributes:
        subject, relation, object: int32 `[m]`.
        split: int8 `[m]`, a `Split`.
        rank: int8 `[m]`, a `Rank`; of equal statements the highest.
        references: int32 `[m]`, how many sources were given; of equal statements the most.
        qualifier_offset: int64 `[m + 1]`.
        qualifier_relation, qualifier_value: int32 `[q]`, sorted by (relation, value) within a statement.
    """

    subject: Ids
    relation: Ids
    object: Ids
    split: npt.NDArray[np.int8]
    rank: npt.NDArray[np.int8]
    references: Ids
    qualifier_offset: npt.NDArray[np.int64]
    qualifier_relation: Ids
    qualifier_value: Ids

    def __len__(self) -> int:
        return len(self.subject)

    @classmethod
    def build(
        cls,
        subject: npt.ArrayLike,
        relation: npt.ArrayLike,
        object: npt.ArrayLike,
        *,
        split: npt.ArrayLike | None = None,
        rank: npt.ArrayLike | None = None,
        references: npt.ArrayLike | None = None,
        qualifier_offset: npt.ArrayLike | None = None,
        qualifier_relation: npt.ArrayLike = (),
        qualifier_value: npt.ArrayLike = (),
    ) -> StatementTable:
        """Sort and deduplicate columns given in any order; split, rank and references are 0 by default."""
        subject, relation, object = (np.asarray(column, dtype=np.int32) for column in (subject, relation, object))
        m = len(subject)
        if not len(relation) == len(object) == m:
            raise GraphError(
                f"columns of unequal length: {m} subjects, {len(relation)} relations, {len(object)} objects"
            )
        split = np.zeros(m, np.int8) if split is None else np.asarray(split, np.int8)
        rank = np.zeros(m, np.int8) if rank is None else np.asarray(rank, np.int8)
        references = np.zeros(m, np.int32) if references is None else np.asarray(references, np.int32)
        offset = np.zeros(m + 1, np.int64) if qualifier_offset is None else np.asarray(qualifier_offset, np.int64)
        q_relation = np.asarray(qualifier_relation, dtype=np.int32)
        q_value = np.asarray(qualifier_value, dtype=np.int32)
        if not len(split) == len(rank) == len(references) == m:
            raise GraphError("split, rank or references do not fit the statements")
        if len(offset) != m + 1 or not len(q_relation) == len(q_value) == offset[-1]:
            raise GraphError("qualifier columns do not fit the statements")

        offset, q_relation, q_value = _canonical_qualifiers(offset, q_relation, q_value)
        by_qualifiers = _qualifier_order(subject, relation, object, offset, q_relation, q_value)
        columns = (subject, relation, object, by_qualifiers, split)
        order = order_of(columns)
        fresh = first_of_equal([column[order] for column in columns])
        kept, first = order[fresh], np.flatnonzero(fresh)
        if len(first) < m:
            rank, references = (np.maximum.reduceat(column[order], first) for column in (rank, references))
        else:
            rank, references = rank[order], references[order]
        q = Ragged(offset, np.arange(offset[-1], dtype=np.int32)).take(kept)
        return cls(
            subject[kept],
            relation[kept],
            object[kept],
            split[kept],
            rank,
            references,
            q.offset,
            q_relation[q.values],
            q_value[q.values],
        )

    @classmethod
    def empty(cls) -> StatementTable:
        """No statement at all."""
        return cls.build([], [], [])

    def take(self, rows: npt.ArrayLike) -> StatementTable:
        """The statements at sorted, distinct `rows`, or where a mask is true."""
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        q = Ragged(self.qualifier_offset, np.arange(len(self.qualifier_value), dtype=np.int32)).take(rows)
        return StatementTable(
            self.subject[rows],
            self.relation[rows],
            self.object[rows],
            self.split[rows],
            self.rank[rows],
            self.references[rows],
            q.offset,
            self.qualifier_relation[q.values],
            self.qualifier_value[q.values],
        )

    def with_split(self, split: npt.ArrayLike) -> StatementTable:
        """The same statements in other splits: int8 `[m]`."""
        return StatementTable.build(**{**self._columns(), "split": split})

    def behind(self, added: StatementTable) -> StatementTable:
        """The rows of both, those of `added` last; not sorted as a whole."""
        columns = {
            one.name: np.concatenate([getattr(self, one.name), getattr(added, one.name)]) for one in fields(self)
        }
        offset = [self.qualifier_offset, added.qualifier_offset[1:] + self.qualifier_offset[-1]]
        return StatementTable(**{**columns, "qualifier_offset": np.concatenate(offset)})

    def in_split(self, split: Split) -> StatementTable:
        """The statements of one split."""
        return self.take(self.split == split)

    def qualifiers(self, row: int) -> list[tuple[int, int]]:
        """The (relation, value) pairs of one statement."""
        pairs = slice(self.qualifier_offset[row], self.qualifier_offset[row + 1])
        return list(zip(self.qualifier_relation[pairs].tolist(), self.qualifier_value[pairs].tolist(), strict=True))

    @cached_property
    def content_hash(self) -> str:
        """sha256 over all columns, the same for the same statements in any order of arrival."""
        return ColumnDigest.of(self.to_batch())

    def _columns(self) -> dict[str, npt.NDArray[Any]]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def to_batch(self) -> pa.RecordBatch:
        """The columns, of `SCHEMA`, without a copy; qualifiers as two list columns, so that any dataframe reads them."""
        offset = pa.array(self.qualifier_offset)
        lists = [
            pa.LargeListArray.from_arrays(offset, pa.array(v)) for v in (self.qualifier_relation, self.qualifier_value)
        ]
        plain = (self.subject, self.relation, self.object, self.split, self.rank, self.references)
        return pa.record_batch([*map(pa.array, plain), *lists], schema=SCHEMA)

    def save(self, path: Path) -> None:
        """Write one Arrow IPC file."""
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            writer.write_batch(self.to_batch())

    @classmethod
    def of_batch(cls, batch: pa.RecordBatch) -> StatementTable:
        """Columns of `SCHEMA` that are sorted already."""
        relations, values = batch.column("qualifier_relation"), batch.column("qualifier_value")
        offset = relations.offsets.to_numpy()
        if len(offset) and offset[0]:
            offset, relations, values = offset - offset[0], relations.flatten(), values.flatten()
        else:
            relations, values = relations.values, values.values
        subject, relation, object, split, rank, references = (batch.column(i).to_numpy() for i in range(6))
        pairs = relations.to_numpy(), values.to_numpy()
        return cls(subject, relation, object, split, rank, references, offset, *pairs)

    @classmethod
    def open(cls, path: Path) -> StatementTable:
        """Map a saved table without copying it."""
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        if reader.num_record_batches == 0:
            return cls.empty()
        return cls.of_batch(reader.get_batch(0))


def _canonical_qualifiers(
    offset: npt.NDArray[np.int64], relation: Ids, value: Ids
) -> tuple[npt.NDArray[np.int64], Ids, Ids]:
    """Sort the pairs within each statement and drop repeated ones."""
    if not len(relation):
        return offset, relation, value
    row = Ragged(offset, relation).rows()
    order = np.lexsort((value, relation, row))
    row, relation, value = row[order], relation[order], value[order]
    fresh = np.ones(len(row), dtype=bool)
    fresh[1:] = (row[1:] != row[:-1]) | (relation[1:] != relation[:-1]) | (value[1:] != value[:-1])
    row = row[fresh]
    return offsets_of(np.bincount(row, minlength=len(offset) - 1)), relation[fresh], value[fresh]


def _qualifier_order(
    subject: Ids, relation: Ids, object: Ids, offset: npt.NDArray[np.int64], q_relation: Ids, q_value: Ids
) -> npt.NDArray[np.int64]:
    """int64 `[m]`: equal for equal qualifiers within one triple, and ordered by them; 0 where nothing competes.

    Only the statements whose triple occurs more than once with qualifiers are compared, as padded rows.
    """
    m = len(subject)
    rank = np.zeros(m, dtype=np.int64)
    if not len(q_relation):
        return rank
    order = np.lexsort((object, relation, subject))
    same = (np.diff(subject[order]) == 0) & (np.diff(relation[order]) == 0) & (np.diff(object[order]) == 0)
    repeated = np.zeros(m, dtype=bool)
    repeated[order[1:]] |= same
    repeated[order[:-1]] |= same
    rows = np.flatnonzero(repeated)
    lengths = (offset[1:] - offset[:-1])[rows]
    if not len(rows) or not lengths.max():
        return rank
    padded = np.full((len(rows), 2 * int(lengths.max())), np.iinfo(np.int32).min, dtype=np.int32)
    picked = Ragged(offset, np.arange(len(q_relation), dtype=np.int32)).take(rows)
    column = np.arange(len(picked.values)) - np.repeat(picked.offset[:-1], lengths)
    padded[picked.rows(), 2 * column] = q_relation[picked.values]
    padded[picked.rows(), 2 * column + 1] = q_value[picked.values]
    by_content = np.lexsort(padded.T[::-1])
    changed = np.any(padded[by_content[1:]] != padded[by_content[:-1]], axis=1)
    rank[rows[by_content]] = np.concatenate([[0], np.cumsum(changed)])
    return rank
