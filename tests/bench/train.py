"""Training and filtered evaluation beside PyKEEN, torch_geometric and the matrix products that no method can do without.

Run it with `make bench-train`; README.md beside this file says what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from kgservice import datasets, scorers
from kgservice.evaluation.ranking import rank
from kgservice.graph.statements import Split
from kgservice.query import Slot
from kgservice.recipe import ModelSettings
from kgservice.training.loop import fit
from tests.bench import machine
from tests.bench.machine import matmul_precision
from tests.bench.peers import DEFAULT, LCWA_BATCHES, LCWA_FIRST, PYG, SLCWA, run_pyg, run_pykeen
from tests.bench.protocol import INITIAL_SCALE, SEED, WIDTH, Clock, Settings, Task
from tests.bench.speed import run_evaluation

PEERS = ("pykeen", "torch_geometric")
MILESTONES = (0.95, 1.0)
EPOCHS = {"codex-s": 10, "fb15k-237": 3}

OURS: list[Settings] = [
    {"optimizer": "adagrad", "learning_rate": 0.1, "batch_size": 512},
    {"optimizer": "adagrad", "learning_rate": 0.1, "batch_size": 128},
    {"optimizer": "adagrad", "learning_rate": 0.1, "batch_size": 1024},
    {"optimizer": "adagrad", "learning_rate": 0.1, "batch_size": 512, "weighting": "questions"},
    {"optimizer": "adagrad", "learning_rate": 0.1, "batch_size": 512, "precision": "float32"},
]
"""Ours, on every data set; the first is the default."""


def main() -> None:
    """Measure every data set, write `results/train.json`, print tables."""
    if sys.argv[1:2] == ["--worker"]:
        task = json.loads(sys.argv[2])
        machine.write_result(Path(sys.argv[3]), WORKERS[task["what"]](task))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", nargs="+", default=list(EPOCHS), metavar="NAME")
    parser.add_argument("--epochs", type=int, help="epochs of every run; by default 10 on codex-s and 3 on fb15k-237")
    parser.add_argument("--quick", action="store_true", help="one run a side and few epochs: does it still work?")
    parser.add_argument("--out", type=Path, default=machine.RESULTS / "train.json")
    options = parser.parse_args()
    machine.warn_if_busy()
    result: dict[str, Any] = {
        "benchmark": "train",
        "quick": options.quick,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.machine(),
        "code": machine.code(),
        "versions": machine.versions("torch", "numpy", "pykeen", "torch-geometric"),
        "model": {"scorer": "complex", "reals_per_entity": WIDTH, "inverse_relations": True, "seed": SEED},
        "datasets": {},
    }
    best: dict[str, list[Settings]] = {}
    for name in options.datasets:
        epochs = options.epochs or (3 if options.quick else EPOCHS.get(name, 5))
        measured = measure(name, epochs, quick=options.quick, transferred=best)
        best = best or {peer: measured[f"{peer}_best"] for peer in PEERS}
        result["datasets"][name] = measured
        machine.write_result(options.out, result)
        print(table(name, measured))


def measure(name: str, epochs: int, *, quick: bool, transferred: dict[str, list[Settings]]) -> dict[str, Any]:
    """All runs on one data set, one process at a time.

    Args:
        name: the data set.
        epochs: of every run.
        quick: one run a side.
        transferred: settings of the peers that were best elsewhere; the search among them is run where there are none yet.
    """
    run = functools.partial(_run, name, epochs)
    floor = machine.in_own_process("tests.bench.train", {"what": "floor", "dataset": name, "batch_size": 512})
    ours = [run("ours", settings) for settings in (OURS[:1] if quick else OURS)]
    if quick:
        peers = [run("pykeen", LCWA_FIRST[0])]
    elif transferred:
        peers = [run("pykeen", settings) for settings in transferred["pykeen"]]
    else:
        peers = [run("pykeen", settings) for settings in LCWA_FIRST]
        winner = max(peers, key=_best_mrr)["settings"]
        peers += [run("pykeen", {**winner, "batch_size": size}) for size in LCWA_BATCHES]
        peers += [run("pykeen", settings) for settings in SLCWA]
        peers.append(run("pykeen", {**DEFAULT, "defaults": True}))
    sampled = PYG[:1] if quick else transferred.get("torch_geometric", PYG)
    pyg = [run("torch_geometric", settings) for settings in sampled]
    target = max(map(_best_mrr, peers))
    for one in ours + peers + pyg:
        one["time_to_target_s"] = {f"{share:g}": _time_to(one, share * target) for share in MILESTONES}
        one["over_floor"] = {
            kind: one["epoch_s"] / floor[kind]["epoch_s"] for kind in ("bfloat16", "float32_medium", "float32")
        }
    task = {"what": "evaluation", "dataset": name, "epochs": 1 if quick else 3, "settings": OURS[0]}
    speed = machine.in_own_process("tests.bench.train", task)
    return {
        "graph": floor.pop("graph"),
        "epochs": epochs,
        "target_mrr": target,
        "floor": floor,
        "ours": ours,
        "pykeen": peers,
        "torch_geometric": pyg,
        "pykeen_best": transferred.get("pykeen") or _worth_transferring(peers),
        "torch_geometric_best": transferred.get("torch_geometric") or _two_best(pyg),
        "evaluation": speed,
    }


def _run(name: str, epochs: int, what: str, settings: Settings) -> dict[str, Any]:
    started = time.perf_counter()
    task = {"what": what, "dataset": name, "epochs": epochs, "settings": settings}
    measured = machine.in_own_process("tests.bench.train", task)
    print(
        f"{name} {what} {settings}: epoch {measured['epoch_s']:.2f} s, best MRR {_best_mrr(measured):.4f}, "
        f"{time.perf_counter() - started:.0f} s in all",
        file=sys.stderr,
        flush=True,
    )
    return measured


def _worth_transferring(peers: list[dict[str, Any]]) -> list[Settings]:
    """The best LCWA settings of each of the two best losses, and the best sLCWA ones."""
    ordered = sorted(peers, key=_best_mrr, reverse=True)
    lcwa: dict[str, Settings] = {}
    for peer in ordered:
        if peer["settings"]["loop"] == "lcwa":
            lcwa.setdefault(peer["settings"]["loss"], peer["settings"])
    slcwa = [peer["settings"] for peer in ordered if peer["settings"]["loop"] == "slcwa"]
    return [*list(lcwa.values())[:2], *slcwa[:1]]


def _two_best(runs: list[dict[str, Any]]) -> list[Settings]:
    return [run["settings"] for run in sorted(runs, key=_best_mrr, reverse=True)[:2]]


def _best_mrr(measured: dict[str, Any]) -> float:
    return max(epoch["mrr"] for epoch in measured["epochs"])


def _time_to(measured: dict[str, Any], target: float) -> float | None:
    """Seconds of training up to the end of the first epoch that reaches `target`; None where none does."""
    total = 0.0
    for epoch in measured["epochs"]:
        total += epoch["duration_s"]
        if epoch["mrr"] >= target:
            return total
    return None


# Workers: each is one process.


def run_floor(task: Task) -> dict[str, Any]:
    """The least an epoch can take: three products per batch of distinct questions."""
    graph = datasets.load(task["dataset"])
    questions = sum(len(graph.answers(slot, "triple", (Split.TRAIN,)).keys) for slot in (Slot.OBJECT, Slot.SUBJECT))
    rows = 2 * len(graph.statements.in_split(Split.TRAIN))
    floor: dict[str, Any] = {
        "distinct_questions": questions,
        "statements_both_ways": rows,
        "batch_size": task["batch_size"],
    }
    for kind, precision in (("bfloat16", "medium"), ("float32_medium", "medium"), ("float32", "highest")):
        with matmul_precision(precision):
            dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
            found = machine.gemm_floor(batch=task["batch_size"], n=graph.n, width=WIDTH, dtype=dtype)
        epoch = found["batch_s"] / task["batch_size"]
        floor[kind] = {**found, "epoch_s": epoch * questions, "ungrouped_epoch_s": epoch * rows}
    counts = {key: value for key, value in graph.counts().items() if value}
    return {**floor, "graph": {"content_hash": graph.content_hash, **counts}}


def run_ours(task: Task) -> dict[str, Any]:
    """kgservice's own loop."""
    graph = datasets.load(task["dataset"])
    training = {**task["settings"], "epochs": task["epochs"], "evaluate_every": 1, "patience": 10**6, "seed": SEED}
    settings = ModelSettings.model_validate(
        {"scorer": "complex", "width": WIDTH, "initial_scale": INITIAL_SCALE, "training": training}
    )
    scorer = scorers.build(settings, n=graph.n, r=graph.r)
    clock = Clock(lambda: rank(scorer, graph, Split.VALID).figures()["mrr"])

    def validate(_: object) -> float:
        clock.started = clock.started or 0.0
        return clock.stop()

    history = fit(scorer, graph, settings.training, validate=validate)
    for epoch, timed in zip(history.epochs, clock.epochs, strict=True):
        timed["duration_s"] = epoch.duration_s  # the loop's own clock, which starts after the questions are grouped
    return clock.result(task["settings"])


WORKERS: dict[str, Callable[[Task], dict[str, Any]]] = {
    "floor": run_floor,
    "ours": run_ours,
    "pykeen": run_pykeen,
    "torch_geometric": run_pyg,
    "evaluation": run_evaluation,
}


def table(name: str, measured: dict[str, Any]) -> str:
    """The figures as Markdown."""
    floor = measured["floor"]
    lines = [
        f"\n### {name}",
        "",
        f"Target: validation MRR {measured['target_mrr']:.4f}, the best of PyKEEN in {measured['epochs']} epochs. "
        f"Floor of an epoch over {floor['distinct_questions']:,} distinct questions: "
        f"{floor['bfloat16']['epoch_s']:.2f} s bfloat16, {floor['float32_medium']['epoch_s']:.2f} s float32 "
        f"medium, {floor['float32']['epoch_s']:.2f} s float32.",
        "",
        "| who | settings | epoch s | × floor bf16 | × floor medium | MRR, best | s to 95 % | s to target | peak MiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for who in ("ours", *PEERS):
        for one in sorted(measured[who], key=_best_mrr, reverse=True):
            settings = " ".join(str(value) for value in one["settings"].values())
            reached = [one["time_to_target_s"][f"{share:g}"] for share in MILESTONES]
            times = " | ".join("–" if value is None else f"{value:.1f}" for value in reached)
            ratios = " | ".join(f"{one['over_floor'][kind]:.1f}" for kind in ("bfloat16", "float32_medium"))
            lines.append(
                f"| {who} | {settings} | {one['epoch_s']:.2f} | {ratios} | {_best_mrr(one):.4f} | {times} "
                f"| {one['peak_mib']:,.0f} |"
            )
    speed = measured["evaluation"]
    ours, pykeen, pyg = (speed[who] for who in ("ours", *PEERS))
    roads = ", ".join(
        f"{share:.2f} of {road}'s ({speed['floor']['roads'][road]['gflops']:.0f} GFLOP/s)"
        for road, share in speed["of_floor"].items()
    )
    lines += [
        "",
        f"Filtered evaluation, statements/s (both sides): ours {ours['statements_per_s']:,.0f} "
        f"({ours['statements_per_s_medium_precision']:,.0f} at medium precision), {speed['over_pykeen']:.0f} times PyKEEN's "
        f"{pykeen['statements_per_s']:,.0f} at medium precision; torch_geometric {pyg['statements_per_s']:,.0f}, unfiltered. "
        f"Of one float32 product's rate: {roads}. {speed['equal_ranks']} ranks compared with PyKEEN's, all equal.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
