"""What a search found, as people read it: labels, descriptions and types beside the ids of hits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kgservice.answers import Match, SearchResult
from kgservice.search import Hits
from kgservice.views import Views


class Finding:
    """Shows the hits of one graph.

    Args:
        views: how its names are shown.
        release: named by every result.
        language: of labels and descriptions.
    """

    def __init__(self, views: Views, release: str, language: str) -> None:
        self.views, self.release, self.language = views, release, language

    def results(self, queries: Sequence[str], found: Sequence[Hits], dense: bool) -> list[SearchResult]:
        """The result of each query; texts of all of them are looked up together."""
        ids = np.array([hit.entity for hits in found for hit in hits], dtype=np.int32)
        named = iter(self.views.entities(ids, self.language, describe=True))
        types = iter(self.views.types_of(ids, self.language))
        return [
            SearchResult(
                self.release,
                query,
                dense,
                [
                    Match(
                        id=one.id,
                        label=one.label,
                        description=one.description,
                        types=next(types),
                        score=float(hit.score),
                        matched=hit.matched,
                        kind=hit.match_kind,
                    )
                    for hit, one in zip(hits, named, strict=False)
                ],
            )
            for query, hits in zip(queries, found, strict=True)
        ]
