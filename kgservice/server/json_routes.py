"""Routes whose bodies are read strictly: JSON alone, or the forms that a route has besides."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute

from kgservice.server.problems import RequestProblem


class JsonRequest(Request):
    """A request whose JSON is read strictly: UTF-8, no NaN, no text after the document, no depth without end."""

    async def json(self) -> Any:
        """The document.

        Raises:
            RequestProblem: it is not JSON; names line and column.
        """
        try:
            return orjson.loads(await self.body())
        except orjson.JSONDecodeError as error:
            raise RequestProblem(
                "malformed-json", f"The body is not JSON: line {error.lineno}, column {error.colno}: {error.msg}."
            ) from None


class JsonRoute(APIRoute):
    """A route that takes its body as `application/json` alone, or in the forms that `OTHER_FORMS` has for it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler over a `JsonRequest`."""
        handler, takes_body = super().get_route_handler(), self.body_field is not None

        async def handle(request: Request) -> Response:
            if takes_body:
                given = request.headers.get("content-type", "")
                media = given.partition(";")[0].strip().lower()
                others = OTHER_FORMS.get(self.operation_id or "", {})
                if media in others:
                    return await others[media](request)
                if media != "application/json":
                    expected = ", ".join(["application/json", *others])
                    raise RequestProblem(
                        "unsupported-media-type",
                        f"Expected Content-Type: {expected}, found {given[:100]!r}.",
                        {"Accept-Post": expected},
                    )
            request = JsonRequest(request.scope, request.receive)
            return await handler(request)

        return handle


Answering = Callable[[Request], Coroutine[Any, Any, Response]]


OTHER_FORMS: dict[str, dict[str, Answering]] = {}
"""By operation id and media type: who answers a body that is no JSON document. Route modules add theirs."""
