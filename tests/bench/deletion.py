"""What the deletion test of explanations tells, beside what retraining without each fact does to the same scores.

A small part of CoDEx-S. For each of a few entities every fact is taken out in turn and the model is trained anew, with the same
seed; how far the scores of held-out statements about the entity fall is compared with what the test says of the model that was
trained on all, by rank correlation over the facts of one statement. Two trainings of other seeds do not agree either: the
correlation of one's falls with the other's tells how much of what retraining does is more than chance.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from kgservice import datasets
from kgservice.arrays.layers import Layers
from kgservice.evaluation.evidence import statement_scores
from kgservice.explain import deletion, teaching
from kgservice.explain.adjacency import Adjacency
from kgservice.graph import KnowledgeGraph
from kgservice.graph.erasing import without
from kgservice.graph.statements import Split
from kgservice.query import QueryBatch, Slot
from kgservice.recipe import ModelSettings
from kgservice.release.served import ServedModel
from kgservice.scorers import build
from kgservice.scorers.base import VectorScorer
from kgservice.training.loop import fit
from tests.bench import machine

DATA = "codex-s"
ENTITIES = 120
"""The best-connected ones, and what is stated between them."""
FACTS = (12, 45)
"""Of an entity whose facts are taken out."""
ASKED = 10
"""Statements about it at most, of those held out."""
_ADAM = {"batch_size": 128, "optimizer": "adam", "device": "cpu", "precision": "float32", "averaging": 0.9}
MODELS: dict[str, dict[str, Any]] = {
    "complex": {
        "scorer": "complex", "width": 64, "initial_scale": 0.1, "training": {"epochs": 40, "learning_rate": 0.01, "n3": 0.01},
    },
    "nfe1": {"scorer": "nfe1", "width": 64, "initial_scale": 0.1, "training": {"epochs": 40, "learning_rate": 0.01, "n3": 0.01}},
    "stare": {
        "scorer": "stare", "width": 32, "transformer": {"heads": 2, "layers": 1, "qualifiers": 0},
        "training": {"epochs": 40, "learning_rate": 0.003},
    },
    "bi-encoder": {
        "scorer": "bi-encoder", "width": 32, "text": {"encoder": "none", "words": 64, "hidden": 64},
        "training": {"epochs": 40, "learning_rate": 0.003},
    },
}  # fmt: skip
"""Small, so that each is trained hundreds of times."""

Floats = npt.NDArray[np.float64]


def main() -> None:
    """Measure every model, write `results/deletion.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--models", nargs="+", default=list(MODELS), choices=MODELS, help="others keep their last figures"
    )
    parser.add_argument("--entities", type=int, default=2, help="whose facts are taken out")
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each")
    parser.add_argument("--out", type=Path, default=machine.RESULTS / "deletion.json")
    options = parser.parse_args()
    former = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    graph = part()
    result = {"benchmark": "deletion", "data": DATA, "graph": graph.counts(), "models": former.get("models", {})}
    for name in options.models:
        result["models"][name] = measure(name, graph, options.entities, options.seeds)
        machine.write_result(options.out, result)
        print(json.dumps({name: result["models"][name]["figures"]}, indent=1))


def part() -> KnowledgeGraph:
    """The best-connected entities and what is stated between them."""
    graph = datasets.load(DATA)
    table = graph.statements
    links = np.bincount(np.concatenate([table.subject, table.object]), minlength=graph.n)
    return without(graph, np.argsort(-links, kind="stable")[ENTITIES:])[0]


def measure(name: str, graph: KnowledgeGraph, entities: int, seeds: int) -> dict[str, Any]:
    """Train, explain, and train anew without each fact."""
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    settings = ModelSettings.model_validate({**MODELS[name], "training": {**_ADAM, **MODELS[name]["training"]}})
    adjacency = Adjacency.of(graph)
    whole = [trained(settings, graph, seed) for seed in range(seeds)]
    found = []
    for entity in chosen(graph, adjacency, entities):
        asked = held_out(graph, entity)
        facts = np.unique(adjacency.row[adjacency.edges([entity]).values])
        told = np.stack([_told(settings, one, graph, adjacency, asked, facts) for one in whole])
        before = np.stack([statement_scores(one, asked) for one in whole])
        falls = np.zeros((seeds, len(asked), len(facts)))
        for place, row in enumerate(facts.tolist()):
            less = replace(graph, statements=graph.statements.take(np.delete(np.arange(len(graph.statements)), row)))
            for seed in range(seeds):
                falls[seed, :, place] = before[seed] - statement_scores(trained(settings, less, seed), asked)
        found.append((told, falls))
        print(f"{name}: {graph.entities.name(entity)}, {len(facts)} facts, {len(asked)} statements", flush=True)
    return {
        "started": started,
        "machine": machine.machine(),
        "code": machine.code(),
        "versions": machine.versions("torch", "numpy", "scipy"),
        "settings": MODELS[name] | {"training": _ADAM | MODELS[name]["training"]},
        "seeds": seeds,
        "trainings": seeds * (1 + sum(falls.shape[2] for _, falls in found)),
        "figures": figures(found),
        "duration_s": time.perf_counter() - clock,
    }


def trained(settings: ModelSettings, graph: KnowledgeGraph, seed: int) -> VectorScorer:
    """A model of the graph, the same each time for a seed."""
    settings = settings.model_copy(update={"training": settings.training.model_copy(update={"seed": seed})})
    scorer = build(settings, n=graph.n, r=graph.r)
    fit(scorer, graph, settings.training)
    return scorer.eval()


def chosen(graph: KnowledgeGraph, adjacency: Adjacency, count: int) -> list[int]:
    """Entities with some facts and statements held out, evenly taken."""
    table = graph.statements.take(graph.statements.split != Split.TRAIN)
    asked = np.bincount(np.concatenate([table.subject, table.object]), minlength=graph.n)
    able = np.flatnonzero((adjacency.degree >= FACTS[0]) & (adjacency.degree <= FACTS[1]) & (asked >= 2))
    return able[np.unique(np.linspace(0, len(able) - 1, count).astype(np.int64))].tolist() if len(able) else []


def held_out(graph: KnowledgeGraph, entity: int) -> QueryBatch:
    """Statements about an entity that were not learnt."""
    table = graph.statements
    rows = np.flatnonzero((table.split != Split.TRAIN) & ((table.subject == entity) | (table.object == entity)))[:ASKED]
    return graph.questions(Slot.OBJECT, table.take(rows))[0]


def _told(
    settings: ModelSettings,
    scorer: VectorScorer,
    graph: KnowledgeGraph,
    adjacency: Adjacency,
    asked: QueryBatch,
    facts: npt.NDArray[np.int64],
) -> Floats:
    """float64 `[q, f]`: what the test says each statement's score falls by without each fact; 0 for one it does not tell of."""
    nothing = cast(Any, None)
    vectors = Layers.of(scorer.entity_vectors().detach())
    served = ServedModel(
        "model", settings, scorer, nothing, nothing, {}, vectors, None, nothing, nothing, nothing, None
    )
    told = np.zeros((len(asked), len(facts)))
    for number in range(len(asked)):
        one = asked.take([number])
        found = (
            deletion.falls(served, adjacency, one)
            if deletion.testable(served)
            else teaching.falls(served, graph, adjacency, one)
        )
        place = np.searchsorted(facts, found.row)
        here = (place < len(facts)) & (facts[np.minimum(place, len(facts) - 1)] == found.row)
        np.add.at(told[number], place[here], found.fall[here])
    return told


def figures(found: list[tuple[Floats, Floats]]) -> dict[str, Any]:
    """Mean rank correlations over statements, each over the facts of one entity, with bootstrap intervals of the mean."""
    mean, single, between, top = [], [], [], []
    for told, falls in found:
        for number in range(falls.shape[1]):
            truth, said = falls[:, number].mean(0), told[:, number].mean(0)
            mean.append(_rank(said, truth))
            single += [_rank(told[seed, number], falls[seed, number]) for seed in range(len(falls))]
            between += [_rank(falls[0, number], other[number]) for other in falls[1:]]
            top.append(float(truth.argmax() == said.argmax()))
    return {
        "statements": len(mean),
        "rank_correlation": _interval(mean),
        "rank_correlation_of_one_seed": _interval(single),
        "rank_correlation_of_retrainings": _interval(between),
        "most_important_fact_named": _interval(top),
        "by_chance": float(np.mean([1 / falls.shape[2] for _, falls in found for _ in range(falls.shape[1])])),
    }


def _rank(one: Floats, other: Floats) -> float:
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one, other).statistic)


def _interval(values: list[float]) -> dict[str, float]:
    drawn = np.random.default_rng(0).choice(values, (2000, len(values))).mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    return {"mean": float(np.mean(values)), "low": low, "high": high}


if __name__ == "__main__":
    main()
