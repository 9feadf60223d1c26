"""The best candidates of many questions of one relation, in tiles: one matrix product each, memory bounded by the tile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kgservice.arrays.ragged import Ragged, offsets_of
from kgservice.enrichment.heaps import Best
from kgservice.enrichment.sweeping import COLUMNS, ROWS, Sums
from kgservice.evaluation.evidence import LEARNT
from kgservice.graph import KnowledgeGraph
from kgservice.query import QueryBatch
from kgservice.release.served import ServedModel
from kgservice.similarity import Metric, similarity

Ids = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
SPARE = 3
"""So many times k are taken by rounded scores."""
ROUNDED = 2.0**-8
"""Of a score, what storing it in bfloat16 changes at most."""


def entity_table(served: ServedModel) -> Tensor:
    """float32 `[n + a, d]`: the vectors of a model's entities, those that were put since behind."""
    layers = served.vectors
    return torch.cat([layers.base, layers.added]) if len(layers.added) else layers.base


@dataclass(frozen=True)
class Rows:
    """Vectors that are compared with.

    Attributes:
        exact: float32 `[c, d]`.
        near: bfloat16 `[c, d]`, the same rounded; None where products are taken in float32.
        length, off: the longest vector, and the most that rounding moves one.
    """

    exact: Tensor
    near: Tensor | None = None
    length: float = 0.0
    off: float = 0.0

    @classmethod
    def of(cls, exact: Tensor, metric: Metric, rounded: bool) -> Rows:
        """Rounded where it is asked for and inner products are taken."""
        if not rounded or metric != "ip" or not len(exact):
            return cls(exact)
        near = exact.bfloat16()
        return cls(exact, near, float(exact.norm(dim=1).max()), float((exact - near.float()).norm(dim=1).max()))

    @property
    def is_rounded(self) -> bool:
        """Whether products are taken in bfloat16."""
        return self.near is not None

    def reach(self, vectors: Tensor) -> Tensor:
        """float32 `[b]`: how far a rounded score of each vector may be from the exact one (Cauchy and Schwarz)."""
        near = vectors.bfloat16().float()
        reach: Tensor = (vectors - near).norm(dim=1) * self.length + near.norm(dim=1) * self.off
        return reach


@dataclass(frozen=True)
class Side:
    """One model's view of one relation.

    Attributes:
        served: the model.
        objects: `[c, d]`, the vectors of the candidates.
        subjects: `[a, d]`, of the plausible subjects.
        asked: float32 `[c, d]`, the questions for the subjects of each candidate.
        mass: float32 `[c]`, log-sum-exp of the scores of those questions over the subjects that training does not state.
    """

    served: ServedModel
    objects: Rows
    subjects: Rows
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
        rounded: bool,
    ) -> Field:
        """Gather the vectors, and ask every candidate for its subjects once: half of the work of a whole relation.

        Args:
            models: each with its `entity_table`.
            rounded: take products in bfloat16 and score what matters again, see `Field.best`.
        """
        made = []
        for served, table in models.values():
            metric = served.scorer.metric
            heads, tails = (
                Rows.of(_rows(table, subjects), metric, rounded),
                Rows.of(_rows(table, objects), metric, rounded),
            )
            queries = QueryBatch.subjects(np.full(len(objects), relation, np.int32), objects)
            hidden = _places(graph.known(queries, splits=LEARNT).union(graph.loops(queries)), subjects)
            with torch.inference_mode():
                asked = torch.empty_like(tails.exact)
                for start in range(0, len(objects), ROWS):
                    part = slice(start, start + ROWS)
                    of = QueryBatch.subjects(queries.relation[part], queries.object[part])
                    asked[part] = served.scorer.query_vectors(of)
                mass = _swept(asked, heads, metric, hidden, tile).mass()
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
        hidden = self._hidden(questions)
        found, views = [], []
        with torch.inference_mode():
            for side in self.sides:
                vectors = side.served.scorer.query_vectors(questions)
                places, sums = self._nearest(side, vectors, k, hidden, allow)
                row = torch.arange(len(subjects))[:, None].expand_as(places)[places >= 0]
                found.append(row * len(self.objects) + places[places >= 0])
                views.append((side, vectors, sums))
            pairs = torch.from_numpy(np.unique(torch.cat(found).numpy()))
            row, column = pairs // max(len(self.objects), 1), pairs % max(len(self.objects), 1)
            head = torch.from_numpy(np.searchsorted(self.subjects, subjects[row.numpy()]))
            columns: list[Tensor] = []
            for side, vectors, sums in views:
                forward = _pairwise(vectors[row], side.objects.exact[column], side.metric)
                backward = _pairwise(side.asked[column], side.subjects.exact[head], side.metric)
                # Of rounded scores the highest is off by their rounding; the best that was scored again is not.
                inexact = side.objects.is_rounded and allow is None
                top = sums.top().scatter_reduce(0, row, forward, "amax", include_self=not inexact)
                columns += [forward, forward - sums.mass()[row], forward - top[row], backward - side.mass[column]]
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
        row = torch.from_numpy(row_of)
        column = torch.from_numpy(np.searchsorted(self.objects, object))
        head = torch.from_numpy(np.searchsorted(self.subjects, subject))
        columns: list[Tensor] = []
        with torch.inference_mode():
            for side in self.sides:
                vectors = side.served.scorer.query_vectors(questions)
                sums = _swept(vectors, side.objects, side.metric, self._hidden(questions), self.tile)
                mass, top = sums.mass(), sums.top()
                forward = _pairwise(vectors[row], side.objects.exact[column], side.metric)
                backward = _pairwise(side.asked[column], side.subjects.exact[head], side.metric)
                share = forward - torch.logaddexp(forward, mass[row])
                columns += [forward, share, forward - top[row], backward - torch.logaddexp(backward, side.mass[column])]
        return Candidates(subject, object, torch.stack(columns, dim=1).double().numpy())

    def _hidden(self, questions: QueryBatch) -> Ragged:
        """Ragged `[b]`, places among the objects that do not compete: what training states, and the subject itself."""
        return _places(self.graph.known(questions, splits=LEARNT).union(self.graph.loops(questions)), self.objects)

    def _nearest(
        self, side: Side, vectors: Tensor, k: int, hidden: Ragged, allow: npt.NDArray[np.bool_] | None
    ) -> tuple[Tensor, Sums]:
        """The columns of the `k` best `[b, ≤ k]`, -1 where there is none, and what all scores come to.

        Of rounded scores more are taken, scored exactly, and cut to `k`; where the k-th best might be outranked by one that was
        not taken, the question is asked again without rounding.
        """
        objects, barred = side.objects, None if allow is None else torch.from_numpy(~allow)
        if not objects.is_rounded:
            best = Best(len(vectors), min(k, len(self.objects)))
            sums = _swept(vectors, objects, side.metric, hidden, self.tile, best, barred)
            return torch.from_numpy(best.sorted()[1]), sums
        many = min(SPARE * k, len(self.objects))
        best = Best(len(vectors), many)
        sums = _swept(vectors, objects, side.metric, hidden, self.tile, best, barred)
        scores, places = (torch.from_numpy(one) for one in best.sorted())
        held, exact = places >= 0, torch.empty_like(scores)
        for first in range(0, len(vectors), ROWS):
            part = slice(first, first + ROWS)
            exact[part] = torch.bmm(objects.exact[places[part].clamp(min=0)], vectors[part, :, None])[:, :, 0]
        exact.masked_fill_(~held, -torch.inf)
        order = exact.argsort(dim=1, descending=True, stable=True)[:, :k]
        places = places.gather(1, order)
        if many < len(self.objects):
            last, kth, reach = scores[:, -1], exact.gather(1, order[:, -1:])[:, 0], objects.reach(vectors)
            outranks = last + reach + ROUNDED * (last.abs() + reach) >= kth
            unsure = (held[:, -1] & outranks).nonzero()[:, 0]
            if len(unsure):
                again = Best(len(unsure), min(k, len(self.objects)))
                plain = replace(objects, near=None)
                _swept(vectors[unsure], plain, side.metric, hidden.take(unsure.numpy()), self.tile, again, barred)
                places[unsure] = torch.from_numpy(again.sorted()[1])
        return places, sums


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


def _places(lists: Ragged, ids: Ids) -> Ragged:
    """Ragged, by row: the places of the listed values among the sorted `ids`, of those that are there."""
    place = np.minimum(np.searchsorted(ids, lists.values), max(len(ids) - 1, 0))
    held = ids[place] == lists.values if len(ids) else np.zeros(len(place), bool)
    return Ragged(offsets_of(np.bincount(lists.rows()[held], minlength=len(lists))), place[held].astype(np.int32))


def _swept(
    vectors: Tensor,
    candidates: Rows,
    metric: Metric,
    hidden: Ragged,
    tile: int,
    best: Best | None = None,
    barred: Tensor | None = None,
) -> Sums:
    """Every score of vectors `[b, d]` and candidates, tile by tile.

    Args:
        tile: scores held at once, at most.
        best: takes in what is neither hidden nor barred.
        barred: bool `[c]`.
    """
    sums = Sums(len(vectors), hidden)
    rows = max(1, min(ROWS, tile))
    width = max(1, min(COLUMNS, tile // rows))
    near = vectors.bfloat16() if candidates.near is not None else None
    kept = torch.empty(rows * width)  # fresh memory for every tile costs as much as looking at it
    for first in range(0, len(vectors), rows):
        part = None if best is None else best.rows(first, first + rows)
        for start in range(0, len(candidates.exact), width):
            asked, tile_of = vectors[first : first + rows], candidates.exact[start : start + width]
            scores = kept[: len(asked) * len(tile_of)].view(len(asked), -1)
            if near is None or candidates.near is None:
                similarity(asked, tile_of, metric, out=scores)
            else:
                scores.copy_(near[first : first + rows] @ candidates.near[start : start + width].T)
            sums.take(scores, first, start)
            if part is not None:
                if barred is not None:
                    scores.masked_fill_(barred[start : start + width], -torch.inf)
                part.push(scores, start)
    return sums


def _pairwise(one: Tensor, other: Tensor, metric: Metric) -> Tensor:
    return (one * other).sum(1) if metric == "ip" else -((one - other) ** 2).sum(1)
