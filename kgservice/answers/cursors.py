"""Where a list goes on: opaque texts, bound to the release and the question that they continue."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass

from kgservice.errors import InvalidQuestion

_DIGEST_BYTES = 9
_LONGEST = 512


@dataclass(frozen=True)
class Cursor:
    """A place in a list.

    Attributes:
        first: how long the first page was.
        start: answers that the pages before held.
    """

    first: int
    start: int

    def write(self, release: str, question: object) -> str:
        """The cursor as text.

        Args:
            release: what answers, `id@revision`.
            question: all that the list depends on; JSON-like.
        """
        parts = [release, self.first, self.start, self._digest(release, question)]
        return base64.urlsafe_b64encode(json.dumps(parts, separators=(",", ":")).encode()).decode().rstrip("=")

    @classmethod
    def read(cls, text: str, release: str, question: object) -> Cursor:
        """The cursor in a text.

        Raises:
            InvalidQuestion: it is damaged, of another release, or of another question.
        """
        try:
            if len(text) > _LONGEST:
                raise ValueError
            padded = text.encode("ascii") + b"=" * (-len(text) % 4)
            written, first, start, digest = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
            if not (isinstance(written, str) and type(first) is type(start) is int and 1 <= first <= start):
                raise ValueError
        except (ValueError, TypeError, RecursionError):
            raise InvalidQuestion(
                f"{text[:40]!r} is not a cursor of this server. Ask without one for the first page."
            ) from None
        if written != release:
            raise InvalidQuestion(
                f"The cursor is of release {written[:40]}, {release} answers now. Ask without it for the first page."
            )
        cursor = cls(first, start)
        if digest != cursor._digest(release, question):
            raise InvalidQuestion(
                "The cursor is of another question: text, types, filters, language and mode must be those of the first page."
            )
        return cursor

    def _digest(self, release: str, question: object) -> str:
        whole = json.dumps([release, self.first, self.start, question], ensure_ascii=True, sort_keys=True)
        digest = hashlib.blake2b(whole.encode(), digest_size=_DIGEST_BYTES).digest()
        return base64.urlsafe_b64encode(digest).decode()
