"""Questions that arrive while others are being answered wait together and are answered as one batch.

No question waits for company: a batch is whatever has gathered when the one before is done. Under load this turns many
products of one row with the candidates into one product of many rows, which costs little more. One batch runs at a time:
two would each be half as long. Other requests have the other threads. Of questions with different terms those come first
whose oldest has waited longest; what several ask at once is asked once, and what nobody waits for any more is not asked.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from kgservice.answers import Question
from kgservice.answers.options import CompleteOptions
from kgservice.engine import Engine
from kgservice.errors import KGServiceError
from kgservice.server.apart import Apart, Asked
from kgservice.server.work import Workers

MAX_BATCH = 64
"""Past this many rows a product costs as much per row as in two batches, and the first in line waits for the last."""


@dataclass(frozen=True)
class Terms:
    """What questions must share to be answered together; `engine` is the one their request took."""

    engine: Engine
    k: int
    types: tuple[str, ...]
    filters: tuple[str | tuple[str, str], ...]
    exclude_known: bool
    model: str | None
    fuse: bool
    language: str

    def ask(self, questions: Sequence[Question]) -> list[bytes]:
        """The answers, each as JSON."""
        return self.engine.complete_written(questions, **self._options)

    def table(self, questions: Sequence[Question], first: int = 0) -> pa.Table:
        """The candidates as a table that calls the questions `first` and on."""
        return self.engine.complete_table(questions, first, **self._options)

    def sent(self, questions: Sequence[Question]) -> Asked:
        """The questions on their way to another process."""
        return Asked(self.engine.release_name, **self._options, questions=list(questions))  # type: ignore[arg-type]

    @property
    def _options(self) -> CompleteOptions:
        return {
            "k": self.k,
            "types": self.types,
            "filters": self.filters,
            "exclude_known": self.exclude_known,
            "model": self.model,
            "fuse": self.fuse,
            "language": self.language,
        }


@dataclass
class _Asked:
    """One question and all who wait for its answer."""

    since: float
    answers: list[asyncio.Future[bytes]] = field(default_factory=list)

    @property
    def wanted(self) -> bool:
        return not all(answer.cancelled() for answer in self.answers)


Batch = tuple[Terms, list[tuple[Question, _Asked]]]


class Batches:
    """Gathers single questions; belongs to one event loop.

    One thread at a time answers what has gathered, batch after batch, and gives it back over the loop. It does not wait for the
    loop between two batches: a loop that is busy refusing others comes round seldom.

    Args:
        workers: where batches are answered.
        apart: a process that answers them where it can.
    """

    def __init__(self, workers: Workers, apart: Apart | None = None) -> None:
        self._workers, self._metrics, self._apart = workers, workers.metrics, apart
        self._lock = threading.Lock()
        self._waiting: dict[Terms, dict[Question, _Asked]] = {}
        self._count = 0
        self._running: asyncio.Task[None] | None = None
        self._answering = False
        self._each_s = 0.0

    async def ask(self, terms: Terms, question: Question) -> bytes:
        """One answer as JSON.

        Raises:
            KGServiceError: of this question; the others of its batch are answered all the same.
            RequestProblem: too many wait already, or for too long.
        """
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        with self._lock:
            asked = self._waiting.get(terms, {}).get(question)
            if asked is None:
                self._workers.check_waiting(self._count, self._count * self._each_s)
                asked = self._waiting.setdefault(terms, {})[question] = _Asked(time.perf_counter())
                self._count += 1
            else:
                self._metrics.merged.inc()
            asked.answers.append(answer)
            begin, self._answering = not self._answering, True
        if begin:
            self._running = asyncio.create_task(self._answer())
        return await answer

    async def _answer(self) -> None:
        """Have all that waits answered, and what comes meanwhile."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                if await self._workers.run(lambda: self._answer_all(loop), timed=False):
                    return
            except Exception as error:  # too many wait for a thread
                batch = self._take()
                if batch is None:
                    return
                _give(batch, [error] * len(batch[1]))

    def _answer_all(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Batch after batch, in a thread; False where others want the thread before all are answered."""
        while (batch := self._take()) is not None:
            terms, questions = batch[0], [question for question, _ in batch[1]]
            self._metrics.batch.observe(len(questions))
            started = time.perf_counter()
            outcomes: Sequence[bytes | Exception]
            try:
                outcomes = self._workers.timed(lambda: self._complete(terms, questions))  # noqa: B023 — called at once
            except Exception as error:
                outcomes = [error] * len(questions)
            self._each_s += 0.1 * ((time.perf_counter() - started) / len(questions) - self._each_s)
            loop.call_soon_threadsafe(_give, batch, outcomes)
            if self._workers.wanted:
                return False
        return True

    def _complete(self, terms: Terms, questions: Sequence[Question]) -> list[bytes | Exception]:
        if self._apart is None:
            return complete(terms, questions)
        found = self._apart.ask(terms.sent(questions))
        here = iter(complete(terms, [one for one, answer in zip(questions, found, strict=True) if answer is None]))
        return [next(here) if answer is None else answer for answer in found]

    def close(self) -> None:
        """End what was started."""
        if self._apart is not None:
            self._apart.close()

    def _take(self) -> Batch | None:
        """The next batch; None, and the end of answering, where nothing waits."""
        with self._lock:
            while self._waiting:
                # Questions stand in the order they came, so that the first of a group is its oldest.
                terms = min(self._waiting, key=lambda terms: next(iter(self._waiting[terms].values())).since)
                gathered = list(self._waiting.pop(terms).items())
                if rest := gathered[MAX_BATCH:]:
                    self._waiting[terms] = dict(rest)
                self._count -= len(gathered) - len(rest)
                if batch := [(question, asked) for question, asked in gathered[:MAX_BATCH] if asked.wanted]:
                    return terms, batch
            self._answering = False
            return None


def _give(batch: Batch, outcomes: Sequence[bytes | Exception]) -> None:
    """Each answer to all who wait for it."""
    for (_, asked), outcome in zip(batch[1], outcomes, strict=True):
        for answer in asked.answers:
            if answer.done():  # the client has gone
                continue
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)


def complete(terms: Terms, questions: Sequence[Question]) -> list[bytes | Exception]:
    """Each question's answer as JSON, or why there is none."""
    if not questions:
        return []
    try:
        return list(terms.ask(questions))
    except KGServiceError as error:
        if len(questions) == 1:
            return [error]
    # One of them cannot be answered: by halves, so that the others are.
    half = len(questions) // 2
    return [*complete(terms, questions[:half]), *complete(terms, questions[half:])]
