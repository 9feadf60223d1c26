"""The vector of an entity that no training has seen, from a guess and the facts that are known of it.

The scorer asks of every fact what stands in the entity's place; its vector should answer those questions better than the other
entities do. With a normal prior around the guess, as wide as the entities' vectors are spread, the most probable vector is the
least of a convex function (of inner products; of distances nearly so): a logistic regression with positives alone, a softmax's
other terms being constant. Only this vector moves, so that nothing is learnt anew.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from kgservice.similarity import Metric, similarity

FIRMNESS = 1.0
"""Of the prior, over that of the entities' own spread; larger leaves a vector nearer to its guess. See `make bench-unseen`."""
STEPS = 200
FIRST_STEP = 0.1
"""Of rows that are found step by step, in standard deviations of a coordinate."""
TOLERANCE = 1e-8
SMALLEST = 1e-9
TILE = 1 << 22
"""Scores held at once."""
Floats = npt.NDArray[np.float64]


def partition(queries: Tensor, entities: Tensor, metric: Metric) -> Tensor:
    """float `[f]`: the logarithm of the sum of exponentiated scores of all entities, for each question."""
    size = max(1, TILE // max(len(entities), 1))
    parts = [similarity(part, entities, metric).logsumexp(1) for part in torch.split(queries, size)]
    return torch.cat(parts) if parts else queries.new_empty(0)


def refined(
    guess: Tensor, owner: Tensor, queries: Tensor, competition: Tensor, *, metric: Metric, variance: float
) -> Tensor:
    """The most probable vectors, float32 `[a, d]`.

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
    found = guess.double().numpy().copy()
    firmness = FIRMNESS / max(variance, 1e-12)
    order = np.argsort(owner.numpy(), kind="stable")
    entities, starts = np.unique(owner.numpy()[order], return_index=True)
    asked, rivals = queries.double().numpy(), competition.double().numpy()
    solve = _by_products if metric == "ip" else _by_distances
    for entity, facts in zip(entities.tolist(), np.split(order, starts[1:]), strict=True):
        found[entity] = solve(found[entity], asked[facts], rivals[facts], firmness)
    return torch.from_numpy(found).float()


def settled(
    guess: Tensor,
    owner: Tensor,
    queries: Tensor,
    competition: Tensor,
    answering: Callable[[Tensor], Tensor],
    *,
    metric: Metric,
    variance: float,
) -> Tensor:
    """The same as `refined` for rows that are no vectors themselves, step by step: float32 `[a, w]`.

    The problem is not convex, and what is found is near the guess. Coordinates step for themselves (Adam, over a fixed number of
    ever shorter steps), so that an entity's row does not depend on what is put beside it.

    Args:
        guess: float `[a, w]`, rows.
        owner, queries, competition, metric: as for `refined`.
        answering: from rows to the vectors that are compared with queries.
        variance: of a coordinate of the rows, over the entities.
    """
    if not len(owner):
        return guess
    firmness, start = FIRMNESS / max(variance, 1e-12), guess.detach().double()
    asked, rivals = queries.detach().double(), competition.detach().double()
    with torch.inference_mode(False), torch.enable_grad():
        start, asked, rivals, of = (part.clone() for part in (start, asked, rivals, owner))
        rows = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([rows], lr=FIRST_STEP * variance**0.5)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        for _ in range(STEPS):
            vectors = answering(rows)[of]
            scores = (asked * vectors).sum(1) if metric == "ip" else -((asked - vectors) ** 2).sum(1)
            loss = F.softplus(rivals - scores).sum() + firmness / 2 * ((rows - start) ** 2).sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return rows.detach().float()


def guess_of(vector: Tensor, queries: Tensor, competition: Tensor, *, metric: Metric, variance: float) -> Tensor:
    """The guess, float64 `[d]`, from which `refined` finds `vector` with these facts: what else has shaped it.

    Args:
        vector: float `[d]`, as it was learnt.
        queries, competition, metric, variance: as for `refined`; the facts are all of this one entity.
    """
    firmness = FIRMNESS / max(variance, 1e-12)
    own, asked, rivals = (part.double().numpy() for part in (vector, queries, competition))
    if metric == "ip":
        return torch.from_numpy(own - asked.T @ _sigmoid(rivals - asked @ own) / firmness)
    away = own - asked
    return torch.from_numpy(own + 2 * _sigmoid(rivals + (away**2).sum(1)) @ away / firmness)


def refined_rows(
    answering: Callable[[Tensor], Tensor],
    row: Tensor,
    kept: Tensor,
    queries: Tensor,
    competition: Tensor,
    *,
    metric: Metric,
    variance: float,
) -> Tensor:
    """The most probable rows with some facts, of an entity whose vector is made of its row: found numerically.

    The guess is such that with all facts the row is the one that was learnt, as in `guess_of`; from there the sum is taken down,
    of all rows at once since none hangs on another.

    Args:
        answering: vectors, `[b, d]`, of rows, `[b, w]`.
        row: float `[w]`, as it was learnt.
        kept: bool `[a, f]`, with which facts each row is to be found.
        queries, competition, metric: as for `refined`; the facts are all of this one entity.
        variance: of a coordinate of a row, over the entities.

    Returns:
        float32 `[a, w]`.
    """
    firmness = FIRMNESS / max(variance, 1e-12)
    own, asked, rivals = row.detach().double(), queries.double(), competition.double()[:, None]

    def missed(rows: Tensor, kept: Tensor) -> Tensor:
        return (F.softplus(rivals - similarity(asked, answering(rows), metric)).T * kept).sum()

    with torch.inference_mode(False), torch.enable_grad():
        asked, rivals, own = asked.clone(), rivals.clone(), own.clone()
        start = own[None].clone().requires_grad_()
        (slope,) = torch.autograd.grad(missed(start, torch.ones(1, len(asked), dtype=torch.float64)), start)
        guess = own + slope[0] / firmness
        rows = own.expand(len(kept), -1).clone().requires_grad_()
        among = kept.clone().double()
        descent = torch.optim.LBFGS([rows], max_iter=STEPS, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

        def value() -> Tensor:
            descent.zero_grad()
            total = missed(rows, among) + firmness / 2 * ((rows - guess) ** 2).sum()
            total.backward()  # type: ignore[no-untyped-call]
            return total

        if len(rows):
            descent.step(value)  # type: ignore[no-untyped-call]
    return rows.detach().float()


def _by_products(guess: Floats, queries: Floats, rivals: Floats, firmness: float) -> Floats:
    """Newton's method in the weights of the facts: the vector is the guess and a weighted sum of the questions.

    A fact's weight is the share that its rivals still have, which falls as the vector answers it better. Steps are taken in the
    weights' logits and go down in the dual problem: Jaakkola and Haussler 1999, Probabilistic kernel regression models.
    """
    products, lead = queries @ queries.T / firmness, rivals - queries @ guess

    def value(logit: Floats) -> float:
        weight = _sigmoid(logit)
        entropy = weight * logit - np.logaddexp(0, logit)
        return float(weight @ products @ weight / 2 - lead @ weight + entropy.sum())

    logit = np.zeros(len(lead))
    for _ in range(STEPS):
        weight = _sigmoid(logit)
        missed = logit - lead + products @ weight
        # What the vector's own gradient has of each question.
        if np.abs(weight - _sigmoid(lead - products @ weight)).max() < TOLERANCE:
            break
        step = np.linalg.solve(np.eye(len(lead)) + products * (weight * (1 - weight)), missed)
        size, before = 1.0, value(logit)
        while size > SMALLEST and value(logit - size * step) > before:
            size /= 2
        if size <= SMALLEST:  # no step is better: what is left are rounding errors
            break
        logit = logit - size * step
    return guess + queries.T @ _sigmoid(logit) / firmness


def _by_distances(guess: Floats, queries: Floats, rivals: Floats, firmness: float) -> Floats:
    """Newton's method in the vector itself."""

    def value(vector: Floats) -> float:
        margins = rivals + ((vector - queries) ** 2).sum(1)
        return float(np.logaddexp(0, margins).sum() + firmness / 2 * ((vector - guess) ** 2).sum())

    vector = guess
    for _ in range(STEPS):
        away = vector - queries
        share = _sigmoid(rivals + (away**2).sum(1))
        slope = 2 * share @ away + firmness * (vector - guess)
        curve = 4 * (away.T * (share * (1 - share))) @ away
        curve[np.diag_indices_from(curve)] += 2 * share.sum() + firmness
        step = np.linalg.solve(curve, slope)
        if slope @ step < TOLERANCE:
            break
        size, before = 1.0, value(vector)
        while size > SMALLEST and value(vector - size * step) > before:
            size /= 2
        if size <= SMALLEST:
            break
        vector = vector - size * step
    return vector


def _sigmoid(values: Floats) -> Floats:
    return 0.5 * (1 + np.tanh(values / 2))
