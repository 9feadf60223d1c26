"""A run, block by block, that may be killed at any point: a rerun goes on and ends with the same bytes.

A run's folder holds `plan.json`, `calibration.json`, `blocks/<number>.arrow`, and at the end `proposals.parquet` and
`report.json`. Every file is written beside, synced and renamed, so what is there is whole; blocks are never rewritten.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet

from kgservice.engine import Engine
from kgservice.enrichment.calibrating import RunCalibration
from kgservice.enrichment.conforming import Conformance
from kgservice.enrichment.doubts import DoubtfulStatements
from kgservice.enrichment.links import Advance, MissingLinks
from kgservice.enrichment.plan import Plan
from kgservice.enrichment.selecting import Limits, Selection, expected, select
from kgservice.enrichment.shapes import Shapes
from kgservice.enrichment.table import SCHEMA, column, named
from kgservice.errors import DataError
from kgservice.files import replacing

logger = logging.getLogger(__name__)

PROPOSALS, REPORT, CALIBRATION, PLAN = "proposals.parquet", "report.json", "calibration.json", "plan.json"
FORMAT_VERSION = 1
ROW_GROUP = 10_000
"""Proposals that are read together."""


class Cancelled(Exception):
    """Somebody asked the run to stop; what it has done is kept."""


class Work(Protocol):
    """What is done block by block; a block depends on the release, the plan and the calibration alone.

    Attributes:
        relations: ids, in the order of the blocks.
        shapes: of the graph's relations.
    """

    relations: list[int]
    shapes: Shapes

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the models that are asked."""
        ...

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        ...

    def pruning(self) -> dict[str, int]:
        """What is asked, and what is not, counted."""
        ...

    def calibrate(self, advance: Advance = ...) -> RunCalibration:
        """What makes probabilities of this run's candidates."""
        ...

    def block(self, number: int) -> tuple[pa.Table, Counter[str]]:
        """What one block proposes, and what became of the rest, counted."""
        ...


class Progress(Protocol):
    """Told after every step; may raise `Cancelled`."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` steps of a stage are done."""
        ...


def silent(stage: str, done: int, total: int) -> None:
    """No progress is shown."""


def enrich(
    engine: Engine, plan: Plan, folder: Path, progress: Progress = silent, *, ray: str | None = None
) -> dict[str, Any]:
    """Do what is left of a run.

    Args:
        engine: of the plan's release.
        plan: what is wanted.
        folder: the run's; made if need be.
        progress: told how far it is.
        ray: the address of a Ray cluster whose nodes do the blocks; see `distributed`.

    Returns:
        The report.

    Raises:
        DataError: the folder holds another run, the engine is another, or nothing can be calibrated.
        UnknownName, InvalidQuestion: the plan names what there is not.
        InputError, MissingDependency: as `Conformance`, of a plan with shapes.
    """
    started = time.perf_counter()
    if plan.release != engine.release_name:
        raise DataError(
            f"the run is of {plan.release}, {engine.release_name} answers now: entities were put or erased. Start a new run"
        )
    (folder / "blocks").mkdir(parents=True, exist_ok=True)
    _same_plan(folder, plan)
    if (folder / REPORT).exists():
        return read_report(folder)
    work = opened(engine, plan, read_calibration(folder))
    refused = None if plan.shapes is None else partial(Conformance(plan.shapes).refused, engine.graph)
    done = 0

    def advance(step: int) -> None:
        nonlocal done
        done += step
        progress("calibrate", done, len(work.relations))

    calibration = work.calibrate(advance)
    if not (folder / CALIBRATION).exists():
        write(folder / CALIBRATION, json.dumps(calibration.to_json()).encode())
    missing = [number for number in range(work.blocks) if not block_path(folder, number).exists()]
    scored = work.blocks - len(missing)

    def advanced(more: int) -> None:
        nonlocal scored
        scored += more
        progress("score", scored, work.blocks)

    advanced(0)
    if ray is None:
        for number in missing:
            write(block_path(folder, number), packed(*work.block(number)))
            advanced(1)
    else:
        from kgservice.enrichment.distributed import blocks_with_ray

        blocks_with_ray(folder, engine.release.folder.parent, missing, ray, advanced)
    counts = Counter(work.pruning())
    for number in range(work.blocks):
        counts.update(_unpacked(block_path(folder, number))[1])
    proposed = read_blocks(folder, work.blocks)
    chosen = select(proposed, plan, _limits(plan, work.shapes), calibration.held, refused)
    report = _report(engine, plan, work, calibration, counts, chosen)
    write_table(folder / PROPOSALS, named(chosen.table, engine.graph))
    report["duration_s"] = round(time.perf_counter() - started, 3)
    write(folder / REPORT, json.dumps(report, indent=1, ensure_ascii=False).encode())
    return report


def opened(engine: Engine, plan: Plan, calibration: RunCalibration | None = None) -> Work:
    """What a plan has to be done."""
    kind = MissingLinks if plan.kind == "links" else DoubtfulStatements
    return kind(engine, plan, calibration)


def _limits(plan: Plan, shapes: Shapes) -> Limits:
    """Links that are given out must not contradict each other; of doubtful statements all may be wrong."""
    if plan.kind == "errors":
        return Limits(*[np.zeros(len(shapes.functional), bool)] * 3)
    return Limits(shapes.functional, shapes.inverse_functional, shapes.asymmetric)


def read_report(folder: Path) -> dict[str, Any]:
    """The report of a run that is done."""
    found: dict[str, Any] = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    return found


def read_proposals(folder: Path) -> pa.Table:
    """What a run that is done gives out, of `NAMED`, the most probable first."""
    return parquet.read_table(folder / PROPOSALS)


def read_blocks(folder: Path, blocks: int) -> pa.Table:
    """What all blocks of a run propose, of `SCHEMA`, before anything is chosen."""
    return pa.concat_tables(
        [SCHEMA.empty_table(), *(_unpacked(block_path(folder, number))[0] for number in range(blocks))]
    )


def read_page(folder: Path, start: int, limit: int) -> tuple[int, list[dict[str, Any]]]:
    """How many proposals a run gives out, and some of them, without reading the others."""
    file = parquet.ParquetFile(folder / PROPOSALS)
    first, found = 0, []
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        low, high = max(start - first, 0), min(start + limit - first, rows)
        if low < high:
            found += file.read_row_group(group).slice(low, high - low).to_pylist()
        first += rows
    return first, found


def forget(runs: Path, names: Sequence[str]) -> int:
    """Take what names erased entities out of the proposals of every run in a folder; blocks hold ids alone.

    Returns:
        How many proposals there were.
    """
    gone, erased = 0, pa.array(names, pa.string())
    for path in sorted(runs.glob(f"*/{PROPOSALS}")):
        table = parquet.read_table(path)
        named = pc.or_(*(pc.is_in(table[end], value_set=erased) for end in ("subject", "object")))
        if count := int(pc.sum(named).as_py() or 0):
            write_table(path, table.filter(pc.invert(named)))
            gone += count
    return gone


def block_path(folder: Path, number: int) -> Path:
    """Where a block lies once it is done."""
    return folder / "blocks" / f"{number:06d}.arrow"


def write(path: Path, content: bytes) -> None:
    """Write a file in one step: it is there whole, or not at all."""
    with replacing(path) as staging, staging.open("wb") as file:
        file.write(content)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file in one step."""
    with replacing(path) as staging:
        parquet.write_table(table, staging, row_group_size=ROW_GROUP)


def _report(
    engine: Engine,
    plan: Plan,
    work: Work,
    calibration: RunCalibration,
    counts: Mapping[str, int],
    chosen: Selection,
) -> dict[str, Any]:
    """Everything that a run did and left undone, and what it is believed to be worth."""
    probability = column(chosen.table, "probability").astype(np.float64)
    relation = column(chosen.table, "relation").astype(np.int64)
    moves = chosen.moves

    def worth(rows: Any) -> dict[str, Any]:
        return expected(probability[rows], relation[rows], moves, plan.completeness)

    return {
        "format_version": FORMAT_VERSION,
        "plan": plan.to_json(),
        "release": engine.release_name,
        "models": list(work.labels),
        "counts": {name: count for name, count in counts.items() if count},
        "dropped": dict(chosen.dropped),
        "expected": worth(slice(None)),
        "relations": [
            {
                "relation": engine.graph.relations.name(one),
                "threshold": threshold.least,
                "group": threshold.group,
                "held": int(moves.held[one]),
                "held_expected": float(moves.awaited[one]),
                **worth(relation == one),
            }
            for one, threshold in sorted(chosen.thresholds.items())
        ],
        "calibration": dict(calibration.figures),
    }


def read_plan(folder: Path) -> Plan | None:
    """The plan of a run that was begun; None before."""
    path = folder / PLAN
    return Plan.from_json(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def _same_plan(folder: Path, plan: Plan) -> None:
    begun = read_plan(folder)
    if begun is None:
        write(folder / PLAN, json.dumps(plan.to_json(), indent=1).encode())
    elif begun != plan:
        raise DataError(f"{folder} holds a run of another plan; give another folder, or remove it")


def read_calibration(folder: Path) -> RunCalibration | None:
    """The calibration of a run that has one."""
    path = folder / CALIBRATION
    return RunCalibration.from_json(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def packed(table: pa.Table, counts: Mapping[str, int]) -> bytes:
    """A block's file."""
    sink = pa.BufferOutputStream()
    told = table.replace_schema_metadata({"counts": json.dumps(dict(counts))}).combine_chunks()
    with pa.ipc.new_file(sink, told.schema) as writer:
        writer.write_table(told)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def _unpacked(path: Path) -> tuple[pa.Table, dict[str, int]]:
    with pa.OSFile(str(path)) as file:
        table = pa.ipc.open_file(file).read_all()
    return table.replace_schema_metadata(None), json.loads(table.schema.metadata[b"counts"])
