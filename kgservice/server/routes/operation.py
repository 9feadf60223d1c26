"""`GET /metrics`."""

from __future__ import annotations

from fastapi import APIRouter, Response

from kgservice.server.documentation import responses
from kgservice.server.metrics import MEDIA_TYPE
from kgservice.server.service import ServiceOf

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="How is the server doing?",
    response_class=Response,
    responses={
        **responses(None, ""),
        200: {"description": "Counts, for Prometheus.", "content": {"text/plain": {"schema": {"type": "string"}}}},
    },
)
async def metrics(service: ServiceOf) -> Response:
    """Durations by route and stage, sizes of batches, who waits, which release serves, and the recall of its canaries.

    No label holds what was asked: routes are named by their templates.
    """
    if service.holder.serving:
        service.metrics.serves(service.engine.release.id, service.engine.revision)
    return Response(service.metrics.text(), headers={"Content-Type": MEDIA_TYPE})
