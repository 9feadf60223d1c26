"""Questions that arrive while others are being answered wait together and are answered as one batch.

No question waits for company: a batch is whatever has gathered when the one before is done. Under load this turns many
products of one row with the candidates into one product of many rows, which costs little more. One batch runs at a time:
two would each be half as long. Other requests have the other threads. Of questions with different terms those come first
whose oldest has waited longest; what several ask at once is asked once, and what nobody waits for any more is not asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from kgservice.answers import Question
from kgservice.engine import Engine
from kgservice.errors import KGServiceError
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
        return self.engine.complete_written(
            questions,
            k=self.k,
            types=self.types,
            filters=self.filters,
            exclude_known=self.exclude_known,
            model=self.model,
            fuse=self.fuse,
            language=self.language,
        )


@dataclass
class _Asked:
    """One question and all who wait for its answer."""

    since: float
    answers: list[asyncio.Future[bytes]] = field(default_factory=list)

    @property
    def wanted(self) -> bool:
        return not all(answer.cancelled() for answer in self.answers)


class Batches:
    """Gathers single questions; belongs to one event loop.

    Args:
        workers: where batches are answered.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers, self._metrics = workers, workers.metrics
        self._waiting: dict[Terms, dict[Question, _Asked]] = {}
        self._running: asyncio.Task[None] | None = None
        self._each_s = 0.0

    async def ask(self, terms: Terms, question: Question) -> bytes:
        """One answer as JSON.

        Raises:
            KGServiceError: of this question; the others of its batch are answered all the same.
            RequestProblem: too many wait already, or for too long.
        """
        group = self._waiting.setdefault(terms, {})
        asked = group.get(question)
        if asked is None:
            waiting = sum(map(len, self._waiting.values()))
            try:
                self._workers.check_waiting(waiting, waiting * self._each_s)
            except Exception:
                if not group:
                    del self._waiting[terms]
                raise
            asked = group[question] = _Asked(time.perf_counter())
        else:
            self._metrics.merged.inc()
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        asked.answers.append(answer)
        self._start()
        return await answer

    def _start(self) -> None:
        if self._running is not None or not self._waiting:
            return
        # Questions stand in the order they came, so that the first of a group is its oldest.
        terms = min(self._waiting, key=lambda terms: next(iter(self._waiting[terms].values())).since)
        gathered = list(self._waiting.pop(terms).items())
        if rest := gathered[MAX_BATCH:]:
            self._waiting[terms] = dict(rest)
        self._running = asyncio.create_task(self._answer(terms, gathered[:MAX_BATCH]))
        self._running.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running = None
        self._start()

    async def _answer(self, terms: Terms, gathered: Sequence[tuple[Question, _Asked]]) -> None:
        batch = [(question, asked) for question, asked in gathered if asked.wanted]
        if not batch:
            return
        self._metrics.batch.observe(len(batch))
        started = time.perf_counter()
        outcomes: Sequence[bytes | Exception]
        try:
            outcomes = await self._workers.run(lambda: _complete(terms, [question for question, _ in batch]))
        except Exception as error:
            outcomes = [error] * len(batch)
        self._each_s += 0.1 * ((time.perf_counter() - started) / len(batch) - self._each_s)
        for (_, asked), outcome in zip(batch, outcomes, strict=True):
            for answer in asked.answers:
                if answer.done():  # the client has gone
                    continue
                if isinstance(outcome, Exception):
                    answer.set_exception(outcome)
                else:
                    answer.set_result(outcome)


def _complete(terms: Terms, questions: Sequence[Question]) -> list[bytes | Exception]:
    try:
        return list(terms.ask(questions))
    except KGServiceError as error:
        if len(questions) == 1:
            return [error]
    # One of them cannot be answered: by halves, so that the others are.
    half = len(questions) // 2
    return [*_complete(terms, questions[:half]), *_complete(terms, questions[half:])]
