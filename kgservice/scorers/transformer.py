"""A transformer over short sets of tokens, packed: no work is done for the places that shorter sets leave empty."""

from __future__ import annotations

from typing import Any, Self

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
        x = taken(tokens.flatten(0, 1), flat)
        mask = present[:, None, None, :]
        for layer in self.layers[:-1]:
            x = layer(x, flat, mask)
        out: Tensor = self.norm(self.layers[-1](x, flat, mask, wanted))
        return out.float()


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
            place = torch.searchsorted(flat, torch.arange(b, device=x.device) * t + wanted)
            q = taken(mixed[:, :width], place).view(b, self.heads, 1, -1)
            x = taken(x, place)
        share = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=share)
        seen = seen.transpose(1, 2).reshape(-1, width)
        if wanted is None:
            seen = taken(seen, flat)
        x = x + dropout(self.out(seen), share)
        return x + dropout(self.forward_part(self.before_forward(x)), share)


def dropout(x: Tensor, share: float) -> Tensor:
    """`torch.nn.functional.dropout`; on a CPU a random byte decides for each number, an eighth of the draws.

    `share` is then one of 256; what is kept grows by exactly what is dropped.
    """
    if not share or x.device.type != "cpu":
        return F.dropout(x, share)
    dropped = max(1, round(share * 256))
    words = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
    kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
    return x * kept.to(x.dtype).mul_(256 / (256 - dropped))


def taken(x: Tensor, rows: Tensor) -> Tensor:
    """Distinct rows of a matrix `[m, w]`; their gradient is copied back to them, where indexing would add it up."""
    picked: Tensor = _Taken.apply(x, rows)  # type: ignore[no-untyped-call]
    return picked


class _Taken(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape = x.shape
        return x.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        return grad_output.new_zeros(ctx.shape).index_copy_(0, rows, grad_output), None


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
        return torch.zeros_like(x).index_add(0, token, (outputs * share[order].unsqueeze(1)).to(x.dtype))
