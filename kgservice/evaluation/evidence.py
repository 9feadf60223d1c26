"""What a scorer and the training statements say of a statement: the columns that a classification is made of.

One function for fitting, grading and serving. A raw score alone is comparable within one question only; beside it stand its
place among the candidates of both questions, and what training states of the two ends.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from kgservice.arrays.layers import Layers
from kgservice.arrays.ragged import Ragged
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split
from kgservice.query import QueryBatch, Slot
from kgservice.scorers.base import VectorScorer
from kgservice.similarity import similarity

Floats = npt.NDArray[np.float64]
LEARNT = (Split.TRAIN, Split.CONTEXT)

RIVALS = 1 << 16
"""Entities that a statement's end is compared with at most; in larger graphs every so-manieth."""
BLOCK = 1 << 22
"""Scores held at once."""

_PLACE = ("score", "share", "standing", "margin")
COLUMNS = (
    *(f"object {name}" for name in _PLACE),
    *(f"subject {name}" for name in _PLACE),
    "relation share",
    "object used",
    "subject used",
    "object uses",
    "subject uses",
    "object as subject",
    "subject as object",
    "reverse stated",
)
"""Names of the columns of `evidence`, in order."""


def evidence(
    scorer: VectorScorer, graph: KnowledgeGraph, statements: QueryBatch, entities: Layers | None = None
) -> Floats:
    """Everything known of statements without looking at held-out ones.

    For the object given the rest, and for the subject: its *score*; its *share*, the log-softmax among its rivals; its
    *standing*, standard deviations above their mean; its *margin* over the best of them. Rivals are the entities that
    training does not state there. For the relation: its share among all. Of training, as log(1 + count): how often the
    relation has either end in its place (*uses*; *used* is whether at all) and in the other one's, and whether it states
    the reverse.

    Args:
        scorer: answers object and subject questions; its relation share is 0 where it answers no relation question.
        graph: what training states.
        statements: `m` of them, with their qualifiers and all parts there, such as `graph.questions` gives.
        entities: the scorer's vectors, where they are at hand; added ones are no rivals.

    Returns:
        float64 `[m, len(COLUMNS)]`, finite.
    """
    subject, relation, object = statements.subject, statements.relation, statements.object
    # The reverse statement's questions, for relations that hold both ways.
    mirrored = graph.known(QueryBatch.objects(object, relation), splits=LEARNT)
    object_uses = graph.known(QueryBatch.subjects(relation, object), splits=LEARNT).lengths
    subject_uses = graph.known(QueryBatch.objects(subject, relation), splits=LEARNT).lengths
    reverse = np.zeros(len(statements), dtype=bool)
    reverse[mirrored.rows()[mirrored.values == np.repeat(subject, mirrored.lengths)]] = True
    with torch.inference_mode():
        entities = Layers.of(scorer.entity_vectors()) if entities is None else entities
        columns = [
            *_places(scorer, graph, statements.asking(Slot.OBJECT), object, entities).T,
            *_places(scorer, graph, statements.asking(Slot.SUBJECT), subject, entities).T,
            _relation_share(scorer, statements),
            object_uses > 0,
            subject_uses > 0,
            np.log1p(object_uses),
            np.log1p(subject_uses),
            np.log1p(mirrored.lengths),
            np.log1p(graph.known(QueryBatch.subjects(relation, subject), splits=LEARNT).lengths),
            reverse,
        ]
    return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)


def statement_scores(
    scorer: VectorScorer, statements: QueryBatch, entities: Layers | None = None, batch_size: int = 4096
) -> Floats:
    """float64 `[m]`: the mean of a statement's scores as an object question and as a subject question."""
    parts = [np.empty(0)]
    with torch.inference_mode():
        entities = Layers.of(scorer.entity_vectors()) if entities is None else entities
        for start in range(0, len(statements), batch_size):
            some = statements.take(np.arange(start, min(start + batch_size, len(statements))))
            one = _pair_scores(scorer, entities, some.asking(Slot.OBJECT), some.object)[1]
            other = _pair_scores(scorer, entities, some.asking(Slot.SUBJECT), some.subject)[1]
            parts.append(((one + other) / 2).double().cpu().numpy())
    return np.concatenate(parts)


def _pair_scores(
    scorer: VectorScorer, entities: Layers, queries: QueryBatch, target: npt.NDArray[np.int32]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The query vectors `[b, d]`, and the score of each question's `target` `[b]`."""
    vectors = scorer.query_vectors(queries)
    goal = entities.take(_ids(target, entities.base))
    pair = (vectors * goal).sum(1) if scorer.metric == "ip" else -((vectors - goal) ** 2).sum(1)
    return vectors, pair


def _places(
    scorer: VectorScorer, graph: KnowledgeGraph, queries: QueryBatch, target: npt.NDArray[np.int32], entities: Layers
) -> Floats:
    """float64 `[m, 4]`: score, share, standing and margin of each question's `target`."""
    step = -(-len(entities.base) // RIVALS)
    rivals = entities.base[::step]
    stated = graph.known(queries, splits=LEARNT)
    found = [np.empty((0, len(_PLACE)))]
    size = max(1, BLOCK // len(rivals))
    for start in range(0, len(queries), size):
        rows = np.arange(start, min(start + size, len(queries)))
        vectors, own = _pair_scores(scorer, entities, queries.take(rows), target[rows])
        scores = similarity(vectors, rivals, scorer.metric)
        barred = stated.take(rows).union(Ragged(np.arange(len(rows) + 1), target[rows]))
        row, value = barred.rows(), barred.values
        here = (value % step == 0) & (value < len(entities.base))
        scores[_ids(row[here], scores), _ids(value[here] // step, scores)] = -torch.inf
        open = scores > -torch.inf
        count = open.sum(1).clamp(min=1)
        mean = torch.where(open, scores, 0).sum(1) / count
        spread = (torch.where(open, scores - mean[:, None], 0).square().sum(1) / count).sqrt()
        alone = ~open.any(1)
        share = own - torch.logaddexp(own, torch.logsumexp(scores, 1))
        place = torch.stack([own, share, (own - mean) / spread.clamp(min=1e-6), own - scores.amax(1)], dim=1)
        place[alone, 1:] = 0
        found.append(place.double().cpu().numpy())
    return np.concatenate(found)


def _relation_share(scorer: VectorScorer, statements: QueryBatch) -> Floats:
    """float64 `[m]`: log-softmax of the relation among all, between the two ends."""
    if Slot.RELATION not in scorer.slots:
        return np.zeros(len(statements))
    relations = scorer.relation_vectors()
    size = max(1, BLOCK // max(relations.shape))
    parts = [np.empty(0)]
    for start in range(0, len(statements), size):
        some = statements.take(np.arange(start, min(start + size, len(statements))))
        vectors = scorer.query_vectors(some.asking(Slot.RELATION))
        shares = similarity(vectors, relations, scorer.relation_metric).log_softmax(1)
        own = shares.gather(1, _ids(some.relation, shares)[:, None])[:, 0]
        parts.append(own.double().cpu().numpy())
    return np.concatenate(parts)


def _ids(values: npt.NDArray[np.integer], beside: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.int64)).to(beside.device)
