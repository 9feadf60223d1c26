"""What the graph and its models say of one entity, of relations, and of entities beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from kgservice.answers import Named, StatementView

TypeBasis = Literal["examples", "text"]


@dataclass(frozen=True)
class TypeCandidate:
    """A type that an entity may have.

    Attributes:
        id: empty for one that was described.
        probability: calibrated, of having it beside any others.
        known: the graph states it.
        rank: from 1.
        basis: what it is told by: the entities that are known to have it, or its text where they are too few.
    """

    id: str
    label: str | None
    description: str | None
    probability: float
    known: bool
    rank: int
    basis: TypeBasis


@dataclass(frozen=True)
class TypesAnswer:
    """Which types an entity has.

    Attributes:
        candidates: the likeliest first.
        population: among what the probabilities were calibrated.
    """

    release: str
    model: str
    entity: Named
    candidates: list[TypeCandidate]
    population: str


@dataclass(frozen=True)
class LikeEntity:
    """An entity that is like another.

    Attributes:
        rank: from 1.
        similarity: the cosine of the two vectors, in [-1, 1]; compares within one model.
    """

    rank: int
    id: str
    label: str | None
    description: str | None
    types: list[Named]
    similarity: float


@dataclass(frozen=True)
class LikeAnswer:
    """Which entities are like one.

    Attributes:
        similar: the most alike first.
    """

    release: str
    model: str
    entity: Named
    similar: list[LikeEntity]


@dataclass(frozen=True)
class EntityPage:
    """What the graph holds about one entity.

    Attributes:
        labels, descriptions: by language.
        aliases: by language.
        statements: where it is the subject, literals included, then where it is the object.
        statement_count: how many there are in all.
        uncertainty: by model that keeps one; see `Candidate`.
    """

    release: str
    id: str
    iri: str
    label: str | None
    description: str | None
    labels: Mapping[str, str]
    descriptions: Mapping[str, str]
    aliases: Mapping[str, list[str]]
    types: list[Named]
    statements: list[StatementView]
    statement_count: int
    uncertainty: Mapping[str, float]


@dataclass(frozen=True)
class RelationSummary:
    """A relation of the graph.

    Attributes:
        statements: how many have it.
        qualifying: how many pairs beside statements have it.
        links: whether it links entities; else it states numbers, dates or texts.
    """

    id: str
    label: str | None
    description: str | None
    statements: int
    qualifying: int
    links: bool


@dataclass(frozen=True)
class RelationList:
    """Relations, the most used first.

    Attributes:
        total: how many fit, of which `relations` are the first.
    """

    release: str
    total: int
    relations: list[RelationSummary]


@dataclass(frozen=True)
class MapPoint:
    """An entity as a point of a plane.

    Attributes:
        x, y: in [-1, 1], of one scale.
        kind: the place of its type among the map's `kinds`; -1 for a further type or none.
        links: training statements it is subject or object of.
    """

    id: str
    label: str | None
    x: float
    y: float
    kind: int
    links: int


@dataclass(frozen=True)
class EntityMap:
    """Entities near each other where their vectors are.

    Attributes:
        among: how many entities the release holds, of which the best-connected are points.
        kinds: the commonest types, the first the commonest.
        points: the best-connected first.
    """

    release: str
    model: str
    among: int
    kinds: list[Named]
    points: list[MapPoint]
