"""What a node of a cluster may be given to do, planned from sources; and how any machine does it. Nothing of Ray is here."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal
from uuid import uuid4

from kgservice import errors
from kgservice.errors import DataError, KGServiceError, MalformedStatement
from kgservice.ingestion.parsing import make_run, read_files, size_of
from kgservice.ingestion.runs import write_run
from kgservice.readers import FORMATS, BatchBuilder, ReadOptions, format_of
from kgservice.readers.rdf import scope_of
from kgservice.readers.sources import Source, blocks

_PIECE_BYTES = 1 << 16
_READ_BYTES = 8 << 20


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
        error: what ended it, as `as_told` tells it.
    """

    index: int
    statements: int = 0
    lines: int = 0
    fingerprints: Sequence[Mapping[str, Any]] = ()
    runs: Sequence[str] = ()
    node: str = ""
    error: Sequence[Any] | None = None


def plan(sources: Sequence[Source], folder: Path, format: str | None, block_bytes: int) -> Iterator[Task]:
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
            tell_bytes(source, source.path.stat().st_size)
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


def tell_bytes(source: Source, count: int) -> None:
    """To the one who shows how much of a source is read."""
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


def missing(tasks: Sequence[Task], sources: Sequence[Source], folder: Path) -> Iterator[Task]:
    """All but the ranges whose runs exist."""
    for task in tasks:
        if task.kind == "lines" and (folder / task.run_name).exists():
            tell_bytes(sources[task.number], task.stop - task.start)
        else:
            yield task


def done(index: int, task: Task, folder: Path, options: ReadOptions, block_bytes: int) -> Answer:
    """Do a task here; done twice it changes nothing.

    Raises:
        KGServiceError: what is read is not as it should be.
        OSError: it cannot be written.
    """
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


def as_told(error: KGServiceError | OSError) -> list[Any]:
    """An error as plain values: the message is made already, so that the class cannot be called with its arguments."""
    if isinstance(error, OSError):
        return ["OSError", [error.errno, error.strerror or str(error), error.filename], {}]
    plain = json.loads(json.dumps(vars(error), default=str))
    return [type(error).__name__, [str(error)], plain]


def as_raised(told: Sequence[Any]) -> KGServiceError | OSError:
    """What `as_told` told."""
    name, arguments, state = told
    if name == "OSError":
        return OSError(*arguments)
    class_ = getattr(errors, name)
    error: KGServiceError = class_.__new__(class_)
    error.args = tuple(arguments)
    error.__dict__.update(state)
    return error
