"""Distillation: a narrow student learns from what a wide teacher answers, beside the true answers.

For every training question the teacher's best candidates are kept once, with their probabilities p (a softmax over them at a
temperature). The student's loss is (1 − share) · the recipe's loss + share · D, where D compares p with the student's q:

- `kl`: KL(p ‖ q) up to a constant, q over all entities: the teacher's candidates are answers that count by their probability,
  so that it costs no further product of matrices;
- `reverse-kl`: KL(q ‖ p), both over the teacher's candidates: what the teacher finds unlikely is avoided;
- `sinkhorn`: the least cost of carrying p to q over the teacher's candidates, a step between two entities costing the squared
  distance of the student's own vectors (Cuturi 2013, entropic, `SINKHORN_STEPS` of them).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from kgservice.recipe import DistilSettings
from kgservice.scorers.base import Logits, VectorScorer
from kgservice.training.objectives import Positives, Soft, Workspace

SINKHORN_STEPS = 20
SINKHORN_ENTROPY = 0.05
"""Of the costs' mean: less is closer to the true optimum and slower to reach."""
_TINY = 1e-12

Objective = Callable[..., Tensor]


def answers_of(
    teacher: VectorScorer,
    anchor: Tensor,
    relation: Tensor,
    settings: DistilSettings,
    precision: torch.dtype,
    batch_size: int = 512,
) -> Soft:
    """The best candidates of a teacher for all training questions.

    Args:
        teacher: of the same graph.
        anchor, relation: int64 `[u]`, as `Questions` holds them.
        settings: how many candidates, and the temperature.
        precision: of the product that finds the candidates; their scores are float32.
        batch_size: questions at a time.

    Returns:
        int32 `[u, k]` and float16 `[u, k]`: it lies in memory as long as the training.
    """
    teacher = teacher.to(anchor.device).eval()
    k = min(settings.candidates, teacher.n)
    targets = torch.empty(len(anchor), k, dtype=torch.int32, device=anchor.device)
    probabilities = torch.empty(len(anchor), k, dtype=torch.float16, device=anchor.device)
    with torch.inference_mode():
        for start in range(0, len(anchor), batch_size):
            rows = slice(start, start + batch_size)
            queries, candidates, bias, _ = teacher.logits(anchor[rows], relation[rows])
            rough = (queries.to(precision) @ candidates.to(precision).T).float()
            if bias is not None:
                rough += bias
            found = rough.topk(k, dim=1).indices
            scores = _scores(Logits(queries, candidates, bias), found)
            targets[rows] = found.to(torch.int32)
            probabilities[rows] = torch.softmax(scores / settings.temperature, dim=1).to(torch.float16)
    return Soft(targets, probabilities)


def distilled(
    objective: Objective,
    logits: Logits,
    positives: Positives,
    workspace: Workspace,
    settings: DistilSettings,
    **given: float,
) -> Tensor:
    """The student's loss of a batch.

    Args:
        objective: the recipe's own loss, see `objectives`.
        logits: of the student.
        positives: the true answers, and the teacher's in `soft`.
        workspace, given: passed to `objective`.
        settings: which distance, and its share.

    Returns:
        float32 `[]`.
    """
    soft, share = positives.soft, settings.share
    assert soft is not None
    if settings.distance == "kl":
        return objective(logits, _blended(positives, soft, share), workspace, **given)
    student = torch.log_softmax(_scores(logits, soft.target) / settings.temperature, dim=1)
    teacher = soft.probability.clamp_min(_TINY).log()
    if settings.distance == "reverse-kl":
        each = (student.exp() * (student - teacher)).sum(1)
    else:
        each = _sinkhorn(teacher, student, _costs(logits.candidates, soft.target))
    return (1 - share) * objective(logits, positives, workspace, **given) + share * (positives.total * each).sum()


def _blended(positives: Positives, soft: Soft, share: float) -> Positives:
    """True answers and the teacher's as one list: a question's weight is parted between them by `share`."""
    b, k = soft.target.shape
    rows = torch.arange(b, device=soft.target.device).repeat_interleave(k)
    order = torch.argsort(torch.cat([positives.question, rows]), stable=True)
    weight = torch.cat(
        [(1 - share) * positives.each, share * (positives.total.unsqueeze(1) * soft.probability).flatten()]
    )
    return Positives(
        offset=positives.offset + k * torch.arange(b + 1, device=rows.device),
        question=torch.cat([positives.question, rows])[order],
        target=torch.cat([positives.target, soft.target.flatten()])[order],
        weight=positives.weight,
        answer_weight=weight[order],
    )


def _scores(logits: Logits, target: Tensor) -> Tensor:
    """float32 `[b, k]`: scores of some candidates of each question, up to a constant per question."""
    rows = F.embedding(target, logits.candidates)
    scores = torch.bmm(rows, logits.queries.unsqueeze(2)).squeeze(2)
    return scores if logits.bias is None else scores + logits.bias[target]


def _costs(candidates: Tensor, target: Tensor) -> Tensor:
    """float32 `[b, k, k]`: squared distances between the candidates of each question, their mean being one."""
    rows = F.embedding(target, candidates.detach())
    lengths = (rows * rows).sum(2)
    costs = (lengths.unsqueeze(2) + lengths.unsqueeze(1) - 2 * torch.bmm(rows, rows.transpose(1, 2))).clamp_min(0)
    return costs / costs.mean(dim=(1, 2), keepdim=True).clamp_min(_TINY)


def _sinkhorn(source: Tensor, goal: Tensor, costs: Tensor) -> Tensor:
    """float32 `[b]`: what the entropic plan from `source` to `goal` (log-probabilities `[b, k]`) costs.

    The dual potentials are found without gradient; by the envelope theorem the goal's potential is the gradient towards it.
    """
    with torch.no_grad():
        kernel = -costs / SINKHORN_ENTROPY
        f, g = torch.zeros_like(source), torch.zeros_like(goal)
        for _ in range(SINKHORN_STEPS):
            f = source - torch.logsumexp(kernel + g.unsqueeze(1), dim=2)
            g = goal - torch.logsumexp(kernel + f.unsqueeze(2), dim=1)
        plan = (kernel + f.unsqueeze(2) + g.unsqueeze(1)).exp()
        cost = (plan * costs).sum(dim=(1, 2))
        potential = SINKHORN_ENTROPY * g
        potential -= (potential * goal.exp()).sum(1, keepdim=True)  # any constant is free: probabilities sum to one
    follow = (potential * goal.exp()).sum(1)
    return cost + follow - follow.detach()
