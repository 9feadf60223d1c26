"""A graph of a million entities on one machine: does an epoch fit into 4 GiB, how fast is it, and does it learn?

Run it with `make bench-million`; README.md beside this file says what is made up and measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from kgservice import scorers
from kgservice.evaluation.ranking import rank
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split, StatementTable
from kgservice.graph.vocabulary import Vocabulary
from kgservice.recipe import ModelSettings
from kgservice.scorers.base import VectorScorer
from kgservice.training.loop import fit
from tests.bench import machine

BAR_MIB = 4096
CLUSTERS = 100
"""Groups of entities; a relation leads from every one to one other."""
HELD_OUT = 300
"""Statements that are validated on, both sides, among all entities."""
TRAINING = {
    "epochs": 1,
    "batch_size": 4096,
    "learning_rate": 0.1,
    "negatives": 4096,
    "evaluate_every": 1,
    "weighting": "triples",
    "seed": 0,
}


def main() -> None:
    """Measure in a process of its own, write `results/million.json`, print the figures."""
    if sys.argv[1:2] == ["--worker"]:
        machine.write_result(Path(sys.argv[3]), measure(json.loads(sys.argv[2])))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, default=1_000_000)
    parser.add_argument("--statements", type=int, default=5_000_000)
    parser.add_argument("--relations", type=int, default=50)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a training setting")
    parser.add_argument("--out", type=Path, default=machine.RESULTS / "million.json")
    options = parser.parse_args()
    machine.warn_if_busy()
    changes = {key: json.loads(value) for key, value in (pair.split("=") for pair in options.set)}
    task = {
        "entities": options.entities,
        "statements": options.statements,
        "relations": options.relations,
        "width": options.width,
        "training": {**TRAINING, **changes},
    }
    started = {"benchmark": "million", "started": datetime.now(UTC).isoformat(timespec="seconds")}
    facts = {"machine": machine.machine(), "code": machine.code(), "versions": machine.versions("torch", "numpy")}
    result = {**started, **facts, "task": task, **machine.in_own_process("tests.bench.million", task)}
    result["bars"] = {"peak_mib_below": BAR_MIB, "met": result["peak_mib"] < BAR_MIB}
    machine.write_result(options.out, result)
    print(
        json.dumps(
            {key: result[key] for key in ("peak_mib", "training_peak_mib", "epochs", "statements_per_s", "validation")}
        )
    )


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Make the graph, train, validate."""
    clock = time.perf_counter()
    graph = made(task["entities"], task["statements"], task["relations"])
    graph_s, graph_mib = time.perf_counter() - clock, machine.peak_memory_mib()
    settings = ModelSettings.model_validate({"width": task["width"], "training": task["training"]})
    table = graph.statements.in_split(Split.VALID)
    held_out = table.take(np.sort(np.random.default_rng(0).choice(len(table), HELD_OUT, replace=False)))

    def mrr(scorer: VectorScorer) -> dict[str, float]:
        return rank(scorer, graph, held_out, batch_size=32).figures()

    scorer = scorers.build(settings, n=graph.n, r=graph.r)
    before = mrr(scorer)
    validated: list[dict[str, float]] = []

    def validate(scorer: VectorScorer) -> float:
        training_mib.append(machine.peak_memory_mib())
        validated.append(mrr(scorer))
        return validated[-1]["mrr"]

    training_mib: list[float] = []
    before_mib = machine.peak_memory_mib()
    machine.reset_peak_memory()
    with tempfile.TemporaryDirectory() as folder:
        history = fit(scorer, graph, settings.training, validate=validate, checkpoint=Path(folder) / "run.safetensors")
    train = int((graph.statements.split == Split.TRAIN).sum())
    seconds = min(epoch.duration_s for epoch in history.epochs)
    chance = float(np.log(graph.n) / graph.n)
    return {
        "graph": {**graph.counts(), "made_s": graph_s, "peak_mib": graph_mib},
        "table_mib": graph.n * task["width"] * 4 / 2**20,
        "peak_mib": max(before_mib, machine.peak_memory_mib()),
        "training_peak_mib": training_mib[0],
        "epochs": [{"loss": epoch.loss, "duration_s": epoch.duration_s} for epoch in history.epochs],
        "statements_per_s": train / seconds,
        "validation": {"untrained": before, "epochs": validated, "chance_mrr": chance},
    }


def made(entities: int, statements: int, relations: int) -> KnowledgeGraph:
    """Relations lead from cluster to cluster; within one, the objects' popularity falls as 1 over their number."""
    random = np.random.default_rng(0)
    goal = np.stack([random.permutation(CLUSTERS) for _ in range(relations)])
    subject = random.integers(0, entities, statements, dtype=np.int32)
    relation = random.integers(0, relations, statements, dtype=np.int32)
    popularity = np.cumsum(np.arange(1, entities // CLUSTERS + 1) ** -1.5)
    member = np.searchsorted(popularity, random.random(statements) * popularity[-1]).astype(np.int32)
    object = (goal[relation, subject % CLUSTERS] + member * CLUSTERS).astype(np.int32)
    split = np.zeros(statements, dtype=np.int8)
    split[random.choice(statements, statements // 500, replace=False)] = Split.VALID
    table = StatementTable.build(subject, relation, object, split=split)
    names = Vocabulary.build([f"e{i:07d}" for i in range(entities)])
    return KnowledgeGraph(names, Vocabulary.build([f"r{i:02d}" for i in range(relations)]), table)


if __name__ == "__main__":
    main()
