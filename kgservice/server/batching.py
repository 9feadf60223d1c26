"""Questions that arrive while others are being answered wait together and are answered as one batch.

No question waits for company: a batch is whatever has gathered when the one before is done. Under load this turns many
products of one row with the candidates into one product of many rows, which costs little more. One batch runs at a time:
two would each be half as long. Other requests have the other threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

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
    exclude_known: bool
    model: str | None
    language: str


@dataclass(frozen=True)
class _Waiting:
    question: Question
    answer: asyncio.Future[bytes]


class Batches:
    """Gathers single questions; belongs to one event loop.

    Args:
        workers: where batches are answered.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._waiting: dict[Terms, list[_Waiting]] = {}
        self._running: asyncio.Task[None] | None = None

    async def ask(self, terms: Terms, question: Question) -> bytes:
        """One answer as JSON.

        Raises:
            KGServiceError: of this question; the others of its batch are answered all the same.
        """
        self._workers.check_waiting(sum(map(len, self._waiting.values())))
        waiting = _Waiting(question, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(terms, []).append(waiting)
        self._start()
        return await waiting.answer

    def _start(self) -> None:
        if self._running is not None or not self._waiting:
            return
        terms = next(iter(self._waiting))
        gathered = self._waiting.pop(terms)
        if rest := gathered[MAX_BATCH:]:
            self._waiting[terms] = rest  # at the end of the line, behind other terms
        self._running = asyncio.create_task(self._answer(terms, gathered[:MAX_BATCH]))
        self._running.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running = None
        self._start()

    async def _answer(self, terms: Terms, batch: Sequence[_Waiting]) -> None:
        batch = [waiting for waiting in batch if not waiting.answer.cancelled()]
        try:
            outcomes = await self._workers.run(lambda: _complete(terms, [waiting.question for waiting in batch]))
        except Exception as error:
            outcomes = [error] * len(batch)
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if waiting.answer.done():  # the client has gone
                continue
            if isinstance(outcome, Exception):
                waiting.answer.set_exception(outcome)
            else:
                waiting.answer.set_result(outcome)


def _complete(terms: Terms, questions: Sequence[Question]) -> list[bytes | Exception]:
    try:
        return list(map(orjson.dumps, _ask(terms, questions)))
    except KGServiceError as error:
        if len(questions) == 1:
            return [error]
    # One of them cannot be answered: each alone, so that the others are.
    return [outcome for question in questions for outcome in _complete(terms, [question])]


def _ask(terms: Terms, questions: Sequence[Question]) -> Sequence[object]:
    return terms.engine.complete(
        questions,
        k=terms.k,
        types=terms.types,
        exclude_known=terms.exclude_known,
        model=terms.model,
        language=terms.language,
    )
