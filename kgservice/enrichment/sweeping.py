"""One look at a tile of scores while it is in a core's cache: what is hidden is taken out, and the rest summed up.

A question needs three things of its scores: the sum of their exponentials, the highest, and the k best. Taken one after the other
over large tiles, each would cost a way through memory, and together more than the product of matrices that made the scores.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kgservice.arrays.ragged import Ragged

Floats = npt.NDArray[np.float32]
ROWS, COLUMNS = 256, 2048
"""Of a tile: 2 MiB of scores, and products large enough for a processor's full speed."""
_PART = 512
"""Scores whose exponentials are kept at a time."""


class Sums:
    """Of `b` questions the log-sum-exp and the highest of all scores that are not hidden.

    Args:
        b: questions.
        hidden: ragged `[b]`, columns that do not count, sorted within each row.
    """

    def __init__(self, b: int, hidden: Ragged) -> None:
        self._offset, self._column = hidden.offset, hidden.values
        self._next = hidden.offset[:-1].copy()
        self._top = np.full(b, -np.inf, np.float32)
        self._sum = np.zeros(b)
        self._buffer = np.empty((2, _PART), np.float32)

    def take(self, scores: Tensor, first: int, start: int) -> None:
        """Take in a tile, whose tiles before have come; what is hidden becomes −inf in it.

        Args:
            scores: float32 `[t, w]`, contiguous.
            first: of which row the tile begins.
            start: of which column.
        """
        rows = slice(first, first + len(scores))
        _compiled()(
            scores.numpy(), start, self._offset[first + 1 : first + len(scores) + 1], self._column, self._next[rows],
            self._top[rows], self._sum[rows], self._buffer[0].view(np.int32), self._buffer[0], self._buffer[1],
        )  # fmt: skip

    def mass(self) -> Tensor:
        """float32 `[b]`; −inf where everything is hidden."""
        with np.errstate(divide="ignore"):
            return torch.from_numpy((np.log(self._sum) + self._top).astype(np.float32))

    def top(self) -> Tensor:
        """float32 `[b]`."""
        return torch.from_numpy(self._top.copy())


@cache
def _compiled() -> Callable[..., None]:
    """`_take` as machine code that holds no lock; compiled once a machine where it can be kept."""
    import numba

    # Sums in any order, so that they take many numbers at once; infinite ones keep their meaning.
    loose: Any = {"reassoc", "contract", "nsz", "arcp"}
    try:
        return numba.njit(nogil=True, fastmath=loose, cache=True)(_take)
    except RuntimeError:  # no folder to keep it in
        return numba.njit(nogil=True, fastmath=loose)(_take)


def _take(
    scores: Floats,
    start: int,
    end: npt.NDArray[np.int64],
    hidden: npt.NDArray[np.int32],
    coming: npt.NDArray[np.int64],
    top: Floats,
    total: npt.NDArray[np.float64],
    powers: npt.NDArray[np.int32],
    whole: Floats,
    rest: Floats,
) -> None:
    """`Sums.take`, in the subset of Python that numba compiles; `powers` and `whole` are the same memory."""
    n = scores.shape[1]
    for row in range(len(scores)):
        line = scores[row]
        place = coming[row]
        while place < end[row] and hidden[place] < start + n:
            line[hidden[place] - start] = -np.inf
            place += 1
        coming[row] = place
        highest = np.float32(-np.inf)
        for j in range(n):
            highest = line[j] if line[j] > highest else highest
        if highest == -np.inf:
            continue
        if highest > top[row]:
            total[row] *= np.exp(np.float64(top[row]) - np.float64(highest))
            top[row] = highest
        above = top[row]
        for begin in range(0, n, _PART):
            part = line[begin : begin + _PART]
            # 2^x = 2^whole · 2^rest: the first by the exponent's bits, the second by a polynomial, right to a millionth.
            for j in range(len(part)):
                x = max((part[j] - above) * np.float32(1.44269504), np.float32(-126.0))
                power = np.floor(x)
                f = np.float32(x - power)
                y = np.float32(1.8775767e-3) * f + np.float32(8.9893397e-3)
                y = y * f + np.float32(5.5826318e-2)
                y = y * f + np.float32(2.4015361e-1)
                y = y * f + np.float32(6.9315308e-1)
                rest[j] = y * f + np.float32(9.9999994e-1)
                powers[j] = (np.int32(power) + np.int32(127)) << np.int32(23)
            part_sum = np.float32(0.0)
            for j in range(len(part)):
                part_sum += whole[j] * rest[j]
            total[row] += part_sum
