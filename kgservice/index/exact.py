"""Exhaustive search in tiles: memory is bounded by the tile, not by the number of candidates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kgservice.arrays.ragged import Ragged, offsets_of
from kgservice.index.selection import Best
from kgservice.similarity import Metric, similarity

TILE = 65_536
"""Candidates scored at once."""


class ExactIndex:
    """Every candidate is scored; ties go to the smaller id.

    Args:
        vectors: float32 or float16 `[n, d]`; kept, not copied. Half precision is widened tile by tile.
        metric: "ip" or "l2".
    """

    exact = True

    def __init__(self, vectors: Tensor, metric: Metric) -> None:
        self._vectors, self._metric = vectors.detach(), metric

    def __len__(self) -> int:
        return len(self._vectors)

    def search(
        self,
        vectors: Tensor,
        k: int,
        exclude: Ragged | None = None,
        allow: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """See `Searcher.search`."""
        candidates, ids, barred = self._vectors, None, None
        if allow is not None:
            ids = np.flatnonzero(allow)
            if len(ids) > len(allow) // 2:  # cheaper to score the few others too than to copy the many
                ids, barred = None, torch.from_numpy(~allow)
            else:
                candidates = candidates[torch.from_numpy(ids)]
                exclude = _renumber(exclude, ids) if exclude is not None else None
        with torch.inference_mode():
            values, places = self._tiles(vectors, candidates, k, exclude, barred)
        found = places.astype(np.int32)
        if ids is not None and len(ids):
            found = np.where(places >= 0, ids[places], -1).astype(np.int32)
        return found, values

    def _tiles(
        self, vectors: Tensor, candidates: Tensor, k: int, exclude: Ragged | None, barred: Tensor | None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        best = Best(len(vectors), k)
        rows = torch.from_numpy(exclude.rows()) if exclude is not None else None
        hidden = torch.from_numpy(exclude.values.astype(np.int64)) if exclude is not None else None
        for start in range(0, len(candidates), TILE):
            tile = candidates[start : start + TILE].to(vectors.dtype)
            scores = similarity(vectors, tile, self._metric).float().cpu()
            if rows is not None and hidden is not None:
                inside = (hidden >= start) & (hidden < start + len(tile))
                scores[rows[inside], hidden[inside] - start] = -torch.inf
            if barred is not None:
                scores.masked_fill_(barred[start : start + len(tile)], -torch.inf)
            best.push(scores, start)
        return best.sorted()

    def save(self, path: Path) -> None:
        """See `Index.save`."""


def _renumber(exclude: Ragged, ids: npt.NDArray[np.int64]) -> Ragged:
    """Ids as places in the sorted `ids`; those not there are dropped."""
    if not len(ids):
        return Ragged.empty(len(exclude))
    place = np.minimum(np.searchsorted(ids, exclude.values), len(ids) - 1)
    kept = ids[place] == exclude.values
    lengths = np.bincount(exclude.rows()[kept], minlength=len(exclude))
    return Ragged(offsets_of(lengths), place[kept].astype(np.int32))
