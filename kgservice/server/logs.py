"""Log lines for people or for machines; neither holds what was asked."""

from __future__ import annotations

import logging
from typing import Literal

import orjson

_FIELDS = ("request_id", "method", "route", "status", "ms", "key")
TEXT = "%(asctime)s %(name)s: %(message)s"


class JsonLines(logging.Formatter):
    """One JSON object per event: when, how grave, where from, what, and the fields of a request."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one event."""
        event = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        event |= {name: value for name in _FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(event, default=str).decode()


def configure(level: str, form: Literal["text", "json"]) -> None:
    """Have every logger write in one form."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    if not root.handlers:
        root.addHandler(logging.StreamHandler())
    for handler in root.handlers:
        handler.setFormatter(JsonLines() if form == "json" else logging.Formatter(TEXT))
