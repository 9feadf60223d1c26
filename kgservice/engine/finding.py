"""What a search found, as people read it: names resolved, pages, counts, labels and types beside the ids of hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from kgservice.answers import MAX_K, Named
from kgservice.answers.cursors import Cursor
from kgservice.answers.matches import Facet, FacetValue, Highlights, Match, SearchResult
from kgservice.answers.options import Filter
from kgservice.engine.reading import fact_of, within_bounds
from kgservice.graph.names import Names
from kgservice.graph.views import Views
from kgservice.search import Hits
from kgservice.search.highlights import highlight
from kgservice.search.hits import Hit, Mode
from kgservice.search.matching import Question

FACET_VALUES = 100
"""Values of a facet that are told, the most frequent first."""


class Searcher(Protocol):
    """What `EntitySearch` offers here."""

    @property
    def has_dense(self) -> bool:
        """True if descriptions can be searched by meaning."""
        ...

    def search_many(
        self,
        queries: Sequence[str],
        *,
        k: int,
        language: str,
        types: Sequence[int],
        facts: Sequence[tuple[int, int]],
        mode: Mode,
        spelt: bool,
    ) -> list[Hits]:
        """As `EntitySearch.search_many`."""
        ...


@dataclass(frozen=True)
class Sought:
    """What is asked besides the text, in the user's words.

    Attributes:
        k: matches on a page, in [1, 1000].
        types: only entities of at least one of these.
        filters: only entities that are the subject of all these statements.
        language: of labels; names in it rank above equal matches in others.
        mode: by words, by meaning, or both.
        facets: count the types of the best 1,000 matches.
        facet_by: relations whose objects are counted too.
        highlight: tell where the words of the query stand in names and descriptions.
        spelt: only names that are, begin with, or have the words of the query as it is written.

    Raises:
        InvalidQuestion: `k` out of range.
    """

    k: int = 10
    types: Sequence[str] = ()
    filters: Sequence[Filter] = ()
    language: str = "en"
    mode: Mode = "auto"
    facets: bool = False
    facet_by: Sequence[str] = ()
    highlight: bool = False
    spelt: bool = False

    def __post_init__(self) -> None:
        within_bounds(self.k)

    def question(self, query: str) -> list[object]:
        """All that the order of matches depends on."""
        return [query, list(self.types), [*map(list, self.filters)], self.language, self.mode, self.spelt]


class Finding:
    """Searches one graph and shows what is found.

    Args:
        search: finds entities by id.
        views: how names are shown.
        entities, relations, types: the graph's names.
        release: named by every result.
    """

    def __init__(
        self, search: Searcher, views: Views, entities: Names, relations: Names, types: Names, release: str
    ) -> None:
        self._search, self._views, self._release = search, views, release
        self._entities, self._relations, self._types = entities, relations, types

    def many(self, queries: Sequence[str], sought: Sought) -> list[SearchResult]:
        """The first page of each query."""
        found = self._hits(queries, sought, sought.k)
        results = self._results(queries, found, sought)
        for place, (query, hits) in enumerate(zip(queries, found, strict=True)):
            more = sought.k if sought.k <= len(hits) and sought.k < MAX_K else None
            if more is not None:
                results[place] = replace(results[place], next=self._cursor(query, sought, sought.k, more))
            if sought.facets or sought.facet_by:
                whole = [hit.entity for hit in self._whole(query, sought, sought.k)]
                results[place] = replace(results[place], facets=self._facets(whole, sought))
        return results

    def page(self, query: str, sought: Sought, cursor: str) -> SearchResult:
        """The page that a cursor names.

        Raises:
            InvalidQuestion: the cursor is of another release or question, or none at all.
        """
        at = Cursor.read(cursor, self._release, sought.question(query))
        whole = self._whole(query, sought, at.first)
        end = at.start + sought.k
        # Whether it is there is told by the first page; those behind hold what is less likely by their nature.
        result = self._results([query], [Hits(whole[at.start : end], whole.mode, whole.cosine)], sought)[0]
        result = replace(result, nil=whole.nil, reason=_reason(whole))
        if end < len(whole):
            result = replace(result, next=self._cursor(query, sought, at.first, end))
        if sought.facets or sought.facet_by:
            result = replace(result, facets=self._facets([hit.entity for hit in whole], sought))
        return result

    def _whole(self, query: str, sought: Sought, first: int) -> Hits:
        """The first page, and behind it what a wider search finds besides, 1,000 in all: each entity is there once."""
        page = self._hits([query], sought, first)[0]
        if len(page) < first:
            return page
        shown = {hit.entity for hit in page}
        rest = [hit for hit in self._hits([query], sought, MAX_K)[0] if hit.entity not in shown]
        return Hits([*page, *rest][:MAX_K], page.mode, page.cosine)

    def _hits(self, queries: Sequence[str], sought: Sought, k: int) -> list[Hits]:
        return self._search.search_many(
            queries,
            k=k,
            language=sought.language,
            types=[self._types.resolve(name) for name in sought.types],
            facts=[fact_of(one, self._relations, self._entities) for one in sought.filters],
            mode=sought.mode,
            spelt=sought.spelt,
        )

    def _cursor(self, query: str, sought: Sought, first: int, start: int) -> str:
        return Cursor(first, start).write(self._release, sought.question(query))

    def _results(self, queries: Sequence[str], found: Sequence[Hits], sought: Sought) -> list[SearchResult]:
        """The result of each query; texts of all of them are looked up together."""
        ids = np.array([hit.entity for hits in found for hit in hits], dtype=np.int32)
        named = self._views.entities(ids, sought.language, describe=True)
        types = self._views.types_of(ids, sought.language)
        matches = iter(
            [
                _match(hit, one, kinds)
                for hit, one, kinds in zip((hit for hits in found for hit in hits), named, types, strict=True)
            ]
        )
        results = [
            SearchResult(
                self._release, query, self._search.has_dense, [next(matches) for _ in hits], hits.nil, _reason(hits)
            )
            for query, hits in zip(queries, found, strict=True)
        ]
        return [_highlighted(result) for result in results] if sought.highlight else results

    def _facets(self, entities: Sequence[int], sought: Sought) -> list[Facet]:
        graph, ids = self._views.graph, np.array(entities, dtype=np.int64)
        facets = []
        if sought.facets:
            held = graph.types.of_entity.take(ids).values if len(graph.types.of_entity) else np.empty(0, np.int32)
            show = lambda types: self._views.named_types(types, sought.language)  # noqa: E731
            facets.append(Facet(None, len(ids), _counted(held, show)))
        table = graph.statements
        # Statements are sorted by subject.
        low, high = np.searchsorted(table.subject, ids), np.searchsorted(table.subject, ids + 1)
        rows = np.concatenate([np.arange(*ends) for ends in zip(low, high, strict=True)] or [np.empty(0, np.int64)])
        for name in sought.facet_by:
            relation = self._relations.resolve(name)
            chosen = rows[table.relation[rows] == relation]
            # An entity counts once for an object, whatever the qualifiers of its statements.
            pairs = np.unique(np.stack([table.subject[chosen], table.object[chosen]]), axis=1)
            show = lambda objects: self._views.entities(objects, sought.language)  # noqa: E731
            by = self._views.relations(np.array([relation], np.int32), sought.language)[0]
            facets.append(Facet(by, len(ids), _counted(pairs[1], show)))
        return facets


class _Show(Protocol):
    def __call__(self, ids: npt.NDArray[np.int32], /) -> list[Named]: ...


def _reason(hits: Hits) -> str | None:
    if not hits.nil:
        return None
    return "the matches are guesses: no name and no description is near enough" if hits else "nothing matches"


def _counted(ids: npt.NDArray[np.int32], show: _Show) -> list[FacetValue]:
    distinct, counts = np.unique(ids, return_counts=True)
    order = np.lexsort((distinct, -counts))[:FACET_VALUES]
    named = show(distinct[order].astype(np.int32))
    return [FacetValue(one.id, one.label, int(count)) for one, count in zip(named, counts[order], strict=True)]


def _match(hit: Hit, named: Named, types: list[Named]) -> Match:
    return Match(
        id=named.id,
        label=named.label,
        description=named.description,
        types=types,
        score=float(hit.score),
        matched=hit.matched,
        kind=hit.match_kind,
    )


def _highlighted(result: SearchResult) -> SearchResult:
    words = Question.of(result.query).words
    return replace(
        result,
        matches=[
            replace(
                one,
                highlights=Highlights(
                    *(None if text is None else highlight(text, words) for text in (one.matched, one.description))
                ),
            )
            for one in result.matches
        ],
    )
