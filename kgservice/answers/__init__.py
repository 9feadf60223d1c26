"""Questions and answers in the user's words: what every door (REST, terminal, batch) takes and gives.

Ids are CURIEs where a prefix fits, labels stand beside them, and every answer names the release it comes from.
"""

from __future__ import annotations

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
        if isinstance(self.subject, Described):
            return self.subject
        return self.object if isinstance(self.object, Described) else None

    @property
    def slot(self) -> Slot:
        """The part that is missing.

        Raises:
            InvalidQuestion: none is, or more than one.
        """
        parts = (Slot.SUBJECT, self.subject), (Slot.RELATION, self.relation), (Slot.OBJECT, self.object)
        missing = [slot for slot, part in parts if not part]
        if self.qualifiers:
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
