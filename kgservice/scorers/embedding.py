"""Scorers that keep one row per entity, and those that fold a relation's row into it by a formula."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kgservice.arrays.layers import Layers
from kgservice.errors import RecipeError
from kgservice.query import QueryBatch, Slot
from kgservice.recipe import ModelSettings
from kgservice.scorers.base import Logits, VectorScorer
from kgservice.scorers.context import Context
from kgservice.similarity import Metric


class TableScorer(VectorScorer):
    """A scorer with one row per entity, in `entity`, float32 `[n, width]`."""

    by_entity: ClassVar[tuple[str, ...]] = ("entity",)
    entity: nn.Parameter

    def __init__(self) -> None:
        super().__init__()
        self._gathered: list[tuple[Tensor, Tensor]] | None = None

    def rows_of(self, entity: Tensor) -> Tensor:
        """float `[b, width]`, differentiable: rows of the table.

        Within `collecting` the gradient of these few rows is kept apart and added to the table's in place; autograd alone
        would copy the whole table's gradient for every gather.
        """
        if self._added is not None:
            return Layers(self.entity, self._added).take(entity)
        if self._gathered is None:
            return F.embedding(entity, self.entity, sparse=True)
        rows = self.entity.detach()[entity].requires_grad_()
        self._gathered.append((entity, rows))
        return rows

    @contextmanager
    def collecting(self, table: Tensor | None = None) -> Iterator[None]:
        """A training step, from the first gather to the end of the backward pass.

        Args:
            table: a leaf that stands in the place of `entity` during the step.
        """
        table = self.entity if table is None else table
        self._gathered = []
        try:
            yield
            for entity, rows in self._gathered:
                if rows.grad is not None:
                    if table.grad is None:
                        table.grad = torch.zeros_like(table)
                    table.grad.index_add_(0, entity, rows.grad)
        finally:
            self._gathered = None

    def entity_vectors(self) -> Tensor:
        """float32 `[n, d]`."""
        return self.answering(self.entity)

    def answering(self, rows: Tensor) -> Tensor:
        """float `[b, d]`: what rows of the table answer with; by default the rows themselves."""
        return rows

    def row_of(self, entity: int) -> Tensor:
        """float `[width]`: of one entity, learnt or added."""
        return self._rows(np.array([entity]))[0]

    def _rows(self, entities: np.ndarray) -> Tensor:
        return self._layered(self.entity, entities)


class EmbeddingScorer(TableScorer):
    """A row per entity and relation, folded by a formula that a subclass gives.

    A subject question asks the object question of the inverse relation: a row of its own when `reciprocal`
    (Lacroix et al. 2018), else the relation's row passed through `invert`.

    Args:
        n, r: entities and relations.
        width: reals per entity.
        reciprocal: whether inverse relations have rows of their own.
        initial_scale: standard deviation of the initial weights.
        entity_dropout, relation_dropout, candidate_dropout: shares of coordinates dropped in training.
    """

    def __init__(
        self,
        n: int,
        r: int,
        *,
        width: int,
        reciprocal: bool = True,
        initial_scale: float = 0.01,
        entity_dropout: float = 0.0,
        relation_dropout: float = 0.0,
        candidate_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.n, self.r, self.width, self.reciprocal = n, r, width, reciprocal
        self.entity_dropout, self.relation_dropout = entity_dropout, relation_dropout
        self.candidate_dropout = candidate_dropout
        rows = 2 * r if reciprocal else r
        self.entity = nn.Parameter(torch.randn(n, width) * initial_scale)
        self.relation = nn.Parameter(self.initial_relations(rows, initial_scale))

    @classmethod
    def from_settings(cls, settings: ModelSettings, *, n: int, r: int) -> Self:
        """Read width, scale and dropout from a recipe."""
        if cls.even_width() and settings.width % 2:
            raise RecipeError(f"{settings.scorer} keeps pairs of reals: width must be even, found {settings.width}")
        return cls(
            n,
            r,
            width=settings.width,
            reciprocal=settings.reciprocal,
            initial_scale=settings.initial_scale,
            entity_dropout=settings.training.entity_dropout,
            relation_dropout=settings.training.relation_dropout,
            candidate_dropout=settings.training.candidate_dropout,
        )

    @classmethod
    def even_width(cls) -> bool:
        """Whether rows are pairs of real and imaginary parts."""
        return False

    @property
    def grows(self) -> bool:
        """Where a row is the vector that competes: facts then tell both at once."""
        return type(self).answering is TableScorer.answering

    def initial_relations(self, rows: int, scale: float) -> Tensor:
        """float32 `[rows, relation width]`."""
        return torch.randn(rows, self.width) * scale

    @abstractmethod
    def fold(self, anchor: Tensor, relation: Tensor) -> Tensor:
        """float `[b, width]`: anchor and relation rows as one query vector."""

    def question_constant(self, anchor: Tensor, relation: Tensor, query: Tensor) -> Tensor | None:
        """float `[b]` or None: what a question's scores share, from its rows and its vector; only binary losses see it."""
        return -(query * query).sum(1) if self.metric == "l2" else None

    @abstractmethod
    def invert(self, relation: Tensor) -> Tensor:
        """float `[b, relation width]`: the row that scores (o, inverse, s) as the given one scores (s, r, o)."""

    @abstractmethod
    def relation_query(self, anchor: Tensor, target: Tensor) -> Tensor:
        """float `[b, d']`: two entities as one vector that relations are scored against."""

    def relation_candidates(self, relation: Tensor) -> Tensor:
        """float `[rows, d']`: relation rows as vectors to be found by `relation_query`."""
        return relation

    def cubes(self, rows: Tensor) -> Tensor:
        """float `[b]`: the sum of cubed absolute values of each row."""
        return cubed(rows, pairs=False)

    def relation_candidates_both_ways(self) -> Tensor:
        """float `[2r, d']`: all relations and inverses as vectors to be found by `relation_query`."""
        rows = self.relation if self.reciprocal else torch.cat([self.relation, self.invert(self.relation)])
        return self.relation_candidates(rows)

    def relation_rows(self, relation: Tensor) -> Tensor:
        """float `[b, relation width]` for ids in `[0, 2r)`."""
        if self.reciprocal:
            return F.embedding(relation, self.relation)
        rows = F.embedding(relation % self.r, self.relation)
        inverse = (relation >= self.r).unsqueeze(1)
        return torch.where(inverse, self.invert(rows), rows)

    def logits(self, anchor: Tensor, relation: Tensor, context: Context | None = None) -> Logits:
        """See `VectorScorer.logits`; a squared distance is products and two lengths."""
        anchors = F.dropout(self.rows_of(anchor), self.entity_dropout, self.training)
        queries, constant = self.asked(anchors, relation)
        candidates = F.dropout(self.entity_vectors(), self.candidate_dropout, self.training)
        return logits_of(queries, candidates, self.metric)._replace(offset=constant)

    def asked(self, anchors: Tensor, relation: Tensor) -> tuple[Tensor, Tensor | None]:
        """The query vectors of a training step, float `[b, d]`, and the questions' constants.

        Args:
            anchors: float `[b, width]`.
            relation: int64 `[b]`, in `[0, 2r)`.
        """
        relations = F.dropout(self.relation_rows(relation), self.relation_dropout, self.training)
        queries = self.fold(anchors, relations)
        return queries, self.question_constant(anchors, relations, queries)

    def relation_logits(self, anchor: Tensor, target: Tensor, context: Context | None = None) -> Logits:
        """See `VectorScorer.relation_logits`."""
        query = self.relation_query(*self.rows_of(torch.cat([anchor, target])).chunk(2))
        return logits_of(query, self.relation_candidates_both_ways(), self.relation_metric)

    def entity_penalty(self, entity: Tensor) -> Tensor:
        """See `VectorScorer.entity_penalty`."""
        return self.cubes(self.rows_of(entity))

    def relation_penalty(self, relation: Tensor) -> Tensor:
        """See `VectorScorer.relation_penalty`."""
        return self.cubes(self.relation_rows(relation))

    def relation_vectors(self) -> Tensor:
        """float32 `[r, d']`, the direct relations."""
        return self.relation_candidates(self.relation[: self.r])

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """See `VectorScorer.query_vectors`."""
        if queries.slot is Slot.RELATION:
            return self.relation_query(self._rows(queries.subject), self._rows(queries.object))
        return self.fold(self._rows(queries.anchor), self.relation_rows(self._directed(queries)))


def cubed(rows: Tensor, *, pairs: bool) -> Tensor:
    """float `[b]`: Σ |z|³ of each row, z being the reals, or complex numbers whose real parts are the row's first half."""
    cubes: Tensor = _Cubed.apply(rows, pairs)  # type: ignore[no-untyped-call]
    return cubes


class _Cubed(torch.autograd.Function):
    """Its gradient is 3|z|z, finite at 0, where autograd's square root is not."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, pairs: bool) -> Tensor:
        if pairs:
            real, imaginary = rows.chunk(2, dim=1)
            modulus = torch.addcmul(real * real, imaginary, imaginary).sqrt_()
        else:
            modulus = rows.abs()
        ctx.save_for_backward(rows, modulus)
        return (modulus * modulus).mul_(modulus).sum(1)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        rows, modulus = ctx.saved_tensors
        slope = modulus * (3 * grad_output).unsqueeze(1)
        parts = rows.shape[1] // modulus.shape[1]
        return (rows.unflatten(1, (parts, -1)) * slope.unsqueeze(1)).flatten(1), None


def logits_of(queries: Tensor, candidates: Tensor, metric: Metric) -> Logits:
    """A metric as products and a bias: a squared distance without the length of its query."""
    if metric == "ip":
        return Logits(queries, candidates)
    return Logits(2 * queries, candidates, -(candidates * candidates).sum(1))
