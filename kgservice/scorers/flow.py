"""Embeddings by normalizing flows (NFE): an entity is a random variable in every coordinate, a relation an invertible map.

The map takes the subject's variable to where the object's should be; a score is minus the divergence of the two, summed
over the coordinates. An entity keeps a mean and one or two spreads, so that what is known of it less surely is wider
(`spread`). All forms are exact nearest-neighbour searches; those of the Kullback-Leibler divergence are in `kl_flow`.

A divergence is measured where the object lies, so the inverse of a map gives another number: inverse relations need rows
of their own.

Source: Xiong et al. 2023, Knowledge Graph Embedding by Normalizing Flows.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import cache, reduce
from typing import ClassVar, Self

import torch
from torch import Tensor

from kgservice.errors import RecipeError
from kgservice.recipe import ModelSettings
from kgservice.scorers.embedding import EmbeddingScorer
from kgservice.similarity import Metric


class Flow(EmbeddingScorer):
    """Rows of `parts` blocks of `d` coordinates: an entity's mean and spreads, a relation's shift and slope.

    Args:
        width: reals per entity, a multiple of `parts`.
    """

    parts: ClassVar[int]

    @classmethod
    def from_settings(cls, settings: ModelSettings, *, n: int, r: int) -> Self:
        """Read width, scale and dropout from a recipe.

        Raises:
            RecipeError: a width that cannot be divided, or inverse relations without rows of their own.
        """
        if settings.width % cls.parts:
            raise RecipeError(
                f"{settings.scorer} keeps {cls.parts} reals a coordinate: width must be a multiple of {cls.parts}, "
                f"found {settings.width}"
            )
        if not settings.reciprocal:
            raise RecipeError(
                f"{settings.scorer} measures distances where the object lies, so that a relation's inverse needs a row "
                "of its own: reciprocal must be true"
            )
        return super().from_settings(settings, n=n, r=r)

    def initial_relations(self, rows: int, scale: float) -> Tensor:
        """float32 `[rows, 2d]`: shifts and slopes; near zero, so that no entity starts as the answer to itself."""
        return torch.randn(rows, 2 * (self.width // self.parts)) * scale

    def plain(self, rows: Tensor) -> Tensor:
        """float `[b, width]`: rows of the same answers whose mean is one too."""
        return rows

    @property
    def grows(self) -> bool:
        """A row is found from facts step by step: what answers is no linear map of it."""
        return True

    def invert(self, relation: Tensor) -> Tensor:
        """Refused when the scorer is built."""
        raise NotImplementedError("flows have rows of their own for inverse relations")


class QuadraticFlow(Flow):
    """Flows whose divergence is a quadratic form: an L2 search.

    With an object's coordinates t (mean, spreads) and a question's Q, both `[k, d]`, the divergence is
    Σ (Q − t)ᵀ G (Q − t) with a positive definite G = L Lᵀ; so Lᵀt is stored and Lᵀ Q asked. Q = M x is linear in what
    a relation gives, x of `[3, d]`, so that a relation question is an inner product with the products of x.
    """

    metric: ClassVar[Metric] = "l2"
    relation_metric: ClassVar[Metric] = "ip"
    form: ClassVar[tuple[tuple[float, ...], ...]]
    """G."""

    @abstractmethod
    def coordinates(self, rows: Tensor) -> tuple[Tensor, ...]:
        """k times float `[b, d]`: means and spreads of entities."""

    @abstractmethod
    def move(self, relation: Tensor) -> Tensor:
        """float `[b, 3, d]`: x."""

    @abstractmethod
    def lever(self, anchor: Tensor) -> Tensor:
        """float `[b, k, 3, d]`: M."""

    @abstractmethod
    def moved(self, anchor: Tensor, relation: Tensor) -> tuple[Tensor, ...]:
        """k times float `[b, d]`: Q = M x, written out."""

    def fold(self, anchor: Tensor, relation: Tensor) -> Tensor:
        """Lᵀ Q."""
        return self._stretched(self.moved(anchor, relation))

    def answering(self, rows: Tensor) -> Tensor:
        """float `[b, k·d]`: Lᵀ t."""
        return self._stretched(self.coordinates(rows))

    def plain(self, rows: Tensor) -> Tensor:
        """Their coordinates: the sign of a spread says nothing."""
        return torch.cat(self.coordinates(rows), dim=1)

    def relation_query(self, anchor: Tensor, target: Tensor) -> Tensor:
        """−(Mx − t)ᵀG(Mx − t) as coefficients of x's products, of x, and of 1."""
        form = torch.tensor(self.form, dtype=anchor.dtype, device=anchor.device)
        lever, object = self.lever(anchor), torch.stack(self.coordinates(target), dim=1)
        quadratic = torch.einsum("bkid,kl,bljd->bijd", lever, form, lever)
        linear = torch.einsum("bkid,kl,bld->bid", lever, form, object)
        constant = torch.einsum("bkd,kl,bld->b", object, form, object)
        products = [-(1 if i == j else 2) * quadratic[:, i, j] for i in range(3) for j in range(i, 3)]
        return torch.cat([*products, 2 * linear.flatten(1), -constant.unsqueeze(1)], dim=1)

    def relation_candidates(self, relation: Tensor) -> Tensor:
        """The products of x, x, and 1."""
        x = self.move(relation)
        products = [x[:, i] * x[:, j] for i in range(3) for j in range(i, 3)]
        return torch.cat([*products, x.flatten(1), torch.ones_like(x[:, :1, 0])], dim=1)

    def spread(self) -> Tensor | None:
        """The mean spread over the coordinates."""
        _, *spreads = self.coordinates(self.entity)
        return torch.stack(spreads).mean(dim=(0, 2))

    def _stretched(self, blocks: tuple[Tensor, ...]) -> Tensor:
        """Lᵀ v, flattened: few sums of blocks, where products of small matrices would be ten times slower."""
        factor = _cholesky(self.form)
        sums = []
        for column in range(len(blocks)):
            terms = [(row[column], block) for row, block in zip(factor, blocks, strict=True) if row[column]]
            parts = [block if weight == 1.0 else weight * block for weight, block in terms]
            sums.append(reduce(torch.add, parts))
        return torch.cat(sums, dim=1)


@cache
def _cholesky(form: tuple[tuple[float, ...], ...]) -> list[list[float]]:
    """L of G = L Lᵀ, lower."""
    factor: list[list[float]] = torch.linalg.cholesky(torch.tensor(form, dtype=torch.float64)).tolist()
    return factor


class NFE1(QuadraticFlow):
    """Affine flows x → m + s·x of a symmetric variable, under the squared 2-Wasserstein distance.

    score(s, r, o) = −Σ (s_r m_h + m_r − m_t)² + (|s_r s_h| − |s_t|)².
    """

    parts: ClassVar[int] = 2
    form: ClassVar[tuple[tuple[float, ...], ...]] = ((1.0, 0.0), (0.0, 1.0))

    def coordinates(self, rows: Tensor) -> tuple[Tensor, ...]:
        """m and |s|."""
        mean, spread = rows.chunk(2, dim=1)
        return mean, spread.abs()

    def moved(self, anchor: Tensor, relation: Tensor) -> tuple[Tensor, ...]:
        """μ = s m_h + m and σ = |s||s_h|."""
        (mean, spread), (shift, slope) = anchor.chunk(2, dim=1), relation.chunk(2, dim=1)
        return slope * mean + shift, (slope * spread).abs()

    def move(self, relation: Tensor) -> Tensor:
        """[s ; |s| ; m]."""
        shift, slope = relation.chunk(2, dim=1)
        return torch.stack([slope, slope.abs(), shift], dim=1)

    def lever(self, anchor: Tensor) -> Tensor:
        """μ = s m_h + m and σ = |s||s_h|."""
        mean, spread = self.coordinates(anchor)
        none, one = torch.zeros_like(mean), torch.ones_like(mean)
        return torch.stack([torch.stack([mean, none, one], 1), torch.stack([none, spread, none], 1)], 1)

    def relation_query(self, anchor: Tensor, target: Tensor) -> Tensor:
        """The coefficients that are not zero, of s², s·m, s, |s|, m, Σ m² and 1: half as many, and no small products."""
        (mean, spread), (object, wide) = self.coordinates(anchor), self.coordinates(target)
        square = mean.square() + spread.square()
        known = (object.square() + wide.square()).sum(1, keepdim=True)
        parts = [-square, -2 * mean, 2 * mean * object, 2 * spread * wide, 2 * object]
        return torch.cat([*parts, torch.full_like(known, -1.0), -known], dim=1)

    def relation_candidates(self, relation: Tensor) -> Tensor:
        """s², s·m, s, |s|, m, Σ m² and 1."""
        shift, slope = relation.chunk(2, dim=1)
        total = shift.square().sum(1, keepdim=True)
        parts = [slope.square(), slope * shift, slope, slope.abs(), shift]
        return torch.cat([*parts, total, torch.ones_like(total)], dim=1)


class NFE1Mean(QuadraticFlow):
    """NFE-1 without spreads, an ablation: score(s, r, o) = −Σ (s_r m_h + m_r − m_t)²."""

    parts: ClassVar[int] = 1
    form: ClassVar[tuple[tuple[float, ...], ...]] = ((1.0,),)

    def coordinates(self, rows: Tensor) -> tuple[Tensor, ...]:
        """m."""
        return (rows,)

    def moved(self, anchor: Tensor, relation: Tensor) -> tuple[Tensor, ...]:
        """μ = s m_h + m."""
        shift, slope = relation.chunk(2, dim=1)
        return (slope * anchor + shift,)

    def move(self, relation: Tensor) -> Tensor:
        """[s ; 0 ; m]."""
        shift, slope = relation.chunk(2, dim=1)
        return torch.stack([slope, torch.zeros_like(slope), shift], dim=1)

    def lever(self, anchor: Tensor) -> Tensor:
        """μ = s m_h + m."""
        none, one = torch.zeros_like(anchor), torch.ones_like(anchor)
        return torch.stack([anchor, none, one], dim=1).unsqueeze(1)

    def spread(self) -> Tensor | None:
        """None."""
        return None


class NFE1Spread(QuadraticFlow):
    """NFE-1 without means, an ablation: score(s, r, o) = −Σ (|s_r s_h| − |s_t|)²."""

    parts: ClassVar[int] = 1
    form: ClassVar[tuple[tuple[float, ...], ...]] = ((1.0,),)

    def initial_relations(self, rows: int, scale: float) -> Tensor:
        """float32 `[rows, d]`: slopes alone."""
        return torch.randn(rows, self.width) * scale

    def coordinates(self, rows: Tensor) -> tuple[Tensor, ...]:
        """|s|."""
        return (rows.abs(),)

    def moved(self, anchor: Tensor, relation: Tensor) -> tuple[Tensor, ...]:
        """σ = |s||s_h|."""
        return ((anchor * relation).abs(),)

    def move(self, relation: Tensor) -> Tensor:
        """[|s| ; 0 ; 0]."""
        none = torch.zeros_like(relation)
        return torch.stack([relation.abs(), none, none], dim=1)

    def lever(self, anchor: Tensor) -> Tensor:
        """σ = |s||s_h|."""
        none = torch.zeros_like(anchor)
        return torch.stack([anchor.abs(), none, none], dim=1).unsqueeze(1)

    def spread(self) -> Tensor | None:
        """The mean spread over the coordinates."""
        return self.entity.abs().mean(dim=1)


class NFE2(QuadraticFlow):
    """Flows of two pieces, m + a·x below 0 and m + b·x above, over the standard normal.

    score(s, r, o) = −Σ Δμ² + ½Δa² + ½Δb² + c·Δμ·(Δb − Δa) with c = √(2/π): the mean squared difference of the two flows.
    A relation of negative slope swaps the pieces.
    """

    parts: ClassVar[int] = 3
    form: ClassVar[tuple[tuple[float, ...], ...]] = (
        (1.0, -math.sqrt(0.5 / math.pi), math.sqrt(0.5 / math.pi)),
        (-math.sqrt(0.5 / math.pi), 0.5, 0.0),
        (math.sqrt(0.5 / math.pi), 0.0, 0.5),
    )

    def coordinates(self, rows: Tensor) -> tuple[Tensor, ...]:
        """m, |a| and |b|."""
        mean, below, above = rows.chunk(3, dim=1)
        return mean, below.abs(), above.abs()

    def moved(self, anchor: Tensor, relation: Tensor) -> tuple[Tensor, ...]:
        """μ = s m_h + m; the pieces keep their sides under a positive slope and change them under a negative one."""
        mean, below, above = self.coordinates(anchor)
        shift, slope = relation.chunk(2, dim=1)
        rising, falling = slope.clamp_min(0), (-slope).clamp_min(0)
        return slope * mean + shift, rising * below + falling * above, rising * above + falling * below

    def move(self, relation: Tensor) -> Tensor:
        """[max(s, 0) ; max(−s, 0) ; m]."""
        shift, slope = relation.chunk(2, dim=1)
        return torch.stack([slope.clamp_min(0), (-slope).clamp_min(0), shift], dim=1)

    def lever(self, anchor: Tensor) -> Tensor:
        """See `moved`."""
        mean, below, above = self.coordinates(anchor)
        none, one = torch.zeros_like(mean), torch.ones_like(mean)
        rows = ([mean, -mean, one], [below, above, none], [above, below, none])
        return torch.stack([torch.stack(row, 1) for row in rows], 1)
