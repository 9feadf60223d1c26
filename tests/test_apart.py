"""Single questions answered in a process beside the server's: the same answers, whatever becomes of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import orjson
import pytest

from kgservice.answers import Question
from kgservice.engine import Engine
from kgservice.errors import KGServiceError
from kgservice.release import ReleaseStore
from kgservice.server import apart as module
from kgservice.server.apart import BUSY, Apart, Opened
from kgservice.server.batching import Batches, Terms
from kgservice.server.holder import EngineHolder
from kgservice.server.metrics import Metrics
from kgservice.server.settings import ServerSettings
from kgservice.server.work import Workers
from kgservice.sparql.frames import frame

EX = "https://example.org/"
QUESTIONS = [Question(subject=f"{EX}child{number}", relation=f"{EX}parent") for number in range(BUSY)]


@pytest.fixture
def home(family_engine: Engine, tmp_path: Path) -> Path:
    """With a release that a test may add to."""
    shutil.copytree(family_engine.release.folder.parent, tmp_path / "releases")
    return tmp_path


@pytest.fixture
def holder(home: Path) -> EngineHolder:
    holder = EngineHolder(ReleaseStore(home / "releases"))
    holder.refresh()
    return holder


@pytest.fixture
def apart(home: Path) -> Iterator[Apart]:
    apart = Apart(Opened.of(ServerSettings(home=home, log_level="warning")))
    yield apart
    apart.close()


def terms(engine: Engine) -> Terms:
    return Terms(engine, 3, (), (), True, None, False, "en")


def answered(apart: Apart, asked: Terms, questions: Sequence[Question] = QUESTIONS) -> list[bytes]:
    """What the process says, once it has opened what it is asked about."""
    until(lambda: None not in apart.ask(asked.sent([*questions, *QUESTIONS])))
    return [one for one in apart.ask(asked.sent(questions)) if one is not None]


def until(done: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def pid_of(apart: Apart) -> int:
    assert apart._process is not None
    return apart._process.pid


def test_it_is_started_by_load_and_gives_the_same_answers(apart: Apart, holder: EngineHolder) -> None:
    asked = terms(holder.engine)
    assert apart.ask(asked.sent(QUESTIONS[:1])) == [None]
    assert apart._process is None
    assert answered(apart, asked) == asked.ask(QUESTIONS)
    assert answered(apart, asked, QUESTIONS[:1]) == asked.ask(QUESTIONS[:1])


def test_it_follows_what_is_put_and_answers_for_no_other_state(apart: Apart, holder: EngineHolder) -> None:
    before = terms(holder.engine)
    assert answered(apart, before)
    name = f"{EX}newcomer"
    document = orjson.dumps({"id": name, "texts": [["label", "en", "Newcomer"]]}).decode()
    after = terms(holder.change({name: document}))
    assert after.engine.release_name != before.engine.release_name
    assert answered(apart, after) == after.ask(QUESTIONS)
    assert apart.ask(before.sent(QUESTIONS)) == [None] * BUSY


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_what_it_loses_is_answered_elsewhere_and_another_one_takes_its_place(
    by: signal.Signals, apart: Apart, holder: EngineHolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.5)
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    asked = terms(holder.engine)
    assert answered(apart, asked)
    former = pid_of(apart)
    os.kill(former, by)
    assert apart.ask(asked.sent(QUESTIONS)) == [None] * BUSY
    assert not Path(f"/proc/{former}").exists()
    assert answered(apart, asked) == asked.ask(QUESTIONS)
    assert pid_of(apart) != former


@pytest.mark.parametrize("size", [2, 10, 40])
def test_an_answer_that_breaks_off_is_none(size: int, apart: Apart, holder: EngineHolder) -> None:
    asked = terms(holder.engine)
    assert answered(apart, asked)
    ours, theirs = socket.socketpair()
    former, apart._link = apart._link, ours
    theirs.sendall(frame({}, bytes(100))[:size])
    theirs.shutdown(socket.SHUT_WR)
    assert apart.ask(asked.sent(QUESTIONS)) == [None] * BUSY
    assert apart._process is None
    theirs.close()
    assert former is not None
    former.close()


def test_it_ends_with_the_server(apart: Apart, holder: EngineHolder) -> None:
    """Closed, or where the server is killed: the other end of its socket is gone."""
    assert answered(apart, terms(holder.engine))
    assert apart._link is not None
    assert apart._process is not None
    process = apart._process
    apart._link.close()
    assert process.wait(20) == 0
    apart.close()
    assert apart.ask(terms(holder.engine).sent(QUESTIONS)) == [None] * BUSY
    assert apart._process is None


def test_batches_do_not_tell_who_answered_and_a_bad_question_spoils_no_other(
    apart: Apart, holder: EngineHolder
) -> None:
    asked = terms(holder.engine)
    assert answered(apart, asked)
    bad = Question(subject=f"{EX}nobody", relation=f"{EX}parent")
    questions = [*QUESTIONS[:3], bad, *QUESTIONS[3:]]

    async def ask() -> list[bytes | BaseException]:
        batches = Batches(Workers(1, 100, 10.0, Metrics()), apart)
        return await asyncio.gather(*[batches.ask(asked, one) for one in questions], return_exceptions=True)

    *first, wrong = (found := asyncio.run(ask()))[:4]
    assert [*first, *found[4:]] == asked.ask(QUESTIONS)
    assert isinstance(wrong, KGServiceError)
    assert "nobody" in str(wrong)
