"""Search by meaning among many vectors: an index names candidates, the vectors rank them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kgservice.errors import DataError
from kgservice.search.dense import APPROXIMATE_FROM, DenseIndex, nearest

COUNT, WIDTH = APPROXIMATE_FROM + 2_000, 16


def clustered(count: int, seed: int) -> np.ndarray:
    centre = np.random.default_rng(0).standard_normal((200, WIDTH))
    random = np.random.default_rng(seed)
    rows = centre[random.integers(0, 200, count)] + 0.4 * random.standard_normal((count, WIDTH))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def many() -> DenseIndex:
    entity = np.arange(0, 2 * COUNT, 2, dtype=np.int32)
    return DenseIndex.of(entity, clustered(COUNT, 1), "made")


def test_few_vectors_are_all_scored() -> None:
    assert DenseIndex.of(np.arange(9, dtype=np.int32), clustered(9, 1), "made").index is None


def test_an_index_finds_nearly_all_and_scores_exactly(many: DenseIndex) -> None:
    queries = clustered(100, 2)
    truth, cosines = nearest(queries, many.vectors.astype(np.float32), 10)
    found = many.search(queries, 10)
    hits = [
        len({entity for entity, _ in one} & set((2 * rows).tolist())) for one, rows in zip(found, truth, strict=True)
    ]
    assert np.mean(hits) / 10 > 0.95
    for one, query in zip(found, queries, strict=True):
        scores = [cosine for _, cosine in one]
        assert (np.diff(scores) < 1e-5).all()
        exact = [float(query @ many.vectors[entity // 2]) for entity, _ in one]
        np.testing.assert_allclose(scores, exact, atol=1e-6)
    assert [one[0][1] for one in found] <= (cosines[:, 0] + 1e-6).tolist()


@pytest.mark.parametrize("share", [0.98, 0.01, 0.0])
def test_what_is_not_allowed_is_not_found(many: DenseIndex, share: float) -> None:
    allowed = np.random.default_rng(3).random(2 * COUNT) < share
    for one in many.search(clustered(20, 4), 10, allowed):
        assert all(allowed[entity] for entity, _ in one)
        assert len(one) == (10 if share else 0)


def test_a_saved_index_answers_the_same(many: DenseIndex, tmp_path: Path) -> None:
    many.save(tmp_path / "dense.safetensors")
    again = DenseIndex.open(tmp_path / "dense.safetensors")
    assert again.vectors.dtype == np.float16
    for one, other in zip(many.search(clustered(20, 5), 10), again.search(clustered(20, 5), 10), strict=True):
        assert [entity for entity, _ in one][:3] == [entity for entity, _ in other][:3]
    few = np.zeros(2 * COUNT, dtype=bool)
    few[:200] = True
    assert len(again.search(clustered(1, 6), 5, few)[0]) == 5
    (tmp_path / "dense.faiss").write_bytes(b"no index")
    with pytest.raises(DataError, match=r"dense\.faiss cannot be read"):
        DenseIndex.open(tmp_path / "dense.safetensors")
