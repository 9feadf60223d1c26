"""Normalizing flows under the Kullback-Leibler divergence of two normal variables: inner product searches."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from kgservice.scorers.flow import Flow
from kgservice.similarity import Metric

SPREAD_FLOOR = 1e-2
"""No spread of a softplus is smaller: its inverse square would drown all other coordinates."""


class KLFlow(Flow):
    """Affine flows of a normal variable: an inner product search. A relation's row gives the slope of the mean, of any
    sign, and by softplus the factor on the spread.
    """

    metric: ClassVar[Metric] = "ip"
    relation_metric: ClassVar[Metric] = "ip"
    parts: ClassVar[int] = 2

    def normal(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """float `[b, d]` twice: means and spreads of entities."""
        mean, spread = rows.chunk(2, dim=1)
        return mean, F.softplus(spread) + SPREAD_FLOOR

    def map(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """float `[b, d]` thrice: shifts, slopes, and factors on the spread, of relations."""
        shift, slope = rows.chunk(2, dim=1)
        return shift, slope, F.softplus(slope) + SPREAD_FLOOR

    def moved(self, anchor: Tensor, relation: Tensor) -> tuple[Tensor, Tensor]:
        """μ = s m_h + m and σ = f s_h."""
        (mean, spread), (shift, slope, factor) = self.normal(anchor), self.map(relation)
        return slope * mean + shift, factor * spread

    def spread(self) -> Tensor | None:
        """The mean spread over the coordinates."""
        return self.normal(self.entity)[1].mean(dim=1)


class NFE3(KLFlow):
    """score(s, r, o) = −KL(question ‖ object) up to what no object changes.

    KL = Σ log(σ_t/σ) + (σ² + (μ − m_t)²) / (2σ_t²) − ½.
    """

    def fold(self, anchor: Tensor, relation: Tensor) -> Tensor:
        """[−½(σ² + μ²) ; μ ; 1]."""
        mean, spread = self.moved(anchor, relation)
        return torch.cat([-0.5 * (spread * spread + mean * mean), mean, torch.ones_like(mean[:, :1])], dim=1)

    def answering(self, rows: Tensor) -> Tensor:
        """float `[b, 2d + 1]`: [σ⁻² ; mσ⁻² ; −Σ(½m²σ⁻² + log σ)]."""
        mean, spread = self.normal(rows)
        sharpness = spread.pow(-2)
        rest = -(0.5 * mean * mean * sharpness + spread.log()).sum(1, keepdim=True)
        return torch.cat([sharpness, mean * sharpness, rest], dim=1)

    def question_constant(self, anchor: Tensor, relation: Tensor, query: Tensor) -> Tensor | None:
        """Σ log σ + ½."""
        return (self.moved(anchor, relation)[1].log() + 0.5).sum(1)

    def relation_query(self, anchor: Tensor, target: Tensor) -> Tensor:
        """−KL as coefficients of a relation's [f² ; s² ; s·m ; s ; m ; m² ; Σ log f ; 1]."""
        (mean, spread), (object, object_spread) = self.normal(anchor), self.normal(target)
        w = object_spread.pow(-2)
        constant = spread.log() - object_spread.log() - 0.5 * w * object * object + 0.5
        parts = [
            -0.5 * w * spread * spread,
            -0.5 * w * mean * mean,
            -w * mean,
            w * mean * object,
            w * object,
            -0.5 * w,
        ]
        return torch.cat([*parts, torch.ones_like(mean[:, :1]), constant.sum(1, keepdim=True)], dim=1)

    def relation_candidates(self, relation: Tensor) -> Tensor:
        """[f² ; s² ; s·m ; s ; m ; m² ; Σ log f ; 1]."""
        m, s, f = self.map(relation)
        parts = [f * f, s * s, s * m, s, m, m * m, f.log().sum(1, keepdim=True), torch.ones_like(m[:, :1])]
        return torch.cat(parts, dim=1)


class NFE3Reverse(KLFlow):
    """score(s, r, o) = −KL(object ‖ question) up to what no object changes; stored numbers stay moderate.

    KL = Σ log(σ/σ_t) + (σ_t² + (m_t − μ)²) / (2σ²) − ½.
    """

    def fold(self, anchor: Tensor, relation: Tensor) -> Tensor:
        """[−½σ⁻² ; μσ⁻² ; 1]."""
        mean, spread = self.moved(anchor, relation)
        sharpness = spread.pow(-2)
        return torch.cat([-0.5 * sharpness, mean * sharpness, torch.ones_like(mean[:, :1])], dim=1)

    def answering(self, rows: Tensor) -> Tensor:
        """float `[b, 2d + 1]`: [σ² + m² ; m ; Σ log σ]."""
        mean, spread = self.normal(rows)
        return torch.cat([spread * spread + mean * mean, mean, spread.log().sum(1, keepdim=True)], dim=1)

    def question_constant(self, anchor: Tensor, relation: Tensor, query: Tensor) -> Tensor | None:
        """−Σ log σ + ½μ²σ⁻² − ½."""
        mean, spread = self.moved(anchor, relation)
        return -(spread.log() + 0.5 * (mean / spread).square() - 0.5).sum(1)

    def relation_query(self, anchor: Tensor, target: Tensor) -> Tensor:
        """−KL as coefficients of a relation's [f⁻² ; mf⁻² ; m²f⁻² ; sf⁻² ; s·mf⁻² ; s²f⁻² ; Σ log f ; 1]."""
        (mean, spread), (object, object_spread) = self.normal(anchor), self.normal(target)
        w = spread.pow(-2)
        constant = object_spread.log() - spread.log() + 0.5
        parts = [
            -0.5 * w * (object_spread * object_spread + object * object),
            w * object,
            -0.5 * w,
            w * mean * object,
            -w * mean,
            -0.5 * w * mean * mean,
        ]
        return torch.cat([*parts, -torch.ones_like(mean[:, :1]), constant.sum(1, keepdim=True)], dim=1)

    def relation_candidates(self, relation: Tensor) -> Tensor:
        """[f⁻² ; mf⁻² ; m²f⁻² ; sf⁻² ; s·mf⁻² ; s²f⁻² ; Σ log f ; 1]."""
        m, s, f = self.map(relation)
        v = f.pow(-2)
        parts = [v, m * v, m * m * v, s * v, s * m * v, s * s * v, f.log().sum(1, keepdim=True)]
        return torch.cat([*parts, torch.ones_like(m[:, :1])], dim=1)
