"""Recipes: closed, typed TOML that says which graph, which models, and how they are trained, measured and indexed.

Every setting has its one default and its help here; `docs/recipes.md` is generated from this module. An unknown key is an
error that names the closest setting.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kgservice.errors import RecipeError


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SplitSettings(_Settings):
    """How a graph without splits of its own is split."""

    valid: float = Field(0.05, ge=0, lt=0.5, description="Share of statements held out for validation.")
    test: float = Field(0.05, ge=0, lt=0.5, description="Share of statements held out for the test.")
    seed: int = Field(0, description="Seed of the split.")


class GraphSettings(_Settings):
    """Which graph is learnt."""

    dataset: str | None = Field(None, description="A data set with a manifest under `data/`.")
    sources: tuple[str, ...] = Field(
        (),
        description="Files, folders or globs to ingest, or the folder of one graph that `kgservice ingest` or `split` made; "
        "relative to the recipe.",
    )
    format: str | None = Field(None, description="Format of `sources`; by default told from their names.")
    split: SplitSettings = Field(SplitSettings(), description="Used where the graph brings no validation split.")

    @model_validator(mode="after")
    def _one_origin(self) -> GraphSettings:
        if (self.dataset is None) == (not self.sources):
            raise ValueError("give either graph.dataset or graph.sources")
        return self


class TrainingSettings(_Settings):
    """How one model is trained."""

    epochs: int = Field(100, ge=0, description="Passes over all training questions.")
    batch_size: int = Field(512, ge=1, description="Distinct questions per step.")
    optimizer: Literal["adagrad", "adam"] = Field("adagrad", description="Update rule.")
    learning_rate: float = Field(0.1, gt=0, description="Step size.")
    learning_rate_decay: float = Field(1.0, gt=0, le=1, description="Factor on the step size after every epoch.")
    weighting: Literal["triples", "questions"] = Field(
        "triples",
        description="`triples`: every true answer counts once, the summed 1-vs-all loss. `questions`: every distinct "
        "question counts once, its answers sharing the weight.",
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Share of the target spread evenly over all entities.")
    n3: float = Field(0.0, ge=0, description="Weight of the cubed norm of the rows in use (Lacroix et al. 2018).")
    entity_dropout: float = Field(0.0, ge=0, lt=1, description="Share of coordinates dropped in the anchor's row.")
    candidate_dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of coordinates dropped in the rows that compete as answers."
    )
    relation_dropout: float = Field(0.0, ge=0, lt=1, description="Share of coordinates dropped in the relation's row.")
    relation_prediction: float = Field(
        0.0, ge=0, description="Weight of a second loss that predicts the relation (Chen et al. 2021)."
    )
    averaging: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the past in a running mean of the weights, taken after every epoch; the mean is what is "
        "validated and kept. 0 keeps the weights themselves.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Of the matrix products; weights and sums stay float32. `auto`: bfloat16 where it is fast."
    )
    device: str = Field("auto", description="`auto`, `cpu`, `cuda` or `cuda:1`.")
    seed: int = Field(0, description="Seed of initial weights, order and dropout.")
    evaluate_every: int = Field(5, ge=1, description="Epochs between validations.")
    patience: int = Field(5, ge=1, description="Validations without a better MRR before training stops.")
    validation_limit: int | None = Field(
        None, ge=1, description="Validate on this many statements, drawn once by the seed; all by default."
    )
    splits: tuple[Literal["train", "valid", "context"], ...] = Field(("train",), description="Splits to learn from.")


class CalibrationSettings(_Settings):
    """How scores become probabilities."""

    method: Literal["auto", "isotonic", "platt", "none"] = Field(
        "auto", description="`auto` takes the one with the smaller cross-validated log-loss."
    )
    width: int = Field(100, ge=2, le=1000, description="Candidates per question that a completion is calibrated over.")
    limit: int = Field(20_000, ge=100, description="Validation statements used at most.")


class ModelSettings(_Settings):
    """One model of a release."""

    scorer: str = Field("complex", description="A registered scorer: see `kgservice.scorers`.")
    width: int = Field(200, ge=2, description="Reals per entity.")
    initial_scale: float = Field(0.01, gt=0, description="Standard deviation of the initial weights.")
    reciprocal: bool = Field(True, description="Give every inverse relation a row of its own.")
    index: str = Field("exact", description="`exact`, or a FAISS factory string such as `IVF256,SQ8`.")
    training: TrainingSettings = Field(TrainingSettings(), description="See [models.NAME.training].")
    calibration: CalibrationSettings = Field(CalibrationSettings(), description="See [models.NAME.calibration].")


class SearchSettings(_Settings):
    """Entity search."""

    encoder: str = Field("all-MiniLM-L6-v2", description="A sentence-transformers model or folder, or `none`.")


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class Recipe(_Settings):
    """A graph, the models learnt from it, and the search index beside them."""

    name: Name = Field(description="Short name, used in run folders and cards.")
    description: str = Field("", description="One sentence for people.")
    graph: GraphSettings = Field(description="See [graph].")
    models: dict[Name, ModelSettings] = Field(min_length=1, description="One table per model: [models.NAME].")
    search: SearchSettings = Field(SearchSettings(), description="See [search].")

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
            _apply(tree, override)
        return cls.parse(tree, source=str(path))

    @classmethod
    def parse(cls, tree: Mapping[str, Any], source: str = "recipe") -> Recipe:
        """Check a tree of plain values."""
        try:
            return cls.model_validate(tree)
        except ValidationError as error:
            raise RecipeError("\n".join(f"{source}: {line}" for line in _explain(cls, error))) from error

    @property
    def content_hash(self) -> str:
        """sha256 over all settings, defaults included."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    def to_toml(self) -> str:
        """The recipe with every setting written out."""
        return "".join(_toml_lines(self.model_dump(mode="json", exclude_none=True), ()))


def _apply(tree: dict[str, Any], override: str) -> None:
    path, separator, text = override.partition("=")
    if not separator or not path:
        raise RecipeError(f"--set {override}: expected KEY=VALUE, such as models.complex.training.epochs=10")
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, leaf = path.strip().split(".")
    for key in parents:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise RecipeError(f"--set {override}: {key} is a setting, not a table")
    tree[leaf] = value


def _explain(root: type[BaseModel], error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        place = [str(part) for part in problem["loc"]]
        name = ".".join(place)
        if problem["type"] == "extra_forbidden":
            known = _settings_beside(root, place)
            close = difflib.get_close_matches(place[-1], known, n=1, cutoff=0.5)
            prefix = ".".join(place[:-1])
            hint = (
                f"Did you mean {'.'.join(filter(None, (prefix, close[0])))}?"
                if close
                else f"Known: {', '.join(known)}."
            )
            yield f"{name} is not a setting. {hint}"
        elif problem["type"] == "missing":
            yield f"{name} is missing."
        else:
            message = problem["msg"].removeprefix("Value error, ")
            given = "" if isinstance(problem["input"], dict) else f" (found {problem['input']!r})"
            yield f"{name or 'recipe'}: {message}{given}."


def _settings_beside(root: type[BaseModel], place: Sequence[str]) -> list[str]:
    """The names of the settings in the table that holds the last part of `place`."""
    model: Any = root
    for part in place[:-1]:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[part].annotation
            continue
        model = get_args(model)[1]  # a dict of tables: its value type
    return list(model.model_fields)


def _toml_lines(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    if path:
        yield f"\n[{'.'.join(path)}]\n"
    for key, value in table.items():
        if not isinstance(value, dict):
            yield f"{key} = {json.dumps(value, ensure_ascii=False)}\n"  # JSON scalars and lists are TOML as they are
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _toml_lines(value, (*path, key))
