"""Memory or inference: train a recipe's models on its graph and on the copies with other texts, and compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kgservice import scorers
from kgservice.encoders import RANDOM_ENCODER
from kgservice.errors import InputError, RecipeError
from kgservice.evaluation.probe import ORIGINAL, gain_figures, model_figures
from kgservice.evaluation.ranking import Ranks, rank
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split
from kgservice.perturbation import Copy, perturb
from kgservice.pipeline.learning import learn
from kgservice.pipeline.stages import stage
from kgservice.recipe import ModelSettings, Recipe


def twins(recipe: Recipe, names: Sequence[str]) -> dict[str, str]:
    """For each of these models that reads a pretrained encoder, the one that differs in having the encoder `random`.

    It is NAME-random where the recipe has none: see `twin_overrides`.

    Raises:
        RecipeError: none reads a pretrained encoder.
    """
    found = {}
    for name in names:
        settings = recipe.models[name]
        if not reads_text(settings) or settings.text.encoder in ("none", RANDOM_ENCODER):
            continue
        text = settings.text.model_copy(update={"encoder": RANDOM_ENCODER})
        like = settings.model_copy(update={"text": text, "like": ""})
        same = (other for other, its in recipe.models.items() if its.model_copy(update={"like": ""}) == like)
        found[name] = next(same, f"{name}-{RANDOM_ENCODER}")
    if not found:
        raise RecipeError(
            f"recipe {recipe.name}: none of {', '.join(names)} reads a pretrained encoder, so there is no memory to probe. "
            "Give it a text scorer, such as bi-encoder: see docs/text.md"
        )
    return found


def twin_overrides(recipe: Recipe, twins: Mapping[str, str]) -> list[str]:
    """The settings that give the recipe the twins that it lacks."""
    return [
        override
        for name, twin in twins.items()
        if twin not in recipe.models
        for override in (f"models.{twin}.like={name}", f"models.{twin}.text.encoder={RANDOM_ENCODER}")
    ]


def reads_text(settings: ModelSettings) -> bool:
    """Whether a model answers by the texts of entities."""
    return scorers.kind(settings).inductive


def probe(
    recipe: Recipe,
    names: Sequence[str],
    graph: KnowledgeGraph,
    home: Path,
    *,
    seeds: Sequence[int],
    copies_seed: int = 0,
) -> dict[str, Any]:
    """Train models on a graph and its copies, and rank the test split.

    A model that reads no text is trained on the graph alone: copies are the same to it.

    Args:
        recipe: has all of the models and twins.
        names: of the models.
        graph: what `prepare_graph` gave.
        home: holds `builds/`; trainings there that are done are not done again.
        seeds: of the trainings.
        copies_seed: of the copies.

    Raises:
        InputError: the graph has no test split.
        RecipeError: no model reads a pretrained encoder.

    Returns:
        For JSON: `copies`, what was replaced in each; `models`, their figures by copy; `gains`, see
        `evaluation.probe.gain_figures`.
    """
    pairs = twins(recipe, names)
    if not (graph.statements.split == Split.TEST).any():
        raise InputError(
            "the graph has no test split, so models cannot be compared: see graph.split in docs/recipes.md"
        )
    ranks: dict[str, dict[str, list[Ranks]]] = {name: {} for name in names}
    copies: dict[str, Any] = {}
    for copy in (ORIGINAL, *Copy):
        copied = graph
        if copy is not ORIGINAL:
            with stage(f"copy {copy}"):
                made = perturb(graph, Copy(copy), seed=copies_seed)
            copied = made.graph
            replaced = {what: asdict(counts) for what, counts in made.replaced.items()}
            copies[copy] = {"seed": copies_seed, "content_hash": copied.content_hash, "replaced": replaced}
        for name in names:
            if copy is ORIGINAL or reads_text(recipe.models[name]):
                with stage(f"{name} on {copy}"):
                    ranks[name][str(copy)] = [_ranks(recipe, name, seed, copied, home) for seed in seeds]
    return {
        "copies": copies,
        "models": {
            name: {"reads": _read(recipe.models[name]), "copies": model_figures(runs)} for name, runs in ranks.items()
        },
        "gains": {
            name: {"over": twin, "copies": gain_figures(ranks[name], ranks[twin])} for name, twin in pairs.items()
        },
    }


def _ranks(recipe: Recipe, name: str, seed: int, graph: KnowledgeGraph, home: Path) -> Ranks:
    settings = recipe.models[name]
    training = settings.training.model_copy(update={"seed": seed})
    models = {**recipe.models, name: settings.model_copy(update={"training": training})}
    scorer, _, _ = learn(recipe.model_copy(update={"models": models}), name, graph, home)
    return rank(scorer.to("cpu"), graph, Split.TEST, level=recipe.graph.filter)


def _read(settings: ModelSettings) -> str:
    """What a model reads of texts, in words; empty for none."""
    if not reads_text(settings):
        return ""
    text = settings.text
    parts = [text.encoder] * (text.encoder != "none") + ["words"] * (text.words > 0)
    return ", ".join(parts)
