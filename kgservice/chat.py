"""Asking an OpenAI-compatible `chat/completions` address: retries, a budget, answers kept, and a key that is never shown."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kgservice.errors import KGServiceError, MissingDependency

logger = logging.getLogger(__name__)

WAITED_ON: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same call may succeed."""
MAX_WAIT_S: Final = 60.0


class ChatFailed(KGServiceError):
    """A server gave no usable answer."""


class BudgetSpent(ChatFailed):
    """No more calls may be made."""


@dataclass(frozen=True)
class ChatSettings:
    """Where a model is and what may be spent.

    Attributes:
        url: up to and without `/chat/completions`, such as `http://localhost:8000/v1`.
        model: its name there.
        key: sent as a bearer token; shown nowhere.
        timeout_s: of one call.
        attempts: of one question.
        at_once: calls under way.
        budget_tokens: spent at most, questions and answers together; None for no bound.
        answer_tokens: of one answer at most.
        cache: a file of answers kept; None keeps none.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    timeout_s: float = 60.0
    attempts: int = 5
    at_once: int = 4
    budget_tokens: int | None = None
    answer_tokens: int = 200
    cache: Path | None = None


class Chat:
    """A client; safe from many threads. Close it, or use it in a `with`.

    Args:
        settings: see there.
        wait: sleeps between attempts; for tests.

    Raises:
        MissingDependency: httpx is not installed.
    """

    def __init__(self, settings: ChatSettings, wait: Callable[[float], None] = time.sleep) -> None:
        try:
            import httpx
        except ImportError as error:
            raise MissingDependency("Asking an endpoint needs: pip install httpx") from error
        self.settings, self._wait = settings, wait
        self.spent_tokens = self.calls = self.retries = self.kept = 0
        self._lock = threading.Lock()
        headers = {"Authorization": f"Bearer {settings.key}"} if settings.key else {}
        self._client = httpx.Client(timeout=settings.timeout_s, headers=headers)
        self._cache = _Cache(settings.cache) if settings.cache else None

    def __enter__(self) -> Chat:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of connections and of the file of answers."""
        self._client.close()
        if self._cache:
            self._cache.close()

    def spent(self) -> dict[str, int]:
        """What was asked, kept and paid."""
        return {"calls": self.calls, "retries": self.retries, "kept": self.kept, "tokens": self.spent_tokens}

    def ask(self, system: str, questions: Sequence[str]) -> list[str | None]:
        """An answer to each question, in order; None where no answer came or the budget was spent, which is logged.

        Args:
            system: what the model is told first.
            questions: asked one by one, `at_once` at a time.
        """

        def one(question: str) -> str | None:
            try:
                return self.answer(system, question)
            except ChatFailed as error:
                logger.warning("%s", error)
                return None

        with ThreadPoolExecutor(self.settings.at_once) as pool:
            return list(pool.map(one, questions))

    def answer(self, system: str, question: str) -> str:
        """The answer to one question, kept if there is a cache.

        Raises:
            BudgetSpent: nothing was asked.
            ChatFailed: the server refuses, or all attempts failed.
        """
        return self.say([{"role": "system", "content": system}, {"role": "user", "content": question}])

    def say(self, messages: Sequence[dict[str, Any]]) -> str:
        """The answer to a conversation, which may hold images; kept and raising as `answer`."""
        body = {
            "model": self.settings.model, "messages": messages, "temperature": 0, "max_tokens": self.settings.answer_tokens,
        }  # fmt: skip
        mark = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        if self._cache and (kept := self._cache.get(mark)) is not None:
            with self._lock:
                self.kept += 1
            return kept
        text = self._asked(body)
        if self._cache:
            self._cache.put(mark, text)
        return text

    def _asked(self, body: dict[str, Any]) -> str:
        import httpx

        settings, reason = self.settings, ""
        for attempt in range(settings.attempts):
            self._check_budget()
            pause = min(MAX_WAIT_S, 2.0**attempt * (0.5 + random.random() / 2))
            with self._lock:
                self.calls += 1
                self.retries += attempt > 0
            try:
                got = self._client.post(f"{settings.url.rstrip('/')}/chat/completions", json=body)
            except httpx.TimeoutException:
                reason = f"no answer within {settings.timeout_s:g} s"
            except httpx.TransportError as error:
                reason = f"no connection: {type(error).__name__}"
            else:
                if got.status_code == 200 and (text := self._read(got)) is not None:
                    return text
                if got.status_code != 200 and got.status_code not in WAITED_ON:
                    # What the server says may repeat the key that was sent: the status alone is told.
                    raise ChatFailed(f"{settings.url} refuses to answer: status {got.status_code}")
                reason = (
                    f"status {got.status_code}" if got.status_code != 200 else "an answer that is no chat completion"
                )
                pause = min(MAX_WAIT_S, _asked_to_wait(got.headers.get("retry-after"), pause))
            if attempt + 1 < settings.attempts:
                self._wait(pause)
        raise ChatFailed(f"{settings.url} gives no answer after {settings.attempts} attempts: {reason}")

    def _read(self, got: Any) -> str | None:
        """The text of an answer, its cost counted; None where it is malformed."""
        try:
            content = got.json()
            text = content["choices"][0]["message"]["content"]
            used = (content.get("usage") or {}).get("total_tokens", self.settings.answer_tokens)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            return None
        if not isinstance(text, str) or not isinstance(used, int):
            return None
        with self._lock:
            self.spent_tokens += used
        return text

    def _check_budget(self) -> None:
        budget = self.settings.budget_tokens
        with self._lock:
            if budget is not None and self.spent_tokens >= budget:
                raise BudgetSpent(f"the budget of {budget:,} tokens is spent: {self.spent_tokens:,} were used")


class _Cache:
    """Answers by what was asked, in SQLite: a killed run pays for nothing twice."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("create table if not exists answers (mark text primary key, answer text not null)")

    def get(self, mark: str) -> str | None:
        with self._lock:
            row = self._database.execute("select answer from answers where mark = ?", (mark,)).fetchone()
        return None if row is None else str(row[0])

    def put(self, mark: str, answer: str) -> None:
        with self._lock:
            self._database.execute("insert or replace into answers values (?, ?)", (mark, answer))

    def close(self) -> None:
        self._database.close()


def _asked_to_wait(header: str | None, pause: float) -> float:
    """Seconds that a `Retry-After` asks for; a date is waited for like nothing said."""
    try:
        return max(0.0, float(header)) if header else pause
    except ValueError:
        return pause
