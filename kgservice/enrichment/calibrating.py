"""How probable a ranked candidate is, over *all* plausible questions.

A release's own calibration speaks of questions that are known to have a held-out answer; of all the questions that an enrichment
asks, most have none, and its probabilities would be far too high here. So a run calibrates anew: it asks the questions that it is
about to ask, sees which of the best candidates the validation split states, and fits a model over all views at once, which
is also how several models are fused.

What the validation split does not state is not therefore false: some of it is what the run is looking for. Under the assumption
that true statements fell into the split at random (Elkan and Noto 2008), with c the share of the true ones not trained on that it
holds, p(true | not held) = (1 - c) / c · g / (1 - g), where g is the fitted p(held). c follows from the completeness that the
plan assumes, unless the candidates themselves show that the graph is more complete: g = c · p(true) never exceeds c.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from kgservice.enrichment.pooling import Held
from kgservice.enrichment.scoring import Candidates, statements_columns
from kgservice.errors import DataError
from kgservice.evaluation.evidence import LEARNT
from kgservice.evaluation.maps import LogisticMap
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split
from kgservice.query import QueryBatch

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int32]
Truth = npt.NDArray[np.bool_]

FORMAT_VERSION = 2
GRAPH_COLUMNS = ("objects stated", "subjects stated", "subject degree", "object degree", "linked", "linked back")
FOLDS = 4
SPREAD = 0.5
"""Prior standard deviation of what a relation adds to a weight."""
NEGATIVES = 150_000
"""Candidates not stated that are fitted to, most of them the likeliest; each counts for those that were left out."""
PILOT = 30_000
HIGHEST = 0.995
"""No finite sample shows more."""
SHOWN_BY = 100
"""Validation statements that it takes to show how complete a graph is at least."""
MOST = 0.999
STEP = 1e-6
Z = 1.96


@dataclass(frozen=True)
class Examples:
    """Candidates whose fate the validation split tells.

    Attributes:
        columns: float64 `[m, f]`.
        relation, question: integers `[m]`.
        held: bool `[m]`, whether the split states them.
        weight: float64 `[m]`, how many of the population each stands for.
    """

    columns: Floats
    relation: Ids
    question: npt.NDArray[np.int64]
    held: Truth
    weight: Floats

    def take(self, rows: npt.NDArray[Any]) -> Examples:
        """Some of them."""
        return Examples(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @classmethod
    def joined(cls, parts: list[Examples]) -> Examples:
        """All of them; at least one part."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))

    def thinned(self, seed: int) -> Examples:
        """At most about `NEGATIVES` not held, the surer drawn the likelier a pilot fit finds them (Fithian and Hastie 2014)."""
        false = np.flatnonzero(~self.held)
        if len(false) <= NEGATIVES:
            return self
        random = np.random.default_rng(seed)
        some = np.union1d(random.choice(false, PILOT, replace=False), np.flatnonzero(self.held))
        pilot = LogisticMap.fit(self.columns[some], self.relation[some], self.held[some], spread=None)
        belief = pilot.probability(self.columns, self.relation)
        rate = np.minimum(1.0, np.maximum(belief, 0.05) * NEGATIVES / np.maximum(belief[false], 0.05).sum())
        rate[self.held] = 1.0
        kept = random.random(len(rate)) < rate
        thin = self.take(kept)
        return Examples(thin.columns, thin.relation, thin.question, thin.held, thin.weight / rate[kept])


def columns_of(graph: KnowledgeGraph, relation: int, candidates: Candidates) -> Floats:
    """float64 `[m, 4 × models + 6]`: the models' views, and what training states of either end; see `column_names`."""
    subject, object = candidates.subject, candidates.object
    of = np.full(len(subject), relation, np.int32)
    degree = graph.degree
    told = [
        graph.known_counts(QueryBatch.objects(subject, of), LEARNT),
        graph.known_counts(QueryBatch.subjects(of, object), LEARNT),
        degree[subject],
        degree[object],
        graph.known_counts(QueryBatch.relations(subject, object), LEARNT),
        graph.known_counts(QueryBatch.relations(object, subject), LEARNT),
    ]
    views = np.nan_to_num(candidates.views, nan=-1e3, posinf=1e3, neginf=-1e3)
    return np.concatenate([views, np.log1p(np.stack(told, axis=1).astype(np.float64))], axis=1)


def column_names(models: list[str]) -> tuple[str, ...]:
    """Names of the columns of `columns_of`."""
    return (*statements_columns(models), *GRAPH_COLUMNS)


@dataclass(frozen=True)
class RunCalibration:
    """From the columns of a candidate to a probability.

    Attributes:
        population: which examples it speaks of.
        columns: their names.
        map: relations with weights of their own, drawn towards the common ones.
        knots: float64 `[2, j]`: log-odds and p(held) that lines run between, which mend what the map's form cannot follow.
        label_share: c, of the true statements not trained on the share that validation holds: the probability is then that of
            being true without being held. None where the examples tell themselves what is asked.
        held: what was said out of fold of those that validation states; None without a share.
        rounded: whether scores were taken in bfloat16 first, which a run goes on with.
        figures: measured out of fold.
    """

    population: str
    columns: tuple[str, ...]
    map: LogisticMap
    knots: Floats
    label_share: float | None
    held: Held | None
    rounded: bool
    figures: Mapping[str, Any]

    def probability(self, columns: Floats, relation: Ids) -> Floats:
        """float64 `[m]`: of candidates."""
        if not len(columns):
            return np.empty(0)
        odds = self.map.log_odds(columns, relation)
        return _told(odds, self.knots, self.label_share)

    @classmethod
    def fit(
        cls,
        examples: Examples,
        columns: tuple[str, ...],
        *,
        population: str,
        label_share: float | None,
        seed: int,
        rounded: bool = False,
        spread: float | None = SPREAD,
    ) -> Self:
        """Fit on all, line and figures out of fold.

        Args:
            examples: what the validation split tells.
            columns: their names.
            population: a phrase for people.
            label_share: see the class.
            seed: of folds and draws.
            rounded: how the scores were taken.
            spread: how far relations may differ; None where they must not.

        Raises:
            DataError: the validation split states none of the candidates, or all.
        """
        some = examples.thinned(seed)
        if not some.held.any() or some.held.all():
            raise DataError(
                "nothing can be calibrated: of the candidates looked at, the validation split states "
                f"{'all' if some.held.any() else 'none'}. Build the release from a graph with a validation split, or choose more "
                "relations."
            )
        random = np.random.default_rng(seed)
        question, member = np.unique(some.question, return_inverse=True)
        fold = random.permutation(len(question))[member] % FOLDS
        odds = np.empty(len(fold))
        for part in np.unique(fold):
            inside, outside = some.take(fold != part), fold == part
            odds[outside] = _map(inside, spread).log_odds(some.columns[outside], some.relation[outside])
        shares: dict[str, Any] = {}
        if label_share is not None:
            shown = _shown_share(odds, some)
            shares = {"label_share": {"assumed": label_share, "shown": shown}}
            label_share = min(max(label_share, shown), MOST)
        said = np.empty(len(odds))
        for part in np.unique(fold):
            outside = fold == part
            said[outside] = _told(odds[outside], _line(odds[~outside], some.take(~outside)), label_share)
        figures = {**shares, **_figures(said, some, label_share)}
        line, held = _line(odds, some), None
        if label_share is not None:
            # Lines of folds have their steps elsewhere; the line of all has too few of them to remember anyone.
            told, best = _told(odds, line, label_share), _best(some.question, odds)
            held = Held(some.relation[some.held].astype(np.int64), told[some.held], best[some.held], label_share)
        return cls(population, columns, _map(some, spread), line, label_share, held, rounded, figures)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "format_version": FORMAT_VERSION,
            "population": self.population,
            "columns": list(self.columns),
            "map": self.map.to_json(),
            "knots": self.knots.tolist(),
            "label_share": self.label_share,
            "held": None if self.held is None else self.held.to_json(),
            "rounded": self.rounded,
            "figures": dict(self.figures),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From plain values.

        Raises:
            DataError: of another format.
        """
        if values.get("format_version") != FORMAT_VERSION:
            raise DataError(
                f"calibration of a run: format {values.get('format_version')}, this kgservice reads {FORMAT_VERSION}; "
                "start the run anew"
            )
        knots = np.array(values["knots"], dtype=np.float64)
        return cls(
            values["population"],
            tuple(values["columns"]),
            LogisticMap.from_json(values["map"]),
            knots,
            values["label_share"],
            None if values["held"] is None else Held.from_json(values["held"]),
            values["rounded"],
            values["figures"],
        )


def label_share(graph: KnowledgeGraph, completeness: float) -> float:
    """c: of the true statements that training does not hold, the share that validation does.

    Args:
        graph: its splits say how many statements were held out.
        completeness: the share of what is true that the graph states.
    """
    split = graph.statements.split
    held = int((split == Split.VALID).sum())
    missing = len(split) * (1 - completeness) / completeness
    return held / max(held + missing, 1e-9)


def _map(examples: Examples, spread: float | None) -> LogisticMap:
    return LogisticMap.fit(
        examples.columns,
        examples.relation,
        examples.held,
        spread=spread,
        weight=examples.weight / examples.weight.mean(),
    )


def _line(odds: Floats, examples: Examples) -> Floats:
    from sklearn.isotonic import IsotonicRegression

    edge = 1.0 / (examples.weight.sum() + 2)
    line = IsotonicRegression(y_min=edge, y_max=1 - edge, out_of_bounds="clip")
    line.fit(odds, examples.held, sample_weight=examples.weight)
    return np.stack([line.X_thresholds_, line.y_thresholds_]).astype(np.float64)


def _shown_share(odds: Floats, examples: Examples) -> float:
    """The largest share that validation surely holds of the candidates above some log-odds: c is no less."""
    order = np.argsort(-odds, kind="stable")
    held = np.cumsum(np.where(examples.held, examples.weight, 0.0)[order])
    every = np.cumsum(examples.weight[order])
    enough = np.cumsum(examples.held[order]) >= SHOWN_BY
    if not enough.any():
        return 0.0
    share, many = held[enough] / every[enough], every[enough]
    # Wilson's bound, which also knows that all of a hundred is not all.
    middle, wide = share + Z**2 / (2 * many), Z * np.sqrt(share * (1 - share) / many + Z**2 / (4 * many**2))
    return float(((middle - wide) / (1 + Z**2 / many)).max())


def _best(question: npt.NDArray[np.int64], odds: Floats) -> Truth:
    """bool `[m]`: the most probable candidate of each question."""
    order = np.lexsort((-odds, question))
    first = np.ones(len(order), bool)
    first[1:] = question[order][1:] != question[order][:-1]
    best = np.empty(len(order), bool)
    best[order] = first
    return best


def _said(held: Floats, share: float | None) -> Floats:
    """p(true | not held) from p(held); p(held) itself where there is no share."""
    if share is None:
        return held
    odds = held / np.maximum(1 - held, 1e-12)
    return np.minimum(odds * (1 - share) / share, HIGHEST)


def _told(odds: Floats, knots: Floats, share: float | None) -> Floats:
    """From log-odds to what is said; the line has steps, and on one of them the better candidate still comes first."""
    said = _said(np.interp(odds, *knots), share)
    return np.asarray((1 - STEP) * said + STEP * 0.5 * (1 + np.tanh(0.5 * odds)))


def _figures(said: Floats, examples: Examples, share: float | None) -> dict[str, Any]:
    """Counts, and by tenths of the probability: what was said, each fold by a line of the others, and what the split tells."""
    curve = []
    for low in np.arange(0, 1, 0.1):
        inside = (said >= low) & (said < low + 0.1)
        held, weight = examples.held[inside], examples.weight[inside]
        if not held.any():
            continue
        rest = weight if share is None else np.where(held, 0.0, weight)
        factor = 1.0 if share is None else (1 - share) / share
        found = min(1.0, factor * weight[held].sum() / max(rest.sum(), 1e-9))
        mean = np.average(said[inside], weights=rest) if rest.any() else said[inside].mean()
        curve.append([float(mean), float(found), int(held.sum())])
    return {
        "population": int(examples.weight.sum()),
        "held": int(examples.held.sum()),
        "fitted": len(said),
        "reliability": curve,
    }
