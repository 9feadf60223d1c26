"""From a recipe to a release: ingest, train, evaluate, calibrate, index, seal.

Every step leaves its result under `builds/`, keyed by what it depends on, so that a build that was killed goes on where it
was. The release appears at the end in one step; until then the former one serves.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from kgservice import imports
from kgservice.graph import KnowledgeGraph
from kgservice.graph.erasing import without
from kgservice.pipeline.graphs import prepare_graph
from kgservice.pipeline.learning import learn, validation
from kgservice.pipeline.measuring import TrainedModel, measured
from kgservice.pipeline.purging import purge
from kgservice.pipeline.sealing import reindex, seal
from kgservice.pipeline.stages import stage
from kgservice.recipe import Recipe
from kgservice.release import Release, ReleaseStore
from kgservice.store import Changes, Journal
from kgservice.training.loop import History

logger = logging.getLogger(__name__)

__all__ = ["TrainedModel", "build", "learn", "prepare_graph", "purge", "reindex", "train", "validation"]


def build(recipe: Recipe, home: Path, *, base: Path, activate: bool = True, former: Release | None = None) -> Release:
    """Make a release of everything a recipe names.

    Args:
        recipe: what to build.
        home: holds `builds/`, `downloads/` and `releases/`.
        base: the folder that the recipe's `graph.sources` are relative to.
        activate: make it the current release.
        former: a release whose models of the same names these start from.
    """
    store = ReleaseStore(home / "releases")
    graph = _without_erased(prepare_graph(recipe, home, base), Journal(store.folder).changes())
    trained = [train(recipe, name, graph, home, base=base, former=former) for name in recipe.models]
    trained.sort(key=lambda model: -model.validation_mrr)
    release = seal(recipe, graph, trained, store, cache=home / "encoded")
    return store.activate(release.id) if activate else release


def _without_erased(graph: KnowledgeGraph, changes: Changes) -> KnowledgeGraph:
    """What was erased from what is served does not come back with the next release."""
    gone = graph.entities.ids(sorted(changes.erased)) if changes.erased else np.empty(0, np.int32)
    if not (gone >= 0).any():
        return graph
    logger.info("%d erased entities are left out", int((gone >= 0).sum()))
    return without(graph, gone[gone >= 0])[0]


def train(
    recipe: Recipe,
    name: str,
    graph: KnowledgeGraph,
    home: Path,
    *,
    base: Path | None = None,
    former: Release | None = None,
    questions: int | None = None,
) -> TrainedModel:
    """Train one model of a recipe, resuming where a former run stopped, or import its weights, and measure it.

    Args:
        recipe, name: which model.
        graph: what `prepare_graph` gave.
        home: holds `builds/`.
        base: the folder that `weights.path` is relative to; by default the working folder.
        former: a release whose model of the same name this one starts from.
        questions: measure on a fixed sample of so many held-out questions; by default on all.
    """
    settings = recipe.models[name]
    if settings.weights.path is not None:
        with stage(f"import {name}"):
            imported = imports.load(settings, graph, base or Path())
        judge = validation(graph, settings, recipe.graph.filter)
        history = History(best_validation=judge(imported.scorer) if judge else 0.0)
        origin: dict[str, Any] = {"imported": imported.report}
        return measured(imported.settings, name, imported.scorer, history, graph, recipe, origin, questions)
    scorer, history, origin = learn(recipe, name, graph, home, former)
    return measured(settings, name, scorer, history, graph, recipe, origin, questions)
