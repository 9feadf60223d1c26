"""Train a model of a recipe: from where it was, from a former release, or taught by another model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kgservice import __version__, scorers
from kgservice.alone import alone
from kgservice.engine import Engine
from kgservice.errors import RecipeError, UnknownModel
from kgservice.evaluation.ranking import rank
from kgservice.graph import KnowledgeGraph
from kgservice.graph.questions import Level
from kgservice.graph.statements import Split
from kgservice.pipeline.stages import digest
from kgservice.recipe import ModelSettings, Recipe
from kgservice.release import Release, ReleaseStore
from kgservice.scorers.base import VectorScorer
from kgservice.training.loop import History, fit
from kgservice.training.projection import start_projected
from kgservice.training.sharding import Shards
from kgservice.training.warm import warm_start


def learn(
    recipe: Recipe, name: str, graph: KnowledgeGraph, home: Path, former: Release | None = None
) -> tuple[VectorScorer, History, dict[str, Any]]:
    """Train one model of a recipe; in several processes (see `training.sharding`) all call it alike.

    Returns:
        The scorer, its history, and how much of it a former release knew.

    Raises:
        UnknownModel: the former release has no model of this name.
        RecipeError: its model is of another kind or width.
        DataError: another process is at the same training.
    """
    settings = recipe.models[name]
    fingerprint = _fingerprint(recipe, name, graph, home, former)
    scorer = scorers.build(settings, n=graph.n, r=graph.r)
    origin: dict[str, Any] = {"warm_start": _start_warm(scorer, settings, name, graph, former)} if former else {}
    teacher = _teacher(recipe, name, graph, home)
    if teacher is not None and former is None:
        origin["projected"] = start_projected(scorer, teacher, graph)
    checkpoint = home / "builds" / f"{recipe.name}-{name}-{fingerprint}.safetensors"
    with ExitStack() as stack:
        if not Shards.of(graph.n).rank:
            busy = (
                f"{checkpoint}: another process is at this training. Wait for its end, then run the same command again."
            )
            stack.enter_context(alone(checkpoint.with_suffix(".lock"), busy))
        history = fit(
            scorer,
            graph,
            settings.training,
            validate=validation(graph, settings, recipe.graph.filter),
            checkpoint=checkpoint,
            fingerprint=fingerprint,
            title=name,
            teacher=teacher,
        )
    return scorer, history, origin


def validation(
    graph: KnowledgeGraph, settings: ModelSettings, level: Level = "triple"
) -> Callable[[VectorScorer], float] | None:
    """What a training is judged by: the filtered realistic MRR of the validation split, or of its part that settings name."""
    table = graph.statements.in_split(Split.VALID)
    if not len(table):
        return None
    limit = settings.training.validation_limit
    if limit is not None and limit < len(table):
        random = np.random.default_rng(settings.training.seed)
        table = table.take(np.sort(random.choice(len(table), limit, replace=False)))
    return lambda scorer: rank(scorer, graph, table, level=level).figures()["mrr"]


def _fingerprint(
    recipe: Recipe, name: str, graph: KnowledgeGraph, home: Path, former: Release | None, pupils: tuple[str, ...] = ()
) -> str:
    """Names what a training depends on: its settings, its graph, its former and its teacher; not how it is served."""
    settings = recipe.models[name]
    parts: list[Any] = [
        __version__,
        settings.model_dump(mode="json", exclude={"index", "calibration"}),
        recipe.graph.filter,
        graph.content_hash,
    ]
    if former is not None:
        parts.append(former.id)
    if settings.training.objective == "distil":
        teacher, _, model = settings.training.distil.teacher.partition("/")
        if name in pupils:
            raise RecipeError(f"models.{name} is taught by itself: {' → '.join((*pupils, name))}")
        if model:
            parts.append(ReleaseStore(home / "releases").get(teacher).id)
        else:
            parts.append(_fingerprint(recipe, _known(recipe, name), graph, home, None, (*pupils, name)))
    return digest(*parts)


def _known(recipe: Recipe, name: str) -> str:
    """The model of this recipe that teaches another."""
    teacher = recipe.models[name].training.distil.teacher
    if teacher not in recipe.models:
        raise RecipeError(
            f"models.{name}.training.distil.teacher is {teacher!r}: expected a model of this recipe "
            f"({', '.join(other for other in recipe.models if other != name)}) or RELEASE/MODEL"
        )
    return teacher


def _teacher(recipe: Recipe, name: str, graph: KnowledgeGraph, home: Path) -> VectorScorer | None:
    """The scorer that a distillation learns from: trained before in this recipe, or of a release of the same graph."""
    training = recipe.models[name].training
    if training.objective != "distil":
        return None
    release_id, _, model = training.distil.teacher.partition("/")
    if not model:
        return learn(recipe, _known(recipe, name), graph, home)[0]
    release = ReleaseStore(home / "releases").get(release_id)
    if release.graph.content_hash != graph.content_hash:
        raise RecipeError(
            f"models.{name}.training.distil.teacher: release {release.id} was made of another graph "
            f"({release.graph.content_hash[:12]}, this one is {graph.content_hash[:12]})"
        )
    return Engine(release).model(model).scorer


def _start_warm(
    scorer: VectorScorer, settings: ModelSettings, name: str, graph: KnowledgeGraph, former: Release
) -> dict[str, Any]:
    from safetensors.torch import load_file

    if name not in former.models:
        raise UnknownModel(name, f"of release {former.id}, which --from names", former.models)
    folder = former.model_folder(name)
    then = Recipe.load(folder / "recipe.toml").models[name]
    if then.scorer != settings.scorer:
        raise RecipeError(
            f"models.{name}.scorer is {settings.scorer!r}, in release {former.id} it was {then.scorer!r}: a training starts "
            "from the same kind of scorer, or without --from"
        )
    names = former.graph.entities, former.graph.relations
    counts = warm_start(scorer, load_file(folder / "weights.safetensors"), *names, graph)
    return {"release": former.id, **asdict(counts)}
