"""`POST /v1/complete` and `POST /v1/classify`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Request, Response
from fastapi.openapi.models import Example
from pydantic import TypeAdapter
from starlette.routing import BaseRoute

from kgservice.answers import Answer, Verdict
from kgservice.engine import Engine
from kgservice.server.batching import Terms
from kgservice.server.bodies import ClassifyBody, ClassifyMany, ClassifyOne, CompleteBody, CompleteMany, CompleteOne
from kgservice.server.documentation import BODY, BUSY, responses
from kgservice.server.fields import filters_of
from kgservice.server.json_routes import OTHER_FORMS, JsonRoute
from kgservice.server.lines import NDJSON, Lines, Row, answer_lines, answer_many, completed, wanted
from kgservice.server.schemas import Answers, Verdicts
from kgservice.server.service import ServiceOf, json_response

router = APIRouter(prefix="/v1", tags=["questions"], route_class=JsonRoute)


def _complete_terms(body: CompleteOne) -> tuple[object, ...]:
    return tuple(sorted(_complete_options(body).items()))


def _complete_options(body: CompleteOne | CompleteMany) -> dict[str, Any]:
    return {
        "k": body.k,
        "types": tuple(body.types),
        "filters": filters_of(body.filters),
        "exclude_known": body.exclude_known,
        "model": body.model,
        "fuse": body.fuse,
        "language": body.language,
    }


def _ask_complete(engine: Engine, bodies: Sequence[CompleteOne]) -> Sequence[object]:
    questions = [body.question() for body in bodies]
    return list(map(orjson.Fragment, engine.complete_written(questions, **_complete_options(bodies[0]))))


COMPLETE_LINES = Lines(TypeAdapter(CompleteOne), _ask_complete, _complete_terms, lambda body: body.k)


def _ask_classify(engine: Engine, bodies: Sequence[ClassifyOne]) -> Sequence[Verdict]:
    statements = [body.statement() for body in bodies]
    return engine.classify(statements, model=bodies[0].model, language=bodies[0].language)


def _verdict_rows(verdict: Verdict) -> Iterable[Row]:
    parts = {name: getattr(verdict, name).id for name in ("subject", "relation", "object")}
    values = {
        name: getattr(verdict, name) for name in ("score", "probability", "decision", "known", "model", "release")
    }
    yield parts | values


CLASSIFY_LINES = Lines(
    TypeAdapter(ClassifyOne), _ask_classify, lambda body: (body.model, body.language), lambda body: 1
)

_COMPLETE_EXAMPLES: dict[str, Example] = {
    "object": {
        "summary": "What may France be a member of, beyond what is known?",
        "value": {"subject": "world:France", "relation": "world:memberOf", "k": 5},
    },
    "subject": {
        "summary": "Which countries use the euro? Known ones are shown too.",
        "value": {"relation": "world:currency", "object": "world:Euro", "exclude_known": False},
    },
    "relation": {
        "summary": "How are France and Spain linked?",
        "value": {"subject": "world:France", "object": "world:Spain", "exclude_known": False},
    },
    "qualified": {
        "summary": "What was Italy's currency from 1862 on?",
        "value": {
            "subject": "world:Italy",
            "relation": "world:currency",
            "qualifiers": [{"relation": "world:startTime", "value": "1862-08-24"}],
            "exclude_known": False,
        },
    },
    "value": {
        "summary": "In which decade did Croatia join the European Union?",
        "value": {
            "subject": "world:Croatia",
            "relation": "world:memberOf",
            "object": "world:European_Union",
            "qualifiers": [{"relation": "world:startDecade"}],
            "exclude_known": False,
        },
    },
    "described": {
        "summary": "In which country lies a city that the graph does not hold?",
        "value": {
            "subject": {"label": "Newport-on-Sea", "description": "city in France"},
            "relation": "world:country",
            "k": 3,
        },
    },
    "literal": {
        "summary": "What was the population of Czechoslovakia? A number, its interval, and countries alike.",
        "value": {"subject": "world:Czechoslovakia", "relation": "world:population"},
    },
    "bulk": {
        "summary": "Two questions at once",
        "value": {
            "questions": [
                {"subject": "world:France", "relation": "world:officialLanguage"},
                {"subject": "world:Peru", "relation": "world:officialLanguage"},
            ],
            "k": 3,
        },
    },
}
_CLASSIFY_EXAMPLES: dict[str, Example] = {
    "one": {
        "summary": "Does France border Spain?",
        "value": {"subject": "world:France", "relation": "world:borders", "object": "world:Spain"},
    },
    "bulk": {
        "summary": "Two statements at once",
        "value": {
            "statements": [
                {"subject": "world:France", "relation": "world:borders", "object": "world:Spain"},
                {"subject": "world:France", "relation": "world:borders", "object": "world:Peru"},
            ]
        },
    },
}


@router.post(
    "/complete",
    operation_id="complete",
    summary="What may fill the missing part of a statement?",
    responses=responses(
        Answer | Answers,
        "The candidates, the best first, or the estimate of a number; for many questions the answers in their order.",
        *("unknown-entity", "unknown-relation", "unknown-type", "unknown-model"),
        *BODY,
        *BUSY,
    ),
)
async def complete(
    body: Annotated[CompleteBody, Body(openapi_examples=_COMPLETE_EXAMPLES)], request: Request, service: ServiceOf
) -> Response:
    """Leave out exactly one of `subject`, `relation`, `object` and a qualifier's `value`.

    Or send many such `questions` with shared options.

    `qualifiers` hold beside the statement; the value of one is asked for where the statement itself is whole. Such questions
    are answered by a model that reads qualifiers, and what holds with other qualifiers is not taken for known.

    The object of a relation that links no entities but states numbers or dates is estimated: `estimate` has the value, an
    interval, what the graph states already, and the known entities most alike. Such a question takes neither `types` nor
    `qualifiers`.

    Candidates that the graph states already are left out unless `exclude_known` is false. Where one question of many
    cannot be answered, none is, and the problem says which name is unknown.
    """
    terms = Terms(service.engine, **_complete_options(body))
    if isinstance(body, CompleteMany):
        service.check_size("questions", len(body.questions), body.k)
        questions = [question.question() for question in body.questions]
        form = wanted(request)
        return Response(await completed(service, terms, questions, form), media_type=form or "application/json")
    service.check_size("questions", 1, body.k)
    return json_response(await service.batches.ask(terms, body.question()))


@router.post(
    "/classify",
    operation_id="classify",
    summary="Is a statement true?",
    responses=responses(
        Verdict | Verdicts,
        "The verdict; for many statements the verdicts in their order.",
        *("unknown-entity", "unknown-relation", "unknown-model"),
        *BODY,
        *BUSY,
    ),
)
async def classify(
    body: Annotated[ClassifyBody, Body(openapi_examples=_CLASSIFY_EXAMPLES)], request: Request, service: ServiceOf
) -> Response:
    """Send one statement, or many `statements` with shared options.

    `probability` is that the statement is true. `decision` is to accept it from `accept_from` on, to reject it up to
    `reject_to`, and to abstain between: the bounds of its relation, beyond which validation statements were told right often
    enough. All are null where the model is not calibrated. `known` says whether the graph states it.
    """
    engine = service.engine
    options: dict[str, Any] = {"model": body.model, "language": body.language}
    statements = [one.statement() for one in (body.statements if isinstance(body, ClassifyMany) else [body])]
    service.check_size("statements", len(statements))
    if isinstance(body, ClassifyMany):
        return await answer_many(
            _verdict_rows, request, service, lambda: engine.classify(statements, **options), Verdicts
        )
    return await service.answer(lambda: engine.classify(statements, **options)[0])


OTHER_FORMS["complete"] = {NDJSON: partial(answer_lines, COMPLETE_LINES)}
OTHER_FORMS["classify"] = {NDJSON: partial(answer_lines, CLASSIFY_LINES)}

COMPLETE: BaseRoute = next(route for route in router.routes if getattr(route, "operation_id", None) == "complete")
