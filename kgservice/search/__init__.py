"""Which entity do you mean: names by words and typos, descriptions by meaning."""

from __future__ import annotations

from kgservice.search.entity_search import EntitySearch
from kgservice.search.hits import Hit, Hits, MatchKind, Mode
from kgservice.search.layered import LayeredSearch, Remembering, Segment, segments

__all__ = ["EntitySearch", "Hit", "Hits", "LayeredSearch", "MatchKind", "Mode", "Remembering", "Segment", "segments"]
