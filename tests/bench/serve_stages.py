"""Where the time of one question goes: what the parts of the engine take in batches of many sizes, and what is left for HTTP."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch

from kgservice.answers import Question
from kgservice.engine import Engine
from kgservice.engine.filled import Filled
from kgservice.engine.reading import Reading
from kgservice.evaluation.calibration import Calibration
from kgservice.graph import KnowledgeGraph
from kgservice.graph.views import Views
from kgservice.index.exact import ExactIndex

REPEATS = 3


def stages(engine: Engine, asked: Sequence[Question], size: int, seconds: float, **how: Any) -> dict[str, float]:
    """Microseconds of a question by stage, on one thread, where `size` are answered together; the best of some runs.

    Args:
        engine: that answers.
        asked: distinct questions, more than `size`.
        size: questions answered together.
        seconds: of each run.
        how: as for `Engine.complete`.
    """
    scorers = {type(model.scorer) for model in engine._models.values()}
    parts: dict[str, list[tuple[type, str]]] = {
        "names to ids": [(Reading, "batch")],
        "question vectors": [(scorer, "query_vectors") for scorer in scorers],
        "what is known": [(KnowledgeGraph, "stated"), (KnowledgeGraph, "loops")],
        "labels of the question": [(Views, "echo"), (Views, "pairs")],
        "search": [(ExactIndex, "search")],
        "probabilities": [(Calibration, "probability")],
        "JSON": [(Filled, "written")],
    }
    spent: dict[str, float] = defaultdict(float)

    def timed(stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return work(*args, **kwargs)
            finally:
                spent[stage] += time.perf_counter() - started

        return run

    threads, best = torch.get_num_threads(), {"all": float("inf")}
    torch.set_num_threads(1)
    try:
        with ExitStack() as patched:
            for stage, methods in parts.items():
                for owner, name in methods:
                    patched.enter_context(patch.object(owner, name, timed(stage, getattr(owner, name))))
            for _ in range(REPEATS):
                spent.clear()
                until, answered, started = time.perf_counter() + seconds, 0, time.perf_counter()
                while time.perf_counter() < until:
                    first = answered % (len(asked) - size)
                    answered += len(engine.complete_written(asked[first : first + size], **how))
                spent["all"] = time.perf_counter() - started
                each = {stage: round(took * 1e6 / answered, 1) for stage, took in spent.items()}
                best = min(best, each, key=lambda one: one["all"])
    finally:
        torch.set_num_threads(threads)
    return best
