"""How well a name answers a question: exact, beginning, words, typos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt
from rapidfuzz.distance import OSA
from rapidfuzz.process import cdist

from kgservice.search.folding import fold, words
from kgservice.search.lexical import typos_allowed

_MAX_WORDS = 32
_PARTIAL = 0.5
"""A name that has only some of the words is named by the question if they are at least this share of its letters."""

_ALIKE = 0.5
"""A name is guessed at if at least this share of the letters is right, its own or the question's, whichever are more."""


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
        return int(self.lengths.sum())

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """int64 `[w]`, of the words."""
        return np.array([*map(len, self.words)])

    @cached_property
    def allowed(self) -> npt.NDArray[np.int64]:
        """int64 `[w]`, the typos that each word may have."""
        return np.array([*map(typos_allowed, self.words)])


@dataclass(frozen=True)
class Answering:
    """How well each of some names answers a question.

    Attributes:
        tier: int64 `[m]`, a `Tier`, or -1 for a name that does not answer.
        closeness: float64 `[m]`, in [0, 1], the share of the question's letters that are right; 1 above FUZZY.
    """

    tier: npt.NDArray[np.int64]
    closeness: npt.NDArray[np.float64]

    def best(self, quality: npt.NDArray[np.int64], owner: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """int64: the place of the best name of each owner that has any, first by tier, then closeness, then quality.

        Args:
            quality: int64 `[m]`, greater is better.
            owner: int64 `[m]`, rising.
        """
        places = np.flatnonzero(self.tier >= 0)
        order = places[np.lexsort((-quality[places], -self.closeness[places], -self.tier[places], owner[places]))]
        first = np.ones(len(order), dtype=bool)
        first[1:] = owner[order[1:]] != owner[order[:-1]]
        return order[first]


def compare(question: Question, names: Sequence[str], *, typos: bool, shorter: bool = False) -> Answering:
    """Match folded names.

    Args:
        question: what was typed.
        names: folded.
        typos: look below WORDS too.
        shorter: pass over the names that have more letters than the question, which cannot be a part of it.
    """
    key, tier = question.key, np.full(len(names), -1, dtype=np.int64)
    closeness = np.ones(len(names))
    places: Sequence[int] = range(len(names))
    if shorter:
        longest = len(key) + typos_allowed(key)
        places = [place for place, name in enumerate(names) if len(name) <= longest]
    first, rest = question.words[0], []
    for place in places:
        name = names[place]
        if name.startswith(key):
            tier[place] = Tier.EXACT if len(name) == len(key) else Tier.PREFIX
        elif first in name and _has_words(question.words, name):  # most names fail at once, without being taken apart
            tier[place] = Tier.WORDS
        else:
            rest.append(place)
    if typos and rest:
        tier[rest], closeness[rest] = _resemble(question, [names[place] for place in rest])
    return Answering(tier, closeness)


def _has_words(asked: tuple[str, ...], name: str) -> bool:
    """All but the last word are there, and of what remains one begins with the last."""
    left = words(name)
    for word in asked[:-1]:
        if word not in left:
            return False
        left.remove(word)
    return any(word.startswith(asked[-1]) for word in left)


def _resemble(question: Question, names: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Typos word by word (anywhere in the name), or over the whole name (which allows a forgotten space).

    Every question word is compared with every word of the names: O(words asked x words of names), a distance in 30 ns.
    """
    asked, allowed = question.letters, question.allowed
    joined = "\n".join(names)
    codes = np.frombuffer(joined.encode("utf-32-le"), np.uint32)
    ends = np.append(np.flatnonzero(codes == 10), len(codes))
    lengths = np.diff(ends, prepend=-1) - 1
    held = np.cumsum(codes <= 32)[ends - 1] + 1  # words up to the end of each name
    starts = np.concatenate([[0], held[:-1]])
    letters = lengths - (held - starts - 1)
    most, furthest = typos_allowed(question.key), len(question.key) // 2
    whole = _distances([question.key], names, furthest)[0]
    longer = np.maximum(lengths, len(question.key))
    nearest = np.minimum.reduceat(_distances(question.words, joined.split(), int(allowed.max())), starts, axis=1)
    found = nearest <= allowed[:, None]
    # The last word may be the beginning of one, which is worth looking for where it decides: all others are there, or what
    # is there would be enough.
    right, wrong = question.lengths @ found, (nearest * found).sum(axis=0)
    more = right + np.where(found[-1], 0, len(question.words[-1]))
    open = np.flatnonzero((nearest[-1] > 0) & ((more == asked) | ((letters <= asked) & (more >= _PARTIAL * asked))))
    if len(open):
        begun = _beginnings(question.words[-1], [names[place] for place in open.tolist()], int(allowed[-1]))
        nearest[-1, open] = np.minimum(nearest[-1, open], begun)
        found = nearest <= allowed[:, None]
        right, wrong = question.lengths @ found, (nearest * found).sum(axis=0)
    alike = np.where(whole <= furthest, 1 - whole / longer, 0.0)
    share = (right - wrong) / asked
    # A part of the question must be a whole name: "eiffel tower paris" names the Eiffel Tower.
    share = np.where((share >= _PARTIAL) & (letters <= asked), share, 0.0)
    share = np.maximum(share, np.where(alike >= _ALIKE, alike, 0.0))
    fuzzy = right == asked
    # All letters of the name are accounted for: a typo better than the same typos in a part of it. Of two names as far
    # away the longer one was meant: short ones are near to everything.
    closeness = np.where(whole <= most, 1 - (whole - 0.5) / (longer + 1), 1 - (wrong + 0.5) / (asked + 1))
    fuzzy |= whole <= most
    tier = np.where(fuzzy, int(Tier.FUZZY), np.where(share > 0, int(Tier.PARTIAL), -1))
    return tier, np.where(fuzzy, np.maximum(closeness, 0.0), share)


def _beginnings(last: str, names: Sequence[str], most: int) -> npt.NDArray[np.int64]:
    """int64 `[m]`: the fewest typos that turn a beginning of a word of each name into this one; more than `most` where none."""
    if not most:
        return np.array([f" {last}" not in f" {name}" for name in names], dtype=np.int64)
    ends = range(max(1, len(last) - most), len(last) + most + 1)
    number: dict[str, int] = {}
    flat = [number.setdefault(word[: ends[-1]], len(number)) for name in names for word in words(name)]
    begun = _distances([last], [word[:end] for end in ends for word in number], most).reshape(len(ends), -1).min(axis=0)
    counts = np.array([name.count(" ") + 1 for name in names])
    fewest: npt.NDArray[np.int64] = np.minimum.reduceat(begun[flat], np.cumsum(counts) - counts)
    return fewest


def _distances(asked: Sequence[str], others: Sequence[str], most: int) -> npt.NDArray[np.int64]:
    """int64 `[q, w]`: typos between all pairs; `most` + 1 where there are more."""
    found: npt.NDArray[np.int64] = cdist(asked, others, scorer=OSA.distance, score_cutoff=most, dtype=np.int64)
    return found
