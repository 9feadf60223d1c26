"""`/v1/reviews`: what people say of what was proposed."""

from __future__ import annotations

from typing import Annotated

import pyarrow as pa
from fastapi import APIRouter, Body, Path, Query, Response
from fastapi.openapi.models import Example

from kgservice.enrichment.reviewing import ReviewSummary, ordered, summary
from kgservice.enrichment.running import read_proposals
from kgservice.enrichment.worker import folder_of
from kgservice.server.documentation import responses
from kgservice.server.json_routes import JsonRoute
from kgservice.server.problems import RequestProblem
from kgservice.server.routes.enrichments import job_of, proposals_of
from kgservice.server.schemas import Queued, ReviewItem, ReviewItems
from kgservice.server.service import Service, ServiceOf
from kgservice.server.submissions import QueueBody, VerdictBody
from kgservice.store.reviews import Review

router = APIRouter(prefix="/v1", tags=["reviews"], route_class=JsonRoute)

_BODY = ("malformed-json", "body-too-large", "unsupported-media-type", "invalid-request")
_HERE = ("overloaded", "unavailable", "no-release")
_QUEUE: dict[str, Example] = {
    "some": {"summary": "A hundred of a run", "value": {"enrichment": "0" * 32, "count": 100}},
    "audit": {"summary": "A random sample alone", "value": {"enrichment": "0" * 32, "count": 50, "audit": 1.0}},
}
_VERDICT: dict[str, Example] = {
    "accept": {"summary": "It is right", "value": {"verdict": "accept", "reviewer": "Ada"}},
    "reject": {
        "summary": "It is not",
        "value": {"verdict": "reject", "reason": "another town of that name", "reviewer": "Ada"},
    },
}


@router.post(
    "/reviews",
    operation_id="queueReviews",
    summary="Queue some of what an enrichment found for review.",
    responses=responses(Queued, "They are queued.", *_BODY, "unknown-job", "not-done", *_HERE),
)
async def queue(body: Annotated[QueueBody, Body(openapi_examples=_QUEUE)], service: ServiceOf) -> Response:
    """What teaches most comes first; a share, drawn at random, stands in between and tells how precise the whole is."""

    def ask() -> Queued:
        table, kind = _proposals(service, body.enrichment)
        rows = ordered(table, body.count, body.audit, body.seed)
        return Queued(body.enrichment, service.runner.reviews.queue(body.enrichment, kind, rows))

    return await service.answer(ask)


@router.get(
    "/reviews",
    operation_id="reviews",
    summary="What is to be reviewed next?",
    responses=responses(ReviewItems, "The next ones.", "unknown-job", "invalid-request", *_HERE),
)
async def reviews(
    service: ServiceOf,
    enrichment: Annotated[str | None, Query(max_length=64, description="Of this one; of all by default.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many.")] = 10,
) -> Response:
    """The head of the queue: what nobody has said anything of yet."""

    def ask() -> ReviewItems:
        if enrichment is not None:
            job_of(service, enrichment)
        asked = limit
        while True:
            found = service.runner.reviews.next(enrichment, asked)
            shown = [item for one in found if (item := _item(service, one)) is not None]
            if len(shown) >= limit or len(found) < asked:
                return ReviewItems(shown[:limit])
            asked *= 2  # what was erased since must not hide what comes behind it

    return await service.answer(ask)


@router.get(
    "/reviews/summary",
    operation_id="reviewSummary",
    summary="What do the verdicts say of an enrichment?",
    responses=responses(
        ReviewSummary, "Precision, with its interval.", "unknown-job", "not-done", "invalid-request", *_HERE
    ),
)
async def review_summary(
    service: ServiceOf, enrichment: Annotated[str, Query(max_length=64, description="Which.", examples=["0" * 32])]
) -> Response:
    """The precision rests on what was drawn at random alone; the posterior of each relation on all verdicts."""

    def ask() -> ReviewSummary:
        return summary(_proposals(service, enrichment)[0], service.runner.reviews.decided(enrichment))

    return await service.answer(ask)


@router.post(
    "/reviews/{id}",
    operation_id="review",
    summary="Say what a proposal is.",
    responses=responses(ReviewItem, "It is noted.", *_BODY, "unknown-review", "read-only", *_HERE),
)
async def review(
    id: Annotated[str, Path(max_length=64, description="Of the item.")],
    body: Annotated[VerdictBody, Body(openapi_examples=_VERDICT)],
    service: ServiceOf,
) -> Response:
    """A later word takes the place of an earlier one. Accepted ones go into the next ingest: `kgservice review export`."""

    def ask() -> ReviewItem:
        if service.settings.read_only:
            raise RequestProblem("read-only", "This server takes no changes.")
        noted = _item(service, service.runner.reviews.decide(id, body.verdict, body.reason, body.reviewer))
        if noted is None:
            raise RequestProblem("unknown-review", "What it is about was erased.")
        return noted

    return await service.answer(ask)


def _proposals(service: Service, id: str) -> tuple[pa.Table, str]:
    job = job_of(service, id)
    if job.state != "done":
        raise RequestProblem("not-done", f"The enrichment is {job.state}; it can be reviewed once it is done.")
    return read_proposals(folder_of(service.settings.home, job.id)), str(job.request["kind"])


def _item(service: Service, one: Review) -> ReviewItem | None:
    """With labels; None where it names what was erased."""
    row = {"subject": one.subject, "relation": one.relation, "object": one.object, "probability": one.probability}
    shown = proposals_of(service.engine, [row])
    if not shown:
        return None
    return ReviewItem(
        one.id, one.run, one.kind, one.audit, shown[0], one.verdict, one.reason, one.reviewer, one.reviewed
    )
