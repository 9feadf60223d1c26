"""Vectors of another kind that entities bring along, from a file."""

from __future__ import annotations

import numpy as np

from kgservice.errors import DataError
from kgservice.graph import KnowledgeGraph
from kgservice.recipe import ContextSettings


def read_features(settings: ContextSettings, graph: KnowledgeGraph) -> np.ndarray:
    """float32 `[n, w]`: vectors of another kind from a Parquet file with the columns `entity` (names) and `vector`; zeros for
    entities that it lacks.

    Raises:
        DataError: the file lacks a column, knows none of the entities, or has vectors of another width.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(settings.features)
    if not {"entity", "vector"} <= set(table.column_names):
        raise DataError(f"{settings.features} has the columns {table.column_names}, expected 'entity' and 'vector'")
    ids = graph.entities.ids(table.column("entity").to_pylist())
    vectors = np.asarray(table.column("vector").to_pylist(), dtype=np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != settings.features_width:
        found = vectors.shape[1] if vectors.ndim == 2 else "several"
        raise DataError(f"{settings.features}: context.features_width is {settings.features_width}, found {found}")
    if not (ids >= 0).any():
        raise DataError(f"{settings.features} names no entity of the graph; it begins with {table.column('entity')[0]}")
    read = np.zeros((graph.n, settings.features_width), dtype=np.float32)
    read[ids[ids >= 0]] = vectors[ids >= 0]
    there = np.unique(ids[ids >= 0])
    spread = read[there].std(0)
    read[there] = (read[there] - read[there].mean(0)) / np.where(spread > 0, spread, 1)
    return read
