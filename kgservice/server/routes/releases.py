"""`GET /v1/releases`, one of them, and the report of the one that serves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from kgservice.errors import CorruptRelease, UnknownRelease
from kgservice.release import Release
from kgservice.server.documentation import responses
from kgservice.server.holder import EngineHolder
from kgservice.server.problems import RequestProblem
from kgservice.server.schemas import ModelSummary, Releases, ReleaseSummary
from kgservice.server.service import ServiceOf

router = APIRouter(prefix="/v1", tags=["releases"])

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
async def release(
    id: Annotated[str, Path(description="The id, or the beginning of one.", examples=["3f9c12ab77d0"])],
    service: ServiceOf,
) -> Response:
    """The summary of one release."""
    holder = service.holder

    def ask() -> ReleaseSummary:
        ids = holder.store.ids()
        matches = [known for known in ids if known == id] or [known for known in ids if known.startswith(id)]
        found = summarise(holder, matches[0], holder.store.current_id()) if len(matches) == 1 else None
        if found is None:
            raise UnknownRelease(id, "on this server", matches[:3] or ids[-3:])
        return found

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
