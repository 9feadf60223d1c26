"""`/v1/enrichments`: whole graphs enriched as jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Header, Path, Query, Response
from fastapi.openapi.models import Example

from kgservice.answers import Named
from kgservice.answers.cursors import Cursor
from kgservice.engine import Engine
from kgservice.enrichment.links import check
from kgservice.enrichment.running import read_page, read_report
from kgservice.enrichment.worker import folder_of
from kgservice.graph.names import Names
from kgservice.graph.texts import Texts
from kgservice.server.documentation import BODY, responses
from kgservice.server.jobs import ENRICHMENT
from kgservice.server.json_routes import JsonRoute
from kgservice.server.problems import RequestProblem
from kgservice.server.schemas import Enrichment, Enrichments, Proposal, Proposals
from kgservice.server.service import Service, ServiceOf
from kgservice.server.submissions import EnrichmentBody
from kgservice.store.jobs import Job, UnknownJob

router = APIRouter(prefix="/v1", tags=["enrichment"], route_class=JsonRoute)

_NAMES = ("unknown-relation", "unknown-type", "unknown-model", "unknown-release")
_HERE = ("overloaded", "unavailable")
_EXAMPLES: dict[str, Example] = {
    "links": {"summary": "What is probably missing", "value": {"relations": ["world:borders"], "threshold": 0.6}},
    "errors": {"summary": "What is probably wrong", "value": {"kind": "errors", "models": ["complex"], "total": 100}},
}
_ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"model": Enrichment, "description": "It will be done; `Location` says where to look."}
}
Id = Annotated[str, Path(description="Of the enrichment.", max_length=64)]


@router.post(
    "/enrichments",
    operation_id="enrich",
    summary="Have what the whole graph lacks, or holds wrongly, found.",
    status_code=202,
    responses=responses(Enrichment, "The same request came before.", *BODY, *_NAMES, "key-reused", "no-release", *_HERE)
    | _ACCEPTED,
)
async def enrich(
    body: Annotated[EnrichmentBody, Body(openapi_examples=_EXAMPLES)],
    service: ServiceOf,
    idempotency_key: Annotated[
        str | None,
        Header(max_length=200, description="Sent again with the same request, it gives the same enrichment."),
    ] = None,
) -> Response:
    """The work is done in a process of its own, in blocks that are kept: it goes on after a restart of the server."""

    def submit() -> tuple[Job, bool]:
        engine, jobs = service.engine, service.runner.jobs
        plan = body.plan(engine.release_name)
        check(engine, plan)
        if jobs.waiting(ENRICHMENT) >= service.settings.max_waiting_jobs:
            raise RequestProblem("overloaded", "Too many enrichments wait already.", {"Retry-After": "60"})
        # The revision is that of the start: the same request stays the same while entities are put.
        return jobs.submit(ENRICHMENT, plan.to_json() | {"release": engine.release.id}, idempotency_key)

    job, new = await service.workers.run(submit)
    location = {"Location": f"/v1/enrichments/{job.id}"}
    return Response(orjson.dumps(_shown(service, job)), 202 if new else 200, location, "application/json")


@router.get(
    "/enrichments",
    operation_id="enrichments",
    summary="Which enrichments are there?",
    responses=responses(Enrichments, "The newest first.", "invalid-request", *_HERE),
)
async def enrichments(
    service: ServiceOf,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many.")] = 20,
    start: Annotated[int, Query(ge=0, le=1_000_000, description="How many newer ones are left out.")] = 0,
) -> Response:
    """How far each is, without its report."""

    def ask() -> Enrichments:
        found = service.runner.jobs.list(ENRICHMENT, limit, start)
        return Enrichments([_shown(service, job, whole=False) for job in found])

    return await service.answer(ask)


@router.get(
    "/enrichments/{id}",
    operation_id="enrichment",
    summary="How far is an enrichment?",
    responses=responses(Enrichment, "The enrichment.", "unknown-job", *_HERE),
)
async def enrichment(id: Id, service: ServiceOf) -> Response:
    """Its state, and once it is done its report: what was pruned, refused and cut, and what precision may be expected."""
    return await service.answer(lambda: _shown(service, job_of(service, id)))


@router.post(
    "/enrichments/{id}/cancel",
    operation_id="cancelEnrichment",
    summary="Stop an enrichment.",
    responses=responses(Enrichment, "It is stopped.", "unknown-job", "wrong-state", *_HERE),
)
async def cancel(id: Id, service: ServiceOf) -> Response:
    """What it has done is kept, and it can be resumed."""
    return await service.answer(lambda: _shown(service, service.runner.jobs.cancel(job_of(service, id).id)))


@router.post(
    "/enrichments/{id}/resume",
    operation_id="resumeEnrichment",
    summary="Go on with an enrichment.",
    responses=responses(Enrichment, "It goes on.", "unknown-job", "wrong-state", *_HERE),
)
async def resume(id: Id, service: ServiceOf) -> Response:
    """One that was cancelled or failed goes on with the first block that is not there."""
    return await service.answer(lambda: _shown(service, service.runner.jobs.resume(job_of(service, id).id)))


@router.get(
    "/enrichments/{id}/results",
    operation_id="enrichmentResults",
    summary="What did an enrichment find?",
    responses=responses(
        Proposals, "A page, the most probable first.", "unknown-job", "not-done", "invalid-question", "invalid-request",
        "no-release", *_HERE,
    ),
)  # fmt: skip
async def results(
    id: Id,
    service: ServiceOf,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many on the first page, and so on every one.")] = 100,
    cursor: Annotated[str | None, Query(max_length=512, description="`next` of the page before.")] = None,
) -> Response:
    """What was erased since is left out."""

    def ask() -> Proposals:
        job = job_of(service, id)
        if job.state != "done":
            raise RequestProblem("not-done", f"The enrichment is {job.state}; its results are there once it is done.")
        place = Cursor.read(cursor, id, "results") if cursor else Cursor(limit, 0)
        total, rows = read_page(folder_of(service.settings.home, id), place.start, place.first)
        after = place.start + place.first
        following = Cursor(place.first, after).write(id, "results") if after < total else None
        return Proposals(id, str(job.request["kind"]), total, proposals_of(service.engine, rows), following)

    return await service.answer(ask)


def job_of(service: Service, id: str) -> Job:
    """An enrichment.

    Raises:
        UnknownJob: there is none of this id.
    """
    job = service.runner.jobs.get(id)
    if job.kind != ENRICHMENT:
        raise UnknownJob(f"{id!r} is no enrichment")
    return job


def proposals_of(engine: Engine, rows: Sequence[dict[str, Any]]) -> list[Proposal]:
    """Proposals with labels, without those that name what was erased."""
    gone = engine.changes.erased
    shown = [row for row in rows if not {row["subject"], row["object"]} & set(gone)]
    ends = iter(
        _named(engine.entities, engine.graph.texts, [row[end] for row in shown for end in ("subject", "object")])
    )
    relations = _named(engine.relations, engine.graph.relation_texts, [row["relation"] for row in shown])
    return [
        Proposal(next(ends), relation, next(ends), row["probability"], row.get("score"), row.get("rank"))
        for row, relation in zip(shown, relations, strict=True)
    ]


def _named(names: Names, texts: Texts, full: Sequence[str]) -> list[Named]:
    """With labels where the release that serves has the names."""
    ids = names.vocabulary.ids(full)
    labels = iter(texts.labels(ids[ids >= 0], "en"))
    return [
        Named(names.short(name), next(labels) if id >= 0 else None) for name, id in zip(full, ids.tolist(), strict=True)
    ]


def _shown(service: Service, job: Job, *, whole: bool = True) -> Enrichment:
    report = read_report(folder_of(service.settings.home, job.id)) if whole and job.state == "done" else None
    return Enrichment(
        job.id,
        job.state,
        job.request,
        job.stage,
        job.done,
        job.total,
        job.created,
        job.started,
        job.finished,
        job.error,
        report,
    )
