"""Recipes: closed, typed, and kind about mistakes."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel

from kgservice.errors import RecipeError
from kgservice.recipe import Recipe, settings, space
from kgservice.resources import share

MINIMAL = '[graph]\ndataset = "world"\n[models.complex]\n'


def load(tmp_path: Path, text: str, *overrides: str) -> Recipe:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return Recipe.load(path, overrides)


def test_defaults_and_name_from_the_file(tmp_path: Path) -> None:
    recipe = load(tmp_path, MINIMAL)
    assert (recipe.name, recipe.models["complex"].scorer, recipe.search.encoder) == (
        "mine",
        "complex",
        "all-MiniLM-L6-v2",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[graph]\ndataset='world'\n[models.a.training]\nepoch = 3",
            "models.a.training.epoch is not a setting. Did you mean models.a.training.epochs?",
        ),
        ("[graph]\ndataset='world'\ndatset='x'\n[models.a]", "graph.datset is not a setting. Did you mean graph.dataset?"),
        ("[graph]\ndataset='world'\n[models.a]\nwidth = 'wide'", "models.a.width: Input should be a valid integer"),
        ("[graph]\ndataset='world'\n[models.a]\nwidth = -1", "models.a.width: Input should be greater than or equal to 2"),
        ("[graph]\n[models.a]", "graph: give either graph.dataset or graph.sources"),
        ("[graph]\ndataset='world'\n[models]", "models: Dictionary should have at least 1 item"),
        ("[models.a]", "graph is missing"),
        ("[graph", "not TOML"),
    ],
)  # fmt: skip
def test_mistakes_name_file_key_and_mend(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, text)
    assert "mine.toml" in str(caught.value)
    assert message in str(caught.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, MINIMAL + "widht = 3\nscorrer = 'x'\n")
    assert len(str(caught.value).splitlines()) == 2


def test_missing_file() -> None:
    with pytest.raises(RecipeError, match=r"nowhere.toml: cannot be read"):
        Recipe.load(Path("nowhere.toml"))


def test_overrides(tmp_path: Path) -> None:
    recipe = load(
        tmp_path, MINIMAL, "models.complex.training.epochs=7", "search.encoder=none", "models.b.scorer=transe"
    )
    assert recipe.models["complex"].training.epochs == 7
    assert recipe.search.encoder == "none"
    assert set(recipe.models) == {"complex", "b"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs", "expected KEY=VALUE"),
        ("graph.dataset.x=1", "dataset is a setting, not a table"),
        ("models.complx.width=4", "'complx' is no model of this recipe. Did you mean 'complex'"),
        ("models.other.training.epochs=4", "Models: complex"),
        ("models.complex.training.splits=[]", "at least 1 item"),
        ("models.complex.training.seed=99999999999", "less than 2147483648"),
        ("models.complex.training.device=gpu", "should match pattern"),
    ],
)
def test_bad_overrides(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load(tmp_path, MINIMAL, override)


LIKE = MINIMAL + "width = 64\n[models.complex.training]\nepochs = 7\nn3 = 0.1\n"


def test_a_model_like_another(tmp_path: Path) -> None:
    recipe = load(
        tmp_path, LIKE + '[models.b]\nlike = "a"\nscorer = "rescal"\n[models.a]\nlike = "complex"\ntraining.n3 = 0.2'
    )
    a, b = recipe.models["a"], recipe.models["b"]
    assert (a.scorer, a.width, a.training.epochs, a.training.n3) == ("complex", 64, 7, 0.2)
    assert b == a.model_copy(update={"scorer": "rescal"})
    assert "like" not in recipe.to_toml()
    overridden = load(tmp_path, LIKE + '[models.a]\nlike = "complex"', "models.complex.width=10")
    assert overridden.models["a"].width == 10


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (
            '[models.a]\nlike = "complx"',
            "models.a.like is 'complx', which is no model of this recipe. Did you mean 'complex'?",
        ),
        ('[models.a]\nlike = ["complex"]', "models.a.like: Input should be a valid string"),
        ('[models.a]\nlike = "b"\n[models.b]\nlike = "a"', "in a circle: a → b → a"),
        ('[models.a]\nlike = "complex"\nwidht = 3', "models.a.widht is not a setting. Did you mean models.a.width?"),
    ],
)
def test_a_model_like_none(tmp_path: Path, models: str, message: str) -> None:
    with pytest.raises(RecipeError) as raised:
        load(tmp_path, LIKE + models)
    assert message in str(raised.value)
    assert "mine.toml" in str(raised.value)


def test_toml_round_trip(tmp_path: Path) -> None:
    recipe = load(tmp_path, MINIMAL, 'description="say \\"hello\\", ü"')
    assert Recipe.parse(tomllib.loads(recipe.to_toml())) == recipe
    assert Recipe.parse(tomllib.loads(recipe.to_toml())).content_hash == recipe.content_hash


def test_every_setting_has_help() -> None:
    tables = [kind for module in (settings, space) for kind in vars(module).values() if isinstance(kind, type)]
    for table in (Recipe, *(kind for kind in tables if issubclass(kind, BaseModel))):
        for name, field in table.model_fields.items():
            assert field.description, f"{table.__name__}.{name}"


@pytest.mark.parametrize("path", sorted((share() / "models").glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_that_comes_with_kgservice_is_read(path: Path) -> None:
    from kgservice import datasets, scorers

    recipe = Recipe.load(path)
    assert recipe.description
    if recipe.graph.dataset is None:
        assert all((path.parent / source).is_file() for source in recipe.graph.sources)
    else:
        assert recipe.graph.dataset in datasets.names()
    assert all(model.scorer in scorers.SCORERS for model in recipe.models.values())


@pytest.mark.parametrize("path", sorted((share() / "models").glob("*-large.toml")), ids=lambda path: path.stem)
def test_full_sized_recipes_tried_small(path: Path, mirror: Path, tmp_path: Path) -> None:
    """All their settings go together and learn, on some statements and a narrow table."""
    from kgservice import datasets, pipeline
    from kgservice.graph.statements import Split

    recipe = Recipe.load(path)
    graph = datasets.load(recipe.graph.dataset, mirror)
    train, valid = (
        np.flatnonzero(graph.statements.split == split)[:count]
        for split, count in ((Split.TRAIN, 600), (Split.VALID, 100))
    )
    graph = replace(graph, statements=graph.statements.take(np.concatenate([train, valid])))
    for name in recipe.models:
        few = [
            "width=16",
            "transformer.hidden=32",
            "training.epochs=2",
            "training.evaluate_every=1",
            "training.device=cpu",
        ]
        small = Recipe.load(path, [f"models.{name}.{change}" for change in few])
        _, history, _ = pipeline.learn(small, name, graph, tmp_path)
        assert [epoch.validation is not None for epoch in history.epochs] == [True, True]
        assert history.epochs[-1].loss < history.first_loss
