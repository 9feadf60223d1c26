"""The loss of a batch of distinct questions, and its gradient in closed form.

For question i with the true answers P_i and scores s over all n entities, every loss here is

    a_i · A(s) − Σ_{t ∈ P_i} w_i s_t,      with gradient  a_i · A'(s) − w_i 1[t ∈ P_i]:

| loss | A | A' | a_i |
|---|---|---|---|
| softmax: 1-vs-all cross-entropy, summed over the answers | logsumexp | softmax | w_i · number of answers |
| bce: K-vs-all, every entity is an answer or is not | Σ softplus | σ | w_i |
| bce-single: the same for each answer alone, all others negative | Σ softplus | σ | w_i · number of answers |

So one row of scores serves all answers of a question, and no label matrix exists. A' overwrites the scores in one kept
buffer; its dense part goes through two matrix products, the answers are subtracted as sparse rows in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kgservice.scorers.base import Logits

_TINY = 1e-38
SCORE_BUFFER_BYTES = 256 << 20
"""Questions are taken in parts whose scores fill no more, so that memory does not grow with the number of entities."""


@dataclass(frozen=True)
class Soft:
    """What a teacher answers: for each question of a batch its best candidates and their probabilities.

    Attributes:
        target: int64 `[b, k]`, entity ids.
        probability: float32 `[b, k]`, rows sum to one.
    """

    target: Tensor
    probability: Tensor


@dataclass(frozen=True)
class Positives:
    """The true answers of a batch of questions.

    Attributes:
        offset: int64 `[b + 1]`, where each question's answers begin in `target`.
        question: int64 `[p]`, the row of each answer.
        target: int64 `[p]`, entity ids.
        weight: float32 `[b]`, what one answer of each question counts; the batch's answers sum to one.
        answer_weight: float32 `[p]`, where answers of one question count differently; then `weight` is not looked at.
        soft: what a teacher answers, in a distillation.
    """

    offset: Tensor
    question: Tensor
    target: Tensor
    weight: Tensor
    answer_weight: Tensor | None = None
    soft: Soft | None = None

    @property
    def counts(self) -> Tensor:
        """float32 `[b]`: answers of each question."""
        return (self.offset[1:] - self.offset[:-1]).to(torch.float32)

    @property
    def each(self) -> Tensor:
        """float32 `[p]`: what each answer counts."""
        return self.weight[self.question] if self.answer_weight is None else self.answer_weight

    @property
    def total(self) -> Tensor:
        """float32 `[b]`: what all answers of a question count."""
        if self.answer_weight is None:
            return self.weight * self.counts
        return torch.zeros_like(self.weight).index_add_(0, self.question, self.answer_weight)


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


def softmax(
    logits: Logits, positives: Positives, workspace: Workspace, *, smoothing: float = 0.0, margin: float = 0.0
) -> Tensor:
    """Cross-entropy of every true answer against all entities, weighted and summed.

    Args:
        logits: what the scorer gave for the batch.
        positives: the true answers.
        workspace: buffers and precision of the products.
        smoothing: share of the target that is spread evenly over all entities.
        margin: changes nothing: a constant cancels.

    Returns:
        float32 `[]`; differentiable in `logits`.
    """
    queries, candidates, bias, _ = logits
    return _apply(queries, candidates, bias, None, positives, positives.total, workspace, smoothing, True)


def bce(
    logits: Logits, positives: Positives, workspace: Workspace, *, smoothing: float = 0.0, margin: float = 0.0
) -> Tensor:
    """Binary cross-entropy of all entities, the true answers being positive: K-vs-all. `margin` is added to every score.

    Args and returns: as of `softmax`.
    """
    return _binary(logits, positives, positives.weight, workspace, smoothing, margin)


def bce_single(
    logits: Logits, positives: Positives, workspace: Workspace, *, smoothing: float = 0.0, margin: float = 0.0
) -> Tensor:
    """Binary cross-entropy of all entities once per true answer, the other answers being negative, as NFE was released.

    Args and returns: as of `bce`.
    """
    return _binary(logits, positives, positives.total, workspace, smoothing, margin)


OBJECTIVES: dict[str, Callable[..., Tensor]] = {"softmax": softmax, "bce": bce, "bce-single": bce_single}
"""By the recipe's `training.loss`."""


def _binary(
    logits: Logits, positives: Positives, share: Tensor, workspace: Workspace, smoothing: float, margin: float
) -> Tensor:
    queries, candidates, bias, offset = logits
    if margin:
        offset = queries.new_full((len(queries),), margin) if offset is None else offset + margin
    return _apply(queries, candidates, bias, offset, positives, share, workspace, smoothing, False)


def _apply(*arguments: Any) -> Tensor:
    loss: Tensor = _Grouped.apply(*arguments)  # type: ignore[no-untyped-call]
    return loss


class _Grouped(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        candidates: Tensor,
        bias: Tensor | None,
        offset: Tensor | None,
        positives: Positives,
        share: Tensor,
        workspace: Workspace,
        smoothing: float,
        normalised: bool,
    ) -> Tensor:
        b, n, d, device = len(queries), len(candidates), queries.shape[1], queries.device
        q, e = _operands(queries, candidates, bias, offset, workspace)
        answer_weight = positives.each
        kept = 1.0 - smoothing

        # Dense part: Σ_j a_i A'_ij e_j and Σ_i a_i A'_ij q_i; the row weights ride on the thin operand.
        part = max(1, min(b, SCORE_BUFFER_BYTES // (n * q.element_size())))
        losses, grads_q, grads_offset = [], [], []
        grad_e_wide: Tensor | None = None
        for start in range(0, b, part):
            rows = slice(start, min(start + part, b))
            slope = workspace.buffer("scores", rows.stop - start, n, device)
            torch.mm(q[rows], e.T, out=slope)
            if normalised:
                torch._softmax(slope, -1, False, out=slope)
                within = (positives.question >= start) & (positives.question < rows.stop) if part < b else slice(None)
                chosen = slope[positives.question[within] - start, positives.target[within]]
                losses.append(-(answer_weight[within] * chosen.float().clamp_min(_TINY).log()).sum())
            else:
                losses.append((share[rows] * _softplus_sums(slope)).sum())
                slope.sigmoid_()
            grads_q.append(torch.mm(slope, e))
            if offset is not None:
                grads_offset.append(slope.sum(1, dtype=torch.float32))
            of_part = torch.mm(slope.T, q[rows] * share[rows].unsqueeze(1).to(q.dtype))
            grad_e_wide = of_part if grad_e_wide is None else grad_e_wide.float().add_(of_part)
        assert grad_e_wide is not None
        loss = torch.stack(losses).sum()
        grad_q = torch.cat(grads_q).float()[:, :d].mul_(share.unsqueeze(1))
        grad_bias = grad_e_wide[:, d].float() if bias is not None else None
        # The even part of a smoothed target takes the same from every candidate.
        even = (smoothing / n) * (share.unsqueeze(1) * queries).sum(0) if smoothing else None
        grad_e = grad_e_wide[:, :d].float() if even is None else grad_e_wide[:, :d].float().sub_(even)
        grad_offset = torch.cat(grads_offset).mul_(share) if offset is not None else None

        # Sparse part: minus the answers themselves.
        bags = F.embedding_bag(
            positives.target, candidates, positives.offset[:-1], mode="sum", per_sample_weights=answer_weight
        )
        grad_q.sub_(bags, alpha=kept)
        grad_e.index_add_(0, positives.target, queries[positives.question] * (-kept * answer_weight).unsqueeze(1))
        if grad_bias is not None:
            grad_bias.index_add_(0, positives.target, -kept * answer_weight)
        if grad_offset is not None:
            grad_offset -= positives.total * kept

        if smoothing or not normalised:
            # A softmax has its answers' scores in its logarithm; what else is linear in scores is added here.
            answer_score = (queries[positives.question] * candidates[positives.target]).sum(1)
            if bias is not None:
                answer_score = answer_score + bias[positives.target]
            if offset is not None:
                answer_score = answer_score + offset[positives.question]
            loss = loss - ((kept if not normalised else -smoothing) * answer_weight * answer_score).sum()
        if smoothing:
            # The even part of the target: its score is the mean score, which is linear in queries and candidates.
            mean = candidates.mean(0)
            mean_score = queries @ mean
            grad_q -= (smoothing * share).unsqueeze(1) * mean
            if bias is not None and grad_bias is not None:
                grad_bias -= smoothing / n * share.sum()
                mean_score = mean_score + bias.mean()
            if offset is not None and grad_offset is not None:
                grad_offset -= smoothing * share
                mean_score = mean_score + offset
            loss = loss - smoothing * (share * mean_score).sum()
        ctx.save_for_backward(grad_q, grad_e, grad_bias, grad_offset)
        return loss

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        # The loss is the last thing computed, so its gradient is one, or a scalar weight.
        scale = float(grad_output)
        gradients = [None if part is None else part if scale == 1.0 else part * scale for part in ctx.saved_tensors]
        return (*gradients, None, None, None, None, None)


def _softplus_sums(scores: Tensor) -> Tensor:
    """float32 `[b]`: Σ_j log(1 + exp s_ij), a few rows at a time so that the float32 copy stays in cache."""
    return torch.cat([F.softplus(rows.float()).sum(1) for rows in torch.split(scores, 32)])


def _operands(
    queries: Tensor, candidates: Tensor, bias: Tensor | None, offset: Tensor | None, workspace: Workspace
) -> tuple[Tensor, Tensor]:
    """Both sides of the product in working precision; bias and offset become three more coordinates each.

    bfloat16 keeps 8 bits, so each is written as the sum of three such numbers against ones.
    """
    if bias is None and offset is None:
        if workspace.precision == torch.float32:
            return queries, candidates
        e = workspace.buffer("candidates", candidates.shape[0], candidates.shape[1], candidates.device)
        return queries.to(workspace.precision), e.copy_(candidates)
    d = queries.shape[1]
    wide = -(-(d + 6) // 32) * 32  # matrix units like multiples of 32
    q = workspace.buffer("queries", len(queries), wide, queries.device)
    e = workspace.buffer("candidates", len(candidates), wide, candidates.device)
    q[:, :d], q[:, d:] = queries, 0
    e[:, :d], e[:, d:] = candidates, 0
    if bias is not None:
        q[:, d : d + 3] = 1
        _split(bias, e[:, d : d + 3])
    if offset is not None:
        e[:, d + 3 : d + 6] = 1
        _split(offset, q[:, d + 3 : d + 6])
    return q, e


def _split(values: Tensor, columns: Tensor) -> None:
    """Write `values` `[m]` as the sum of three columns of lower precision."""
    rest = values.float()
    for place in range(columns.shape[1]):
        columns[:, place] = rest
        rest = rest - columns[:, place].float()
