"""A captioner behind an OpenAI-compatible `chat/completions` address: retries, a budget, and a key that is never shown."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from kgservice import chat
from kgservice.captioning import CaptioningFailed, Picture, one_line, prompt
from kgservice.chat import Chat, ChatSettings

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
        self.settings, self.at_once = settings, settings.at_once
        self.fingerprint = f"endpoint {settings.model} {settings.words}"
        self._chat = Chat(
            ChatSettings(
                settings.url,
                settings.model,
                settings.key,
                timeout_s=settings.timeout_s,
                attempts=settings.attempts,
                at_once=settings.at_once,
                budget_tokens=settings.budget_tokens,
                answer_tokens=4 * settings.words,
            ),
            wait,
        )

    @property
    def spent_tokens(self) -> int:
        """Of all answers so far."""
        return self._chat.spent_tokens

    @property
    def calls(self) -> int:
        """Made so far, repeated ones too."""
        return self._chat.calls

    @property
    def retries(self) -> int:
        """Calls that repeated one."""
        return self._chat.retries

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
        content = [{"type": "text", "text": question}, {"type": "image_url", "image_url": {"url": shown}}]
        try:
            return one_line(self._chat.say([{"role": "user", "content": content}]))
        except chat.BudgetSpent as error:
            raise BudgetSpent(str(error)) from error
        except chat.ChatFailed as error:
            raise CaptioningFailed(f"no caption of {picture.path.name} of {picture.entity}: {error}") from error

    def estimate_tokens(self, calls: int) -> int:
        """What so many calls will cost, by those made so far."""
        done = max(self.calls - self.retries, 0)
        each = self.spent_tokens / done if done and self.spent_tokens else IMAGE_TOKENS + 3 * self.settings.words
        return round(each * calls)


class BudgetSpent(CaptioningFailed):
    """No more calls may be made; what was captioned is kept."""
