"""A transformer over short sets of tokens, packed: no work is done for the places that shorter sets leave empty."""

from __future__ import annotations

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kgservice.recipe import TransformerSettings

TAKEN = 2
"""Experts that a token goes through."""


class Transformer(nn.Module):
    """Pre-norm layers of attention and feed-forward, with a last norm.

    Args:
        width: of a token.
        layers, heads: how many.
        hidden: width of the feed-forward, or of each expert.
        experts: 0 for a single feed-forward.
        dropout: in attention and after every part.
    """

    def __init__(self, width: int, *, layers: int, heads: int, hidden: int, experts: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(width, heads, hidden, experts, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    @classmethod
    def of(cls, width: int, settings: TransformerSettings) -> Self:
        """As a recipe says."""
        return cls(
            width,
            layers=settings.layers,
            heads=settings.heads,
            hidden=settings.hidden or 4 * width,
            experts=settings.experts,
            dropout=settings.dropout,
        )

    def forward(self, tokens: Tensor, present: Tensor, wanted: Tensor | None = None) -> Tensor:
        """What becomes of the tokens that are there.

        Args:
            tokens: float `[b, t, width]`.
            present: bool `[b, t]`.
            wanted: int64 `[b]`, the place of one present token in each row; None for all of them.

        Returns:
            float `[b, width]`: of the wanted tokens; or `[k, width]`, of the `k` present ones, row by row.
        """
        # In shorter rows nothing but these places is computed, but for attention itself, which is small.
        flat = present.flatten().nonzero().squeeze(1)
        x = tokens.flatten(0, 1)[flat]
        mask = present[:, None, None, :]
        for layer in self.layers[:-1]:
            x = layer(x, flat, mask)
        out: Tensor = self.norm(self.layers[-1](x, flat, mask, wanted))
        return out


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, experts: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.before_attention, self.before_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.forward_part = Experts(width, hidden, experts) if experts else FeedForward(width, hidden)

    def forward(self, x: Tensor, flat: Tensor, mask: Tensor, wanted: Tensor | None = None) -> Tensor:
        """float `[k, width]` → the same, or `[b, width]` of the wanted ones; `flat` are the tokens' places in `[b · t]`."""
        (b, *_, t), width = mask.shape, x.shape[1]
        mixed = self.mix(self.before_attention(x))
        padded = mixed.new_zeros(b * t, 3 * width).index_copy(0, flat, mixed)
        q, k, v = padded.view(b, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        if wanted is not None:
            # The last layer is read in one place: the others are looked at, and not computed further.
            row = torch.arange(b, device=x.device)
            q = q[row, :, wanted].unsqueeze(2)
            flat, x = row, x[torch.searchsorted(flat, row * t + wanted)]
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        seen = seen.transpose(1, 2).reshape(-1, width)[flat]
        x = x + F.dropout(self.out(seen), dropout)
        return x + F.dropout(self.forward_part(self.before_forward(x)), dropout)


class FeedForward(nn.Module):
    """Two linear maps with GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """float `[k, width]` → the same."""
        out: Tensor = self.down(F.gelu(self.up(x)))
        return out


class Experts(nn.Module):
    """Many feed-forwards, of which a gate chooses the best two for every token (Shazeer et al. 2017)."""

    def __init__(self, width: int, hidden: int, experts: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, experts, bias=False)
        self.parts = nn.ModuleList(FeedForward(width, hidden) for _ in range(experts))

    def forward(self, x: Tensor) -> Tensor:
        """float `[k, width]` → the same: the two experts' outputs, weighted by a softmax over their gates."""
        best, chosen = self.gate(x).topk(min(TAKEN, len(self.parts)), dim=1)
        share = best.softmax(1).flatten()
        # Every expert meets its tokens in one product: they are sorted by it.
        order = torch.argsort(chosen.flatten(), stable=True)
        token = order // chosen.shape[1]
        sizes = torch.bincount(chosen.flatten(), minlength=len(self.parts)).tolist()
        inputs = torch.split(x[token], sizes)
        outputs = torch.cat([part(rows) for part, rows in zip(self.parts, inputs, strict=True)])
        return torch.zeros_like(x).index_add(0, token, outputs * share[order].unsqueeze(1))
