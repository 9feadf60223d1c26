"""The softmax over a sample of the candidates.

For a question with the answers P, softmax needs Z = Σ_j exp(s_j) over all entities. A batch draws one set C for all its
questions, entity j with the probability π_j, and estimates without bias (Horvitz and Thompson 1952)

    Z ≈ Σ_{t ∈ P} exp(s_t) + Σ_{j ∈ C \\ P} exp(s_j − log π_j):

an answer counts once whether it was drawn or not. With C = all entities and π = 1 this is the softmax itself, which is how
processes that hold a part of the rows each compute it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kgservice.recipe import TrainingSettings
from kgservice.scorers.base import Logits
from kgservice.training.objectives import Positives, Workspace
from kgservice.training.sharding import Shards

AUTO_ABOVE = 1_000_000
"""Entities above which candidates are sampled unless the recipe says otherwise."""
AUTO_NEGATIVES = 4096
SUMMED_ROWS = 64
"""Rows summed at a time: a sum in float32 makes a copy, which then stays in the cache."""
MASKED = -1e30
"""Log of nothing, finite so that its gradient is 0 and not undefined."""


@dataclass(frozen=True)
class Drawn:
    """The candidates of a batch.

    Attributes:
        ids: int64 `[c]`, entities, sorted and distinct.
        log_odds: float32 `[c]`, log π: the logarithm of each one's probability to be drawn.
    """

    ids: Tensor
    log_odds: Tensor


class Sampler:
    """Draws entities, those that are answers often more often: by (1 + answers)^¾ (Mikolov et al. 2013).

    Args:
        answers: `[k]`, how often each entity is an answer.
        count: draws per batch; what is drawn twice is there once. From `k` on everything is drawn.
        first: id of the first entity.
    """

    def __init__(self, answers: Tensor, count: int, first: int = 0) -> None:
        weight = (1.0 + answers.double()).pow(0.75)
        self.share, self.count, self.first = weight / weight.sum(), count, first
        self.cumulative = self.share.cumsum(0)

    def draw(self, generator: torch.Generator) -> Drawn:
        """One batch's candidates; π = 1 − (1 − share)^count."""
        k, device = len(self.share), self.share.device
        if self.count >= k:
            return Drawn(torch.arange(self.first, self.first + k, device=device), torch.zeros(k, device=device))
        points = torch.rand(self.count, generator=generator, dtype=torch.float64, device=generator.device).to(device)
        rows = torch.searchsorted(self.cumulative, points, right=True).clamp_max_(k - 1)
        rows = torch.unique(rows)
        log_odds = (-torch.expm1(self.count * torch.log1p(-self.share[rows]))).log()
        return Drawn(rows + self.first, log_odds.float())


def sampled_softmax(
    logits: Logits,
    drawn: Drawn,
    positives: Positives,
    rows: Tensor,
    workspace: Workspace,
    shards: Shards | None = None,
) -> Tensor:
    """Cross-entropy of every true answer against the drawn candidates, weighted and summed.

    Args:
        logits: its first `c` candidates are those drawn.
        drawn: which entities they are.
        positives: the true answers, by entity id.
        rows: int64 `[p]`, where among the candidates the answers' own vectors stand.
        workspace: buffer and precision of the matrix products.
        shards: who else has drawn for the same questions.

    Returns:
        float32 `[]`, the same for all processes; differentiable in `logits`.
    """
    queries, candidates, bias, _ = logits
    shards, c = shards or Shards(0), len(drawn.ids)
    among, _ = torch.split(candidates, [c, len(candidates) - c])
    shift = -drawn.log_odds if bias is None else bias[:c] - drawn.log_odds
    place = torch.searchsorted(drawn.ids, positives.target).clamp_max_(c - 1)
    hit = drawn.ids[place] == positives.target
    others: Tensor = _LogSumExp.apply(  # type: ignore[no-untyped-call]
        shards.shared(queries), among, shift, positives.question[hit], place[hit], workspace
    )
    answer = (F.embedding(positives.question, queries) * F.embedding(rows, candidates)).sum(1)
    answer = answer if bias is None else answer + bias[rows]
    # Sums of exponentials are taken relative to each question's highest score anywhere.
    top = shards.highest(others).scatter_reduce(0, positives.question, answer.detach(), "amax")
    z = shards.summed((others - top).exp())
    z = z.index_add(0, positives.question, (answer - top[positives.question]).exp())
    weight = positives.weight[positives.question]
    return (weight * ((top + z.log())[positives.question] - answer)).sum()


class _LogSumExp(torch.autograd.Function):
    """float32 `[b]`: the logarithm of Σ_j exp(q·e_j + shift_j) over all j but those masked, and its gradient.

    The scores `[b, c]` are in one kept buffer, where their exponentials overwrite them; so a backward follows its forward.
    """

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        candidates: Tensor,
        shift: Tensor,
        masked_question: Tensor,
        masked_place: Tensor,
        workspace: Workspace,
    ) -> Tensor:
        b, c, precision = len(queries), len(candidates), workspace.precision
        scores = workspace.buffer("sample", b * c, 1, queries.device).view(b, c)
        if precision == torch.float32:
            q, e = queries, candidates
            torch.addmm(shift, q, e.T, out=scores)
        else:
            # The shift is further coordinates against ones: as many as keep its 24 bits in working precision.
            parts, rest = [], shift
            for _ in range(3):
                parts.append(rest.to(precision))
                rest = rest - parts[-1].float()
            q = torch.cat([queries.to(precision), queries.new_ones(b, len(parts), dtype=precision)], 1)
            e = torch.cat([candidates.to(precision), torch.stack(parts, 1)], 1)
            torch.mm(q, e.T, out=scores)
        scores[masked_question, masked_place] = MASKED
        top = scores.amax(1, keepdim=True)
        scores.sub_(top).exp_()
        total = torch.cat([part.sum(1, dtype=torch.float32) for part in torch.split(scores, SUMMED_ROWS)])
        ctx.save_for_backward(q, e, scores, total)
        ctx.width = queries.shape[1]
        return top.squeeze(1).float() + total.log()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        q, e, exponentials, total = ctx.saved_tensors
        share, width = (gradient / total).unsqueeze(1), ctx.width
        grad_q = torch.mm(exponentials, e[:, :width]).float() * share
        grad_e = torch.mm(exponentials.T, (q * share).to(q.dtype)).float()
        # The coordinates after the candidate's own are ones: their gradient is the shift's.
        grad_shift = grad_e[:, width] if grad_e.shape[1] > width else torch.mv(exponentials.T, share.squeeze(1))
        return grad_q, grad_e[:, :width], grad_shift, None, None, None


def negatives_of(settings: TrainingSettings, n: int) -> int | None:
    """How many candidates a batch draws among `n` entities, or None where it takes them all."""
    if settings.negatives == "auto":
        return AUTO_NEGATIVES if n > AUTO_ABOVE else None
    return None if settings.negatives == "all" else settings.negatives
