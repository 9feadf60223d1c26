"""How well a name answers a question: exact, beginning, words, typos."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

from rapidfuzz.distance import OSA

from kgservice.search.folding import fold, words
from kgservice.search.lexical import typos_allowed
from kgservice.search.names import Name

_MAX_WORDS = 32
_PARTIAL = 0.5
"""A name that has only some of the words is named by the question if they are at least this share of its letters."""


class Tier(IntEnum):
    """Kinds of match, worse to better; a match of a better tier always ranks first."""

    PARTIAL = 0
    FUZZY = 1
    WORDS = 2
    PREFIX = 3
    EXACT = 4


@dataclass(frozen=True)
class Question:
    """What was typed, folded.

    Attributes:
        text: as typed, for the encoder.
        key: folded, at most 32 words.
        words: of the key; the last one may be unfinished.
    """

    text: str
    key: str
    words: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Question:
        """Fold a text of any kind; one of no letters and symbols has no words."""
        folded = words(fold(text))
        if len(folded) > _MAX_WORDS:
            folded = [*folded[: _MAX_WORDS - 1], folded[-1]]
        return cls(text.strip(), " ".join(folded), tuple(folded))

    @cached_property
    def letters(self) -> int:
        """Letters in all words."""
        return sum(map(len, self.words))


@dataclass(frozen=True, order=True)
class Match:
    """A name against a question; greater is better.

    Attributes:
        tier: the kind of match.
        closeness: in [0, 1], the share of the question's letters that are right; 1 above FUZZY.
        quality: of the name, 0 to 2.
        text: the name as written.
    """

    tier: Tier
    closeness: float
    quality: int
    text: str


def best_match(question: Question, names: Iterable[Name], *, typos: bool) -> Match | None:
    """The best match among an entity's names; without `typos` only the tiers from WORDS up are looked for."""
    best: Match | None = None
    for text, folded, quality in names:
        tier, closeness = _compare(question, folded, typos=typos and (best is None or best.tier <= Tier.FUZZY))
        if tier is None or (
            best is not None and (best.tier, best.closeness, best.quality) >= (tier, closeness, quality)
        ):
            continue
        best = Match(tier, closeness, quality, text)
    return best


def _compare(question: Question, folded: str, *, typos: bool) -> tuple[Tier | None, float]:
    key = question.key
    if folded.startswith(key):
        return (Tier.EXACT if len(folded) == len(key) else Tier.PREFIX), 1.0
    held = words(folded)
    if _has_words(question.words, held):
        return Tier.WORDS, 1.0
    return _resemble(question, folded, held) if typos else (None, 0.0)


def _has_words(asked: tuple[str, ...], held: list[str]) -> bool:
    """All but the last word are there, and of what remains one begins with the last."""
    left = list(held)
    for word in asked[:-1]:
        if word not in left:
            return False
        left.remove(word)
    return any(word.startswith(asked[-1]) for word in left)


def _resemble(question: Question, folded: str, held: list[str]) -> tuple[Tier | None, float]:
    """Typos word by word (anywhere in the name), or over the whole name (which allows a forgotten space)."""
    right, wrong = 0, 0
    for place, word in enumerate(question.words):
        typos = _word_typos(word, held, unfinished=place == len(question.words) - 1)
        if typos is not None:
            right += len(word)
            wrong += typos
    whole = OSA.distance(question.key, folded, score_cutoff=typos_allowed(question.key))
    if whole <= typos_allowed(question.key):
        # All letters of the name are accounted for: half a typo better than the same typos in a part of it.
        return Tier.FUZZY, max(0.0, 1 - (whole - 0.5) / (question.letters + 1))
    if right == question.letters:
        return Tier.FUZZY, max(0.0, 1 - wrong / (question.letters + 1))
    share = (right - wrong) / question.letters
    # A part of the question must be a whole name: "eiffel tower paris" names the Eiffel Tower.
    return (Tier.PARTIAL, share) if share >= _PARTIAL and len("".join(held)) <= question.letters else (None, 0.0)


def _word_typos(word: str, held: list[str], *, unfinished: bool) -> int | None:
    """The fewest typos that turn a held word, or its beginning, into this one; None if there are too many."""
    allowed = typos_allowed(word)
    best = allowed + 1
    for other in held:
        ends = range(max(1, len(word) - allowed), len(word) + allowed + 1) if unfinished else ()
        for candidate in {other, *(other[:end] for end in ends)}:
            best = min(best, OSA.distance(word, candidate, score_cutoff=allowed))
    return best if best <= allowed else None
