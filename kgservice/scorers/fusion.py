"""Vectors of several kinds as one: each entity weighs its own by a gate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class GatedFusion(nn.Module):
    """Σₘ gₘ ∘ Wₘ xₘ, where g is a softmax over the kinds that an entity has, computed from all of them.

    With one kind alone it is that kind.

    Args:
        widths: of each kind; the first is as wide as the result, and every entity has it.
        width: of the result.
    """

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(given, width) for given in widths[1:])
        self.gate = nn.Linear(len(widths) * width, len(widths) * width) if len(widths) > 1 else None

    def forward(self, kinds: Sequence[Tensor]) -> Tensor:
        """float32 `[n, width]`.

        Args:
            kinds: float `[n, widths[m]]` each; rows of zeros where an entity has none of that kind.
        """
        if self.gate is None:
            return kinds[0].float()
        mapped = [kinds[0], *(change(kind) for change, kind in zip(self.maps, kinds[1:], strict=True))]
        there = torch.stack([kind.abs().sum(1) > 0 for kind in kinds], 1)
        there[:, 0] = True
        stacked = torch.stack(mapped, 1) * there.unsqueeze(2)  # [n, kinds, width]
        gates = self.gate(stacked.flatten(1)).view_as(stacked)
        shares = gates.masked_fill(~there.unsqueeze(2), -torch.inf).softmax(1)
        fused: Tensor = (shares * stacked).sum(1)
        return fused.float()
