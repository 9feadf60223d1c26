"""What a context model read for a question, and which part of it mattered: each part is left out once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from kgservice.arrays.layers import Layers
from kgservice.contexts import Segment
from kgservice.query import QueryBatch
from kgservice.scorers.contextual import ContextScorer


@dataclass(frozen=True)
class ReadSegment:
    """A part of what was read.

    Attributes:
        segment: which part.
        text: what it says, marks in square brackets.
        score: what the answer's score by vectors loses without it; None for the question itself, which is always there.
        log_probability: the same of its name's log-probability; None also where names are not written.
    """

    segment: Segment
    text: str
    score: float | None
    log_probability: float | None


def read_for(
    scorer: ContextScorer, queries: QueryBatch, answer: np.ndarray, entities: Layers | None = None
) -> list[list[ReadSegment]]:
    """What was read for each question, and how much of an answer's score rests on each part.

    A part may help or harm; what two parts both say is missed only where both are left out, so parts do not add up.

    Args:
        scorer: read it.
        queries: `b` questions for subjects or objects.
        answer: int `[b]`, the answer of each that is explained.
        entities: the vectors that answer, where they are at hand, those of added entities among them.

    Returns:
        The parts of each question's context, in order.
    """
    assert scorer.tokenizer is not None
    target = torch.from_numpy(np.asarray(answer, dtype=np.int64))
    with torch.inference_mode():
        goal = (Layers.of(scorer.entity_vectors()) if entities is None else entities).take(target)
        whole = scorer.contexts(queries)
        score, written = _said(scorer, queries, target, goal, ())
        lost = {}
        for segment in Segment:
            if segment is not Segment.QUESTION and segment in scorer.builder.segments:
                without = _said(scorer, queries, target, goal, (segment,))
                lost[segment] = score - without[0], written - without[1]
    names = scorer.settings.generation > 0
    return [
        [
            ReadSegment(
                segment,
                text,
                float(lost[segment][0][row]) if segment in lost else None,
                float(lost[segment][1][row]) if segment in lost and names else None,
            )
            for segment, text in whole.texts(row, scorer.tokenizer).items()
        ]
        for row in range(len(queries))
    ]


def _said(
    scorer: ContextScorer, queries: QueryBatch, target: torch.Tensor, goal: torch.Tensor, without: tuple[Segment, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """float32 `[b]` twice: the score by vectors, and the log-probability of the name."""
    memory = scorer.memory(scorer.contexts(queries, without))
    vectors = scorer.asked_of(queries, memory)
    return (vectors * goal).sum(1), scorer.generator.of(memory, target[:, None])[:, 0]
