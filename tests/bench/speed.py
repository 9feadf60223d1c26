"""Filtered evaluation of the same weights by us and by the peers, and the one product that nobody can do without."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from kgservice import datasets, products, scorers
from kgservice.evaluation.ranking import ENTITIES, SIDES, rank
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split, StatementTable
from kgservice.recipe import ModelSettings
from kgservice.scorers.bilinear import ComplEx
from kgservice.training.loop import fit
from tests.bench import machine, peers
from tests.bench.machine import matmul_precision
from tests.bench.protocol import SEED, WIDTH, Task, triples

EVALUATED = {"ours": 20_000, "pykeen": 2_000, "torch_geometric": 200}
SAMPLE = 200
"""So many statements' ranks must be the same."""
BATCHES = {"pykeen": (16, 64, 256), "floor": (128, 512)}
ROADS = {"torch": products.plain, "onednn_packed": products.packed, "onednn": products.layered}


def run_evaluation(task: Task) -> dict[str, Any]:
    """Filtered ranks of the same weights by both, and whether they agree.

    Raises:
        AssertionError: a realistic rank differs.
    """
    graph = datasets.load(task["dataset"])
    warnings.filterwarnings("ignore")
    _, model = peers.pykeen_model(graph, peers.LCWA_FIRST[0])
    training = {**task["settings"], "epochs": task["epochs"], "seed": SEED}
    settings = ModelSettings.model_validate({"scorer": "complex", "width": WIDTH, "training": training})
    scorer = scorers.build(settings, n=graph.n, r=graph.r)
    assert isinstance(scorer, ComplEx)
    fit(scorer, graph, settings.training)
    peers.pykeen_import(scorer, model)

    valid = graph.statements.in_split(Split.VALID)
    random = np.random.default_rng(SEED)

    def part(size: int) -> StatementTable:
        return valid.take(np.sort(random.permutation(len(valid))[:size]))

    result: dict[str, Any] = {"equal_ranks": _compare(graph, scorer, model, part(SAMPLE))}
    table = part(EVALUATED["ours"])
    result["ours"] = _ours(graph, scorer, table)
    result["floor"] = floor = _floor(scorer, table)
    result["pykeen"] = _pykeen(graph, model, part(EVALUATED["pykeen"]))
    result["torch_geometric"] = _torch_geometric(graph, scorer, part(EVALUATED["torch_geometric"]))
    took = len(table) / result["ours"]["statements_per_s"]
    result["over_pykeen"] = result["ours"]["statements_per_s"] / result["pykeen"]["statements_per_s"]
    result["of_floor"] = {road: found["seconds"] / took for road, found in floor["roads"].items()}
    return result


def _compare(graph: KnowledgeGraph, scorer: ComplEx, model: Any, table: StatementTable) -> int:
    """How many ranks were compared in float64, where rounding makes no ties and breaks none; all must be equal."""
    single = {name: value.clone() for name, value in scorer.state_dict().items()}
    scorer.double(), model.double()
    ours = rank(scorer, graph, table)
    _, evaluator = _evaluate_pykeen(graph, model, table, 32)
    for side in (SIDES[slot] for slot in ENTITIES):
        theirs = np.concatenate([np.ravel(ranks) for ranks in evaluator.ranks[side, "realistic"]])
        mine = ours.where(ours.side == side).ranks()
        assert np.array_equal(mine, theirs), (
            f"{side}: {(mine != theirs).sum()} of {len(mine)} ranks differ from PyKEEN's"
        )
    scorer.float(), model.float()
    scorer.load_state_dict(single)
    return len(ours)


def _ours(graph: KnowledgeGraph, scorer: ComplEx, table: StatementTable) -> dict[str, Any]:
    machine.reset_peak_memory()
    before = machine.peak_memory_mib()
    first = _timed(lambda: rank(scorer, graph, table))
    with matmul_precision("medium"):
        medium = statistics.median(_timed(lambda: rank(scorer, graph, table)) for _ in range(3))
    plain = statistics.median(_timed(lambda: rank(scorer, graph, table)) for _ in range(5))
    return {
        "statements": len(table),
        "first_call_s": first,
        "statements_per_s": len(table) / plain,
        "statements_per_s_medium_precision": len(table) / medium,
        "peak_mib": machine.peak_memory_mib(),
        "before_mib": before,
    }


def _floor(scorer: ComplEx, table: StatementTable) -> dict[str, Any]:
    """One float32 product of all distinct questions with all entities, by each road, at its best of a few batch sizes."""
    pairs = ((table.subject, table.relation), (table.object, table.relation))
    questions = sum(len(np.unique(np.stack(pair), axis=1).T) for pair in pairs)
    candidates = scorer.entity.detach()
    roads: dict[str, Any] = {}
    with torch.inference_mode(), matmul_precision("highest"):
        for name, making in ROADS.items():
            for rows in BATCHES["floor"]:
                queries = torch.randn(rows, WIDTH)
                try:
                    road = making(candidates, None, rows)
                    took = machine.median_time(lambda road=road, queries=queries: road(queries), 0.5) / rows * questions
                except (AttributeError, RuntimeError):
                    continue  # this torch has no such road
                if name not in roads or took < roads[name]["seconds"]:
                    rate = 2 * questions * candidates.numel() / took / 1e9
                    roads[name] = {"seconds": took, "gflops": rate, "batch_size": rows}
    return {"distinct_questions": questions, "entities": len(candidates), "roads": roads}


def _pykeen(graph: KnowledgeGraph, model: Any, table: StatementTable) -> dict[str, Any]:
    """Its evaluator at the best of three batch sizes, at "medium" precision, which is its fastest."""
    machine.reset_peak_memory()
    before = machine.peak_memory_mib()
    with matmul_precision("medium"):
        tried = {
            str(batch_size): len(table) / _evaluate_pykeen(graph, model, table, batch_size)[0]
            for batch_size in BATCHES["pykeen"]
        }
    return {
        "statements": len(table),
        "statements_per_s_by_batch_size": tried,
        "statements_per_s": max(tried.values()),
        "peak_mib": machine.peak_memory_mib(),
        "before_mib": before,
    }


def _evaluate_pykeen(graph: KnowledgeGraph, model: Any, table: StatementTable, batch_size: int) -> tuple[float, Any]:
    from pykeen.evaluation import RankBasedEvaluator

    known = [triples(graph, split) for split in Split]
    evaluator = RankBasedEvaluator(filtered=True, clear_on_finalize=False)
    asked = np.stack([table.subject, table.relation, table.object], axis=1).astype(np.int64)
    took = _timed(
        lambda: evaluator.evaluate(
            model=model,
            mapped_triples=torch.from_numpy(asked),
            batch_size=batch_size,
            additional_filter_triples=known,
            use_tqdm=False,
        )
    )
    return took, evaluator


def _torch_geometric(graph: KnowledgeGraph, scorer: ComplEx, table: StatementTable) -> dict[str, Any]:
    """Its own `test`: objects only and unfiltered; both sides of a statement are taken to cost twice as much."""
    model = peers.pyg_model(graph)
    peers.pyg_import(scorer, model)
    asked = [torch.from_numpy(column.astype(np.int64)) for column in (table.subject, table.relation, table.object)]
    took = _timed(lambda: model.test(*asked, batch_size=graph.n, log=False))
    return {
        "statements": len(table),
        "filtered": False,
        "objects_per_s": len(table) / took,
        "statements_per_s": len(table) / took / 2,
    }


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
