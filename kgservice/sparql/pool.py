"""Processes that ask a store: how many, which one is free, and when one is killed. Belongs to one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kgservice.sparql.frames import Frame, frame, receive
from kgservice.sparql.refusals import QueryRefused

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What a query may take.

    Attributes:
        timeout_s: until its process is killed.
        max_rows: solutions or triples of a result.
        max_bytes: of a result, before it is brought into the syntax asked for.
        memory_bytes: address space of a process.
        workers: processes, and so queries at the same time.
        max_waiting: queries that may wait for a process.
        federated: whether `SERVICE` may ask other addresses.
    """

    timeout_s: float = 10.0
    max_rows: int = 100_000
    max_bytes: int = 64 << 20
    memory_bytes: int = 4 << 30
    workers: int = 2
    max_waiting: int = 50
    federated: bool = False


class Pool:
    """Processes over one store at a time; started when they are needed, and again after they were killed."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._free: deque[tuple[Path, Process]] = deque()
        self._running: set[Process] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(limits.workers)
        self._waiting = 0

    async def ask(self, folder: Path, asked: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Have a process over the store in `folder` answer.

        Raises:
            QueryRefused: too many wait, or the time or the memory of a query is spent.
        """
        limits = self.limits
        if self._turns.locked() and self._waiting >= limits.max_waiting:
            raise QueryRefused("overloaded", f"{self._waiting:,} queries are waiting already.")
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        process: Process | None = None
        try:
            process = await self._take(folder)
            async with asyncio.timeout(limits.timeout_s):
                answer = await _exchange(process, {**asked, "max_rows": limits.max_rows, "max_bytes": limits.max_bytes})
            self._free.append((folder, process))
            process = None
            return answer
        except TimeoutError:
            raise QueryRefused(
                "query-too-long", f"The query took longer than {limits.timeout_s:g} s and was stopped."
            ) from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise QueryRefused(
                "query-too-large",
                f"The query needed more than {limits.memory_bytes:,} bytes of memory and was stopped.",
            ) from None
        finally:
            if process is not None:  # whatever went wrong, also where nobody waits any more
                self._kill(process)
            self._turns.release()

    async def _take(self, folder: Path) -> Process:
        while self._free:
            over, process = self._free.popleft()
            if over == folder and process.returncode is None:
                return process
            self._kill(process)
        limits = self.limits
        arguments = ["serve", str(folder), str(limits.memory_bytes), str(int(limits.federated))]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "kgservice.sparql.worker", *arguments, stdin=PIPE, stdout=PIPE
        )
        self._running.add(process)
        try:
            await _read(process)
        except BaseException:
            self._kill(process)
            raise
        logger.info("SPARQL process %d opened %s", process.pid, folder.name)
        return process

    def _kill(self, process: Process) -> None:
        self._running.discard(process)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        task = asyncio.create_task(_ended(process))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """Kill all processes, and wait until they are gone."""
        self._free.clear()
        for process in list(self._running):
            self._kill(process)
        await asyncio.gather(*self._ending)


async def _ended(process: Process) -> None:
    """Read what a killed process left, so that its pipes close, and wait until it is gone."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    with contextlib.suppress(ConnectionError):
        await process.stdout.read()
    await process.wait()


async def _exchange(process: Process, asked: Mapping[str, Any]) -> Frame:
    assert process.stdin is not None
    process.stdin.write(frame(asked))
    await process.stdin.drain()
    return await _read(process)


async def _read(process: Process) -> Frame:
    assert process.stdout is not None
    return await receive(process.stdout)
