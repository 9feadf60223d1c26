"""Scorers by squared distance: a relation moves the subject to where the object should be."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from kgservice.scorers.embedding import EmbeddingScorer, cubed
from kgservice.similarity import Metric


class TransE(EmbeddingScorer):
    """score(s, r, o) = −‖s + r − o‖².

    Source: Bordes et al. 2013, eq. 1, with the squared norm so that it is an L2 search.
    """

    metric: ClassVar[Metric] = "l2"
    relation_metric: ClassVar[Metric] = "l2"

    def fold(self, anchor: Tensor, relation: Tensor) -> Tensor:
        """h + r."""
        return anchor + relation

    def invert(self, relation: Tensor) -> Tensor:
        """−r."""
        return -relation

    def relation_query(self, anchor: Tensor, target: Tensor) -> Tensor:
        """o − s: where r should be."""
        return target - anchor


class RotatE(EmbeddingScorer):
    """score(s, r, o) = −‖s ∘ e^{iθ} − o‖²: a relation turns every complex coordinate by an angle.

    Source: Sun et al. 2019, eq. 3, with the squared modulus so that it is an L2 search.
    """

    metric: ClassVar[Metric] = "l2"
    relation_metric: ClassVar[Metric] = "ip"

    @classmethod
    def even_width(cls) -> bool:
        """Rows are pairs."""
        return True

    def initial_relations(self, rows: int, scale: float) -> Tensor:
        """Angles, float32 `[rows, width / 2]`, uniform over the circle."""
        return (torch.rand(rows, self.width // 2) * 2 - 1) * math.pi

    def fold(self, anchor: Tensor, relation: Tensor) -> Tensor:
        """h ∘ e^{iθ}."""
        (a, b), c, d = anchor.chunk(2, dim=1), relation.cos(), relation.sin()
        return torch.cat([a * c - b * d, a * d + b * c], dim=1)

    def invert(self, relation: Tensor) -> Tensor:
        """−θ."""
        return -relation

    def relation_query(self, anchor: Tensor, target: Tensor) -> Tensor:
        """−‖s e^{iθ} − o‖² = 2 Re(e^{iθ} s ō) − ‖s‖² − ‖o‖²: an inner product with [cos θ ; sin θ ; 1]."""
        (a, b), (c, d) = anchor.chunk(2, dim=1), target.chunk(2, dim=1)
        lengths = (anchor * anchor + target * target).sum(1, keepdim=True)
        return torch.cat([2 * (a * c + b * d), 2 * (a * d - b * c), -lengths], dim=1)

    def relation_candidates(self, relation: Tensor) -> Tensor:
        """[cos θ ; sin θ ; 1]."""
        return torch.cat([relation.cos(), relation.sin(), torch.ones_like(relation[:, :1])], dim=1)

    def cubes(self, rows: Tensor) -> Tensor:
        """Σ |zᵢ|³ of an entity's coordinates; an angle has the modulus 1 and adds nothing to learn."""
        return cubed(rows, pairs=True) if rows.shape[1] == self.width else torch.zeros_like(rows[:, 0])
