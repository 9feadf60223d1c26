"""What a model puts into the hole of a question: candidates with probabilities, or the estimate of a number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from kgservice.answers import (
    Answer,
    Described,
    Estimate,
    Named,
    Neighbour,
    QualifierView,
)
from kgservice.arrays.ragged import Ragged
from kgservice.engine.filled import Echo, Filled, Made, Wanted
from kgservice.errors import InvalidQuestion
from kgservice.evaluation.populations import completion_feature
from kgservice.graph import KnowledgeGraph
from kgservice.graph.views import Views
from kgservice.heads.estimates import FEWEST, Known
from kgservice.heads.regression import COVERAGE
from kgservice.index import Found
from kgservice.query import QueryBatch, Slot
from kgservice.recipe.template import Template
from kgservice.release.served import ServedModel
from kgservice.scorers.text import TextScorer
from kgservice.seeking import seek

Search = Callable[[int, Ragged | None, npt.NDArray[np.bool_] | None], Found]


@dataclass(frozen=True)
class Asked:
    """Questions, and what searches their candidates.

    Attributes:
        slot: what is missing.
        count: questions.
        search: the best candidates of each, see `Searcher.search`.
        exact: whether all entities were looked at.
        by: int32 `[b]`, the relation that calibrates each.
        known, loops: ragged `[b]`, what the graph states already, and the entity itself.
        echo, pairs: the question, as it is shown.
    """

    slot: Slot
    count: int
    search: Search
    exact: bool
    by: npt.NDArray[np.int32]
    known: Ragged
    loops: Ragged
    echo: Sequence[Echo]
    pairs: Sequence[list[QualifierView]]


class Completion:
    """Completes the questions of one graph.

    Args:
        graph: what is asked about.
        views: how its names are shown.
        release: named by every answer.
    """

    def __init__(self, graph: KnowledgeGraph, views: Views, release: str) -> None:
        self.graph, self.views, self.release = graph, views, release

    def candidates(self, served: ServedModel, batch: QueryBatch, wanted: Wanted) -> Filled:
        """The best entities or relations for the hole of each question.

        Args:
            served: the model asked.
            batch: questions for the same part.
            wanted: how many, and which.
        """
        graph, slot, language = self.graph, batch.slot, wanted.language
        if slot is Slot.RELATION:
            wanted = replace(wanted, allow=graph.linking)
        with torch.inference_mode():
            vectors = served.scorer.query_vectors(batch)
        echo, pairs = self.views.echo(batch, language), self.views.pairs(batch, language)
        by = batch.asked if slot is Slot.QUALIFIER else batch.relation
        index = served.relation_index if slot is Slot.RELATION else served.index
        search = partial(seek, served.scorer, index, batch, vectors)
        asked = Asked(slot, len(batch), search, index.exact, by, graph.stated(batch), graph.loops(batch), echo, pairs)
        return self._filled(served, asked, wanted)

    def described(
        self,
        served: ServedModel,
        slot: Slot,
        entities: Sequence[Described],
        relation: npt.NDArray[np.int32],
        wanted: Wanted,
    ) -> Filled:
        """The same for entities that are described, by a scorer that reads texts; nothing is known of them.

        Args:
            served: the model asked.
            slot: subject or object, whichever is missing.
            entities: the known entity of each question.
            relation: int32 `[b]`.
            wanted: as for `candidates`.
        """
        scorer = served.scorer
        assert isinstance(scorer, TextScorer)
        template = Template.parse(scorer.settings.template)
        texts = [
            template.fill(
                {
                    "label": one.label,
                    "description": one.description,
                    "types": ", ".join(one.types),
                    "aliases": ", ".join(one.aliases),
                }
            )
            for one in entities
        ]
        if missing := [place for place, text in enumerate(texts) if not text]:
            raise InvalidQuestion(
                f"entity {missing[0]} of those described has no text: model {served.name!r} reads {scorer.settings.template}"
            )
        directed = torch.from_numpy(relation.astype(np.int64) + (scorer.r if slot is Slot.SUBJECT else 0))
        with torch.inference_mode():
            vectors = scorer.ask(torch.from_numpy(scorer.read_texts(texts)), directed)
        named = [Named("", one.label or None, one.description or None) for one in entities]
        relations = self.views.relations(relation, wanted.language)
        ends = [(one, None) if slot is Slot.OBJECT else (None, one) for one in named]
        echo = [(subject, how, object) for (subject, object), how in zip(ends, relations, strict=True)]
        nothing = Ragged.empty(len(texts))
        search, exact = partial(served.index.search, vectors), served.index.exact
        asked = Asked(slot, len(texts), search, exact, relation, nothing, nothing, echo, [[] for _ in texts])
        return self._filled(served, asked, replace(wanted, exclude_known=True))  # nothing is

    def _filled(self, served: ServedModel, asked: Asked, wanted: Wanted) -> Filled:
        slot, known, loops, k, allow = asked.slot, asked.known, asked.loops, wanted.k, wanted.allow
        calibration = served.calibrations.get(slot.value)
        # A probability is read off a candidate's share among the `width` best unknown ones: see calibration.
        width = max(k, served.settings.calibration.width) if calibration else k
        ids, scores = asked.search(width, known.union(loops), allow)
        probability: npt.NDArray[np.float64] | None = None
        if calibration:
            share = completion_feature(scores[:, : served.settings.calibration.width])[:, :k]  # no more are shown
            of = -1 if slot is Slot.RELATION else asked.by[:, None]
            probability = calibration.probability(share, of)
            if (missing := k - probability.shape[1]) > 0:
                probability = np.pad(probability, ((0, 0), (0, missing)), constant_values=0.0)
        is_known = np.zeros(ids.shape, dtype=bool)
        if not wanted.exclude_known:
            ids, scores, probability, is_known = _with_known(asked.search, known, loops, allow, k, probability)
        ids, relations = ids[:, :k], slot is Slot.RELATION
        return Filled(
            self.release,
            served.name,
            asked.exact,
            calibration.population if calibration else None,
            asked.echo,
            asked.pairs,
            relations,
            ids,
            scores[:, :k],
            None if probability is None else probability[:, :k],
            is_known[:, :k],
            None if relations else served.uncertainties(ids),
            self.views,
            wanted.language,
        )

    def numbers(self, served: ServedModel, batch: QueryBatch, typed: bool, language: str) -> Made:
        """Estimates, for questions whose relations link no entities.

        Args:
            served: the model asked.
            batch: questions for objects.
            typed: whether candidates were restricted by types or filters, which is an error.
            language: of the evidence.

        Raises:
            InvalidQuestion: types or qualifiers are given, or too few numbers are known.
        """
        if typed or len(batch.qualifier_value.values):
            raise InvalidQuestion(
                f"{self.views.relation_name(batch.relation[0])!r} links no entities: an estimate of its value takes neither "
                "types nor qualifiers"
            )
        echo = self.views.echo(batch, language)
        answers: dict[int, Answer] = {}
        for relation in np.unique(batch.relation).tolist():
            rows = np.flatnonzero(batch.relation == relation)
            found = self._estimates(served, relation, batch.subject[rows], language)
            for row, estimate in zip(rows.tolist(), found, strict=True):
                answers[row] = Answer(
                    self.release,
                    served.name,
                    *echo[row],
                    qualifiers=[],
                    exact=True,
                    population=None,
                    candidates=[],
                    estimate=estimate,
                )
        return Made([answers[row] for row in range(len(batch))])

    def _estimates(
        self, served: ServedModel, relation: int, entity: npt.NDArray[np.int32], language: str
    ) -> list[Estimate]:
        """Of each entity for one relation."""
        estimates = served.estimates
        place = estimates.place(relation)
        if place is None:
            count, name = len(Known.of(self.graph, relation).entity), self.views.relation_name(relation)
            raise InvalidQuestion(
                f"{name!r} links no entities, and an estimate of its value takes {FEWEST} entities with a known number; the "
                f"graph has {count:,}" + ". This release was built without estimates: build it anew" * (count >= FEWEST)
            )
        found = estimates.ask(place, entity, served.vectors, self.graph.seen[entity])
        inside = (found.neighbour >= 0) & ~self.graph.erased[found.neighbour]
        named = iter(self.views.entities(found.neighbour[inside], language, describe=True))
        return [
            Estimate(
                value=float(found.value[row]),
                low=float(found.low[row]),
                high=float(found.high[row]),
                coverage=COVERAGE,
                kind="year" if estimates.year[place] else "number",
                basis="model" if found.learnt[row] else "median",
                known=int(estimates.known[place]),
                stated=self.views.stated(int(entity[row]), relation),
                evidence=[
                    Neighbour(next(named), float(found.stated[row, turn]), float(found.similarity[row, turn]))
                    for turn in np.flatnonzero(inside[row])
                ],
            )
            for row in range(len(entity))
        ]


def _with_known(
    search: Search,
    known: Ragged,
    loops: Ragged,
    allow: npt.NDArray[np.bool_] | None,
    k: int,
    probability: npt.NDArray[np.float64] | None,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32], npt.NDArray[np.float64] | None, npt.NDArray[np.bool_]]:
    """The best k of known and unknown together; unknown ones keep their probability."""
    every, all_scores = search(k, loops, allow)
    stride = np.int64(1) << 32
    row = np.arange(len(every), dtype=np.int64)[:, None] * stride
    is_known = np.isin(row + every, known.rows() * stride + known.values)
    if probability is None:
        return every, all_scores, None, is_known
    # Unknown ones keep their order, so the j-th unknown of a row is the j-th of the unknown search.
    turn = np.maximum(np.cumsum(~is_known, axis=1) - 1, 0)
    return every, all_scores, np.take_along_axis(probability, turn, axis=1), is_known
