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
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kgservice import __version__
from kgservice.alone import alone
from kgservice.errors import DataError, InputError
from kgservice.graph import KnowledgeGraph
from kgservice.ingestion.folders import restore
from kgservice.ingestion.making import Sizes, make_graph, stage
from kgservice.ingestion.parsing import Parsing, read_files, read_source
from kgservice.ingestion.progress import Progress
from kgservice.ingestion.runs import Run, write_run
from kgservice.readers import FORMATS, BatchBuilder, ReadOptions, format_of, resolve
from kgservice.readers.batch import Batch
from kgservice.readers.rdf import batches_of_triples, scope_of
from kgservice.readers.sources import Source

__all__ = ["GraphBuilder", "Loaded", "from_triples", "ingest", "load_into", "read"]

_log = logging.getLogger(__name__)

DEFAULT_MEMORY = 2 << 30
"""Bytes that ingestion may use, whatever the size of its sources."""


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
        DataError: a file is empty, truncated or damaged, the disk is full, there is no statement at all, or another process
            reads into the same folder.
    """
    options = options or ReadOptions()
    sizes = Sizes.within(memory, workers)
    work = out.parent / f".{out.name}.ingest"
    busy = f"{out}: another process is reading into it. Wait for its end, then run the same command again."
    with _mended(out), alone(out.parent / f".{out.name}.lock", busy):
        restore(out, work)
        if out.exists() and not (out / "graph.json").is_file() and not (out.is_dir() and not any(out.iterdir())):
            raise InputError(f"{out} is there and holds no graph; it is not replaced. Give another --out.")
        base = None if into is None else KnowledgeGraph.open(into)
        if base is not None and options.instance_of:
            raise InputError("--instance-of chooses among all statements; it does not go with --into")
        with _standard_input(sources, out, format) as named:
            return _ingest(named, out, work, base, delete, format, options, sizes, ray, progress)


@contextmanager
def _mended(out: Path) -> Iterator[None]:
    """What the system refuses is told by the place and the mending."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{out}: {error.strerror or error}. Nothing is lost: free some space or mend the place, "
            "then run the same command again."
        ) from error


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
        graph = make_graph(
            runs,
            out,
            work,
            pool,
            options,
            sizes,
            files=parsing.done(),
            provenance={"options": options.as_dict()},
            base=base,
            delete=delete,
            each=shown.step,
        )
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
            return make_graph(runs, work / "out", work, pool, ReadOptions(), sizes, files=files, provenance=provenance)


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
