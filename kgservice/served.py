"""A model of a release, opened for answering."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from kgservice import index as indexes
from kgservice.errors import DataError
from kgservice.estimates import Estimates
from kgservice.evaluation.calibration import Calibration
from kgservice.index import ExactIndex, Index
from kgservice.recipe import ModelSettings, Recipe
from kgservice.release import Release
from kgservice.scorers import build as build_scorer
from kgservice.scorers.base import VectorScorer
from kgservice.type_head import TypeHead


@dataclass(frozen=True)
class ServedModel:
    """A model opened for answering."""

    name: str
    settings: ModelSettings
    scorer: VectorScorer
    index: Index
    relation_index: Index
    calibrations: Mapping[str, Calibration]
    vectors: npt.NDArray[np.float32]
    """float32 `[n, d]`: the entities'."""
    estimates: Estimates
    type_head: TypeHead
    uncertainty: npt.NDArray[np.float32] | None
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
            vectors.numpy(),
            Estimates.open(folder / "estimates.safetensors"),
            TypeHead.open(folder / "types.safetensors", vectors.shape[1]),
            None if (spread := scorer.spread()) is None else (spread / spread.median()).detach().numpy(),
        )
