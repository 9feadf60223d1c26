"""How a query vector and a candidate vector are compared."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Metric = Literal["ip", "l2"]
"""Inner product, or squared distance taken negative; higher is better for both."""


def similarity(queries: Tensor, candidates: Tensor, metric: Metric, out: Tensor | None = None) -> Tensor:
    """float `[b, n]`: inner products, or negative squared distances, of all pairs of float `[b, d]` and `[n, d]`.

    Args:
        queries, candidates: vectors.
        metric: how they are compared.
        out: float `[b, n]` to be filled, where no gradient is asked for.
    """
    products = queries @ candidates.T if out is None else torch.mm(queries, candidates.T, out=out)
    if metric == "ip":
        return products
    lengths = (queries * queries).sum(1, keepdim=True) + (candidates * candidates).sum(1)
    return products.mul_(2).sub_(lengths) if not torch.is_grad_enabled() else 2 * products - lengths
