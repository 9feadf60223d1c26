"""What a model puts into the hole of a question: candidates with probabilities, or the estimate of a number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

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
        wanted: which candidates are.
        vectors: float32 `[b, d]`, the model's of them.
        search: the best candidates of each, see `Searcher.search`.
        width: how many of them are looked at.
        exact: whether all entities were looked at.
        by: int32 `[b]`, the relation that calibrates each.
        known, loops: ragged `[b]`, what the graph states already, and the entity itself.
        echo, pairs: the question, as it is shown.
    """

    slot: Slot
    wanted: Wanted
    vectors: Tensor
    search: Search
    width: int
    exact: bool
    by: npt.NDArray[np.int32]
    known: Ragged
    loops: Ragged
    echo: Sequence[Echo]
    pairs: Sequence[list[QualifierView]]

    @cached_property
    def hidden(self) -> Ragged:
        """Ragged `[b]`: what is no new answer."""
        return self.known.union(self.loops)


class Completion:
    """Completes the questions of one graph.

    Args:
        graph: what is asked about.
        views: how its names are shown.
        release: named by every answer.
    """

    def __init__(self, graph: KnowledgeGraph, views: Views, release: str) -> None:
        self.graph, self.views, self.release = graph, views, release

    def candidates(self, served: ServedModel, batches: Sequence[QueryBatch], wanted: Wanted) -> list[Filled]:
        """The best entities or relations for the hole of each question.

        Args:
            served: the model asked.
            batches: of questions for the same part each.
            wanted: how many, and which.

        Returns:
            The candidates of each batch.
        """
        parts = [self._asked(served, batch, wanted) for batch in batches]
        found: Iterable[Found]
        if len(parts) > 1 and served.scorer.second is None and all(part.slot is not Slot.RELATION for part in parts):
            # One product for all: that of half as many rows takes more than half as long.
            vectors = torch.cat([part.vectors for part in parts])
            hidden = Ragged.joined([part.hidden for part in parts])
            ids, scores = served.index.search(vectors, max(part.width for part in parts), hidden, wanted.allow)
            ends = np.cumsum([len(part.vectors) for part in parts])[:-1]
            found = zip(np.split(ids, ends), np.split(scores, ends), strict=True)
        else:
            found = (part.search(part.width, part.hidden, part.wanted.allow) for part in parts)
        return [self._filled(served, part, one) for part, one in zip(parts, found, strict=True)]

    def _asked(self, served: ServedModel, batch: QueryBatch, wanted: Wanted) -> Asked:
        """Questions by name."""
        graph, slot, language = self.graph, batch.slot, wanted.language
        with torch.inference_mode():
            vectors = served.scorer.query_vectors(batch)
        index = served.relation_index if slot is Slot.RELATION else served.index
        return Asked(
            slot,
            replace(wanted, allow=graph.linking) if slot is Slot.RELATION else wanted,
            vectors,
            partial(seek, served.scorer, index, batch, vectors),
            _width(served, slot, wanted.k),
            index.exact,
            batch.asked if slot is Slot.QUALIFIER else batch.relation,
            graph.stated(batch),
            graph.loops(batch),
            self.views.echo(batch, language),
            self.views.pairs(batch, language),
        )

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
        wanted = replace(wanted, exclude_known=True)  # nothing is
        nothing = Ragged.empty(len(texts))
        search, exact, width = partial(served.index.search, vectors), served.index.exact, _width(served, slot, wanted.k)
        pairs: list[list[QualifierView]] = [[] for _ in texts]
        asked = Asked(slot, wanted, vectors, search, width, exact, relation, nothing, nothing, echo, pairs)
        return self._filled(served, asked, search(width, None, wanted.allow))

    def _filled(self, served: ServedModel, asked: Asked, found: Found) -> Filled:
        (ids, scores), slot, wanted, k = found, asked.slot, asked.wanted, asked.wanted.k
        calibration = served.calibrations.get(slot.value)
        probability: npt.NDArray[np.float64] | None = None
        if calibration:
            share = completion_feature(scores[:, : served.settings.calibration.width])[:, :k]  # no more are shown
            of = -1 if slot is Slot.RELATION else asked.by[:, None]
            probability = calibration.probability(share, of)
            if (missing := k - probability.shape[1]) > 0:
                probability = np.pad(probability, ((0, 0), (0, missing)), constant_values=0.0)
        is_known = np.zeros(ids.shape, dtype=bool)
        if not wanted.exclude_known:
            ids, scores, probability, is_known = _with_known(asked, probability)
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


def _width(served: ServedModel, slot: Slot, k: int) -> int:
    """How many are looked at: a probability is read off a candidate's share among the best unknown ones, see calibration."""
    return max(k, served.settings.calibration.width) if slot.value in served.calibrations else k


def _with_known(
    asked: Asked, probability: npt.NDArray[np.float64] | None
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32], npt.NDArray[np.float64] | None, npt.NDArray[np.bool_]]:
    """The best k of known and unknown together; unknown ones keep their probability."""
    every, all_scores = asked.search(asked.wanted.k, asked.loops, asked.wanted.allow)
    stride = np.int64(1) << 32
    row = np.arange(len(every), dtype=np.int64)[:, None] * stride
    is_known = np.isin(row + every, asked.known.rows() * stride + asked.known.values)
    if probability is None:
        return every, all_scores, None, is_known
    # Unknown ones keep their order, so the j-th unknown of a row is the j-th of the unknown search.
    turn = np.maximum(np.cumsum(~is_known, axis=1) - 1, 0)
    return every, all_scores, np.take_along_axis(probability, turn, axis=1), is_known
