"""The best candidates of many questions of one relation, in tiles: one matrix product each, memory bounded by the tile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kgservice.arrays.ragged import Ragged
from kgservice.evaluation.evidence import LEARNT
from kgservice.graph import KnowledgeGraph
from kgservice.query import QueryBatch
from kgservice.release.served import ServedModel
from kgservice.similarity import Metric, similarity

Ids = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


def entity_table(served: ServedModel) -> Tensor:
    """float32 `[n + a, d]`: the vectors of a model's entities, those that were put since behind."""
    layers = served.vectors
    return torch.cat([layers.base, layers.added]) if len(layers.added) else layers.base


@dataclass(frozen=True)
class Side:
    """One model's view of one relation.

    Attributes:
        served: the model.
        objects: float32 `[c, d]`, the vectors of the candidates.
        subjects: float32 `[a, d]`, of the plausible subjects.
        asked: float32 `[c, d]`, the questions for the subjects of each candidate.
        mass: float32 `[c]`, log-sum-exp of the scores of those questions over the subjects that training does not state.
    """

    served: ServedModel
    objects: Tensor
    subjects: Tensor
    asked: Tensor
    mass: Tensor

    @property
    def metric(self) -> Metric:
        """How vectors are compared."""
        return self.served.scorer.metric


@dataclass(frozen=True)
class Field:
    """A relation with all that may stand at its ends, ready to be scored.

    Attributes:
        graph: what is known.
        relation: which.
        subjects, objects: int32 `[a]`, `[c]`: sorted ids.
        sides: one for each model.
        tile: scores held at once.
    """

    graph: KnowledgeGraph
    relation: int
    subjects: Ids
    objects: Ids
    sides: tuple[Side, ...]
    tile: int

    @classmethod
    def open(
        cls,
        graph: KnowledgeGraph,
        models: dict[str, tuple[ServedModel, Tensor]],
        relation: int,
        subjects: Ids,
        objects: Ids,
        tile: int,
    ) -> Field:
        """Gather the vectors, and ask every candidate for its subjects once: half of the work of a whole relation.

        Args:
            models: each with its `entity_table`.
        """
        made = []
        for served, table in models.values():
            heads, tails = _rows(table, subjects), _rows(table, objects)
            asked, mass = torch.empty_like(tails), torch.empty(len(objects))
            step = max(1, tile // max(len(subjects), 1))
            for start in range(0, len(objects), step):
                some = objects[start : start + step]
                queries = QueryBatch.subjects(np.full(len(some), relation, np.int32), some)
                known = graph.known(queries, splits=LEARNT).union(graph.loops(queries))
                with torch.inference_mode():
                    vectors = served.scorer.query_vectors(queries)
                    scores = similarity(vectors, heads, served.scorer.metric)
                    row, column = _places(known, subjects)
                    scores[row, column] = -torch.inf
                    asked[start : start + step], mass[start : start + step] = vectors, scores.logsumexp(1)
            made.append(Side(served, tails, heads, asked, mass))
        return cls(graph, relation, subjects, objects, tuple(made), tile)

    def best(self, subjects: Ids, k: int, allow: npt.NDArray[np.bool_] | None = None) -> Candidates:
        """The `k` best objects that training does not state, of every subject and model.

        Args:
            subjects: int32 `[b]`, among the plausible ones.
            k: of each model; their union is given.
            allow: bool `[c]`, which objects may be given; the others compete all the same.
        """
        questions = QueryBatch.objects(subjects, np.full(len(subjects), self.relation, np.int32))
        known = self.graph.known(questions, splits=LEARNT).union(self.graph.loops(questions))
        hidden = _places(known, self.objects)
        found, views = [], []
        with torch.inference_mode():
            for side in self.sides:
                vectors = side.served.scorer.query_vectors(questions)
                mass, top, places = self._tiles(side, vectors, k, hidden, allow)
                row = torch.arange(len(subjects))[:, None].expand_as(places)[places >= 0]
                found.append(row * len(self.objects) + places[places >= 0])
                views.append((side, vectors, mass, top))
            pairs = torch.from_numpy(np.unique(torch.cat(found).numpy()))
            row, column = pairs // max(len(self.objects), 1), pairs % max(len(self.objects), 1)
            head = torch.from_numpy(np.searchsorted(self.subjects, subjects[row.numpy()]))
            columns: list[Tensor] = []
            for side, vectors, mass, top in views:
                forward = _pairwise(vectors[row], side.objects[column], side.metric)
                backward = _pairwise(side.asked[column], side.subjects[head], side.metric)
                columns += [forward, forward - mass[row], forward - top[row], backward - side.mass[column]]
        return Candidates(
            subjects[row.numpy()],
            self.objects[column.numpy()],
            torch.stack(columns, dim=1).double().numpy() if columns else np.empty((0, 0)),
        )

    def judge(self, subject: Ids, object: Ids) -> Candidates:
        """Given pairs before their rivals, which are what training does not state: each as if it were not stated itself.

        Args:
            subject, object: int32 `[m]`, of those that may stand at the ends.
        """
        asked, row_of = np.unique(subject, return_inverse=True)
        questions = QueryBatch.objects(asked, np.full(len(asked), self.relation, np.int32))
        hidden = _places(self.graph.known(questions, splits=LEARNT).union(self.graph.loops(questions)), self.objects)
        row = torch.from_numpy(row_of)
        column = torch.from_numpy(np.searchsorted(self.objects, object))
        head = torch.from_numpy(np.searchsorted(self.subjects, subject))
        columns: list[Tensor] = []
        with torch.inference_mode():
            for side in self.sides:
                vectors = side.served.scorer.query_vectors(questions)
                mass, top, _ = self._tiles(side, vectors, 0, hidden, None)
                forward = _pairwise(vectors[row], side.objects[column], side.metric)
                backward = _pairwise(side.asked[column], side.subjects[head], side.metric)
                share = forward - torch.logaddexp(forward, mass[row])
                columns += [forward, share, forward - top[row], backward - torch.logaddexp(backward, side.mass[column])]
        return Candidates(subject, object, torch.stack(columns, dim=1).double().numpy())

    def _tiles(
        self,
        side: Side,
        vectors: Tensor,
        k: int,
        hidden: tuple[Tensor, Tensor],
        allow: npt.NDArray[np.bool_] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Log-sum-exp `[b]`, the best score `[b]`, and the columns of the `k` best `[b, ≤ k]`, -1 where there is none."""
        b = len(vectors)
        barred = None if allow is None else torch.from_numpy(~allow)
        mass, top = torch.full((b,), -torch.inf), torch.full((b,), -torch.inf)
        best, places = torch.empty(b, 0), torch.empty(b, 0, dtype=torch.int64)
        step = max(k, self.tile // max(b, 1))
        for start in range(0, len(self.objects), step):
            scores = similarity(vectors, side.objects[start : start + step], side.metric)
            width = scores.shape[1]
            inside = (hidden[1] >= start) & (hidden[1] < start + width)
            scores[hidden[0][inside], hidden[1][inside] - start] = -torch.inf
            mass, top = torch.logaddexp(mass, scores.logsumexp(1)), torch.maximum(top, scores.amax(1))
            if barred is not None:
                scores.masked_fill_(barred[start : start + width], -torch.inf)
            values, local = scores.topk(min(k, width), dim=1)
            merged, numbers = torch.cat([best, values], 1), torch.cat([places, local + start], 1)
            best, order = merged.topk(min(k, merged.shape[1]), dim=1)
            places = numbers.gather(1, order)
        return mass, top, torch.where(best > -torch.inf, places, -1)


@dataclass(frozen=True)
class Candidates:
    """Pairs that a relation may link.

    Attributes:
        subject, object: int32 `[m]`, by subject in the order asked, then by object.
        views: float64 `[m, 4 × models]`: of each model the score of the object question, its share among all candidates
            (log-softmax), its distance from the best, and the share of the subject question.
    """

    subject: Ids
    object: Ids
    views: Floats

    def take(self, rows: npt.NDArray[np.bool_]) -> Candidates:
        """Those where a mask is true."""
        return Candidates(self.subject[rows], self.object[rows], self.views[rows])


def statements_columns(names: list[str]) -> Iterator[str]:
    """Names of the columns of `views`."""
    for name in names:
        yield from (f"{name} score", f"{name} share", f"{name} behind", f"{name} subject share")


def _rows(table: Tensor, ids: Ids) -> Tensor:
    """float32 `[len(ids), d]`: rows of a table; the table itself where all are asked for."""
    return table if len(ids) == len(table) else table[torch.from_numpy(ids.astype(np.int64))]


def _places(lists: Ragged, ids: Ids) -> tuple[Tensor, Tensor]:
    """Row and column of every listed value that is among the sorted `ids`."""
    place = np.minimum(np.searchsorted(ids, lists.values), max(len(ids) - 1, 0))
    held = ids[place] == lists.values if len(ids) else np.zeros(len(place), bool)
    return torch.from_numpy(lists.rows()[held]), torch.from_numpy(place[held].astype(np.int64))


def _pairwise(one: Tensor, other: Tensor, metric: Metric) -> Tensor:
    return (one * other).sum(1) if metric == "ip" else -((one - other) ** 2).sum(1)
