"""Proposals as columns: what blocks hold, what is chosen among, what is written."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kgservice.graph import KnowledgeGraph

SCHEMA = pa.schema(
    [
        ("subject", pa.int32()),
        ("relation", pa.int32()),
        ("object", pa.int32()),
        ("probability", pa.float64()),
        ("score", pa.float32()),
        ("rank", pa.int32()),
    ]
)
"""A proposed link by ids, or, of errors, a statement and the probability that it is wrong.

`score` is the first model's; `rank`, from 1, is the place among the candidates of the same subject and relation.
"""


NAMED = pa.schema([(name, pa.string()) for name in SCHEMA.names[:3]] + [SCHEMA.field(place) for place in range(3, 6)])
"""The same by full names: what a finished run keeps, since ids change when entities are put."""


def named(table: pa.Table, graph: KnowledgeGraph) -> pa.Table:
    """A table of `NAMED`, from one of `SCHEMA`."""
    names = [
        vocabulary.names.take(table.column(place)).cast(pa.string())
        for place, vocabulary in enumerate((graph.entities, graph.relations, graph.entities))
    ]
    return pa.Table.from_arrays([*names, *table.columns[3:]], schema=NAMED)


def proposals(
    subject: npt.NDArray[np.int32],
    relation: npt.NDArray[np.int32],
    object: npt.NDArray[np.int32],
    probability: npt.NDArray[np.float64],
    score: npt.NDArray[np.float32],
    rank: npt.NDArray[np.int32],
    *,
    kept: npt.NDArray[np.bool_],
) -> pa.Table:
    """A table of `SCHEMA`: the rows, each `[m]`, that are `kept`, bool `[m]`."""
    columns = (subject, relation, object, probability, score, rank)
    arrays = [pa.array(column, type=kind) for column, kind in zip(columns, SCHEMA.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA).filter(pa.array(kept))


def column(table: pa.Table, name: str) -> npt.NDArray[np.generic]:
    """One column as an array."""
    found: npt.NDArray[np.generic] = table.column(name).to_numpy()
    return found
