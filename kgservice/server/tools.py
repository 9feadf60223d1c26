"""The engine as tools of the Model Context Protocol, over HTTP and stdio: the same limits and threads as REST."""

from __future__ import annotations

import contextlib
import csv
import io
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import anyio
import anyio.to_thread
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp.types import ToolAnnotations
from pydantic import Field
from starlette.routing import BaseRoute

from kgservice import __version__
from kgservice.answers import Answer, Pair, Question, Statement, Verdict
from kgservice.answers.entities import EntityPage
from kgservice.answers.explanations import Explanation
from kgservice.answers.matches import SearchResult
from kgservice.errors import DataError, KGServiceError
from kgservice.server.fields import Language, Model, Name, PairBody
from kgservice.server.problems import RequestProblem
from kgservice.server.service import Service
from kgservice.server.work import again
from kgservice.sparql.endpoint import Query

logger = logging.getLogger(__name__)
T = TypeVar("T")

MAX_ROWS = 1000
"""Rows of a SPARQL result: more is read by no agent."""
INSTRUCTIONS = """\
A knowledge graph, and models that predict what it lacks. Name entities, relations and types by id (`world:France`) or IRI;
`search` finds ids of entities by name. `get` tells what the graph states. `complete` proposes what fills the missing part of
a statement, `classify` says whether a statement is true, and `explain` why. A probability is calibrated; a score only orders.
Candidates with `known` are stated by the graph already. `sparql` queries the graph, and predicts within
`SERVICE kg:complete { s p ?o {| kg:probability ?p |} }`.
"""
_READS = ToolAnnotations(readOnlyHint=True, idempotentHint=True, openWorldHint=False)

K = Annotated[int, Field(ge=1, le=100, description="How many, the best first.")]
Types = Annotated[list[Name], Field(max_length=100, description="Only entities of at least one of these types.")]
Pairs = Annotated[list[PairBody], Field(max_length=100, description="What holds beside the statement.")]


@dataclass(frozen=True)
class Table:
    """What a query gave.

    Attributes:
        columns: its variables.
        rows: a value for each, empty where it is unbound.
        truth: the answer to ASK.
        graph: the answer to CONSTRUCT and DESCRIBE, in Turtle.
    """

    columns: list[str]
    rows: list[list[str]]
    truth: bool | None = None
    graph: str | None = None


def make_server(service: Service) -> MCPServer[Any]:
    """The tools over a service."""
    with _logging_as_it_is():
        server: MCPServer[Any] = MCPServer("kgservice", version=__version__, instructions=INSTRUCTIONS)
    settings = service.settings

    async def ask(work: Callable[[], T]) -> T:
        with _told():
            return await service.workers.run(work)

    @server.tool(annotations=_READS)
    async def search(
        query: Annotated[
            str, Field(min_length=1, max_length=512, description="A name, its beginning, or a description.")
        ],
        k: K = 5,
        types: Types = [],  # noqa: B006 — a schema's default, never changed
        language: Language = "en",
    ) -> SearchResult:
        """Find entities by name, in any language and misspelt, or by what describes them."""
        engine = service.engine
        return await ask(lambda: engine.search(query, k=k, types=types, language=language))

    @server.tool(annotations=_READS)
    async def get(
        id: Annotated[str, Field(min_length=1, max_length=2048, description="An id, CURIE or IRI of an entity.")],
        language: Language = "en",
        limit: Annotated[int, Field(ge=0, le=200, description="Statements shown.")] = 50,
    ) -> EntityPage:
        """What the graph states of an entity: names, types, and statements with their qualifiers."""
        engine = service.engine
        return await ask(lambda: engine.entity(id, language=language, limit=min(limit, settings.max_statements)))

    @server.tool(annotations=_READS)
    async def complete(
        subject: Name | None = None,
        relation: Name | None = None,
        object: Name | None = None,
        qualifiers: Pairs = [],  # noqa: B006
        k: K = 10,
        types: Types = [],  # noqa: B006
        exclude_known: Annotated[bool, Field(description="Leave out what the graph states already.")] = True,
        model: Model = None,
        language: Language = "en",
    ) -> Answer:
        """Predict the missing part of a statement: leave out exactly one of subject, relation, object and a qualifier's value."""
        engine = service.engine
        question = Question(subject, relation, object, _pairs(qualifiers))
        with _told():
            service.check_size("questions", 1, k)
        answers = await ask(
            lambda: engine.complete(
                [question], k=k, types=types, exclude_known=exclude_known, model=model, language=language
            )
        )
        return answers[0]

    @server.tool(annotations=_READS)
    async def classify(
        subject: Name,
        relation: Name,
        object: Name,
        qualifiers: Pairs = [],  # noqa: B006
        model: Model = None,
        language: Language = "en",
    ) -> Verdict:
        """Judge whether a statement is true: a calibrated probability, and accept, reject or abstain."""
        engine = service.engine
        statement = Statement(subject, relation, object, _pairs(qualifiers))
        return (await ask(lambda: engine.classify([statement], model=model, language=language)))[0]

    @server.tool(annotations=_READS)
    async def explain(
        subject: Name,
        relation: Name,
        object: Name,
        k: Annotated[int, Field(ge=1, le=20, description="Of each kind of evidence.")] = 3,
        model: Model = None,
        language: Language = "en",
    ) -> Explanation:
        """Say why a statement is thought true or not: paths, rules, entities alike, and the facts that its score rests on."""
        engine = service.engine
        statement = Statement(subject, relation, object)
        return (await ask(lambda: engine.explain([statement], k=k, model=model, language=language)))[0]

    @server.tool(annotations=_READS)
    async def sparql(
        query: Annotated[str, Field(min_length=1, max_length=100_000, description="In SPARQL 1.1; give it a LIMIT.")],
    ) -> Table:
        """Query the graph in SPARQL; its prefixes need not be declared."""
        with _told():
            result = await service.sparql.query(
                service.engine, Query(query, solutions_media="text/csv"), service.workers.run
            )
        text = result.content.decode()
        if result.media == "text/turtle":
            return Table([], [], graph=text)
        if result.media != "text/csv":
            return Table([], [], truth='"boolean":true' in text)
        head, *rows = csv.reader(io.StringIO(text, newline=""))
        if len(rows) > MAX_ROWS:
            raise ToolError(f"The result has {len(rows):,} rows, {MAX_ROWS:,} are given at most. Add a LIMIT.")
        return Table(head, rows)

    return server


def routes(server: MCPServer[Any], service: Service) -> list[BaseRoute]:
    """`/mcp`: every request stands for itself, so that any worker may answer it; no browser from elsewhere reaches it."""
    settings = service.settings
    anywhere = settings.host in ("0.0.0.0", "::")  # behind names that are not known here: the proxy's part
    hosts = [f"{host}:*" for host in ("127.0.0.1", "localhost", "[::1]", settings.host)]
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=not anywhere,
        allowed_hosts=[*hosts, settings.host],
        allowed_origins=[*(f"http://{host}" for host in hosts), *settings.cors_origins],
    )
    app = server.streamable_http_app(
        streamable_http_path="/mcp",
        json_response=True,
        stateless_http=True,
        max_request_body_size=settings.max_body_bytes,
        transport_security=security,
    )
    return list(app.routes)


@contextlib.asynccontextmanager
async def running(server: MCPServer[Any]) -> AsyncIterator[None]:
    """While this is open, `/mcp` answers."""
    async with server.session_manager.run():
        yield


async def serve_stdio(service: Service) -> None:
    """Answer over stdin and stdout until stdin ends, from the release that is current, and what is put into it."""
    holder = service.holder
    await anyio.to_thread.run_sync(holder.refresh)
    try:
        async with anyio.create_task_group() as beside:
            beside.start_soon(again, service.settings.release_poll_s, holder.refresh, "looking for a new release")
            await make_server(service).run_stdio_async()
            beside.cancel_scope.cancel()
    finally:
        await service.sparql.close()


@contextlib.contextmanager
def _logging_as_it_is() -> Iterator[None]:
    """Making an MCPServer sets up the root logger where it has no handler; how a program logs is not a library's to say."""
    root, standing_in = logging.getLogger(), logging.NullHandler()
    root.addHandler(standing_in)
    try:
        yield
    finally:
        root.removeHandler(standing_in)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What was asked wrongly is told to who asked, and what is wrong here to the log."""
    try:
        yield
    except DataError as error:
        logger.error("%s: %s", type(error).__name__, error)
        raise ToolError("The release cannot be read; the server's log tells more.") from error
    except KGServiceError as error:
        raise ToolError(str(error)) from error
    except RequestProblem as problem:
        raise ToolError(str(problem.detail)) from problem


def _pairs(qualifiers: list[PairBody]) -> tuple[Pair, ...]:
    return tuple(pair.pair() for pair in qualifiers)
