"""Flows: scores are divergences, computed here by other means, and spreads are those of the rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from kgservice import scorers
from kgservice.query import QueryBatch
from kgservice.recipe import ModelSettings
from kgservice.scorers.flow import SPREAD_FLOOR, Flow

N, R, WIDTH = 7, 3, 12
FLOWS = ["nfe1", "nfe2", "nfe3", "nfe3-reverse"]


def make(name: str) -> Flow:
    settings = {"scorer": name, "width": WIDTH, "initial_scale": 0.7, "training": {"seed": 3}}
    scorer = scorers.build(ModelSettings.model_validate(settings), n=N, r=R).eval().double()
    assert isinstance(scorer, Flow)
    return scorer


def wasserstein(head, relation, tail):
    """Squared 2-Wasserstein distance of normal variables, by quantiles."""
    (m, s), (shift, slope), (t, u) = head, relation, tail
    level = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    quantile = Normal(torch.tensor(0.0).double(), torch.tensor(1.0).double()).icdf(level)
    moved = (slope * m + shift)[:, None] + (slope * s).abs()[:, None] * quantile
    return ((moved - t[:, None] - u.abs()[:, None] * quantile) ** 2).mean(1).sum()


def pieces(head, relation, tail):
    """Mean squared difference of two flows of two pieces, by quantiles; a relation maps the flow's values."""
    (m, a, b), (shift, slope), (t, c, d) = head, relation, tail
    level = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    x = Normal(torch.tensor(0.0).double(), torch.tensor(1.0).double()).icdf(level)

    def flow(mean, below, above):
        return mean[:, None] + torch.where(x < 0, below.abs()[:, None], above.abs()[:, None]) * x

    # A negative slope turns the variable around; it is described again as a rising flow of x.
    below, above = torch.where(slope < 0, b, a), torch.where(slope < 0, a, b)
    moved = flow(slope * m + shift, slope * below, slope * above)
    return ((moved - flow(t, c, d)) ** 2).mean(1).sum()


def normal(rows):
    mean, spread = rows
    return mean, torch.nn.functional.softplus(spread) + SPREAD_FLOOR


def kl(head, relation, tail, *, reverse=False):
    (m, s), (shift, slope), (t, u) = normal(head), normal(relation), normal(tail)
    question, object = Normal(slope * m + shift, slope * s), Normal(t, u)
    return (kl_divergence(object, question) if reverse else kl_divergence(question, object)).sum()


DIVERGENCE = {
    "nfe1": wasserstein,
    "nfe2": pieces,
    "nfe3": kl,
    "nfe3-reverse": lambda *given: kl(*given, reverse=True),
}


@pytest.mark.parametrize("name", FLOWS)
def test_a_score_is_minus_the_divergence(name: str) -> None:
    scorer = make(name)
    parts = [row.chunk(scorer.parts) for row in scorer.entity.detach()]
    relations = [row.chunk(2) for row in scorer.relation.detach()]
    assert any((relation[1] < 0).any() for relation in relations) or name.startswith("nfe3")
    by_object = scorer.scores(QueryBatch.objects([1, 2, 3], [0, 1, 2])).detach()
    for row, (anchor, relation) in enumerate([(1, 0), (2, 1), (3, 2)]):
        expected = torch.stack([-DIVERGENCE[name](parts[anchor], relations[relation], tail) for tail in parts])
        difference = by_object[row] - expected
        torch.testing.assert_close(difference, difference[:1].expand(N), rtol=1e-3, atol=1e-3)
        if name in ("nfe1", "nfe2"):
            torch.testing.assert_close(by_object[row], expected, rtol=1e-3, atol=1e-3)
    by_relation = scorer.scores(QueryBatch.relations([1, 2, 3], [4, 5, 6])).detach()
    for row, (anchor, tail) in enumerate([(1, 4), (2, 5), (3, 6)]):
        expected = torch.stack([-DIVERGENCE[name](parts[anchor], relation, parts[tail]) for relation in relations[:R]])
        torch.testing.assert_close(by_relation[row], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", FLOWS)
def test_subject_questions_use_the_inverse_relation(name: str) -> None:
    scorer = make(name)
    scores = scorer.scores(QueryBatch.subjects([1], [4])).detach()[0]
    parts = [row.chunk(scorer.parts) for row in scorer.entity.detach()]
    inverse = scorer.relation.detach()[R + 1].chunk(2)
    expected = torch.stack([-DIVERGENCE[name](parts[4], inverse, subject) for subject in parts])
    difference = scores - expected
    torch.testing.assert_close(difference, difference[:1].expand(N), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", FLOWS)
def test_spread(name: str) -> None:
    scorer = make(name)
    before = scorer.spread().detach().numpy()
    assert before.shape == (N,)
    assert (before > 0).all()
    d = WIDTH // scorer.parts
    with torch.no_grad():
        scorer.entity[2, d:] = 9.0
    after = scorer.spread().detach().numpy()
    assert np.argmax(after) == 2
    np.testing.assert_allclose(np.delete(after, 2), np.delete(before, 2))
