"""Columns that grow on disk, and become one Arrow record batch at the end: whatever their length, memory stays flat."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kgservice.arrays.digests import ColumnDigest, parts

_PIECE_BYTES = 8 << 20


class Spool:
    """Rows of one schema, appended batch by batch.

    Args:
        folder: for one file per buffer; it is made, and must be the spool's own.
        schema: of integers, floats, `large_string` and `large_list` of integers; no nulls.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        folder.mkdir(parents=True)
        self.schema, self.rows = schema, 0
        self._digest = ColumnDigest(schema)
        self._paths = [(folder / f"{i}.offsets", folder / f"{i}.values") for i in range(len(schema))]
        self._files = [tuple(path.open("wb") for path in paths) for paths in self._paths]
        self._ends = [0] * len(schema)

    def append(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch."""
        self.rows += len(batch)
        self._digest.update(batch)
        for i, column in enumerate(batch.columns):
            offsets_file, values_file = self._files[i]
            if _is_ragged(column.type):
                offset, values = parts(column)
                ends = offset[1:] - (offset[0] if len(offset) else 0) + self._ends[i]
                offsets_file.write(np.ascontiguousarray(ends, np.int64).view(np.uint8).data)
                self._ends[i] = int(ends[-1]) if len(ends) else self._ends[i]
            else:
                values = column.to_numpy()
            values_file.write(np.ascontiguousarray(values).view(np.uint8).data)

    def hexdigest(self) -> str:
        """`ColumnDigest` of all rows."""
        return self._digest.hexdigest()

    def seal(self, path: Path) -> None:
        """Write all rows as an Arrow IPC file of one record batch, and end the spool."""
        for files in self._files:
            for file in files:
                file.close()
        with ExitStack() as stack:
            sink = _Releasing(stack.enter_context(path.open("wb")))
            columns = [
                self._column(stack, sink, field.type, *paths)
                for field, paths in zip(self.schema, self._paths, strict=True)
            ]
            batch = pa.RecordBatch.from_arrays(columns, schema=self.schema)
            with pa.ipc.new_file(pa.PythonFile(cast(BinaryIO, sink), "w"), self.schema) as writer:
                writer.write_batch(batch)
            del batch, columns
        for paths in self._paths:
            for spent in paths:
                spent.unlink()

    def _column(self, stack: ExitStack, sink: _Releasing, type_: pa.DataType, offsets: Path, values: Path) -> pa.Array:
        data = sink.map(stack, values)
        if not _is_ragged(type_):
            return pa.Array.from_buffers(type_, self.rows, [None, data])
        with offsets.open("r+b") as file:  # the first offset is 0; the file holds the ends
            ends = file.read()
            file.seek(0)
            file.write(bytes(8) + ends)
        offset = sink.map(stack, offsets)
        if pa.types.is_large_string(type_):
            return pa.Array.from_buffers(type_, self.rows, [None, offset, data])
        size = values.stat().st_size // (type_.value_type.bit_width // 8)
        items = pa.Array.from_buffers(type_.value_type, size, [None, data])
        return pa.Array.from_buffers(type_, self.rows, [None, offset], children=[items])


class _Releasing:
    """A file whose `write` gives back the pages of mapped sources as soon as they are written."""

    closed = False

    def __init__(self, file: Any) -> None:
        self._file = file
        self._maps: list[tuple[int, int, mmap.mmap]] = []

    def map(self, stack: ExitStack, path: Path) -> pa.Buffer:
        """The bytes of a file."""
        size = path.stat().st_size
        if not size:
            return pa.py_buffer(b"")
        file = stack.enter_context(path.open("rb"))
        mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        buffer = pa.py_buffer(mapped)
        self._maps.append((buffer.address, size, mapped))
        return buffer

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        source = None
        if len(view) > _PIECE_BYTES:
            address = np.frombuffer(view, np.uint8).ctypes.data
            source = next((m for m in self._maps if m[0] <= address < m[0] + m[1]), None)
        for start in range(0, len(view), _PIECE_BYTES):
            self._file.write(view[start : start + _PIECE_BYTES])
            if source is not None:
                release(source[2], address - source[0] + start, _PIECE_BYTES)
        return len(view)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def release(mapped: mmap.mmap, start: int, length: int) -> None:
    """Let the pages of a read-only mapping go; they are read again from the file if need be."""
    page = mmap.PAGESIZE
    first = start // page * page
    if hasattr(mapped, "madvise") and first < len(mapped):
        mapped.madvise(mmap.MADV_DONTNEED, first, min(length, len(mapped) - first))


def mapped(path: Path, dtype: npt.DTypeLike, size: int) -> npt.NDArray[Any]:
    """`size` zeros in a file. The space is taken at once: a disk that fills up later would end the process.

    Raises:
        OSError: the disk is full.
    """
    size = max(size, 1)
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size * np.dtype(dtype).itemsize)
        else:
            file.truncate(size * np.dtype(dtype).itemsize)
    return np.memmap(path, dtype, "r+", shape=(size,))


def let_go(array: npt.NDArray[Any]) -> None:
    """Take the pages of a `mapped` array out of the process; they are in its file, and come back when they are used."""
    base: Any = array.base
    if isinstance(base, mmap.mmap) and hasattr(base, "madvise"):
        base.madvise(mmap.MADV_DONTNEED)


def write_batch(path: Path, batch: pa.RecordBatch) -> None:
    """One record batch as an Arrow IPC file that is complete or not there at all."""
    staging = path.with_name(path.name + ".partial")
    with pa.OSFile(str(staging), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    staging.rename(path)


def read_batch(path: Path) -> pa.RecordBatch:
    """What `write_batch` wrote, mapped."""
    return pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A file for `read_items`."""
    file = os.open(path, os.O_RDONLY)
    try:
        yield file
    finally:
        os.close(file)


def read_items(file: int, start: int, low: int, high: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Items `low` to `high` of a column that begins at `start`."""
    place, wanted = start + low * dtype.itemsize, (high - low) * dtype.itemsize
    data = os.pread(file, wanted, place)
    while len(data) < wanted:  # one call reads at most 2 GiB
        more = os.pread(file, wanted - len(data), place + len(data))
        if not more:
            raise OSError(f"a chunk ends {wanted - len(data)} bytes too early")
        data += more
    return np.frombuffer(data, dtype)


def _is_ragged(type_: pa.DataType) -> bool:
    return bool(pa.types.is_large_string(type_) or pa.types.is_large_list(type_))


def int32(values: npt.ArrayLike) -> pa.Array:
    """An Arrow column of int32."""
    return pa.array(np.ascontiguousarray(values, np.int32))
