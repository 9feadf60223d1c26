"""Rewrite releases without what was erased, so that no file holds it any more."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kgservice import index as indexes
from kgservice.engine import Engine
from kgservice.enrichment.running import forget
from kgservice.errors import DataError
from kgservice.graph import KnowledgeGraph
from kgservice.graph.erasing import without
from kgservice.graph.vocabulary import Vocabulary
from kgservice.heads.estimates import Estimates
from kgservice.pipeline.sealing import write_canaries, write_search
from kgservice.pipeline.stages import stage
from kgservice.release import Release, ReleaseStore
from kgservice.store import Journal
from kgservice.store.reviews import Reviews

logger = logging.getLogger(__name__)

_COPIED = ("recipe.toml", "tokenizer.json", "calibration.json", "types.safetensors", "metrics.json", "README.md")
"""Files of a model that name no entity."""


def purge(store: ReleaseStore, home: Path, reviews: Reviews | None = None) -> Iterator[tuple[str, str]]:
    """Rewrite every release that holds an erased entity, and remove what builds and SPARQL have kept of such graphs.

    What enrichments proposed about it, and what is to be reviewed or was, goes too.

    A rewritten release takes the place of the former one, which is removed; its models have the same rows less those of what was
    erased, its search index and its canaries are made anew, and it has no report, which shows entities by name.

    Yields:
        The former and the new id of each.
    """
    erased = sorted(Journal(store.folder).changes().erased)
    if not erased:
        return
    proposals = forget(home / "enrichments", erased)
    reviewed = reviews.forget(erased) if reviews is not None else 0
    logger.info("%d proposals and %d reviews named what was erased", proposals, reviewed)
    shutil.rmtree(home / "sparql", ignore_errors=True)  # made again, of what serves, when it is asked
    for folder in sorted((home / "builds").glob("*/")):
        if _holds(folder / "entities.arrow", erased):
            shutil.rmtree(folder)
            logger.info("%s is removed", folder)
    for id in store.ids():
        try:
            release = store.get(id)
        except DataError as error:
            logger.warning("release %s is left as it is: %s", id, error)
            continue
        gone = release.graph.entities.ids(erased)
        if (gone >= 0).any():
            made = _rewritten(store, release, gone[gone >= 0], home / "encoded")
            store.supersede(id, made)
            yield id, made.id


def _holds(path: Path, names: list[str]) -> bool:
    return path.exists() and bool((Vocabulary.open(path).ids(names) >= 0).any())


def _rewritten(store: ReleaseStore, release: Release, gone: np.ndarray, cache: Path) -> Release:
    graph, kept = without(release.graph, gone)
    kept_rows, number = torch.from_numpy(kept), np.full(release.graph.n, -1, dtype=np.int32)
    number[kept] = np.arange(len(kept), dtype=np.int32)
    search = json.loads((release.folder / "search" / "search.json").read_text(encoding="utf-8"))

    def fill(folder: Path) -> None:
        with stage("write graph"):
            graph.save(folder / "graph")
        models = Engine(release)
        for name in release.models:
            _write_model(models, release, name, folder / "models" / name, kept_rows, number)
        with stage("search index"):
            write_search(search["encoder"], graph, folder / "search", cache)
        write_canaries(Release(folder, details), graph)

    inherited: Mapping[str, Any] = {key: release.manifest[key] for key in ("recipe", "models")}
    details = {**inherited, "graph": _described(graph), "purged": release.id}
    return store.write(fill, details)


def _described(graph: KnowledgeGraph) -> dict[str, Any]:
    return {"content_hash": graph.content_hash, **graph.counts()}


def _write_model(
    engine: Engine, release: Release, name: str, folder: Path, kept: torch.Tensor, number: np.ndarray
) -> None:
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    former, served = release.model_folder(name), engine.model(name)
    for file in _COPIED:
        if (former / file).exists():
            shutil.copyfile(former / file, folder / file)
    weights = {
        key: (tensor[kept] if key in served.scorer.by_entity else tensor).contiguous()
        for key, tensor in served.scorer.state_dict().items()
    }
    save_file(weights, folder / "weights.safetensors")
    spec = served.settings.index
    indexes.build(spec, served.vectors.base[kept].contiguous(), served.scorer.metric).save(folder / "index.faiss")
    estimates: Estimates = served.estimates.renumbered(number)
    estimates.save(folder / "estimates.safetensors")
