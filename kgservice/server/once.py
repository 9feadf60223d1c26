"""Answers that take long and stay the same: computed once, off the event loop, for all who wait."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from kgservice.server.work import Workers

T = TypeVar("T")


class Once:
    """The last `size` values by key; belongs to one event loop.

    Args:
        workers: the threads that compute, apart from those of everyone's questions.
        size: values kept; the longest unused goes first.
    """

    def __init__(self, workers: Workers, size: int = 64) -> None:
        self._workers, self._size = workers, size
        self._tasks: OrderedDict[Hashable, asyncio.Task[Any]] = OrderedDict()

    async def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The value of `key`; many who ask at once wait for one computation, which goes on where one of them leaves.

        Raises:
            RequestProblem: too many values are waited for already. What fails is tried again by the next who asks.
        """
        task = self._tasks.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._tasks[key] = asyncio.create_task(self._workers.run(compute))
        self._tasks.move_to_end(key)
        for old in [old for old, one in self._tasks.items() if one.done()][: max(0, len(self._tasks) - self._size)]:
            del self._tasks[old]
        value: T = await asyncio.shield(task)
        return value
