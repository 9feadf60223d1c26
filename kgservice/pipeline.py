"""From a recipe to a release: ingest, train, evaluate, calibrate, index, seal.

Every step leaves its result under `builds/`, keyed by what it depends on, so that a build that was killed goes on where it
was. The release appears at the end in one step; until then the former one serves.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kgservice import __version__, imports, scorers
from kgservice import index as indexes
from kgservice.engine import Engine
from kgservice.errors import GraphError, RecipeError, UnknownModel
from kgservice.estimates import Estimates
from kgservice.evaluation.breakdowns import breakdowns, uncertainty
from kgservice.evaluation.calibration import Calibration
from kgservice.evaluation.populations import calibrate_classification, calibrate_completion, grade
from kgservice.evaluation.ranking import Ranks, rank
from kgservice.graph import KnowledgeGraph, Level
from kgservice.index import Index
from kgservice.query import QueryBatch, Slot
from kgservice.recipe import ModelSettings, Recipe
from kgservice.release import Release, ReleaseStore
from kgservice.scorers.base import VectorScorer
from kgservice.statements import Split
from kgservice.training.loop import History, fit
from kgservice.training.warm import warm_start

logger = logging.getLogger(__name__)

RECALL_QUESTIONS = 500


@dataclass(frozen=True)
class TrainedModel:
    """A model after training and measuring, before it is sealed.

    Attributes:
        name, settings: as in the recipe.
        scorer: with its best weights.
        history: of the training.
        index: over the entity vectors.
        ranks: of the test split.
        metrics: everything measured, as written to `metrics.json`.
        calibrations: by "classification" and by slot.
        estimates: of missing numbers.
    """

    name: str
    settings: ModelSettings
    scorer: VectorScorer
    history: History
    index: Index
    ranks: Ranks
    metrics: Mapping[str, Any]
    calibrations: Mapping[str, Calibration]
    estimates: Estimates

    @property
    def validation_mrr(self) -> float:
        """What models are ordered by."""
        return float(self.metrics["valid"]["filtered"]["realistic"].get("mrr", 0.0))


def build(recipe: Recipe, home: Path, *, base: Path, activate: bool = True, former: Release | None = None) -> Release:
    """Make a release of everything a recipe names.

    Args:
        recipe: what to build.
        home: holds `builds/`, `downloads/` and `releases/`.
        base: the folder that the recipe's `graph.sources` are relative to.
        activate: make it the current release.
        former: a release whose models of the same names these start from.
    """
    graph = prepare_graph(recipe, home, base)
    trained = [train(recipe, name, graph, home, base=base, former=former) for name in recipe.models]
    trained.sort(key=lambda model: -model.validation_mrr)
    release = seal(recipe, graph, trained, ReleaseStore(home / "releases"), cache=home / "encoded")
    return ReleaseStore(home / "releases").activate(release.id) if activate else release


def prepare_graph(recipe: Recipe, home: Path, base: Path) -> KnowledgeGraph:
    """Ingest the recipe's graph, or open what an earlier build ingested from the same files."""
    from kgservice import datasets, ingestion
    from kgservice.splits import random_split

    settings = recipe.graph
    sources = [base / source for source in settings.sources]
    if settings.dataset is not None:
        datasets.fetch(settings.dataset, progress=True)
        sources = datasets.files(settings.dataset)
    key = _digest(__version__, settings.model_dump(mode="json", exclude={"filter"}), _stamps(sources))
    folder = home / "builds" / f"graph-{key}"
    if not (folder / "graph.json").exists():
        with _stage("ingest"):
            if settings.dataset is not None:
                graph = datasets.load(settings.dataset, progress=True)
            elif len(sources) == 1 and (sources[0] / "graph.json").is_file():
                graph = KnowledgeGraph.open(sources[0])
            else:
                ingested = home / "builds" / f"ingested-{key}"
                graph = ingestion.ingest(sources, ingested, format=settings.format, progress=True)
            if not len(graph.statements):
                raise GraphError(f"recipe {recipe.name}: the graph holds no statement that links two entities")
            if not (graph.statements.split == Split.VALID).any():
                split = settings.split
                graph = random_split(graph, valid=split.valid, test=split.test, seed=split.seed)
            graph.save(folder)
    return KnowledgeGraph.open(folder)


def train(
    recipe: Recipe,
    name: str,
    graph: KnowledgeGraph,
    home: Path,
    *,
    base: Path | None = None,
    former: Release | None = None,
) -> TrainedModel:
    """Train one model of a recipe, resuming where a former run stopped, or import its weights, and measure it.

    Args:
        recipe, name: which model.
        graph: what `prepare_graph` gave.
        home: holds `builds/`.
        base: the folder that `weights.path` is relative to; by default the working folder.
        former: a release whose model of the same name this one starts from.
    """
    settings = recipe.models[name]
    if settings.weights.path is not None:
        with _stage(f"import {name}"):
            imported = imports.load(settings, graph, base or Path())
        judge = validation(graph, settings, recipe.graph.filter)
        history = History(best_validation=judge(imported.scorer) if judge else 0.0)
        origin: dict[str, Any] = {"imported": imported.report}
        return _measured(imported.settings, name, imported.scorer, history, graph, recipe.graph.filter, origin)
    scorer, history, origin = learn(recipe, name, graph, home, former)
    return _measured(settings, name, scorer, history, graph, recipe.graph.filter, origin)


def _measured(
    settings: ModelSettings,
    name: str,
    scorer: VectorScorer,
    history: History,
    graph: KnowledgeGraph,
    level: Level,
    origin: Mapping[str, Any],
) -> TrainedModel:
    """Index, rank and calibrate; `origin` goes into the metrics of the training."""
    scorer.to("cpu")
    with _stage(f"index {name}"):
        index, index_figures = build_index(scorer, settings.index, graph)
    with _stage(f"evaluate {name}"):
        valid, test = (rank(scorer, graph, split, level=level) for split in (Split.VALID, Split.TEST))
        qualified = _qualified(scorer, graph, test, level)
        parts, spread = breakdowns(test, graph, Split.TEST), uncertainty(scorer, graph)
    with _stage(f"calibrate {name}"):
        calibrated = calibrate(scorer, index, graph, settings)
    with _stage(f"estimates {name}"):
        estimates, numbers = Estimates.fit(graph, scorer.entity_vectors().detach().numpy())
    metrics = {
        "valid": valid.report(graph),
        "test": {**test.report(graph), **parts, **qualified},
        **({"uncertainty": spread} if spread else {}),
        "seeds": [settings.training.seed],
        "training": {**asdict(history), "duration_s": history.duration_s, **origin},
        "index": index_figures,
        "classification": grade_classification(scorer, graph, calibrated.get("classification")),
        "estimates": {graph.relations.name(relation): found for relation, found in numbers.items()},
        "reals_per_entity": int(scorer.entity_vectors().shape[1]),
        "parameters": sum(parameter.numel() for parameter in scorer.parameters()),
        "graph": {"content_hash": graph.content_hash, **graph.counts()},
    }
    return TrainedModel(name, settings, scorer, history, index, test, metrics, calibrated, estimates)


def learn(
    recipe: Recipe, name: str, graph: KnowledgeGraph, home: Path, former: Release | None = None
) -> tuple[VectorScorer, History, dict[str, Any]]:
    """Train one model of a recipe; in several processes (see `training.sharding`) all call it alike.

    Returns:
        The scorer, its history, and how much of it a former release knew.

    Raises:
        UnknownModel: the former release has no model of this name.
        RecipeError: its model is of another kind or width.
    """
    settings = recipe.models[name]
    fingerprint = _fingerprint(recipe, name, graph, home, former)
    scorer = scorers.build(settings, n=graph.n, r=graph.r)
    origin = {"warm_start": _start_warm(scorer, settings, name, graph, former)} if former else {}
    history = fit(
        scorer,
        graph,
        settings.training,
        validate=validation(graph, settings, recipe.graph.filter),
        checkpoint=home / "builds" / f"{recipe.name}-{name}-{fingerprint}.safetensors",
        fingerprint=fingerprint,
        title=name,
        teacher=_teacher(recipe, name, graph, home),
    )
    return scorer, history, origin


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
    return _digest(*parts)


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


def build_index(scorer: VectorScorer, spec: str, graph: KnowledgeGraph) -> tuple[Index, dict[str, Any]]:
    """The index that a recipe asks for, and its recall against the exhaustive search on held-out questions."""
    vectors = scorer.entity_vectors().detach()
    index = indexes.build(spec, vectors, scorer.metric)
    figures: dict[str, Any] = {"spec": spec, "exact": index.exact, "recall@10": 1.0}
    if not index.exact:
        table = graph.statements.in_split(Split.VALID)
        table = table if len(table) else graph.statements
        chosen = np.random.default_rng(0).permutation(len(table))[:RECALL_QUESTIONS]
        queries = QueryBatch.objects(table.subject[chosen], table.relation[chosen])
        oracle = indexes.build("exact", vectors, scorer.metric)
        figures["recall@10"] = indexes.recall(index, oracle, scorer.query_vectors(queries).detach(), 10)
        figures["questions"] = len(chosen)
    return index, figures


def calibrate(
    scorer: VectorScorer, index: Index, graph: KnowledgeGraph, settings: ModelSettings
) -> dict[str, Calibration]:
    """Every calibration that the validation split allows, by "classification" and by slot."""
    wanted = settings.calibration
    if wanted.method == "none":
        return {}
    relations = indexes.ExactIndex(scorer.relation_vectors().detach(), scorer.relation_metric)
    made = {
        "classification": calibrate_classification(
            scorer, graph, method=wanted.method, limit=wanted.limit, precision=wanted.precision
        ),
        **{
            slot.value: calibrate_completion(
                scorer,
                relations if slot is Slot.RELATION else index,
                graph,
                slot,
                method=wanted.method,
                width=wanted.width,
                limit=wanted.limit,
                precision=wanted.precision,
            )
            for slot in Slot
        },
    }
    return {what: calibration for what, calibration in made.items() if calibration is not None}


def grade_classification(
    scorer: VectorScorer, graph: KnowledgeGraph, calibration: Calibration | None
) -> dict[str, Any] | None:
    """A calibration's figures on the test split's verified negatives, where the data set has some."""
    measured = grade(scorer, graph, calibration, Split.TEST) if calibration else None
    if measured:
        measured["relations"] = [
            {**row, "relation": graph.relations.name(row["relation"])} for row in measured["relations"]
        ]
    return measured


def seal(
    recipe: Recipe, graph: KnowledgeGraph, trained: list[TrainedModel], store: ReleaseStore, *, cache: Path
) -> Release:
    """Write a release of measured models; its canaries are the answers of an engine over the files themselves."""

    def fill(folder: Path) -> None:
        with _stage("write graph"):
            graph.save(folder / "graph")
        for model in trained:
            _write_model(recipe, model, folder / "models" / model.name)
        with _stage("search index"):
            _write_search(recipe, graph, folder / "search", cache)
        with _stage("report"):
            _write_report(recipe, graph, trained, folder / "report.html")
        with _stage("canaries"):
            engine = Engine(Release(folder, details))
            held_out = graph.statements.take(graph.statements.split != Split.TRAIN)
            canaries = engine.canaries(held_out if len(held_out) else graph.statements)
            _write_json(folder / "canary.json", canaries)

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
        _write_json(inside / "metrics.json", {**parent.metrics(served.name), "index": figures})

    kept = ("recipe", "graph", "models")
    details = {"parent": parent.id, **{key: parent.manifest[key] for key in kept}}
    details["models"] = {**details["models"], served.name: {**details["models"][served.name], "index": spec}}
    return store.write(fill, details), figures


def _write_model(recipe: Recipe, model: TrainedModel, folder: Path) -> None:
    from safetensors.torch import save_file

    from kgservice.card import model_card

    folder.mkdir(parents=True)
    alone = recipe.model_copy(update={"models": {model.name: model.settings}})
    (folder / "recipe.toml").write_text(alone.to_toml(), encoding="utf-8")
    weights = {name: tensor.detach().contiguous() for name, tensor in model.scorer.state_dict().items()}
    save_file(weights, folder / "weights.safetensors")
    model.index.save(folder / "index.faiss")
    _write_json(folder / "calibration.json", {what: made.to_json() for what, made in model.calibrations.items()})
    model.estimates.save(folder / "estimates.safetensors")
    _write_json(folder / "metrics.json", model.metrics)
    card = model_card(alone, model.name, [model.metrics], calibrations=model.calibrations)
    (folder / "README.md").write_text(card, encoding="utf-8")


def _write_search(recipe: Recipe, graph: KnowledgeGraph, folder: Path, cache: Path) -> None:
    from kgservice.encoders.text import open_encoder
    from kgservice.search import EntitySearch

    name = recipe.search.encoder
    EntitySearch.build(graph, folder, None if name == "none" else open_encoder(name, cache), progress=True)


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


def _qualified(scorer: VectorScorer, graph: KnowledgeGraph, test: Ranks, level: Level) -> dict[str, Any]:
    """Where statements have qualifiers: ranks by either filter, how much was cut, and the ranks of qualifiers' values."""
    if not len(graph.statements.qualifier_relation):
        return {}
    other: Level = "triple" if level == "statement" else "statement"
    figures = {level: test.figures(), other: rank(scorer, graph, Split.TEST, level=other).figures()}
    pairs = np.diff(graph.statements.qualifier_offset)
    reads = scorer.reads or 0
    found: dict[str, Any] = {
        "filter": level,
        "by_filter": figures,
        "qualifiers": {
            "read": reads,
            "pairs": int(pairs.sum()),
            "cut_pairs": int(np.maximum(pairs - reads, 0).sum()),
            "cut_statements": int((pairs > reads).sum()),
        },
    }
    if Slot.QUALIFIER in scorer.slots:
        found["values"] = rank(scorer, graph, Split.TEST, level=level, slots=(Slot.QUALIFIER,)).figures()
    return found


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


def _stamps(sources: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Name, size and time of every file that `sources` name, folders and globs followed."""
    found: set[Path] = set()
    for source in sources:
        named = [source] if source.exists() else source.parent.glob(source.name)
        for path in named:
            found.update([path] if path.is_file() else path.rglob("*"))
    files = sorted(path for path in found if path.is_file())
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")


@contextmanager
def _stage(name: str) -> Iterator[None]:
    started = time.perf_counter()
    logger.info("%s …", name)
    yield
    logger.info("%s: %.1f s", name, time.perf_counter() - started)
