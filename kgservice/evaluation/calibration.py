"""Scores become probabilities, on held-out data only, and say which population they speak of.

What is chosen (the kind of map, how far relations may differ, thresholds) is chosen out of fold, and what is measured is
measured on folds that had no part in the choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from kgservice.answers import Decision
from kgservice.errors import DataError
from kgservice.evaluation.bounds import Bounds, decided
from kgservice.evaluation.maps import Floats, Ids, LogisticMap, Truth

Method = Literal["auto", "relations", "isotonic", "platt", "none"]
FORMAT_VERSION = 2
BINS = 10
FOLDS = 5
SPREADS = (0.25, 0.5, 1.0)
"""How far relations may differ: prior standard deviations that are tried."""
MANY = 100_000
"""Examples above which the middle spread alone is tried."""


@dataclass(frozen=True)
class Calibration:
    """A map from what is known of an example to the probability that it is true.

    Attributes:
        population: which candidates the probability speaks of.
        method: "relations": logistic, each relation drawn towards all; "platt": logistic, one for all; "isotonic": the
            same, read off a rising line.
        columns: names of what it is made of.
        map: its numbers.
        threshold: the probability from which calling statements true gives the best F1; the same for every relation,
            since the probabilities are each relation's own.
        bounds: where it is sure enough to accept or reject, by relation.
        figures: measured out of fold: log-loss, Brier, ECE, accuracy, F1, counts, the three-way decision, the
            reliability curve, and all of it by relation.
    """

    population: str
    method: Literal["relations", "isotonic", "platt"]
    columns: tuple[str, ...]
    map: LogisticMap
    threshold: float
    bounds: Bounds
    figures: Mapping[str, Any]

    def probability(self, columns: npt.ArrayLike, relation: npt.ArrayLike = -1) -> Floats:
        """float64: of each example.

        Args:
            columns: `[..., f]` in the order of `columns`; where there is one only, any shape.
            relation: integers that broadcast over the examples; one that was not calibrated has the common map.

        Returns:
            the shape of the examples; 0 where a column is -inf.
        """
        values = np.asarray(columns, dtype=np.float64)
        if len(self.columns) == 1:
            values = values[..., None]
        shape = values.shape[:-1]
        values = values.reshape(-1, len(self.columns))
        of = np.broadcast_to(np.asarray(relation), shape).reshape(-1)
        finite = np.isfinite(values).all(axis=1)
        if finite.all():
            return self.map.probability(values, of).reshape(shape)
        found = np.zeros(len(values))
        found[finite] = self.map.probability(values[finite], of[finite])
        return found.reshape(shape)

    def decide(self, probability: Floats, relation: Ids) -> list[Decision]:
        """`m` decisions: accept, reject, or abstain where neither is right often enough."""
        return self.bounds.decide(probability, relation)

    def measure(self, columns: Floats, relation: Ids, true: Truth) -> dict[str, Any]:
        """The figures on other examples, such as those of the test split."""
        probability = self.probability(columns, relation)
        return _all_figures(probability, true, relation, np.full(len(true), self.threshold), self.bounds.of(relation))

    @classmethod
    def fit(
        cls,
        columns: npt.ArrayLike,
        true: Truth,
        *,
        population: str,
        method: Method,
        relation: Ids | None = None,
        group: Ids | None = None,
        names: Sequence[str] = ("score",),
        precision: float = 0.9,
        seed: int = 0,
    ) -> Self:
        """Fit on all, measure out of fold.

        Args:
            columns: float64 `[m]` or `[m, f]`.
            true: bool `[m]`.
            population: a phrase for people.
            method: "auto" takes the smallest out-of-fold log-loss.
            relation: integers `[m]`; without, all are taken together.
            group: integers `[m]`: examples that must share a fold, such as the candidates of one question.
            names: of the `f` columns.
            precision: share of right ones that accepted and rejected statements must reach.
            seed: of the folds.
        """
        values = np.asarray(columns, dtype=np.float64).reshape(len(true), -1)
        of = np.full(len(true), -1) if relation is None else np.asarray(relation)
        choices = _choices(method, many=len(true) > MANY, related=relation is not None)
        fold = _folds(of * 2 + true if group is None else of, group, seed)
        held = np.empty((len(choices), len(true)))
        for row, (_, spread, isotonic) in enumerate(choices):
            for part in np.unique(fold):
                inside, outside = fold != part, fold == part
                made = LogisticMap.fit(values[inside], of[inside], true[inside], spread=spread, isotonic=isotonic)
                held[row, outside] = made.probability(values[outside], of[outside])
        loss = np.stack([np.bincount(fold, row) for row in _losses(held, true)])
        # A fold is measured with what the other folds would have chosen.
        nested, threshold, bounds = np.empty(len(true)), np.empty(len(true)), np.empty((len(true), 2))
        for part in np.unique(fold):
            inside, outside = fold != part, fold == part
            chosen = held[np.argmin(loss.sum(axis=1) - loss[:, part])]
            nested[outside] = chosen[outside]
            border = _best_threshold(chosen[inside], true[inside])
            found = Bounds.fit(chosen[inside], true[inside], of[inside], threshold=border, precision=precision)
            threshold[outside], bounds[outside] = border, found.of(of[outside])
        best = int(np.argmin(loss.sum(axis=1)))
        name, spread, isotonic = choices[best]
        border = _best_threshold(held[best], true)
        return cls(
            population,
            name,
            tuple(names),
            LogisticMap.fit(values, of, true, spread=spread, isotonic=isotonic),
            border,
            Bounds.fit(held[best], true, of, threshold=border, precision=precision),
            _all_figures(nested, true, of, threshold, bounds),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "format_version": FORMAT_VERSION,
            "population": self.population,
            "method": self.method,
            "columns": list(self.columns),
            "map": self.map.to_json(),
            "threshold": self.threshold,
            "bounds": self.bounds.to_json(),
            "figures": dict(self.figures),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From plain values.

        Raises:
            DataError: they were written by a kgservice that calibrated otherwise.
        """
        if values.get("format_version") != FORMAT_VERSION:
            raise DataError(
                f"calibration format {values.get('format_version', 1)}, this kgservice reads {FORMAT_VERSION}; "
                "build the release anew"
            )
        return cls(
            values["population"],
            values["method"],
            tuple(values["columns"]),
            LogisticMap.from_json(values["map"]),
            values["threshold"],
            Bounds.from_json(values["bounds"]),
            values["figures"],
        )


def figures(
    probability: Floats, true: Truth, threshold: float | Floats, bounds: Floats | None = None
) -> dict[str, Any]:
    """How honest and how sharp probabilities are; ECE over equal-mass bins.

    Args:
        probability: float64 `[m]`.
        true: bool `[m]`.
        threshold: from which statements are called true, for all or `[m]`.
        bounds: float64 `[m, 2]`: accept and reject of each, for the figures of the three-way decision.
    """
    called = probability >= threshold
    hits = int((called & true).sum())
    bins = [part for part in np.array_split(np.argsort(probability, kind="stable"), BINS) if len(part)]
    curve = [(float(probability[part].mean()), float(true[part].mean()), len(part)) for part in bins]
    found: dict[str, Any] = {
        "count": len(true),
        "positives": int(true.sum()),
        "log_loss": float(_losses(probability, true).mean()),
        "brier": float(((probability - true) ** 2).mean()),
        "ece": float(sum(abs(said - was) * size for said, was, size in curve) / max(len(true), 1)),
        "accuracy": float((called == true).mean()),
        "f1": 2 * hits / max(int(called.sum()) + int(true.sum()), 1),
        "reliability": curve,
    }
    if bounds is not None:
        sure = decided(probability, bounds)
        accepted, rejected = sure == 1, sure == -1
        found["accepted"], found["rejected"] = int(accepted.sum()), int(rejected.sum())
        found["accepted_right"], found["rejected_right"] = int(true[accepted].sum()), int((~true[rejected]).sum())
    return found


def _all_figures(probability: Floats, true: Truth, relation: Ids, threshold: Floats, bounds: Floats) -> dict[str, Any]:
    """`figures`, and the same of every relation without its curve."""
    rows = []
    order = np.argsort(relation, kind="stable")
    ids, starts = np.unique(relation[order], return_index=True)
    for one, part in zip(ids.tolist(), np.split(order, starts[1:]), strict=True) if len(ids) > 1 else ():
        row = figures(probability[part], true[part], threshold[part], bounds[part])
        del row["reliability"]
        rows.append({"relation": one, "said": float(probability[part].mean()), **row})
    return {**figures(probability, true, threshold, bounds), "relations": rows}


def _choices(
    method: Method, *, many: bool, related: bool
) -> list[tuple[Literal["relations", "isotonic", "platt"], float | None, bool]]:
    """Method, prior spread and whether isotonic, of every map that is tried."""
    spreads = SPREADS[1:2] if many else SPREADS
    every: list[tuple[Literal["relations", "isotonic", "platt"], float | None, bool]] = [
        ("platt", None, False),
        ("isotonic", None, True),
    ]
    if related:
        every += [("relations", spread, False) for spread in spreads]
    wanted = [choice for choice in every if method in ("auto", choice[0])]
    return wanted or every[:1]  # "relations" where there are none


def _folds(strata: Ids, group: Ids | None, seed: int) -> npt.NDArray[np.int64]:
    """int64 `[m]`: equal shares of every stratum in every fold, groups kept whole."""
    _, first, member = np.unique(
        np.arange(len(strata)) if group is None else group, return_index=True, return_inverse=True
    )
    order = np.lexsort((np.random.default_rng(seed).random(len(first)), strata[first]))
    fold = np.empty(len(first), dtype=np.int64)
    fold[order] = np.arange(len(first)) % FOLDS
    return fold[member]


def _best_threshold(probability: Floats, true: Truth) -> float:
    """Half of the best F1 that any border gives: where probabilities are honest, the border of the best F1.

    Calling a statement true raises F1 where its probability is above F1 / 2 (Lipton et al. 2014), which varies less between
    samples than the border that happened to be best.
    """
    order = np.argsort(-probability, kind="stable")
    hits = np.cumsum(true[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + max(int(true.sum()), 1))
    return float(f1.max(initial=0.0) / 2)


def _losses(probability: Floats, true: Truth) -> Floats:
    p = np.clip(probability, 1e-12, 1 - 1e-12)
    return np.asarray(-np.where(true, np.log(p), np.log1p(-p)))
