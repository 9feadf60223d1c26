"""Reconciliation queries → candidates, each with a score that says what it is made of.

The score is a mean in percent: of how well the name agrees, which counts twice, and of how well each property and each type that
should be there does, which count once. So 100 means that all that was given agrees to the letter, case, accents and punctuation
aside, and a candidate's `features` are the parts. `match` is said of the first candidate alone: its name agrees to the letter, no
property disagrees, the search does not say that nothing fits, and no other candidate is as good.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kgservice.answers import MAX_K, Named
from kgservice.answers.matches import Match, SearchResult
from kgservice.engine import Engine
from kgservice.errors import InvalidQuestion
from kgservice.reconciliation.agreement import Agreement, Condition, of_names

TypeRule = Literal["any", "all", "should"]
_DEPTH = 5
"""Matches looked at for each candidate asked for: what else is given may lift one from below."""


@dataclass(frozen=True)
class Query:
    """One cell, and what its row says beside it.

    Attributes:
        name: what the thing is called; empty where only properties are given.
        id: what it is, where its id is given.
        types: by name.
        type_rule: whether candidates must have one of the types, all, or only should.
        conditions: what else the row says.
        limit: candidates at most.
    """

    name: str = ""
    id: str = ""
    types: tuple[str, ...] = ()
    type_rule: TypeRule = "any"
    conditions: tuple[Condition, ...] = ()
    limit: int = 5


@dataclass(frozen=True)
class Feature:
    """A part of a score, in [0, 1]."""

    id: str
    name: str
    value: float


@dataclass(frozen=True)
class Candidate:
    """An entity that may be meant.

    Attributes:
        score: in [0, 100].
        match: whether it can be taken without asking anybody.
        features: what the score is made of, and whether its type is one asked for.
    """

    id: str
    name: str
    description: str | None
    types: list[Named]
    score: float
    match: bool
    features: list[Feature]


def match(engine: Engine, queries: Sequence[Query], language: str = "en") -> list[list[Candidate]]:
    """The candidates of each query, the best first.

    Raises:
        InvalidQuestion: a limit out of range, or a query with neither name, id nor properties.
        UnknownName: a type or relation that the release does not hold.
    """
    groups: dict[tuple[tuple[str, ...], int], list[int]] = defaultdict(list)
    for place, query in enumerate(queries):
        if not 1 <= query.limit <= MAX_K:
            raise InvalidQuestion(f"limit must be in [1, {MAX_K}], found {query.limit}")
        if not (query.name.strip() or query.id or query.conditions):
            raise InvalidQuestion(f"query {place} has neither a name nor an id nor properties")
        if text := query.id or query.name.strip():
            types = query.types if query.type_rule != "should" else ()
            groups[types, min(MAX_K, query.limit * _DEPTH)].append(place)
            if len(text) > 512:
                raise InvalidQuestion(f"the name of query {place} is longer than 512 letters")
    found: dict[int, SearchResult] = {}
    for (types, depth), places in groups.items():
        texts = [queries[place].id or queries[place].name.strip() for place in places]
        results = engine.search_many(texts, k=depth, types=types, language=language, mode="lexical")
        found.update(zip(places, results, strict=True))
    return [_ranked(engine, query, found.get(place), language) for place, query in enumerate(queries)]


def _ranked(engine: Engine, query: Query, result: SearchResult | None, language: str) -> list[Candidate]:
    agreements = [(condition, Agreement(engine, condition)) for condition in query.conditions]
    wanted = {engine.types.resolve(name) for name in query.types}
    matches = list(result.matches) if result else _holders(engine, query, agreements, language)
    candidates = []
    for one in matches:
        entity = engine.entities.find(one.id)
        held = set(engine.graph.types.of_entity[entity].tolist()) if len(engine.graph.types.of_entity) else set()
        if query.type_rule == "all" and not wanted <= held:
            continue
        parts = [(condition, agreement.of(entity)) for condition, agreement in agreements]
        if any(condition.required and not value for condition, value in parts):
            continue
        candidates.append(_candidate(query, one, parts, bool(wanted & held) if wanted else None))
    candidates.sort(key=lambda one: -one.score)  # stable: of equals the one that the search puts first
    return _decided(candidates[: query.limit], bool(result and result.nil))


def _candidate(query: Query, found: Match, parts: Sequence[tuple[Condition, float]], typed: bool | None) -> Candidate:
    label = found.label or found.id
    features = []
    if query.id:
        features.append(
            Feature("name", "The id agrees", float(query.id in (found.id, found.matched) or found.kind == "exact"))
        )
    elif query.name:
        alike = 1.0 if found.kind == "exact" else of_names(query.name, found.matched or label)
        features.append(Feature("name", "The name agrees", alike))
    weights = [2.0] * len(features)
    for condition, value in parts:
        features.append(Feature(f"property:{condition.relation}", f"{condition.relation} agrees", value))
        weights.append(1.0)
    if typed is not None:
        features.append(Feature("type", "It has a type asked for", float(typed)))
        if query.type_rule == "should":
            weights.append(1.0)
    values = [feature.value for feature in features[: len(weights)]]
    score = 100 * float(np.average(values, weights=weights)) if values else 0.0
    return Candidate(found.id, label, found.description, found.types, round(score, 2), False, features)


def _decided(candidates: list[Candidate], nil: bool) -> list[Candidate]:
    """Say of the first whether it can be taken without asking."""
    if not candidates or nil:
        return candidates
    first, *others = candidates
    agrees = all(
        feature.value == 1.0 if feature.id == "name" else feature.value > 0 for feature in first.features
    ) and any(feature.id == "name" for feature in first.features)
    alone = not others or others[0].score < first.score
    taken = Candidate(
        first.id, first.name, first.description, first.types, first.score, agrees and alone, first.features
    )
    return [taken, *others]


def _holders(
    engine: Engine, query: Query, agreements: Sequence[tuple[Condition, Agreement]], language: str
) -> list[Match]:
    """For a query without a name: the entities that state what it says."""
    ids = dict.fromkeys(one for _, agreement in agreements for one in agreement.holders(query.limit * _DEPTH))
    if query.types and query.type_rule == "any":
        members = {int(one) for name in query.types for one in engine.graph.types.members[engine.types.resolve(name)]}
        ids = {one: None for one in ids if one in members}
    pages = [engine.entity(engine.graph.entities.name(one), language=language, limit=0) for one in ids]
    return [Match(page.id, page.label, page.description, page.types, 0.0, None, "") for page in pages]
