"""What validation shows of each relation's probabilities, drawn towards what it shows of all of them.

The calibration of a run fits one model to the candidates of all relations, nearly all of them improbable. Of one relation, and of
the few candidates that are given out, it may be wrong all the same. Once a run knows its candidates, that shows: validation
holds the share c of what is true, so that of candidates that it does not hold, true with the probabilities p, it lets expect
E = c / (1 - c) · Σ p others that it does hold, and it holds H.

The ratios of both are taken for Gamma distributed over relations, with mean m and strength κ, and H for Poisson distributed
about its relation's ratio times E (empirical Bayes: m and κ are the likeliest for the counts of all relations). A relation's own
is then (κ m + H) / (κ + E): with few expected it follows the others, with many what it shows itself. Its log-odds are moved by as
much as brings Σ p there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

STRENGTH, STRENGTH_SPREAD, MEAN_SPREAD = 20.0, 1.5, 0.5
"""Of κ the likeliest before anything is seen, and how far ln κ and ln m may be off: what decides where relations are few."""
FARTHEST, STEPS = 6.0, 40
"""No relation's log-odds are moved further; halvings of that."""


@dataclass(frozen=True)
class Held:
    """The candidates that validation states, and what was said of them by a fit without them.

    Attributes:
        relation: int64 `[h]`.
        probability: float64 `[h]`, as if it were not known that they are held.
        best: bool `[h]`, whether no candidate of the same question is more probable.
        label_share: c, see `calibrating`.
    """

    relation: Ids
    probability: Floats
    best: npt.NDArray[np.bool_]
    label_share: float

    def take(self, rows: npt.NDArray[np.bool_]) -> Held:
        """Those where a mask is true."""
        return Held(self.relation[rows], self.probability[rows], self.best[rows], self.label_share)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "relation": self.relation.tolist(),
            "probability": self.probability.tolist(),
            "best": self.best.tolist(),
            "label_share": self.label_share,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From plain values."""
        relation, probability = np.array(values["relation"], np.int64), np.array(values["probability"], np.float64)
        return cls(relation, probability, np.array(values["best"], bool), values["label_share"])


@dataclass(frozen=True)
class Moves:
    """What is added to the log-odds of each relation.

    Attributes:
        by: float64 `[r]`; 0 of relations without any candidate.
        doubt: float64 `[r]`, standard deviations of the ratio, as a share of it.
        pull: float64 `[r]`, in [0, 1]: how far each follows the others.
        held, awaited: float64 `[r]`, H and E.
        mean, strength: m and κ.
        common_doubt: standard deviation of ln m.
    """

    by: Floats
    doubt: Floats
    pull: Floats
    held: Floats
    awaited: Floats
    mean: float
    strength: float
    common_doubt: float

    @classmethod
    def none(cls, r: int) -> Self:
        """No move and no doubt, of `r` relations."""
        zero = np.zeros(r)
        return cls(zero, zero, zero, zero, zero, 1.0, np.inf, 0.0)

    @classmethod
    def fit(cls, probability: Floats, relation: Ids, held: Held, r: int) -> Self:
        """From what a run found, O(candidates).

        Args:
            probability: float64 `[m]`, of being true, of all candidates of the run; none of them is held.
            relation: int64 `[m]`.
            held: those that are held, within the same bounds of the probability.
            r: how many relations there are.
        """
        rate = held.label_share / (1 - held.label_share)
        said: Floats = np.bincount(relation, probability, minlength=r).astype(np.float64)
        count: Floats = np.bincount(held.relation, minlength=r).astype(np.float64)
        awaited = np.asarray(rate * said)
        seen = said > 0
        mean, strength = _common(awaited[seen], count[seen])
        ratio = np.where(seen, (strength * mean + count) / (strength + awaited), 1.0)
        pull: Floats = np.asarray(strength / (strength + awaited))
        # ln of a ratio has the variances 1 / (m E) by chance and 1 / (κ m) between relations.
        told = 1 / (1 / np.maximum(mean * awaited[seen], 1e-9) + 1 / (strength * mean))
        common_doubt = float((1 / MEAN_SPREAD**2 + told.sum()) ** -0.5)
        doubt = np.where(seen, (strength * mean + count) ** -0.5, 0.0)
        by = np.where(seen, _reaching(_logit(probability), relation, ratio * said), 0.0)
        return cls(by, doubt, pull, count, awaited, mean, strength, common_doubt)

    def moved(self, probability: Floats, relation: Ids) -> Floats:
        """float64 `[m]`: probabilities after the moves."""
        return _sigmoid(_logit(probability) + self.by[relation])

    def deviation(self, probability: Floats, relation: Ids) -> float:
        """Standard deviation of the share of right ones among links: by luck, and by the doubt of the moves.

        Args:
            probability: float64 `[m]`, after the moves.
            relation: int64 `[m]`.
        """
        luck = float((probability * (1 - probability)).sum())
        right = np.bincount(relation, probability, minlength=len(self.doubt))
        doubt = float(((right * self.doubt) ** 2).sum() + ((right * self.pull).sum() * self.common_doubt) ** 2)
        return float(np.sqrt(luck + doubt)) / len(probability)


def _logit(probability: Floats) -> Floats:
    return np.asarray(np.log(probability) - np.log1p(-probability))


def _sigmoid(odds: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * odds)))


def _common(awaited: Floats, held: Floats) -> tuple[float, float]:
    """The likeliest m and κ: H is negative binomial."""
    from scipy.optimize import minimize
    from scipy.special import gammaln

    def loss(logs: Floats) -> float:
        mean, strength = np.exp(logs)
        shape = strength * mean
        value = gammaln(held + shape) - gammaln(shape) + shape * np.log(strength)
        value -= (held + shape) * np.log(strength + awaited)
        prior = (logs[0] / MEAN_SPREAD) ** 2 / 2 + (np.log(strength / STRENGTH) / STRENGTH_SPREAD) ** 2 / 2
        # What the second log lacks, held · ln(awaited), does not depend on either.
        return float(prior - value.sum())

    found = minimize(loss, [0.0, np.log(STRENGTH)], method="Nelder-Mead", bounds=[(-2, 2), (-3, 9)])
    mean, strength = np.exp(found.x)
    return float(mean), float(strength)


def _reaching(odds: Floats, group: Ids, wanted: Floats) -> Floats:
    """float64 `[g]`: by how much log-odds are moved so that each group's probabilities sum to what is wanted; by bisection."""
    low, high = np.full(len(wanted), -FARTHEST), np.full(len(wanted), FARTHEST)
    for _ in range(STEPS):
        middle = (low + high) / 2
        below = np.bincount(group, _sigmoid(odds + middle[group]), minlength=len(wanted)) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray((low + high) / 2)
