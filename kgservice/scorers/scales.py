"""Numbers and dates as places between the knots of their relation's scale."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from kgservice.arrays.ragged import Ragged
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split

KNOTS = 32
"""Of a scale: quantiles of the values that training states."""


class Scales(nn.Module):
    """A scale for each relation: of its own for numbers, one in common for all dates.

    Where a relation states no number in training, nothing is known of its scale and every number stands at its beginning.
    """

    knots: Tensor
    dated: Tensor

    def __init__(self, r: int) -> None:
        super().__init__()
        self.register_buffer("knots", torch.zeros(r, KNOTS, dtype=torch.float64))
        self.register_buffer("dated", torch.zeros(r, dtype=torch.bool))

    def fit(self, graph: KnowledgeGraph, splits: tuple[Split, ...]) -> None:
        """Take the quantiles of what qualifiers of `splits` state."""
        table = graph.statements
        pairs = Ragged(table.qualifier_offset, table.qualifier_value)
        learnt = np.isin(table.split, splits)[pairs.rows()] & (pairs.values < 0)
        relation, literal = table.qualifier_relation[learnt], -1 - pairs.values[learnt]
        number = graph.literals.number[literal]
        kept = np.isfinite(number)
        relation, literal, number = relation[kept], literal[kept], number[kept]
        date = graph.literals.dates[literal]
        knots, dated = np.zeros((graph.r, KNOTS)), np.zeros(graph.r, bool)
        common = _quantiles(number[date])
        for of in np.unique(relation):
            mine = relation == of
            dated[of] = date[mine].mean() > 0.5
            knots[of] = common if dated[of] else _quantiles(number[mine])
        self.knots.copy_(torch.from_numpy(knots))
        self.dated.copy_(torch.from_numpy(dated))

    def forward(self, relation: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        """int64 `[k]` and float32 `[k]`: the knot below, dates after numbers, and the share of the way to the next."""
        knots = self.knots[relation]
        number = number.double().clamp(knots[:, 0], knots[:, -1]).unsqueeze(1)
        low = torch.searchsorted(knots, number).sub_(1).clamp_(0, KNOTS - 2)
        ends = knots.gather(1, torch.cat([low, low + 1], 1))
        span = (ends[:, 1] - ends[:, 0]).clamp_min(1e-12)
        share = ((number.squeeze(1) - ends[:, 0]) / span).clamp(0, 1)
        return low.squeeze(1) + KNOTS * self.dated[relation].long(), share.float()


def _quantiles(values: np.ndarray) -> np.ndarray:
    """float64 `[KNOTS]`, rising: evenly many distinct values between two of them."""
    return np.quantile(np.unique(values), np.linspace(0, 1, KNOTS)) if len(values) else np.zeros(KNOTS)
