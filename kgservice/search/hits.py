"""What a search gives back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

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


class Hits(list[Hit]):
    """Hits, best first, and the road they came by.

    Attributes:
        mode: the mode asked for, or "lexical" where that needs vectors and the release was built without an encoder.
    """

    def __init__(self, hits: Iterable[Hit], mode: Mode) -> None:
        super().__init__(hits)
        self.mode = mode
