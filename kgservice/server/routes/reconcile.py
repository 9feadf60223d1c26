"""`/reconcile`: the Reconciliation Service API, version 0.2, as OpenRefine speaks it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Path, Query, Request, Response

from kgservice.answers import Named
from kgservice.engine import Engine
from kgservice.reconciliation import extending, matching, suggesting
from kgservice.reconciliation import preview as previews
from kgservice.reconciliation.suggesting import Kind
from kgservice.server import reconciling
from kgservice.server.documentation import BUSY, responses
from kgservice.server.problems import RequestProblem
from kgservice.server.reconciling import ExtendBody
from kgservice.server.service import Service, ServiceOf

router = APIRouter(prefix="/reconcile", tags=["reconciliation"])

_REFUSED = ("invalid-request", "invalid-question", *BUSY)
NAMES = ("unknown-relation", "unknown-type")
_FORM = "application/x-www-form-urlencoded"
_QUERIES = '{"q0": {"query": "Frnace", "type": "world:Country"}}'
_EXTEND = '{"ids": ["world:France"], "properties": [{"id": "world:capital"}]}'
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors *",
    "Vary": "Accept-Language",
}
"""A preview is made to stand in another page, and loads nothing."""

KindOf = Annotated[Kind, Path(description="What is suggested.")]
Prefix = Annotated[str, Query(max_length=512, description="What was typed so far.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many, the best first.")]
Id = Annotated[str, Query(min_length=1, max_length=2048, description="An id as the service gives it.")]
TypeOf = Annotated[str | None, Query(max_length=2048, description="A type; without one, of all entities.")]


def object_of(description: str, *slugs: str) -> dict[int | str, dict[str, Any]]:
    """The responses of a route that answers with an object of the protocol's own."""
    content = {"application/json": {"schema": {"type": "object"}}}
    return {**responses(None, "", *slugs, *_REFUSED), 200: {"description": description, "content": content}}


HTML: dict[int | str, dict[str, Any]] = {
    **responses(None, "", "unknown-entity", *_REFUSED),
    200: {"description": "A page.", "content": {"text/html": {"schema": {"type": "string"}}}},
}
_PARAMETERS = [
    {"name": name, "in": "query", "description": what, "schema": {"type": "string"}, "example": example}
    for name, what, example in (
        ("queries", "A batch of queries, as JSON.", _QUERIES),
        ("extend", "Which values to fetch, as JSON.", _EXTEND),
    )
]
_FORM_BODY = {
    "required": True,
    "content": {
        _FORM: {
            "schema": {"type": "object", "properties": {name: {"type": "string"} for name in ("queries", "extend")}},
            "examples": {"queries": {"value": {"queries": _QUERIES}}, "extend": {"value": {"extend": _EXTEND}}},
        }
    },
}


@router.get(
    "",
    operation_id="reconcile",
    summary="How are tables reconciled here?",
    response_class=Response,
    responses=object_of("The manifest; or the answer, where something is asked.", *NAMES),
    openapi_extra={"parameters": _PARAMETERS},
)
async def get_reconcile(request: Request, service: ServiceOf) -> Response:
    """The manifest of version 0.2. With `queries` or `extend`, as by POST."""
    given = _parameters(request.scope["query_string"])
    if "queries" in given or "extend" in given:
        return await _reconcile(request, service, given)
    base, engine, language = str(request.base_url).rstrip("/"), service.engine, language_of(request)
    return await service.answer(lambda: reconciling.manifest(base, engine, language))


@router.post(
    "",
    operation_id="reconcilePost",
    summary="Which entities do the cells of a table mean?",
    response_class=Response,
    responses=object_of(
        "Candidates by query, or values by entity.", "body-too-large", "unsupported-media-type", *NAMES
    ),
    openapi_extra={"requestBody": _FORM_BODY},
)
async def post_reconcile(request: Request, service: ServiceOf) -> Response:
    """Version 0.2: a batch of `queries`, or what to `extend`, as a field of a form."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != _FORM:
        raise RequestProblem("unsupported-media-type", f"Expected Content-Type: {_FORM}, found {media[:100]!r}.")
    return await _reconcile(request, service, _parameters(await request.body()))


async def _reconcile(request: Request, service: Service, given: Mapping[str, str]) -> Response:
    engine, language = service.engine, language_of(request)
    if "queries" in given:
        batch: dict[str, reconciling.QueryBody] = reconciling.read(reconciling.QUERIES, given["queries"], "queries")
        queries = {name: one.asked() for name, one in batch.items()}
        service.check_size("queries", len(queries), max((one.limit for one in queries.values()), default=1))

        def ask() -> Any:
            found = matching.match(engine, list(queries.values()), language)
            return {name: {"result": reconciling.candidates(one)} for name, one in zip(queries, found, strict=True)}

        return await service.answer(ask)
    if "extend" in given:
        wanted: ExtendBody = reconciling.read(reconciling.EXTEND, given["extend"], "extend")
        return await service.answer(extension(service, engine, wanted, language, reconciling.extended))
    raise RequestProblem("invalid-request", "Expected `queries` or `extend`.")


@router.get(
    "/flyout/{kind}",
    operation_id="reconcileFlyout",
    summary="What is a suggested thing?",
    response_class=Response,
    responses=object_of("Its id and a piece of HTML.", "unknown-entity", *NAMES),
)
async def flyout(kind: KindOf, id: Id, request: Request, service: ServiceOf) -> Response:
    """A few words on an entity, type or property, as HTML."""
    engine, language = service.engine, language_of(request)
    return await service.answer(lambda: {"id": id, "html": previews.flyout(engine, kind, id, language)})


async def preview(id: Id, request: Request, service: ServiceOf) -> Response:
    """A page that stands in another page: name, description, types and a few statements."""
    engine, language = service.engine, language_of(request)
    html = await service.workers.run(lambda: previews.page_of(engine.entity(id, language=language, limit=6), language))
    return Response(html, media_type="text/html", headers=_HEADERS)


async def propose(request: Request, service: ServiceOf, type: TypeOf = None, limit: Limit = 100) -> Response:
    """Of the type's entities, or of all."""
    engine, language = service.engine, language_of(request)

    def ask() -> Any:
        found = extending.propose(engine, type, limit, language)
        shown = {"properties": [reconciling.named(one) for one in found], "limit": limit}
        return {**shown, "type": type} if type else shown

    return await service.answer(ask)


def suggesting_from(place: str) -> Callable[..., Awaitable[Response]]:
    """The route of suggestions, with the name that a version has for how many are left out first."""

    async def suggest(
        kind: KindOf,
        request: Request,
        service: ServiceOf,
        prefix: Prefix,
        limit: Limit = 10,
        start: int = Query(0, alias=place, ge=0, le=1000, description="How many to leave out first."),
    ) -> Response:
        """Those whose name or id begins with it come first, then those that hold it, then those alike."""
        engine, language = service.engine, language_of(request)

        def ask() -> Any:
            found = suggesting.suggest(engine, kind, prefix, limit=limit, offset=start, language=language)
            return {"result": [reconciling.named(one) for one in found]}

        return await service.answer(ask)

    return suggest


def add_shared(router: APIRouter, version: str, place: str, said: str = "") -> None:
    """The routes that both versions have alike.

    Args:
        router: of the version.
        version: what the names of its operations begin with.
        place: what it calls the number of suggestions that are left out first.
        said: how its summaries end.
    """
    routes: list[tuple[str, str, str, Callable[..., Any], dict[int | str, dict[str, Any]]]] = [
        (
            "/suggest/{kind}", "Suggest", "What may be meant by what was typed", suggesting_from(place),
            object_of("Entities, types or properties, the best first."),
        ),
        ("/preview", "Preview", "What is an entity, in a small frame", preview, HTML),
        (
            "/extend/propose", "Propose", "Which properties are worth fetching", propose,
            object_of("The relations that entities of a type have, the most frequent first.", *NAMES),
        ),
    ]  # fmt: skip
    for path, name, summary, route, answers in routes:
        router.add_api_route(
            path,
            route,
            methods=["GET"],
            operation_id=f"{version}{name}",
            summary=f"{summary}{said}?",
            response_class=Response,
            responses=answers,
        )


add_shared(router, "reconcile", "cursor")


def extension(
    service: Service, engine: Engine, body: ExtendBody, language: str, shape: Callable[..., dict[str, Any]]
) -> Callable[[], Any]:
    """How values are fetched, and shown in the shape of a version.

    Raises:
        InvalidQuestion: too many are asked for.
    """
    service.check_size("values", len(body.ids) * max(1, len(body.properties)))

    def ask() -> Any:
        properties = {one.id: one for one in suggesting.everything(engine, "property", language)}
        rows = extending.values(engine, body.ids, body.wanted(), language)
        meta = [Named(name, properties[_short(engine, name)].label) for name, _ in body.wanted()]
        return shape(rows, meta)

    return ask


def _short(engine: Engine, relation: str) -> str:
    return engine.relations.short(engine.graph.relations.name(engine.relations.resolve(relation)))


def language_of(request: Request) -> str:
    """The first language that the client would read."""
    tag = request.headers.get("accept-language", "").partition(",")[0].partition(";")[0].strip()
    return tag.lower() if tag.replace("-", "").isalnum() and len(tag) <= 35 else "en"


def _parameters(given: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(given.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100))
    except ValueError as error:
        raise RequestProblem("invalid-request", f"The parameters cannot be read: {error}.") from None
