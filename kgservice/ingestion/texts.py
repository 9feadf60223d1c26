"""The texts of a graph, in the order in which it keeps them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa

from kgservice.arrays.ordering import first_of_equal, order_of
from kgservice.graph import texts
from kgservice.ingestion.marks import Ids
from kgservice.ingestion.spool import int32
from kgservice.readers.batch import Owner


def sorted_texts(batch: pa.RecordBatch, bit: Owner, ids: Ids | None, languages: pa.LargeStringArray) -> pa.RecordBatch:
    """The texts of one kind of owner, by id, sorted and each once.

    Texts are compared as strings only where owner, kind and language are the same.
    """
    owner = batch.column("owner").to_numpy()
    id = owner if ids is None else ids[owner]
    rows = np.flatnonzero(((batch.column("of").to_numpy() & bit) != 0) & (id >= 0))
    columns = [id[rows], *(batch.column(name).to_numpy()[rows] for name in ("kind", "language"))]
    order = order_of(columns)
    rows, columns = rows[order], [column[order] for column in columns]
    fresh = first_of_equal(columns)
    tied = ~fresh
    tied[:-1] |= ~fresh[1:]
    if tied.any():
        places = np.flatnonzero(tied)
        text = pl.Series("text", batch.column("text").take(pa.array(rows[places])), dtype=pl.String)
        frame = pl.DataFrame({"group": np.cumsum(fresh)[places], "text": text, "row": rows[places]})
        frame = frame.sort("group", "text").with_columns(first=pl.struct("group", "text").is_first_distinct())
        rows[places] = frame["row"].to_numpy()
        kept = np.ones(len(rows), bool)
        kept[places] = frame["first"].to_numpy()
        rows, columns = rows[kept], [column[kept] for column in columns]
    found = [
        int32(columns[0]),
        pa.array(columns[1]),
        languages.take(pa.array(columns[2])),
        batch.column("text").take(pa.array(rows)),
    ]
    return pa.RecordBatch.from_arrays(found, schema=texts.SCHEMA)
