"""What every scorer promises, and every second stage."""

from __future__ import annotations

from abc import abstractmethod
from copy import copy, deepcopy
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kgservice.arrays.layers import Layers
from kgservice.errors import InvalidQuestion, UnknownRelation
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split
from kgservice.query import QueryBatch, Slot
from kgservice.recipe import ModelSettings
from kgservice.scorers.context import Context
from kgservice.similarity import Metric, similarity


@runtime_checkable
class Scorer(Protocol):
    """Scores every candidate for the hole of a question; higher is better."""

    slots: frozenset[Slot]

    def scores(self, queries: QueryBatch) -> Tensor:
        """float32 `[b, n]`, or `[b, r]` where the relation is missing."""
        ...


class Logits(NamedTuple):
    """What a training step needs of a scorer: the scores are `queries @ candidates.T + bias + offset[:, None]`.

    Attributes:
        queries: float `[b, d]`.
        candidates: float `[n, d]`.
        bias: float `[n]` or None.
        offset: float `[b]` or None; a softmax does without it.
    """

    queries: Tensor
    candidates: Tensor
    bias: Tensor | None = None
    offset: Tensor | None = None


class Answers(NamedTuple):
    """The true answers of `b` questions.

    Attributes:
        offset: int64 `[b + 1]`, where those of each question begin.
        target: int64 `[a]`, entity ids.
    """

    offset: Tensor
    target: Tensor


class Term(NamedTuple):
    """One of the losses of a training step.

    Attributes:
        logits: of `b` questions.
        weight: of this loss.
        target: int64 `[b]`, the one true answer of each question, all counting the same; None: those of the batch.
    """

    logits: Logits
    weight: float = 1.0
    target: Tensor | None = None


class Guess(NamedTuple):
    """What is thought of `a` entities that were added, before their facts are looked at.

    Attributes:
        rows: float32 `[a, w]`, what is kept of each to be asked about it; None where that is its vector.
        vectors: float32 `[a, d]`, what it answers with.
        able: bool `[a]`, whether anything is said of it.
    """

    rows: Tensor | None
    vectors: Tensor
    able: npt.NDArray[np.bool_]


class VectorScorer(nn.Module):
    """A scorer under the law `scores ≡ metric(query_vectors, candidate vectors)`.

    Attributes:
        metric: "ip", or "l2" as the negative squared distance, for subject and object questions.
        relation_metric: the same for relation questions.
        slots: the holes it answers.
        reads: how many of a question's qualifiers it reads; None where it is blind to them.
        mixed: whether its layers are trained in mixed precision where the objective's products are; tables are not.
        inductive: whether it answers for entities of no training statement, by what else is known of them.
        shares: whether entities share what was learnt: a fact then taught a step of all weights, not of its ends' rows.
        reads_types: whether an entity's stated types are in its vector, which then cannot be asked for them.
        by_entity: names of the weights that have a row per entity.
        n, r: entities and relations.
        competing: int64 `[n]` or None: the row of each entity among the candidates of `logits`, −1 where it does not compete;
            None where all do, in order.
    """

    metric: ClassVar[Metric]
    relation_metric: ClassVar[Metric] = "ip"
    slots: frozenset[Slot] = frozenset({Slot.SUBJECT, Slot.RELATION, Slot.OBJECT})
    reads: int | None = None
    mixed: ClassVar[bool] = False
    inductive: ClassVar[bool] = False
    shares: ClassVar[bool] = False
    reads_types: bool = False
    by_entity: ClassVar[tuple[str, ...]] = ()
    competing: Tensor | None = None
    n: int
    r: int
    _added: Tensor | None = None

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
    def logits(self, anchor: Tensor, relation: Tensor, context: Context | None = None) -> Logits:
        """The parts of a training step's scores, dropout applied while training.

        Args:
            anchor: int64 `[b]`, entity ids.
            relation: int64 `[b]`, in `[0, 2r)`, inverses in the upper half.
            context: the qualifiers of the questions; given to a scorer that reads some.
        """

    def prepare(self, graph: KnowledgeGraph, splits: tuple[Split, ...]) -> None:
        """Look at what will be learnt, before a training's first step: scales of numbers, facts beside an entity."""

    def terms(
        self, anchor: Tensor, relation: Tensor, context: Context | None = None, answers: Answers | None = None
    ) -> list[Term]:
        """What a training step over all entities makes losses of: by default the logits alone.

        Args:
            anchor, relation, context: as for `logits`.
            answers: of the questions, for a scorer that must not read them off what it knows, or that writes them.
        """
        return [Term(self.logits(anchor, relation, context))]

    @abstractmethod
    def relation_logits(self, anchor: Tensor, target: Tensor, context: Context | None = None) -> Logits:
        """The parts of the scores of all `2r` relations and inverses between two entities, for relation prediction."""

    @abstractmethod
    def entity_penalty(self, entity: Tensor) -> Tensor:
        """float32 `[b]`: the sum of cubed absolute values of an entity's row (N3)."""

    @abstractmethod
    def relation_penalty(self, relation: Tensor) -> Tensor:
        """float32 `[b]`: the same of a relation's row, for ids in `[0, 2r)`."""

    @property
    def second(self) -> SecondStage | None:
        """What orders anew the candidates that its vectors find; None where they have the last word."""
        return None

    def keep(self, folder: Path) -> None:
        """Write what it needs beside its weights; by default nothing."""

    def reopen(self, folder: Path, graph: KnowledgeGraph, splits: tuple[Split, ...]) -> None:
        """Read what `keep` wrote, and what it reads of the graph that its weights were learnt from; by default nothing.

        Args:
            folder: of the model.
            graph: of the release.
            splits: what was learnt of it.
        """

    @property
    def grows(self) -> bool:
        """Whether entities can be added to it after training, see `grown`."""
        return False

    def guessed(self, added: KnowledgeGraph, entities: npt.NDArray[np.int64]) -> Guess | None:
        """What it thinks of added entities by what is said of them alone; None where it reads nothing.

        Args:
            added: they and their texts, without the graph that was learnt.
            entities: int64 `[a]`, their ids, n and on.
        """
        return None

    def grown(self, rows: Tensor, added: KnowledgeGraph | None = None) -> Self:
        """A scorer over the same weights that can also be asked about added entities, ids n and on; behind those added before.

        Args:
            rows: float32 `[a, w]`, as wide as what it keeps of an entity it is asked about.
            added: they with their texts and statements; for a scorer that reads these, which is grown once.
        """
        if not self.grows:
            raise InvalidQuestion(f"{type(self).__name__} takes no entities after its training")
        return self.beside(rows)

    def beside(self, rows: Tensor) -> Self:
        """The same for a scorer of any kind that keeps rows: what it says with other ones in their place."""
        grown = copy(self)
        grown.n, grown._added = self.n + len(rows), rows if self._added is None else torch.cat([self._added, rows])
        return grown

    def spread(self) -> Tensor | None:
        """float32 `[n]`: how uncertain each entity is, where the model keeps that; comparable within one model only."""
        return None

    def candidate_vectors(self, slot: Slot) -> Tensor:
        """The vectors that compete for a hole."""
        return self.relation_vectors() if slot is Slot.RELATION else self.entity_vectors()

    def pupil(self, graph: KnowledgeGraph, splits: tuple[Split, ...]) -> Self:
        """A copy whose weights may be moved while this one answers; what was read or counted is shared, not copied.

        Args:
            graph: of the release.
            splits: what was learnt of it.
        """
        shared = {id(one): one for one in self.buffers()}
        return deepcopy(self, shared).requires_grad_(True)

    def taught(self, queries: QueryBatch, answers: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors of questions and of some entities as answers, both with their gradients.

        Args:
            queries: `b` questions.
            answers: int64 `[a]`, entity ids.

        Returns:
            float32 `[b, d]` and `[a, d]`.
        """
        return self.query_vectors(queries), self.entity_vectors()[answers]

    def scores(self, queries: QueryBatch) -> Tensor:
        """float32 `[b, n]`, or `[b, r]` for a missing relation; higher is better."""
        self._check(queries)
        vectors = self.query_vectors(queries)
        return similarity(vectors, self.candidate_vectors(queries.slot), self.metric_of(queries.slot))

    def _check(self, queries: QueryBatch) -> None:
        if queries.slot not in self.slots:
            asked = ", ".join(sorted(self.slots))
            raise InvalidQuestion(f"{type(self).__name__} answers {asked} questions, not {queries.slot}")

    def _directed(self, queries: QueryBatch) -> Tensor:
        """int64 `[b]`: the relations of entity questions in `[0, 2r)`; a subject question has the inverse one."""
        relation = queries.relation.astype(np.int64)
        if len(relation) and not (0 <= relation.min() and relation.max() < self.r):
            raise UnknownRelation(str(relation[(relation < 0) | (relation >= self.r)][0]), f"in [0, {self.r})")
        shift = self.r if queries.slot is Slot.SUBJECT else 0
        return torch.from_numpy(relation + shift).to(next(self.parameters()).device)

    def _layered(self, table: Tensor, entities: np.ndarray) -> Tensor:
        """float `[b, w]`: rows of a table, or of what was added behind it."""
        ids = torch.from_numpy(self._valid(entities)).to(table.device)
        return F.embedding(ids, table) if self._added is None else Layers(table, self._added).take(ids)

    def _valid(self, entities: np.ndarray) -> npt.NDArray[np.int64]:
        """int64 `[b]`: the same ids, all of entities there are."""
        if len(entities) and not (0 <= entities.min() and entities.max() < self.n):
            raise InvalidQuestion(f"entity ids must be in [0, {self.n}), found [{entities.min()}, {entities.max()}]")
        return entities.astype(np.int64)

    def metric_of(self, slot: Slot) -> Metric:
        """How query and candidate vectors are compared for a hole."""
        return self.relation_metric if slot is Slot.RELATION else self.metric


class SecondStage(Protocol):
    """Scores candidates of questions by more than their vectors.

    Attributes:
        slots: the holes it scores candidates for.
        width: how many of the best candidates of a question it looks at; None where it scores all entities by itself.
    """

    slots: frozenset[Slot]
    width: int | None

    def rescore(self, queries: QueryBatch, candidates: Tensor, first: Tensor) -> Tensor:
        """float32 `[b, k]`: new scores of candidates.

        Args:
            queries: `b` questions.
            candidates: int64 `[b, k]`; -1 where there is none, whose score is -inf.
            first: float32 `[b, k]`, by their vectors.
        """
        ...

    def scores(self, queries: QueryBatch) -> Tensor:
        """float32 `[b, n]`: of all entities."""
        ...
