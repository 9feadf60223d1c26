"""Rows on disk in sorted chunks, read back in parts by ranges of their key: an external sort without a merge step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kgservice.ingestion.spool import read_batch, write_batch

_SAMPLE_ROWS = 1024

Range = tuple[int, int]


class Chunks:
    """Rows of one schema whose first column is an int32 key.

    Args:
        folder: where the chunks lie; made.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.schema = schema
        self._folder, self._lock, self._numbers = folder, Lock(), itertools.count()
        self._paths: list[Path] = []
        self.rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Add rows that are sorted by their key."""
        if not len(batch):
            return
        with self._lock:
            path = self._folder / f"{next(self._numbers)}.arrow"
        write_batch(path, batch)
        with self._lock:
            self._paths.append(path)
            self.rows += len(batch)

    def key_columns(self) -> Iterator[npt.NDArray[np.int32]]:
        """The key column of each chunk."""
        return (read_batch(path).column(0).to_numpy() for path in self._paths)

    def read(self, keys: Range, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        """All rows with a key in [low, high), chunk after chunk: copied, in no order.

        Args:
            columns: only these; all by default.
        """
        schema = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        pieces = []
        for path in self._paths:
            batch = read_batch(path)
            low, high = np.searchsorted(batch.column(0).to_numpy(), keys)
            if low < high:
                pieces.append(batch.select(schema.names).slice(low, high - low))
        return _united(pieces, schema)


def ranges(chunks: list[Chunks], end: int, *, rows: int) -> list[Range]:
    """Cut [0, end) so that about `rows` rows of all chunks together fall into each range."""
    samples = [keys[_SAMPLE_ROWS // 2 :: _SAMPLE_ROWS] for table in chunks for keys in table.key_columns()]
    sample = np.sort(np.concatenate(samples)) if samples else np.empty(0, np.int32)
    every = max(1, rows // _SAMPLE_ROWS)
    inner = np.unique(sample[every::every])
    bounds = [0, *inner[(inner > 0) & (inner < end)].tolist(), end]
    return list(itertools.pairwise(bounds))


def _united(pieces: list[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        pa.concat_arrays([pa.array([], field.type), *(piece.column(i) for piece in pieces)])
        for i, field in enumerate(schema)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
