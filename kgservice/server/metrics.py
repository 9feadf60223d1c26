"""What the server counts, for Prometheus. Routes are named by their templates, so that no label holds what was asked."""

from __future__ import annotations

import os
from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""Where several workers keep their counts; each of them tells all of them."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The counts of one application."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Histogram(
            "kgservice_request_seconds",
            "From the first byte of a request to the last of its answer.",
            ("method", "route", "status"),
            buckets=_SECONDS,
            registry=registry,
        )
        self.request = lru_cache(1024)(self.requests.labels)  # on the way of every request
        self.stages = Histogram(
            "kgservice_stage_seconds",
            "Parts of a request: wait for a thread, answer, which is the model's and the index's work and the writing of JSON.",
            ("stage",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch = Histogram(
            "kgservice_batch_questions", "Single questions answered together.", buckets=_SIZES, registry=registry
        )
        self.merged = Counter(
            "kgservice_merged_questions",
            "Questions that were asked by several at once and answered once.",
            registry=registry,
        )
        self.refused = Counter(
            "kgservice_refused_requests", "Requests told to come later.", ("reason",), registry=registry
        )
        self.waiting = Gauge(
            "kgservice_waiting_requests",
            "Requests that wait for a thread or a batch.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.release = Gauge(
            "kgservice_release_info",
            "1 for the release that serves.",
            ("release",),
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.revision = Gauge(
            "kgservice_release_revision",
            "Changes since the release was made, as far as they are served.",
            multiprocess_mode="livemin",
            registry=registry,
        )
        self.canary_recall = Gauge(
            "kgservice_canary_recall",
            "Share of the release's expected canary answers that the engine still gives; below 1 after puts and erasures.",
            multiprocess_mode="livemin",
            registry=registry,
        )
        self._serving: str | None = None

    def serves(self, release: str, revision: int) -> None:
        """Note which release answers."""
        if self._serving not in (None, release):
            self.release.labels(self._serving).set(0)
        self._serving = release
        self.release.labels(release).set(1)
        self.revision.set(revision)

    def text(self) -> bytes:
        """All counts, in Prometheus' text format; of all workers, where there are several."""
        if SHARED in os.environ:
            everyone = CollectorRegistry()
            MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
            return generate_latest(everyone)
        return generate_latest(self._registry)
