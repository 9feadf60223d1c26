"""The order of rows by several integer columns: packed into one number where the bits suffice, which sorts fastest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[Any]


def pack(columns: Sequence[Column]) -> npt.NDArray[np.uint64] | None:
    """uint64 `[m]`: one number per row that orders rows by the first column, then the second, ...; None if too wide."""
    packed = _packed(columns)
    return None if packed is None else packed[0]


def _packed(columns: Sequence[Column]) -> tuple[npt.NDArray[np.uint64], list[tuple[int, int]]] | None:
    """The numbers, and the least value and the bits of each column."""
    if not len(columns[0]):
        return np.empty(0, np.uint64), [(0, 0)] * len(columns)
    lows = [int(column.min()) for column in columns]
    bits = [(int(column.max()) - low).bit_length() for column, low in zip(columns, lows, strict=True)]
    if sum(bits) > 64:
        return None
    key = np.zeros(len(columns[0]), np.uint64)
    for column, low, width in zip(columns, lows, bits, strict=True):
        if width:
            key <<= np.uint64(width)
            key |= (column.astype(np.int64) - low).astype(np.uint64)
    return key, list(zip(lows, bits, strict=True))


def sort_rows(columns: Sequence[Column]) -> list[Column]:
    """The columns with their rows sorted by the first, then the second, and so on."""
    packed = _packed(columns)
    if packed is None:
        order = np.lexsort(tuple(reversed(columns)))
        return [column[order] for column in columns]
    key, spans = packed
    if np.all(key[1:] >= key[:-1]):
        return list(columns)
    key.sort()
    found = []
    for column, (low, width) in zip(reversed(columns), reversed(spans), strict=True):
        mask = np.uint64((1 << width) - 1)
        found.append(((key & mask).astype(np.int64) + low).astype(column.dtype))
        if width < 64:
            key >>= np.uint64(width)
    return found[::-1]


def order_of(columns: Sequence[Column]) -> npt.NDArray[np.int64]:
    """int64 `[m]`: the rows sorted by the first column, then the second, and so on; equal rows in any order."""
    key = pack(columns)
    if key is None:
        return np.lexsort(tuple(reversed(columns)))
    return np.arange(len(key)) if np.all(key[1:] >= key[:-1]) else np.argsort(key)


def first_of_equal(columns: Sequence[Column]) -> npt.NDArray[np.bool_]:
    """bool `[m]`: the rows of sorted columns that differ from the row before."""
    fresh = np.zeros(len(columns[0]), bool)
    fresh[:1] = True
    for column in columns:
        fresh[1:] |= column[1:] != column[:-1]
    return fresh


def mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """splitmix64's step: every input bit reaches every output bit, and 0 does not stay 0, so that it counts in a sum."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
