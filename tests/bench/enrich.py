"""Enrichment against what was taken away, wrong links against what was put in, a reviewer who knows the truth, and the speed.

A tenth of the statements is removed before anything is trained, and nine hundredths of the whole are held out for validation.
What a run proposes is right here if it was removed. This counts every true fact that the data set does not state as wrong:
the precision found is a lower bound of the real one.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from kgservice import datasets, pipeline
from kgservice.engine import Engine, open_engine
from kgservice.enrichment.calibrating import RunCalibration
from kgservice.enrichment.doubts import DoubtfulStatements
from kgservice.enrichment.links import MissingLinks
from kgservice.enrichment.plan import Plan
from kgservice.enrichment.pooling import Held
from kgservice.enrichment.reviewing import ordered, recalibrated
from kgservice.enrichment.running import CALIBRATION, enrich, opened, read_blocks
from kgservice.enrichment.selecting import Limits, Selection, select
from kgservice.enrichment.table import named
from kgservice.evaluation.populations import corrupted
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split, StatementTable
from kgservice.recipe import Recipe
from kgservice.store.reviews import Review
from tests.bench import machine
from tests.bench.everything import MILLION, beside_pykeen, speed

_SMALL = ("models.complex.width=400", "search.encoder=none")
TASKS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...] | None]] = {
    "codex-s": ("models/complex-codex-s.toml", ("models.complex.training.epochs=60", *_SMALL), None),
    "codex-m": (
        "models/complex-codex-m.toml",
        ("models.complex.training.epochs=16", "models.complex.training.evaluate_every=8", *_SMALL),
        None,
    ),
    "fb15k-237": (
        "models/complex-fb15k-237.toml",
        ("models.complex.training.epochs=12", "models.complex.training.evaluate_every=12", *_SMALL),
        ("complex",),
    ),
    "world": ("models/world.toml", ("models.complex.width=256", "search.encoder=none"), ("complex",)),
}
"""Recipe, changes to it that two cores train in minutes, and which of its models."""
PARTS = ("links", "errors", "peer", "million")
REMOVED, HELD, WRONG = 0.1, 0.09, 0.05
TARGETS = (0.9, 0.8, 0.7, 0.6, 0.5)
FLOOR = 0.02

Keys = npt.NDArray[np.int64]
Choose = Callable[[Plan], Selection]


def main() -> None:
    """Measure every data set, write `results/enrich.json`, print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=list(TASKS), choices=TASKS, help="others keep their last figures")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--home", type=Path, help="keep releases here, and use those that are there")
    parser.add_argument(
        "--again", action="store_true", help="choose anew from the runs that are kept; speeds stay as they were"
    )
    parser.add_argument("--out", type=Path, default=machine.RESULTS / "enrich.json")
    options = parser.parse_args()
    home = options.home or Path(tempfile.mkdtemp())
    former = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    result: dict[str, Any] = {"benchmark": "enrich", **former}
    data = result.setdefault("data", {})
    local = {str(options.home), "--home"}  # where it lies says nothing elsewhere
    command = " ".join(["make bench-enrich", *(word for word in sys.argv[1:] if word not in local)])

    def measured(place: dict[str, Any], part: str, measure: Callable[[], dict[str, Any]]) -> None:
        place[part] = {"machine": machine.machine(), **machine.code(), "command": command, **measure()}
        machine.write_result(options.out, result)
        print(json.dumps({part: place[part]}, indent=1))

    torch.set_num_threads(1)
    if "peer" in options.parts:
        measured(result, "peer", beside_pykeen)
    if "million" in options.parts:
        measured(result, "million", lambda: machine.in_own_process("tests.bench.everything", MILLION))
    for name in options.data:
        for part, measure in (("links", recovery), ("errors", doubts)):
            if part in options.parts:
                home_of = home / part / name
                place = data.setdefault(name, {})
                again = place.get("links") if options.again and part == "links" else None
                measured(
                    place, part, partial(recovery, name, home_of, again) if again else partial(measure, name, home_of)
                )


def recovery(name: str, home: Path, former: dict[str, Any] | None = None) -> dict[str, Any]:
    """Remove a tenth, enrich, compare.

    Args:
        name: of the data.
        home: of the release, and of the run.
        former: its figures, where the run that is there is chosen from again.
    """
    graph = _loaded(name)
    draw = np.random.default_rng(0).random(len(graph.statements))
    table = graph.statements.with_split(np.where(draw < REMOVED + HELD, Split.VALID, Split.TRAIN))
    removed = table.take(draw < REMOVED)
    engine = _engine(
        name, home, replace(graph, statements=table.take(draw >= REMOVED), negatives=StatementTable.empty())
    )
    truth = np.unique(_keys(engine.graph, removed.subject, removed.relation, removed.object))
    plan = Plan(engine.release_name, threshold=FLOOR)
    if former is None:
        shutil.rmtree(home / "run", ignore_errors=True)
    clock = time.perf_counter()
    report = enrich(engine, plan, home / "run")
    took = time.perf_counter() - clock
    work = opened(engine, plan)
    every = read_blocks(home / "run", work.blocks)
    held = RunCalibration.from_json(json.loads((home / "run" / CALIBRATION).read_text())).held

    def choose(asked: Plan) -> Selection:
        return _select(asked, work.shapes, every, held)

    return {
        "statements": len(graph.statements), "removed": len(truth), "models": _trained(engine),
        "run_s": former["run_s"] if former else round(took, 1), "counts": report["counts"],
        "calibration": report["calibration"],
        "targets": [_target(engine.graph, plan, choose, every, truth, target) for target in TARGETS],
        "curve": _curve(choose(plan), engine.graph, truth),
        "reviewer": _reviewer(engine, choose(plan).table, truth),
        "speed": former["speed"] if former else {
            **speed(engine, MissingLinks(engine, plan)), "pairs_per_s_of_the_run": report["counts"]["pairs scored"] / took,
            "links_per_s_of_the_run": len(every) / took, "peak_mib": machine.peak_memory_mib(),
        },
    }  # fmt: skip


def _target(graph: KnowledgeGraph, plan: Plan, choose: Choose, every: pa.Table, truth: Keys, target: float) -> Any:
    """What is found where a precision is asked, in all and by groups; and what the best raw scores give, as many."""
    found = choose(replace(plan, threshold=None, precision=target))
    chosen = found.table
    right, relation = _right(graph, chosen, truth), chosen["relation"].to_numpy()
    groups: dict[str, list[int]] = {}
    for one, threshold in found.thresholds.items():
        name = graph.relations.name(one) if threshold.group == "own" else f"the others ({threshold.group})"
        groups.setdefault(name if threshold.least is not None else "abstained", []).append(one)
    abstained = groups.pop("abstained", [])
    rows = []
    for name, group in groups.items():
        inside = np.isin(relation, group)
        if inside.any():
            mean, said = float(right[inside].mean()), chosen["probability"].to_numpy()[inside]
            deviation = found.moves.deviation(said, relation[inside].astype(np.int64))
            rows.append({
                "group": name, "relations": len(group), "links": int(inside.sum()), "expected": float(said.mean()),
                "deviation": deviation, "precision": mean,
            })  # fmt: skip
    raw = every.take(pa.array(np.argsort(-every["score"].to_numpy(), kind="stable")[: len(chosen)]))
    return {
        "asked": target,
        "links": len(chosen),
        "expected": float(chosen["probability"].to_numpy().mean()) if len(chosen) else None,
        "precision": float(right.mean()) if len(right) else None,
        "recall": float(right.sum() / len(truth)),
        "groups": rows,
        "relations_abstained": len(abstained),
        "raw_score_precision": float(_right(graph, raw, truth).mean()) if len(chosen) else None,
    }


def _curve(chosen: Selection, graph: KnowledgeGraph, truth: Keys) -> list[list[float]]:
    """By tenths of the probability: links, what was said, what was found."""
    probability, right = chosen.table["probability"].to_numpy(), _right(graph, chosen.table, truth)
    rows = []
    for low in np.arange(0, 1, 0.1):
        inside = (probability >= low) & (probability < low + 0.1)
        if inside.any():
            rows.append([int(inside.sum()), float(probability[inside].mean()), float(right[inside].mean())])
    return rows


def _reviewer(engine: Engine, table: pa.Table, truth: Keys) -> list[dict[str, Any]]:
    """A reviewer who knows the truth: how far off relations' precisions are after so many verdicts, by the order of asking.

    The probabilities are made wrong first, relation by relation, as those of a graph are whose completeness was misjudged.
    """
    right = _right(engine.graph, table, truth)
    relation = table["relation"].to_numpy()
    said = table["probability"].to_numpy()
    shift = np.random.default_rng(1).normal(0, 1, engine.graph.r)[relation]
    wrong = 1 / (1 + np.exp(-(np.log(said / (1 - said)) + shift)))
    told = named(table.set_column(3, "probability", pa.array(wrong)), engine.graph)
    place = {(row["subject"], row["relation"], row["object"]): row_of for row_of, row in enumerate(told.to_pylist())}
    orders = {
        "what teaches most": [place[row["subject"], row["relation"], row["object"]] for row in ordered(told, 1000)],
        "random": np.random.default_rng(2).permutation(len(told))[:1000].tolist(),
        "most probable": np.argsort(-wrong, kind="stable")[:1000].tolist(),
    }
    names = told.select(["subject", "relation", "object"]).to_pylist()
    rows: list[dict[str, Any]] = [{"verdicts": 0, "brier": float(((wrong - right) ** 2).mean())}]
    for count in (100, 300, 1000):
        for order, chosen in orders.items():
            verdicts = [_verdict(names[one], wrong[one], bool(right[one])) for one in chosen[:count]]
            after = recalibrated(told, verdicts)
            rows.append({"verdicts": count, "order": order, "brier": float(((after - right) ** 2).mean())})
    return rows


def _verdict(row: dict[str, str], probability: float, right: bool) -> Review:
    word: Any = "accept" if right else "reject"
    ends = (row["subject"], row["relation"], row["object"])
    return Review("", "", "links", False, *ends, float(probability), word, None, None, None)


def doubts(name: str, home: Path) -> dict[str, Any]:
    """Exchange an end of a twentieth of the training statements for another that the relation has; find them again."""
    from sklearn.metrics import roc_auc_score

    graph = _loaded(name)
    draw = np.random.default_rng(0).random(len(graph.statements))
    table = graph.statements.with_split(np.where(draw >= 1 - WRONG, Split.VALID, Split.TRAIN))
    wrong = corrupted(replace(graph, statements=table), table.take(draw < WRONG), 1)
    kept = table.take(draw >= WRONG)
    columns = [
        np.concatenate([getattr(one, part) for one in (kept, wrong)]) for part in ("subject", "relation", "object")
    ]
    split = np.concatenate([kept.split, wrong.split])
    mixed = StatementTable.build(*columns, split=split)
    engine = _engine(name, home, replace(graph, statements=mixed, negatives=StatementTable.empty()))
    work = DoubtfulStatements(engine, Plan(engine.release_name, kind="errors", threshold=1e-9, completeness=1 - WRONG))
    found = pa.concat_tables([work.block(number)[0] for number in range(work.blocks)])
    key = _keys(engine.graph, *(found[part].to_numpy() for part in ("subject", "relation", "object")))
    learnt = mixed.in_split(Split.TRAIN)
    of_training = np.isin(key, _keys(engine.graph, learnt.subject, learnt.relation, learnt.object))
    is_wrong = np.isin(key, _keys(engine.graph, wrong.subject, wrong.relation, wrong.object))[of_training]
    doubt = found["probability"].to_numpy()[of_training]
    first = np.argsort(-doubt, kind="stable")[: round(WRONG * len(doubt))]
    raw = -found["score"].to_numpy()[of_training]
    return {
        "models": _trained(engine), "statements": len(doubt), "wrong": int(is_wrong.sum()),
        "auc": float(roc_auc_score(is_wrong, doubt)),
        "precision_at_5_percent": float(is_wrong[first].mean()), "raw_score_auc": float(roc_auc_score(is_wrong, raw)),
    }  # fmt: skip


def _loaded(name: str) -> KnowledgeGraph:
    return datasets.load(name)


def _engine(name: str, home: Path, graph: KnowledgeGraph) -> Engine:
    """A release of a graph, built unless it is there."""
    path, changes, models = TASKS[name]
    if not (home / "releases" / "CURRENT").exists():
        shutil.rmtree(home / "graph", ignore_errors=True)
        home.mkdir(parents=True, exist_ok=True)
        graph.save(home / "graph")
        recipe = Recipe.load(machine.ROOT / path, changes)
        source = recipe.graph.model_copy(update={"dataset": None, "sources": (str(home / "graph"),)})
        chosen = {one: recipe.models[one] for one in models or recipe.models}
        pipeline.build(
            recipe.model_copy(update={"graph": source, "models": chosen}), home, base=(machine.ROOT / path).parent
        )
    return open_engine(home / "releases")


def _trained(engine: Engine) -> dict[str, Any]:
    """The settings of the release's models that decide what they cost."""
    found = {}
    for name in engine.release.models:
        settings = engine.model(name).settings
        found[name] = {"scorer": settings.scorer, "width": settings.width, "epochs": settings.training.epochs}
    return found


def _select(plan: Plan, shapes: Any, every: pa.Table, held: Held | None) -> Selection:
    return select(every, plan, Limits(shapes.functional, shapes.inverse_functional, shapes.asymmetric), held)


def _right(graph: KnowledgeGraph, table: pa.Table, truth: Keys) -> npt.NDArray[np.bool_]:
    return np.isin(_keys(graph, *(table[part].to_numpy() for part in ("subject", "relation", "object"))), truth)


def _keys(graph: KnowledgeGraph, subject: Any, relation: Any, object: Any) -> Keys:
    return np.asarray((subject.astype(np.int64) * graph.r + relation) * graph.n + object)


if __name__ == "__main__":
    main()
