"""The graph of a recipe: ingested, split, kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kgservice import __version__
from kgservice.captioning.builtin import captions_of
from kgservice.errors import GraphError, RecipeError
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split
from kgservice.pipeline.stages import digest, stage
from kgservice.recipe import Recipe


def prepare_graph(recipe: Recipe, home: Path, base: Path) -> KnowledgeGraph:
    """Ingest the recipe's graph, or open what an earlier build ingested from the same files."""
    from kgservice import datasets, ingestion
    from kgservice.graph.splits import random_split

    settings = recipe.graph
    sources = [base / source for source in settings.sources]
    if settings.dataset is not None:
        datasets.fetch(settings.dataset, progress=True)
        sources = datasets.files(settings.dataset)
    captions = [base / settings.captions] if settings.captions else []
    for path in captions:
        if not path.is_file():
            raise RecipeError(f"graph.captions: {path} is not there")
    excluded = {"filter"} if captions else {"filter", "captions"}
    key = digest(__version__, settings.model_dump(mode="json", exclude=excluded), _stamps([*sources, *captions]))
    folder = home / "builds" / f"graph-{key}"
    if not (folder / "graph.json").exists():
        with stage("ingest"):
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
                split, tested = settings.split, bool((graph.statements.split == Split.TEST).any())
                test = 0.0 if tested else split.test
                graph = random_split(graph, valid=split.valid, test=test, seed=split.seed, keep_test=tested)
            for path in captions:
                graph = replace(graph, captions=captions_of(path, graph))
            graph.save(folder)
    return KnowledgeGraph.open(folder)


def _stamps(sources: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Name, size and time of every file that `sources` name, folders and globs followed."""
    found: set[Path] = set()
    for source in sources:
        named = [source] if source.exists() else source.parent.glob(source.name)
        for path in named:
            found.update([path] if path.is_file() else path.rglob("*"))
    files = sorted(path for path in found if path.is_file())
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
