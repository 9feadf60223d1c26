"""How questions may be asked, beside what they ask: the same words for the engine and for a client of a service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

from kgservice.answers import Described

Filter = str | tuple[str, str]
"""A statement without its subject: `RELATION=OBJECT`, or the two."""


class CompleteOptions(TypedDict, total=False):
    """See `Engine.complete`."""

    k: int
    types: Sequence[str]
    filters: Sequence[Filter]
    exclude_known: bool
    model: str | None
    fuse: bool
    language: str


class ClassifyOptions(TypedDict, total=False):
    """See `Engine.classify`."""

    model: str | None
    language: str


class ExplainOptions(TypedDict, total=False):
    """See `Engine.explain`."""

    k: int
    model: str | None
    language: str


class SearchOptions(TypedDict, total=False):
    """See `Engine.search_many`."""

    k: int
    types: Sequence[str]
    filters: Sequence[Filter]
    language: str
    mode: Literal["auto", "lexical", "dense"]
    facets: bool
    facet_by: Sequence[str]
    highlight: bool


class SimilarOptions(TypedDict, total=False):
    """See `Engine.similar_to`."""

    k: int
    model: str | None
    types: Sequence[str]
    language: str


class TypesOptions(TypedDict, total=False):
    """See `Engine.types_of`."""

    types: Sequence[str | Described]
    k: int
    model: str | None
    exclude_known: bool
    language: str
