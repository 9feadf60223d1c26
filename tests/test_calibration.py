"""Probabilities: honest on data that follows a known law, monotone, and the same after a round trip."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kgservice import scorers
from kgservice.evaluation.calibration import (
    Calibration,
    calibrate_classification,
    completion_feature,
    corrupted,
    figures,
    statement_scores,
)
from kgservice.query import QueryBatch
from kgservice.recipe import ModelSettings
from kgservice.statements import Split, StatementTable
from tests.test_ranking import made_graph


def logistic(m: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    score = random.normal(size=m) * 3
    return score, random.random(m) < 1 / (1 + np.exp(-(2 * score - 1)))


@pytest.mark.parametrize("method", ["isotonic", "platt", "auto"])
def test_a_known_law_is_recovered(method: str) -> None:
    score, true = logistic(6000)
    made = Calibration.fit(score, true, population="made", method=method)  # type: ignore[arg-type]
    fresh, truth = logistic(6000, seed=1)
    assert figures(made.probability(fresh), truth, made.threshold)["ece"] < 0.03
    assert made.figures["ece"] < 0.03
    assert np.all(np.diff(made.probability(np.sort(fresh))) >= 0)
    assert made.probability(-np.inf) == 0.0
    again = Calibration.from_json(json.loads(json.dumps(made.to_json())))
    assert np.array_equal(again.probability(fresh), made.probability(fresh))


def test_auto_takes_the_better_log_loss() -> None:
    score, true = logistic(3000)
    losses = {
        m: Calibration.fit(score, true, population="", method=m).figures["log_loss"] for m in ("isotonic", "platt")
    }
    auto = Calibration.fit(score, true, population="", method="auto")
    assert auto.figures["log_loss"] == min(losses.values())


def test_threshold_parts_best() -> None:
    score = np.concatenate([np.linspace(-2, -1, 50), np.linspace(1, 2, 50)])
    true = score > 0
    made = Calibration.fit(score, true, population="", method="platt")
    assert made.figures["accuracy"] == 1.0
    assert np.array_equal(made.probability(score) >= made.threshold, true)


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_feature_is_a_log_distribution_and_ignores_a_shift(seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(4, 9)).astype(np.float32)
    scores[0, 5:] = -np.inf
    feature = completion_feature(scores)
    np.testing.assert_allclose(np.exp(feature).sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(feature, completion_feature(scores + np.float32(3)), atol=1e-4)


def small_scorer(graph, name: str = "complex"):
    width = 9 if name == "nfe2" else 8
    chosen = ModelSettings.model_validate({"scorer": name, "width": width, "initial_scale": 0.5})
    return scorers.build(chosen, n=graph.n, r=graph.r).eval()


@pytest.mark.parametrize("name", sorted(scorers.SCORERS))
def test_statement_scores_are_the_mean_of_both_directions(name: str) -> None:
    graph = made_graph(0)
    scorer, table = small_scorer(graph, name), graph.statements
    rows = np.arange(len(table))
    with torch.inference_mode():
        one = scorer.scores(QueryBatch.objects(table.subject, table.relation))[rows, table.object]
        other = scorer.scores(QueryBatch.subjects(table.relation, table.object))[rows, table.subject]
    found = statement_scores(scorer, table, batch_size=7)
    np.testing.assert_allclose(found, ((one + other) / 2).numpy(), rtol=1e-4, atol=1e-4)


def test_made_negatives_are_never_known() -> None:
    graph = made_graph(5, n=12, r=2, m=50)
    valid = graph.statements.in_split(Split.VALID)
    false = corrupted(graph, valid, seed=0)
    facts = set(zip(graph.statements.subject, graph.statements.relation, graph.statements.object, strict=True))
    assert len(false)
    assert not facts & set(zip(false.subject, false.relation, false.object, strict=True))


def test_population_says_which_negatives() -> None:
    graph = made_graph(5, n=12, r=2, m=80)
    made = calibrate_classification(small_scorer(graph), graph, method="platt", limit=100)
    assert made is not None
    assert "made ones" in made.population
    negatives = StatementTable.build([0, 1, 2], [0, 0, 1], [3, 4, 5], split=[1, 1, 1])
    from dataclasses import replace

    verified = calibrate_classification(
        small_scorer(graph), replace(graph, negatives=negatives), method="platt", limit=100
    )
    assert verified is not None
    assert "verified" in verified.population
