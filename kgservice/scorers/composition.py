"""What a relation makes of a vector: composition, with rotation as one operation of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_SMALLEST = 1e-6
"""Modulus below which a number is not made longer."""


def compose(relation: Tensor, value: Tensor, how: str) -> Tensor:
    """Relation and value as one vector.

    Args:
        relation, value: float `[…, width]`; real and imaginary parts alternate.
        how: `distmult`, `transe`, `complex` or `rotate`.

    Returns:
        float `[…, width]`.
    """
    if how == "distmult":
        return relation * value
    if how == "transe":
        return value - relation
    if how == "rotate":
        turned: Tensor = _Turn.apply(relation.contiguous(), value.contiguous())  # type: ignore[no-untyped-call]
        return turned
    return torch.view_as_real(_complex(relation.contiguous()) * _complex(value.contiguous())).flatten(-2)


class _Turn(torch.autograd.Function):
    """value · relation/|relation|, coordinate by coordinate: a third of the time of what autograd makes of the formula."""

    @staticmethod
    def forward(ctx: Any, relation: Tensor, value: Tensor) -> Tensor:
        pairs = relation.view(*relation.shape[:-1], relation.shape[-1] // 2, 2)
        scale = torch.linalg.vector_norm(pairs, dim=-1, keepdim=True).clamp_min_(_SMALLEST).reciprocal_()
        turn, start = torch.view_as_complex(pairs * scale), _complex(value)
        ctx.save_for_backward(turn, start, scale)
        return torch.view_as_real(turn * start).flatten(-2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        turn, start, scale = ctx.saved_tensors
        of_value = _complex(gradient.contiguous()) * turn.conj()
        # A longer relation turns no further: only the part of the gradient across it counts.
        across = (of_value.imag * start.real - of_value.real * start.imag).unsqueeze(-1) * scale
        of_relation = torch.stack([-turn.imag, turn.real], -1).mul_(across)
        return of_relation.flatten(-2), torch.view_as_real(of_value).flatten(-2)


def _complex(vectors: Tensor) -> Tensor:
    return torch.view_as_complex(vectors.view(*vectors.shape[:-1], vectors.shape[-1] // 2, 2))
