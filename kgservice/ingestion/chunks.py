"""Rows on disk in sorted chunks, read back in parts by ranges of their key: an external sort without a merge step.

Chunks are plain columns one after another, and only what a range needs is read from them: mapped files would stay in
memory page by page, and opening one takes longer than reading a slice.
"""

from __future__ import annotations

import itertools
import os
import sys
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kgservice.arrays.digests import parts
from kgservice.ingestion.spool import opened, read_items

_SAMPLE_ROWS = 1024
_OFFSET = np.dtype(np.int64)

Range = tuple[int, int]


@dataclass(frozen=True)
class _Column:
    """Where a column lies in a chunk: its values, and for strings and lists the `rows + 1` offsets that cut them."""

    values: int
    offsets: int | None = None


@dataclass(frozen=True)
class _Chunk:
    path: Path
    rows: int
    columns: dict[str, _Column]


class Chunks:
    """Rows of one schema whose first column is an int32 key.

    Args:
        folder: where the chunks lie; made.
        schema: of integers, `large_string` and `large_list` of integers; no nulls.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.schema = schema
        self._folder, self._lock, self._numbers = folder, Lock(), itertools.count()
        self._chunks: list[_Chunk] = []
        self.rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Add rows that are sorted by their key."""
        if not len(batch):
            return
        with self._lock:
            path = self._folder / f"{next(self._numbers)}.chunk"
        columns: dict[str, _Column] = {}
        with path.open("wb") as file:
            for field, column in zip(self.schema, batch.columns, strict=True):
                offsets = None
                if _is_ragged(field.type):
                    offset, values = parts(column)
                    offsets = file.tell()
                    file.write((offset - offset[0]).data)
                else:
                    values = np.ascontiguousarray(column.to_numpy())
                columns[field.name] = _Column(file.tell(), offsets)
                file.write(np.ascontiguousarray(values).view(np.uint8).data)
        with self._lock:
            self._chunks.append(_Chunk(path, len(batch), columns))
            self.rows += len(batch)

    def key_samples(self) -> Iterator[npt.NDArray[np.int32]]:
        """Every so many keys of each chunk."""
        for chunk in self._chunks:
            with opened(chunk.path) as file:
                keys = read_items(file, chunk.columns[self.schema.names[0]].values, 0, chunk.rows, np.dtype(np.int32))
            yield keys[_SAMPLE_ROWS // 2 :: _SAMPLE_ROWS]

    def read(self, keys: Range, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        """All rows with a key in [low, high), chunk after chunk: in no order.

        Args:
            columns: only these; all by default.
        """
        schema = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        values: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in schema.names}
        lengths: dict[str, list[npt.NDArray[np.int64]]] = {name: [] for name in schema.names}
        for chunk in self._chunks:
            with opened(chunk.path) as file:
                found = _Keys(file, chunk.columns[self.schema.names[0]].values, chunk.rows)
                low, high = (bisect_left(found, key) for key in keys)
                if low == high:
                    continue
                for field in schema:
                    place, dtype = chunk.columns[field.name], _dtype(field.type)
                    first, last = low, high
                    if place.offsets is not None:
                        offset = read_items(file, place.offsets, low, high + 1, _OFFSET)
                        lengths[field.name].append(np.diff(offset))
                        first, last = int(offset[0]), int(offset[-1])
                    values[field.name].append(read_items(file, place.values, first, last, dtype))
        arrays = [_array(field.type, values[field.name], lengths[field.name]) for field in schema]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def ranges(chunks: list[Chunks], end: int, *, rows: int) -> list[Range]:
    """Cut [0, end) so that about `rows` rows of all chunks together fall into each range."""
    samples = [sample for table in chunks for sample in table.key_samples()]
    sample = np.sort(np.concatenate(samples)) if samples else np.empty(0, np.int32)
    every = max(1, rows // _SAMPLE_ROWS)
    inner = np.unique(sample[every::every])
    bounds = [0, *inner[(inner > 0) & (inner < end)].tolist(), end]
    return list(itertools.pairwise(bounds))


class _Keys(Sequence[int]):
    """The key column of a chunk, one at a time: for binary search."""

    def __init__(self, file: int, start: int, rows: int) -> None:
        self._file, self._start, self._rows = file, start, rows

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, row: Any) -> Any:
        return int.from_bytes(os.pread(self._file, 4, self._start + 4 * row), sys.byteorder, signed=True)


def _array(type_: pa.DataType, values: list[npt.NDArray[Any]], lengths: list[npt.NDArray[np.int64]]) -> pa.Array:
    flat = np.concatenate(values) if values else np.empty(0, _dtype(type_))
    if not _is_ragged(type_):
        return pa.array(flat, type_)
    offset = np.zeros(1 + sum(len(part) for part in lengths), np.int64)
    np.cumsum(np.concatenate([np.empty(0, np.int64), *lengths]), out=offset[1:])
    if pa.types.is_large_list(type_):
        return pa.LargeListArray.from_arrays(pa.array(offset), pa.array(flat, type_.value_type))
    return pa.LargeStringArray.from_buffers(len(offset) - 1, pa.py_buffer(offset), pa.py_buffer(flat))


def _is_ragged(type_: pa.DataType) -> bool:
    return bool(pa.types.is_large_string(type_) or pa.types.is_large_list(type_))


def _dtype(type_: pa.DataType) -> np.dtype[Any]:
    """Of the values of a column."""
    if pa.types.is_large_string(type_):
        return np.dtype(np.uint8)
    scalar = type_.value_type if pa.types.is_large_list(type_) else type_
    found: np.dtype[Any] = np.dtype(scalar.to_pandas_dtype())
    return found
