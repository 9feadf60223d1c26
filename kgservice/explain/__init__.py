"""Why a statement is thought true: paths, rules, entities alike, and what its score rests on."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kgservice.answers import Named, Verdict
from kgservice.answers.explanations import (
    AlikeLink,
    Deletion,
    End,
    EvidencePath,
    Explanation,
    Link,
    PathStep,
    ReadPart,
    Rule,
    RuleAtom,
    Test,
)
from kgservice.explain import deletion, paths, rules, teaching
from kgservice.explain.adjacency import LEARNT, Adjacency
from kgservice.explain.picture import picture
from kgservice.explain.sentence import call, sentence
from kgservice.graph import KnowledgeGraph
from kgservice.graph.views import Views
from kgservice.query import QueryBatch, Slot
from kgservice.release.served import ServedModel
from kgservice.scorers.attribution import read_for
from kgservice.scorers.contextual import ContextScorer

__all__ = ["MAX_SHOWN", "AlikeLink", "Deletion", "EvidencePath", "Explaining", "Explanation", "Link", "Rule", "picture"]

MAX_SHOWN = 50
"""Of each kind of evidence."""
BODIES = 30
"""Rules counted for one statement: those of the most telling paths."""
ALIKE = 100_000
"""Entities with the same link that are compared."""

Ids = npt.NDArray[np.int32]
Body = tuple[int, ...]


class Explaining:
    """Explains statements about one graph by what its models learnt from, which held-out statements are no part of.

    Args:
        graph: what they are about.
        views: how its names are shown.
    """

    def __init__(self, graph: KnowledgeGraph, views: Views) -> None:
        self.graph, self.views = graph, views
        self._counted: dict[tuple[int, Body], rules.Counted] = {}
        self._building = threading.Lock()

    def explain(
        self, served: ServedModel, asked: QueryBatch, verdicts: Sequence[Verdict], k: int, language: str
    ) -> list[Explanation]:
        """Why each statement is thought true.

        Args:
            served: the model asked.
            asked: whole statements, as questions for their objects.
            verdicts: the model's, one of each.
            k: paths, rules, entities and facts shown of each statement.
            language: of labels.
        """
        return [self._explain(served, asked.take([row]), verdict, k, language) for row, verdict in enumerate(verdicts)]

    @property
    def adjacency(self) -> Adjacency:
        """The graph as edges, made at first use."""
        with self._building:
            return self._adjacency

    @cached_property
    def _adjacency(self) -> Adjacency:
        return Adjacency.of(self.graph)

    def _explain(self, served: ServedModel, asked: QueryBatch, verdict: Verdict, k: int, language: str) -> Explanation:
        found = paths.between(self.adjacency, *(int(part[0]) for part in (asked.subject, asked.relation, asked.object)))
        bodies, counted = self._rules(found, asked)
        ruled = [self._rule(body, one, verdict.relation, language) for body, one in zip(bodies, counted, strict=True)]
        walks = self._paths(found, bodies, k, language)
        alike = self._alike(served, asked, k, language)
        taken, tested, test = self._deletions(served, asked, k, language)
        shown = ruled[:k]
        walks = [walk if walk.rule is None or walk.rule < k else EvidencePath(walk.steps, None) for walk in walks]
        said = sentence(verdict, walks, shown, alike, taken, test)
        return Explanation(verdict, said, walks, shown, alike, taken, tested, _read(served, asked), test)

    def _rules(self, found: paths.Paths, asked: QueryBatch) -> tuple[list[Body], list[rules.Counted]]:
        """What the paths are instances of and other pairs bear out, the most reliable first."""
        adjacency, relation = self.adjacency, int(asked.relation[0])
        bodies = list(dict.fromkeys(tuple(step for step in body if step >= 0) for body in found.body.tolist()))[:BODIES]
        stated = bool(np.isin(asked.object[0], self.graph.known(asked.asking(Slot.OBJECT), splits=LEARNT)[0]))
        ranked = []
        for body in bodies:
            key = relation, body
            if key not in self._counted:
                self._counted[key] = rules.count(adjacency, relation, body)
            counted = self._counted[key]
            if stated and counted.whole:
                counted = counted.without_one()
            if counted.support > 0:
                ranked.append((body, counted))
        ranked.sort(key=lambda one: (-one[1].cautious, len(one[0]), one[0]))
        return [body for body, _ in ranked], [one for _, one in ranked]

    def _rule(self, body: Body, counted: rules.Counted, head: Named, language: str) -> Rule:
        r = self.adjacency.r
        named = self.views.relations(np.array([step % r for step in body], np.int32), language)
        atoms = [RuleAtom(relation, step < r) for relation, step in zip(named, body, strict=True)]
        ends = ["x", *"zw"[: len(body) - 1], "y"]
        walked = [
            f"{call(atom.relation)}({start}, {end})" if atom.forward else f"{call(atom.relation)}({end}, {start})"
            for atom, start, end in zip(atoms, ends[:-1], ends[1:], strict=True)
        ]
        return Rule(
            body=atoms,
            text=f"{' ∧ '.join(walked)} ⇒ {call(head)}(x, y)",
            confidence=counted.confidence,
            pca_confidence=counted.pca_confidence,
            support=counted.support,
            pairs=counted.pairs,
            coverage=counted.support / counted.heads if counted.whole and counted.heads else None,
            whole=counted.whole,
        )

    def _paths(self, found: paths.Paths, bodies: Sequence[Body], k: int, language: str) -> list[EvidencePath]:
        """The best `k`: by their rules, then the less common the entities in between."""
        place = {body: turn for turn, body in enumerate(bodies)}
        of = [place.get(tuple(step for step in body if step >= 0), len(bodies)) for body in found.body.tolist()]
        chosen = np.lexsort((found.commonness, np.array(of, dtype=np.int64)))[:k]
        walked = found.row[chosen]
        links = iter(self._links(walked[walked >= 0], language))
        r = self.adjacency.r
        return [
            EvidencePath(
                [PathStep(next(links), step < r) for step in found.body[turn].tolist() if step >= 0],
                of[turn] if of[turn] < len(bodies) else None,
            )
            for turn in chosen.tolist()
        ]

    def _links(self, rows: npt.NDArray[np.int64], language: str) -> list[Link]:
        table = self.graph.statements
        named = (
            self.views.entities(table.subject[rows], language),
            self.views.relations(table.relation[rows], language),
            self.views.entities(table.object[rows], language),
        )
        return [Link(*parts) for parts in zip(*named, strict=True)]

    def _alike(self, served: ServedModel, asked: QueryBatch, k: int, language: str) -> list[AlikeLink]:
        """Entities of which the same is stated, by the cosine of their vectors with those of the ends."""
        ends: list[tuple[End, Slot, Ids]] = [
            ("subject", Slot.SUBJECT, asked.subject),
            ("object", Slot.OBJECT, asked.object),
        ]
        found: list[tuple[float, End, int]] = []
        for end, slot, own in ends:
            others = self.graph.known(asked.asking(slot), splits=LEARNT)[0][:ALIKE]
            others = others[(others != own[0]) & ~self.graph.erased[others]]
            others = others[served.knows(others)]
            vectors = served.vectors[np.append(others, own)].astype(np.float64)
            lengths = np.linalg.norm(vectors, axis=1)
            if not lengths[-1]:
                continue
            cosine = vectors[:-1] @ vectors[-1] / np.maximum(lengths[:-1] * lengths[-1], 1e-12)
            best = np.lexsort((others, -cosine))[:k]
            found += [(float(cosine[turn]), end, int(others[turn])) for turn in best]
        found = sorted(found, key=lambda one: -one[0])[:k]
        subject, relation, object = (int(part[0]) for part in (asked.subject, asked.relation, asked.object))
        column = np.array(
            [[one if end == "subject" else subject, one if end == "object" else object] for _, end, one in found]
        )
        column = column.reshape(-1, 2).astype(np.int32)
        subjects, objects = (self.views.entities(column[:, place], language) for place in (0, 1))
        named = self.views.relations(np.array([relation], np.int32), language)[0]
        return [
            AlikeLink(end, cosine, Link(one, named, other))
            for (cosine, end, _), one, other in zip(found, subjects, objects, strict=True)
        ]

    def _deletions(
        self, served: ServedModel, asked: QueryBatch, k: int, language: str
    ) -> tuple[list[Deletion], int, Test | None]:
        test: Test
        if deletion.testable(served):
            test, falls = "vector", deletion.falls(served, self.adjacency, asked)
        elif teaching.testable(served):
            test, falls = "step", teaching.falls(served, self.graph, self.adjacency, asked)
        else:
            return [], 0, None
        best = np.lexsort((falls.row, -falls.fall))[:k]
        views = self.views.statements(falls.row[best], language)
        return (
            [
                Deletion(fact, "subject" if falls.of[turn] is Slot.SUBJECT else "object", float(falls.fall[turn]))
                for fact, turn in zip(views, best.tolist(), strict=True)
            ],
            len(falls.row),
            test,
        )


def _read(served: ServedModel, asked: QueryBatch) -> list[ReadPart]:
    """What a model that reads contexts has read, the statement itself left out, and what each part is worth."""
    if not isinstance(served.scorer, ContextScorer):
        return []
    parts = read_for(served.scorer, asked.asking(Slot.OBJECT), asked.object, served.vectors)[0]
    return [ReadPart(part.segment.value, part.text, part.score, part.log_probability) for part in parts]
