"""Where in a text the words of a question stand, as parts that a reader can mark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from rapidfuzz.distance import OSA

from kgservice.answers.matches import Part
from kgservice.search.folding import fold
from kgservice.search.lexical import typos_allowed

_LONGEST = 2000
"""Letters of a text that are looked at; what stands behind them is one part that is not marked."""


def highlight(text: str, words: Sequence[str]) -> list[Part]:
    """The parts of a text, those marked that a folded word of a question stands for.

    A word of the text is marked if it is one of the question's, but for typos, or if the question's last word begins it: then
    as many letters as were typed.
    """
    parts: list[Part] = []
    for word, is_word in _words(text[:_LONGEST]):
        marked = _marked(word, words) if is_word and words else 0
        _add(parts, word[:marked], True)
        _add(parts, word[marked:], False)
    _add(parts, text[_LONGEST:], False)
    return parts


def _marked(word: str, asked: Sequence[str]) -> int:
    """How many letters of a word are to be marked."""
    folded = fold(word)
    if not folded:
        return 0
    if folded in asked:
        return len(word)
    if folded.startswith(asked[-1]):
        # Letters and folded letters need not be as many ("ß", combining marks): the shortest beginning that folds so.
        return next((end for end in range(1, len(word)) if fold(word[:end]).startswith(asked[-1])), len(word))
    for one in asked:
        typos = typos_allowed(one)
        if typos and OSA.distance(one, folded, score_cutoff=typos) <= typos:
            return len(word)
    return 0


def _words(text: str) -> Iterator[tuple[str, bool]]:
    """The text cut into words and what stands between them; a letter of a script without spaces is a word of its own."""
    start = 0
    kind = False
    for place, letter in enumerate(text):
        inside, alone = _kind(letter)
        if place > start and (inside != kind or alone):
            yield text[start:place], kind
            start = place
        kind = inside
        if alone:
            yield letter, True
            start = place + 1
    if start < len(text):
        yield text[start:], kind


@cache  # at most one entry per code point
def _kind(letter: str) -> tuple[bool, bool]:
    """Whether a letter is of a word, and whether it is one by itself; marks and joiners belong to the letter before them."""
    folded = fold(f"a{letter}a")
    return folded != "a a", folded.count(" ") == 2


def _add(parts: list[Part], text: str, marked: bool) -> None:
    if not text:
        return
    if parts and parts[-1].marked == marked:
        parts[-1] = Part(parts[-1].text + text, marked)
    else:
        parts.append(Part(text, marked))
