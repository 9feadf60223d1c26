"""Embeddings trained elsewhere as a model: rows are mapped by name onto the graph's vocabularies, nothing is trained.

No file is unpickled. To add a format: a module here with `read`, a line in `FORMATS`, its name in `recipe.WeightsSettings`.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kgservice import scorers
from kgservice.errors import DataError, RecipeError
from kgservice.files import sha256_of
from kgservice.graph.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

    from kgservice.graph import KnowledgeGraph
    from kgservice.imports.embeddings import Embeddings
    from kgservice.recipe import ModelSettings
    from kgservice.scorers.base import VectorScorer

logger = logging.getLogger(__name__)

FORMATS = {
    "arrays": "kgservice.imports.arrays",
    "libkge": "kgservice.imports.libkge",
    "pykeen": "kgservice.imports.pykeen",
}
"""Name in a recipe → the module whose `read(settings, scorer, path, base)` gives `Embeddings`."""
SHOWN = 5


@dataclass(frozen=True)
class ImportedModel:
    """A model made of foreign weights.

    Attributes:
        settings: the recipe's, with the width and the reciprocity of the weights.
        scorer: in evaluation mode.
        report: what was read, and how many rows were mapped, filled and left over; plain values.
    """

    settings: ModelSettings
    scorer: VectorScorer
    report: dict[str, Any]


def load(settings: ModelSettings, graph: KnowledgeGraph, base: Path) -> ImportedModel:
    """Read a model's weights and map them onto a graph.

    Args:
        settings: with `weights.path`.
        graph: whose entities and relations get the rows of the same name.
        base: the folder that the paths in `settings.weights` are relative to.

    Raises:
        RecipeError: a width, reciprocity, scorer or norm that the weights do not have.
        DataError: files that cannot be read, names that do not fit the rows, or entities of the graph without a row.
    """
    import torch

    wanted = settings.weights
    path = base / str(wanted.path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; weights.path is relative to the recipe")
    read: Callable[..., Embeddings] = importlib.import_module(FORMATS[wanted.format]).read
    found = read(wanted, settings.scorer, path, base)
    _check(found, path)
    settings = _settled(settings, width=int(found.entity.shape[1]), reciprocal=found.inverse is not None, path=path)
    scorer = scorers.build(settings, n=graph.n, r=graph.r)
    entity, entity_counts = _mapped(found.entity, found.entities, graph.entities)
    relation, relation_counts = _mapped(found.relation, found.relations, graph.relations)
    lacking = entity_counts.pop("lacking")
    if len(lacking):
        if wanted.missing == "error":
            raise DataError(
                f"{path}: no row for {len(lacking):,} of the graph's {graph.n:,} entities: "
                f"{_some(graph.entities, lacking)}. Give them zeros or the mean row: weights.missing = 'zero' or 'mean'."
            )
        if wanted.missing == "mean":
            entity[lacking] = found.entity.mean(dim=0)
    unlinked = relation_counts.pop("lacking")
    lacking = unlinked[graph.linking[unlinked]]  # relations that link nothing are never asked about
    if len(lacking) and wanted.missing == "error":
        raise DataError(
            f"{path}: no row for {len(lacking):,} of the graph's {graph.r:,} relations: {_some(graph.relations, lacking)}. "
            "Give them zeros: weights.missing = 'zero'."
        )
    tables = [relation]
    if found.inverse is not None:
        tables.append(_mapped(found.inverse, found.relations, graph.relations)[0])
    state = {"entity": entity, "relation": torch.cat(tables)}
    for name, held in scorer.state_dict().items():
        if name not in state or state[name].shape != held.shape:
            given = tuple(state[name].shape) if name in state else "nothing"
            raise DataError(
                f"{path}: {settings.scorer} needs a table {name} of shape {tuple(held.shape)}, found {given}"
            )
    scorer.load_state_dict(state)
    report = {
        "format": wanted.format,
        "files": {file.name: sha256_of(file) for file in found.files},
        "missing": wanted.missing,
        "entities": entity_counts,
        "relations": relation_counts,
    }
    for what, counts in (("entities", entity_counts), ("relations", relation_counts)):
        level = logging.WARNING if counts["filled"] or counts["extra"] else logging.INFO
        logger.log(level, "%s: %s: %s", path, what, ", ".join(f"{count:,} {kind}" for kind, count in counts.items()))
    return ImportedModel(settings, scorer.eval(), report)


def _check(found: Embeddings, path: Path) -> None:
    import torch

    tables = {"entity": (found.entity, found.entities), "relation": (found.relation, found.relations)}
    if found.inverse is not None:
        tables["inverse"] = (found.inverse, found.relations)
    for what, (table, names) in tables.items():
        if len(table) != len(names):
            raise DataError(f"{path}: {len(table):,} rows of {what} for {len(names):,} names")
        if not bool(torch.isfinite(table).all()):
            raise DataError(f"{path}: the table {what} holds values that are not finite")


def _settled(settings: ModelSettings, *, width: int, reciprocal: bool, path: Path) -> ModelSettings:
    """The settings with what the weights decide; a recipe that says otherwise is refused."""
    for name, value in (("width", width), ("reciprocal", reciprocal)):
        given = getattr(settings, name)
        if name in settings.model_fields_set and given != value:
            told, has = (str(item).lower() for item in (given, value))
            raise RecipeError(
                f"{path}: the weights have {name} = {has}, the recipe says {told}; leave it out of the recipe"
            )
    return settings.model_copy(update={"width": width, "reciprocal": reciprocal})


def _mapped(table: Tensor, names: Sequence[str], vocabulary: Vocabulary) -> tuple[Tensor, dict[str, Any]]:
    """The rows in the order of a vocabulary, zeros where there is none, and counts of what became of them."""
    import torch

    ids = vocabulary.ids(names)
    known = np.flatnonzero(ids >= 0)
    rows = torch.zeros(len(vocabulary), table.shape[1])
    rows[torch.from_numpy(ids[known].astype(np.int64))] = table[torch.from_numpy(known)]
    lacking = np.ones(len(vocabulary), dtype=bool)
    lacking[ids[known]] = False
    counts = {"mapped": len(known), "filled": int(lacking.sum()), "extra": len(names) - len(known)}
    return rows, {**counts, "lacking": np.flatnonzero(lacking)}


def _some(vocabulary: Vocabulary, ids: npt.NDArray[np.int64]) -> str:
    shown = ", ".join(repr(name) for name in vocabulary.names_of(ids[:SHOWN]))
    return shown + (", …" if len(ids) > SHOWN else "")
