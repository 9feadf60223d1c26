"""Blocks on many machines: Ray Data over the same function that works on one.

A row of the data set is a range of block numbers. The node that gets it opens the release from the file system which all nodes
share, reads the plan and the calibration from the run's folder there, and writes each block as one machine would: in one step,
unless it is there. So work that is done twice because a node was lost changes nothing, and what one machine has begun a
cluster can finish.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from kgservice.enrichment.running import Work, block_path, opened, packed, read_calibration, read_plan, write
from kgservice.errors import DataError, KGServiceError
from kgservice.ingestion.distributed import cluster, quiet
from kgservice.ingestion.tasks import as_raised, as_told

TOGETHER = 16
"""Blocks of a row at most: a relation's vectors are gathered once for blocks of it that follow each other."""
_log = logging.getLogger(__name__)


def blocks_with_ray(
    folder: Path, releases: Path, missing: Sequence[int], address: str | None, progress: Callable[[int], None]
) -> None:
    """Do blocks on the nodes of a cluster.

    Args:
        folder: of the run, with plan and calibration, on a file system that all nodes share under the same path.
        releases: the store's folder, on such a file system too.
        missing: numbers of blocks that are not there.
        address: of the cluster, as `ray.init` takes it.
        progress: called with how many more blocks are done.

    Raises:
        MissingDependency: Ray is not installed.
        DataError: no cluster answers, it fails, or the folder is not shared.
        KGServiceError, OSError: what a node met, as if it had been met here.
    """
    folder, releases = folder.absolute(), releases.absolute()
    rows = [{"blocks": json.dumps(part)} for part in _ranges(missing)]
    if not rows:
        return
    nodes: set[str] = set()
    with cluster(address) as ray:
        context = ray.data.DataContext.get_current().copy()
        context.enable_progress_bars = False
        context.raise_original_map_exception = True
        with ray.data.DataContext.current(context), quiet():
            data = ray.data.from_items(rows, override_num_blocks=len(rows))
            given = {"folder": str(folder), "releases": str(releases)}
            try:
                for row in data.map(_work, fn_kwargs=given, num_cpus=1).iter_rows():
                    answer = json.loads(row["answer"])
                    if answer["error"] is not None:
                        raise as_raised(answer["error"])
                    nodes.add(answer["node"])
                    _here(folder, answer["blocks"])
                    progress(len(answer["blocks"]))
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None)
                raise cause or DataError(
                    f"the Ray cluster failed: {error}. Run the same command again to go on."
                ) from error
    _log.info("%d blocks done on %d nodes", len(missing), len(nodes))


def _ranges(missing: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(missing), TOGETHER):
        yield list(missing[start : start + TOGETHER])


def _here(folder: Path, numbers: Sequence[int]) -> None:
    absent = next((number for number in numbers if not block_path(folder, number).exists()), None)
    if absent is not None:
        raise DataError(
            f"{block_path(folder, absent)}: was written on another node and is not here. Expected a folder on a file system "
            "that all nodes share, under the same path; choose such a place with --work."
        )


def _work(row: dict[str, str], *, folder: str, releases: str) -> dict[str, str]:
    """Do the blocks of a row on whatever node has it; an error is an answer too, which Ray neither wraps nor logs."""
    import ray
    import torch

    torch.set_num_threads(1)  # a row is given one core
    numbers, told = json.loads(row["blocks"]), None
    try:
        work = _opened(Path(folder), Path(releases))
        for number in numbers:
            if not block_path(Path(folder), number).exists():
                write(block_path(Path(folder), number), packed(*work.block(number)))
    except (KGServiceError, OSError) as error:
        told = as_told(error)
    node = ray.get_runtime_context().get_node_id()
    return {"answer": json.dumps({"blocks": numbers, "error": told, "node": node})}


@lru_cache(maxsize=1)
def _opened(folder: Path, releases: Path) -> Work:
    """The run's work; kept, since a process does many rows.

    Raises:
        DataError: the folder holds no run, or the release is not what the run is of.
    """
    from kgservice.engine import open_engine

    plan, calibration = read_plan(folder), read_calibration(folder)
    if plan is None or calibration is None:
        raise DataError(f"{folder}: holds no run on this node. Expected a folder on a file system that all nodes share")
    engine = open_engine(releases, plan.release.partition("@")[0])
    if engine.release_name != plan.release:
        raise DataError(f"{releases}: holds {engine.release_name} on this node, and the run is of {plan.release}")
    return opened(engine, plan, calibration)
