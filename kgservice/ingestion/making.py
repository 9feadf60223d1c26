"""Runs become a graph: terms are merged, triples interpreted, rows assembled."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from kgservice.graph import KnowledgeGraph
from kgservice.ingestion.account import summary
from kgservice.ingestion.aliases import aliases_of, resolve_value_nodes
from kgservice.ingestion.assembly import Assembly
from kgservice.ingestion.chunks import Chunks
from kgservice.ingestion.existing import batches_of
from kgservice.ingestion.globalise import globalise
from kgservice.ingestion.interpretation import QUOTES, TRIPLES, Interpreter
from kgservice.ingestion.marks import Ids, Marks, kinds_of
from kgservice.ingestion.rows import QUALIFIED, TEXTS, Graphs, Output
from kgservice.ingestion.runs import Run, write_run
from kgservice.ingestion.selection import restrict, subtract
from kgservice.ingestion.spool import let_go
from kgservice.ingestion.terms import Terms, merge
from kgservice.readers import ReadOptions
from kgservice.readers.batch import Tally

_log = logging.getLogger(__name__)


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
            part_bytes=max(share // 64, 1 << 16),
            part_rows=max(share // 4096, 1 << 10),
        )


@contextmanager
def stage(what: str) -> Iterator[None]:
    """Log how long something took."""
    started = time.monotonic()
    yield
    _log.info("%s in %.1f s", what, time.monotonic() - started)


@dataclass(frozen=True)
class Understood:
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
) -> Understood:
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
    return Understood(found, marks, tally, prefixes)


def make_graph(
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
