"""`GET` and `POST /v1/explain`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.openapi.models import Example

from kgservice.answers import Statement
from kgservice.explain import Explanation, picture
from kgservice.server.bodies import ExplainBody, ExplainMany, ExplainQuery
from kgservice.server.documentation import BUSY, responses
from kgservice.server.json_routes import JsonRoute
from kgservice.server.schemas import Explanations
from kgservice.server.service import ServiceOf

router = APIRouter(prefix="/v1", tags=["questions"], route_class=JsonRoute)

PICTURE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
"""A picture has its styles inside, and runs nothing."""

_NAMES = ("unknown-entity", "unknown-relation", "unknown-model")
_EXAMPLES: dict[str, Example] = {
    "one": {
        "summary": "Why may France border Spain?",
        "value": {"subject": "world:France", "relation": "world:borders", "object": "world:Spain", "k": 3},
    },
    "bulk": {
        "summary": "Two statements at once",
        "value": {
            "statements": [
                {"subject": "world:Lyon", "relation": "world:country", "object": "world:France"},
                {"subject": "world:Lyon", "relation": "world:country", "object": "world:Peru"},
            ],
            "k": 2,
        },
    },
}
_ANSWER = responses(
    Explanation, "The evidence, or a picture of it.", *_NAMES, "invalid-request", "invalid-question", *BUSY
)
_SVG = {"image/svg+xml": {"schema": {"type": "string"}}}


@router.get(
    "/explain",
    operation_id="explain",
    summary="Why is a statement thought true?",
    responses={**_ANSWER, 200: {**_ANSWER[200], "content": _SVG}},
)
async def explain(query: Annotated[ExplainQuery, Query()], request: Request, service: ServiceOf) -> Response:
    """The evidence for and behind one answer of a model.

    `paths` are short walks between the two ends over what the models learnt from; `rules` say how often such a walk goes with
    the relation elsewhere in the graph; `alike` are entities like one end of which the same is stated; `deletions` are facts
    of the ends and how far the score falls without each. `sentence` says the best of it. With `format=svg` the answer is a
    picture.
    """
    engine = service.engine
    statement = Statement(query.subject, query.relation, query.object)

    def ask() -> Explanation:
        return engine.explain([statement], k=query.k, model=query.model, language=query.language)[0]

    if query.format == "json":
        return await service.answer_once(request, engine, ask)
    drawn = await service.workers.run(lambda: picture(ask()))
    return Response(drawn, media_type="image/svg+xml", headers={"Content-Security-Policy": PICTURE_POLICY})


@router.post(
    "/explain",
    operation_id="explainMany",
    summary="Why are statements thought true?",
    responses=responses(
        Explanation | Explanations,
        "The evidence; for many statements in their order.",
        *_NAMES,
        *("malformed-json", "body-too-large", "unsupported-media-type", "invalid-request", "invalid-question"),
        *BUSY,
    ),
)
async def explain_many(body: Annotated[ExplainBody, Body(openapi_examples=_EXAMPLES)], service: ServiceOf) -> Response:
    """As for one statement, with qualifiers, or for many `statements` with shared options."""
    many = isinstance(body, ExplainMany)
    statements = [one.statement() for one in (body.statements if isinstance(body, ExplainMany) else [body])]
    service.check_explained(len(statements))
    engine = service.engine

    def ask() -> Explanation | Explanations:
        found = engine.explain(statements, k=body.k, model=body.model, language=body.language)
        return Explanations(found) if many else found[0]

    return await service.answer(ask)
