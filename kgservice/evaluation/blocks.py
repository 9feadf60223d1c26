"""How many questions are scored at once where ranks are counted, and by which product."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from kgservice.products import fastest
from kgservice.query import QueryBatch, Slot
from kgservice.scorers.base import Scorer, VectorScorer

BLOCK_BYTES = 8 << 20
"""Scores that are made and counted together: they stay in the last cache."""
FEWEST_ROWS = 32


def blocks(scorer: Scorer, slot: Slot, n: int, most: int) -> tuple[int, Callable[[QueryBatch], Tensor]]:
    """How many questions to score at once, and what scores so many, under weights that do not change meanwhile.

    The scores order candidates as `scorer.scores` does; a squared distance lacks the length that is the question's own.
    What a call gives is overwritten by the next one.

    Args:
        scorer: what is asked. One with scores of its own is asked for them.
        slot: the hole of all questions.
        n: candidates.
        most: questions at once at most; on the CPU fewer, so that their scores stay in the last cache.
    """
    fitting = BLOCK_BYTES // (4 * max(n, 1)) // 16 * 16
    rows = max(1, min(most, max(FEWEST_ROWS, fitting)))
    if (
        not isinstance(scorer, VectorScorer)
        or type(scorer).scores is not VectorScorer.scores
        or slot not in scorer.slots
    ):
        return rows, scorer.scores
    candidates = scorer.candidate_vectors(slot).detach().contiguous()
    rows = rows if candidates.device.type == "cpu" else most
    if scorer.metric_of(slot) == "ip":
        road = fastest(candidates, None, rows)
        return rows, lambda queries: road(scorer.query_vectors(queries))
    # −|q − c|² = 2q·c − |c|² − |q|², the last of which is the same for all candidates.
    road = fastest(candidates, -(candidates * candidates).sum(1), rows)
    return rows, lambda queries: road(2 * scorer.query_vectors(queries))
