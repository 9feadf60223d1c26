"""From features to the probability that a name is valid: a logistic regression, learnt from entities whose names are known.

M-NTA counts votes and learns nothing; this is supervised. Probabilities that are reported are of entities that the regression
was not fitted to (cross-validation by entity), and so are the thresholds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from kgservice.errors import DataError
from kgservice.naming.features import Features

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

FORMAT_VERSION: Final = 1
FORM_PRIOR: Final = 20.0
"""A form's share of valid names is taken as if so many names of the average share had been seen with it."""
MOST_FORMS: Final = 2000
PENALTY: Final = 10.0
"""Of the weights' squares, for features of standard deviation 1."""


@dataclass(frozen=True)
class Combiner:
    """A regression over features and the form of a name.

    Attributes:
        columns: features it reads `[f]`; one that a run lacks is taken as 0.
        mean, scale: of the features `[f + 1]`, the form's log-odds last.
        weights: `[f + 1]`.
        bias: log-odds at the mean.
        form_odds: log-odds of frequent forms of names, above the average.
        threshold: probability from which on proposals have the best F1 of coverage; None before it is chosen.
        names: it was fitted to.
    """

    columns: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    form_odds: dict[str, float]
    threshold: float | None = None
    names: int = 0

    @classmethod
    def fit(cls, features: Features, correct: Mask, rows: npt.NDArray[np.int64] | None = None) -> Self:
        """Learn from the names of `rows` (all by default); `correct` is bool `[c]`.

        Raises:
            DataError: all names, or none, are correct.
        """
        from sklearn.linear_model import LogisticRegression

        rows = np.arange(len(correct)) if rows is None else rows
        y = correct[rows]
        if y.all() or not y.any():
            raise DataError(f"of {len(y):,} names to learn from {int(y.sum()):,} are valid: both kinds are needed")
        odds = _form_odds(features.names["form"].gather(rows), y)
        x = np.concatenate([features.values[rows], _of_forms(features.names["form"].gather(rows), odds)], axis=1)
        mean, scale = x.mean(axis=0), x.std(axis=0)
        scale[scale < 1e-9] = 1.0
        fitted = LogisticRegression(C=1 / PENALTY, max_iter=1000, tol=1e-5).fit((x - mean) / scale, y)
        return cls(
            features.columns,
            tuple(mean.tolist()),
            tuple(scale.tolist()),
            tuple(fitted.coef_[0].tolist()),
            float(fitted.intercept_[0]),
            odds,
            names=len(y),
        )

    def probability(self, features: Features) -> Floats:
        """float64 `[c]`."""
        x = np.concatenate([features.of(self.columns), _of_forms(features.names["form"], self.form_odds)], axis=1)
        logit = ((x - np.array(self.mean)) / np.array(self.scale)) @ np.array(self.weights) + self.bias
        return np.asarray(1 / (1 + np.exp(-np.clip(logit, -40, 40))))

    def at(self, threshold: float) -> Self:
        """The same, with the threshold of its proposals."""
        return replace(self, threshold=threshold)

    def save(self, path: Path) -> None:
        """Write JSON."""
        path.write_text(json.dumps({"format": FORMAT_VERSION, **asdict(self)}, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            DataError: it is something else.
        """
        try:
            held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            version = held.pop("format")
            if version != FORMAT_VERSION:
                raise DataError(f"{path}: a combiner of format {version}, this version reads {FORMAT_VERSION}")
            lists: dict[str, Any] = {name: tuple(held.pop(name)) for name in ("columns", "mean", "scale", "weights")}
            return cls(**lists, **held)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is not a combiner that was saved here: {error}") from error


def folds(entities: pl.Series, number: int = 5, seed: int = 0) -> npt.NDArray[np.int64]:
    """int64 `[c]`: the fold of each row, the same for all rows of an entity, drawn by seed."""
    distinct, place = np.unique(entities.to_numpy(), return_inverse=True)
    drawn = np.random.default_rng(seed).permutation(len(distinct)) % number
    return np.asarray(drawn[place], dtype=np.int64)


def cross_validated(features: Features, correct: Mask, fold: npt.NDArray[np.int64]) -> Floats:
    """float64 `[c]`: each name's probability by a regression that has seen no name of its fold."""
    out = np.zeros(len(correct))
    for one in np.unique(fold):
        held_out = np.flatnonzero(fold == one)
        fitted = Combiner.fit(features, correct, np.flatnonzero(fold != one))
        out[held_out] = fitted.probability(features.part(held_out))
    return out


def _form_odds(forms: pl.Series, correct: Mask) -> dict[str, float]:
    """Of every form that was seen often enough to tell: its log-odds above the average."""
    average = correct.mean()
    seen = (
        pl.DataFrame({"form": forms, "correct": correct})
        .group_by("form")
        .agg(pl.len(), pl.col("correct").sum())
        .filter(pl.col("len") >= 3)
        .sort("len", "form", descending=[True, False])
        .head(MOST_FORMS)
    )
    share = (seen["correct"].to_numpy() + FORM_PRIOR * average) / (seen["len"].to_numpy() + FORM_PRIOR)
    odds = np.log(share / (1 - share)) - np.log(average / (1 - average))
    return dict(zip(seen["form"].to_list(), odds.tolist(), strict=True))


def _of_forms(forms: pl.Series, odds: dict[str, float]) -> Floats:
    keys: Sequence[str] = list(odds)
    found = forms.replace_strict(keys, list(odds.values()), default=0.0, return_dtype=pl.Float64) if keys else None
    return (np.zeros(len(forms)) if found is None else found.to_numpy())[:, None]
