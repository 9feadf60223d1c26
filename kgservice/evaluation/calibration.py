"""Scores become probabilities, on held-out data only, and say which population they speak of.

Two questions, two populations: a *classification* asks whether one statement is true, against verified or made false
statements; a *completion* asks whether a ranked candidate is a true answer, among the best candidates of its question.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch

from kgservice.graph import KnowledgeGraph
from kgservice.index import Index
from kgservice.query import QueryBatch, Slot
from kgservice.ragged import Ragged
from kgservice.scorers.base import VectorScorer
from kgservice.statements import Split, StatementTable

Floats = npt.NDArray[np.float64]
Method = Literal["auto", "isotonic", "platt", "none"]
BINS = 10
FOLDS = 5


@dataclass(frozen=True)
class Calibration:
    """A monotone map from a score to a probability.

    Attributes:
        population: which candidates the probability speaks of.
        method: "platt": σ(slope·x + intercept); "isotonic": linear between `x` and `y`.
        x, y: parameters: (slope, intercept) as `x`, or the knots.
        threshold: the probability from which a statement is called true, chosen by accuracy where they are balanced.
        figures: measured out of fold: log-loss, Brier, ECE, accuracy, F1, counts, and the reliability curve.
    """

    population: str
    method: Literal["isotonic", "platt"]
    x: tuple[float, ...]
    y: tuple[float, ...]
    threshold: float
    figures: Mapping[str, Any]

    def probability(self, score: npt.ArrayLike) -> Floats:
        """float64, the shape of `score`; -inf gives 0."""
        score = np.asarray(score, dtype=np.float64)
        if self.method == "platt":
            value = _sigmoid(self.x[0] * np.where(np.isfinite(score), score, 0) + self.x[1])
        else:
            value = np.interp(np.where(np.isfinite(score), score, self.x[0]), self.x, self.y)
        return np.where(score == -np.inf, 0.0, value)

    @classmethod
    def fit(cls, score: Floats, true: npt.NDArray[np.bool_], *, population: str, method: Method, seed: int = 0) -> Self:
        """Fit on all, measure out of fold.

        Args:
            score: float64 `[m]`.
            true: bool `[m]`, with both values present.
            population: a phrase for people.
            method: "auto" takes the smaller out-of-fold log-loss.
            seed: of the folds.
        """
        methods: list[Literal["isotonic", "platt"]] = ["isotonic", "platt"]
        if method in ("isotonic", "platt"):
            methods = [method]
        fold = np.random.default_rng(seed).integers(0, FOLDS, len(score))
        outside = {}
        for name in methods:
            held = np.empty(len(score))
            for part in range(FOLDS):
                x, y = _fit(name, score[fold != part], true[fold != part])
                held[fold == part] = cls("", name, x, y, 0.5, {}).probability(score[fold == part])
            outside[name] = held
        best = min(methods, key=lambda name: _log_loss(outside[name], true))
        x, y = _fit(best, score, true)
        threshold = _best_threshold(outside[best], true)
        return cls(population, best, x, y, threshold, figures(outside[best], true, threshold))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From plain values."""
        return cls(**{**values, "x": tuple(values["x"]), "y": tuple(values["y"])})


def figures(probability: Floats, true: npt.NDArray[np.bool_], threshold: float) -> dict[str, Any]:
    """How honest and how sharp probabilities are; ECE over equal-mass bins."""
    called = probability >= threshold
    hits = int((called & true).sum())
    bins = [part for part in np.array_split(np.argsort(probability, kind="stable"), BINS) if len(part)]
    curve = [(float(probability[part].mean()), float(true[part].mean()), len(part)) for part in bins]
    return {
        "count": len(true),
        "positives": int(true.sum()),
        "log_loss": _log_loss(probability, true),
        "brier": float(((probability - true) ** 2).mean()),
        "ece": float(sum(abs(said - was) * size for said, was, size in curve) / max(len(true), 1)),
        "accuracy": float((called == true).mean()),
        "f1": 2 * hits / max(int(called.sum()) + int(true.sum()), 1),
        "reliability": curve,
    }


def statement_scores(scorer: VectorScorer, table: StatementTable, batch_size: int = 4096) -> Floats:
    """float64 `[m]`: the mean of a statement's scores as an object question and as a subject question."""
    parts = [np.empty(0)]
    with torch.inference_mode():
        entities = scorer.entity_vectors()
        for start in range(0, len(table), batch_size):
            rows = slice(start, start + batch_size)
            subject, relation, object = table.subject[rows], table.relation[rows], table.object[rows]
            total = torch.zeros(len(subject), device=entities.device)
            for queries, target in (
                (QueryBatch.objects(subject, relation), object),
                (QueryBatch.subjects(relation, object), subject),
            ):
                vectors = scorer.query_vectors(queries)
                goal = entities[torch.from_numpy(target.astype(np.int64)).to(entities.device)]
                pair = (vectors * goal).sum(1) if scorer.metric == "ip" else -((vectors - goal) ** 2).sum(1)
                total += pair / 2
            parts.append(total.double().cpu().numpy())
    return np.concatenate(parts)


def completion_feature(scores: npt.NDArray[np.float32]) -> Floats:
    """float64 `[b, w]`: log-softmax of each row over its own candidates, which makes questions comparable."""
    scores = scores.astype(np.float64)
    top = np.max(scores, axis=1, keepdims=True, initial=-1e30)
    return np.asarray(scores - top - np.log(np.exp(scores - top).sum(axis=1, keepdims=True).clip(1e-300)))


def calibrate_classification(
    scorer: VectorScorer, graph: KnowledgeGraph, *, method: Method, limit: int, seed: int = 0
) -> Calibration | None:
    """Fit on validation statements against verified false ones, or made ones where none are verified."""
    positives = _sample(graph.statements.in_split(Split.VALID), limit, seed)
    if not len(positives):
        return None
    negatives = graph.negatives.in_split(Split.VALID)
    population = "validation statements against verified false ones"
    if not len(negatives):
        negatives = corrupted(graph, positives, seed)
        population = (
            "validation statements against made ones: subject or object drawn among those its relation has elsewhere"
        )
    score = np.concatenate([statement_scores(scorer, positives), statement_scores(scorer, negatives)])
    true = np.arange(len(score)) < len(positives)
    return Calibration.fit(score, true, population=population, method=method, seed=seed)


def calibrate_completion(
    scorer: VectorScorer, index: Index, graph: KnowledgeGraph, slot: Slot, *, method: Method, width: int, limit: int
) -> Calibration | None:
    """Fit on the best `width` candidates of validation questions, training answers left out."""
    table = _sample(graph.statements.in_split(Split.VALID), limit // 4, 0)
    queries = {
        Slot.OBJECT: lambda: QueryBatch.objects(table.subject, table.relation),
        Slot.SUBJECT: lambda: QueryBatch.subjects(table.relation, table.object),
        Slot.RELATION: lambda: QueryBatch.relations(table.subject, table.object),
    }[slot]()
    if not len(queries):
        return None
    # A question with many held-out answers is one question.
    columns = np.stack([queries.subject, queries.relation, queries.object])
    queries = queries.take(np.sort(np.unique(columns, axis=1, return_index=True)[1]))
    given = graph.known(queries, splits=(Split.TRAIN, Split.CONTEXT)).union(graph.loops(queries))
    truth = graph.known(queries, splits=(Split.VALID,))
    allow = graph.linking if slot is Slot.RELATION else None
    features, true = [], []
    for start in range(0, len(queries), 1024):
        rows = np.arange(start, min(start + 1024, len(queries)))
        with torch.inference_mode():
            vectors = scorer.query_vectors(queries.take(rows))
        ids, scores = index.search(vectors, width, given.take(rows), allow)
        found = ids >= 0
        features.append(completion_feature(scores)[found])
        true.append(_is_in(ids, truth.take(rows))[found])
    score, right = np.concatenate(features), np.concatenate(true)
    if not right.any() or right.all():
        return None
    population = f"the best {width} candidates of validation questions that training does not state"
    return Calibration.fit(score, right, population=population, method=method)


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


def _fit(
    method: Literal["isotonic", "platt"], score: Floats, true: npt.NDArray[np.bool_]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if method == "platt":
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=1e6, max_iter=1000).fit(score[:, None], true)
        return (float(model.coef_[0, 0]), float(model.intercept_[0])), ()
    from sklearn.isotonic import IsotonicRegression

    # One made positive and negative keep the ends off 0 and 1, which no finite sample proves.
    edge = 1.0 / (len(true) + 2)
    model = IsotonicRegression(y_min=edge, y_max=1 - edge, out_of_bounds="clip").fit(score, true)
    return tuple(map(float, model.X_thresholds_)), tuple(map(float, model.y_thresholds_))


def _best_threshold(probability: Floats, true: npt.NDArray[np.bool_]) -> float:
    """The probability that, taken as the border, calls most statements right."""
    order = np.argsort(probability, kind="stable")
    truth = true[order]
    # Border before place i: everything from i on is called true.
    right = np.concatenate([[truth.sum()], truth.sum() + np.cumsum(np.where(truth, -1, 1))])
    values = probability[order]
    real = np.concatenate([[True], values[1:] != values[:-1], [True]])  # a border must not part equal values
    place = int(np.argmax(np.where(real, right, -1)))
    if place == 0:
        return 0.0
    return float((values[place - 1] + (values[place] if place < len(values) else 1.0)) / 2)


def _log_loss(probability: Floats, true: npt.NDArray[np.bool_]) -> float:
    p = np.clip(probability, 1e-12, 1 - 1e-12)
    return float(-np.where(true, np.log(p), np.log(1 - p)).mean())


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))
