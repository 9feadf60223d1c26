"""Bilinear scorers: a relation is a matrix between subject and object rows, of ever more freedom."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from kgservice.scorers.embedding import EmbeddingScorer, cubed
from kgservice.similarity import Metric


class DistMult(EmbeddingScorer):
    """score(s, r, o) = Σ sᵢ rᵢ oᵢ: a diagonal matrix.

    Source: Yang et al. 2015, section 3.
    """

    metric: ClassVar[Metric] = "ip"

    def fold(self, anchor: Tensor, relation: Tensor) -> Tensor:
        """h ∘ r."""
        return anchor * relation

    def invert(self, relation: Tensor) -> Tensor:
        """A diagonal matrix is its own transpose."""
        return relation

    def relation_query(self, anchor: Tensor, target: Tensor) -> Tensor:
        """s ∘ o."""
        return anchor * target


class ComplEx(EmbeddingScorer):
    """score(s, r, o) = Re Σ sᵢ rᵢ ōᵢ over complex numbers; real parts are the first half of a row.

    Source: Trouillon et al. 2016, eq. 11.
    """

    metric: ClassVar[Metric] = "ip"

    @classmethod
    def even_width(cls) -> bool:
        """Rows are pairs."""
        return True

    def fold(self, anchor: Tensor, relation: Tensor) -> Tensor:
        """[Re(h ∘ r) ; Im(h ∘ r)], so that the inner product with [Re t ; Im t] is Re⟨h, r, t̄⟩."""
        (a, b), (c, d) = anchor.chunk(2, dim=1), relation.chunk(2, dim=1)
        return torch.cat([a * c - b * d, a * d + b * c], dim=1)

    def invert(self, relation: Tensor) -> Tensor:
        """r̄."""
        real, imaginary = relation.chunk(2, dim=1)
        return torch.cat([real, -imaginary], dim=1)

    def relation_query(self, anchor: Tensor, target: Tensor) -> Tensor:
        """Re(s r ō) = Re(r · conj(s̄ o)): [Re(s̄ ∘ o) ; Im(s̄ ∘ o)]."""
        (a, b), (c, d) = anchor.chunk(2, dim=1), target.chunk(2, dim=1)
        return torch.cat([a * c + b * d, a * d - b * c], dim=1)

    def cubes(self, rows: Tensor) -> Tensor:
        """Σ |zᵢ|³."""
        return cubed(rows, pairs=True)


class SimplE(EmbeddingScorer):
    """score(s, r, o) = ½ (Σ s′ᵢ rᵢ o″ᵢ + Σ o′ᵢ r′ᵢ s″ᵢ): an entity has a vector as subject and one as object, halves of its row.

    Source: Kazemi and Poole 2018, section 5.
    """

    metric: ClassVar[Metric] = "ip"

    @classmethod
    def even_width(cls) -> bool:
        """Rows are pairs."""
        return True

    def fold(self, anchor: Tensor, relation: Tensor) -> Tensor:
        """½ [r′ ∘ h″ ; r ∘ h′], so that the inner product with [t′ ; t″] is the score."""
        (subject, object), (direct, inverse) = anchor.chunk(2, dim=1), relation.chunk(2, dim=1)
        return 0.5 * torch.cat([inverse * object, direct * subject], dim=1)

    def invert(self, relation: Tensor) -> Tensor:
        """[r′ ; r]."""
        direct, inverse = relation.chunk(2, dim=1)
        return torch.cat([inverse, direct], dim=1)

    def relation_query(self, anchor: Tensor, target: Tensor) -> Tensor:
        """½ [s′ ∘ o″ ; o′ ∘ s″]."""
        (s_first, s_second), (o_first, o_second) = anchor.chunk(2, dim=1), target.chunk(2, dim=1)
        return 0.5 * torch.cat([s_first * o_second, o_first * s_second], dim=1)


class RESCAL(EmbeddingScorer):
    """score(s, r, o) = sᵀ R o with a full matrix per relation, kept as a row of width².

    Source: Nickel et al. 2011, eq. 2.
    """

    metric: ClassVar[Metric] = "ip"

    def initial_relations(self, rows: int, scale: float) -> Tensor:
        """float32 `[rows, width²]`."""
        return torch.randn(rows, self.width * self.width) * scale

    def fold(self, anchor: Tensor, relation: Tensor) -> Tensor:
        """hᵀ R."""
        return torch.bmm(anchor.unsqueeze(1), relation.view(-1, self.width, self.width)).squeeze(1)

    def asked(self, anchors: Tensor, relation: Tensor) -> tuple[Tensor, Tensor | None]:
        """See `EmbeddingScorer.asked`: a product per relation, where a matrix per question would be width² reals each."""
        distinct, place, counts = torch.unique(relation, return_inverse=True, return_counts=True)
        if self.relation_dropout or anchors.is_cuda or 4 * len(distinct) > len(relation):
            return super().asked(anchors, relation)
        order = place.argsort(stable=True)
        matrices = self.relation_rows(distinct).view(-1, self.width, self.width)
        parts = torch.split(anchors[order], counts.tolist())
        queries = torch.cat([part @ matrix for part, matrix in zip(parts, matrices, strict=True)])
        return queries[order.argsort()], None

    def invert(self, relation: Tensor) -> Tensor:
        """Rᵀ."""
        return relation.view(-1, self.width, self.width).transpose(1, 2).reshape(relation.shape)

    def relation_query(self, anchor: Tensor, target: Tensor) -> Tensor:
        """The outer product s ⊗ o, flat."""
        return (anchor.unsqueeze(2) * target.unsqueeze(1)).flatten(1)
