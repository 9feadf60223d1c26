"""What the report shows of one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kgservice.evaluation.calibration import Calibration
from kgservice.evaluation.ranking import Ranks
from kgservice.recipe import ModelSettings


@dataclass(frozen=True)
class ModelReport:
    """The measured parts of one model.

    Attributes:
        name, settings: as in the recipe.
        history: one row per epoch: `epoch`, `loss`, `duration_s`, `validation` (None where none was made).
        ranks: of the test split.
        metrics: everything measured, as in `metrics.json`.
        calibrations: by "classification" and by slot.
        entity_vectors: float32 `[n, d]`.
    """

    name: str
    settings: ModelSettings
    history: Sequence[Mapping[str, float | None]]
    ranks: Ranks
    metrics: Mapping[str, Any]
    calibrations: Mapping[str, Calibration]
    entity_vectors: npt.NDArray[np.float32]
