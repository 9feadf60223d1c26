"""Write a release: the graph, the models with their cards, the search index, a report, canaries."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kgservice import __version__
from kgservice.engine import Engine
from kgservice.engine.canaries import made
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split
from kgservice.pipeline.measuring import TrainedModel, build_index
from kgservice.pipeline.stages import stage, write_json
from kgservice.recipe import Recipe
from kgservice.release import Release, ReleaseStore
from kgservice.release.stacking import FILE as FUSION
from kgservice.release.stacking import Stacker


def seal(
    recipe: Recipe, graph: KnowledgeGraph, trained: list[TrainedModel], store: ReleaseStore, *, cache: Path
) -> Release:
    """Write a release of measured models; its canaries are the answers of an engine over the files themselves."""

    def fill(folder: Path) -> None:
        with stage("write graph"):
            graph.save(folder / "graph")
        for model in trained:
            _write_model(recipe, model, folder / "models" / model.name)
        if len(trained) > 1:
            with stage("fuse models"):
                Stacker.fit(trained, graph).save(folder / FUSION)
        with stage("search index"):
            write_search(recipe.search.encoder, graph, folder / "search", cache)
        with stage("report"):
            _write_report(recipe, graph, trained, folder / "report.html")
        write_canaries(Release(folder, details), graph)

    details = {
        "recipe": {"name": recipe.name, "description": recipe.description, "hash": recipe.content_hash},
        "graph": {"content_hash": graph.content_hash, **graph.counts()},
        "models": {
            model.name: {
                "scorer": model.settings.scorer,
                "index": model.settings.index,
                "valid": model.metrics["valid"]["filtered"]["realistic"],
                "test": model.metrics["test"]["filtered"]["realistic"],
            }
            for model in trained
        },
    }
    return store.write(fill, details)


def reindex(store: ReleaseStore, id: str | None, model: str | None, spec: str) -> tuple[Release, dict[str, Any]]:
    """A child release in which one model is searched by another index; everything else is shared with its parent."""
    parent = store.get(id)
    parent.verify()
    served = Engine(parent).model(model)
    index, figures = build_index(served.scorer, spec, parent.graph)

    def fill(folder: Path) -> None:
        for name in parent.manifest["files"]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(parent.folder / name, folder / name)
        inside = folder / "models" / served.name
        recipe = Recipe.load(inside / "recipe.toml", [f"models.{served.name}.index={spec}"])
        (inside / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
        (inside / "index.faiss").unlink(missing_ok=True)
        index.save(inside / "index.faiss")
        write_json(inside / "metrics.json", {**parent.metrics(served.name), "index": figures})

    kept = ("recipe", "graph", "models")
    details = {"parent": parent.id, **{key: parent.manifest[key] for key in kept}}
    details["models"] = {**details["models"], served.name: {**details["models"][served.name], "index": spec}}
    return store.write(fill, details), figures


def write_canaries(release: Release, graph: KnowledgeGraph) -> None:
    """Ask questions about held-out statements, and keep the answers for `engine.canaries.replay`."""
    with stage("canaries"):
        held_out = graph.statements.take(graph.statements.split != Split.TRAIN)
        canaries = made(Engine(release), held_out if len(held_out) else graph.statements)
        write_json(release.folder / "canary.json", canaries)


def write_search(encoder: str | None, graph: KnowledgeGraph, folder: Path, cache: Path) -> None:
    """The search index, with vectors by an encoder of this name, or with none."""
    from kgservice.encoders.text import open_encoder
    from kgservice.search import EntitySearch

    with_vectors = encoder not in (None, "none")
    EntitySearch.build(graph, folder, open_encoder(str(encoder), cache) if with_vectors else None, progress=True)


def _write_model(recipe: Recipe, model: TrainedModel, folder: Path) -> None:
    from safetensors.torch import save_file

    from kgservice.release.card import model_card

    folder.mkdir(parents=True)
    alone = recipe.model_copy(update={"models": {model.name: model.settings}})
    (folder / "recipe.toml").write_text(alone.to_toml(), encoding="utf-8")
    weights = {name: tensor.detach().contiguous() for name, tensor in model.scorer.state_dict().items()}
    save_file(weights, folder / "weights.safetensors")
    model.scorer.keep(folder)
    model.index.save(folder / "index.faiss")
    write_json(folder / "calibration.json", {what: made.to_json() for what, made in model.calibrations.items()})
    model.estimates.save(folder / "estimates.safetensors")
    model.type_head.save(folder / "types.safetensors")
    model.zero_shot.save(folder / "zero_shot.safetensors")
    write_json(folder / "metrics.json", model.metrics)
    card = model_card(alone, model.name, [model.metrics], calibrations=model.calibrations)
    (folder / "README.md").write_text(card, encoding="utf-8")


def _write_report(recipe: Recipe, graph: KnowledgeGraph, trained: list[TrainedModel], path: Path) -> None:
    from kgservice.evaluation.report import ModelReport, write_report

    models = [
        ModelReport(
            name=model.name,
            settings=model.settings,
            history=[asdict(epoch) for epoch in model.history.epochs],
            ranks=model.ranks,
            metrics=model.metrics,
            calibrations=model.calibrations,
            entity_vectors=model.scorer.entity_vectors().detach().numpy(),
        )
        for model in trained
    ]
    details = {"recipe": recipe.name, "graph": graph.content_hash[:12], "kgservice": __version__}
    if recipe.graph.dataset is not None:
        from kgservice import datasets

        details["licence"] = datasets.manifest(recipe.graph.dataset).licence
    write_report(path, title=recipe.description or recipe.name, graph=graph, models=models, details=details)
