"""What is around every request: an id, a limit on its body, a log line, safe headers, an answer whatever happens."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kgservice.server.metrics import Metrics
from kgservice.server.problems import RequestProblem, respond
from kgservice.server.traces import Traces

logger = logging.getLogger("kgservice.server.requests")

_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""As ASGI has them: this is on the way of every request."""


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
"""Others are counted as one: a client may send any."""
_DRAINED_BYTES = 16 << 20
_DRAINING_S = 2.0


class Envelope:
    """ASGI middleware; plain, for it is on the way of every request.

    Args:
        app: what answers.
        max_body_bytes: a longer body is refused with 413, also where its length is not announced.
        body_timeout_s: a body that takes longer to arrive is refused with 408.
        metrics, traces: where requests are counted and traced.
    """

    def __init__(
        self, app: ASGIApp, *, max_body_bytes: int, body_timeout_s: float, metrics: Metrics, traces: Traces
    ) -> None:
        self.app, self.max_body_bytes, self.body_timeout_s = app, max_body_bytes, body_timeout_s
        self._metrics, self._traces = metrics, traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        request_id = given if _ACCEPTABLE_ID.fullmatch(given) else os.urandom(16).hex()
        scope = {**scope, "state": {**scope.get("state", {}), "request_id": request_id}}
        method, started, status = scope["method"], time.perf_counter(), 0
        if method == "HEAD":  # everything that answers GET answers HEAD
            scope["method"] = "GET"

        async def send_wrapped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [pair for pair in message.get("headers", ()) if pair[0] != b"x-request-id"]
                names = {name for name, _ in own}
                safe = [pair for pair in _HEADERS if pair[0] not in names]
                message = {**message, "headers": [*own, (b"x-request-id", request_id.encode()), *safe]}
            elif method == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        try:
            announced = headers.get(b"content-length", b"").decode("latin-1")
            if announced.isdecimal() and (len(announced) > 18 or int(announced) > self.max_body_bytes):
                if b"expect" not in headers:  # else nothing was sent yet
                    await _drain(receive)
                raise self._too_large()
            with self._traces.span(f"{method} request", request_id=request_id):
                await self.app(scope, self._counted(receive), send_wrapped)
        except RequestProblem as problem:
            response = respond(problem.slug, problem.detail, request_id, headers=problem.headers)
            await response(scope, receive, send_wrapped)
        except Exception:
            logger.exception("request %s failed", request_id)
            if status:  # half an answer is out; cutting the connection is the only honest end
                raise
            response = respond("internal-error", "Something went wrong on the server's side.", request_id)
            await response(scope, receive, send_wrapped)
        finally:
            took_s = time.perf_counter() - started
            path = getattr(scope.get("route"), "path", "-")  # the template: no query text, no names of entities
            self._metrics.request(method if method in _METHODS else "-", path, status).observe(took_s)
            if logger.isEnabledFor(logging.INFO):
                ms = round(took_s * 1e3, 1)
                fields = {"method": method, "route": path, "status": status, "ms": ms, "request_id": request_id}
                logger.info("%s %s %d %.1f ms %s", method, path, status, ms, request_id, extra=fields)

    def _counted(self, receive: Receive) -> Receive:
        size, whole, until = 0, False, time.monotonic() + self.body_timeout_s

        async def counting() -> Message:
            nonlocal size, whole
            if whole:  # what comes now is that the client has gone, whenever that is
                return await receive()
            try:
                async with asyncio.timeout(
                    until - time.monotonic()
                ):  # on every request: a cancel scope costs ten times as much
                    message = await receive()
            except TimeoutError:
                raise RequestProblem(
                    "body-too-slow",
                    f"The request body did not arrive within {self.body_timeout_s:g} s.",
                    {"Connection": "close"},
                ) from None
            size += len(message.get("body", b""))
            whole = not message.get("more_body")
            if size > self.max_body_bytes:
                if not whole:
                    await _drain(receive)
                raise self._too_large()
            return message

        return counting

    def _too_large(self) -> RequestProblem:
        return RequestProblem(
            "body-too-large",
            f"The request body is longer than {self.max_body_bytes:,} bytes.",
            {"Connection": "close"},
        )


async def _drain(receive: Receive) -> None:
    """Read on for a while: a client that is cut off while it sends sees a broken connection and never the answer."""
    size = 0
    with anyio.move_on_after(_DRAINING_S):
        while size <= _DRAINED_BYTES:
            message = await receive()
            size += len(message.get("body", b""))
            if not message.get("more_body"):
                return
