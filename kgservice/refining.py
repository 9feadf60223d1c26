"""The vector of an entity that no training has seen, from a guess and the facts that are known of it.

The scorer asks of every fact what stands in the entity's place; its vector should answer those questions better than the other
entities do. With a normal prior around the guess, as wide as the entities' vectors are spread, the most probable vector is the
least of a convex function (of inner products; of distances nearly so): a logistic regression with positives alone, a softmax's
other terms being constant. Only this vector moves, so that nothing is learnt anew.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kgservice.similarity import Metric, similarity

FIRMNESS = 1.0
"""Of the prior, over that of the entities' own spread; larger leaves a vector nearer to its guess. See `make bench-unseen`."""
STEPS = 30
TILE = 1 << 22
"""Scores held at once."""


def partition(queries: Tensor, entities: Tensor, metric: Metric) -> Tensor:
    """float `[f]`: the logarithm of the sum of exponentiated scores of all entities, for each question."""
    size = max(1, TILE // max(len(entities), 1))
    parts = [similarity(part, entities, metric).logsumexp(1) for part in torch.split(queries, size)]
    return torch.cat(parts) if parts else queries.new_empty(0)


def refined(
    guess: Tensor, owner: Tensor, queries: Tensor, competition: Tensor, *, metric: Metric, variance: float
) -> Tensor:
    """The most probable vectors, float `[a, d]`.

    Args:
        guess: float `[a, d]`, what is thought of each entity before its facts.
        owner: int64 `[f]`, whose fact each is.
        queries: float `[f, d]`, the question that each fact answers.
        competition: float `[f]`, as `partition` gives.
        metric: how vectors are compared.
        variance: of a coordinate, over the entities.
    """
    if not len(owner):
        return guess
    firmness = FIRMNESS / max(variance, 1e-12)
    moved = guess.clone().requires_grad_()
    solver = torch.optim.LBFGS([moved], lr=1.0, max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        rows = moved[owner]
        scores = (queries * rows).sum(1) if metric == "ip" else -((queries - rows) ** 2).sum(1)
        total = F.softplus(competition - scores).sum() + firmness / 2 * ((moved - guess) ** 2).sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    with torch.enable_grad():
        solver.step(loss)  # type: ignore[no-untyped-call]
    return moved.detach()
