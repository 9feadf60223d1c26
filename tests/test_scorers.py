"""Scores computed by hand on a few numbers."""

from __future__ import annotations

import math

import pytest
import torch

from kgservice import scorers
from kgservice.errors import RecipeError
from kgservice.query import QueryBatch
from kgservice.recipe import ModelSettings


def scorer_with(name: str, entity: list[list[float]], relation: list[list[float]]):
    chosen = ModelSettings.model_validate({"scorer": name, "width": len(entity[0]), "reciprocal": False})
    scorer = scorers.build(chosen, n=len(entity), r=len(relation))
    with torch.no_grad():
        scorer.entity.copy_(torch.tensor(entity))
        scorer.relation.copy_(torch.tensor(relation))
    return scorer.eval()


def test_distmult() -> None:
    scorer = scorer_with("distmult", [[1, 2], [3, -1]], [[2, 5]])
    assert scorer.scores(QueryBatch.objects([0], [0])).tolist() == [[1 * 2 * 1 + 2 * 5 * 2, 1 * 2 * 3 - 2 * 5 * 1]]


def test_complex() -> None:
    # s = 1+2i, r = 3−i, o = 2+i: Re(s r ō) = Re((5+5i)(2−i)) = 15
    scorer = scorer_with("complex", [[1, 2], [2, 1]], [[3, -1]])
    assert scorer.scores(QueryBatch.objects([0], [0]))[0, 1].item() == pytest.approx(15)
    # the other way round: Re(o r s̄) = Re((2+i)(3−i)(1−2i)) = Re((7+i)(1−2i)) = 9
    assert scorer.scores(QueryBatch.objects([1], [0]))[0, 0].item() == pytest.approx(9)


def test_rescal() -> None:
    scorer = scorer_with("rescal", [[1, 2], [3, 4]], [[1, 2, 3, 4]])
    # sᵀ R o = [1 2] [[1 2] [3 4]] [3 4]ᵀ = [7 10]·[3 4] = 61
    assert scorer.scores(QueryBatch.objects([0], [0]))[0, 1].item() == pytest.approx(61)


def test_transe() -> None:
    scorer = scorer_with("transe", [[1, 2], [3, 4]], [[1, 1]])
    assert scorer.scores(QueryBatch.objects([0], [0])).tolist() == [[-2.0, -2.0]]


def test_rotate_by_a_right_angle() -> None:
    # i · (1 + 2i) = −2 + i
    scorer = scorer_with("rotate", [[1, 2], [-2, 1]], [[math.pi / 2]])
    scores = scorer.scores(QueryBatch.objects([0], [0]))[0]
    assert scores[1].item() == pytest.approx(0, abs=1e-5)
    assert scores[0].item() == pytest.approx(-((-2 - 1) ** 2 + (1 - 2) ** 2), abs=1e-4)


def test_unknown_scorer() -> None:
    with pytest.raises(
        RecipeError,
        match=r"'complx' is not a scorer. Known: bi-encoder, .*complex, context, distmult, hyperformer, .*stare, .*transe",
    ):
        scorers.build(ModelSettings.model_validate({"scorer": "complx"}), n=2, r=1)
