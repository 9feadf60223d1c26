"""Vectors from facts: the optimum of the function they say they minimise."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kgservice.scorers.refining import FIRMNESS, partition, refined
from kgservice.similarity import Metric


@given(
    seed=st.integers(0, 10_000),
    metric=st.sampled_from(["ip", "l2"]),
    facts=st.integers(1, 12),
    scale=st.sampled_from([0.1, 1.0, 5.0]),
)
@settings(max_examples=60, deadline=None)
def test_nothing_nearby_is_more_probable(seed: int, metric: Metric, facts: int, scale: float) -> None:
    """The gradient vanishes at every entity's vector, whatever the number of its facts; one without facts keeps its guess."""
    generator = torch.Generator().manual_seed(seed)
    entities, guess = torch.randn(40, 5, generator=generator) * scale, torch.randn(3, 5, generator=generator)
    queries, owner = (
        torch.randn(facts, 5, generator=generator) * scale,
        torch.randint(0, 2, (facts,), generator=generator),
    )
    rivals = partition(queries, entities, metric)
    variance = float(entities.var(0).mean())
    found = refined(guess, owner, queries, rivals, metric=metric, variance=variance)
    torch.testing.assert_close(found[2], guess[2])
    moved = found.double().requires_grad_()
    rows = moved[owner]
    scores = (queries * rows).sum(1) if metric == "ip" else -((queries - rows) ** 2).sum(1)
    loss = F.softplus(rivals.double() - scores).sum() + FIRMNESS / variance / 2 * ((moved - guess) ** 2).sum()
    loss.backward()
    size = FIRMNESS / variance * (found - guess).abs().max() + queries.abs().sum() + 1
    assert moved.grad is not None
    assert float(moved.grad.abs().max() / size) < 1e-3


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_a_fact_is_answered_better(metric: Metric) -> None:
    generator = torch.Generator().manual_seed(0)
    entities, query = torch.randn(100, 8, generator=generator), torch.randn(1, 8, generator=generator)
    guess = torch.zeros(1, 8)
    rivals = partition(query, entities, metric)
    found = refined(guess, torch.zeros(1, dtype=torch.int64), query, rivals, metric=metric, variance=1.0)
    assert partition(query, found, metric) > partition(query, guess, metric)
