"""Lists of different lengths in two flat arrays (CSR): qualifiers per statement, known answers per question."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Ragged:
    """`values[offset[i] : offset[i + 1]]` is list `i`.

    Attributes:
        offset: int64 `[b + 1]`, starting at 0, never falling.
        values: int32 `[offset[-1]]`.
    """

    offset: npt.NDArray[np.int64]
    values: npt.NDArray[np.int32]

    @classmethod
    def of(cls, lists: Iterable[Sequence[int]]) -> Ragged:
        """From Python sequences; for few and small ones."""
        rows = [np.asarray(row, dtype=np.int32) for row in lists]
        values = np.concatenate(rows) if rows else np.empty(0, dtype=np.int32)
        return cls(offsets_of([len(row) for row in rows]), values)

    @classmethod
    def empty(cls, rows: int) -> Ragged:
        """`rows` lists with nothing in them."""
        return cls(np.zeros(rows + 1, dtype=np.int64), np.empty(0, dtype=np.int32))

    @classmethod
    def joined(cls, parts: Iterable[Ragged]) -> Ragged:
        """The lists of several, one behind the other."""
        whole = list(parts)
        lengths = np.concatenate([part.lengths for part in whole])
        return cls(offsets_of(lengths), np.concatenate([part.values for part in whole]))

    def __len__(self) -> int:
        return len(self.offset) - 1

    def __getitem__(self, row: int) -> npt.NDArray[np.int32]:
        return self.values[self.offset[row] : self.offset[row + 1]]

    def __iter__(self) -> Iterator[npt.NDArray[np.int32]]:
        return (self[row] for row in range(len(self)))

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """int64 `[b]`."""
        return np.diff(self.offset)

    def rows(self) -> npt.NDArray[np.int64]:
        """int64 `[len(values)]`: the list each value stands in."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)

    def take(self, rows: npt.ArrayLike) -> Ragged:
        """The lists at `rows`, in that order; a negative row gives an empty list."""
        chosen = np.asarray(rows, dtype=np.int64)
        present = np.maximum(chosen, 0)
        lengths = np.where(chosen >= 0, self.offset[present + 1] - self.offset[present], 0)
        offset = offsets_of(lengths)
        # Position j of list i is start[i] + j: one arange, shifted by list.
        shift = np.repeat(self.offset[present] - offset[:-1], lengths)
        return Ragged(offset, self.values[np.arange(offset[-1], dtype=np.int64) + shift])

    def union(self, other: Ragged) -> Ragged:
        """List by list, the values of both, sorted, each once."""
        rows = np.concatenate([self.rows(), other.rows()])
        values = np.concatenate([self.values, other.values])
        pairs = np.unique(rows << 32 | values.astype(np.int64))
        counts = np.bincount((pairs >> 32).astype(np.int64), minlength=len(self))
        return Ragged(offsets_of(counts), (pairs & 0xFFFFFFFF).astype(np.int32))


def offsets_of(lengths: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """int64 `[len + 1]` starting at 0."""
    lengths = np.asarray(lengths, dtype=np.int64)
    offset = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offset[1:])
    return offset


def places_in(group: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """int64 `[b]`: the place of each row within its run of equal groups."""
    fresh = np.ones(len(group), dtype=bool)
    fresh[1:] = group[1:] != group[:-1]
    start = np.flatnonzero(fresh)
    return np.arange(len(group)) - np.repeat(start, np.diff(np.append(start, len(group))))
