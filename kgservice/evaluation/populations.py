"""On which examples a model is calibrated, and graded.

Two questions, two populations: a *classification* asks whether one statement is true, against verified or made false
statements; a *completion* asks whether a ranked candidate is a true answer, among the best candidates of its question.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kgservice.arrays.ragged import Ragged
from kgservice.evaluation.calibration import Calibration, Method
from kgservice.evaluation.evidence import COLUMNS, evidence
from kgservice.graph import KnowledgeGraph
from kgservice.graph.questions import Level, keys_of
from kgservice.graph.statements import Split, StatementTable
from kgservice.index import Index
from kgservice.query import QueryBatch, Slot
from kgservice.scorers.base import VectorScorer
from kgservice.seeking import seek

Floats = npt.NDArray[np.float64]


def calibrate_classification(
    scorer: VectorScorer,
    graph: KnowledgeGraph,
    *,
    method: Method,
    limit: int,
    precision: float = 0.9,
    seed: int = 0,
) -> Calibration | None:
    """Fit on validation statements against verified false ones, or made ones where none are verified."""
    positives = _sample(graph.statements.in_split(Split.VALID), limit, seed)
    if not len(positives):
        return None
    negatives = _sample(graph.negatives.in_split(Split.VALID), limit, seed)
    population = "validation statements against verified false ones"
    if not len(negatives):
        negatives = corrupted(graph, positives, seed)
        population = (
            "validation statements against made ones: subject or object drawn among those its relation has elsewhere"
        )
    if not len(negatives):
        return None
    return Calibration.fit(
        _columns(scorer, graph, positives, negatives),
        np.arange(len(positives) + len(negatives)) < len(positives),
        population=population,
        method=method,
        relation=np.concatenate([positives.relation, negatives.relation]),
        names=COLUMNS,
        precision=precision,
        seed=seed,
    )


def grade(scorer: VectorScorer, graph: KnowledgeGraph, calibration: Calibration, split: Split) -> dict[str, Any] | None:
    """A classification's figures on another split's statements and verified negatives; None where there are none."""
    positives, negatives = graph.statements.in_split(split), graph.negatives.in_split(split)
    if not len(positives) or not len(negatives):
        return None
    columns = _columns(scorer, graph, positives, negatives)
    relation = np.concatenate([positives.relation, negatives.relation])
    return calibration.measure(columns, relation, np.arange(len(columns)) < len(positives))


def _columns(scorer: VectorScorer, graph: KnowledgeGraph, *tables: StatementTable) -> Floats:
    return np.concatenate([evidence(scorer, graph, graph.questions(Slot.OBJECT, table)[0]) for table in tables])


def calibrate_completion(
    scorer: VectorScorer,
    index: Index,
    graph: KnowledgeGraph,
    slot: Slot,
    *,
    method: Method,
    width: int,
    limit: int,
    precision: float = 0.9,
) -> Calibration | None:
    """Fit on the best `width` candidates of validation questions, training answers left out."""
    table = _sample(graph.statements.in_split(Split.VALID), limit // 4, 0)
    queries = graph.questions(slot, table)[0]
    if slot not in scorer.slots or not len(queries):
        return None
    # A question with many held-out answers is one question.
    level: Level = "triple" if scorer.reads is None else "statement"
    queries = queries.take(np.sort(np.unique(keys_of(queries, level), return_index=True)[1]))
    given = graph.known(queries, level, (Split.TRAIN, Split.CONTEXT)).union(graph.loops(queries))
    truth = graph.known(queries, level, (Split.VALID,))
    allow = graph.linking if slot is Slot.RELATION else None
    features, true, question = [], [], []
    for start in range(0, len(queries), 1024):
        rows = np.arange(start, min(start + 1024, len(queries)))
        some = queries.take(rows)
        with torch.inference_mode():
            vectors = scorer.query_vectors(some)
        ids, scores = seek(scorer, index, some, vectors, width, given.take(rows), allow)
        found = ids >= 0
        features.append(completion_feature(scores)[found])
        true.append(_is_in(ids, truth.take(rows))[found])
        question.append(np.repeat(rows, found.sum(axis=1)))
    score, right, of = np.concatenate(features), np.concatenate(true), np.concatenate(question)
    if not right.any() or right.all():
        return None
    population = f"the best {width} candidates of validation questions that training does not state"
    return Calibration.fit(
        score,
        right,
        population=population,
        method=method,
        # The relation of a question is known, but for those that ask for it.
        relation=None if slot is Slot.RELATION else _of_question(queries)[of],
        group=of,
        names=("share",),
        precision=precision,
    )


def _of_question(queries: QueryBatch) -> npt.NDArray[np.int32]:
    """int32 `[b]`: the relation that says what kind of answer is wanted."""
    return queries.asked if queries.slot is Slot.QUALIFIER else queries.relation


def completion_feature(scores: npt.NDArray[np.float32]) -> Floats:
    """float64 `[b, w]`: log-softmax of each row over its own candidates, which makes questions comparable."""
    scores = scores.astype(np.float64)
    top = np.max(scores, axis=1, keepdims=True, initial=-1e30)
    return np.asarray(scores - top - np.log(np.exp(scores - top).sum(axis=1, keepdims=True).clip(1e-300)))


def corrupted(graph: KnowledgeGraph, positives: StatementTable, seed: int) -> StatementTable:
    """As many false statements: one end exchanged for another that the relation has elsewhere, never a known fact."""
    random = np.random.default_rng(seed)
    subject, object = positives.subject.copy(), positives.object.copy()
    table = graph.statements
    order = np.argsort(table.relation, kind="stable")
    bounds = np.searchsorted(table.relation[order], np.arange(graph.r + 1))
    low, high = bounds[positives.relation], bounds[positives.relation + 1]
    swap_object = random.random(len(positives)) < 0.5
    open_rows = np.arange(len(positives))
    for attempt in range(20):
        drawn = order[random.integers(low[open_rows], high[open_rows])]
        if attempt >= 10:  # a relation with one object only: any entity
            other = random.integers(0, graph.n, len(open_rows)).astype(np.int32)
        else:
            other = np.where(swap_object[open_rows], table.object[drawn], table.subject[drawn])
        change = swap_object[open_rows]
        subject[open_rows[~change]] = other[~change]
        object[open_rows[change]] = other[change]
        known = graph.known(QueryBatch.objects(subject[open_rows], positives.relation[open_rows]))
        open_rows = open_rows[_is_in(object[open_rows, None], known)[:, 0]]
        if not len(open_rows):
            break
    keep = np.ones(len(positives), dtype=bool)
    keep[open_rows] = False
    return StatementTable.build(subject[keep], positives.relation[keep], object[keep], split=positives.split[keep])


def _is_in(ids: npt.NDArray[np.int32], lists: Ragged) -> npt.NDArray[np.bool_]:
    """bool, the shape of `ids` `[b, w]`: whether each stands in its row's list."""
    stride = np.int64(1) << 32
    held = lists.rows() * stride + lists.values
    return np.isin(np.arange(len(ids))[:, None] * stride + ids, held)


def _sample(table: StatementTable, limit: int, seed: int) -> StatementTable:
    if len(table) <= limit:
        return table
    return table.take(np.sort(np.random.default_rng(seed).choice(len(table), limit, replace=False)))
