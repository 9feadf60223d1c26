"""Recipes: closed, typed TOML that says which graph, which models, and how they are trained, measured and indexed.

Every setting has its one default and its help in `settings`; `docs/recipes.md` is generated from them. An unknown key is an
error that names the closest setting.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from kgservice.errors import RecipeError
from kgservice.recipe.mistakes import mistakes
from kgservice.recipe.settings import (
    CalibrationSettings,
    ContextSettings,
    DistilSettings,
    GraphSettings,
    ModelSettings,
    SearchSettings,
    Settings,
    SplitSettings,
    TextSettings,
    TrainingSettings,
    TransformerSettings,
    WeightsSettings,
)
from kgservice.recipe.space import TUNABLE, Range, SearchSpace
from kgservice.recipe.tables import change, inherited, toml_lines

__all__ = [
    "TUNABLE",
    "CalibrationSettings",
    "ContextSettings",
    "DistilSettings",
    "GraphSettings",
    "ModelSettings",
    "Range",
    "Recipe",
    "SearchSettings",
    "SearchSpace",
    "SplitSettings",
    "TextSettings",
    "TrainingSettings",
    "TransformerSettings",
    "WeightsSettings",
]

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class Recipe(Settings):
    """A graph, the models learnt from it, and the search index beside them."""

    name: Name = Field(description="Short name, used in run folders and cards.")
    description: str = Field("", description="One sentence for people.")
    graph: GraphSettings = Field(description="See [graph].")
    models: dict[Name, ModelSettings] = Field(min_length=1, description="One table per model: [models.NAME].")
    search: SearchSettings = Field(SearchSettings(), description="See [search].")
    tune: dict[Name, SearchSpace] = Field({}, description="What `kgservice tune --model NAME` may change: [tune.NAME].")

    @classmethod
    def load(cls, path: Path, overrides: Sequence[str] = ()) -> Recipe:
        """Read a recipe file and apply `a.b=value` overrides, whose values are TOML (bare words are strings).

        Raises:
            RecipeError: unreadable TOML, an unknown key or a value out of range; names file and key.
        """
        try:
            tree = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: cannot be read: {error}") from error
        except tomllib.TOMLDecodeError as error:
            raise RecipeError(f"{path}: not TOML: {error}") from error
        tree.setdefault("name", path.stem)
        for override in overrides:
            change(tree, override)
        return cls.parse(tree, source=str(path))

    @classmethod
    def parse(cls, tree: Mapping[str, Any], source: str = "recipe") -> Recipe:
        """Check a tree of plain values; `tree` is not changed."""
        models = tree.get("models")
        try:
            if isinstance(models, Mapping):
                tree = {**tree, "models": {name: inherited(models, name) for name in models}}
            return cls.model_validate(tree)
        except RecipeError as error:
            raise RecipeError(f"{source}: {error}") from error
        except ValidationError as error:
            raise RecipeError("\n".join(f"{source}: {line}" for line in mistakes(cls, error))) from error

    @property
    def content_hash(self) -> str:
        """sha256 over all settings, defaults included."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    def to_toml(self) -> str:
        """The recipe with every setting written out."""
        return "".join(toml_lines(self.model_dump(mode="json", exclude_none=True), ()))
