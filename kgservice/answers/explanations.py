"""Why a statement is thought true, in the user's words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from kgservice.answers import Named, StatementView, Verdict

End = Literal["subject", "object"]
Test = Literal["vector", "step"]
"""How a fact is taken away: an end's vector found anew without it, or a step of learning on it taken back."""


@dataclass(frozen=True)
class Link:
    """A stated link between two entities.

    Attributes:
        subject, relation, object: as it is stated.
    """

    subject: Named
    relation: Named
    object: Named


@dataclass(frozen=True)
class PathStep:
    """One statement of a path.

    Attributes:
        link: as it is stated.
        forward: whether the path goes from its subject to its object.
    """

    link: Link
    forward: bool


@dataclass(frozen=True)
class EvidencePath:
    """A walk of at most three statements from subject to object that visits no entity twice.

    Attributes:
        steps: in the order of the walk.
        rule: the place of the rule that it is an instance of in `rules`; None where that is not among them.
    """

    steps: list[PathStep]
    rule: int | None


@dataclass(frozen=True)
class RuleAtom:
    """One step of a rule's body.

    Attributes:
        relation: what is walked along.
        forward: whether from its subject to its object.
    """

    relation: Named
    forward: bool


@dataclass(frozen=True)
class Rule:
    """Where a walk of this kind links two entities, the relation often does too.

    Attributes:
        body: the walk, from the statement's subject to its object.
        text: the rule in letters, such as `capitalOf(x, z) ∧ locatedIn(z, y) ⇒ country(x, y)`.
        confidence: share of `pairs` that the relation links.
        pca_confidence: the same among pairs whose first entity has the relation stated at all.
        support: how many pairs the relation links.
        pairs: how many pairs the body links; the statement's own is left out.
        coverage: share of the relation's statements that the body links too; None where not all were counted.
        whole: whether all entities were counted, or an even sample.
    """

    body: list[RuleAtom]
    text: str
    confidence: float
    pca_confidence: float
    support: int
    pairs: int
    coverage: float | None
    whole: bool


@dataclass(frozen=True)
class AlikeLink:
    """An entity like one end of the statement, of which the same is stated.

    Attributes:
        end: which end it is like.
        similarity: the cosine of the model's two vectors.
        link: what is stated of it.
    """

    end: End
    similarity: float
    link: Link


@dataclass(frozen=True)
class Deletion:
    """A fact, and what the score would be without it.

    Attributes:
        fact: what is stated.
        end: whose fact it is.
        fall: how much lower the score is without it; negative where it is higher. Where the explanation's `test` is `step`, how
            much lower one step's worth of it less leaves the score, to first order: it orders facts, and is no whole difference.
    """

    fact: StatementView
    end: End
    fall: float


@dataclass(frozen=True)
class ReadPart:
    """A part of what a model read of the subject to judge the statement.

    Attributes:
        segment: question, description, hint, visual, neighbour-visual or neighbours.
        text: what it says, marks in square brackets.
        fall: how much lower the object's score is without it; None for the question itself.
        name_fall: the same of the logarithm of the probability that its name is written; None where names are not.
    """

    segment: str
    text: str
    fall: float | None
    name_fall: float | None


@dataclass(frozen=True)
class Explanation:
    """Why a statement is thought true, or not.

    Attributes:
        verdict: the statement, its score and probability, and the release and model that gave them.
        sentence: the best of what follows in words.
        paths: short walks between its ends, those of the most reliable rules first.
        rules: what the paths are instances of, the most reliable first.
        alike: entities like its ends that have the same link, the most alike first.
        deletions: facts of its ends, those whose loss lowers the score the most first.
        tested: how many facts were taken away in turn; 0 where the model's parts of what it `read` are left out instead.
        read: what a model that reads contexts has read; empty for others.
        test: how facts were taken away: `vector`, an end's vector found anew without each; `step`, where all entities share what
            was learnt, one step of learning on each taken back; None where no fact was.
    """

    verdict: Verdict
    sentence: str
    paths: list[EvidencePath]
    rules: list[Rule]
    alike: list[AlikeLink]
    deletions: list[Deletion]
    tested: int
    read: list[ReadPart] = field(default_factory=list)
    test: Test | None = None
