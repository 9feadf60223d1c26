"""Questions that wait together: each is answered once, for whoever still waits; late ones are refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any

import orjson
import pytest

from kgservice.answers import Question
from kgservice.errors import InvalidQuestion
from kgservice.server.batching import MAX_BATCH, Batches, Terms
from kgservice.server.metrics import Metrics
from kgservice.server.problems import RequestProblem
from kgservice.server.work import Workers


class Engine:
    """Answers with the subject; the first batch waits until it may."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.may = threading.Event()

    def complete_written(self, questions: Sequence[Question], **_: Any) -> list[bytes]:
        names = [str(question.subject) for question in questions]
        self.asked.append(names)
        if len(self.asked) == 1:
            assert self.may.wait(10)
        if "bad" in names:
            raise InvalidQuestion("bad")
        return list(map(orjson.dumps, names))


class Case:
    """Batches over such an engine."""

    def __init__(self, max_waiting: int = 1000, max_wait_s: float = 10.0) -> None:
        self.engine, self.metrics = Engine(), Metrics()
        self.batches = Batches(Workers(1, max_waiting, max_wait_s, self.metrics))

    def ask(self, name: str, k: int = 10) -> asyncio.Task[bytes]:
        terms = Terms(self.engine, k, (), (), True, None, False, "en")  # type: ignore[arg-type]
        return asyncio.create_task(self.batches.ask(terms, Question(subject=name, relation="r")))

    async def busy(self) -> asyncio.Task[bytes]:
        """A question that is being answered until `engine.may`."""
        first = self.ask("first")
        while not self.engine.asked:
            await asyncio.sleep(0.001)
        return first


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


def test_what_arrives_meanwhile_is_one_batch_and_equal_questions_are_asked_once() -> None:
    async def work() -> None:
        case = Case()
        first = await case.busy()
        others = [case.ask(name) for name in ("a", "b", "a", "a", "c", "b")]
        await asyncio.sleep(0.01)
        case.engine.may.set()
        answers = [orjson.loads(one) for one in await asyncio.gather(first, *others)]
        assert answers == ["first", "a", "b", "a", "a", "c", "b"]
        assert case.engine.asked == [["first"], ["a", "b", "c"]]
        text = case.metrics.text().decode()
        assert "kgservice_merged_questions_total 3.0" in text
        assert "kgservice_batch_questions_sum 4.0" in text

    run(work())


def test_what_nobody_waits_for_is_not_asked() -> None:
    async def work() -> None:
        case = Case()
        first = await case.busy()
        gone, shared, kept = case.ask("gone"), case.ask("shared"), case.ask("shared")
        await asyncio.sleep(0.01)
        gone.cancel()
        shared.cancel()
        await asyncio.gather(gone, shared, return_exceptions=True)
        case.engine.may.set()
        assert orjson.loads(await kept) == "shared"
        await first
        assert case.engine.asked[1:] == [["shared"]]

    run(work())


def test_a_bad_question_spoils_no_other() -> None:
    async def work() -> None:
        case = Case()
        first = await case.busy()
        tasks = {name: case.ask(name) for name in ("a", "b", "bad", "c", "d")}
        await asyncio.sleep(0.01)
        case.engine.may.set()
        await first
        with pytest.raises(InvalidQuestion, match="bad"):
            await tasks.pop("bad")
        assert [orjson.loads(await task) for task in tasks.values()] == ["a", "b", "c", "d"]

    run(work())


def test_the_oldest_question_is_first_and_batches_have_an_end() -> None:
    async def work() -> None:
        case = Case()
        first = await case.busy()
        few = [case.ask("few", k=3)]
        await asyncio.sleep(0.01)
        many = [case.ask(f"m{place}") for place in range(MAX_BATCH + 5)]
        await asyncio.sleep(0.01)
        late = [case.ask("late", k=5)]
        await asyncio.sleep(0.01)
        case.engine.may.set()
        await asyncio.gather(first, *few, *many, *late)
        assert [len(names) for names in case.engine.asked] == [1, 1, MAX_BATCH, 5, 1]

    run(work())


def test_requests_that_would_wait_too_long_are_told_when_to_come() -> None:
    async def work() -> None:
        case = Case(max_wait_s=2.0)
        first = await case.busy()
        case.batches._each_s = 1.5  # as things went lately
        waiting = [case.ask("a"), case.ask("b")]
        await asyncio.sleep(0.01)
        again = case.ask("a")  # which is asked already: it waits no longer than that
        refused = case.ask("c")
        with pytest.raises(RequestProblem, match=r"2 requests are waiting already, for 3\.0 s as things go") as caught:
            await refused
        assert caught.value.headers == {"Retry-After": "1"}
        assert 'kgservice_refused_requests_total{reason="wait"} 1.0' in case.metrics.text().decode()
        case.engine.may.set()
        await asyncio.gather(first, again, *waiting)

    run(work())


def test_a_full_line_refuses() -> None:
    async def work() -> None:
        case = Case(max_waiting=1)
        first = await case.busy()
        waiting = case.ask("a")
        await asyncio.sleep(0.01)
        with pytest.raises(RequestProblem, match="1 requests are waiting already"):
            await case.ask("b")
        case.engine.may.set()
        await asyncio.gather(first, waiting)

    run(work())
