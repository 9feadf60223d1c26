"""The k best candidates of a question out of scores that are nearly right.

Scores come tile by tile, rounded to bfloat16, each no further from the true one than a bound says. What may be among the k best
is kept; what is left in the end, little more than k, is scored in float64 by itself. So the result is that of scoring everything
in float64, whatever the tiles, the batch or the processor.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kgservice.similarity import Metric

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Rows = Callable[[Ints], tuple[Floats, Ints]]
"""Vectors that hold those of some places, and where in them each stands."""
ROOM = 4096
"""Candidates beyond 4 k that a question can keep; where more are too alike to tell, all are scored."""


class Survivors:
    """Which candidates may be among the best `k` of each of `b` questions.

    Args:
        k: wanted of each, at least 1.
        doubt: float32 `[b]`: how far a question's scores may be from the true ones, but for their rounding to bfloat16.
    """

    def __init__(self, k: int, doubt: Floats) -> None:
        b, room = len(doubt), 4 * k + ROOM
        self._k, self._doubt = k, doubt
        self._scores, self._places = np.empty((b, room), np.float32), np.empty((b, room), np.int32)
        self._count, self._cut = np.zeros(b, np.int64), np.full(b, -np.inf, np.float32)
        self.lost = ~np.isfinite(doubt)
        """bool `[b]`: the questions whose candidates must all be scored."""

    def push(self, scores: Tensor, start: int) -> None:
        """Take in a tile, bfloat16 `[b, t]`, whose first column has place `start`; −inf is never kept."""
        from kgservice.index import kernels

        bits = scores.contiguous().view(torch.int16).numpy()
        kernels.push(bits, start, self._k, self._doubt, self._scores, self._places, self._count, self._cut, self.lost)

    def best(self, queries: Floats, rows: Rows, metric: Metric) -> tuple[Floats, Ints]:
        """The best `k` by scores of float64, rounded to float32: by score down, then place up.

        Returns:
            scores float32 and places int32 `[b, k]`, padded with −inf and −1; those of questions that are `lost` mean nothing.
        """
        most = int(self._count.max(initial=0))
        places = self._places[:, :most][np.arange(most) < self._count[:, None]]
        return best_of(queries, rows, places, np.concatenate([[0], np.cumsum(self._count)]), self._k, metric)


def best_of(
    queries: Floats, rows: Rows, places: Ints, offset: npt.NDArray[np.int64], k: int, metric: Metric
) -> tuple[Floats, Ints]:
    """As `Survivors.best`, of the candidates `places[offset[i] : offset[i + 1]]` of question `i`."""
    from kgservice.index import kernels

    vectors, at = rows(places)
    scores, found = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int32)
    kernels.score(queries, vectors, at, places, offset, k, metric == "l2", scores, found)
    return scores, found
