"""What a score rests on where all entities share what was learnt: what one more step on a fact teaches the statement.

A text's vector, or one made of messages, is no fact's own: to take a fact away moves weights that every entity hangs on. To first
order, a step of gradient descent on the fact's loss, as long as the learning rate, raises the statement's score by
`rate · ⟨∇score, −∇loss⟩`; the step taken back, the score falls by it. That product is symmetric: it is also how much the fact's
loss goes down where the weights are moved along the score's own gradient, so that two evaluations tell it for all facts at once.

Source: Pruthi et al. 2020 (TracIn), at the last checkpoint alone.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kgservice.explain.adjacency import LEARNT, Adjacency
from kgservice.explain.deletion import Falls, edges_of
from kgservice.graph import KnowledgeGraph
from kgservice.query import QueryBatch, Slot
from kgservice.release.served import ServedModel
from kgservice.scorers.base import VectorScorer
from kgservice.similarity import similarity

FACTS = 512
"""Of one end that are tested; of more, evenly taken ones."""
RIVALS = 1 << 12
"""Entities that an answer competes with in a loss; in larger graphs every so-manieth."""
STRIDE = 1e-3
"""How far the weights are moved to either side, over their own length."""


def testable(served: ServedModel) -> bool:
    """Whether entities share what was learnt, and a step of it can be told."""
    return served.scorer.shares


def falls(served: ServedModel, graph: KnowledgeGraph, adjacency: Adjacency, asked: QueryBatch) -> Falls:
    """How far one statement's score falls as a step on each fact of its ends is taken back.

    Args:
        served: a `testable` model.
        graph: of the release.
        adjacency: the facts.
        asked: the statement, with its qualifiers; itself it is no fact here.
    """
    n = len(served.vectors.base)
    rows, of = [np.empty(0, np.int64)], []
    for slot in (Slot.SUBJECT, Slot.OBJECT):
        entity, edges = edges_of(served, adjacency, asked, slot)
        edges = edges[(adjacency.neighbour[edges] < n)] if entity < n else edges[:0]
        chosen = edges[:: -(-len(edges) // FACTS) or 1]
        rows.append(adjacency.row[chosen])
        of += [slot] * len(chosen)
    row = np.concatenate(rows)
    if not len(row) or max(int(asked.subject[0]), int(asked.object[0])) >= n:
        return Falls(row[:0], np.empty(0), [])
    with torch.inference_mode(False), torch.enable_grad():
        pupil = served.scorer.pupil(graph, LEARNT)
        weights = [one for one in pupil.parameters() if one.requires_grad]
        slopes = torch.autograd.grad(_score(pupil, asked), weights, allow_unused=True)
        moved = [(one, slope) for one, slope in zip(weights, slopes, strict=True) if slope is not None]
    with torch.no_grad():
        length = _length([one for one, _ in moved]) / max(_length([slope for _, slope in moved]), 1e-30) * STRIDE
        for one, slope in moved:
            one.add_(slope, alpha=length)
        towards = _losses(pupil, graph, row, n)
        for one, slope in moved:
            one.add_(slope, alpha=-2 * length)
        away = _losses(pupil, graph, row, n)
    gain = (away - towards).double().numpy() / (2 * length)
    return Falls(row, gain * served.settings.training.learning_rate, of)


def _score(pupil: VectorScorer, asked: QueryBatch) -> Tensor:
    """The statement's score: the mean of both questions'."""
    total = torch.zeros(())
    for slot, answer in ((Slot.OBJECT, asked.object), (Slot.SUBJECT, asked.subject)):
        questions, answers = pupil.taught(asked.asking(slot), torch.from_numpy(answer.astype(np.int64)))
        total = total + similarity(questions, answers, pupil.metric).sum() / 2
    return total


def _losses(pupil: VectorScorer, graph: KnowledgeGraph, row: np.ndarray, n: int) -> Tensor:
    """float `[f]`: the cross-entropy of each fact's two questions, over rivals and its own answer."""
    table = graph.statements.take(row)
    rivals = torch.arange(0, n, -(-n // RIVALS))
    total = torch.zeros(len(row))
    for slot in (Slot.OBJECT, Slot.SUBJECT):
        batch, filled, _ = graph.questions(slot, table)
        own = torch.from_numpy(filled.astype(np.int64))
        questions, answers = pupil.taught(batch, torch.cat([rivals, own]))
        scores = similarity(questions, answers[: len(rivals)], pupil.metric)
        goal = answers[len(rivals) :]
        mine = (questions * goal).sum(1) if pupil.metric == "ip" else -((questions - goal) ** 2).sum(1)
        total += torch.logaddexp(scores.logsumexp(1), mine) - mine
    return total


def _length(parts: list[Tensor]) -> float:
    return float(torch.stack([part.double().square().sum() for part in parts]).sum().sqrt())
