"""Two classifiers on the same entities: how far they differ, within which bounds, and how likely by chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kgservice.arrays.ragged import Ragged
from kgservice.heads.types import truth_of

Floats = npt.NDArray[np.float32]
ROUNDS = 1000


@dataclass(frozen=True)
class Outcome:
    """What one told of `b` entities.

    Attributes:
        right: float32 `[b, 1]`: whether the likeliest type is true.
        hits, claims: float32 `[b, c]`: types told with at least one half, those that are true and all.
    """

    right: Floats
    hits: Floats
    claims: Floats

    @classmethod
    def of(cls, probability: Floats, types: npt.NDArray[np.int32], lists: Ragged) -> Outcome:
        """Of float32 `[b, c]`; arguments as of `type_head.figures`."""
        truth, told = truth_of(lists, types), probability >= 0.5
        right = np.take_along_axis(truth, probability.argmax(axis=1)[:, None], axis=1)
        return cls(*(part.astype(np.float32) for part in (right, told & truth, told)))


def compare(one: Outcome, other: Outcome, types: npt.NDArray[np.int32], lists: Ragged) -> dict[str, Any]:
    """Accuracy, micro and macro F1, `one` less `other`.

    With 95 % bootstrap intervals over entities, and two-sided p-values of exchanging the two at random, entity by entity.
    """
    random = np.random.default_rng(0)
    facts, every = truth_of(lists, types).astype(np.float32), lists.lengths.astype(np.float32)[:, None]
    b = len(facts)

    def figures(of_one: Floats, of_other: Floats, of_facts: Floats) -> Floats:
        """float32 `[rounds, 3]` of weights `[rounds, b]`, of either's outcomes and of the facts."""

        def total(part: Callable[[Outcome], Floats]) -> Floats:
            summed: Floats = of_one @ part(one) + of_other @ part(other)
            return summed

        hits, claims, true = total(lambda who: who.hits), total(lambda who: who.claims), of_facts @ facts
        f1 = 2 * hits / np.maximum(claims + true, 1)
        columns = (
            total(lambda who: who.right)[:, 0] / of_facts.sum(1),
            2 * hits.sum(1) / (claims.sum(1) + (of_facts @ every)[:, 0]),
            f1.sum(1) / np.maximum((true > 0).sum(1), 1),
        )
        return np.stack(columns, axis=1)

    whole, nothing = np.ones((1, b), np.float32), np.zeros((1, b), np.float32)
    gain = (figures(whole, nothing, whole) - figures(nothing, whole, whole))[0]
    drawn = random.multinomial(b, np.full(b, 1 / b), ROUNDS).astype(np.float32)
    resampled = figures(drawn, 0 * drawn, drawn) - figures(0 * drawn, drawn, drawn)
    coin = random.integers(0, 2, (ROUNDS, b)).astype(np.float32)
    facts_once = np.ones_like(coin)
    exchanged = figures(coin, 1 - coin, facts_once) - figures(1 - coin, coin, facts_once)
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    p = (1 + (np.abs(exchanged) >= np.abs(gain) - 1e-7).sum(0)) / (ROUNDS + 1)
    return {
        name: {"difference": float(gain[at]), "interval": [float(low[at]), float(high[at])], "p": float(p[at])}
        for at, name in enumerate(("accuracy", "micro_f1", "macro_f1"))
    }
