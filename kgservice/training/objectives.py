"""The loss of a batch of distinct questions, and its gradient in closed form.

For question i with the true answers P_i and scores s over all n entities, 1-vs-all cross-entropy summed over its answers is

    |P_i| · logsumexp(s) − Σ_{t ∈ P_i} s_t,      with gradient  |P_i| · softmax(s) − 1[t ∈ P_i].

So one row of scores serves all answers of a question, and no label matrix exists. The softmax overwrites the scores in one
kept buffer; its dense part goes through two matrix products, the answers are subtracted as sparse rows in float32.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kgservice.scorers.base import Logits

_TINY = 1e-38


@dataclass(frozen=True)
class Positives:
    """The true answers of a batch of questions.

    Attributes:
        offset: int64 `[b + 1]`, where each question's answers begin in `target`.
        question: int64 `[p]`, the row of each answer.
        target: int64 `[p]`, entity ids.
        weight: float32 `[b]`, what one answer of each question counts; the batch's answers sum to one.
    """

    offset: Tensor
    question: Tensor
    target: Tensor
    weight: Tensor


@dataclass
class Workspace:
    """Buffers that live as long as a training: fresh large results cost page faults."""

    precision: torch.dtype
    _kept: dict[str, Tensor] = field(default_factory=dict)

    def buffer(self, name: str, rows: int, columns: int, device: torch.device) -> Tensor:
        """An uninitialised `[rows, columns]` matrix of the working precision."""
        kept = self._kept.get(name)
        if kept is None or kept.shape[0] < rows or kept.shape[1] != columns or kept.device != device:
            kept = self._kept[name] = torch.empty(rows, columns, dtype=self.precision, device=device)
        return kept[:rows]


def grouped_softmax(logits: Logits, positives: Positives, workspace: Workspace, *, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of every true answer against all entities, weighted and summed.

    Args:
        logits: what the scorer gave for the batch.
        positives: the true answers.
        workspace: buffers and precision of the products.
        smoothing: share of the target that is spread evenly over all entities.

    Returns:
        float32 `[]`; differentiable in `logits`.
    """
    loss: Tensor = _GroupedSoftmax.apply(*logits, positives, workspace, smoothing)  # type: ignore[no-untyped-call]
    return loss


class _GroupedSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        candidates: Tensor,
        bias: Tensor | None,
        positives: Positives,
        workspace: Workspace,
        smoothing: float,
    ) -> Tensor:
        b, n, device = len(queries), len(candidates), queries.device
        q, e = _operands(queries, candidates, bias, workspace)
        probability = workspace.buffer("scores", b, n, device)
        torch.mm(q, e.T, out=probability)
        torch._softmax(probability, -1, False, out=probability)

        counts = (positives.offset[1:] - positives.offset[:-1]).to(torch.float32)
        share = positives.weight * counts  # [b], a question's part in the loss
        answer_weight = positives.weight[positives.question]
        log_p = probability[positives.question, positives.target].float().clamp_min(_TINY).log()
        loss = -(answer_weight * log_p).sum()

        # Dense part: Σ_j share_i p_ij e_j and Σ_i share_i p_ij q_i; the row weights ride on the thin operand.
        d = queries.shape[1]
        grad_q = torch.mm(probability, e).float()[:, :d].mul_(share.unsqueeze(1))
        weighted = q * share.unsqueeze(1).to(q.dtype)
        grad_e_wide = torch.mm(probability.T, weighted)
        grad_bias = grad_e_wide[:, d].float() if bias is not None else None
        grad_e = grad_e_wide[:, :d].float()

        # Sparse part: minus the answers themselves.
        kept = 1.0 - smoothing
        bags = F.embedding_bag(positives.target, candidates, positives.offset[:-1], mode="sum")
        grad_q -= bags * (kept * positives.weight).unsqueeze(1)
        rows = queries[positives.question] * (-kept * answer_weight).unsqueeze(1)
        grad_e.index_add_(0, positives.target, rows)
        if grad_bias is not None:
            grad_bias.index_add_(0, positives.target, -kept * answer_weight)

        if smoothing:
            # The even part of the target: its score is the mean score, which is linear in queries and candidates.
            mean = candidates.mean(0)
            grad_q -= (smoothing * share).unsqueeze(1) * mean
            grad_e -= (smoothing / n) * (share.unsqueeze(1) * queries).sum(0)
            answer_score = (queries[positives.question] * candidates[positives.target]).sum(1)
            mean_score = queries @ mean
            if bias is not None and grad_bias is not None:
                grad_bias -= smoothing / n * share.sum()
                answer_score = answer_score + bias[positives.target]
                mean_score = mean_score + bias.mean()
            loss = loss + smoothing * (answer_weight * (answer_score - mean_score[positives.question])).sum()
        ctx.save_for_backward(grad_q, grad_e, grad_bias)
        return loss

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        # The loss is the last thing computed, so its gradient is one, or a scalar weight.
        scale = float(grad_output)
        gradients = [None if part is None else part if scale == 1.0 else part * scale for part in ctx.saved_tensors]
        return (*gradients, None, None, None)


def _operands(queries: Tensor, candidates: Tensor, bias: Tensor | None, workspace: Workspace) -> tuple[Tensor, Tensor]:
    """Both sides of the product in working precision; a bias becomes three more coordinates.

    bfloat16 keeps 8 bits, so the bias is written as the sum of three such numbers against ones.
    """
    if bias is None:
        if workspace.precision == torch.float32:
            return queries, candidates
        e = workspace.buffer("candidates", candidates.shape[0], candidates.shape[1], candidates.device)
        return queries.to(workspace.precision), e.copy_(candidates)
    d = queries.shape[1]
    wide = -(-(d + 3) // 32) * 32  # matrix units like multiples of 32
    q = workspace.buffer("queries", len(queries), wide, queries.device)
    e = workspace.buffer("candidates", len(candidates), wide, candidates.device)
    q[:, :d], q[:, d : d + 3], q[:, d + 3 :] = queries, 1, 0
    e[:, :d], e[:, d + 3 :] = candidates, 0
    rest = bias.float()
    for place in range(d, d + 3):
        e[:, place] = rest
        rest = rest - e[:, place].float()
    return q, e
