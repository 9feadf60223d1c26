"""Training and filtered evaluation beside PyKEEN and beside the matrix products that no method can do without.

Run it with `make bench-train`; README.md beside this file says what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kgservice import datasets, scorers
from kgservice.evaluation.ranking import SIDES, rank
from kgservice.graph import KnowledgeGraph
from kgservice.query import Slot
from kgservice.recipe import ModelSettings
from kgservice.scorers.bilinear import ComplEx
from kgservice.statements import Split, StatementTable
from kgservice.training.loop import fit
from tests.bench import machine
from tests.bench.machine import matmul_precision

WIDTH = 200
SEED = 0
INITIAL_SCALE = 0.01
MILESTONES = (0.95, 1.0)
EPOCHS = {"codex-s": 10, "fb15k-237": 3}
EVALUATED = {"ours": 20_000, "pykeen": 2_000}
SAMPLE = 200
BUDGET_S = 240.0
"""A peer's run ends with the epoch in which it has trained so long."""

Task = dict[str, Any]
Settings = dict[str, Any]

OURS: list[Settings] = [
    {"optimizer": "adagrad", "learning_rate": 0.1, "batch_size": 512},
    {"optimizer": "adagrad", "learning_rate": 0.1, "batch_size": 128},
    {"optimizer": "adagrad", "learning_rate": 0.1, "batch_size": 1024},
    {"optimizer": "adagrad", "learning_rate": 0.1, "batch_size": 512, "weighting": "questions"},
    {"optimizer": "adagrad", "learning_rate": 0.1, "batch_size": 512, "precision": "float32"},
]
"""Ours, on every data set; the first is the default."""

LOSSES = ("crossentropy", "softplus", "bcewithlogits")
OPTIMIZERS = (("adagrad", 0.1), ("adam", 0.01), ("adam", 0.001))
LCWA_FIRST: list[Settings] = [
    {"loop": "lcwa", "loss": loss, "optimizer": optimizer, "learning_rate": rate, "batch_size": 512}
    for loss in LOSSES
    for optimizer, rate in OPTIMIZERS
]
LCWA_BATCHES = (128, 256, 1024)
"""Tried with the best of `LCWA_FIRST`."""
SLCWA: list[Settings] = [
    {
        "loop": "slcwa",
        "loss": "softplus",
        "optimizer": "adagrad",
        "learning_rate": 0.1,
        "batch_size": 1024,
        "negatives": 1,
    },
    {
        "loop": "slcwa",
        "loss": "softplus",
        "optimizer": "adam",
        "learning_rate": 0.01,
        "batch_size": 1024,
        "negatives": 1,
    },
    {
        "loop": "slcwa",
        "loss": "crossentropy",
        "optimizer": "adagrad",
        "learning_rate": 0.1,
        "batch_size": 512,
        "negatives": 16,
    },
    {"loop": "slcwa", "loss": "nssa", "optimizer": "adam", "learning_rate": 0.01, "batch_size": 512, "negatives": 16},
]
DEFAULT: Settings = {"loop": "lcwa", "loss": "softplus", "optimizer": "adam", "learning_rate": 0.001, "batch_size": 256}
"""What PyKEEN does unless it is told otherwise, its initial weights and penalty included."""


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
    busy = os.getloadavg()[0]
    if busy > 0.5:
        print(f"The machine is busy (load {busy:.1f}): these figures are not to be quoted.", file=sys.stderr)
    result: dict[str, Any] = {
        "benchmark": "train",
        "quick": options.quick,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.machine(),
        "code": machine.code(),
        "versions": machine.versions("torch", "numpy", "pykeen"),
        "model": {"scorer": "complex", "reals_per_entity": WIDTH, "inverse_relations": True, "seed": SEED},
        "datasets": {},
    }
    best: list[Settings] = []
    for name in options.datasets:
        epochs = options.epochs or (3 if options.quick else EPOCHS.get(name, 5))
        measured = measure(name, epochs, quick=options.quick, transferred=best)
        best = best or measured["pykeen_best"]
        result["datasets"][name] = measured
        machine.write_result(options.out, result)
        print(table(name, measured))


def measure(name: str, epochs: int, *, quick: bool, transferred: list[Settings]) -> dict[str, Any]:
    """All runs on one data set, one process at a time.

    Args:
        name: the data set.
        epochs: of every run.
        quick: one run a side.
        transferred: PyKEEN settings that were best elsewhere; the search among them is run where there are none yet.
    """
    run = functools.partial(_run, name, epochs)
    floor = machine.in_own_process("tests.bench.train", {"what": "floor", "dataset": name, "batch_size": 512})
    ours = [run("ours", settings) for settings in (OURS[:1] if quick else OURS)]
    if quick:
        peers = [run("pykeen", LCWA_FIRST[0])]
    elif transferred:
        peers = [run("pykeen", settings) for settings in transferred]
    else:
        peers = [run("pykeen", settings) for settings in LCWA_FIRST]
        winner = max(peers, key=_best_mrr)["settings"]
        peers += [run("pykeen", {**winner, "batch_size": size}) for size in LCWA_BATCHES]
        peers += [run("pykeen", settings) for settings in SLCWA]
        peers.append(run("pykeen", {**DEFAULT, "defaults": True}))
    target = max(map(_best_mrr, peers))
    for one in ours + peers:
        one["time_to_target_s"] = {f"{share:g}": _time_to(one, share * target) for share in MILESTONES}
        one["over_floor"] = {
            kind: one["epoch_s"] / floor[kind]["epoch_s"] for kind in ("bfloat16", "float32_medium", "float32")
        }
    speed = machine.in_own_process(
        "tests.bench.train", {"what": "evaluation", "dataset": name, "epochs": 1 if quick else 3}
    )
    return {
        "graph": floor.pop("graph"),
        "epochs": epochs,
        "target_mrr": target,
        "floor": floor,
        "ours": ours,
        "pykeen": peers,
        "pykeen_best": transferred or _worth_transferring(peers),
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


class BudgetSpent(Exception):
    """Leaves PyKEEN's loop."""


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


def run_pykeen(task: Task) -> dict[str, Any]:
    """PyKEEN's loop with its weights measured by our `rank`."""
    from pykeen.training import TrainingCallback

    graph = datasets.load(task["dataset"])
    settings: Settings = task["settings"]
    warnings.filterwarnings("ignore")
    torch.set_float32_matmul_precision("medium")
    factory, model = _pykeen_model(graph, settings)
    scorer = ComplEx(graph.n, graph.r, width=WIDTH, reciprocal=factory.create_inverse_triples)
    clock = Clock(lambda: rank(_export(model, scorer), graph, Split.VALID).figures()["mrr"])

    class Timer(TrainingCallback):  # type: ignore[misc]
        def pre_batch(self, **_: Any) -> None:
            clock.start()  # of the first batch: setting up is not counted

        def post_epoch(self, **_: Any) -> None:
            clock.stop()
            self.model.train()
            if sum(epoch["duration_s"] for epoch in clock.epochs) > BUDGET_S:
                raise BudgetSpent

    kind = torch.optim.Adagrad if settings["optimizer"] == "adagrad" else torch.optim.Adam
    optimizer = kind(model.get_grad_params(), lr=settings["learning_rate"], fused=True)
    with contextlib.suppress(BudgetSpent):
        _loop(model, factory, optimizer, settings).train(
            triples_factory=factory,
            num_epochs=task["epochs"],
            batch_size=settings["batch_size"],
            use_tqdm=False,
            pin_memory=False,
            callbacks=Timer(),
        )
    return clock.result(settings)


def _pykeen_model(graph: KnowledgeGraph, settings: Settings) -> tuple[Any, Any]:
    from pykeen import models
    from pykeen.triples import CoreTriplesFactory

    factory = CoreTriplesFactory(
        _triples(graph, Split.TRAIN),
        num_entities=graph.n,
        num_relations=graph.r,
        create_inverse_triples=True,
    )
    better: dict[str, Any] = {}
    if not settings.get("defaults"):  # its own initial weights have variance one, and a penalty
        small = functools.partial(torch.nn.init.normal_, std=INITIAL_SCALE)
        better = {"entity_initializer": small, "relation_initializer": small, "regularizer": None}
    model = models.ComplEx(
        triples_factory=factory, embedding_dim=WIDTH // 2, loss=settings["loss"], random_seed=SEED, **better
    )
    return factory, model


def _loop(model: Any, factory: Any, optimizer: Any, settings: Settings) -> Any:
    from pykeen.training import LCWATrainingLoop, SLCWATrainingLoop

    parts = {"model": model, "triples_factory": factory, "optimizer": optimizer}
    if settings["loop"] == "lcwa":
        return LCWATrainingLoop(**parts)
    return SLCWATrainingLoop(**parts, negative_sampler_kwargs={"num_negs_per_pos": settings["negatives"]})


def _triples(graph: KnowledgeGraph, split: Split) -> torch.Tensor:
    table = graph.statements.in_split(split)
    return torch.from_numpy(np.stack([table.subject, table.relation, table.object], axis=1).astype(np.int64))


def _export(model: Any, scorer: ComplEx) -> ComplEx:
    """PyKEEN's weights in our scorer: real parts first, and all inverse relations after all direct ones."""
    with torch.no_grad():
        for ours, theirs in (
            (scorer.entity, model.entity_representations[0]()),
            (scorer.relation, model.relation_representations[0]()),
        ):
            rows = torch.cat([theirs.real, theirs.imag], dim=1)
            if ours is scorer.relation and scorer.reciprocal:
                rows = torch.cat([rows[0::2], rows[1::2]])
            ours.data = rows.clone()
    return scorer.eval()


def run_evaluation(task: Task) -> dict[str, Any]:
    """Filtered ranks of the same weights by both, and whether they agree.

    Raises:
        AssertionError: a realistic rank differs.
    """
    from pykeen.evaluation import RankBasedEvaluator

    graph = datasets.load(task["dataset"])
    warnings.filterwarnings("ignore")
    _, model = _pykeen_model(graph, LCWA_FIRST[0])
    training = {**OURS[0], "epochs": task["epochs"], "seed": SEED}
    settings = ModelSettings.model_validate({"scorer": "complex", "width": WIDTH, "training": training})
    scorer = scorers.build(settings, n=graph.n, r=graph.r)
    fit(scorer, graph, settings.training)
    _import(scorer, model)

    valid = graph.statements.in_split(Split.VALID)
    random = np.random.default_rng(SEED)

    def part(size: int) -> StatementTable:
        return valid.take(np.sort(random.permutation(len(valid))[:size]))

    known = [_triples(graph, split) for split in Split]

    def peer(table: StatementTable, batch_size: int) -> tuple[float, Any]:
        evaluator = RankBasedEvaluator(filtered=True, clear_on_finalize=False)
        triples = np.stack([table.subject, table.relation, table.object], axis=1).astype(np.int64)
        started = time.perf_counter()
        evaluator.evaluate(
            model=model,
            mapped_triples=torch.from_numpy(triples),
            batch_size=batch_size,
            additional_filter_triples=known,
            use_tqdm=False,
        )
        return time.perf_counter() - started, evaluator

    # In float64, where rounding makes no ties and breaks none, both must give the same.
    sample = part(SAMPLE)
    single = {name: value.clone() for name, value in scorer.state_dict().items()}
    scorer.double(), model.double()
    ours = rank(scorer, graph, sample)
    _, evaluator = peer(sample, 32)
    for side in SIDES.values():
        theirs = np.concatenate([np.ravel(ranks) for ranks in evaluator.ranks[side, "realistic"]])
        mine = ours.where(ours.side == side).ranks()
        assert np.array_equal(mine, theirs), (
            f"{side}: {(mine != theirs).sum()} of {len(mine)} ranks differ from PyKEEN's"
        )
    scorer.float(), model.float()
    scorer.load_state_dict(single)

    result: dict[str, Any] = {"equal_ranks": 2 * len(sample)}
    table = part(EVALUATED["ours"])
    machine.reset_peak_memory()
    before = machine.peak_memory_mib()
    first = _timed(lambda: rank(scorer, graph, table))
    with matmul_precision("medium"):
        medium = statistics.median(_timed(lambda: rank(scorer, graph, table)) for _ in range(3))
    plain = statistics.median(_timed(lambda: rank(scorer, graph, table)) for _ in range(3))
    result["ours"] = {
        "statements": len(table),
        "first_call_s": first,
        "statements_per_s": len(table) / plain,
        "statements_per_s_medium_precision": len(table) / medium,
        "peak_mib": machine.peak_memory_mib(),
        "before_mib": before,
    }
    torch.set_float32_matmul_precision("medium")
    machine.reset_peak_memory()
    before = machine.peak_memory_mib()
    table, tried = part(EVALUATED["pykeen"]), {}
    for batch_size in (16, 64, 256):
        tried[str(batch_size)] = len(table) / peer(table, batch_size)[0]
    result["pykeen"] = {
        "statements": len(table),
        "statements_per_s_by_batch_size": tried,
        "statements_per_s": max(tried.values()),
        "peak_mib": machine.peak_memory_mib(),
        "before_mib": before,
    }
    return result


def _import(scorer: Any, model: Any) -> None:
    """Our weights into PyKEEN's model: the reverse of `_export`."""
    half = WIDTH // 2
    entity = scorer.entity.detach()
    direct, inverse = scorer.relation.detach().chunk(2)
    relation = torch.stack([direct, inverse], dim=1).reshape(-1, WIDTH)
    for rows, theirs in ((entity, model.entity_representations[0]), (relation, model.relation_representations[0])):
        pairs = torch.stack([rows[:, :half], rows[:, half:]], dim=2)  # [., half, (real, imaginary)]
        theirs._embeddings.weight.data = pairs.reshape(theirs._embeddings.weight.shape).clone()


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


WORKERS: dict[str, Callable[[Task], dict[str, Any]]] = {
    "floor": run_floor,
    "ours": run_ours,
    "pykeen": run_pykeen,
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
    for who in ("ours", "pykeen"):
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
    lines += [
        "",
        f"Filtered evaluation, statements/s (both sides): ours {speed['ours']['statements_per_s']:,.0f} "
        f"({speed['ours']['statements_per_s_medium_precision']:,.0f} at medium precision), "
        f"PyKEEN {speed['pykeen']['statements_per_s']:,.0f} at medium precision; "
        f"{speed['equal_ranks']} ranks compared, all equal.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
