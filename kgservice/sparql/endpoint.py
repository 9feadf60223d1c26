"""A SPARQL endpoint over an engine: makes the store of what serves, answers `SERVICE kg:complete`, and asks."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import orjson

from kgservice.answers import Answer, Question
from kgservice.engine import Engine
from kgservice.errors import DataError
from kgservice.graph.names import KG, WELL_KNOWN, name_of
from kgservice.sparql import inserting, predicted
from kgservice.sparql.dataset import additions, blocks, marks
from kgservice.sparql.inserting import Stated
from kgservice.sparql.pool import Limits, Pool
from kgservice.sparql.predicted import COMPLETE, PREDICTED, Asked
from kgservice.sparql.refusals import QueryRefused
from kgservice.sparql.syntax import Prologue, Service, prologue, services, tokens, undeclared

logger = logging.getLogger(__name__)
T = TypeVar("T")
Run = Callable[[Callable[[], T]], Awaitable[T]]

SOLUTIONS = (
    "application/sparql-results+json",
    "application/sparql-results+xml",
    "text/csv",
    "text/tab-separated-values",
)
"""Media types of solutions and truth values, the first by default."""
GRAPHS = ("text/turtle", "application/n-triples", "application/rdf+xml", "application/ld+json")
"""Media types of graphs, the first by default."""
FORMAT = 2
"""Of stores on the disk; one made by another version is made anew."""
_NAME = re.compile(r"([^@+]+)([@+][^-]+)-(.+)")
"""`release@revision-form` of a store that is asked, `release+erased-form` of one that others are linked to."""
_MAX_ANCHORS = 1000
_LIMIT = 10


@dataclass(frozen=True)
class Query:
    """A query as the protocol gives it.

    Attributes:
        text: in SPARQL 1.1 or 1.2.
        default_graphs, named_graphs: the dataset, where the request names one.
        solutions_media, graph_media: what the result may be written in; None where the client takes none of that kind.
        base: the address of the endpoint, which relative IRIs are resolved against.
    """

    text: str
    default_graphs: Sequence[str] = ()
    named_graphs: Sequence[str] = ()
    solutions_media: str | None = SOLUTIONS[0]
    graph_media: str | None = GRAPHS[0]
    base: str = "urn:kgservice:"


@dataclass(frozen=True)
class Result:
    """A result as bytes; `media` is None where the client takes no form of it."""

    media: str | None
    content: bytes


class Endpoint:
    """Belongs to one event loop.

    Args:
        folder: where stores are kept, one of each `release@revision`; made at the first query, shared by processes. What was put
            is loaded on top of the release's own store, whose files are shared by links.
        limits: of every query.
        predictions: a file of predicted links, loaded beside the graph; N-Triples and Turtle into the graph `kg:predicted`.
    """

    def __init__(self, folder: Path, limits: Limits | None = None, predictions: Path | None = None) -> None:
        self.folder, self.limits, self.predictions = folder, limits or Limits(), predictions
        self._pool = Pool(self.limits)
        self._making: dict[str, asyncio.Task[Path]] = {}
        self._one_at_a_time = asyncio.Lock()

    async def query(self, engine: Engine, query: Query, run: Run[list[Answer]] = asyncio.to_thread) -> Result:
        """Answer a query over the engine's graph.

        Args:
            engine: whose graph, and who answers `SERVICE kg:complete`.
            query: what is asked.
            run: does the engine's work off the event loop.

        Raises:
            QueryRefused: it is malformed, asks another address, or takes too much.
            UnknownName: a question for predictions names what the release does not hold.
        """
        folder = await self.ready(engine)
        prefixes = _prefixes(engine)
        found = tokens(query.text)
        declared = prologue(found, prefixes, query.base)
        text = query.text
        for block in reversed(services(found)):  # from the last, so that places before it stay
            text = (
                text[: block.start]
                + await self._served(engine, folder, query, block, declared, run)
                + text[block.end :]
            )
        try:
            return await self._ask(folder, query, text, prefixes)
        except QueryRefused as error:
            if error.slug == "malformed-query" and (short := undeclared(found, declared)) is not None:
                raise QueryRefused(
                    error.slug, f"The prefix {short}: is not declared, or a name is misspelt. {error}"
                ) from None
            raise

    async def insertion(self, engine: Engine, text: str, base: str) -> list[Stated]:
        """What an update inserts.

        Raises:
            QueryRefused: it is malformed, or not INSERT DATA.
        """
        inserting.check(tokens(text))
        asked = {"update": text, "base": base, "prefixes": _prefixes(engine)}
        document, content = await self._pool.ask(await self.ready(engine), asked)
        if slug := document.get("problem"):
            raise QueryRefused(slug, document.get("detail", ""))
        return inserting.read(content)

    async def describe(self, turtle: str, media: str) -> Result:
        """A Turtle document in another syntax of RDF."""
        if media == GRAPHS[0]:
            return Result(media, turtle.encode())
        empty = self.folder / f"empty-{FORMAT}"
        if not empty.exists():
            await asyncio.to_thread(self._make, iter(()), empty, None)
        document, content = await self._pool.ask(empty, {"turtle": turtle, "graph_media": media})
        return Result(document["media"], content)

    async def ready(self, engine: Engine) -> Path:
        """The store of what serves, made now where there is none.

        Raises:
            QueryRefused: it takes longer to make than a query may take; it will be there later.
            DataError: it cannot be made.
        """
        name = f"{engine.release_name}-{self._form()}"
        folder = self.folder / name
        if folder.exists():
            return folder
        if name not in self._making:
            self._making[name] = asyncio.create_task(self._make_in_turn(engine, folder))
            self._making[name].add_done_callback(lambda _: self._making.pop(name, None))
        try:
            async with asyncio.timeout(self.limits.timeout_s):
                return await asyncio.shield(self._making[name])
        except TimeoutError:
            raise QueryRefused(
                "store-not-ready", f"The SPARQL store of {engine.release_name} is being made; ask again later."
            ) from None

    async def close(self) -> None:
        """Kill all processes."""
        await self._pool.close()

    async def _ask(self, folder: Path, query: Query, text: str, prefixes: dict[str, str]) -> Result:
        asked: dict[str, Any] = {
            "query": text,
            "base": query.base,
            "prefixes": prefixes,
            "default_graph": list(query.default_graphs),
            "named_graphs": list(query.named_graphs),
            "solutions_media": query.solutions_media,
            "graph_media": query.graph_media,
        }
        document, content = await self._pool.ask(folder, asked)
        if slug := document.get("problem"):
            raise QueryRefused(slug, self._explained(slug, document.get("detail", "")))
        return Result(document["media"], content)

    def _explained(self, slug: str, detail: str) -> str:
        return {
            "too-many-rows": f"The result has more than {self.limits.max_rows:,} rows. Ask for fewer with LIMIT and OFFSET.",
            "result-too-large": f"The result is longer than {self.limits.max_bytes:,} bytes. Ask for less.",
        }.get(slug, detail)

    async def _served(
        self, engine: Engine, folder: Path, query: Query, block: Service, declared: Prologue, run: Run[list[Answer]]
    ) -> str:
        """What stands in the place of a SERVICE block."""
        target = declared.iri(block.target) if block.target.kind in ("iri", "name") else block.target.text
        if target != COMPLETE:
            if self.limits.federated:
                return query.text[block.start : block.end]
            raise QueryRefused(
                "foreign-service",
                f"SERVICE may name kg:complete alone, found {target[:200]}: no other address is asked.",
            )
        asked = predicted.read(block, query.text, declared)
        anchors = await self._anchors(engine, folder, query, asked, declared) if asked.anchor else [None]
        questions = [asked.question({asked.anchor: one} if asked.anchor and one else {}) for one in anchors]
        limit = asked.limit or _LIMIT
        if len(questions) * limit > self.limits.max_rows:
            raise QueryRefused(
                "too-many-rows",
                f"{len(questions):,} questions with kg:limit {limit} are more than {self.limits.max_rows:,} candidates.",
            )
        answers = await run(lambda: _completed(engine, asked, questions)) if questions else []
        return predicted.rows(asked, engine.entities, list(zip(anchors, answers, strict=True)))

    async def _anchors(
        self, engine: Engine, folder: Path, query: Query, asked: Asked, declared: Prologue
    ) -> list[str | None]:
        """The entities that the rest of a block gives to the variable of its question."""
        text = f"SELECT DISTINCT {asked.anchor} WHERE {{ {asked.rest} }} LIMIT {_MAX_ANCHORS + 1}"
        inner = Query(text, query.default_graphs, query.named_graphs, base=declared.base)
        result = await self._ask(folder, inner, text, dict(declared.prefixes))
        bindings = orjson.loads(result.content)["results"]["bindings"]
        if len(bindings) > _MAX_ANCHORS:
            raise QueryRefused(
                "too-many-rows",
                f"{asked.anchor} has more than {_MAX_ANCHORS:,} values; SERVICE kg:complete takes fewer.",
            )
        names = [name_of(one["value"]) for row in bindings for one in row.values() if one["type"] == "uri"]
        return [name for name in names if engine.entities.find(name) >= 0]

    async def _make_in_turn(self, engine: Engine, folder: Path) -> Path:
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._made, engine, folder)

    def _made(self, engine: Engine, folder: Path) -> Path:
        started = time.perf_counter()
        try:
            ground = self._ground(engine)
            put = list(additions(engine.graph))
            with self._beside() as beside:
                _linked(ground, beside)
                if put:
                    _run(put, folder, "extend", beside)
                _settle(beside, folder)
            self._tidy(engine, ground)
        except OSError as error:
            raise DataError(f"the SPARQL store {folder} cannot be made: {error}") from error
        logger.info("SPARQL store of %s made in %.1f s", engine.release_name, time.perf_counter() - started)
        return folder

    def _ground(self, engine: Engine) -> Path:
        """The store of a release without what was put and erased, made where there is none: others are links to its files."""
        ground = self.folder / f"{engine.release.id}+{_digest(engine.changes.erased)}-{self._form()}"
        if not ground.exists():
            lines = chain(blocks(engine.graph), marks(engine.changes.erased if self.predictions else ()))
            self._make(lines, ground, self.predictions)
        return ground

    def _tidy(self, engine: Engine, ground: Path) -> None:
        """What was erased since, of any release, must not lie about."""
        for other in self.folder.glob("*[@+]*"):
            release, mark, _ = _NAME.fullmatch(other.name).groups()  # type: ignore[union-attr]
            gone = not (engine.release.folder.parent / release).exists()
            if mark[0] == "+":
                gone |= not other.name.endswith(ground.name.partition("+")[2])
            else:
                gone |= int(mark[1:]) < engine.revision
            if gone:
                shutil.rmtree(other, ignore_errors=True)

    def _form(self) -> str:
        """What else a store is made of: the version of its form, and which predictions."""
        if not self.predictions:
            return str(FORMAT)
        written = self.predictions.stat()
        return f"{FORMAT}-{written.st_mtime_ns:x}{written.st_size:x}"

    def _make(self, lines: Iterable[memoryview], folder: Path, predictions: Path | None) -> None:
        """Load lines into a new store beside, then rename it; whoever comes second finds it there."""
        with self._beside() as beside:
            _run(lines, folder, "load", beside, PREDICTED, *([predictions] if predictions else []))
            _settle(beside, folder)

    @contextlib.contextmanager
    def _beside(self) -> Iterator[Path]:
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = self.folder / f".{uuid.uuid4().hex}"
        try:
            yield beside
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _run(lines: Iterable[memoryview], folder: Path, task: str, *arguments: str | Path) -> None:
    """Have a process make `folder`'s store of lines.

    Raises:
        DataError: it could not.
    """
    command = [sys.executable, "-m", "kgservice.sparql.worker", task, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        with contextlib.suppress(BrokenPipeError):
            for part in lines:
                process.stdin.write(part)
            process.stdin.close()
        said = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        raise DataError(f"the SPARQL store {folder} cannot be made: {said.splitlines()[-1] if said else 'killed'}")


def _linked(store: Path, copy: Path) -> None:
    """A store beside another: its tables, which are never written again, are links, the few small files that are are copies."""
    copy.mkdir()
    for file in store.iterdir():
        if file.suffix == ".sst":
            os.link(file, copy / file.name)
        elif file.name != "LOCK" and file.is_file():
            shutil.copy2(file, copy / file.name)


def _settle(beside: Path, folder: Path) -> None:
    with contextlib.suppress(OSError):  # another process was first
        beside.rename(folder)


def _digest(erased: Iterable[str]) -> str:
    return hashlib.blake2b("\n".join(sorted(erased)).encode(), digest_size=8).hexdigest()


def _completed(engine: Engine, asked: Asked, questions: Sequence[Question]) -> list[Answer]:
    return engine.complete(
        questions, k=asked.limit or _LIMIT, model=asked.model, exclude_known="known" not in asked.told
    )


def _prefixes(engine: Engine) -> dict[str, str]:
    return {**WELL_KNOWN, predicted.PREFIX: KG, **engine.graph.prefixes}
