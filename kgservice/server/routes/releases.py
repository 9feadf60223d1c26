"""`/v1/releases`: which there are, which serves, what another answers differently; and the report of the one that serves."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from kgservice.engine.differences import Difference, difference
from kgservice.errors import CorruptRelease, UnknownRelease
from kgservice.release import Release
from kgservice.server.documentation import responses
from kgservice.server.holder import EngineHolder
from kgservice.server.problems import RequestProblem
from kgservice.server.queries import DiffQuery
from kgservice.server.schemas import Activated, ModelSummary, Releases, ReleaseSummary
from kgservice.server.service import Service, ServiceOf

router = APIRouter(prefix="/v1", tags=["releases"])

ReleaseId = Annotated[str, Path(description="The id, or the beginning of one.", examples=["3f9c12ab77d0"])]
_OPENING = threading.Lock()

REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; frame-ancestors 'none'"
"""A report is one file with its styles and pictures inside, and runs nothing."""


@router.get(
    "/releases",
    operation_id="releases",
    summary="Which releases are there?",
    responses=responses(Releases, "All releases, the newest first.", "overloaded"),
)
async def releases(service: ServiceOf) -> Response:
    """Models with their measured quality, and counts of what each graph holds."""
    holder = service.holder

    def ask() -> Releases:
        current = holder.store.current_id()
        found = [summarise(holder, id, current) for id in reversed(holder.store.ids())]
        return Releases(current, holder.serving, [one for one in found if one is not None])

    return await service.answer(ask)


@router.get(
    "/releases/{id}",
    operation_id="release",
    summary="What is in a release?",
    responses=responses(ReleaseSummary, "The release.", "unknown-release", "overloaded"),
)
async def release(id: ReleaseId, service: ServiceOf) -> Response:
    """The summary of one release."""
    holder = service.holder

    def ask() -> ReleaseSummary:
        whole = _found(holder, id)
        found = summarise(holder, whole, holder.store.current_id())
        if found is None:
            raise UnknownRelease(id, "on this server", holder.store.ids()[-3:])
        return found

    return await service.answer(ask)


@router.post(
    "/releases/rollback",
    operation_id="rollbackRelease",
    summary="Serve the release before this one again.",
    responses=responses(Activated, "It is current.", "unknown-release", "read-only", "unavailable", "overloaded"),
)
async def rollback(service: ServiceOf) -> Response:
    """Make the release that was current before the current one again; it serves once it is verified and open."""
    service.check_writable()
    return await service.answer(lambda: _activated(service, service.holder.store.rollback()))


@router.post(
    "/releases/{id}/activate",
    operation_id="activateRelease",
    summary="Serve a release.",
    responses=responses(Activated, "It is current.", "unknown-release", "read-only", "unavailable", "overloaded"),
)
async def activate(id: ReleaseId, service: ServiceOf) -> Response:
    """Make a release the current one; it serves once it is verified and open.

    One that is damaged is refused: then `serving` stays the one before, and the server's log names the file.
    """
    service.check_writable()
    store = service.holder.store
    return await service.answer(lambda: _activated(service, store.activate(_found(service.holder, id))))


@router.get(
    "/releases/{before}/diff/{after}",
    operation_id="diffReleases",
    summary="What does another release answer differently?",
    responses=responses(
        Difference,
        "What has changed.",
        *("unknown-release", "invalid-request", "invalid-question", "overloaded", "unavailable"),
    ),
)
async def diff(
    before: ReleaseId, after: ReleaseId, query: Annotated[DiffQuery, Query()], service: ServiceOf
) -> Response:
    """Ask both the same questions, about statements that the first one held out, and compare their best answers."""
    service.check_size("questions", query.questions, query.k)
    holder = service.holder

    def ask() -> Difference:
        with _OPENING:  # one at a time: a release may fill the memory
            one, other = (holder.open(_found(holder, id)) for id in (before, after))
            return difference(one, other, k=query.k, count=query.questions, language=query.language)

    return await service.answer(ask)


@router.get(
    "/report",
    operation_id="report",
    summary="How good is what is served?",
    response_class=Response,
    responses={
        **responses(None, "", "no-report", "no-release", "overloaded"),
        200: {"description": "The report.", "content": {"text/html": {"schema": {"type": "string"}}}},
    },
)
async def report(service: ServiceOf) -> Response:
    """The report written when the release was built, as one page of HTML."""
    path = service.engine.release.folder / "report.html"
    html = await service.workers.run(lambda: _read(path))
    return Response(html, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})


def _found(holder: EngineHolder, id: str) -> str:
    """The whole id of a release that is named by its beginning."""
    ids = holder.store.ids()
    matches = [known for known in ids if known == id] or [known for known in ids if known.startswith(id)]
    if len(matches) != 1:
        raise UnknownRelease(id, "on this server", matches[:3] or ids[-3:])
    return matches[0]


def _activated(service: Service, release: Release) -> Activated:
    """Open what has become current at once, so that the answer says whether it serves."""
    service.holder.refresh()
    return Activated(current=release.id, serving=service.holder.serving)


def summarise(holder: EngineHolder, id: str, current: str | None) -> ReleaseSummary | None:
    """A release from its manifest alone; None where it has gone meanwhile."""
    manifest: Mapping[str, Any] = {}
    problem = None
    try:
        manifest = holder.store.get(id).manifest
    except UnknownRelease:
        return None
    except CorruptRelease:
        problem = "The manifest cannot be read."
    made = Release(holder.store.folder / id, manifest).folder / "release.json"
    return ReleaseSummary(
        id=id,
        current=id == current,
        serving=id == holder.serving,
        created=f"{datetime.fromtimestamp(made.stat().st_mtime, UTC):%Y-%m-%dT%H:%M:%SZ}",
        title=manifest.get("recipe", {}).get("description") or manifest.get("recipe", {}).get("name"),
        kgservice=manifest.get("kgservice"),
        commit=manifest.get("commit"),
        models=[_model(name, details) for name, details in dict(manifest.get("models", {})).items()],
        counts={name: value for name, value in manifest.get("graph", {}).items() if isinstance(value, int)},
        problem=problem,
    )


def _model(name: str, details: Mapping[str, Any]) -> ModelSummary:
    return ModelSummary(
        name, details.get("scorer"), details.get("index"), details.get("valid", {}), details.get("test", {})
    )


def _read(path: FilePath) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise RequestProblem("no-report", "The release that serves has no report.") from None
