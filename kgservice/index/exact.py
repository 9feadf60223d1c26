"""Exhaustive search: fast products tell which candidates may be among the best, and those are scored in float64.

On processors whose bfloat16 products are fast every candidate is read at half the width, and the answer is the same. Memory is
bounded by a tile of scores, not by the number of candidates.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kgservice.arrays.ragged import Ragged, offsets_of
from kgservice.index.rounding import LEAST, Rounded
from kgservice.index.selection import Floats, Ints, Survivors, best_of
from kgservice.similarity import Metric

TILE = 65_536
"""Candidates scored at once, at most."""
SCORES = 1 << 20
"""Scores at once: what a processor's cache holds."""


class ExactIndex:
    """Every candidate is scored; ties go to the smaller id. A score depends on question and candidate alone.

    Args:
        vectors: float32 or float16 `[n, d]`; kept, not copied. Float32 is kept beside from the first search on: in bfloat16
            where that is fast, else, up to 256 MiB, laid out for faster products.
        metric: "ip" or "l2".
    """

    exact = True

    def __init__(self, vectors: Tensor, metric: Metric) -> None:
        self._vectors, self._metric = vectors.detach(), metric

    def __len__(self) -> int:
        return len(self._vectors)

    @cached_property
    def _rounded(self) -> Rounded:
        return Rounded.of(self._vectors, self._metric)

    def search(
        self,
        vectors: Tensor,
        k: int,
        exclude: Ragged | None = None,
        allow: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[Ints, Floats]:
        """See `Searcher.search`."""
        found, scores = np.full((len(vectors), k), -1, np.int32), np.full((len(vectors), k), -np.inf, np.float32)
        if not k or not len(self):
            return found, scores
        candidates, ids, barred = self._rounded, None, None
        if allow is not None:
            ids = np.flatnonzero(allow)
            if len(ids) > len(allow) // 2:  # cheaper to score the few others too than to copy the many
                ids, barred = None, torch.from_numpy(~allow)
            else:
                candidates = candidates.take(torch.from_numpy(ids))
                exclude = _renumber(exclude, ids) if exclude is not None else None
        with torch.inference_mode():
            step = candidates.together
            for start in range(0, len(vectors), step):
                some = slice(start, start + step)
                hidden = exclude
                if exclude is not None and len(vectors) > step:
                    hidden = exclude.take(np.arange(len(vectors))[some])
                found[some], scores[some] = self._best(vectors[some], candidates, k, hidden, barred, ids)
        return found, scores

    def _best(
        self,
        vectors: Tensor,
        candidates: Rounded,
        k: int,
        exclude: Ragged | None,
        barred: Tensor | None,
        ids: npt.NDArray[np.int64] | None,
    ) -> tuple[Ints, Floats]:
        questions, doubt = candidates.questions(vectors)
        survivors = Survivors(k, doubt)
        rows = hidden = None
        if exclude is not None and len(exclude.values):
            rows, hidden = torch.from_numpy(exclude.rows()), torch.from_numpy(exclude.values.astype(np.int64))
        width = LEAST if candidates.roads else min(TILE, max(LEAST, SCORES // max(len(vectors), 1)))
        for start in range(0, len(candidates), width):
            stop = min(start + width, len(candidates))
            scores = candidates.scores(questions, start, stop)
            if rows is not None and hidden is not None:
                if stop - start == len(candidates):
                    scores[rows, hidden] = -torch.inf
                else:
                    inside = (hidden >= start) & (hidden < stop)
                    scores[rows[inside], hidden[inside] - start] = -torch.inf
            if barred is not None:
                scores.masked_fill_(barred[start:stop], -torch.inf)
            survivors.push(scores, start)
        queries = np.ascontiguousarray(vectors.float().cpu().numpy())
        values, places = survivors.best(queries, lambda places: self._rows(places, ids), self._metric)
        for row in np.flatnonzero(survivors.lost).tolist():
            open = np.ones(len(candidates), bool) if barred is None else ~barred.numpy()
            if exclude is not None:
                open[exclude[row]] = False
            values[row], places[row] = self._scan(queries[row : row + 1], np.flatnonzero(open).astype(np.int32), k, ids)
        if ids is not None and len(ids):
            places = np.where(places >= 0, ids[places], -1).astype(np.int32)
        return places, values

    def _scan(self, query: Floats, places: Ints, k: int, ids: npt.NDArray[np.int64] | None) -> tuple[Floats, Ints]:
        """One question, all of whose candidates must be scored: too many are nearly the same, or numbers are too large."""
        best = np.empty(0, np.int32)
        for start in range(0, len(places), TILE):
            best = np.sort(np.concatenate([best, places[start : start + TILE]]))
            offset = np.array([0, len(best)])
            values, found = best_of(query, lambda places: self._rows(places, ids), best, offset, k, self._metric)
            best = found[0][found[0] >= 0]
        return (values[0], found[0]) if len(places) else (np.full(k, -np.inf, np.float32), np.full(k, -1, np.int32))

    def _rows(self, places: Ints, ids: npt.NDArray[np.int64] | None) -> tuple[Floats, Ints]:
        """Float32 vectors that hold those of some candidates, and where each stands."""
        wanted = places if ids is None else ids[places].astype(np.int32)
        if (
            self._vectors.dtype == torch.float32
            and self._vectors.device.type == "cpu"
            and self._vectors.is_contiguous()
        ):
            return self._vectors.numpy(), wanted
        held, at = np.unique(wanted, return_inverse=True)
        rows = self._vectors[torch.from_numpy(held).to(self._vectors.device, torch.int64)]
        return np.ascontiguousarray(rows.float().cpu().numpy()), at.astype(np.int32)

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
