"""Every error as RFC 9457 `application/problem+json`: which exception is which problem, and how one is written."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as with_default
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.requests import Request
from starlette.responses import Response

from kgservice import errors

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Kind:
    """What all problems of one type share; `slug` ends their type URI."""

    slug: str
    status: int
    title: str
    advice: str


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with a request.

    Attributes:
        field: where, such as `body.questions[3].k`.
        message: what is wrong, and what was expected.
        closest: names that an unknown one could have meant.
    """

    field: str
    message: str
    closest: list[str] = with_default(default_factory=list)


@dataclass(frozen=True)
class Problem:
    """Why a request was not answered (RFC 9457).

    Attributes:
        type: a relative URI; a page there says more.
        title: the kind of problem, the same every time.
        status: the HTTP status.
        detail: what, where, and what was expected.
        request_id: the one in the `X-Request-Id` header and in the server's log.
        closest: names that an unknown one could have meant.
        errors: each thing wrong with the request, where it was checked as a whole.
    """

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    closest: list[str] | None = None
    errors: list[FieldError] | None = None


KINDS = {
    kind.slug: kind
    for kind in (
        Kind("unknown-entity", 404, "Unknown entity", "Ask with an IRI, a CURIE or an id; /v1/search finds it."),
        Kind("unknown-relation", 404, "Unknown relation", "Ask with an IRI, a CURIE or an id of the graph."),
        Kind("unknown-type", 404, "Unknown type", "Ask with an IRI, a CURIE or an id of the graph."),
        Kind("unknown-model", 404, "Unknown model", "/v1/releases lists them; without `model` the best answers."),
        Kind("unknown-release", 404, "Unknown release", "/v1/releases lists what there is."),
        Kind("no-report", 404, "No report", "The release was built without a report."),
        Kind("not-found", 404, "Not found", "The page at /api lists what this server answers."),
        Kind("method-not-allowed", 405, "Method not allowed", "The `Allow` header lists the methods that are."),
        Kind("malformed-json", 400, "Malformed JSON", "Send one JSON document in UTF-8; NaN is not JSON."),
        Kind("body-too-slow", 408, "Body too slow", "Send the whole body within the time that this server gives it."),
        Kind("body-too-large", 413, "Body too large", "Send fewer questions at once."),
        Kind("unsupported-media-type", 415, "Unsupported media type", "Send `Content-Type: application/json`."),
        Kind("invalid-request", 422, "Invalid request", "`errors` names each field; /openapi.json describes them all."),
        Kind(
            "invalid-question",
            422,
            "Invalid question",
            "Leave out exactly one of subject, relation, object and the values of qualifiers.",
        ),
        Kind("malformed-query", 400, "Malformed query", "Send one query in SPARQL 1.1, in UTF-8."),
        Kind(
            "update-refused",
            403,
            "Update refused",
            "/sparql/update takes INSERT DATA of new entities; DELETE of /v1/entities/{id} erases.",
        ),
        Kind("foreign-service", 403, "Foreign service", "Take the SERVICE out, or have the operator allow it."),
        Kind("not-acceptable", 406, "Not acceptable", "Name a media type in `Accept` that can be given, or none."),
        Kind("query-too-long", 422, "Query too long", "Ask for less: bind more, join less, add LIMIT."),
        Kind(
            "query-too-large", 422, "Query too large", "Ask for less: bind more, avoid ORDER BY and DISTINCT over much."
        ),
        Kind("too-many-rows", 422, "Too many rows", "Ask for fewer, with LIMIT and OFFSET."),
        Kind("result-too-large", 422, "Result too large", "Ask for fewer rows or shorter values."),
        Kind(
            "failed-query", 422, "Failed query", "The query is well formed, but cannot be evaluated; `detail` says why."
        ),
        Kind("store-not-ready", 503, "Store not ready", "Try again after the seconds in `Retry-After`."),
        Kind("erased", 409, "Erased", "What was erased stays so; put the entity under another name."),
        Kind("unknown-job", 404, "Unknown enrichment", "/v1/enrichments lists what there is."),
        Kind("unknown-review", 404, "Unknown review", "/v1/reviews lists what is to be reviewed."),
        Kind("key-reused", 409, "Idempotency key reused", "A key stands for one request; send a new one."),
        Kind("wrong-state", 409, "Wrong state", "`state` of the enrichment says what can be done with it."),
        Kind("not-done", 409, "Not done", "Ask for the enrichment until its `state` is done."),
        Kind("read-only", 403, "Read-only", "This server takes no changes: it was started with KGSERVICE_READ_ONLY."),
        Kind(
            "key-required", 401, "Key required", "Send `Authorization: Bearer KEY`; whoever runs the server makes keys."
        ),
        Kind("invalid-key", 401, "Invalid key", "Ask whoever runs the server for another key."),
        Kind("scope-too-small", 403, "Scope too small", "Ask whoever runs the server for a key that may do this."),
        Kind("no-keys", 403, "No keys", "Make a key: `kgservice key add NAME --scope write`."),
        Kind("too-many-requests", 429, "Too many requests", "Try again after the seconds in `Retry-After`."),
        Kind("overloaded", 503, "Overloaded", "Try again after the seconds in `Retry-After`."),
        Kind("no-release", 503, "No release", "Build one: `kgservice demo --no-serve`. The server opens it."),
        Kind("unavailable", 503, "Unavailable", "A file of the release cannot be read; the server's log names it."),
        Kind(
            "no-issuer",
            503,
            "No issuer",
            "The keys of the tokens' issuer could not be read yet; try again later, or send an API key.",
        ),
        Kind("not-ready", 503, "Not ready", "The server answers too slowly at the moment."),
        Kind("internal-error", 500, "Internal error", "The server's log tells more under the request id."),
    )
}

_OF_ERROR: dict[type[Exception], str] = {
    errors.UnknownEntity: "unknown-entity",
    errors.UnknownRelation: "unknown-relation",
    errors.UnknownType: "unknown-type",
    errors.UnknownModel: "unknown-model",
    errors.UnknownRelease: "unknown-release",
    errors.Erased: "erased",
    errors.InvalidQuestion: "invalid-question",
    errors.InputError: "invalid-request",
    errors.DataError: "unavailable",
}
_OF_STATUS = {404: "not-found", 405: "method-not-allowed"}


class RequestProblem(HTTPException):
    """A request refused by the server itself, before any question is asked.

    An `HTTPException`, so that it passes through FastAPI's reading of bodies as it is.
    """

    def __init__(self, slug: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(KINDS[slug].status, detail, dict(headers or {}))
        self.slug = slug


def request_id_of(request: Request) -> str:
    """The id given to a request on arrival."""
    return str(request.scope.get("state", {}).get("request_id", "-"))


def respond(
    slug: str,
    detail: str,
    request_id: str,
    *,
    headers: Mapping[str, str] | None = None,
    closest: Sequence[str] | None = None,
    errors: Sequence[FieldError] | None = None,
) -> Response:
    """A problem as a response."""
    kind = KINDS[slug]
    problem = Problem(
        type=f"/problems/{slug}",
        title=kind.title,
        status=kind.status,
        detail=detail,
        request_id=request_id,
        closest=list(closest) if closest is not None else None,
        errors=list(errors) if errors is not None else None,
    )
    return _response({name: value for name, value in vars(problem).items() if value is not None}, headers)


async def on_error(request: Request, error: Exception) -> Response:
    """The response to an error of kgservice's own tree."""
    return respond_error(error, request_id_of(request))


def respond_error(error: Exception, request_id: str) -> Response:
    """The same, where there is no request at hand.

    Raises:
        Exception: the error itself, where it is none that a client may meet.
    """
    slug = next((_OF_ERROR[cls] for cls in type(error).__mro__ if cls in _OF_ERROR), None)
    if slug is None:
        raise error
    slug = getattr(error, "slug", slug)
    detail = str(error)
    if slug == "unavailable":  # the message names files of this machine: for the log, not for the world
        logger.error("request %s: %s: %s", request_id, type(error).__name__, error)
        detail = f"The release cannot be read. The server's log tells more under request {request_id}."
    closest = error.closest if isinstance(error, errors.UnknownName) else None
    return respond(slug, detail, request_id, closest=closest)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """The response to what the framework refuses: no such path, wrong method, a body it cannot read."""
    assert isinstance(error, AnyHTTPException)
    headers = dict(error.headers or {})
    if isinstance(error, RequestProblem):
        return respond(error.slug, error.detail, request_id_of(request), headers=headers)
    if error.status_code == 404:
        return respond("not-found", "There is nothing at this path.", request_id_of(request), headers=headers)
    if error.status_code == 405:
        allowed = headers.get("Allow", "").replace("GET", "GET, HEAD")
        detail = f"{request.method} is not allowed here; {allowed} is."
        return respond("method-not-allowed", detail, request_id_of(request), headers={**headers, "Allow": allowed})
    phrase = HTTPStatus(error.status_code).phrase
    plain = {
        "type": "about:blank",
        "title": phrase,
        "status": error.status_code,
        "detail": str(error.detail),
        "request_id": request_id_of(request),
    }
    return _response(plain, headers)


async def on_invalid_request(request: Request, error: Exception) -> Response:
    """The response to a body or parameters that do not fit their description."""
    assert isinstance(error, RequestValidationError)
    return respond_invalid(error.errors(), request_id_of(request))


def respond_invalid(faults: Sequence[Any], request_id: str) -> Response:
    """The same for what pydantic found."""
    found = [_field_error(problem) for problem in faults]
    detail = " ".join(f"{one.field}: {one.message}{'' if one.message.endswith('?') else '.'}" for one in found[:3])
    if len(found) > 3:
        detail += f" And {len(found) - 3} more."
    closest = [name for one in found for name in one.closest] or None
    return respond("invalid-request", detail, request_id, closest=closest, errors=found[:100])


def _field_error(problem: Mapping[str, Any]) -> FieldError:
    parts = [part for part in problem["loc"] if part not in ("one", "many", "named", "described", "text", "parts")]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")
    context = problem.get("ctx") or {}
    message = str(context.get("text") or problem["msg"]).removeprefix("Value error, ").rstrip(".")
    given = problem.get("input")
    if problem["type"] not in ("missing", "string_too_long") and isinstance(given, str | int | float):
        shown = repr(given)
        message += f" (found {shown if len(shown) <= 80 else shown[:80] + '…'})"
    return FieldError(where, message, list(context.get("closest", ())))


def _response(content: dict[str, Any], headers: Mapping[str, str] | None) -> Response:
    if isinstance(content["status"], int) and content["status"] == 503:
        headers = {"Retry-After": "1", **(headers or {})}
    return Response(orjson.dumps(content), content["status"], dict(headers or {}), media_type=MEDIA_TYPE)
