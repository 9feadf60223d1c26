"""What another release answers differently: one question set, asked of two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kgservice.answers import Answer, Named, Question
from kgservice.engine import Engine
from kgservice.errors import InvalidQuestion, UnknownName
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split

MAX_QUESTIONS = 1000


@dataclass(frozen=True)
class Place:
    """An answer and its rank in each release.

    Attributes:
        answer: what fills the hole.
        before, after: its rank; None where it is not among the k best.
        probability_before, probability_after: where they are calibrated.
    """

    answer: Named
    before: int | None
    after: int | None
    probability_before: float | None
    probability_after: float | None


@dataclass(frozen=True)
class Changed:
    """A question that is answered differently.

    Attributes:
        subject, relation, object: the question, with labels; None where the hole is.
        overlap: share of the k best that both name.
        models: which model answered before and after.
        places: every answer whose rank is another, by its rank after, then before.
    """

    subject: Named | None
    relation: Named | None
    object: Named | None
    overlap: float
    models: tuple[str, str]
    places: list[Place]


@dataclass(frozen=True)
class Difference:
    """How two releases answer the same questions.

    Attributes:
        before, after: `id@revision` of each.
        k: answers that were compared of each question.
        asked: how many questions both could answer.
        unanswered: how many one of them could not, since a name is missing there.
        changed: how many have other answers, or the same in another order.
        first_changed: how many have another first answer.
        overlap: the mean share of the k best that both name.
        probability_shift: mean absolute change of probabilities of answers that both name; None where they are not calibrated.
        examples: the questions that changed the most, the most changed first.
    """

    before: str
    after: str
    k: int
    asked: int
    unanswered: int
    changed: int
    first_changed: int
    overlap: float
    probability_shift: float | None
    examples: list[Changed]


def questions_of(graph: KnowledgeGraph, count: int) -> list[Question]:
    """Questions for the objects and the subjects of held-out statements, evenly taken; of all where none is held out."""
    table = graph.statements
    rows = np.flatnonzero((table.split == Split.TEST) | (table.split == Split.VALID))
    rows = rows if len(rows) else np.arange(len(table))
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, -(-count // 2)).astype(np.int64))] if len(rows) else rows
    asked = []
    for row in chosen.tolist():
        subject, relation, object = (
            names.name(int(column[row]))
            for names, column in (
                (graph.entities, table.subject),
                (graph.relations, table.relation),
                (graph.entities, table.object),
            )
        )
        asked += [Question(subject=subject, relation=relation), Question(relation=relation, object=object)]
    return asked[:count]


def difference(
    before: Engine,
    after: Engine,
    *,
    questions: Sequence[Question] | None = None,
    k: int = 10,
    count: int = 200,
    shown: int = 20,
    language: str = "en",
) -> Difference:
    """Ask both the same.

    Args:
        before, after: two engines.
        questions: what is asked; by default `count` questions about statements that `before` held out.
        k: answers compared of each.
        count: of questions, where none are given; at most 1,000.
        shown: examples at most.
        language: of labels.
    """
    if not 1 <= count <= MAX_QUESTIONS:
        raise InvalidQuestion(f"between 1 and {MAX_QUESTIONS:,} questions can be compared, found {count:,}")
    asked = list(questions) if questions is not None else questions_of(before.graph, count)
    pairs = _answered(before, after, asked, k, language)
    changes = [_changed(one, other) for one, other in pairs]
    moved = [change for change in changes if change.places]
    shifts = [shift for one, other in pairs for shift in _shifts(one, other)]
    firsts = [(one.candidates[:1], other.candidates[:1]) for one, other in pairs]
    return Difference(
        before=before.release_name,
        after=after.release_name,
        k=k,
        asked=len(pairs),
        unanswered=len(asked) - len(pairs),
        changed=len(moved),
        first_changed=sum([one.id for one in first] != [one.id for one in second] for first, second in firsts),
        overlap=float(np.mean([change.overlap for change in changes])) if changes else 1.0,
        probability_shift=float(np.mean(shifts)) if shifts else None,
        examples=sorted(moved, key=lambda change: (change.overlap, -len(change.places)))[:shown],
    )


def _answered(
    before: Engine, after: Engine, asked: Sequence[Question], k: int, language: str
) -> list[tuple[Answer, Answer]]:
    """Both answers of every question that both can answer: of all at once, or of halves where one names what is missing."""
    try:
        one, other = (engine.complete(asked, k=k, language=language) for engine in (before, after))
        return list(zip(one, other, strict=True))
    except UnknownName:
        if len(asked) == 1:
            return []
    half = len(asked) // 2
    return [pair for part in (asked[:half], asked[half:]) for pair in _answered(before, after, part, k, language)]


def _changed(before: Answer, after: Answer) -> Changed:
    ranked = {one.id: one for one in before.candidates}, {one.id: one for one in after.candidates}
    places = []
    for id in dict.fromkeys([*ranked[1], *ranked[0]]):
        one, other = (found.get(id) for found in ranked)
        held = other or one
        assert held is not None
        if one is None or other is None or one.rank != other.rank:
            places.append(
                Place(
                    Named(id, held.label, held.description),
                    one.rank if one else None,
                    other.rank if other else None,
                    one.probability if one else None,
                    other.probability if other else None,
                )
            )
    most = max(map(len, ranked))
    overlap = len(ranked[0].keys() & ranked[1].keys()) / most if most else 1.0
    echo = after.subject, after.relation, after.object
    return Changed(*echo, overlap, (before.model, after.model), places)


def _shifts(before: Answer, after: Answer) -> list[float]:
    """How far the probabilities of answers that both name lie apart."""
    said = {one.id: one.probability for one in before.candidates}
    pairs = [(said.get(one.id), one.probability) for one in after.candidates]
    return [abs(one - other) for one, other in pairs if one is not None and other is not None]
