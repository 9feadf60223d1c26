"""Threads for the work that would block the event loop, and a limit on who may wait for one."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from functools import cached_property
from typing import TypeVar

import anyio
import anyio.to_thread

from kgservice.server.metrics import Metrics
from kgservice.server.problems import RequestProblem

logger = logging.getLogger(__name__)
T = TypeVar("T")
LONGEST_RETRY_S = 60


class Workers:
    """A bounded pool of threads; belongs to one event loop.

    Args:
        threads: pieces of work done at the same time.
        max_waiting: requests that may wait for a thread.
        max_wait_s: what a request may be expected to wait; where it is more, it is told to come later.
        metrics: where waits and work are counted.
    """

    def __init__(self, threads: int, max_waiting: int, max_wait_s: float, metrics: Metrics) -> None:
        self.threads, self.max_waiting, self.max_wait_s, self.metrics = threads, max_waiting, max_wait_s, metrics
        self._each_s = 0.0

    @cached_property
    def _limiter(self) -> anyio.CapacityLimiter:
        return anyio.CapacityLimiter(self.threads)

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for a thread."""
        return self._limiter.statistics().tasks_waiting > 0

    async def run(self, work: Callable[[], T], *, timed: bool = True) -> T:
        """Do `work` in a thread.

        Args:
            work: what to do.
            timed: whether it is one piece of work; else its pieces are given to `timed`.

        Raises:
            RequestProblem: too many wait already, or for too long.
        """
        waiting = self._limiter.statistics().tasks_waiting
        self.check_waiting(waiting, (waiting + 1) * self._each_s / self.threads if waiting else 0.0)
        asked = time.perf_counter()

        def begun() -> T:
            self.metrics.stages.labels("wait").observe(time.perf_counter() - asked)
            return self.timed(work) if timed else work()

        self.metrics.waiting.inc(waiting > 0)
        try:
            # Abandoned when the client goes or time is up: the thread ends its work, and nobody waits for it.
            return await anyio.to_thread.run_sync(begun, abandon_on_cancel=True, limiter=self._limiter)
        finally:
            self.metrics.waiting.dec(waiting > 0)

    def timed(self, work: Callable[[], T]) -> T:
        """Do a piece of work, in a thread, and count how long it takes."""
        started = time.perf_counter()
        try:
            return work()
        finally:
            took = time.perf_counter() - started
            self.metrics.stages.labels("answer").observe(took)
            self._each_s += 0.1 * (took - self._each_s)

    def check_waiting(self, waiting: int, expected_s: float = 0.0) -> None:
        """Turn a request away while too many wait, or those that do take too long: late answers help nobody.

        Args:
            waiting: how many wait before it.
            expected_s: until it would be answered, as things go.

        Raises:
            RequestProblem: 503, to be tried again after `Retry-After`.
        """
        if waiting < self.max_waiting and expected_s <= self.max_wait_s:
            return
        many = waiting >= self.max_waiting
        self.metrics.refused.labels("queue" if many else "wait").inc()
        detail = f"{waiting:,} requests are waiting already" + (
            "." if many else f", for {expected_s:.1f} s as things go."
        )
        after = min(LONGEST_RETRY_S, max(1, math.ceil(expected_s - self.max_wait_s)))
        raise RequestProblem("overloaded", detail, {"Retry-After": str(after)})


async def again(every_s: float, work: Callable[[], object], what: str, *, at_once: bool = False) -> None:
    """Do something again and again, off the event loop; ends when it is cancelled."""
    while True:
        if not at_once:
            await anyio.sleep(every_s)
        at_once = False
        try:
            await anyio.to_thread.run_sync(work)
        except Exception:  # a watch that dies would leave the server on old releases and keys for ever
            logger.exception("%s failed", what)
