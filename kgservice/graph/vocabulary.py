"""Names and their numbers: a bijection str ⇄ int32 that lives in a memory-mapped Arrow file.

The base segment holds the names in UTF-8 byte order; `extend` appends further segments, each sorted in itself,
so that a graph that grows never renumbers what a model has learnt. One Arrow record batch per segment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kgservice.arrays.digests import ColumnDigest
from kgservice.errors import GraphError

Ids = npt.NDArray[np.int32]

SCHEMA = pa.schema([("name", pa.large_string())])


@dataclass(frozen=True)
class _Segment:
    """Sorted names, seen as bytes and offsets without a copy."""

    names: pa.LargeStringArray
    first_id: int

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        buffer = self.names.buffers()[1]
        return np.frombuffer(buffer, dtype=np.int64)[self.names.offset : self.names.offset + len(self.names) + 1]

    @cached_property
    def data(self) -> memoryview:
        buffer = self.names.buffers()[2]
        return memoryview(buffer) if buffer is not None else memoryview(b"")

    def find(self, name: bytes) -> int:
        """Binary search: about 20 comparisons in a million names."""
        offsets, data = self.offsets, self.data
        low, high = 0, len(self.names)
        while low < high:
            middle = (low + high) // 2
            if bytes(data[offsets[middle] : offsets[middle + 1]]) < name:
                low = middle + 1
            else:
                high = middle
        found = low < len(self.names) and bytes(data[offsets[low] : offsets[low + 1]]) == name
        return self.first_id + low if found else -1


class Vocabulary:
    """A bijection between names and ids in `[0, n)`.

    Args:
        segments: one array of sorted, distinct names per segment; no name in two segments.
    """

    def __init__(self, segments: Sequence[pa.LargeStringArray]) -> None:
        self._segments: list[_Segment] = []
        first_id = 0
        for names in segments:
            self._segments.append(_Segment(names, first_id))
            first_id += len(names)
        self._size = first_id

    @classmethod
    def build(cls, names: Iterable[str] | pa.Array) -> Vocabulary:
        """A vocabulary of one segment, from names in any order, repeated or not."""
        return cls([_sorted_unique(names)])

    def extend(self, names: Iterable[str] | pa.Array) -> Vocabulary:
        """The same ids, and new ones for the names not yet held."""
        candidates = _sorted_unique(names)
        fresh = candidates.filter(pa.array(self.ids(candidates) < 0))
        if not len(fresh):
            return self
        return Vocabulary([*(segment.names for segment in self._segments), fresh])

    def __len__(self) -> int:
        return self._size

    def __contains__(self, name: str) -> bool:
        return self.id(name) >= 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.content_hash == other.content_hash

    __hash__ = None  # type: ignore[assignment]

    def id(self, name: str) -> int:
        """The id of a name, or -1."""
        encoded = name.encode("utf-8", "surrogatepass")
        for segment in self._segments:
            found = segment.find(encoded)
            if found >= 0:
                return found
        return -1

    def name(self, id: int) -> str:
        """The name of an id in `[0, n)`.

        Raises:
            IndexError: no such id.
        """
        if 0 <= id < self._size:
            for segment in self._segments:
                if id < segment.first_id + len(segment.names):
                    return str(segment.names[id - segment.first_id].as_py())
        raise IndexError(f"id {id} is outside [0, {self._size})")

    def ids(self, names: Iterable[str] | pa.Array) -> Ids:
        """int32 `[len(names)]`: the ids of many names at once by hashing, -1 where a name is not held."""
        found = pc.index_in(_as_array(names), value_set=self.names)
        return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), dtype=np.int32)

    def names_of(self, ids: npt.ArrayLike) -> list[str]:
        """The names of many ids."""
        taken: list[str] = self.names.take(pa.array(np.asarray(ids, dtype=np.int64))).to_pylist()
        return taken

    @cached_property
    def names(self) -> pa.LargeStringArray:
        """All names in id order."""
        if len(self._segments) == 1:
            return self._segments[0].names
        return pa.concat_arrays([segment.names for segment in self._segments])

    @cached_property
    def content_hash(self) -> str:
        """sha256 over the names in id order; a model stores it to know which numbers it learnt."""
        digest = ColumnDigest(SCHEMA)
        for segment in self._segments:
            digest.update(pa.record_batch([segment.names], schema=SCHEMA))
        return digest.hexdigest()

    @property
    def segments(self) -> list[pa.LargeStringArray]:
        """The names of each segment, in id order."""
        return [segment.names for segment in self._segments]

    def save(self, path: Path) -> None:
        """Write an Arrow IPC file, one record batch per segment."""
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            for segment in self._segments:
                writer.write_batch(pa.record_batch([segment.names], schema=SCHEMA))

    @classmethod
    def open(cls, path: Path) -> Vocabulary:
        """Map a saved vocabulary; nothing is read until it is asked for."""
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        if reader.schema != SCHEMA:
            raise GraphError(f"{path}: expected one column 'name' of large_string, found {reader.schema}")
        return cls([reader.get_batch(i).column(0) for i in range(reader.num_record_batches)])


def _as_array(names: Iterable[str] | pa.Array) -> pa.LargeStringArray:
    if isinstance(names, pa.ChunkedArray):
        names = names.combine_chunks()
    if isinstance(names, pa.Array):
        return names.cast(pa.large_string())
    return pa.array(list(names), type=pa.large_string())


def _sorted_unique(names: Iterable[str] | pa.Array) -> pa.LargeStringArray:
    unique = pc.unique(_as_array(names))
    return unique.take(pc.array_sort_indices(unique))  # Arrow compares strings by their bytes


def local_name(name: str) -> str:
    """What follows the last '#', '/' or ':' of an IRI or CURIE, percent signs undone.

    >>> local_name("http://dbpedia.org/resource/C%C3%B4te_d%27Ivoire"), local_name("world:France"), local_name("Q80")
    ("Côte_d'Ivoire", 'France', 'Q80')
    """
    bare = name.rstrip("/#:")
    for mark in ("#", "/", ":"):
        bare = bare.rsplit(mark, 1)[-1]
    return unquote(bare) or name
