"""What a search finds, and how that divides."""

from __future__ import annotations

from dataclasses import dataclass

from kgservice.answers import Named


@dataclass(frozen=True)
class Part:
    """A stretch of a text; the parts of a text, put together, are the text.

    Attributes:
        marked: whether it is what the question asked for.
    """

    text: str
    marked: bool


@dataclass(frozen=True)
class Highlights:
    """Where the words of a question stand in what was found."""

    matched: list[Part] | None
    description: list[Part] | None


@dataclass(frozen=True)
class Match:
    """An entity that a search found.

    Attributes:
        matched: the name that matched, as written; None where a description did.
        kind: `exact`, `prefix`, `fuzzy` or `description`.
        highlights: where they were asked for.
    """

    id: str
    label: str | None
    description: str | None
    types: list[Named]
    score: float
    matched: str | None
    kind: str
    highlights: Highlights | None = None


@dataclass(frozen=True)
class FacetValue:
    """A type or an object, and how many matches have it."""

    id: str
    label: str | None
    count: int


@dataclass(frozen=True)
class Facet:
    """How matches divide.

    Attributes:
        relation: whose objects are counted; None where types are.
        among: the matches that were looked at: all, or the best 1,000.
        values: the most frequent first, at most 100.
    """

    relation: Named | None
    among: int
    values: list[FacetValue]


@dataclass(frozen=True)
class SearchResult:
    """What a search found, and whether meaning was searched beside names.

    Attributes:
        nil: nothing that was found is likely to be meant; `matches` are guesses, or there are none.
        reason: why, where `nil`.
        next: a cursor for the page behind this one; None where there is none. The last page may be empty.
        facets: where they were asked for.
    """

    release: str
    query: str
    dense: bool
    matches: list[Match]
    nil: bool = False
    reason: str | None = None
    next: str | None = None
    facets: list[Facet] | None = None
