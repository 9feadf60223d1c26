"""Content hashes of columns that come out the same however the rows are cut into batches."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


class ColumnDigest:
    """sha256 over each column of record batches: values, and for strings and lists the lengths apart.

    Args:
        schema: of integers, floats, `large_string` and `large_list` of integers; no nulls.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._digests = [(hashlib.sha256(), hashlib.sha256()) for _ in schema]

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch."""
        for column, (lengths, values) in zip(batch.columns, self._digests, strict=True):
            if pa.types.is_large_string(column.type) or pa.types.is_large_list(column.type):
                offset, data = parts(column)
                lengths.update(np.diff(offset).astype("<i8", copy=False).data)
                values.update(_little(data).data)
            else:
                values.update(_little(column.to_numpy()).data)

    def hexdigest(self) -> str:
        """Over the columns in their order."""
        whole = hashlib.sha256("\n".join(f"{field.name} {field.type}" for field in self._schema).encode())
        for lengths, values in self._digests:
            whole.update(lengths.digest() + values.digest())
        return whole.hexdigest()

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> str:
        """The digest of one batch."""
        digest = cls(batch.schema)
        digest.update(batch)
        return digest.hexdigest()


def parts(column: pa.LargeStringArray | pa.LargeListArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """The offsets (int64 `[m + 1]`, not from 0 in a slice) of strings or lists, and the bytes or values they cut.

    Neither is copied; the values are cut to those in use.
    """
    if pa.types.is_large_list(column.type):
        offset = column.offsets.to_numpy()
        values = column.values.to_numpy()
    else:
        buffers = column.buffers()
        offset = np.frombuffer(buffers[1], np.int64)[column.offset : column.offset + len(column) + 1]
        values = np.frombuffer(buffers[2], np.uint8) if buffers[2] is not None else np.empty(0, np.uint8)
    return offset, values[offset[0] : offset[-1]] if len(offset) else values[:0]


def _little(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False).view(np.uint8)
