"""Statements with qualifiers: training beside the products it cannot do without, answers with and without qualifiers.

Run it with `make bench-qualifiers`; README.md beside this file says what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from kgservice import datasets, pipeline, scorers
from kgservice.graph.statements import Split
from kgservice.recipe import Recipe
from kgservice.release import Release, ReleaseStore
from kgservice.resources import share
from kgservice.training import optimizers
from kgservice.training.loop import keep_freed_memory, resolve_precision
from kgservice.training.objectives import Workspace
from kgservice.training.questions import Questions
from kgservice.training.sharding import Shards
from kgservice.training.step import BatchLoss, steps_of
from tests.bench import machine

RECIPE = share() / "models" / "hyperformer-wd50k-100.toml"
STEPS, WARM = 20, 5
STARE = {
    "scorer": "stare",
    "width": 200,
    "transformer": {"layers": 2, "heads": 4, "hidden": 512, "input_dropout": 0.3, "dropout": 0.1},
    "training": {
        "batch_size": 128,
        "loss": "bce",
        "label_smoothing": 0.1,
        "optimizer": "adam",
        "learning_rate": 0.0001,
        "qualifier_values": False,
    },
}
"""As published: a batch of 128 questions, and messages along all edges at every step."""


def main() -> None:
    """Measure, write `results/qualifiers.json`, print it."""
    if sys.argv[1:2] == ["--worker"]:
        machine.write_result(Path(sys.argv[3]), train(json.loads(sys.argv[2])))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=300, help="of each kind")
    parser.add_argument("--out", type=Path, default=machine.RESULTS / "qualifiers.json")
    options = parser.parse_args()
    machine.warn_if_busy()
    result: dict[str, Any] = {
        "benchmark": "qualifiers",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.machine(),
        "code": machine.code(),
        "versions": machine.versions("torch", "numpy", "torch-geometric"),
        "dataset": "wd50k-100",
        "training": {
            name: machine.in_own_process("tests.bench.qualifiers", {"model": name})
            for name in ("hyperformer", "without-values", "blind", "stare")
        },
        "serving": serve(options.requests),
    }
    machine.write_result(options.out, result)
    print(json.dumps({"training": result["training"], "serving": result["serving"]}, indent=1))


def train(task: dict[str, Any]) -> dict[str, Any]:
    """A median step, what its products would take at the rate of this machine's, and statements a second."""
    name = task["model"]
    recipe = Recipe.load(RECIPE)
    tree = recipe.model_dump(mode="json")
    tree["models"]["without-values"] = json.loads(json.dumps(tree["models"]["hyperformer"]))
    tree["models"]["without-values"]["training"]["qualifier_values"] = False
    tree["models"]["stare"] = STARE
    settings = Recipe.parse(tree).models[name]
    graph = datasets.load("wd50k-100")
    scorer = scorers.build(settings, n=graph.n, r=graph.r)
    keep_freed_memory()
    scorer.prepare(graph, (Split.TRAIN,))
    device = torch.device("cpu")
    values = settings.training.qualifier_values
    questions = Questions.of(graph, (Split.TRAIN,), device, reads=scorer.reads, values=values)
    loss = BatchLoss(scorer, settings.training, Workspace(resolve_precision(settings.training.precision, device)))
    steps = steps_of(loss, questions, Shards(scorer.n))
    optimizer = optimizers.build(scorer, settings.training, by_rows=steps.by_rows)
    generator = torch.Generator().manual_seed(0)
    batches = questions.batches(
        settings.training.batch_size, generator, settings.training.weighting, settings.training.answers_at_once
    )

    def once() -> float:
        batch = next(batches)
        started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        steps.rest(batch, generator)
        optimizer.step()
        return time.perf_counter() - started

    counter = FlopCounterMode(display=False)
    with counter:
        once()
    for _ in range(WARM):
        once()
    step_s = statistics.median(once() for _ in range(STEPS))
    size = settings.training.batch_size
    products = machine.gemm_floor(batch=size, n=graph.n, width=settings.width, dtype=loss.workspace.precision)
    gflop = counter.get_total_flops() / 1e9
    per_epoch = -(-len(questions) // size)
    statements = len(graph.statements.in_split(Split.TRAIN))
    return {
        "questions": len(questions),
        "batch_size": size,
        "step_s": step_s,
        "epoch_s": step_s * per_epoch,
        "statements_per_s": statements / (step_s * per_epoch),
        "gflop_per_step": gflop,
        "precision": str(loss.workspace.precision).removeprefix("torch."),
        "gflops": products["gflops"],
        "over_floor": step_s / (gflop / products["gflops"]),
        "peak_mib": machine.peak_memory_mib(),
    }


def serve(requests: int) -> dict[str, Any]:
    """Latency over HTTP of single questions, one after the other, with and without qualifiers."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        recipe = Recipe.load(RECIPE, ["search.encoder=none", "models.hyperformer.training.epochs=1"])
        served = {name: recipe.models[name] for name in ("hyperformer", "blind")}  # blind is like hyperformer
        pipeline.build(recipe.model_copy(update={"models": served}), home, base=RECIPE.parent)
        release = ReleaseStore(home / "releases").get()
        command = [sys.executable, "-m", "kgservice", "serve", "--port", "0", "--log-level", "info"]
        environment = {**os.environ, "KGSERVICE_HOME": str(home)}
        log = home / "serve.log"
        with log.open("w") as sink:
            server = subprocess.Popen(command, env=environment, stdout=sink, stderr=sink)
        try:
            transport = httpx.HTTPTransport(retries=8)  # bound, but perhaps not yet listened to
            with httpx.Client(base_url=machine.address(log, server), timeout=60, transport=transport) as client:
                return {kind: _latency(client, questions) for kind, questions in _questions(release, requests).items()}
        finally:
            server.terminate()
            server.wait()


def _questions(release: Release, count: int) -> dict[str, list[dict[str, Any]]]:
    """Test statements without their objects: with their qualifiers, and the same without."""
    graph = release.graph
    table = graph.statements.in_split(Split.TEST)
    rows = np.random.default_rng(0).permutation(len(table))[:count].tolist()
    held = graph.literals.vocabulary
    with_pairs, without = [], []
    for row in rows:
        question = {
            "subject": graph.entities.name(int(table.subject[row])),
            "relation": graph.relations.name(int(table.relation[row])),
            "k": 10,
        }
        pairs = range(*table.qualifier_offset[row : row + 2])
        values = [int(table.qualifier_value[at]) for at in pairs]
        qualifiers = [
            {
                "relation": graph.relations.name(int(table.qualifier_relation[at])),
                "value": graph.entities.name(value) if value >= 0 else held.name(-1 - value),
            }
            for at, value in zip(pairs, values, strict=True)
        ]
        without.append({**question, "model": "blind"})
        with_pairs.append({**question, "qualifiers": qualifiers})
    return {"with qualifiers": with_pairs, "without, a model that reads none": without}


def _latency(client: httpx.Client, questions: list[dict[str, Any]]) -> dict[str, float]:
    took = []
    for question in questions:
        started = time.perf_counter()
        answer = client.post("/v1/complete", json=question)
        took.append(time.perf_counter() - started)
        answer.raise_for_status()
    low, high = np.quantile(took, [0.5, 0.99])
    return {"requests": len(took), "p50_ms": 1000 * float(low), "p99_ms": 1000 * float(high)}


if __name__ == "__main__":
    main()
