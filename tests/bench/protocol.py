"""What all runs of the training benchmark share: the model's size, how they are validated, and a clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split
from tests.bench import machine
from tests.bench.machine import matmul_precision

WIDTH = 200
SEED = 0
INITIAL_SCALE = 0.01

Task = dict[str, Any]
Settings = dict[str, Any]


def triples(graph: KnowledgeGraph, split: Split) -> torch.Tensor:
    """int64 `[m, 3]`: subject, relation, object."""
    table = graph.statements.in_split(split)
    return torch.from_numpy(np.stack([table.subject, table.relation, table.object], axis=1).astype(np.int64))


class Clock:
    """Cuts a training into epochs, validation left out, and notes memory before the first validation."""

    def __init__(self, validate: Callable[[], float]) -> None:
        self.validate, self.epochs, self.before_mib = validate, [], machine.peak_memory_mib()
        self.started: float | None = None
        self.peak_mib = 0.0

    def start(self) -> None:
        """An epoch begins; a second call is ignored."""
        if self.started is None:
            self.started = time.perf_counter()

    def stop(self) -> float:
        """An epoch has ended: validate and wait for the next."""
        assert self.started is not None
        took = time.perf_counter() - self.started
        self.peak_mib = self.peak_mib or machine.peak_memory_mib()
        with matmul_precision("highest"):  # "medium" may round scores to bfloat16, which ranks would show
            self.epochs.append({"duration_s": took, "mrr": self.validate()})
        self.started = None
        return self.epochs[-1]["mrr"]

    def result(self, settings: Settings) -> dict[str, Any]:
        """Plain values; the first epoch is warm-up wherever there are others."""
        durations = [epoch["duration_s"] for epoch in self.epochs]
        return {
            "settings": settings,
            "epoch_s": statistics.median(durations[1:] or durations),
            "peak_mib": self.peak_mib,
            "before_training_mib": self.before_mib,
            "epochs": self.epochs,
        }
