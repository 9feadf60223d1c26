"""Threads for the work that would block the event loop, and a limit on who may wait for one."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TypeVar

import anyio
import anyio.to_thread

from kgservice.server.problems import RequestProblem

T = TypeVar("T")


class Workers:
    """A bounded pool of threads; belongs to one event loop.

    Args:
        threads: pieces of work done at the same time.
        max_waiting: requests that may wait for a thread.
    """

    def __init__(self, threads: int, max_waiting: int) -> None:
        self.threads, self.max_waiting = threads, max_waiting

    @cached_property
    def _limiter(self) -> anyio.CapacityLimiter:
        return anyio.CapacityLimiter(self.threads)

    async def run(self, work: Callable[[], T]) -> T:
        """Do `work` in a thread.

        Raises:
            RequestProblem: too many wait already.
        """
        self.check_waiting(self._limiter.statistics().tasks_waiting)
        # Abandoned when the client goes or time is up: the thread ends its work, and nobody waits for it.
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._limiter)

    def check_waiting(self, waiting: int) -> None:
        """Turn a request away while `max_waiting` others wait: late answers help nobody.

        Raises:
            RequestProblem: 503, to be tried again after `Retry-After`.
        """
        if waiting >= self.max_waiting:
            raise RequestProblem("overloaded", f"{waiting:,} requests are waiting already.", {"Retry-After": "1"})
