"""How often and how long a client tries again where a service is busy."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

BUSY = (429, 503)
"""Statuses that mean: the same request, later."""


@dataclass(frozen=True)
class Patience:
    """When a request is sent again. Every request of this client may be: none does more the second time.

    Attributes:
        attempts: in all, the first included.
        first_wait_s: before the second attempt where the service names no time; doubled each time, and spread by chance, so
            that clients turned away together do not come back together.
        longest_wait_s: a service that asks for more is not waited for.
    """

    attempts: int = 4
    first_wait_s: float = 0.25
    longest_wait_s: float = 30.0

    def wait_s(self, attempt: int, response: httpx.Response | None) -> float | None:
        """Seconds until the next attempt; None where this was the last.

        Args:
            attempt: from 1, the one that just failed.
            response: with a status of `BUSY`; None where the connection failed.
        """
        if attempt >= self.attempts:
            return None
        asked = None if response is None else _retry_after_s(response.headers.get("retry-after", ""))
        if asked is None:
            return min(self.first_wait_s * 2.0 ** (attempt - 1), self.longest_wait_s) * random.uniform(0.5, 1)
        return asked if asked <= self.longest_wait_s else None


def _retry_after_s(value: str) -> float | None:
    """`Retry-After`: seconds, or a date (RFC 9110, 10.2.3); None where it is neither."""
    if value.isdecimal():
        return float(value)
    try:
        then = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (then - datetime.now(UTC)).total_seconds())
