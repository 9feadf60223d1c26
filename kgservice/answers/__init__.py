"""Questions and answers in the user's words: what every door (REST, terminal, batch) takes and gives.

Ids are CURIEs where a prefix fits, labels stand beside them, and every answer names the release it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kgservice.errors import InvalidQuestion
from kgservice.query import Slot

MAX_K = 1000
MAX_PAIRS = 100
MAX_STATEMENTS = 1000

Decision = Literal["accept", "reject", "abstain"]
Basis = Literal["model", "median"]
Kind = Literal["number", "year"]
TypeBasis = Literal["examples", "text"]


@dataclass(frozen=True)
class Pair:
    """A qualifier: a relation and its value, in the user's words.

    Attributes:
        relation: an id, CURIE or IRI.
        value: an entity in the same way, or a number (`12.5`), a year (`1960`), a date (`1960-02-29`) or any literal in
            N-Triples form; None where it is what the question asks for.
    """

    relation: str
    value: str | None = None


@dataclass(frozen=True)
class Described:
    """An entity or type that the graph need not hold, by what is written of it; the texts are data, read by an encoder alone."""

    label: str = ""
    description: str = ""
    types: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """A statement with exactly one part missing, in the user's words: ids, CURIEs or IRIs.

    Attributes:
        subject, relation, object: one of them None, or all there and the value of one qualifier None. An entity may be described
            instead of named, where the other one is asked for.
        qualifiers: what holds beside the statement, in any order.
    """

    subject: str | Described | None = None
    relation: str | None = None
    object: str | Described | None = None
    qualifiers: tuple[Pair, ...] = ()

    @property
    def described(self) -> Described | None:
        """The entity that is described, where one is."""
        return next((part for part in (self.subject, self.object) if isinstance(part, Described)), None)

    @property
    def slot(self) -> Slot:
        """The part that is missing.

        Raises:
            InvalidQuestion: none is, or more than one.
        """
        missing = [slot for slot in (Slot.SUBJECT, Slot.RELATION, Slot.OBJECT) if not getattr(self, slot.value)]
        missing += [Slot.QUALIFIER for pair in self.qualifiers if not pair.value]
        if len(missing) != 1:
            found = "none is" if not missing else " and ".join(missing) + " are"
            raise InvalidQuestion(
                "exactly one of subject, relation, object and the values of qualifiers must be missing; " + found
            )
        return missing[0]

    @property
    def asked(self) -> str | None:
        """The relation of the qualifier whose value is asked for."""
        return next((pair.relation for pair in self.qualifiers if not pair.value), None)

    @property
    def given(self) -> tuple[Pair, ...]:
        """The qualifiers whose values are known."""
        return tuple(pair for pair in self.qualifiers if pair.value)


@dataclass(frozen=True)
class Statement:
    """A whole statement in the user's words, with what holds beside it."""

    subject: str
    relation: str
    object: str
    qualifiers: tuple[Pair, ...] = ()


@dataclass(frozen=True)
class Named:
    """Something with an id that every endpoint takes, and what people call it."""

    id: str
    label: str | None
    description: str | None = None


@dataclass(frozen=True)
class Candidate:
    """One way to fill the hole.

    Attributes:
        id, label, description: of the entity or relation.
        score: the model's, higher is better; comparable within one answer only.
        probability: that this is a true answer, where the model was calibrated and the graph does not state it already.
        rank: from 1.
        known: whether the graph states it.
        uncertainty: how much wider than the median entity's the model's idea of this one is (1 is the median); None where
            the model keeps no spread.
    """

    id: str
    label: str | None
    description: str | None
    score: float
    probability: float | None
    rank: int
    known: bool
    uncertainty: float | None


@dataclass(frozen=True)
class Neighbour:
    """An entity whose number is stated, and how alike the one asked for is.

    Attributes:
        entity: which one.
        value: what the graph states of it.
        similarity: of the model's two vectors, in [0, 1].
    """

    entity: Named
    value: float
    similarity: float


@dataclass(frozen=True)
class Estimate:
    """A number that fills the hole, where the relation links no entities.

    Attributes:
        value: the estimate, made without what the graph states of this very entity; a date is its year and the part of it
            gone by: 1952.5 is July 1952.
        low, high: the interval.
        coverage: share of such intervals that hold the true number.
        kind: whether it is a number or a year.
        basis: what gave it: the model's vectors, or the median where they do no better or do not know the entity.
        known: how many entities the graph states it for.
        stated: what the graph states already.
        evidence: the known entities most alike, the first the most; empty for a median.
    """

    value: float
    low: float
    high: float
    coverage: float
    kind: Kind
    basis: Basis
    known: int
    stated: list[Value]
    evidence: list[Neighbour]


@dataclass(frozen=True)
class Answer:
    """The candidates for one question, or the estimate of a number.

    Attributes:
        release: `id@revision` of what answered.
        model: name of the model.
        subject, relation, object: the question echoed, None where the hole is.
        qualifiers: its qualifiers echoed; a value that is asked for has neither id nor label.
        exact: whether every candidate was scored.
        population: what a probability speaks of, or None where the model is not calibrated.
        candidates: the best first; empty where there is an estimate.
        estimate: where the relation links no entities but states numbers or dates; else None.
    """

    release: str
    model: str
    subject: Named | None
    relation: Named | None
    object: Named | None
    qualifiers: list[QualifierView]
    exact: bool
    population: str | None
    candidates: list[Candidate]
    estimate: Estimate | None = None


@dataclass(frozen=True)
class Verdict:
    """Whether one statement is true.

    Attributes:
        qualifiers: of the statement.
        score: the model's, mean of both directions.
        probability: that it is true, where the model is calibrated.
        decision: accept, reject, or abstain where neither is right often enough on validation data for this relation;
            None where the model is not calibrated.
        threshold: the probability from which calling statements true gives the best F1 on validation data.
        accept_from: the probability from which statements of this relation are accepted; 1 where none is.
        reject_to: the probability up to which they are rejected; 0 where none is.
        population: what the probability speaks of.
        known: whether the graph states it.
        uncertainty: of subject and object the larger; see `Candidate`.
    """

    release: str
    model: str
    subject: Named
    relation: Named
    object: Named
    qualifiers: list[QualifierView]
    score: float
    probability: float | None
    decision: Decision | None
    threshold: float | None
    accept_from: float | None
    reject_to: float | None
    population: str | None
    known: bool
    uncertainty: float | None


@dataclass(frozen=True)
class Value:
    """An entity, or a literal with its datatype.

    Attributes:
        image: where the file can be fetched that a literal names, if that is an image.
    """

    id: str | None
    label: str | None
    datatype: str | None = None
    language: str | None = None
    image: str | None = None


@dataclass(frozen=True)
class QualifierView:
    """A relation and a value that hold beside a statement."""

    relation: Named
    value: Value


@dataclass(frozen=True)
class StatementView:
    """A statement of the graph with its qualifiers, labels resolved."""

    subject: Named
    relation: Named
    object: Value
    qualifiers: list[QualifierView] = field(default_factory=list)


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
