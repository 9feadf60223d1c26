"""OpenTelemetry spans, where they are wanted and its package is installed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from kgservice import __version__
from kgservice.errors import MissingDependency

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer


class Traces:
    """Makes a span of each request and of the work behind it; of nothing where traces are off.

    Args:
        wanted: whether to trace. Where spans go is said by OpenTelemetry's own variables, such as `OTEL_EXPORTER_OTLP_ENDPOINT`,
            under `opentelemetry-instrument kgservice serve`.

    Raises:
        MissingDependency: they are wanted, and the package is not installed.
    """

    def __init__(self, wanted: bool) -> None:
        self._tracer: Tracer | None = None
        if wanted:
            try:
                from opentelemetry import trace
            except ModuleNotFoundError:
                raise MissingDependency(
                    "KGSERVICE_TRACES needs OpenTelemetry: pip install 'kgservice[traces]', or leave it off"
                ) from None
            self._tracer = trace.get_tracer("kgservice", __version__)

    def span(self, name: str, **attributes: str | int) -> AbstractContextManager[object]:
        """A span around what is done within it; its attributes hold no text of questions."""
        if self._tracer is None:
            return nullcontext()
        return self._tracer.start_as_current_span(name, attributes=attributes)
