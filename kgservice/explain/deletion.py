"""What a statement's score rests on: how far it falls when a fact about one of its ends is taken away.

Where an entity has a row of its own, the row of an end is taken to be the most probable one given its facts and all else that
shaped it in training; that else is held (`refining.guess_of`), one fact is left out, and the most probable row is found anew: by
Newton's method where the row is the vector that answers (`refining.refined`), numerically where the vector is made of it (flows,
`refining.refined_rows`). The statement is then scored with that row. It leaves out what the fact taught the rows of other
entities and of relations.

Where all entities share what was learnt (texts, messages along edges), see `teaching`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kgservice.arrays.layers import Layers
from kgservice.evaluation.evidence import statement_scores
from kgservice.explain.adjacency import Adjacency
from kgservice.query import QueryBatch, Slot
from kgservice.release.served import ServedModel
from kgservice.scorers.embedding import EmbeddingScorer, TableScorer
from kgservice.scorers.refining import guess_of, partition, refined, refined_rows
from kgservice.similarity import similarity

FACTS = 64
"""Of one end that are taken away in turn: those that pull its vector the most towards or from what the statement asks."""
LOOKED_AT = 4096
"""Facts of one end whose pull is told."""
RIVALS = 1 << 14
"""Entities that a fact's answer competes with; in larger graphs every so-manieth."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Falls:
    """What taking facts away does.

    Attributes:
        row: int64 `[f]`, statements of the graph.
        fall: float64 `[f]`, how much lower the score is without each; negative where it is higher.
        of: `subject` or `object`, whose fact each is.
    """

    row: Ints
    fall: npt.NDArray[np.float64]
    of: list[Slot]


def testable(served: ServedModel) -> bool:
    """Whether an entity has a row of its own, which its facts have shaped."""
    return isinstance(served.scorer, TableScorer)


def falls(served: ServedModel, adjacency: Adjacency, asked: QueryBatch) -> Falls:
    """Take away the facts of both ends of one statement in turn.

    Args:
        served: a `testable` model.
        adjacency: the facts.
        asked: the statement, with its qualifiers; itself it is no fact here.
    """
    rows, gaps, of = [np.empty(0, np.int64)], [np.empty(0)], []
    with torch.inference_mode():
        whole = statement_scores(served.scorer, asked, served.vectors)
        for slot in (Slot.SUBJECT, Slot.OBJECT):
            chosen, anew = _without_each(served, adjacency, asked, slot)
            if not len(chosen):
                continue
            rows.append(adjacency.row[chosen])
            gaps.append(whole - _scores(served, asked, slot, anew))
            of += [slot] * len(chosen)
    return Falls(np.concatenate(rows), np.concatenate(gaps), of)


def edges_of(
    served: ServedModel, adjacency: Adjacency, asked: QueryBatch, slot: Slot
) -> tuple[int, npt.NDArray[np.int64]]:
    """One end of a statement, and the edges of its facts to others that the model knows, without the statement itself."""
    subject, relation, object = (int(column[0]) for column in (asked.subject, asked.relation, asked.object))
    entity, other = (subject, object) if slot is Slot.SUBJECT else (object, subject)
    directed = relation if slot is Slot.SUBJECT else relation + adjacency.r
    edges = adjacency.edges([entity]).values.astype(np.int64)
    itself = (adjacency.neighbour[edges] == other) & (adjacency.relation(edges) == directed)
    edges = edges[~itself & (adjacency.neighbour[edges] != entity)]
    return entity, edges[served.knows(adjacency.neighbour[edges])][:LOOKED_AT]


def _without_each(
    served: ServedModel, adjacency: Adjacency, asked: QueryBatch, slot: Slot
) -> tuple[npt.NDArray[np.int64], Tensor]:
    """Facts of the end at `slot`, int64 `[f]` edges, and its row without each, float32 `[f, w]`."""
    entity, edges = edges_of(served, adjacency, asked, slot)
    scorer, metric, base = served.scorer, served.scorer.metric, served.vectors.base
    assert isinstance(scorer, TableScorer)
    own = torch.from_numpy(served.vectors[np.array([entity])][0])
    queries = _questions(served, adjacency, edges)
    step = -(-len(base) // RIVALS)
    rivals = base[np.setdiff1d(np.arange(0, len(base), step), [entity])]
    competition = partition(queries, rivals, metric) + float(np.log(step))
    towards = scorer.query_vectors(asked.asking(slot))[0]
    pulls = _pulls(own, queries, competition, towards, metric)
    best = torch.argsort(pulls.abs(), descending=True, stable=True)[:FACTS]
    edges, queries, competition = edges[best.numpy()], queries[best], competition[best]
    f = len(edges)
    kept = ~torch.eye(f, dtype=torch.bool)
    if type(scorer).answering is not TableScorer.answering:
        row, variance = scorer.row_of(entity), float(scorer.entity.var(0).mean())
        return edges, refined_rows(scorer.answering, row, kept, queries, competition, metric=metric, variance=variance)
    guess = guess_of(own, queries, competition, metric=metric, variance=served.variance)
    owner, fact = kept.nonzero(as_tuple=True)
    vectors = refined(
        guess.expand(f, -1), owner, queries[fact], competition[fact], metric=metric, variance=served.variance
    )
    return edges, vectors


def _questions(served: ServedModel, adjacency: Adjacency, edges: npt.NDArray[np.int64]) -> Tensor:
    """float32 `[f, d]`: what each edge asks of the entity it leaves, as a question about the other end."""
    directed, anchor = adjacency.relation(edges), adjacency.neighbour[edges]
    queries = torch.empty(len(edges), served.vectors.base.shape[1])
    for slot, shift in ((Slot.SUBJECT, 0), (Slot.OBJECT, adjacency.r)):
        places = np.flatnonzero((directed >= adjacency.r) == bool(shift))
        relation, known = (directed[places] - shift).astype(np.int32), anchor[places]
        batch = QueryBatch.subjects(relation, known) if slot is Slot.SUBJECT else QueryBatch.objects(known, relation)
        if len(places):
            queries[torch.from_numpy(places)] = served.scorer.query_vectors(batch)
    return queries


def _pulls(own: Tensor, queries: Tensor, competition: Tensor, towards: Tensor, metric: str) -> Tensor:
    """float `[f]`: of each fact's gradient on the vector, the part along that of the statement's own score."""
    if metric == "ip":
        return torch.sigmoid(competition - queries @ own) * (queries @ towards)
    away = own - queries
    return torch.sigmoid(competition + (away**2).sum(1)) * (away @ (own - towards))


def _scores(served: ServedModel, asked: QueryBatch, slot: Slot, rows: Tensor) -> npt.NDArray[np.float64]:
    """float64 `[f]`: the statement's score with each row in the place of one end.

    In both of its questions; a scorer that cannot be asked about new rows has the one end changed where it is the answer.
    """
    layers, scorer = served.vectors, served.scorer
    assert isinstance(scorer, TableScorer)
    vectors = scorer.answering(rows)
    if not isinstance(scorer, EmbeddingScorer):
        end = asked.subject if slot is Slot.SUBJECT else asked.object
        towards = scorer.query_vectors(asked.asking(slot))
        compared = torch.cat([torch.from_numpy(layers[end]), vectors])
        answered = similarity(towards, compared, scorer.metric)[0].double().numpy()
        whole = statement_scores(scorer, asked, layers)
        changed: npt.NDArray[np.float64] = whole + (answered[1:] - answered[0]) / 2
        return changed
    ids = np.arange(len(layers), len(layers) + len(rows), dtype=np.int32)
    again = asked.take(np.zeros(len(rows), dtype=np.int64))
    put = {"subject": again.subject, "object": again.object, slot.value: ids}
    batch = QueryBatch(
        Slot.OBJECT,
        put["subject"],
        again.relation,
        put["object"],
        again.qualifier_relation,
        again.qualifier_value,
        again.qualifier_number,
    )
    return statement_scores(scorer.beside(rows), batch, Layers(layers.base, torch.cat([layers.added, vectors])))
