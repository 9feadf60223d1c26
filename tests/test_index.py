"""Every index against the exhaustive one, by value; and the exhaustive one against numpy."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kgservice import index as indexes
from kgservice.arrays.ragged import Ragged
from kgservice.errors import DataError, RecipeError
from kgservice.index import ExactIndex, LayeredIndex, rounding, selection
from kgservice.index import exact as exact_module

SPECS = ["exact", "Flat", "IVF8,Flat", "HNSW16", "IVF8,SQ8", "PCA8,Flat"]
if os.environ.get("KGSERVICE_MILVUS_URL"):  # `make test-milvus` starts a server
    SPECS += ["milvus:FLAT", "milvus:HNSW,M=16,efConstruction=100;ef=64", "milvus:IVF_FLAT,nlist=8;nprobe=4"]
ORACLES = ("exact", "Flat", "milvus:FLAT")


def made(n: int, d: int, seed: int, *, ties: bool = False) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if ties:
        return torch.randint(-1, 2, (n, d), generator=generator).float()
    return torch.randn(n, d, generator=generator)


def brute_force(
    queries: torch.Tensor, vectors: torch.Tensor, metric: str, k: int, exclude: Ragged | None, allow: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    q, e = queries.double().numpy(), vectors.double().numpy()
    scores = q @ e.T if metric == "ip" else -((q[:, None] - e[None]) ** 2).sum(-1)
    ids = np.full((len(q), k), -1, dtype=np.int32)
    values = np.full((len(q), k), -np.inf)
    for row in range(len(q)):
        live = np.ones(len(e), bool) if allow is None else allow.copy()
        if exclude is not None:
            live[exclude[row]] = False
        best = sorted(np.flatnonzero(live), key=lambda i: (-scores[row, i], i))[:k]
        ids[row, : len(best)], values[row, : len(best)] = best, scores[row, best]
    return ids, values


@given(
    seed=st.integers(0, 10_000),
    metric=st.sampled_from(["ip", "l2"]),
    ties=st.booleans(),
    k=st.sampled_from([1, 3, 10, 60]),
    tile=st.sampled_from([7, 16, 1000]),
    filtered=st.booleans(),
    restricted=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_exact_is_exact(
    seed: int, metric: str, ties: bool, k: int, tile: int, filtered: bool, restricted: bool
) -> None:
    """By score down, then id up; ties, filters, tiles and padding included."""
    random = np.random.default_rng(seed)
    vectors, queries = made(50, 6, seed, ties=ties), made(5, 6, seed + 1, ties=ties)
    exclude = (
        Ragged.of([random.choice(50, random.integers(0, 20), replace=False) for _ in range(5)]) if filtered else None
    )
    allow = random.random(50) < 0.4 if restricted else None
    before, exact_module.TILE = exact_module.TILE, tile
    try:
        ids, scores = ExactIndex(vectors, metric).search(queries, k, exclude, allow)
    finally:
        exact_module.TILE = before
    wanted_ids, wanted = brute_force(queries, vectors, metric, k, exclude, allow)
    assert ids.shape == scores.shape == (5, k)
    assert ids.dtype == np.int32
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, wanted, rtol=1e-4, atol=1e-4)
    if ties or np.array_equal(ids, wanted_ids):
        assert np.array_equal(ids, wanted_ids)


def alike(random: np.random.Generator, n: int, d: int) -> torch.Tensor:
    """Rows of which many are equal, or nearly so, or far longer than the others."""
    rows = random.normal(size=(n, d)).astype(np.float32)
    few = rows[random.integers(0, max(n // 20, 1), n)]
    kind = random.integers(0, 4, n)[:, None]
    rows = np.where(kind == 1, few, np.where(kind == 2, few + 1e-6 * rows, np.where(kind == 3, 30 * rows, rows)))
    return torch.from_numpy(rows.astype(np.float32))


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_rounded_products_give_the_scores_of_float64(metric: str, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same ids and the same scores, whatever the tiles, the batch, the precision and the likeness of candidates."""
    monkeypatch.setattr(rounding, "fast_bfloat16", lambda device: fast)
    random = np.random.default_rng(0)
    for turn in range(40):
        n, d, b, k = (int(random.integers(1, most)) for most in (6000, 40, 6, 80))
        vectors, queries = alike(random, n, d), torch.from_numpy(random.normal(size=(b, d)).astype(np.float32))
        if turn % 4 == 0:
            vectors = vectors.half()
        exclude = Ragged.of([random.choice(n, int(random.integers(0, min(n, 50))), replace=False) for _ in range(b)])
        allow = random.random(n) < random.choice([0.2, 0.8]) if turn % 3 else None
        for name, value in (("TILE", 6000), ("LEAST", int(random.integers(1, 3000))), ("SCORES", 1)):
            monkeypatch.setattr(exact_module, name, value)
        for name, value in (("LEAST", exact_module.LEAST), ("TOGETHER", 4), ("TOGETHER_LAID", 4)):
            monkeypatch.setattr(rounding, name, value)
        monkeypatch.setattr(selection, "ROOM", int(random.choice([0, 64, 4096])))
        index = ExactIndex(vectors, metric)  # type: ignore[arg-type]
        ids, scores = index.search(queries, k, exclude, allow)
        wide, asked = vectors.double().numpy(), queries.double().numpy()
        true = asked @ wide.T if metric == "ip" else -((asked[:, None] - wide[None]) ** 2).sum(-1)
        for row in range(b):
            live = np.ones(n, bool) if allow is None else allow.copy()
            live[exclude[row]] = False
            places = np.flatnonzero(live)
            rounded = true[row, places].astype(np.float32)
            best = np.argsort(-rounded, kind="stable")[:k]
            np.testing.assert_allclose(scores[row, : len(best)], rounded[best], rtol=2e-7, atol=1e-12)
            # Float64 sums in another order may round to the neighbouring float32, and so change places.
            same = ids[row, : len(best)] == places[best]
            apart = np.abs(scores[row, : len(best)] - true[row, ids[row, : len(best)]])
            assert (same | (apart <= 2e-7 * np.abs(scores[row, : len(best)]))).all()
            assert same.mean() > 0.95
            assert (ids[row, len(best) :] == -1).all()
        alone = [index.search(queries[row : row + 1], k, exclude.take([row]), allow) for row in range(b)]
        assert np.array_equal(ids, np.concatenate([one[0] for one in alone]))
        assert np.array_equal(scores, np.concatenate([one[1] for one in alone]))


@pytest.mark.parametrize("fast", [True, False])
def test_what_is_no_number_is_no_answer(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "fast_bfloat16", lambda device: fast)
    vectors, queries = made(200, 8, 0), made(2, 8, 1)
    vectors[3, 2], vectors[5, 1], vectors[7] = torch.nan, -torch.inf, 1e30
    ids, scores = ExactIndex(vectors, "ip").search(queries, 300)
    for row in range(2):
        true = (queries[row].double() @ vectors.double().T).numpy().astype(np.float32)
        real = np.flatnonzero(np.isfinite(true) | (true == np.inf))
        assert ids[row][ids[row] >= 0].tolist() == real[np.argsort(-true[real], kind="stable")].tolist()
        assert not np.isnan(scores).any()


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("spec", SPECS)
def test_every_index_obeys_its_contract(spec: str, metric: str) -> None:
    vectors, queries = made(600, 16, 0), made(20, 16, 1)
    index, oracle = indexes.build(spec, vectors, metric), ExactIndex(vectors, metric)
    assert len(index) == 600
    random = np.random.default_rng(0)
    exclude = Ragged.of([random.choice(600, size, replace=False) for size in range(20)])
    allow = random.random(600) < 0.5
    for chosen in (None, exclude):
        for allowed in (None, allow):
            ids, scores = index.search(queries, 10, chosen, allowed)
            assert np.all(np.diff(scores, axis=1)[np.isfinite(scores[:, 1:])] <= 1e-6)
            for row in range(20):
                found = ids[row][ids[row] >= 0]
                assert len(set(found.tolist())) == len(found)
                if chosen is not None:
                    assert not set(found.tolist()) & set(chosen[row].tolist())
                if allowed is not None:
                    assert allowed[found].all()
            if spec in ORACLES:
                truth, values = oracle.search(queries, 10, chosen, allowed)
                assert np.array_equal(ids, truth)
                np.testing.assert_allclose(scores, values, rtol=1e-4, atol=1e-4)
    assert 0 < indexes.recall(index, oracle, queries) <= 1
    assert indexes.recall(oracle, oracle, queries) == 1


def test_a_wide_exclude_still_leaves_k() -> None:
    vectors = made(300, 8, 0)
    index = indexes.build("IVF4,Flat", vectors, "ip")
    exclude = Ragged.of([list(range(250))])
    ids, _ = index.search(made(1, 8, 5), 10, exclude)
    assert (ids >= 250).sum() > 0


@pytest.mark.parametrize("spec", SPECS)
def test_saved_index_is_loaded(spec: str, tmp_path: Path) -> None:
    vectors, queries = made(500, 8, 0), made(4, 8, 1)
    index = indexes.build(spec, vectors, "ip")
    index.save(tmp_path / "index")
    again = indexes.load(spec, tmp_path / "index", vectors, "ip")
    assert np.array_equal(index.search(queries, 5)[0], again.search(queries, 5)[0])


def test_an_index_of_another_metric_is_refused(tmp_path: Path) -> None:
    vectors = made(500, 8, 0)
    indexes.build("IVF8,Flat", vectors, "ip").save(tmp_path / "index.faiss")
    with pytest.raises(DataError, match="where metric 1, 500 × 8 was expected"):
        indexes.load("IVF8,Flat", tmp_path / "index.faiss", vectors, "l2")


def test_what_an_engine_does_not_reach_is_scored() -> None:
    vectors, queries = made(300, 8, 0), made(3, 8, 5)
    index = indexes.build("Flat", vectors, "ip")
    index._nearest.reach = 40
    exclude = Ragged.of([list(range(0, 290)), list(range(60)), []])
    ids, scores = index.search(queries, 20, exclude)
    wanted, values = ExactIndex(vectors, "ip").search(queries, 20, exclude)
    assert np.array_equal(ids, wanted)
    np.testing.assert_allclose(scores, values, rtol=1e-4)


def test_milvus_is_asked_for_by_address(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pymilvus")
    monkeypatch.delenv("KGSERVICE_MILVUS_URL", raising=False)
    with pytest.raises(DataError, match="needs KGSERVICE_MILVUS_URL, such as http"):
        indexes.build("milvus:FLAT", made(5, 4, 0), "ip")
    with pytest.raises(RecipeError, match="'M' is not NAME=NUMBER"):
        indexes.build("milvus:HNSW,M", made(5, 4, 0), "ip")


def test_nonsense_is_refused_by_name() -> None:
    with pytest.raises(RecipeError, match="index = 'IVFF': FAISS refuses it over"):
        indexes.build("IVFF", made(50, 8, 0), "ip")


@given(
    seed=st.integers(0, 10_000),
    metric=st.sampled_from(["ip", "l2"]),
    k=st.sampled_from([1, 3, 10, 70]),
    added=st.sampled_from([0, 1, 12]),
    filtered=st.booleans(),
    restricted=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_layers_are_one_index(seed: int, metric: str, k: int, added: int, filtered: bool, restricted: bool) -> None:
    """What was added behind an index is searched as if it had been there, but for what may not answer."""
    random = np.random.default_rng(seed)
    vectors, queries = made(50 + added, 6, seed, ties=True), made(5, 6, seed + 1, ties=True)
    able = random.random(added) < 0.7
    lists = [random.choice(50 + added, random.integers(0, 20), replace=False) for _ in range(5)]
    exclude = Ragged.of(lists) if filtered else None
    allow = random.random(50 + added) < 0.5 if restricted else None
    layered = LayeredIndex(ExactIndex(vectors[:50], metric), ExactIndex(vectors[50:], metric), able)
    ids, scores = layered.search(queries, k, exclude, allow)
    every = np.concatenate([np.ones(50, bool), able]) & (True if allow is None else allow)
    expected = brute_force(queries, vectors, metric, k, exclude, every)
    np.testing.assert_array_equal(ids, expected[0])
    np.testing.assert_allclose(scores, expected[1], rtol=1e-5)
