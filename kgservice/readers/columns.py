"""String columns as codes into their distinct values: the form in which readers hand over what they read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Codes = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Coded:
    """Row `i` is `values[codes[i]]`; the values are distinct."""

    values: pa.LargeStringArray
    codes: Codes

    @classmethod
    def of(cls, column: Sequence[str] | pa.Array) -> Coded:
        """From plain strings, by hashing."""
        encoded = large_strings(column).dictionary_encode()
        return cls(encoded.dictionary, encoded.indices.to_numpy())

    @classmethod
    def concat(cls, parts: Sequence[Coded]) -> Coded:
        """Rows of all parts in order, over one set of values: linear in rows and in the parts' values."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return cls(pa.array([], pa.large_string()), np.empty(0, np.int32))
        stacked = pa.concat_arrays([part.values for part in parts]).dictionary_encode()
        place, codes, first = stacked.indices.to_numpy(), [], 0
        for part in parts:
            codes.append(place[first + part.codes])
            first += len(part.values)
        return cls(stacked.dictionary, np.concatenate(codes).astype(np.int32))

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: npt.ArrayLike) -> Coded:
        """The rows given by number or mask, keeping only the values they use."""
        return self.at(self.codes[np.asarray(rows)])

    def at(self, codes: npt.ArrayLike) -> Coded:
        """A column with other codes over the same values, keeping only those in use."""
        codes = np.asarray(codes)
        in_use = np.zeros(len(self.values), dtype=bool)
        in_use[codes] = True
        compact = np.cumsum(in_use, dtype=np.int32) - np.int32(1)
        return Coded(self.values.filter(pa.array(in_use)), compact[codes])

    def decode(self) -> pa.LargeStringArray:
        """The strings row by row."""
        return self.values.take(pa.array(self.codes))


def large_strings(column: Sequence[str] | pa.Array | pa.ChunkedArray) -> pa.LargeStringArray:
    """One array of large strings, whatever the column was."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column, pa.Array):
        return column.cast(pa.large_string())
    return pa.array(column, type=pa.large_string())


def distinct(columns: Sequence[pa.Array]) -> pa.LargeStringArray:
    """Every string that occurs in some column, once."""
    return pc.unique(pa.concat_arrays([pa.array([], pa.large_string()), *columns]))
