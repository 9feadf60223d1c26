"""What filters, widens and falls back around an engine that finds nearest vectors, whichever engine it is."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from kgservice.arrays.ragged import Ragged
from kgservice.errors import DataError
from kgservice.index.exact import ExactIndex
from kgservice.similarity import Metric

Floats = npt.NDArray[np.float32]

EXACT_BELOW = 50_000
"""Where an allow list leaves fewer candidates than this, scoring them all is faster than filtering a search."""


class Nearest(Protocol):
    """An engine that holds vectors and finds those that score best.

    Attributes:
        count: vectors that it holds.
        reach: how many it gives at most to one question.
    """

    count: int
    reach: int

    def search(self, vectors: Floats, width: int) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Scores float32 `[b, width]`, higher first, and ids int64 `[b, width]`; -1 where it has no more to give."""
        ...

    def save(self, path: Path) -> None:
        """Write what opens it again."""
        ...


class ApproximateIndex:
    """An engine's search, with an exact one beside it for narrow allow lists and for what the engine does not reach.

    Args:
        nearest: the engine, filled.
        vectors: float32 `[n, d]`, the vectors in it.
        metric: "ip" or "l2".

    Raises:
        DataError: the engine holds another number of vectors.
    """

    exact = False

    def __init__(self, nearest: Nearest, vectors: Tensor, metric: Metric) -> None:
        if nearest.count != len(vectors):
            raise DataError(f"index of {nearest.count:,} vectors, where {len(vectors):,} were expected")
        self._nearest, self._oracle = nearest, ExactIndex(vectors, metric)

    def __len__(self) -> int:
        return len(self._oracle)

    def search(
        self,
        vectors: Tensor,
        k: int,
        exclude: Ragged | None = None,
        allow: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[npt.NDArray[np.int32], Floats]:
        """See `Searcher.search`: more than `k` are fetched, filtered, and fetched again wider while too few remain."""
        if allow is not None and np.count_nonzero(allow) < EXACT_BELOW:
            return self._oracle.search(vectors, k, exclude, allow)
        data = np.ascontiguousarray(vectors.detach().cpu().numpy(), dtype=np.float32)
        found = np.full((len(data), k), -1, dtype=np.int32)
        scores = np.full((len(data), k), -np.inf, dtype=np.float32)
        most = int(exclude.lengths.max()) if exclude is not None and len(exclude) else 0
        width, open_rows, reach = k + most, np.arange(len(data)), min(len(self), self._nearest.reach)
        while len(open_rows):
            width = min(width, reach)
            values, ids = self._nearest.search(data[open_rows], width)
            kept = self._filter(ids, exclude.take(open_rows) if exclude is not None else None, allow)
            for place, row in enumerate(open_rows.tolist()):
                best = np.flatnonzero(kept[place])[:k]
                found[row, : len(best)] = ids[place, best]
                scores[row, : len(best)] = values[place, best]
            short = (found[open_rows] < 0).any(axis=1)
            # An engine that returns padding has no more to give; only a filter that ate too much is worth a wider look.
            open_rows = open_rows[short & (ids[:, -1] >= 0)]
            if width == reach:
                break
            width *= 4
        if len(open_rows) and reach < len(self):
            hidden = exclude.take(open_rows) if exclude is not None else None
            found[open_rows], scores[open_rows] = self._oracle.search(vectors[open_rows], k, hidden, allow)
        return found, scores

    def _filter(
        self, ids: npt.NDArray[np.int64], exclude: Ragged | None, allow: npt.NDArray[np.bool_] | None
    ) -> npt.NDArray[np.bool_]:
        kept = ids >= 0
        if allow is not None:
            kept &= allow[np.maximum(ids, 0)]
        if exclude is not None and len(exclude.values):
            stride = np.int64(len(self) + 1)
            hidden = exclude.rows() * stride + exclude.values
            kept &= ~np.isin(np.arange(len(ids))[:, None] * stride + ids, hidden)
        return np.asarray(kept)

    def save(self, path: Path) -> None:
        """See `Index.save`."""
        self._nearest.save(path)
