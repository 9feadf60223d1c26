"""Sources become runs on many machines: Ray Data over the same functions that work on one.

A row of the data set says what to read, and never carries it: a range of whole lines, a compressed file, a document, all
files of a benchmark. The node that gets the row reads that from the file system which all nodes share, writes its runs
there, and answers with counts. A run appears in one step and has the name and the content that `Parsing` gives it; so
work that is done twice because a node was lost changes nothing, and what one machine has begun a cluster can finish.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from kgservice.errors import DataError, KGServiceError, MissingDependency
from kgservice.ingestion.parsing import Progress
from kgservice.ingestion.runs import Run
from kgservice.ingestion.tasks import Answer, Task, as_raised, as_told, done, missing, plan, tell_bytes
from kgservice.readers import FORMATS, ReadOptions
from kgservice.readers.sources import Source

ROWS_AT_ONCE = 4096
"""Beyond so many rows, Ray gets several in one task."""

ATTEMPTS = 8
"""So often a row is begun, when each time its node or its process is lost."""

_CONNECT_TIMEOUT_S = 10
_log = logging.getLogger(__name__)
_NOTHING_LOST = "Nothing is lost: run the same command again to go on."


def read_with_ray(
    sources: Sequence[Source],
    folder: Path,
    options: ReadOptions,
    *,
    format: str | None = None,
    block_bytes: int,
    address: str | None = None,
    progress: Progress = lambda count: None,
) -> list[Run]:
    """All sources, read by the nodes of a Ray cluster; as `Parsing.read` does on one machine.

    Args:
        sources: files on a file system that all nodes share, under the same paths.
        folder: where runs lie, on such a file system too; made. What is there already is not made again.
        options: how to read.
        format: a key of `readers.FORMATS`; by default told from each file's name.
        block_bytes: of decompressed lines that a node reads at a time.
        address: of the cluster, as `ray.init` takes it; by default that of `RAY_ADDRESS`, or else this machine. Where
            Ray is connected already, that connection is used and left open.
        progress: called with the number of statements of each row.

    Returns:
        The runs in the order of their names.

    Raises:
        MissingDependency: Ray is not installed.
        InputError, DataError: as the readers do; the first that any node met.
        DataError: no cluster answers, it loses a row `ATTEMPTS` times, or the folder is not shared.
        OSError: a node cannot write, as on a full disk.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("*.attempt*"):
        left.unlink(missing_ok=True)
    tasks = list(plan(sources, folder, format, block_bytes))
    if tasks:
        with cluster(address) as ray:
            if options.on_error == "skip":  # skipped lines are logged by their numbers
                tasks = _with_first_lines(tasks, ray, folder, options, block_bytes)
            tasks = list(missing(tasks, sources, folder))
            _collect(_answers(tasks, ray, folder, options, block_bytes), tasks, sources, folder, progress)
    return [Run(path) for path in sorted(folder.glob("*.run"))]


def _with_first_lines(
    tasks: Sequence[Task], ray: Any, folder: Path, options: ReadOptions, block_bytes: int
) -> list[Task]:
    """Tell each range the number of its first line: one more pass over the bytes, on all nodes."""
    counts = [replace(task, kind="count") for task in tasks if task.kind == "lines"]
    lines = {
        (counts[answer.index].number, counts[answer.index].part): answer.lines
        for answer in _answers(counts, ray, folder, options, block_bytes)
    }
    first: dict[int, int] = {}
    numbered = []
    for task in tasks:
        if task.kind == "lines":
            line = first.get(task.number, 1)
            first[task.number] = line + lines[task.number, task.part]
            task = replace(task, first_line=line)
        numbered.append(task)
    return numbered


def _collect(
    answers: Iterator[Answer], tasks: Sequence[Task], sources: Sequence[Source], folder: Path, progress: Progress
) -> None:
    """Tell the progress, and mark what was read to its end."""
    left = Counter(task.number for task in tasks if task.kind != "together")
    fingerprints: dict[int, Mapping[str, Any]] = {}
    rows: Counter[str] = Counter()
    for answer in answers:
        task = tasks[answer.index]
        rows[answer.node] += 1
        absent = next((name for name in answer.runs if not (folder / name).exists()), None)
        if absent is not None:
            raise DataError(
                f"{folder / absent}: was written on another node and is not here. Expected a folder on a file system "
                "that all nodes share, under the same path; choose such a place for the graph."
            )
        progress(answer.statements)
        read = sum(int(fingerprint["size_bytes"]) for fingerprint in answer.fingerprints)
        tell_bytes(sources[task.number], {"lines": task.stop - task.start, "fingerprint": 0}.get(task.kind, read))
        if task.kind == "together":
            for place, fingerprint in enumerate(answer.fingerprints):
                _mark_done(folder / f"files-{task.format}-{place:05}.done", fingerprint, task.format)
            continue
        if answer.fingerprints:
            fingerprints[task.number] = answer.fingerprints[0]
        left[task.number] -= 1
        if not left[task.number]:
            _mark_done(folder / f"{task.number:05}.done", fingerprints.pop(task.number), task.format)
    _log.info("%d rows read on %d nodes", rows.total(), len(rows))


def _mark_done(path: Path, fingerprint: Mapping[str, Any], format_: str) -> None:
    staging = path.with_suffix(".partial")
    staging.write_text(json.dumps({**fingerprint, "format": FORMATS[format_].title}), encoding="utf-8")
    staging.rename(path)


@contextmanager
def cluster(address: str | None) -> Iterator[Any]:
    """Ray, connected; disconnected in the end unless it was connected before."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingDependency("Reading on a cluster needs Ray. Run: pip install 'kgservice[ray]'.") from error
    if ray.is_initialized():
        yield ray
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of a cluster that is started here
    try:
        _reach(address or os.environ.get("RAY_ADDRESS", ""))
        ray.init(address, include_dashboard=False, logging_level=logging.WARNING)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{address}: no Ray cluster answers there: {error}. Expected the address of a head node, such as "
            "10.0.0.1:6379, or 'auto' on one of the nodes; see `ray status`."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Find out in seconds that nobody answers; Ray itself tries for minutes.

    Raises:
        OSError: nobody does, at an address of a host and a port.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT_S).close()


def _answers(tasks: Sequence[Task], ray: Any, folder: Path, options: ReadOptions, block_bytes: int) -> Iterator[Answer]:
    """Do tasks on the cluster, in any order.

    Raises:
        KGServiceError, OSError: what a node met, as if it had been met here.
        DataError: the cluster failed.
    """
    if not tasks:
        return
    # As JSON: a file name need not be UTF-8, which a column of strings must be.
    rows = [{"task": json.dumps([index, asdict(task)])} for index, task in enumerate(tasks)]
    given = {"folder": str(folder), "options": options, "block_bytes": block_bytes}
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.raise_original_map_exception = True
    with ray.data.DataContext.current(context), quiet():
        data = ray.data.from_items(rows, override_num_blocks=min(len(rows), ROWS_AT_ONCE))
        answers = data.map(_work, fn_kwargs=given, num_cpus=1).iter_rows()
        try:
            for row in answers:
                answer = Answer(**json.loads(row["answer"]))
                if answer.error is not None:
                    raise as_raised(answer.error)
                yield answer
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            raise cause or DataError(f"the Ray cluster failed: {error}. {_NOTHING_LOST}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Let only Ray Data's warnings through: it tells of every data set on standard error, and that it shows no bars."""
    levels = {"ray.data": logging.WARNING, "ray.data._internal.progress": logging.ERROR}
    before = {name: logging.getLogger(name).level for name in levels}
    try:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _work(row: Mapping[str, str], *, folder: str, options: ReadOptions, block_bytes: int) -> dict[str, str]:
    """Do the task of a row on whatever node has it; also an error is an answer, which Ray neither wraps nor logs."""
    import ray

    os.environ["POLARS_MAX_THREADS"] = "1"  # a row is given one core
    index, fields = json.loads(row["task"])
    try:
        with _counted(Task(**fields), Path(folder)) as task:
            answer = done(index, task, Path(folder), options, block_bytes)
    except (KGServiceError, OSError) as error:
        answer = Answer(index, error=as_told(error))
    return {"answer": json.dumps(asdict(replace(answer, node=ray.get_runtime_context().get_node_id())))}


@contextmanager
def _counted(task: Task, folder: Path) -> Iterator[Task]:
    """Give up a row that was begun too often: Ray Data tries for ever, also what does not fit into a node's memory.

    Raises:
        DataError: it was.
    """
    path = folder / f"{task.kind}-{task.number:05}-{task.part:06}.attempts"
    with path.open("ab") as file:
        file.write(b".")
        begun = file.tell()
    if begun > ATTEMPTS:
        where = f"bytes {task.start} to {task.stop}" if task.stop else "the file"
        raise DataError(
            f"{task.source.name}: {where}: reading was begun {ATTEMPTS} times, and each time the process or its node was "
            f"lost. Is there too little memory on a node? See Ray's logs; give less with --memory. {_NOTHING_LOST}"
        )
    yield task
    path.unlink(missing_ok=True)
