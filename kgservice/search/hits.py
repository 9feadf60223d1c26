"""What a search is asked, and what it gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack

Mode = Literal["auto", "lexical", "dense"]
MatchKind = Literal["exact", "prefix", "fuzzy", "description"]


@dataclass(frozen=True)
class Hit:
    """An entity that a query may mean.

    Attributes:
        entity: its id.
        score: falls along a list and compares within one list only. Of names: 4 to 5 exact, 3 to 4 the name begins so,
            2 to 3 its words do, 1 to 2 but for typos; below 1 the fused ranks of descriptions, vectors and parts of
            names. In dense mode the cosine.
        matched: the name that matched, as written; None where a description did.
        match_kind: "prefix" also when all words are there in another order or within a longer name, and the last one
            may go on; "fuzzy" but for typos or with words left over.
    """

    entity: int
    score: float
    matched: str | None
    match_kind: MatchKind


NIL_SCORE = 1.8
"""A first hit below it is a guess: a name with more than one typing error in six letters, or none that matches."""
NIL_COSINE = 0.55
"""A text is meant if it is at least so near; docs/search.md says how well both tell what is there from what is not."""


class Hits(list[Hit]):
    """Hits, best first, and the road they came by.

    Attributes:
        mode: the mode asked for, or "lexical" where that needs vectors and the release was built without an encoder.
        cosine: of the nearest text; None where none was compared.
    """

    def __init__(self, hits: Iterable[Hit], mode: Mode, cosine: float | None = None) -> None:
        super().__init__(hits)
        self.mode, self.cosine = mode, cosine

    @property
    def nil(self) -> bool:
        """True if nothing here is likely to be what was asked for."""
        named = self.mode != "dense" and bool(self) and self[0].score >= NIL_SCORE
        return not named and (self.cosine or 0.0) < NIL_COSINE


class SearchTerms(TypedDict, total=False):
    """What is said beside the query; see `EntitySearch.search_many`."""

    k: int
    language: str
    types: Sequence[int]
    facts: Sequence[tuple[int, int]]
    mode: Mode
    spelt: bool


class Search(ABC):
    """Finds entities by what they are called and by what is said of them."""

    @abstractmethod
    def search_many(self, queries: Sequence[str], **terms: Unpack[SearchTerms]) -> list[Hits]:
        """See `EntitySearch.search_many`."""

    def search(self, query: str, **terms: Unpack[SearchTerms]) -> Hits:
        """The entities that one query may mean, best first; terms and errors are those of `search_many`."""
        return self.search_many([query], **terms)[0]
