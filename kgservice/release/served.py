"""A model of a release, opened for answering."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kgservice import index as indexes
from kgservice.arrays.layers import Layers
from kgservice.errors import DataError
from kgservice.evaluation.calibration import Calibration
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split
from kgservice.heads.estimates import Estimates
from kgservice.heads.types import TypeHead
from kgservice.heads.zero_shot import ZeroShot
from kgservice.index import ExactIndex, LayeredIndex, Searcher
from kgservice.recipe import ModelSettings, Recipe
from kgservice.release import Release
from kgservice.scorers import build as build_scorer
from kgservice.scorers.base import VectorScorer


@dataclass(frozen=True)
class AddedRows:
    """What a model keeps of added entities.

    Attributes:
        rows: float32 `[a, w]`, what it is asked about them with.
        vectors: float32 `[a, d]`, what they answer with.
        able: bool `[a]`, whether it knows enough of each; the rows of others mean nothing.
    """

    rows: Tensor
    vectors: Tensor
    able: npt.NDArray[np.bool_]

    def take(self, places: npt.NDArray[np.int64]) -> AddedRows:
        """Those at some places."""
        chosen = torch.from_numpy(places)
        return AddedRows(self.rows[chosen], self.vectors[chosen], self.able[places])


@dataclass(frozen=True)
class ServedModel:
    """A model opened for answering."""

    name: str
    settings: ModelSettings
    scorer: VectorScorer
    index: Searcher
    relation_index: Searcher
    calibrations: Mapping[str, Calibration]
    vectors: Layers
    """`[n + a, d]`: the entities', and those of the `a` that were added."""
    added: AddedRows | None
    """What it keeps of those; None where it is as it was learnt."""
    estimates: Estimates
    type_head: TypeHead
    zero_shot: ZeroShot
    spread: npt.NDArray[np.float32] | None
    """float32 `[n]`: the spread of every entity over the median one's; None where the model keeps none."""

    @classmethod
    def open(cls, release: Release, name: str) -> ServedModel:
        """Map the weights and open the index."""
        from safetensors.torch import load_file

        folder = release.model_folder(name)
        recipe = Recipe.load(folder / "recipe.toml")
        settings, graph = recipe.models[name], release.graph
        weights = load_file(folder / "weights.safetensors")
        with torch.device("meta"):
            scorer = build_scorer(settings, n=graph.n, r=graph.r)
        scorer.load_state_dict(weights, assign=True)
        scorer.eval()
        scorer.reopen(folder, graph, tuple(Split[name.upper()] for name in settings.training.splits))
        path = folder / "calibration.json"
        written = json.loads(path.read_text(encoding="utf-8"))
        try:
            calibrations = {what: Calibration.from_json(values) for what, values in written.items()}
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        vectors = scorer.entity_vectors().detach()
        return cls(
            name,
            settings,
            scorer,
            indexes.load(settings.index, folder / "index.faiss", vectors, scorer.metric),
            ExactIndex(scorer.relation_vectors().detach(), scorer.relation_metric),
            calibrations,
            Layers.of(vectors),
            None,
            Estimates.open(folder / "estimates.safetensors"),
            TypeHead.open(folder / "types.safetensors", vectors.shape[1]),
            ZeroShot.open(folder / "zero_shot.safetensors"),
            None if (spread := scorer.spread()) is None else (spread / spread.median()).detach().numpy(),
        )

    def knows(self, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """bool `[b]`: whether the model can be asked about entities, and answer for them."""
        n = len(self.vectors.base)
        known: npt.NDArray[np.bool_] = ids < n
        if self.added is not None and len(self.added.able):
            known = known | self.added.able[np.where(known, 0, ids - n)]
        return known

    @cached_property
    def variance(self) -> float:
        """Of a coordinate, over the entities that were learnt."""
        table = self.vectors.base
        return float(table.var(0).mean()) if len(table) > 1 else 1.0

    def uncertainty(self, entity: int) -> float | None:
        """The spread of an entity over the median one's; None where the model keeps none, or has not learnt it."""
        return float(self.spread[entity]) if self.spread is not None and entity < len(self.spread) else None

    def uncertainties(self, entities: npt.NDArray[np.int32]) -> npt.NDArray[np.float32] | None:
        """The same of many, NaN where the model has not learnt one."""
        if self.spread is None:
            return None
        learnt = (entities >= 0) & (entities < len(self.spread))
        return np.where(learnt, self.spread[np.where(learnt, entities, 0)], np.float32(np.nan))

    def grown(self, added: AddedRows, graph: KnowledgeGraph) -> ServedModel:
        """This model, as it was learnt, with entities added behind.

        Args:
            added: what it keeps of them.
            graph: they alone, with texts and statements.
        """
        scorer = self.scorer.grown(added.rows, graph) if self.scorer.grows else self.scorer
        return replace(
            self,
            scorer=scorer,
            index=LayeredIndex(self.index, ExactIndex(added.vectors, scorer.metric), added.able),
            vectors=Layers(self.vectors.base, added.vectors),
            added=added,
        )
