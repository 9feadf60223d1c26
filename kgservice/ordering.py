"""The order of rows by several integer columns: packed into one number where the bits suffice, which sorts fastest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[Any]


def pack(columns: Sequence[Column]) -> npt.NDArray[np.uint64] | None:
    """uint64 `[m]`: one number per row that orders rows by the first column, then the second, ...; None if too wide."""
    if not len(columns[0]):
        return np.empty(0, np.uint64)
    lows = [int(column.min()) for column in columns]
    bits = [(int(column.max()) - low).bit_length() for column, low in zip(columns, lows, strict=True)]
    if sum(bits) > 64:
        return None
    key = np.zeros(len(columns[0]), np.uint64)
    for column, low, width in zip(columns, lows, bits, strict=True):
        if width:
            key <<= np.uint64(width)
            key |= (column.astype(np.int64) - low).astype(np.uint64)
    return key


def order_of(columns: Sequence[Column]) -> npt.NDArray[np.int64]:
    """int64 `[m]`: the rows sorted by the first column, then the second, and so on; equal rows in their order."""
    key = pack(columns)
    if key is None:
        return np.lexsort(tuple(reversed(columns)))
    return np.arange(len(key)) if np.all(key[1:] >= key[:-1]) else np.argsort(key, kind="stable")


def first_of_equal(columns: Sequence[Column]) -> npt.NDArray[np.bool_]:
    """bool `[m]`: the rows of sorted columns that differ from the row before."""
    fresh = np.zeros(len(columns[0]), bool)
    fresh[:1] = True
    for column in columns:
        fresh[1:] |= column[1:] != column[:-1]
    return fresh


def mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """splitmix64's finaliser: every input bit reaches every output bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
