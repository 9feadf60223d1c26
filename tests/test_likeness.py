"""Entities that are like one, by the vectors of a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from kgservice.arrays.layers import Layers
from kgservice.engine import Engine
from kgservice.engine.likeness import _nearest
from kgservice.errors import InvalidQuestion, UnknownEntity, UnknownModel
from kgservice.server.app import create_app
from kgservice.server.settings import ServerSettings


@pytest.fixture(scope="module")
def engine(family_engine: Engine) -> Engine:
    return family_engine


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[TestClient]:
    with TestClient(create_app(engine, ServerSettings(home=Path()))) as client:
        yield client


def test_the_most_alike_by_cosine(engine: Engine) -> None:
    vectors = engine.model().vectors.base.double().numpy()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    own = engine.entities.find("ex:child3")
    cosine = unit @ unit[own]
    cosine[own] = -2
    answer = engine.similar_to("ex:child3", k=5)
    assert (answer.entity.label, answer.model, answer.release) == ("Child 3", "complex", engine.release_name)
    assert [one.rank for one in answer.similar] == [1, 2, 3, 4, 5]
    np.testing.assert_allclose([one.similarity for one in answer.similar], np.sort(cosine)[::-1][:5], atol=1e-5)
    assert all(one.label and one.types for one in answer.similar)
    assert len(engine.similar_to("ex:child3", k=1000).similar) == engine.graph.n - 1


def test_types_restrict_before_the_cut(engine: Engine) -> None:
    towns = engine.similar_to("ex:child3", k=10, types=["ex:Town"]).similar
    assert sorted(one.id for one in towns) == ["ex:town0", "ex:town1", "ex:town2"]
    assert [one.id for one in engine.similar_to("ex:town0", types=["ex:Town"]).similar if one.id == "ex:town0"] == []


def test_over_http(client: TestClient, engine: Engine) -> None:
    found = client.get("/v1/entities/ex:child3/similar", params={"k": 2, "type": "ex:Person"}).json()
    answer = engine.similar_to("ex:child3", k=2, types=["ex:Person"])
    assert [one["id"] for one in found["similar"]] == [one.id for one in answer.similar]
    assert client.get("/v1/entities/ex:nobody/similar").status_code == 404
    assert client.get("/v1/entities/ex:child3/similar?model=none").json()["type"] == "/problems/unknown-model"
    assert client.get("/v1/entities/ex:child3/similar?k=0").status_code == 422


def test_wrong_questions(engine: Engine) -> None:
    with pytest.raises(UnknownEntity):
        engine.similar_to("ex:nobody")
    with pytest.raises(UnknownModel):
        engine.similar_to("ex:child3", model="none")
    with pytest.raises(InvalidQuestion, match="k must be"):
        engine.similar_to("ex:child3", k=0)
    with pytest.raises(InvalidQuestion, match="no vector"):
        _nearest(Layers.of(torch.zeros(3, 2)), 0, 1, np.ones(3, bool), "text")


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 60), st.integers(1, 70), st.integers(0, 10_000))
def test_equal_ones_are_taken_by_id(n: int, k: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = random.integers(1, 3, (n, 2)).astype(np.float32)
    allow = random.random(n) < 0.7
    ids, cosine = _nearest(Layers.of(torch.from_numpy(vectors)), 0, k, allow, "made")
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    exact = np.round(unit @ unit[0], 5)
    expected = sorted((place for place in range(1, n) if allow[place]), key=lambda place: (-exact[place], place))[:k]
    assert len(ids) == len(expected)
    np.testing.assert_allclose(sorted(cosine, reverse=True), exact[expected], atol=1e-4)
    assert 0 not in ids
