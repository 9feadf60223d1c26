"""Types told by vectors: the head, a release that serves it, REST and terminal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kgservice.arrays.ragged import Ragged, offsets_of
from kgservice.engine import Engine
from kgservice.errors import DataError, InvalidQuestion, UnknownEntity, UnknownModel
from kgservice.heads.types import FEWEST, TypeHead, figures, truth_of
from tests.bench.paired import Outcome, compare


def made(n: int = 600, d: int = 12, seed: int = 0) -> tuple[np.ndarray, Ragged]:
    """Three types by the signs of two coordinates; the first goes with the second, a fourth is rare, some have none."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(n, d)).astype(np.float32)
    lists = []
    for row, (x, y) in enumerate(vectors[:, :2].tolist()):
        kinds = [0, 1] if x > 0 else [2]
        kinds += [3] if row < FEWEST - 2 else []
        lists.append([] if abs(y) < 0.2 else kinds)
    values = np.array([kind for row in lists for kind in row], np.int32)
    return vectors, Ragged(offsets_of([len(row) for row in lists]), values)


def test_types_are_learnt_calibrated_and_measured_on_others() -> None:
    vectors, of_entity = made()
    head, figures = TypeHead.fit(vectors, of_entity, 4)
    assert head.types.tolist() == [0, 1, 2]
    assert figures["types_left_out"] == 1
    assert figures["micro_f1"] > 0.9
    assert figures["accuracy"] > 0.9 > figures["most_frequent_accuracy"]
    assert figures["measured"] == round(0.1 * int((of_entity.lengths > 0).sum()))
    right = vectors[:, 0] > 0
    told = head.probabilities(vectors)
    assert told[right, 0].mean() > 0.9 > 0.1 > told[~right, 0].mean()
    again, same = TypeHead.fit(vectors, of_entity, 4)
    np.testing.assert_array_equal(again.weight, head.weight)
    assert same == figures


@pytest.mark.parametrize("shift", [0.0, 100.0])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_scale_and_place_of_vectors_do_not_matter(scale: float, shift: float) -> None:
    vectors, of_entity = made()
    _, figures = TypeHead.fit(vectors * np.float32(scale) + np.float32(shift * scale), of_entity, 4)
    assert figures["micro_f1"] > 0.9


def test_shuffled_types_are_not_learnt() -> None:
    """No better than naming the most frequent type."""
    vectors, of_entity = made(n=4000)
    order = np.random.default_rng(1).permutation(len(vectors))
    _, figures = TypeHead.fit(vectors[order], of_entity, 4)
    assert figures["accuracy"] < figures["most_frequent_accuracy"] + 0.15
    assert figures["expected_calibration_error"] < 0.15


@pytest.mark.parametrize(("n", "kinds"), [(0, 0), (3, 4), (600, 0)])
def test_too_little_to_learn_tells_nothing(n: int, kinds: int) -> None:
    vectors, of_entity = made()
    few = of_entity.take(np.arange(n)) if kinds else Ragged.empty(n)
    head, figures = TypeHead.fit(vectors[:n], few, kinds)
    assert (len(head.types), figures) == (0, {})
    assert head.probabilities(vectors[:2]).shape == (2, 0)


def test_a_saved_head_is_the_same_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    vectors, of_entity = made()
    head, _ = TypeHead.fit(vectors, of_entity, 4)
    head.save(tmp_path / "types.safetensors")
    opened = TypeHead.open(tmp_path / "types.safetensors", 12)
    np.testing.assert_array_equal(opened.probabilities(vectors), head.probabilities(vectors))
    (tmp_path / "types.safetensors").write_bytes(b"no")
    with pytest.raises(DataError, match="cannot be read as a type head"):
        TypeHead.open(tmp_path / "types.safetensors", 12)
    assert len(TypeHead.open(tmp_path / "none.safetensors", 12).types) == 0


def test_the_parts_may_be_given() -> None:
    """As a task gives them: some entities of no part are neither learnt from nor measured."""
    vectors, of_entity = made()
    labelled = np.flatnonzero(of_entity.lengths)
    parts = labelled[:300], labelled[300:350], labelled[350:400]
    head, told = TypeHead.fit(vectors, of_entity, 4, parts)
    assert (told["fitted"], told["measured"]) == (300, 50)
    alone = figures(head.probabilities(vectors[parts[2]]), head.types, of_entity.take(parts[2]))
    assert {key: told[key] for key in alone} == alone


def test_two_classifiers_are_compared_entity_by_entity() -> None:
    _, of_entity = made(n=2000)
    types = np.arange(3, dtype=np.int32)
    labelled = np.flatnonzero(of_entity.lengths)
    lists = of_entity.take(labelled)
    true = truth_of(lists, types).astype(np.float32)
    noisy = np.where(np.random.default_rng(0).random((len(true), 1)) < 0.1, 1 - true, true)
    right, wrong = (Outcome.of(one, types, lists) for one in (true, noisy))
    found = compare(right, wrong, types, lists)
    assert found["accuracy"]["difference"] == pytest.approx(1 - wrong.right.mean())
    for one in found.values():
        low, high = one["interval"]
        assert 0 < low < one["difference"] < high
        assert one["p"] < 0.01
    same = compare(right, right, types, lists)["micro_f1"]
    assert (same["difference"], same["p"]) == (0, 1)


def test_the_sample_graph_tells_what_france_is(engine: Engine) -> None:
    country, city = engine.types_of(["world:France", "world:Lyon"], k=5)
    assert country.candidates[0].id == "world:Country"
    assert country.candidates[0].known
    assert country.candidates[0].probability > 0.8
    assert city.candidates[0].id == "world:City"
    probabilities = [one.probability for one in country.candidates]
    assert probabilities == sorted(probabilities, reverse=True)
    assert [one.rank for one in country.candidates] == [1, 2, 3, 4, 5]
    (other,) = engine.types_of(["world:France"], exclude_known=True)
    assert "world:Country" not in {one.id for one in other.candidates}


def test_wrong_questions_are_told(engine: Engine) -> None:
    with pytest.raises(UnknownEntity, match="world:France"):
        engine.types_of(["world:Frence"])
    with pytest.raises(UnknownModel):
        engine.types_of(["world:France"], model="other")
    with pytest.raises(InvalidQuestion, match=r"k must be in \[1, "):
        engine.types_of(["world:France"], k=0)
