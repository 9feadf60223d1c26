"""Where a probability is sure enough to accept or to reject a statement, by relation, and where to abstain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, get_args

import numpy as np
import numpy.typing as npt

from kgservice.answers import Decision
from kgservice.evaluation.maps import Floats, Ids, Truth

SUPPORT = 50.0
"""Examples of all relations, at the same probability, that stand beside a relation's own when its bounds are set."""


@dataclass(frozen=True)
class Bounds:
    """From which probability a statement is accepted, and below which it is rejected; between the two lies doubt.

    Attributes:
        accept, reject: for relations without bounds of their own; an accept of 1 and a reject of 0 are never reached.
        relations: int64 `[k]`, sorted.
        own: float64 `[k, 2]`, their accept and reject.
    """

    accept: float
    reject: float
    relations: npt.NDArray[np.int64]
    own: Floats

    @classmethod
    def fit(cls, probability: Floats, true: Truth, relation: Ids, *, threshold: float, precision: float) -> Self:
        """The widest bounds around `threshold` whose called statements are right in `precision` of cases.

        A relation's own precision is drawn towards that of all statements at the same probability by `SUPPORT` examples.
        """
        sides = []
        relations = np.unique(relation)
        # Rejecting is accepting the contrary.
        for p, right, floor in ((probability, true, threshold), (1 - probability, ~true, 1 - threshold)):
            order = np.argsort(-p, kind="stable")
            p, right, of = p[order], right[order], relation[order]
            pooled = np.cumsum(right) / np.arange(1, len(p) + 1)
            ends = np.append(p[1:] != p[:-1], True)  # a bound must not part equal values
            parts = [(np.arange(len(p)), 0.0), *((np.flatnonzero(of == one), SUPPORT) for one in relations)]
            bounds = []
            for rows, support in parts:
                # Equal values count together: the precision at the last of them is that of them all.
                last = np.searchsorted(-p, -p[rows], side="right") - 1
                count = np.arange(1, len(rows) + 1)
                found = (np.cumsum(right[rows]) + support * pooled[last]) / (count + support)
                closes = ends[rows] if support == 0 else np.append(p[rows][1:] != p[rows][:-1], True)
                good = np.flatnonzero((found >= precision) & closes)
                bounds.append(max(float(p[rows[good[-1]]]), floor) if len(good) else 1.0)
            sides.append(bounds)
        accept, reject = np.array(sides[0]), 1 - np.array(sides[1])
        return cls(
            float(accept[0]), float(reject[0]), relations.astype(np.int64), np.stack([accept, reject], axis=1)[1:]
        )

    def of(self, relation: Ids) -> Floats:
        """float64 `[m, 2]`: accept and reject of each relation."""
        found = np.tile([self.accept, self.reject], (len(relation), 1))
        if len(self.relations):
            place = np.minimum(np.searchsorted(self.relations, relation), len(self.relations) - 1)
            held = self.relations[place] == relation
            found[held] = self.own[place[held]]
        return found

    def decide(self, probability: Floats, relation: Ids) -> list[Decision]:
        """`m` decisions."""
        return [_DECISIONS[code] for code in decided(probability, self.of(relation)).tolist()]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "accept": self.accept,
            "reject": self.reject,
            "relations": self.relations.tolist(),
            "own": self.own.tolist(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From plain values."""
        relations = np.array(values["relations"], dtype=np.int64)
        own = np.array(values["own"], dtype=np.float64).reshape(-1, 2)
        return cls(values["accept"], values["reject"], relations, own)


_DECISIONS: dict[int, Decision] = dict(zip((1, -1, 0), get_args(Decision), strict=True))


def decided(probability: Floats, bounds: Floats) -> npt.NDArray[np.int8]:
    """int8 `[m]`: 1 accepted, -1 rejected, 0 neither; `bounds` float64 `[m, 2]` are each one's accept and reject.

    No probability reaches an accept of 1 or a reject of 0.
    """
    accept, reject = bounds.T
    accepted = (probability >= accept) & (accept < 1)
    rejected = (probability <= reject) & (reject > 0) & ~accepted
    return np.where(accepted, np.int8(1), np.where(rejected, np.int8(-1), np.int8(0)))
