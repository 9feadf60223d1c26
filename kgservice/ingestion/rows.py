"""Rows of a graph on their way: ids are numbers of terms, and a literal among qualifier values is `-1 - number`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kgservice.ingestion.chunks import Chunks
from kgservice.ingestion.marks import Account
from kgservice.ingestion.spool import int32

Ids = npt.NDArray[np.int32]

PLAIN = pa.schema({"subject": pa.int32(), "relation": pa.int32(), "object": pa.int32(), "literal": pa.int8()})
"""Training statements without qualifiers, rank or references."""

QUALIFIED = pa.schema(
    {
        "subject": pa.int32(),
        "relation": pa.int32(),
        "object": pa.int32(),
        "literal": pa.int8(),
        "split": pa.int8(),
        "rank": pa.int8(),
        "references": pa.int32(),
        "qualifier_relation": pa.large_list(pa.int32()),
        "qualifier_value": pa.large_list(pa.int32()),
    }
)
"""Statements with all that a statement can have."""


TYPES = pa.schema({"entity": pa.int32(), "type": pa.int32(), "counted": pa.int8()})
"""Entities and their types; `counted` where the account has them as types, and not as the links that tell them."""


TEXTS = pa.schema(
    {
        "owner": pa.int32(),
        "of": pa.int8(),
        "kind": pa.int8(),
        "predicate": pa.int32(),
        "language": pa.int16(),
        "text": pa.large_string(),
    }
)
"""Texts on their way: `language` is a place among `Graphs.languages`, and `predicate` -1 where a reader has counted."""


@dataclass(frozen=True)
class Output:
    """Where rows go: statements and literal facts without and with qualifiers, types; and the account of triples."""

    plain: Chunks
    qualified: Chunks
    types: Chunks
    account: Account

    @classmethod
    def within(cls, folder: Path) -> Output:
        """Empty tables in a folder."""
        return cls(
            Chunks(folder / "plain", PLAIN),
            Chunks(folder / "qualified", QUALIFIED),
            Chunks(folder / "types", TYPES),
            Account(),
        )


@dataclass(frozen=True)
class Graphs:
    """What a graph is made of, in numbers of terms.

    Attributes:
        output: statements, literal facts and types.
        negatives: false statements, of the schema of `output.qualified`.
        texts: of `TEXTS`.
        languages: codes, sorted.
    """

    output: Output
    negatives: Chunks
    texts: Chunks
    languages: pa.LargeStringArray


def add_types(table: Chunks, entity: Ids, type: Ids, *, counted: bool) -> None:
    """Add pairs in any order."""
    order = np.argsort(entity, kind="stable")
    flag = pa.array(np.full(len(entity), counted, np.int8))
    table.add(pa.record_batch([int32(entity[order]), int32(type[order]), flag], schema=TYPES))


def add_plain(table: Chunks, subject: Ids, relation: Ids, object: Ids, *, literal: bool) -> None:
    """Add rows that are sorted by subject."""
    flag = pa.array(np.full(len(subject), literal, np.int8))
    table.add(pa.record_batch([int32(subject), int32(relation), int32(object), flag], schema=PLAIN))


def add_qualified(
    table: Chunks,
    *,
    subject: Ids,
    relation: Ids,
    object: Ids,
    qualifier_offset: npt.NDArray[np.int64],
    qualifier_relation: Ids,
    qualifier_value: Ids,
    literal: npt.ArrayLike = 0,
    split: npt.ArrayLike = 0,
    rank: npt.ArrayLike = 0,
    references: npt.ArrayLike = 0,
) -> None:
    """Add rows in any order; qualifiers as in `StatementTable`, columns that are the same in all rows as one number."""
    m = len(subject)
    small = [np.broadcast_to(np.asarray(column, np.int8), m) for column in (literal, split, rank)]
    flat = [subject, relation, object, *small, np.broadcast_to(np.asarray(references, np.int32), m)]
    offset = pa.array(np.ascontiguousarray(qualifier_offset, np.int64))
    lists = [pa.LargeListArray.from_arrays(offset, int32(values)) for values in (qualifier_relation, qualifier_value)]
    types = [field.type for field in QUALIFIED][:7]
    columns = [pa.array(np.ascontiguousarray(column), type_) for column, type_ in zip(flat, types, strict=True)]
    batch = pa.RecordBatch.from_arrays([*columns, *lists], schema=QUALIFIED)
    if np.any(subject[1:] < subject[:-1]):
        batch = batch.take(pa.array(np.argsort(subject, kind="stable")))
    table.add(batch)
