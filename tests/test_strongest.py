"""Scores looked at tile by tile: sums, the highest and the best are those of all scores, rounded or not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kgservice.arrays.ragged import Ragged
from kgservice.enrichment import strongest as everything
from kgservice.enrichment.strongest import strongest
from kgservice.enrichment.sweeping import Sums
from kgservice.query import QueryBatch
from kgservice.scorers.base import VectorScorer
from kgservice.scorers.bilinear import ComplEx
from kgservice.scorers.translation import TransE


def _scorer(kind: type, seed: int = 0) -> VectorScorer:
    torch.manual_seed(seed)
    scorer = kind(70, 3, width=32)
    with torch.no_grad():
        for weights in scorer.parameters():
            weights.normal_(0, 0.7)
    found: VectorScorer = scorer.eval()
    return found


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("kind", [ComplEx, TransE])
@pytest.mark.parametrize("k", [1, 50, 3 * 70 * 70 + 5])
def test_the_strongest_are_those_of_a_sort(kind: type, k: int, rounded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everything, "ROWS", 16)
    monkeypatch.setattr(everything, "COLUMNS", 24)
    scorer, relations = _scorer(kind), np.arange(3, dtype=np.int32)
    with torch.no_grad():
        found = strongest(scorer, scorer.entity_vectors(), relations, k, rounded=rounded)
        subjects = np.arange(70, dtype=np.int32)
        every = torch.stack(
            [scorer.scores(QueryBatch.objects(subjects, np.full(70, one, np.int32))) for one in relations]
        )
    expected = every.flatten().sort(descending=True).values[:k]
    assert len(found.score) == len(expected)
    np.testing.assert_allclose(found.score, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(every[found.relation, found.subject, found.object], found.score, rtol=1e-4, atol=1e-5)
    links = {*zip(found.relation.tolist(), found.subject.tolist(), found.object.tolist(), strict=True)}
    assert len(links) == len(expected)


@pytest.mark.parametrize("expected", [2, 1 << 15])
@pytest.mark.parametrize("floor", [-np.inf, -0.5, 0.0, 2.5, np.inf])
def test_what_reaches_a_floor_is_found_once(floor: float, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many were expected, and whether they fill blocks or hardly any."""
    monkeypatch.setattr(everything, "FOUND", expected)
    scores = torch.from_numpy(np.random.default_rng(0).normal(size=(37, 91)).astype(np.float32))
    scores[3], scores[5, 7] = 0.0, torch.nan
    row, column, score = everything.reaching(scores, floor)
    wanted = (scores >= floor).nonzero(as_tuple=True)
    np.testing.assert_array_equal(np.stack([row, column]), torch.stack(wanted).numpy())
    np.testing.assert_array_equal(score, scores[wanted].numpy())


@pytest.mark.parametrize("width", [1, 7, 600, 5000])
def test_sums_are_those_of_torch(width: int) -> None:
    random = np.random.default_rng(0)
    scores = torch.from_numpy(random.normal(0, 8, (9, 3000)).astype(np.float32))
    hidden = Ragged.of(
        [sorted(random.choice(3000, size, replace=False)) for size in (0, 1, 5, 40, 0, 2999, 3000, 17, 2)]
    )
    whole = scores.clone()
    for row, columns in enumerate(hidden):
        whole[row, torch.from_numpy(columns.astype(np.int64))] = -torch.inf
    sums = Sums(9, hidden)
    for first in range(0, 9, 4):
        for start in range(0, 3000, width):
            sums.take(scores[first : first + 4, start : start + width].contiguous(), first, start)
    torch.testing.assert_close(sums.mass(), whole.logsumexp(1), rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(sums.top(), whole.amax(1))
