"""Ingestion: files in, one graph on disk out, in memory that does not grow with them.

    sources ──readers──▶ batches ──sorted──▶ runs ──merged──▶ terms
                                              │ rows in numbers of terms
                                              ▼
                         triples ──interpreted──▶ rows ──assembled──▶ graph

Runs are checkpoints: what was read is not read again after a crash. The rest takes a fraction of the time and starts anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from kgservice import __version__
from kgservice.errors import DataError, InputError
from kgservice.graph import KnowledgeGraph
from kgservice.ingestion.account import summary
from kgservice.ingestion.aliases import aliases_of, resolve_value_nodes
from kgservice.ingestion.assembly import TEXTS, Assembly, Graphs, restore
from kgservice.ingestion.chunks import Chunks
from kgservice.ingestion.existing import batches_of
from kgservice.ingestion.globalise import globalise
from kgservice.ingestion.interpretation import QUOTES, TRIPLES, Interpreter, Output
from kgservice.ingestion.marks import Ids, Marks, kinds_of
from kgservice.ingestion.parsing import Parsing, read_files, read_source
from kgservice.ingestion.progress import Progress
from kgservice.ingestion.rows import QUALIFIED
from kgservice.ingestion.runs import Run, write_run
from kgservice.ingestion.selection import restrict, subtract
from kgservice.ingestion.spool import let_go
from kgservice.ingestion.terms import Terms, merge
from kgservice.readers import FORMATS, BatchBuilder, ReadOptions, format_of, resolve
from kgservice.readers.batch import Batch, Tally
from kgservice.readers.rdf import batches_of_triples, scope_of
from kgservice.readers.sources import Source

__all__ = ["GraphBuilder", "Loaded", "from_triples", "ingest", "load_into", "read"]

_log = logging.getLogger(__name__)

DEFAULT_MEMORY = 2 << 30
"""Bytes that ingestion may use, whatever the size of its sources."""


@dataclass(frozen=True)
class Sizes:
    """What fits into memory at a time.

    Attributes:
        workers: threads or processes that work at a time.
        block_bytes: of lines in a block.
        part_bytes: of terms that are sorted at a time.
        part_rows: rows that are sorted at a time.
    """

    workers: int
    block_bytes: int
    part_bytes: int
    part_rows: int

    @classmethod
    def within(cls, memory: int, workers: int | None = None) -> Sizes:
        """Shares of a memory budget: measured with two workers, a block takes about twelve times its size."""
        workers = workers or len(os.sched_getaffinity(0))
        share = memory // max(workers, 2)
        return cls(
            workers,
            block_bytes=min(max(share // 64, 1 << 16), 32 << 20),
            part_bytes=max(share // 128, 1 << 16),
            part_rows=max(share // 4096, 1 << 10),
        )


def read(
    sources: Sequence[Path | str],
    *,
    format: str | None = None,
    options: ReadOptions | None = None,
    memory: int = DEFAULT_MEMORY,
    progress: bool = False,
) -> KnowledgeGraph:
    """Like `ingest`, into a graph that lies nowhere: its files vanish with it."""
    with tempfile.TemporaryDirectory(prefix="kgservice-") as folder:
        # On POSIX systems, mapped files stay readable when their names are gone.
        return ingest(sources, Path(folder) / "graph", format=format, options=options, memory=memory, progress=progress)


def ingest(
    sources: Sequence[Path | str],
    out: Path,
    *,
    into: Path | None = None,
    delete: bool = False,
    format: str | None = None,
    options: ReadOptions | None = None,
    memory: int = DEFAULT_MEMORY,
    workers: int | None = None,
    ray: str | None = None,
    progress: bool = False,
) -> KnowledgeGraph:
    """Read files, folders and globs, compressed or not, into one graph.

    The same content gives the same graph in whatever order and in however many files it comes; only blank nodes are
    particular to a file. What became of everything read is in `graph.provenance["report"]`. Where a former run on the
    same sources was interrupted, it goes on from what had been read.

    Args:
        sources: a folder stands for the files in it that a format accepts by name.
        out: the graph's folder; a graph that is there is replaced when the new one is whole.
        into: a graph to continue; its names keep their ids, new ones are appended. It may lie at `out`.
        delete: take what the sources state out of `into`: a statement without qualifiers takes all of that subject,
            relation and object with it; names stay.
        format: a key of `readers.FORMATS`; by default told from each file's name.
        memory: bytes to use at most, about.
        workers: threads or processes; as many as cores by default.
        ray: address of a Ray cluster that reads the sources, "" for one on this machine; sources and `out` must lie
            where all its nodes see them.
        progress: show bars, if standard error is a terminal.

    Raises:
        InputError: no such path, nothing readable in it, an unknown format.
        MalformedStatement: names file, line and column.
        DataError: a file is empty, truncated or damaged, the disk is full, or there is no statement at all.
    """
    options = options or ReadOptions()
    sizes = Sizes.within(memory, workers)
    work = out.parent / f".{out.name}.ingest"
    restore(out, work)
    if out.exists() and not (out / "graph.json").is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out} is there and holds no graph; it is not replaced. Give another --out.")
    base = None if into is None else KnowledgeGraph.open(into)
    if base is not None and options.instance_of:
        raise InputError("--instance-of chooses among all statements; it does not go with --into")
    with _standard_input(sources, out, format) as named:
        return _ingest(named, out, work, base, delete, format, options, sizes, ray, progress)


def _ingest(
    sources: Sequence[Path | str],
    out: Path,
    work: Path,
    base: KnowledgeGraph | None,
    delete: bool,
    format: str | None,
    options: ReadOptions,
    sizes: Sizes,
    ray: str | None,
    progress: bool,
) -> KnowledgeGraph:
    files = resolve(sources, format=format)
    plan = _plan(files, format, options, sizes, base, delete)
    started = time.monotonic()
    with ExitStack() as stack:
        try:
            _prepare(work, plan)
            shown = stack.enter_context(Progress.over(files, show=progress))
            pool = stack.enter_context(ThreadPoolExecutor(sizes.workers))
            parsing = Parsing(
                work / "runs", options, pool, sizes.workers, sizes.block_bytes, format=format, progress=shown.found
            )
            with stage("sources read"):
                if ray is None:
                    runs = parsing.read(files)
                else:
                    from kgservice.ingestion.distributed import read_with_ray

                    runs = read_with_ray(
                        files,
                        work / "runs",
                        options,
                        format=format,
                        block_bytes=sizes.block_bytes,
                        address=ray or None,
                        progress=shown.found,
                    )
            graph = _finish(
                runs,
                out,
                work,
                pool,
                options,
                sizes,
                files=parsing.done(files),
                provenance={"options": options.as_dict()},
                base=base,
                delete=delete,
                each=shown.step,
            )
        except OSError as error:
            raise DataError(
                f"{out}: {error.strerror or error}. Nothing is lost: free some space or mend the place, "
                "then run the same command again."
            ) from error
    shutil.rmtree(work, ignore_errors=True)
    _log.info("%s: %d entities from %d files in %.1f s", out, graph.n, len(files), time.monotonic() - started)
    return graph


@contextmanager
def _standard_input(sources: Sequence[Path | str], out: Path, format: str | None) -> Iterator[Sequence[Path | str]]:
    """The sources, with a file that holds standard input in the place of `-`."""
    if "-" not in map(str, sources):
        yield sources
        return
    if format is None:
        raise InputError("standard input has no name that tells its format. Give it with --format.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        path = Path(folder) / "stdin"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield [path if str(source) == "-" else source for source in sources]


@contextmanager
def stage(what: str) -> Iterator[None]:
    """Log how long something took."""
    started = time.monotonic()
    yield
    _log.info("%s in %.1f s", what, time.monotonic() - started)


@dataclass
class GraphBuilder(BatchBuilder):
    """A graph from columns in memory: for what is small, or read by other means."""

    batches: list[Batch] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def build(  # type: ignore[override]
        self, *, prefixes: Mapping[str, str], provenance: Mapping[str, Any], files: Sequence[Mapping[str, Any]] = ()
    ) -> KnowledgeGraph:
        """The graph of all that was added; the same for the same content in any order.

        Raises:
            GraphError: more names than int32 ids.
        """
        sizes = Sizes.within(DEFAULT_MEMORY)
        batch = Batch(**{**vars(super().build()), "prefixes": prefixes})
        with tempfile.TemporaryDirectory(prefix="kgservice-") as folder, ThreadPoolExecutor(sizes.workers) as pool:
            work = Path(folder)
            (work / "runs").mkdir()
            runs = []
            for number, part in enumerate([*self.batches, batch]):
                runs.append(Run(work / "runs" / f"{number:05}.run"))
                write_run(runs[-1].path, part)
            return _finish(runs, work / "out", work, pool, ReadOptions(), sizes, files=files, provenance=provenance)


@dataclass(frozen=True)
class Loaded:
    """What a builder was given: the account of each file, and the prefixes."""

    files: list[dict[str, Any]]
    prefixes: dict[str, str]


def load_into(
    builder: GraphBuilder,
    sources: Sequence[Path | str],
    *,
    format: str | None = None,
    options: ReadOptions | None = None,
) -> Loaded:
    """Read small sources into a builder that may be given more; as `ingest` does otherwise."""
    options = options or ReadOptions()
    files, prefixes = resolve(sources, format=format), dict[str, str]()
    names = Counter(source.plain_name for source in files)
    whole: dict[str, list[Source]] = {}
    for source in files:
        name = format_of(source, format)
        if FORMATS[name].files is not None:
            whole.setdefault(name, []).append(source)
            continue
        scope = scope_of(source, same_name=names[source.plain_name] > 1)
        for batch in read_source(source, name, options, scope):
            builder.batches.append(batch)
            prefixes = {**batch.prefixes, **prefixes}
    for name, group in whole.items():
        read_files(builder, name, group, options)
    titles = [FORMATS[format_of(source, format)].title for source in files]
    return Loaded(
        [{**source.fingerprint(), "format": title} for source, title in zip(files, titles, strict=True)], prefixes
    )


def from_triples(triples: Iterable[Any], options: ReadOptions | None = None) -> KnowledgeGraph:
    """The graph of pyoxigraph's triples or quads, such as the answer of a SPARQL CONSTRUCT."""
    batches = list(batches_of_triples(triples, options or ReadOptions()))
    return GraphBuilder(batches=batches).build(
        prefixes={}, provenance={}, files=[{"name": "triples", "format": "RDF", "size_bytes": 0, "sha256": ""}]
    )


def _plan(
    files: Sequence[Source],
    format: str | None,
    options: ReadOptions,
    sizes: Sizes,
    base: KnowledgeGraph | None,
    delete: bool,
) -> str:
    """What must be the same for an interrupted run to go on."""
    stats = [(source.path.resolve(), source.path.stat()) for source in files]
    plan = {
        "version": __version__,
        "files": [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats],
        "format": format,
        "options": options.as_dict(),
        "block_bytes": sizes.block_bytes,
        "base": None if base is None else base.content_hash,
        "delete": delete,
    }
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()


def _prepare(work: Path, plan: str) -> None:
    """Keep the runs of an interrupted run of the same plan; clear everything else."""
    path = work / "plan"
    if not (path.is_file() and path.read_text() == plan):
        shutil.rmtree(work, ignore_errors=True)
    for old in work.glob("*"):
        if old.is_dir() and old.name != "runs":
            shutil.rmtree(old)
    work.mkdir(parents=True, exist_ok=True)
    path.write_text(plan)


@dataclass(frozen=True)
class _Understood:
    """What some runs hold, in rows."""

    found: Graphs
    marks: Marks
    tally: Tally
    prefixes: dict[str, str]


def _understand(
    runs: Mapping[int, Run],
    terms: Terms,
    alias: Ids | None,
    work: Path,
    pool: ThreadPoolExecutor,
    options: ReadOptions,
    sizes: Sizes,
    each: Callable[[], None],
    languages: pa.LargeStringArray,
) -> _Understood:
    """Rows of runs, by their numbers among those that were merged; triples are interpreted together."""
    marks, kinds = Marks(work / "marks", len(terms)), kinds_of(terms, work / "marks")
    triples, quotes = Chunks(work / "triples", TRIPLES), Chunks(work / "quotes", QUOTES)
    found = Graphs(
        Output.within(work),
        Chunks(work / "negatives", QUALIFIED),
        Chunks(work / "texts", TEXTS),
        languages,
    )
    tally: Tally = Counter()
    prefixes: dict[str, str] = {}

    def take(numbered: tuple[int, Run]) -> tuple[Tally, dict[str, str]]:
        number, run = numbered
        globalise(run, number, terms, alias, marks, triples, quotes, found)
        return run.meta()

    with stage("rows numbered"):
        for told, declared in pool.map(take, runs.items()):
            tally.update(told)
            each()
            for name, iri in sorted(declared.items()):
                if prefixes.setdefault(name, iri) != iri:
                    _log.warning("prefix %s: means %s already, not %s", name, prefixes[name], iri)
    interpreter = Interpreter(
        terms,
        kinds,
        marks,
        triples=triples,
        quotes=quotes,
        output=found.output,
        folder=work / "triples",
        options=options,
        part_rows=sizes.part_rows,
    )
    with stage("triples interpreted"):
        interpreter.run(pool, each)
    marks.let_go()
    let_go(kinds)
    return _Understood(found, marks, tally, prefixes)


def _finish(
    runs: Sequence[Run],
    out: Path,
    work: Path,
    pool: ThreadPoolExecutor,
    options: ReadOptions,
    sizes: Sizes,
    *,
    files: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, Any],
    base: KnowledgeGraph | None = None,
    delete: bool = False,
    each: Callable[[], None] = lambda: None,
) -> KnowledgeGraph:
    """Runs become a graph, beside or less what `base` holds."""
    runs = [*runs, *resolve_value_nodes(runs, work / "runs", memory=sizes.part_bytes * 8)]
    of_base = [] if base is None else _runs_of(base, work / "base", sizes)
    with stage("terms merged"):
        terms = merge([*runs, *of_base], work / "terms", pool, part_bytes=sizes.part_bytes)
    alias = aliases_of(runs, terms, work / "alias")
    numbered = dict(enumerate([*runs, *of_base]))
    languages = _languages(numbered.values())
    notes: dict[str, int] = {}
    if delete:
        held = {number: run for number, run in numbered.items() if number >= len(runs)}
        given = {number: run for number, run in numbered.items() if number < len(runs)}
        gone = _understand(given, terms, alias, work / "gone", pool, options, sizes, each, languages)
        whole = _understand(held, terms, None, work, pool, options, sizes, each, languages)
        left, notes = subtract(whole.found, gone.found, work / "left", end=len(terms), rows=sizes.part_rows)
        whole = replace(whole, found=left)
        tally = gone.tally + gone.found.output.account.named(terms)
    else:
        whole = _understand(numbered, terms, alias, work, pool, options, sizes, each, languages)
        tally = whole.tally
        if options.instance_of:
            restrict(whole.found, whole.marks, terms, options, end=len(terms), rows=sizes.part_rows)
    assembly = Assembly(terms, whole.marks, whole.found, pool, work / "graph", sizes.part_rows, base=base, each=each)

    def told_in_full() -> dict[str, Any]:
        told = Counter(tally)
        if not delete:
            told.update(whole.found.output.account.named(terms))
        sources = [{name: file[name] for name in file if name != "format"} for file in files]
        history = {} if base is None else {"continues": base.content_hash}
        earlier = [] if base is None else list(base.provenance.get("sources", []))
        report = summary(files, told, merged=assembly.merged)
        report["notes"].update(notes)
        return {**provenance, **history, "sources": [*earlier, *sources], "report": report}

    prefixes = {**whole.prefixes, **(dict(base.prefixes) if base is not None else {})}
    with stage("graph written"):
        assembly.write(out, prefixes=dict(sorted(prefixes.items())), provenance=told_in_full)
    return KnowledgeGraph.open(out)


def _languages(runs: Iterable[Run]) -> pa.LargeStringArray:
    """All codes in the order of their bytes, which is that of texts in a graph."""
    codes = {code for run in runs for code in run.columns()["text_languages"].to_pylist()}
    return pa.array(sorted(codes, key=str.encode), pa.large_string())


def _runs_of(base: KnowledgeGraph, folder: Path, sizes: Sizes) -> list[Run]:
    folder.mkdir(parents=True)
    runs = []
    for number, batch in enumerate(batches_of(base, rows=max(sizes.part_rows // 4, 1 << 10))):
        runs.append(Run(folder / f"{number:06}.run"))
        write_run(runs[-1].path, batch)
    return runs
