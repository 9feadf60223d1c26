"""The commonest questions, answered before the framework: routing, dependencies and validation take longer than their answers.

What is read here is a part of what `POST /v1/complete` takes, with the same meaning; everything else, and whatever is wrong with
a request, goes on to the route, which explains it.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kgservice.answers import MAX_K, Question
from kgservice.errors import KGServiceError
from kgservice.server.batching import Terms
from kgservice.server.lines import ARROW, NDJSON, completed
from kgservice.server.problems import RequestProblem, on_http_exception, request_id_of, respond_error
from kgservice.server.service import Service

PATH = "/v1/complete"
_FORMS = {b"*/*": None, b"application/json": None, NDJSON.encode(): NDJSON, ARROW.encode(): ARROW}

Word = Annotated[str, Meta(min_length=1, max_length=2048)]


class PlainQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """A `QuestionBody` whose parts are named and that has no qualifiers."""

    subject: Word | None = None
    relation: Word | None = None
    object: Word | None = None


class PlainBody(msgspec.Struct, forbid_unknown_fields=True):
    """A `CompleteBody` of such questions, without types and filters."""

    subject: Word | UnsetType | None = UNSET
    relation: Word | UnsetType | None = UNSET
    object: Word | UnsetType | None = UNSET
    questions: Annotated[list[PlainQuestion], Meta(min_length=1)] | UnsetType = UNSET
    k: Annotated[int, Meta(ge=1, le=MAX_K)] = 10
    exclude_known: bool = True
    model: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    fuse: bool = False
    language: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,35}\Z")] = "en"


_read = msgspec.json.Decoder(PlainBody).decode


def plain(body: bytes) -> PlainBody | None:
    """A body, where it is one that is read here."""
    try:
        asked = _read(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    single = asked.questions is UNSET
    return asked if single or asked.subject is asked.relation is asked.object is UNSET else None


class Direct:
    """ASGI middleware next to the framework.

    Args:
        app: what answers everything else.
        service: what answers these.
        route: that takes the same requests; named in metrics and logs.
    """

    def __init__(self, app: ASGIApp, *, service: Service, route: BaseRoute) -> None:
        self.app, self._service, self._route = app, service, route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        accept = _accepted(scope) if scope["type"] == "http" and scope["path"] == PATH else None
        if accept not in _FORMS:
            await self.app(scope, receive, send)
            return
        messages = [await receive()]
        while messages[-1].get("more_body"):
            messages.append(await receive())
        asked = plain(b"".join([message.get("body", b"") for message in messages]))
        form = _FORMS[accept]
        if asked is None or (form and asked.questions is UNSET):
            await self.app(scope, _replayed(messages, receive), send)
            return
        scope["route"] = self._route
        try:
            content = await self._answer(asked, form)
        except (KGServiceError, RequestProblem) as error:
            request = Request(scope)
            response = (
                await on_http_exception(request, error)
                if isinstance(error, RequestProblem)
                else respond_error(error, request_id_of(request))
            )
            await response(scope, receive, send)
            return
        headers = [(b"content-length", b"%d" % len(content)), (b"content-type", (form or "application/json").encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _answer(self, asked: PlainBody, form: str | None) -> bytes:
        service = self._service
        terms = Terms(service.engine, asked.k, (), (), asked.exclude_known, asked.model, asked.fuse, asked.language)
        if isinstance(asked.questions, list):
            questions = [Question(one.subject, one.relation, one.object) for one in asked.questions]
            service.check_size("questions", len(questions), asked.k)
            return await completed(service, terms, questions, form)
        service.check_size("questions", 1, asked.k)
        parts = (None if part is UNSET else part for part in (asked.subject, asked.relation, asked.object))
        return await service.batches.ask(terms, Question(*parts))  # type: ignore[arg-type]


def _accepted(scope: Scope) -> bytes | None:
    """What a client takes, where it sends JSON."""
    media, accept = b"", b"*/*"
    for name, value in scope["headers"]:
        if name == b"content-type":
            media = value
        elif name == b"accept":
            accept = value
    return accept if scope["method"] == "POST" and media == b"application/json" else None


def _replayed(messages: list[Message], receive: Receive) -> Receive:
    """What has come already, then what comes."""
    waiting = iter(messages)

    async def again() -> Message:
        message = next(waiting, None)
        return await receive() if message is None else message

    return again
