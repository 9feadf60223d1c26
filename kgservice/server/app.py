"""The application: routes, errors and the envelope around them, over an engine that may be replaced under way."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio.to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from kgservice import __version__
from kgservice.engine import Engine
from kgservice.errors import KGServiceError
from kgservice.release import ReleaseStore
from kgservice.resources import share
from kgservice.server import documentation, logs, problems, tools
from kgservice.server.access import RATE_HEADERS, Gate
from kgservice.server.console import console
from kgservice.server.direct import Direct
from kgservice.server.envelope import Envelope
from kgservice.server.holder import EngineHolder
from kgservice.server.pages import pages
from kgservice.server.routes import (
    changes,
    enrichments,
    entities,
    explain,
    health,
    operation,
    overview,
    questions,
    reconcile,
    reconcile_draft,
    releases,
    reviews,
    sparql,
)
from kgservice.server.service import Service
from kgservice.server.settings import ServerSettings
from kgservice.server.traces import Traces
from kgservice.server.work import again

SWITCH_S = 0.0002
"""How long one thread may keep the interpreter while others want it."""


class Application(FastAPI):
    """FastAPI with a finished OpenAPI document, and without its outermost layers: `Envelope` takes their place."""

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = documentation.finish(super().openapi())
        return self.openapi_schema

    def build_middleware_stack(self) -> ASGIApp:
        """What answers whatever goes wrong, limits bodies and notes spans is `Envelope`; on every request, once is enough."""
        whole = super().build_middleware_stack()
        layer: ASGIApp | None = whole
        while layer is not None and not isinstance(layer, Envelope):
            layer = getattr(layer, "app", None)
        return layer or whole


def create_app(engine: Engine | EngineHolder, settings: ServerSettings) -> FastAPI:
    """The application over an engine, or over a holder that opens CURRENT when the server starts and follows it.

    Args:
        engine: what answers.
        settings: limits and switches.
    """
    holder = EngineHolder.of(engine) if isinstance(engine, Engine) else engine
    app = Application(
        title="kgservice",
        version=__version__,
        description=documentation.DESCRIPTION,
        openapi_tags=documentation.TAGS,
        openapi_url="/openapi.json" if settings.docs else None,
        docs_url=None,  # FastAPI's pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # the service has its own
    )
    service = app.state.service = Service.over(holder, settings)
    app.state.tools = tools.make_server(service)
    for routes in (
        questions,
        explain,
        entities,
        overview,
        changes,
        reconcile,
        reconcile_draft,
        sparql,
        releases,
        enrichments,
        reviews,
        health,
    ):
        app.include_router(routes.router)
    app.router.routes.extend(tools.routes(app.state.tools, service))
    if settings.metrics:
        app.include_router(operation.router)
    if settings.console:
        app.include_router(console(share() / "api" / "console", settings.console_images))
    if settings.docs:
        app.include_router(pages(app))
    app.add_exception_handler(KGServiceError, problems.on_error)
    app.add_exception_handler(RequestValidationError, problems.on_invalid_request)
    app.add_exception_handler(HTTPException, problems.on_http_exception)
    app.add_middleware(Direct, service=service, route=questions.COMPLETE)
    app.add_middleware(Gate, access=service.access)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=[
                "Authorization",
                "Content-Type",
                "Idempotency-Key",
                "If-None-Match",
                "X-API-Key",
                "X-Request-Id",
            ],
            expose_headers=["ETag", "Location", "X-Request-Id", "Retry-After", *RATE_HEADERS],
        )
    app.add_middleware(
        Envelope,
        max_body_bytes=settings.max_body_bytes,
        body_timeout_s=settings.body_timeout_s,
        metrics=service.metrics,
        traces=Traces(settings.traces),
    )
    return app


def open_app(settings: ServerSettings, opened: Callable[[], object] | None = None) -> FastAPI:
    """The application over the release that the settings name; `opened` is called when another one serves."""
    return create_app(EngineHolder(ReleaseStore(settings.home / "releases"), settings.release, opened=opened), settings)


def open_worker() -> FastAPI:
    """The application of one of several worker processes: its settings are those of the environment."""
    settings = ServerSettings.load()
    logs.configure(settings.log_level, settings.log_format)
    import torch

    # Where cores are shared, two threads wait for each other for longer than a product of a small graph takes.
    torch.set_num_threads(settings.compute_threads)
    # A thread that computes lets go of the interpreter at every product, and waits so long to have it back from a busy loop.
    sys.setswitchinterval(SWITCH_S)
    return open_app(settings, _settle)


def _settle() -> None:
    """Have the garbage collector look no more at what stays: to look at all of it stops every answer for a third of a second."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    poll_s = service.settings.release_poll_s
    await anyio.to_thread.run_sync(service.holder.refresh)
    await anyio.to_thread.run_sync(service.access.refresh)
    service.access.warn()
    watches = [
        asyncio.create_task(again(poll_s, service.holder.refresh, "looking for a new release")),
        asyncio.create_task(again(poll_s, service.access.refresh, "reading the keys")),
        asyncio.create_task(service.runner.watch()),
    ]
    if service.settings.metrics:
        canary_s = service.settings.canary_s
        watches.append(asyncio.create_task(again(canary_s, service.replay, "replaying the canaries", at_once=True)))
    try:
        async with tools.running(app.state.tools):
            yield
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        service.batches.close()
        service.access.close()
        await service.sparql.close()
