"""What every route works with: settings, the engine that serves, threads; and how an answer is written."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Self

import orjson
from fastapi import Depends, Request, Response

from kgservice import __version__
from kgservice.engine import Engine, canaries
from kgservice.errors import InvalidQuestion
from kgservice.server.access import Access
from kgservice.server.apart import Apart, Opened, spare_cores
from kgservice.server.batching import Batches
from kgservice.server.holder import EngineHolder
from kgservice.server.jobs import JobRunner
from kgservice.server.metrics import Metrics
from kgservice.server.once import Once
from kgservice.server.problems import RequestProblem
from kgservice.server.settings import ServerSettings
from kgservice.server.work import Workers
from kgservice.sparql.endpoint import Endpoint
from kgservice.sparql.pool import Limits


@dataclass(frozen=True)
class Service:
    """The parts of one application."""

    settings: ServerSettings
    holder: EngineHolder
    workers: Workers
    batches: Batches
    access: Access
    metrics: Metrics
    once: Once
    sparql: Endpoint
    runner: JobRunner

    @classmethod
    def over(cls, holder: EngineHolder, settings: ServerSettings) -> Self:
        """The parts as the settings want them."""
        helped = settings.model_process and holder.follows and spare_cores(settings.workers)
        apart = Apart(Opened.of(settings)) if helped else None
        metrics = Metrics()
        workers = Workers(settings.threads, settings.max_waiting, settings.max_wait_s, metrics)
        limits = Limits(
            timeout_s=settings.sparql_timeout_s,
            max_rows=settings.sparql_max_rows,
            max_bytes=settings.sparql_max_bytes,
            memory_bytes=settings.sparql_memory_bytes,
            workers=settings.sparql_workers,
            max_waiting=settings.sparql_max_waiting,
            federated=settings.sparql_federated,
        )
        endpoint = Endpoint(settings.home / "sparql", limits, settings.sparql_predictions)
        once = Once(Workers(1, settings.max_waiting, math.inf, metrics))  # who wants what takes long waits for it
        return cls(
            settings,
            holder,
            workers,
            Batches(workers, apart),
            Access(settings),
            metrics,
            once,
            endpoint,
            JobRunner(settings),
        )

    @property
    def engine(self) -> Engine:
        """The engine that serves now; take it once per request."""
        return self.holder.engine

    def replay(self) -> None:
        """Note what serves, and which share of its canaries is answered as when it was made."""
        if self.holder.serving is None:
            return
        engine = self.engine
        self.metrics.serves(engine.release.id, engine.revision)
        self.metrics.canary_recall.set(canaries.recall(engine))

    async def answer(self, ask: Callable[[], Any]) -> Response:
        """Ask and write the answer as JSON, both off the event loop."""
        return json_response(await self.workers.run(lambda: orjson.dumps(ask())))

    async def answer_once(self, request: Request, engine: Engine, ask: Callable[[], Any]) -> Response:
        """Like `answer`, for what stays the same within a revision of a release: 304 where the client has it."""
        tag = tag_of(request, engine.release_name)
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        given = [part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")]
        if tag in given or "*" in given:
            return Response(status_code=304, headers=headers)
        response = await self.answer(ask)
        response.headers.update(headers)
        return response

    def check_size(self, what: str, count: int, k: int = 1) -> None:
        """Hold a request to the limits of this server.

        Raises:
            InvalidQuestion: it asks for too much; names the limit.
        """
        settings = self.settings
        if count > settings.max_bulk:
            raise InvalidQuestion(f"A request may hold {settings.max_bulk:,} {what}, this one has {count:,}")
        if k > settings.max_k:
            raise InvalidQuestion(f"k must be in [1, {settings.max_k}] on this server, found {k}")
        if count * k > settings.max_candidates:
            raise InvalidQuestion(
                f"A request may ask for {settings.max_candidates:,} candidates, {count:,} {what} with k={k} are "
                f"{count * k:,}. Send fewer at once"
            )

    def check_writable(self) -> None:
        """Refuse changes where the operator wants none.

        Raises:
            RequestProblem: this server is read-only.
        """
        if self.settings.read_only:
            raise RequestProblem("read-only", "This server takes no changes.")

    def check_explained(self, count: int) -> None:
        """Hold a request for explanations, each of which costs as much as many answers, to its own limit.

        Raises:
            InvalidQuestion: it asks for too many.
        """
        if count > self.settings.max_explained:
            raise InvalidQuestion(
                f"A request may have {self.settings.max_explained:,} statements explained, this one has {count:,}"
            )


def tag_of(request: Request, release: str) -> str:
    """A strong ETag: of what answers, `id@revision` and the version of the code, and of all that the request asks."""
    asked = b"\n".join(
        [release.encode(), __version__.encode(), request.scope["raw_path"], request.scope["query_string"]]
    )
    return f'"{hashlib.blake2b(asked, digest_size=16).hexdigest()}"'


def json_response(content: bytes) -> Response:
    """JSON that is written already."""
    return Response(content, media_type="application/json")


def service_of(request: Request) -> Service:
    """The service of the application that got the request."""
    service: Service = request.app.state.service
    return service


ServiceOf = Annotated[Service, Depends(service_of)]
