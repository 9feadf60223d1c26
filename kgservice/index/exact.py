"""Exhaustive search in tiles: memory is bounded by the tile, not by the number of candidates."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kgservice.ragged import Ragged, offsets_of
from kgservice.similarity import Metric, similarity

_T = TypeVar("_T", bound=np.generic)

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
        self._removed = np.zeros(len(vectors), dtype=bool)

    def __len__(self) -> int:
        return len(self._vectors)

    def search(
        self,
        vectors: Tensor,
        k: int,
        exclude: Ragged | None = None,
        allow: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """See `Index.search`."""
        candidates, ids, barred = self._vectors, None, None
        if allow is not None or self._removed.any():
            live = ~self._removed if allow is None else allow & ~self._removed
            ids = np.flatnonzero(live)
            if len(ids) > len(live) // 2:  # cheaper to score the few others too than to copy the many
                ids, barred = None, torch.from_numpy(~live)
            else:
                candidates = candidates[torch.from_numpy(ids)]
                exclude = _renumber(exclude, ids) if exclude is not None else None
        with torch.inference_mode():
            scores, places = self._tiles(vectors, candidates, k, exclude, barred)
        found, values = places.numpy().astype(np.int32), scores.numpy().astype(np.float32)
        if ids is not None and len(ids):
            found = ids[found].astype(np.int32)
        found[values == -np.inf] = -1
        return _padded(found, k, -1), _padded(values, k, -np.inf)

    def _tiles(
        self, vectors: Tensor, candidates: Tensor, k: int, exclude: Ragged | None, barred: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        best = torch.empty(len(vectors), 0)
        places = torch.empty(len(vectors), 0, dtype=torch.int64)
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
            values, local = _top(scores, k)
            merged = torch.cat([best, values], dim=1)
            numbers = torch.cat([places, local + start], dim=1)
            # Earlier tiles hold the smaller ids and stand first: a stable sort keeps ties in id order.
            order = merged.sort(dim=1, descending=True, stable=True).indices[:, :k]
            best, places = merged.gather(1, order), numbers.gather(1, order)
        return best, places

    def add(self, vectors: Tensor) -> npt.NDArray[np.int32]:
        """See `Index.add`."""
        first = len(self)
        self._vectors = torch.cat([self._vectors, vectors.to(self._vectors)])
        self._removed = np.concatenate([self._removed, np.zeros(len(vectors), dtype=bool)])
        return np.arange(first, len(self), dtype=np.int32)

    def remove(self, ids: npt.ArrayLike) -> None:
        """See `Index.remove`."""
        self._removed[np.asarray(ids, dtype=np.int64)] = True

    def save(self, path: Path) -> None:
        """See `Index.save`."""


def _top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of each row, by score down, then place up."""
    k = min(k, scores.shape[1])
    values, places = scores.topk(k, dim=1)
    # topk breaks ties as it likes; where more candidates reach the last value than fit, choose the smallest places.
    if k:
        last = values[:, -1:]
        crowded = ((scores >= last).sum(1) > k) & (last.squeeze(1) > -torch.inf)
        for row in crowded.nonzero().squeeze(1).tolist():
            above = (scores[row] > last[row]).nonzero().squeeze(1)
            ties = (scores[row] == last[row]).nonzero().squeeze(1)[: k - len(above)]
            places[row] = torch.cat([above, ties])
    places = places.sort(dim=1).values
    order = scores.gather(1, places).sort(dim=1, descending=True, stable=True)
    return order.values, places.gather(1, order.indices)


def _renumber(exclude: Ragged, ids: npt.NDArray[np.int64]) -> Ragged:
    """Ids as places in the sorted `ids`; those not there are dropped."""
    if not len(ids):
        return Ragged.empty(len(exclude))
    place = np.minimum(np.searchsorted(ids, exclude.values), len(ids) - 1)
    kept = ids[place] == exclude.values
    lengths = np.bincount(exclude.rows()[kept], minlength=len(exclude))
    return Ragged(offsets_of(lengths), place[kept].astype(np.int32))


def _padded(rows: npt.NDArray[_T], k: int, fill: float) -> npt.NDArray[_T]:
    return np.pad(rows, ((0, 0), (0, k - rows.shape[1])), constant_values=fill)
