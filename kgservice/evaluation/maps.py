"""From columns to a probability: a logistic model whose relations may differ as far as their examples show.

Every relation has weights of its own, drawn towards the common ones by a normal prior: the fewer its examples, the closer it
stays, and a relation without any is judged by the common weights alone. All of it is plain numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.integer]
Truth = npt.NDArray[np.bool_]

REACH = 4.0
"""Standard deviations at which a column is cut, so that no unheard-of value decides alone."""
INTERCEPT_SPREAD = 2.0
"""Prior standard deviation of a relation's intercept, in log-odds."""


@dataclass(frozen=True)
class LogisticMap:
    """σ(weights · columns + own[relation] · columns), columns standardised, cut at `REACH`, and 1 appended.

    Attributes:
        mean, scale: float64 `[f]`, of the columns where it was fitted.
        weights: float64 `[f + 1]`, the common ones; the last is the intercept.
        relations: int64 `[k]`, sorted: the relations with weights of their own.
        own: float64 `[k, f + 1]`, what each adds to the common ones.
        knots: float64 `[2, j]`: log-odds and probabilities that lines run between; empty for σ.
    """

    mean: Floats
    scale: Floats
    weights: Floats
    relations: npt.NDArray[np.int64]
    own: Floats
    knots: Floats

    @classmethod
    def fit(
        cls,
        columns: Floats,
        relation: Ids,
        true: Truth,
        *,
        spread: float | None,
        isotonic: bool = False,
        weight: Floats | None = None,
    ) -> Self:
        """The most probable weights under the prior.

        Args:
            columns: float64 `[m, f]`.
            relation: integers `[m]`.
            true: bool `[m]`.
            spread: prior standard deviation of what a relation adds to a weight; None for no weights of its own.
            isotonic: read probabilities off a rising line through what happened, not off σ.
            weight: float64 `[m]`: how many examples each stands for; one by default.
        """
        m, f = columns.shape
        relations, place = np.unique(relation, return_inverse=True)
        if spread is None:
            relations = relations[:0]
        mean, scale = columns.mean(axis=0), columns.std(axis=0)
        made = cls(
            mean,
            np.where(scale > 1e-9, scale, 1.0),
            np.zeros(f + 1),
            relations.astype(np.int64),
            np.zeros((len(relations), f + 1)),
            np.empty((2, 0)),
        )
        if true.all() or not true.any():
            made.weights[-1] = np.log((true.sum() + 1) / ((~true).sum() + 1))
            return made
        made = made._solved(made._standard(columns), place, true, spread, weight)
        if not isotonic:
            return made
        from sklearn.isotonic import IsotonicRegression

        # One made positive and negative keep the ends off 0 and 1, which no finite sample proves.
        edge = 1.0 / (m + 2)
        line = IsotonicRegression(y_min=edge, y_max=1 - edge, out_of_bounds="clip")
        line.fit(made.log_odds(columns, relation), true, sample_weight=weight)
        knots = np.stack([line.X_thresholds_, line.y_thresholds_]).astype(np.float64)
        return cls(made.mean, made.scale, made.weights, made.relations, made.own, knots)

    def log_odds(self, columns: Floats, relation: Ids) -> Floats:
        """float64 `[m]`, before the knots."""
        standard = self._standard(columns)
        total = standard @ self.weights
        if len(self.relations):
            place = np.minimum(np.searchsorted(self.relations, relation), len(self.relations) - 1)
            held = self.relations[place] == relation
            total[held] = np.einsum("mf,mf->m", standard[held], (self.weights + self.own)[place[held]])
        return total

    def probability(self, columns: Floats, relation: Ids) -> Floats:
        """float64 `[m]`."""
        value = self.log_odds(columns, relation)
        if self.knots.size:
            return np.interp(value, *self.knots)
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * value)))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: getattr(self, name).tolist() for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From plain values."""
        mean, scale, weights = (np.array(values[name], dtype=np.float64) for name in ("mean", "scale", "weights"))
        relations = np.array(values["relations"], dtype=np.int64)
        own = np.array(values["own"], dtype=np.float64).reshape(len(relations), len(weights))
        return cls(mean, scale, weights, relations, own, np.array(values["knots"], dtype=np.float64).reshape(2, -1))

    def _standard(self, columns: Floats) -> Floats:
        cut = np.clip((columns - self.mean) / self.scale, -REACH, REACH)
        return np.concatenate([cut, np.ones((len(columns), 1))], axis=1)

    def _solved(
        self, standard: Floats, place: Ids, true: Truth, spread: float | None, weight: Floats | None = None
    ) -> Self:
        """L-BFGS over the common weights and, scaled by their prior, those of each relation."""
        import scipy.sparse as sparse
        from sklearn.linear_model import LogisticRegression

        m, width = standard.shape
        prior = np.full(width, spread or 0.0)
        prior[-1] = INTERCEPT_SPREAD
        design = standard[:, :-1]
        if spread is not None:
            # Row i holds its columns in the block of its relation: `[m, k (f + 1)]` with f + 1 values a row.
            where = (place[:, None] * width + np.arange(width)).ravel()
            starts = np.arange(0, (m + 1) * width, width)
            shape = (m, len(self.relations) * width)
            blocks = sparse.csr_array(((standard * prior).ravel(), where, starts), shape=shape)
            design = sparse.hstack([sparse.csr_array(design), blocks]).tocsr()
        model = LogisticRegression(C=1.0, max_iter=5000).fit(design, true, sample_weight=weight)
        weights = np.append(model.coef_[0, : width - 1], model.intercept_)
        own = model.coef_[0, width - 1 :].reshape(-1, width) * prior
        if width == 2:  # one column: a higher score never lowers the probability
            weights[0] = max(weights[0], 0.0)
            own[:, 0] = np.maximum(own[:, 0], -weights[0])
        return type(self)(self.mean, self.scale, weights, self.relations, own, self.knots)
