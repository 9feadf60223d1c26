"""Search over a release and over what was put since: small indexes of their own behind the release's, merged as they grow."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kgservice.encoders import TextEncoder
from kgservice.graph import KnowledgeGraph
from kgservice.search.entity_search import MAX_K, EntitySearch
from kgservice.search.hits import Hit, Hits, Mode, Search

Having = Callable[[int, int], npt.NDArray[np.int32]]
GraphOf = Callable[[Sequence[str]], KnowledgeGraph]
"""The documents given, and nothing else, as a graph whose ids are their places."""


@dataclass
class Remembering:
    """An encoder that encodes no text twice.

    Attributes:
        encoder: does it.
        known: vectors by text.
    """

    encoder: TextEncoder
    known: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """See `TextEncoder`."""
        return self.encoder.name

    @property
    def width(self) -> int:
        """See `TextEncoder`."""
        return self.encoder.width

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """See `TextEncoder.encode`."""
        fresh = [text for text in dict.fromkeys(texts) if text not in self.known]
        if fresh:
            self.known.update(zip(fresh, self.encoder.encode(fresh), strict=True))
        return np.stack([self.known[text] for text in texts]) if texts else np.empty((0, self.width), np.float32)


@dataclass(frozen=True)
class Segment:
    """Some of what was put, searchable."""

    documents: Sequence[str]
    search: EntitySearch

    @classmethod
    def build(cls, documents: Sequence[str], graph_of: GraphOf, encoder: TextEncoder | None) -> Segment:
        """Index them; the files are gone once they are mapped."""
        graph = graph_of(documents)
        with tempfile.TemporaryDirectory(prefix="kgservice-added-") as folder:
            EntitySearch.build(graph, Path(folder), encoder)
            return cls(documents, EntitySearch.open(Path(folder), graph, encoder=encoder))


def segments(
    former: Sequence[Segment], documents: Sequence[str], graph_of: GraphOf, encoder: TextEncoder | None
) -> list[Segment]:
    """The segments over these documents: former ones, and a new one for those that are in none.

    One is joined with the one before it while that is less than twice as large, so that there are few, and each document is
    indexed a few times at most.
    """
    wanted = set(documents)
    kept = [one for one in former if not wanted.isdisjoint(one.documents)]
    fresh = wanted.difference(*(one.documents for one in kept))
    if not fresh:
        return kept
    while kept and len(kept[-1].documents) < 2 * len(fresh):
        fresh |= wanted.intersection(kept.pop().documents)
    return [*kept, Segment.build([document for document in documents if document in fresh], graph_of, encoder)]


class LayeredSearch(Search):
    """As `EntitySearch`, over all layers.

    Args:
        base: over the release's own entities.
        segments: over what was put.
        ids: the entity of every document that still stands; others are not shown.
        erased: bool `[n]`, entities that are not shown.
        having: which entities that were put are subjects of statements with this relation and object.
    """

    def __init__(
        self,
        base: EntitySearch,
        segments: Sequence[Segment],
        ids: Mapping[str, int],
        erased: npt.NDArray[np.bool_],
        having: Having,
    ) -> None:
        self.base, self._erased, self._having = base, erased, having
        self._segments = [(one, np.array([ids.get(document, -1) for document in one.documents])) for one in segments]

    @property
    def has_dense(self) -> bool:
        """See `EntitySearch.has_dense`."""
        return self.base.has_dense

    def warm(self) -> None:
        """See `EntitySearch.warm`."""
        self.base.warm()

    def search_many(
        self,
        queries: Sequence[str],
        *,
        k: int = 10,
        language: str = "en",
        types: Sequence[int] = (),
        facts: Sequence[tuple[int, int]] = (),
        mode: Mode = "auto",
        spelt: bool = False,
    ) -> list[Hits]:
        """See `EntitySearch.search_many`."""
        how: dict[str, Any] = {"language": language, "types": types, "mode": mode, "spelt": spelt}
        asked = partial(self.base.search_many, queries, facts=facts, **how)
        if all(object < self.base.graph.n for _, object in facts):
            found = _shown(asked, np.arange(len(self._erased)), self._erased, k)
        else:  # the release's own index knows nothing of what was put
            found = [Hits([], mode if self.has_dense else "lexical") for _ in queries]
        for segment, ids in self._segments:
            hidden = ids < 0
            for fact in facts:  # a segment has no statements
                hidden = hidden | ~np.isin(ids, self._having(*fact))
            asked = partial(segment.search.search_many, queries, **how)
            more = _shown(asked, ids, hidden, k)
            found = [
                Hits(sorted([*one, *other], key=_order)[:k], one.mode, _nearer(one.cosine, other.cosine))
                for one, other in zip(found, more, strict=True)
            ]
        return found


def _shown(
    search: Callable[..., list[Hits]], ids: npt.NDArray[np.integer], hidden: npt.NDArray[np.bool_], k: int
) -> list[Hits]:
    """The best `k` of one layer that may be shown, under the ids of all layers."""
    wide = k
    while True:
        found = search(k=wide)
        shown = [
            Hits(
                [replace(hit, entity=int(ids[hit.entity])) for hit in hits if not hidden[hit.entity]],
                hits.mode,
                hits.cosine,
            )
            for hits in found
        ]
        enough = all(len(one) >= k or len(every) < wide for one, every in zip(shown, found, strict=True))
        if enough or wide == MAX_K:
            return [Hits(one[:k], one.mode, one.cosine) for one in shown]
        wide = min(MAX_K, 2 * wide + 16)


def _nearer(one: float | None, other: float | None) -> float | None:
    return max((cosine for cosine in (one, other) if cosine is not None), default=None)


def _order(hit: Hit) -> tuple[float, int]:
    return -hit.score, hit.entity
