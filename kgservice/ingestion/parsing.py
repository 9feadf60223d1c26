"""Sources become runs: the one stage that is worth resuming, block by block.

A run appears under its name in one step. A source that was read to its end has a `.done` file with its fingerprint. What
is there is not made again; so a stage that was killed goes on where it was, and what it makes is the same.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kgservice.ingestion.runs import Run, write_run
from kgservice.readers import FORMATS, BatchBuilder, ReadOptions, format_of
from kgservice.readers.batch import Batch
from kgservice.readers.rdf import scope_of
from kgservice.readers.sources import Source, blocks

PROCESSES_FROM_BYTES = 8 << 20
"""Below this size, starting processes takes longer than the reading itself."""

Progress = Callable[[int], None]
"""Called with the statements of each batch."""


@dataclass
class Parsing:
    """Reads sources into runs.

    Args:
        folder: where runs lie; made.
        pool: of threads.
        workers: how many blocks are in work at a time.
        block_bytes: of decompressed lines.
        progress: called with how many statements were found, now and then.
    """

    folder: Path
    options: ReadOptions
    pool: Executor
    workers: int
    block_bytes: int
    format: str | None = None
    progress: Progress = lambda count: None
    _pending: dict[int, list[Future[int]]] = field(default_factory=lambda: defaultdict(list), init=False)

    def read(self, sources: Sequence[Source]) -> list[Run]:
        """All sources.

        Returns:
            The runs in the order of their names.

        Raises:
            InputError, DataError: as the readers do; the first in the order of reading.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        names = Counter(source.plain_name for source in sources)
        whole: dict[str, list[Source]] = defaultdict(list)
        with ExitStack() as stack:
            processes: Executor | None = None
            for number, source in enumerate(sources):
                name = format_of(source, self.format)
                format_ = FORMATS[name]
                if format_.files is not None:
                    whole[name].append(source)
                    continue
                if self._is_done(number, source):
                    continue
                scope = scope_of(source, same_name=names[source.plain_name] > 1)
                if not format_.by_blocks(source):
                    self._document(number, source, name, scope)
                    continue
                pool = self.pool
                if format_.in_processes and source.path.stat().st_size >= PROCESSES_FROM_BYTES:
                    processes = processes or stack.enter_context(_processes(self.workers))
                    pool = processes
                self._blocks(number, source, name, scope, pool)
            for number in list(self._pending):
                self._drain(number, 0)
            for name, group in whole.items():
                self._files(name, group)
        return [Run(path) for path in sorted(self.folder.glob("*.run"))]

    def done(self) -> list[dict[str, Any]]:
        """Per source: name, size, sha256 and format."""
        return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.folder.glob("*.done"))]

    def _is_done(self, number: int, source: Source) -> bool:
        path = self.folder / f"{number:05}.done"
        if not path.exists():
            return False
        if source.on_bytes is not None:
            source.on_bytes(source.path.stat().st_size)
        return True

    def _mark_done(self, number: int, source: Source, format_: str) -> None:
        path = self.folder / f"{number:05}.done"
        staging = path.with_suffix(".partial")
        staging.write_text(json.dumps({**source.fingerprint(), "format": FORMATS[format_].title}), encoding="utf-8")
        staging.rename(path)

    def _blocks(self, number: int, source: Source, format_: str, scope: str, pool: Executor) -> None:
        with source.open() as stream:
            for block_number, (first_line, block) in enumerate(blocks(stream, self.block_bytes)):
                path = self.folder / f"{number:05}-{block_number:06}.run"
                if path.exists():
                    continue
                given: bytes | Path = block
                if pool is not self.pool:  # a file in the page cache is cheaper than a pipe between processes
                    given = path.with_suffix(".block")
                    given.write_bytes(block)
                self._submit(number, pool, make_run, path, format_, given, self.options, source.name, scope, first_line)
                self._drain(number, self.workers)
        self._drain(number, 0)
        self._mark_done(number, source, format_)

    def _document(self, number: int, source: Source, format_: str, scope: str) -> None:
        """Parse here, since the parser holds the interpreter's lock, and have the pool make runs of what it finds."""
        read = FORMATS[format_].document
        assert read is not None
        with source.open() as stream:
            for part, make in enumerate(read(stream, self.options, source=source.name, scope=scope)):
                path = self.folder / f"{number:05}-{part:06}.run"
                self._submit(number, self.pool, make_part, path, make)
                self._drain(number, self.workers)
        self._drain(number, 0)
        self._mark_done(number, source, format_)

    def _files(self, format_: str, group: Sequence[Source]) -> None:
        marks = [self.folder / f"files-{format_}-{number:05}.done" for number in range(len(group))]
        if all(path.exists() for path in marks):
            return
        builder = BatchBuilder()
        read_files(builder, format_, group, self.options)
        batch = builder.build()
        write_run(self.folder / f"files-{format_}.run", batch)
        self.progress(size_of(batch))
        for path, source in zip(marks, group, strict=True):
            path.write_text(json.dumps({**source.fingerprint(), "format": FORMATS[format_].title}), encoding="utf-8")

    def _submit(self, number: int, pool: Executor, call: Callable[..., int], *arguments: Any) -> None:
        self._pending[number].append(pool.submit(call, *arguments))

    def _drain(self, number: int, leave: int) -> None:
        """Wait until at most `leave` blocks are in work; the first error in the order of blocks stops the reading."""
        pending = self._pending[number]
        while len(pending) > leave:
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            if any(future.exception() for future in done):
                for future in pending:  # an earlier block, still in work, may have an error too
                    future.result()
            for future in done:
                pending.remove(future)
                self.progress(future.result())


def make_run(
    path: Path, format_: str, block: bytes | Path, options: ReadOptions, source: str, scope: str, first_line: int
) -> int:
    """The work on one block, wherever it runs: read it and write its run.

    Args:
        block: its bytes, or a file that holds them and is deleted.

    Returns:
        How many statements it holds.
    """
    read = FORMATS[format_].block
    assert read is not None
    if isinstance(block, Path):
        given, block = block, block.read_bytes()
        given.unlink()
    batch = read(block, options, source=source, scope=scope, first_line=first_line)
    write_run(path, batch)
    return size_of(batch)


def make_part(path: Path, make: Callable[[], Batch]) -> int:
    """The work on one part of a document; how many statements it holds."""
    batch = make()
    write_run(path, batch)
    return size_of(batch)


def read_files(builder: BatchBuilder, format_: str, group: Sequence[Source], options: ReadOptions) -> None:
    """All files of a format that reads them together, into a builder."""
    read = FORMATS[format_].files
    assert read is not None
    reports, _ = read(group, builder, skip_malformed=options.on_error == "skip")
    for report in reports:
        for reason, count in report.dropped.items():
            builder.drop(reason, count)
        builder.drop("malformed", report.malformed)


def read_source(source: Source, format_: str, options: ReadOptions, scope: str) -> Iterator[Batch]:
    """A file of any other format, batch by batch."""
    chosen = FORMATS[format_]
    with source.open() as stream:
        if not chosen.by_blocks(source):
            assert chosen.document is not None
            for make in chosen.document(stream, options, source=source.name, scope=scope):
                yield make()
        else:
            assert chosen.block is not None
            for first_line, block in blocks(stream):
                yield chosen.block(block, options, source=source.name, scope=scope, first_line=first_line)


def size_of(batch: Batch) -> int:
    """How many statements and triples were read."""
    told: Mapping[tuple[str, str], int] = batch.tally
    return int(batch.triples.shape[1] + batch.quotes.shape[1] + len(batch.texts.predicate) + sum(told.values()))


def _processes(workers: int) -> ProcessPoolExecutor:
    """Fresh processes, one thread each: forking a process that has threads may hang."""
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)


def _start_worker() -> None:
    os.environ["POLARS_MAX_THREADS"] = "1"
    gc.disable()  # decoding makes many objects and no cycles; a sixth of the time went into looking for them
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Without this, the workers of a killed process would wait for its blocks for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
