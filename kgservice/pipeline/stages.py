"""What the steps of a build share: their times in the log, keys of what they depend on, JSON."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Log when a step begins, and how long it took."""
    started = time.perf_counter()
    logger.info("%s …", name)
    yield
    logger.info("%s: %.1f s", name, time.perf_counter() - started)


def digest(*parts: Any) -> str:
    """16 hex digits of whatever JSON can write."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def write_json(path: Path, values: Any) -> None:
    """Write indented JSON; a number that is none is an error."""
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")
