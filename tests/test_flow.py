"""Flows: scores are divergences, computed here by other means, and spreads are those of the rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from kgservice import pipeline, scorers
from kgservice.answers import Question
from kgservice.engine import Engine
from kgservice.evaluation.ranking import rank
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split, StatementTable
from kgservice.graph.vocabulary import Vocabulary
from kgservice.query import QueryBatch
from kgservice.recipe import ModelSettings
from kgservice.scorers.flow import Flow
from kgservice.scorers.kl_flow import SPREAD_FLOOR
from kgservice.training.loop import fit
from tests.conftest import family_recipe

N, R, WIDTH = 7, 3, 12
FLOWS = ["nfe1", "nfe2", "nfe3", "nfe3-reverse"]


def make(name: str, width: int = WIDTH) -> Flow:
    settings = {"scorer": name, "width": width, "initial_scale": 0.7, "training": {"seed": 3}}
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
    (m, s), (shift, slope), (t, u) = normal(head), relation, normal(tail)
    question, object = Normal(slope * m + shift, normal(relation)[1] * s), Normal(t, u)
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
def test_a_training_step_sees_the_whole_divergence(name: str) -> None:
    """Binary losses need what a softmax drops: the constant of each question."""
    scorer = make(name)
    parts = [row.chunk(scorer.parts) for row in scorer.entity.detach()]
    queries, candidates, bias, offset = scorer.logits(torch.tensor([1, 2]), torch.tensor([0, R + 2]))
    assert offset is not None
    scores = queries @ candidates.T + (0 if bias is None else bias) + offset[:, None]
    for row, (anchor, relation) in enumerate([(1, 0), (2, R + 2)]):
        given = scorer.relation.detach()[relation].chunk(2)
        expected = torch.stack([-DIVERGENCE[name](parts[anchor], given, tail) for tail in parts])
        torch.testing.assert_close(scores[row].detach(), expected, rtol=1e-3, atol=1e-3)


def test_the_ablations_are_the_halves_of_nfe1() -> None:
    """Mean and spread of NFE-1, each alone, add up to the whole."""
    whole = make("nfe1")
    mean, spread = make("nfe1-mean", width=WIDTH // 2), make("nfe1-spread", width=WIDTH // 2)
    with torch.no_grad():
        mean.entity.copy_(whole.entity[:, : WIDTH // 2])
        mean.relation.copy_(whole.relation)
        spread.entity.copy_(whole.entity[:, WIDTH // 2 :])
        spread.relation.copy_(whole.relation[:, WIDTH // 2 :])
    for queries in (QueryBatch.objects([1, 2], [0, 1]), QueryBatch.subjects([2], [3]), QueryBatch.relations([1], [2])):
        torch.testing.assert_close(mean.scores(queries) + spread.scores(queries), whole.scores(queries))
    assert mean.spread() is None
    assert spread.spread() is not None


PATTERNS = ("symmetry", "inversion", "composition")


def made(pattern: str, n: int = 60, seed: int = 0) -> KnowledgeGraph:
    """A graph whose last relation follows from the others; half of what follows is held out."""
    random = np.random.default_rng(seed)
    order = random.permutation(n)
    if pattern == "symmetry":  # couples
        a, b = order[: n // 2], order[n // 2 :]
        given, follows = [(a, 0, b)], (b, 0, a)
    elif pattern == "inversion":  # parent and child
        given, follows = [(np.arange(n), 0, order)], (order, 1, np.arange(n))
    else:  # people were born in cities, which lie in countries
        people, city = np.arange(40), 40 + random.integers(0, 15, 40)
        cities, country = np.arange(40, 55), 55 + random.integers(0, 5, 15)
        given, follows = [(people, 0, city), (cities, 1, country)], (people, 2, country[city - 40])
    columns = np.concatenate([[part[0], np.full(len(part[0]), part[1]), part[2]] for part in (*given, follows)], axis=1)
    split = np.zeros(columns.shape[1], np.int8)
    tail = len(follows[0])
    split[len(split) - tail + random.permutation(tail)[: tail // 2]] = Split.TEST
    names = Vocabulary.build([f"e{number:02d}" for number in range(n)])
    relations = Vocabulary.build([f"r{number}" for number in range(columns[1].max() + 1)])
    return KnowledgeGraph(names, relations, StatementTable.build(*columns, split=split))


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", ["nfe1", "nfe2", "nfe3-reverse"])
def test_patterns_are_learnt(name: str, pattern: str) -> None:
    """Held-out statements that follow from a pattern are answered far above chance."""
    graph = made(pattern)
    training = {"epochs": 150, "batch_size": 64, "optimizer": "adam", "learning_rate": 0.03, "n3": 0.02}
    settings = {"scorer": name, "width": 12, "initial_scale": 0.3, "training": {**training, "precision": "float32"}}
    chosen = ModelSettings.model_validate(settings)
    scorer = scorers.build(chosen, n=graph.n, r=graph.r)
    fit(scorer, graph, chosen.training)
    assert rank(scorer, graph, Split.TEST).figures()["mrr"] > 0.4  # chance is 0.08


def test_an_answer_says_how_uncertain_it_is(family_ttl: Path, tmp_path: Path) -> None:
    """The spread over the median entity's, beside every candidate, verdict and entity; none from a model that keeps none."""
    recipe = family_recipe(scorer="nfe1")
    models = {"flow": recipe.models["complex"], "complex": family_recipe().models["complex"]}
    release = pipeline.build(recipe.model_copy(update={"models": models}), tmp_path, base=family_ttl.parent)
    engine = Engine(release)
    spread = engine.model("flow").scorer.spread()
    assert spread is not None
    relative = (spread / spread.median()).detach().numpy()
    question = [Question(subject="ex:child1", relation="ex:livesIn")]
    answer = engine.complete(question, model="flow", k=5, exclude_known=False)[0]
    for candidate in answer.candidates:
        assert candidate.uncertainty == pytest.approx(relative[engine.entities.resolve(candidate.id)])
    verdict = engine.classify([("ex:child1", "ex:livesIn", "ex:town1")], model="flow")[0]
    ends = [relative[engine.entities.resolve(name)] for name in ("ex:child1", "ex:town1")]
    assert verdict.uncertainty == pytest.approx(max(ends))
    assert engine.entity("ex:town1").uncertainty == {"flow": pytest.approx(ends[1])}
    assert engine.complete(question, model="complex")[0].candidates[0].uncertainty is None
    report = (release.folder / "report.html").read_text(encoding="utf-8")
    assert "spread" in report


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
