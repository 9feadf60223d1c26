"""What every scorer promises, and the ground of those that keep one row per entity."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kgservice.errors import InvalidQuestion, RecipeError, UnknownRelation
from kgservice.query import QueryBatch, Slot
from kgservice.recipe import ModelSettings
from kgservice.similarity import Metric, similarity


@runtime_checkable
class Scorer(Protocol):
    """Scores every candidate for the hole of a question; higher is better."""

    slots: frozenset[Slot]

    def scores(self, queries: QueryBatch) -> Tensor:
        """float32 `[b, n]`, or `[b, r]` where the relation is missing."""
        ...


class Logits(NamedTuple):
    """What a training step needs of a scorer: `queries @ candidates.T + bias`, equal to the scores up to a constant per row.

    Attributes:
        queries: float `[b, d]`.
        candidates: float `[n, d]`.
        bias: float `[n]` or None.
    """

    queries: Tensor
    candidates: Tensor
    bias: Tensor | None


class VectorScorer(nn.Module):
    """A scorer under the law `scores ≡ metric(query_vectors, candidate vectors)`.

    Attributes:
        metric: "ip", or "l2" as the negative squared distance, for subject and object questions.
        relation_metric: the same for relation questions.
        slots: the holes it answers.
        n, r: entities and relations.
    """

    metric: ClassVar[Metric]
    relation_metric: ClassVar[Metric] = "ip"
    slots: frozenset[Slot] = frozenset({Slot.SUBJECT, Slot.RELATION, Slot.OBJECT})
    n: int
    r: int

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: ModelSettings, *, n: int, r: int) -> Self:
        """A freshly initialised scorer."""

    @abstractmethod
    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """float32 `[b, d]`: each question as one vector."""

    @abstractmethod
    def entity_vectors(self) -> Tensor:
        """float32 `[n, d]`: what may fill a subject or object."""

    @abstractmethod
    def relation_vectors(self) -> Tensor:
        """float32 `[r, d']`: what may fill a relation."""

    @abstractmethod
    def logits(self, anchor: Tensor, relation: Tensor) -> Logits:
        """The parts of a training step's scores, dropout applied while training.

        Args:
            anchor: int64 `[b]`, entity ids.
            relation: int64 `[b]`, in `[0, 2r)`, inverses in the upper half.
        """

    @abstractmethod
    def relation_logits(self, anchor: Tensor, target: Tensor) -> Tensor:
        """float32 `[b, 2r]`: scores of every relation and inverse between two entities, for relation prediction."""

    @abstractmethod
    def entity_penalty(self, entity: Tensor) -> Tensor:
        """float32 `[b]`: the sum of cubed absolute values of an entity's row (N3)."""

    @abstractmethod
    def relation_penalty(self, relation: Tensor) -> Tensor:
        """float32 `[b]`: the same of a relation's row, for ids in `[0, 2r)`."""

    def candidate_vectors(self, slot: Slot) -> Tensor:
        """The vectors that compete for a hole."""
        return self.relation_vectors() if slot is Slot.RELATION else self.entity_vectors()

    def scores(self, queries: QueryBatch) -> Tensor:
        """float32 `[b, n]`, or `[b, r]` for a missing relation; higher is better."""
        if queries.slot not in self.slots:
            asked = ", ".join(sorted(self.slots))
            raise InvalidQuestion(f"{type(self).__name__} answers {asked} questions, not {queries.slot}")
        vectors = self.query_vectors(queries)
        return similarity(vectors, self.candidate_vectors(queries.slot), self.metric_of(queries.slot))

    def metric_of(self, slot: Slot) -> Metric:
        """How query and candidate vectors are compared for a hole."""
        return self.relation_metric if slot is Slot.RELATION else self.metric


class EmbeddingScorer(VectorScorer):
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

    def initial_relations(self, rows: int, scale: float) -> Tensor:
        """float32 `[rows, relation width]`."""
        return torch.randn(rows, self.width) * scale

    @abstractmethod
    def fold(self, anchor: Tensor, relation: Tensor) -> Tensor:
        """float `[b, width]`: anchor and relation rows as one query vector."""

    @abstractmethod
    def invert(self, relation: Tensor) -> Tensor:
        """float `[b, relation width]`: the row that scores (o, inverse, s) as the given one scores (s, r, o)."""

    @abstractmethod
    def relation_query(self, anchor: Tensor, target: Tensor) -> Tensor:
        """float `[b, d']`: two entities as one vector that relations are scored against."""

    def relation_candidates(self, relation: Tensor) -> Tensor:
        """float `[rows, d']`: relation rows as vectors to be found by `relation_query`."""
        return relation

    def moduli(self, rows: Tensor) -> Tensor:
        """float `[b, d'']`: the absolute values that N3 cubes."""
        return rows.abs()

    def relation_rows(self, relation: Tensor) -> Tensor:
        """float `[b, relation width]` for ids in `[0, 2r)`."""
        if self.reciprocal:
            return F.embedding(relation, self.relation)
        rows = F.embedding(relation % self.r, self.relation)
        inverse = (relation >= self.r).unsqueeze(1)
        return torch.where(inverse, self.invert(rows), rows)

    def logits(self, anchor: Tensor, relation: Tensor) -> Logits:
        """See `VectorScorer.logits`; a squared distance loses the query's own length, which no candidate changes."""
        # Sparse gradients of few rows join the dense gradient of all candidates without a full-sized buffer.
        anchors = F.dropout(F.embedding(anchor, self.entity, sparse=True), self.entity_dropout, self.training)
        relations = F.dropout(self.relation_rows(relation), self.relation_dropout, self.training)
        queries = self.fold(anchors, relations)
        candidates = F.dropout(self.entity_vectors(), self.candidate_dropout, self.training)
        if self.metric == "ip":
            return Logits(queries, candidates, None)
        return Logits(2 * queries, candidates, -(candidates * candidates).sum(1))

    def relation_logits(self, anchor: Tensor, target: Tensor) -> Tensor:
        """See `VectorScorer.relation_logits`."""
        ends = F.embedding(torch.cat([anchor, target]), self.entity, sparse=True)
        query = self.relation_query(*ends.chunk(2))
        rows = self.relation if self.reciprocal else torch.cat([self.relation, self.invert(self.relation)])
        return similarity(query, self.relation_candidates(rows), self.relation_metric)

    def entity_penalty(self, entity: Tensor) -> Tensor:
        """See `VectorScorer.entity_penalty`."""
        return self.moduli(F.embedding(entity, self.entity, sparse=True)).pow(3).sum(1)

    def relation_penalty(self, relation: Tensor) -> Tensor:
        """See `VectorScorer.relation_penalty`."""
        return self.moduli(self.relation_rows(relation)).pow(3).sum(1)

    def entity_vectors(self) -> Tensor:
        """float32 `[n, width]`."""
        return self.entity

    def relation_vectors(self) -> Tensor:
        """float32 `[r, d']`, the direct relations."""
        return self.relation_candidates(self.relation[: self.r])

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """See `VectorScorer.query_vectors`."""
        if queries.slot is Slot.RELATION:
            return self.relation_query(self._rows(queries.subject), self._rows(queries.object))
        relation = queries.relation.astype(np.int64)
        if len(relation) and not (0 <= relation.min() and relation.max() < self.r):
            raise UnknownRelation(str(relation[(relation < 0) | (relation >= self.r)][0]), f"in [0, {self.r})")
        if queries.slot is Slot.SUBJECT:
            relation = relation + self.r
        ids = torch.from_numpy(relation).to(self.entity.device)
        return self.fold(self._rows(queries.anchor), self.relation_rows(ids))

    def _rows(self, entities: np.ndarray) -> Tensor:
        if len(entities) and not (0 <= entities.min() and entities.max() < self.n):
            raise InvalidQuestion(f"entity ids must be in [0, {self.n}), found [{entities.min()}, {entities.max()}]")
        return F.embedding(torch.from_numpy(entities.astype(np.int64)).to(self.entity.device), self.entity)
