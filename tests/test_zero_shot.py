"""Types told by their texts: the map, a release that serves it, REST and terminal."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from kgservice.answers import Described
from kgservice.arrays.ragged import Ragged
from kgservice.encoders.describing import described_types
from kgservice.engine import Engine
from kgservice.errors import DataError, InvalidQuestion, UnknownName
from kgservice.heads.zero_shot import FEWEST_TYPES, ZeroShot
from kgservice.pipeline.measuring import tell_by_text
from kgservice.release import Release, ReleaseStore
from kgservice.server.app import create_app
from kgservice.server.settings import ServerSettings

W, D = 8, 16


def made(n: int = 3000, c: int = 60, seed: int = 0) -> tuple[np.ndarray, Ragged, np.ndarray, np.ndarray]:
    """Vectors `[n, d]`, a fixed map of the texts `[c, w]` of the types with noise; entities' own texts `[n, w]` say nothing."""
    random = np.random.default_rng(seed)
    classes = random.normal(size=(c, W)).astype(np.float32)
    classes /= np.linalg.norm(classes, axis=1, keepdims=True)
    kind = random.integers(0, c, n)
    vectors = classes[kind] @ random.normal(size=(W, D)) + 0.1 * random.normal(size=(n, D))
    texts = random.normal(size=(n, W)).astype(np.float32)
    return vectors.astype(np.float32), Ragged.of([[one] for one in kind.tolist()]), classes, texts


def test_types_that_no_entity_was_known_to_have_are_told_through_others() -> None:
    vectors, of_entity, classes, texts = made()
    hidden = 5
    known = Ragged.of([[one for one in of_entity[row].tolist() if one >= hidden] for row in range(len(vectors))])
    head, figures = ZeroShot.fit(vectors, known, classes, lambda rows: texts[rows], "e")
    assert figures["both"]["roc_auc"] > 0.95 > 0.6 > figures["random"]["roc_auc"] > 0.4
    assert figures["both"]["mrr"] > 0.8 > 0.5 > figures["cosine"]["mrr"]
    assert figures["expected_calibration_error"] < 0.1
    rows = np.flatnonzero(of_entity.values < hidden)
    told = head.probabilities(vectors[rows], texts[rows], classes[:hidden])
    right = told.argmax(axis=1) == of_entity.values[rows]
    assert right.mean() > 0.9
    assert told[right].max(axis=1).mean() > 0.5 > told.mean()
    again, same = ZeroShot.fit(vectors, known, classes, lambda rows: texts[rows], "e")
    np.testing.assert_array_equal(again.weight, head.weight)
    assert same == figures


def test_an_entity_without_a_text_is_told_by_its_vector_alone() -> None:
    vectors, of_entity, classes, texts = made()
    head, _ = ZeroShot.fit(vectors, of_entity, classes, lambda rows: texts[rows], "e")
    assert not head.cosine(np.zeros((2, W), np.float32), classes).any()
    assert head.cosine(texts[:2], classes).any()


def test_shuffled_types_are_told_no_better_than_at_random() -> None:
    vectors, of_entity, classes, texts = made()
    order = np.random.default_rng(1).permutation(len(vectors))
    _, figures = ZeroShot.fit(vectors[order], of_entity, classes, lambda rows: texts[rows], "e")
    assert abs(figures["both"]["roc_auc"] - 0.5) < 0.1


@pytest.mark.parametrize("c", [0, FEWEST_TYPES - 1])
def test_too_few_types_with_texts_tell_nothing(c: int) -> None:
    vectors, of_entity, classes, texts = made(n=500)
    classes[c:] = 0
    head, figures = ZeroShot.fit(vectors, of_entity, classes, lambda rows: texts[rows], "e")
    assert (head.encoder, figures) == ("", {})


def test_a_saved_head_is_the_same_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    vectors, of_entity, classes, texts = made()
    head, _ = ZeroShot.fit(vectors, of_entity, classes, lambda rows: texts[rows], "e")
    path = tmp_path / "zero_shot.safetensors"
    head.save(path)
    opened = ZeroShot.open(path)
    assert opened.encoder == "e"
    arguments = vectors[:9], texts[:9], classes
    np.testing.assert_array_equal(opened.probabilities(*arguments), head.probabilities(*arguments))
    path.write_bytes(b"no")
    with pytest.raises(DataError, match="cannot be read as a zero-shot head"):
        ZeroShot.open(path)
    ZeroShot.none().save(path)
    assert ZeroShot.open(path).encoder == ZeroShot.open(tmp_path / "none").encoder == ""


@pytest.fixture(scope="module")
def bare(release_store: ReleaseStore) -> Engine:
    """Of a release whose recipe names no encoder."""
    return Engine(release_store.get())


@pytest.fixture(scope="module")
def engine(bare: Engine, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Of the same release with what tells types by their texts beside its models."""
    folder = tmp_path_factory.mktemp("told") / "release"
    shutil.copytree(bare.release.folder, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KGSERVICE_HOME", str(folder.parent))
        for name in bare.release.models:
            if len(bare.model(name).type_head.types):
                vectors = np.asarray(bare.model(name).vectors[np.arange(bare.graph.n)])
                head, figures = tell_by_text(bare.graph, vectors, "all-MiniLM-L6-v2")
                assert figures["types"] >= FEWEST_TYPES
                head.save(folder / "models" / name / "zero_shot.safetensors")
    return Engine(Release(folder, bare.release.manifest))


MOUNTAIN = Described("mountain", "large landform that rises above its surroundings")


def test_given_types_are_told_by_examples_or_by_their_texts(engine: Engine) -> None:
    (answer,) = engine.types_of(["world:Lyon"], types=["world:City", "world:Country", MOUNTAIN])
    assert answer.candidates[0].id == "world:City"
    assert {one.id: one.basis for one in answer.candidates} == {
        "world:City": "examples",
        "world:Country": "examples",
        "": "text",
    }
    assert "by text" in answer.population
    described = next(one for one in answer.candidates if not one.id)
    assert (described.label, described.known) == ("mountain", False)
    assert 0 < described.probability < 1
    (other,) = engine.types_of(["world:Lyon"], types=["world:City", MOUNTAIN], exclude_known=True)
    assert [one.label for one in other.candidates] == ["mountain"]
    (alone,) = engine.types_of(["world:Lyon"], types=["world:Country"])
    (every,) = engine.types_of(["world:Lyon"], k=100)
    assert alone.candidates[0].probability == next(
        one.probability for one in every.candidates if one.id == "world:Country"
    )
    assert alone.population == every.population


def test_a_type_too_rare_to_be_learnt_is_told_by_its_text(engine: Engine) -> None:
    types, learnt = engine.graph.types, engine.model().type_head.types
    rare = [one for one in range(len(types)) if one not in learnt and described_types(engine.graph, "{label}")[one]]
    name = types.vocabulary.name(rare[0])
    (answer,) = engine.types_of([engine.graph.entities.name(int(types.members[rare[0]][0]))], types=[name])
    assert (answer.candidates[0].basis, answer.candidates[0].known) == ("text", True)


def test_types_that_cannot_be_told_are_told_of(engine: Engine, bare: Engine) -> None:
    with pytest.raises(InvalidQuestion, match="takes a text encoder"):
        bare.types_of(["world:Lyon"], types=[MOUNTAIN])
    with pytest.raises(InvalidQuestion, match="has neither"):
        engine.types_of(["world:Lyon"], types=[Described()])
    with pytest.raises(UnknownName, match="world:City"):
        engine.types_of(["world:Lyon"], types=["world:Citty"])


def test_described_types_over_rest(engine: Engine) -> None:
    client = TestClient(create_app(engine, ServerSettings(home=Path())))
    described = {"label": MOUNTAIN.label, "description": MOUNTAIN.description}
    body = {"entities": ["world:Lyon", "world:France"], "types": ["world:City", described]}
    answers = client.post("/v1/types", json=body).json()["answers"]
    expected = engine.types_of(["world:Lyon", "world:France"], types=["world:City", MOUNTAIN])
    assert [one["candidates"] for one in answers] == [[asdict(one) for one in each.candidates] for each in expected]
    wrong = client.post("/v1/types", json={**body, "types": [{"lable": "mountain"}]})
    assert wrong.status_code == 422
    assert "Did you mean label" in wrong.text
    unknown = client.get("/v1/entities/world:Lyon/types", params={"type": "world:Citty"})
    assert unknown.status_code == 404
    assert "world:City" in unknown.text
