"""A captioner behind an OpenAI-compatible `chat/completions` address: retries, a budget, and a key that is never shown."""

from __future__ import annotations

import base64
import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kgservice.captioning import CaptioningFailed, Picture, one_line, prompt

logger = logging.getLogger(__name__)

WAITED_ON = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same call may succeed."""
MAX_WAIT_S = 60.0
IMAGE_TOKENS = 800
"""What an image is taken to cost before a first answer says it."""
MEDIA_TYPES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}


@dataclass(frozen=True)
class EndpointSettings:
    """Where the model is and what may be spent.

    Attributes:
        url: up to and without `/chat/completions`, such as `http://localhost:8000/v1`.
        model: its name there.
        key: sent as a bearer token; shown nowhere.
        words: of a caption at most.
        timeout_s: of one call.
        attempts: of one image.
        at_once: calls under way.
        budget_tokens: spent at most, prompts and answers together; None for no bound.
        price_per_million: of tokens, for the estimate; in whatever currency.
        max_image_bytes: of an image that is sent.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    words: int = 25
    timeout_s: float = 60.0
    attempts: int = 5
    at_once: int = 4
    budget_tokens: int | None = None
    price_per_million: float = 0.0
    max_image_bytes: int = 8 << 20


class Endpoint:
    """Asks a server; safe from many threads.

    Args:
        settings: see there.
        wait: sleeps between attempts; for tests.
    """

    prompted = True

    def __init__(self, settings: EndpointSettings, wait: Callable[[float], None] = time.sleep) -> None:
        import httpx

        self.settings, self.at_once, self._wait = settings, settings.at_once, wait
        self.fingerprint = f"endpoint {settings.model} {settings.words}"
        self.spent_tokens = self.calls = self.retries = 0
        self._lock = threading.Lock()
        headers = {"Authorization": f"Bearer {settings.key}"} if settings.key else {}
        self._client = httpx.Client(timeout=settings.timeout_s, headers=headers)

    def caption(self, picture: Picture) -> str:
        """See `Captioner.caption`.

        Raises:
            CaptioningFailed: the budget is spent, the server refuses, or all attempts failed.
        """
        image = picture.path.read_bytes()
        if len(image) > self.settings.max_image_bytes:
            raise CaptioningFailed(
                f"{picture.path}: {len(image):,} bytes, {self.settings.max_image_bytes:,} are the most"
            )
        kind = next((name for mark, name in MEDIA_TYPES.items() if image.startswith(mark)), None)
        if kind is None:
            raise CaptioningFailed(f"{picture.path} is neither PNG, JPEG, GIF nor WebP")
        question = prompt(picture, self.settings.words)
        shown = f"data:{kind};base64,{base64.b64encode(image).decode()}"
        body = {
            "model": self.settings.model,
            "max_tokens": 4 * self.settings.words,
            "temperature": 0,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": question},
                        {"type": "image_url", "image_url": {"url": shown}},
                    ],
                }
            ],
        }
        return self._asked(body, picture)

    def _asked(self, body: dict[str, Any], picture: Picture) -> str:
        import httpx

        settings, what = self.settings, f"{picture.path.name} of {picture.entity}"
        reason = ""
        for attempt in range(settings.attempts):
            self._check_budget()
            pause = min(MAX_WAIT_S, 2.0**attempt * (0.5 + random.random() / 2))
            try:
                with self._lock:
                    self.calls += 1
                    self.retries += attempt > 0
                answer = self._client.post(f"{settings.url.rstrip('/')}/chat/completions", json=body)
            except httpx.TimeoutException:
                reason = f"no answer within {settings.timeout_s:g} s"
            except httpx.TransportError as error:
                reason = f"no connection: {type(error).__name__}"
            else:
                if answer.status_code == 200:
                    if (text := self._read(answer)) is not None:
                        return text
                    reason = "an answer that is no chat completion"
                elif answer.status_code in WAITED_ON:
                    reason = f"status {answer.status_code}"
                    pause = min(MAX_WAIT_S, _asked_to_wait(answer.headers.get("retry-after"), pause))
                else:
                    # What the server says may repeat the key that was sent: the status alone is told.
                    raise CaptioningFailed(f"{settings.url} refuses {what}: status {answer.status_code}")
            logger.info("captioning %s: %s, attempt %d of %d", what, reason, attempt + 1, settings.attempts)
            if attempt + 1 < settings.attempts:
                self._wait(pause)
        raise CaptioningFailed(
            f"{settings.url} gives no caption of {what} after {settings.attempts} attempts: {reason}"
        )

    def _read(self, answer: Any) -> str | None:
        """The text of an answer, its cost counted; None where it is malformed."""
        try:
            content = answer.json()
            text = content["choices"][0]["message"]["content"]
            used = content.get("usage", {}).get("total_tokens", IMAGE_TOKENS)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            return None
        if not isinstance(text, str) or not isinstance(used, int):
            return None
        with self._lock:
            self.spent_tokens += used
        return one_line(text)

    def _check_budget(self) -> None:
        budget = self.settings.budget_tokens
        if budget is not None and self.spent_tokens >= budget:
            raise BudgetSpent(f"the budget of {budget:,} tokens is spent: {self.spent_tokens:,} were used")

    def estimate_tokens(self, calls: int) -> int:
        """What so many calls will cost, by those made so far."""
        done = max(self.calls - self.retries, 0)
        each = self.spent_tokens / done if done and self.spent_tokens else IMAGE_TOKENS + 3 * self.settings.words
        return round(each * calls)


class BudgetSpent(CaptioningFailed):
    """No more calls may be made; what was captioned is kept."""


def _asked_to_wait(header: str | None, pause: float) -> float:
    """Seconds that a `Retry-After` asks for; a date is waited for like nothing said."""
    try:
        return max(0.0, float(header)) if header else pause
    except ValueError:
        return pause
