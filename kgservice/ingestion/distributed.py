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
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal
from uuid import uuid4

from kgservice import errors
from kgservice.errors import DataError, KGServiceError, MalformedStatement, MissingDependency
from kgservice.ingestion.parsing import Progress, make_run, read_files, size_of
from kgservice.ingestion.runs import Run, write_run
from kgservice.readers import FORMATS, BatchBuilder, ReadOptions, format_of
from kgservice.readers.rdf import scope_of
from kgservice.readers.sources import Source, blocks

ROWS_AT_ONCE = 4096
"""Beyond so many rows, Ray gets several in one task."""

ATTEMPTS = 8
"""So often a row is begun, when each time its node or its process is lost."""

_CONNECT_TIMEOUT_S = 10
_PIECE_BYTES = 1 << 16
_READ_BYTES = 8 << 20
_log = logging.getLogger(__name__)
_NOTHING_LOST = "Nothing is lost: run the same command again to go on."


@dataclass(frozen=True)
class Task:
    """The work of one row.

    Attributes:
        kind: "lines" reads a range, "file" one file from its beginning to its end, "together" all files of a format,
            "fingerprint" hashes a file, "count" counts the line ends in a range.
        number: of the source among all, or of the first one.
        sources: path and name of each file.
        scope: borne by the source's blank nodes.
        part: of the range among those of its source.
        start, stop: bytes of the range.
        first_line: number of the range's first line from 1; 0 where that is not known.
    """

    kind: Literal["lines", "file", "together", "fingerprint", "count"]
    number: int
    format: str
    sources: Sequence[Sequence[str]]
    scope: str = ""
    part: int = 0
    start: int = 0
    stop: int = 0
    first_line: int = 0

    @property
    def source(self) -> Source:
        """The file, of a task on one."""
        return self.files[0]

    @property
    def files(self) -> list[Source]:
        """All files, without what has been read of them."""
        return [Source(Path(path), name) for path, name in self.sources]

    @property
    def run_name(self) -> str:
        """Of the run of a range."""
        return f"{self.number:05}-{self.part:06}.run"


@dataclass(frozen=True)
class Answer:
    """What a row tells.

    Attributes:
        index: of its task.
        statements, lines: how many were read, or counted.
        fingerprints: of files that were read to their end.
        runs: names of those that are there now.
        node: where the work was done.
        error: what ended it, as `_as_told` tells it.
    """

    index: int
    statements: int = 0
    lines: int = 0
    fingerprints: Sequence[Mapping[str, Any]] = ()
    runs: Sequence[str] = ()
    node: str = ""
    error: Sequence[Any] | None = None


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
    tasks = list(_plan(sources, folder, format, block_bytes))
    if tasks:
        with _cluster(address) as ray:
            if options.on_error == "skip":  # skipped lines are logged by their numbers
                tasks = _with_first_lines(tasks, ray, folder, options, block_bytes)
            tasks = list(_missing(tasks, sources, folder))
            _collect(_answers(tasks, ray, folder, options, block_bytes), tasks, sources, folder, progress)
    return [Run(path) for path in sorted(folder.glob("*.run"))]


def _plan(sources: Sequence[Source], folder: Path, format: str | None, block_bytes: int) -> Iterator[Task]:
    """What is left to do: long rows first, ranges at the end; those of a source whose runs exist are among them."""
    names = Counter(source.plain_name for source in sources)
    whole: dict[str, list[int]] = defaultdict(list)
    cut: list[Task] = []
    for number, source in enumerate(sources):
        name = format_of(source, format)
        if FORMATS[name].files is not None:
            whole[name].append(number)
            continue
        if (folder / f"{number:05}.done").exists():
            _tell_bytes(source, source.path.stat().st_size)
            continue
        scope = scope_of(source, same_name=names[source.plain_name] > 1)
        task = Task("file", number, name, [_place(source)], scope)
        if FORMATS[name].by_blocks(source) and _is_plain(source):
            yield replace(task, kind="fingerprint")
            cut.extend(
                replace(task, kind="lines", part=part, start=start, stop=stop)
                for part, (start, stop) in enumerate(line_ranges(source.path, block_bytes))
            )
        else:
            yield task
    for name, numbers in whole.items():
        done = (folder / f"files-{name}-{place:05}.done" for place in range(len(numbers)))
        if not ((folder / f"files-{name}.run").exists() and all(path.exists() for path in done)):
            yield Task("together", numbers[0], name, [_place(sources[number]) for number in numbers])
    yield from cut


def _place(source: Source) -> tuple[str, str]:
    return str(source.path.absolute()), source.name


def _tell_bytes(source: Source, count: int) -> None:
    if source.on_bytes is not None:
        source.on_bytes(count)


def _is_plain(source: Source) -> bool:
    """Whether the bytes of the file are its lines."""
    head = source.head(16)
    with source.path.open("rb") as file:
        return file.read(16) == head


def line_ranges(path: Path, size_bytes: int) -> Iterator[tuple[int, int]]:
    """Start and stop of whole lines, cut exactly as `blocks` cuts the file's bytes, by seeks alone."""
    with path.open("rb") as file:
        end, start = os.fstat(file.fileno()).st_size, 0
        while start < end:
            low, high = start, min(start + size_bytes, end)
            while not (stop := _last_line_end(file, low, high)) and high < end:
                low, high = high, min(high + size_bytes, end)
            yield start, stop or end
            start = stop or end


def _last_line_end(file: BinaryIO, low: int, high: int) -> int:
    """The place after the last line end in `[low, high)`, or 0."""
    while high > low:
        start = max(high - _PIECE_BYTES, low)
        file.seek(start)
        place = file.read(high - start).rfind(b"\n")
        if place >= 0:
            return start + place + 1
        high = start
    return 0


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


def _missing(tasks: Sequence[Task], sources: Sequence[Source], folder: Path) -> Iterator[Task]:
    """All but the ranges whose runs exist."""
    for task in tasks:
        if task.kind == "lines" and (folder / task.run_name).exists():
            _tell_bytes(sources[task.number], task.stop - task.start)
        else:
            yield task


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
        _tell_bytes(sources[task.number], {"lines": task.stop - task.start, "fingerprint": 0}.get(task.kind, read))
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
def _cluster(address: str | None) -> Iterator[Any]:
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
    with ray.data.DataContext.current(context), _quiet():
        data = ray.data.from_items(rows, override_num_blocks=min(len(rows), ROWS_AT_ONCE))
        answers = data.map(_work, fn_kwargs=given, num_cpus=1).iter_rows()
        try:
            for row in answers:
                answer = Answer(**json.loads(row["answer"]))
                if answer.error is not None:
                    raise _as_raised(answer.error)
                yield answer
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            raise cause or DataError(f"the Ray cluster failed: {error}. {_NOTHING_LOST}") from error


@contextmanager
def _quiet() -> Iterator[None]:
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
            answer = _answer(index, task, Path(folder), options, block_bytes)
    except (KGServiceError, OSError) as error:
        answer = Answer(index, error=_as_told(error))
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


def _answer(index: int, task: Task, folder: Path, options: ReadOptions, block_bytes: int) -> Answer:
    if task.kind == "count":
        return Answer(index, lines=_line_ends(task.source, task.start, task.stop))
    if task.kind == "fingerprint":
        source = task.source
        with source.open():  # what is not read is hashed nonetheless
            pass
        return Answer(index, fingerprints=[source.fingerprint()])
    if task.kind == "lines":
        return Answer(index, _read_range(task, folder, options), runs=[task.run_name])
    if task.kind == "together":
        files, builder = task.files, BatchBuilder()
        read_files(builder, task.format, files, options)
        batch = builder.build()
        path = folder / f"files-{task.format}.run"
        with _attempt(path) as staging:
            write_run(staging, batch)
        return Answer(index, size_of(batch), fingerprints=[file.fingerprint() for file in files], runs=[path.name])
    return _read_file(index, task, folder, options, block_bytes)


def _read_range(task: Task, folder: Path, options: ReadOptions) -> int:
    source = task.source
    with _opened(source) as file:
        file.seek(task.start)
        block = file.read(task.stop - task.start)
    with _attempt(folder / task.run_name) as staging:
        try:
            return make_run(staging, task.format, block, options, source.name, task.scope, task.first_line or 1)
        except MalformedStatement:
            if task.first_line:
                raise
        # Only now is it worth reading all that lies before, to name the line in the same words by its number.
        first = 1 + _line_ends(source, 0, task.start)
        return make_run(staging, task.format, block, options, source.name, task.scope, first)


def _read_file(index: int, task: Task, folder: Path, options: ReadOptions, block_bytes: int) -> Answer:
    """A compressed file or a document, from its beginning to its end."""
    chosen, source = FORMATS[task.format], task.source
    by_blocks = chosen.by_blocks(source)
    total, runs = 0, list[str]()

    def path_of(part: int) -> Path:
        runs.append(replace(task, part=part).run_name)
        return folder / runs[-1]

    with source.open() as stream:
        if by_blocks:
            for part, (line, block) in enumerate(blocks(stream, block_bytes)):
                if (path := path_of(part)).exists():
                    continue
                with _attempt(path) as staging:
                    total += make_run(staging, task.format, block, options, source.name, task.scope, line)
        else:
            assert chosen.document is not None
            parts = chosen.document(stream, options, source=source.name, scope=task.scope)
            batches = (make() for make in parts)
            for part, batch in enumerate(batches):
                with _attempt(path_of(part)) as staging:
                    write_run(staging, batch)
                total += size_of(batch)
    return Answer(index, total, fingerprints=[source.fingerprint()], runs=runs)


@contextmanager
def _attempt(path: Path) -> Iterator[Path]:
    """A name of its own to write to: a node that was given up may still be writing when another does its work."""
    staging = path.with_name(f"{path.stem}.{uuid4().hex}.attempt")
    yield staging
    staging.rename(path)


@contextmanager
def _opened(source: Source) -> Iterator[BinaryIO]:
    try:
        file = source.path.open("rb")
    except OSError as error:
        raise DataError(f"{source.name}: cannot be read: {error.strerror or error}. Check the file.") from error
    with file:
        yield file


def _line_ends(source: Source, start: int, stop: int) -> int:
    count = 0
    with _opened(source) as file:
        file.seek(start)
        while start < stop and (data := file.read(min(_READ_BYTES, stop - start))):
            count += data.count(b"\n")
            start += len(data)
    return count


def _as_told(error: KGServiceError | OSError) -> list[Any]:
    """An error as plain values: the message is made already, so that the class cannot be called with its arguments."""
    if isinstance(error, OSError):
        return ["OSError", [error.errno, error.strerror or str(error), error.filename], {}]
    plain = json.loads(json.dumps(vars(error), default=str))
    return [type(error).__name__, [str(error)], plain]


def _as_raised(told: Sequence[Any]) -> KGServiceError | OSError:
    """What `_as_told` told."""
    name, arguments, state = told
    if name == "OSError":
        return OSError(*arguments)
    class_ = getattr(errors, name)
    error: KGServiceError = class_.__new__(class_)
    error.args = tuple(arguments)
    error.__dict__.update(state)
    return error
