"""The best candidates of questions: those whose vectors are nearest, ordered anew where a scorer has a second stage."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kgservice.arrays.ragged import Ragged
from kgservice.index import Found, Searcher
from kgservice.query import QueryBatch, Slot
from kgservice.scorers.base import SecondStage, VectorScorer
from kgservice.scorers.stages import least_change


def seek(
    scorer: VectorScorer,
    index: Searcher,
    queries: QueryBatch,
    vectors: Tensor,
    k: int,
    exclude: Ragged | None = None,
    allow: npt.NDArray[np.bool_] | None = None,
) -> Found:
    """The `k` best candidates of each question.

    Args:
        scorer: whose questions.
        index: over what may fill their hole.
        queries: `b` questions for the same part.
        vectors: float32 `[b, d]`, the scorer's of them.
        k, exclude, allow: as for `Searcher.search`; what the second stage looks at is chosen after both filters.

    Returns:
        As `Searcher.search`.
    """
    second = scorer.second
    if second is None or queries.slot is Slot.RELATION or not len(queries):
        return index.search(vectors, k, exclude, allow)
    with torch.inference_mode():
        if second.width is None:
            return _best(second, queries, k, exclude, allow, len(index))
        ids, scores = index.search(vectors, max(k, second.width), exclude, allow)
        window, first = torch.from_numpy(ids[:, : second.width].astype(np.int64)), torch.from_numpy(scores)
        inside = first[:, : second.width]
        # Entities that were added after the training have no name that is written: they stay where they were.
        window = torch.where(window < scorer.n, window, -1)
        anew = second.rescore(queries, window, inside)
        least = least_change(inside.masked_fill(window < 0, -torch.inf), anew)
        total = first + least
        total[:, : second.width] = torch.where(window < 0, inside + least, anew)
        order = torch.argsort(total, dim=1, descending=True, stable=True)[:, :k]
        found = torch.from_numpy(ids).gather(1, order)
        return found.numpy(), total.gather(1, order).numpy()


def _best(
    second: SecondStage,
    queries: QueryBatch,
    k: int,
    exclude: Ragged | None,
    allow: npt.NDArray[np.bool_] | None,
    n: int,
) -> Found:
    """Of the scores of all entities."""
    scores = second.scores(queries)
    if exclude is not None:
        inside = exclude.values < scores.shape[1]
        rows, values = exclude.rows()[inside], exclude.values[inside].astype(np.int64)
        scores[torch.from_numpy(rows), torch.from_numpy(values)] = -torch.inf
    if allow is not None:
        scores[:, ~torch.from_numpy(allow[: scores.shape[1]])] = -torch.inf
    best, ids = scores.topk(min(k, scores.shape[1]), dim=1)
    ids = ids.masked_fill(best == -torch.inf, -1)
    short = k - ids.shape[1]
    ids, best = (
        torch.nn.functional.pad(part, (0, short), value=fill) for part, fill in ((ids, -1), (best, -torch.inf))
    )
    return ids.numpy().astype(np.int32), best.numpy()
