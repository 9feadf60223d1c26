"""The k best of many scores, tile by tile, in machine code."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
from torch import Tensor

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
BLOCK = 32
"""Scores of which only the best one is looked at, where it is below the k-th best of all blocks."""


class Best:
    """The best `k` of each of `b` rows, by score down, then place up.

    Each row is a heap whose root is the worst that is kept. Places come in ascending order, so that of equal scores the first
    stays. O(n + k log(k) log(n / k)) a row for scores in random order.

    Args:
        b: rows.
        k: kept of each.
    """

    def __init__(self, b: int, k: int) -> None:
        self._values = np.full((b, k), -np.inf, dtype=np.float32)
        self._places = np.full((b, k), -1, dtype=np.int64)
        self._held = np.zeros(b, dtype=np.int64)

    def rows(self, first: int, stop: int) -> Best:
        """A view of some rows, to take in tiles of their own."""
        view = Best(0, 0)
        view._values, view._places, view._held = (
            self._values[first:stop],
            self._places[first:stop],
            self._held[first:stop],
        )
        return view

    def push(self, scores: Tensor, start: int) -> None:
        """Take in a tile, float32 `[b, t]`, whose first column has place `start`; what is not a number is never kept."""
        if not self._values.shape[1]:
            return
        scores = scores.contiguous()
        whole = scores.shape[1] // BLOCK
        tops = scores[:, : whole * BLOCK].reshape(len(scores), whole, BLOCK).amax(2) if whole else scores[:, :0]
        _compiled()[0](scores.numpy(), tops.numpy(), start, self._values, self._places, self._held)

    def sorted(self) -> tuple[Floats, Ints]:
        """Scores and places, `[b, k]`, the best first, padded with −inf and −1; nothing may be pushed afterwards."""
        _compiled()[1](self._values, self._places, self._held)
        return self._values, self._places


@cache
def _compiled() -> tuple[Callable[..., None], Callable[..., None]]:
    """`_push` and `_finish` as machine code that holds no lock; compiled once a machine where it can be kept."""
    import numba

    try:
        return numba.njit(nogil=True, cache=True)(_push), numba.njit(nogil=True, cache=True)(_finish)
    except RuntimeError:  # no folder to keep it in
        return numba.njit(nogil=True)(_push), numba.njit(nogil=True)(_finish)


def _push(scores: Floats, tops: Floats, start: int, values: Floats, places: Ints, held: Ints) -> None:
    """`Best.push`, in the subset of Python that numba compiles."""
    n, k, whole = scores.shape[1], values.shape[1], tops.shape[1]
    for row in range(len(scores)):
        line, value, place, count = scores[row], values[row], places[row], held[row]
        floor = value[0] if count == k else np.float32(-np.inf)
        if whole >= k:  # k blocks have a score that high, so that nothing lower is among the k best
            real = np.where(tops[row] == tops[row], tops[row], np.float32(-np.inf))
            floor = max(floor, np.partition(real, whole - k)[whole - k])
        for begin in range(0, n, BLOCK):
            if begin // BLOCK < whole and tops[row, begin // BLOCK] < floor:
                continue
            part = line[begin : begin + BLOCK]
            for j in range(len(part)):
                if part[j] < floor:
                    continue
                score = part[j]
                if count < k:
                    if not score > -np.inf:
                        continue
                    node = count  # a leaf that rises until its parent is worse
                    count += 1
                    while node > 0 and value[(node - 1) // 2] >= score:
                        value[node], place[node] = value[(node - 1) // 2], place[(node - 1) // 2]
                        node = (node - 1) // 2
                elif score > value[0]:
                    node = 0  # the root's place, which sinks until its children are better
                    while 2 * node + 1 < k:
                        child = 2 * node + 1
                        other = child + 1
                        if other < k and (
                            value[other] < value[child]
                            or (value[other] == value[child] and place[other] > place[child])
                        ):
                            child = other
                        if value[child] >= score:
                            break
                        value[node], place[node] = value[child], place[child]
                        node = child
                else:
                    continue
                value[node], place[node] = score, start + begin + j
        held[row] = count


def _finish(values: Floats, places: Ints, held: Ints) -> None:
    """`Best.sorted`: the worst is taken off the heap and put behind it, again and again."""
    for row in range(len(values)):
        value, place = values[row], places[row]
        for last in range(held[row] - 1, 0, -1):
            score, where = value[last], place[last]
            value[last], place[last] = value[0], place[0]
            node = 0
            while 2 * node + 1 < last:
                child = 2 * node + 1
                other = child + 1
                if other < last and (
                    value[other] < value[child] or (value[other] == value[child] and place[other] > place[child])
                ):
                    child = other
                if value[child] > score or (value[child] == score and place[child] < where):
                    break
                value[node], place[node] = value[child], place[child]
                node = child
            value[node], place[node] = score, where
