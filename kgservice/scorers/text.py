"""Scorers that make an entity's vector of its text, so that they answer about entities that no training statement has.

What a text says is read once, by a frozen sentence encoder and by its words, and kept; small networks that are trained turn it
into vectors, which are scored by one of the known formulas (Daza, Cochez and Groth 2021, section 3) or by a cosine. They learn
like all other scorers, by a softmax over all entities that are learnt from; the others do not compete.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kgservice.encoders import TextEncoder, encoded_width, open_encoder, shared_encoder
from kgservice.encoders.describing import described
from kgservice.encoders.words import BUCKETS, WordEncoder
from kgservice.errors import RecipeError
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split
from kgservice.query import QueryBatch, Slot
from kgservice.recipe import ModelSettings, TextSettings
from kgservice.recipe.template import Template
from kgservice.resources import home
from kgservice.scorers.base import Guess, Logits, VectorScorer
from kgservice.scorers.bilinear import ComplEx, DistMult, SimplE
from kgservice.scorers.context import Context
from kgservice.scorers.embedding import EmbeddingScorer, cubed, logits_of
from kgservice.scorers.transformer import dropout
from kgservice.scorers.translation import TransE
from kgservice.similarity import Metric

INITIAL_SCALE = 20.0
"""Of a bi-encoder's cosines: an inverse temperature, which is then learnt."""


class TextScorer(VectorScorer):
    """What all text scorers share: what is read of the entities' texts, and which entities compete in training.

    Args:
        n, r: entities and relations.
        settings: what is read of a text.

    Attributes:
        read: float32 `[n, w]`, what is read of every entity's text; zeros for an empty one.
    """

    mixed: ClassVar[bool] = True
    inductive: ClassVar[bool] = True
    shares: ClassVar[bool] = True
    by_entity: ClassVar[tuple[str, ...]] = ("read",)

    def __init__(self, n: int, r: int, settings: TextSettings) -> None:
        super().__init__()
        self.n, self.r, self.settings = n, r, settings
        self.reads_types = "types" in Template.parse(settings.template).fields
        encoded = 0 if settings.encoder == "none" else encoded_width(settings.encoder)
        if not encoded + settings.words:
            raise RecipeError(
                "a text scorer reads an encoder's vectors or words: text.encoder is 'none', text.words is 0"
            )
        # Until a graph's texts are read, every entity has one of its own.
        self.register_buffer("read", torch.randn(n, encoded + settings.words))
        self.register_buffer("word_weight", torch.zeros(BUCKETS if settings.words else 0))
        self.register_buffer("word_directions", torch.zeros(BUCKETS if settings.words else 0, settings.words))
        self.read: Tensor
        self.word_weight: Tensor
        self.word_directions: Tensor
        self._learnt: Tensor | None = None

    @abstractmethod
    def candidates(self, read: Tensor) -> Tensor:
        """float32 `[b, d]`: entities as answers, of what is read of their texts, float32 `[b, w]`."""

    @abstractmethod
    def ask(self, read: Tensor, relation: Tensor, place: Tensor | None = None) -> Tensor:
        """float32 `[b, d]`: questions about entities.

        Args:
            read: float32 `[b, w]`, of each known entity's text.
            relation: int64 `[b]`, in `[0, 2r)`.
            place: int64 `[b]`, the row of `read` for each question; by default each has its own.
        """

    def prepare(self, graph: KnowledgeGraph, splits: tuple[Split, ...]) -> None:
        """Read every entity's text; weigh words, and compare in training, by the entities of these splits alone."""
        settings, device = self.settings, self.read.device
        texts = described(graph, settings.template, settings.language)
        table = graph.statements
        inside = np.isin(table.split, splits)
        learnt = np.unique(np.concatenate([table.subject[inside], table.object[inside]]))
        self.competing = torch.full((self.n,), -1, device=device)
        self.competing[torch.from_numpy(learnt).long()] = torch.arange(len(learnt), device=device)
        if settings.words:
            words = WordEncoder.fit([texts[entity] for entity in learnt.tolist()], settings.words)
            self.word_weight.copy_(torch.from_numpy(words.weight))
            self.word_directions.copy_(torch.from_numpy(words.directions))
        encoder = None if settings.encoder == "none" else open_encoder(settings.encoder, home() / "encoded")
        self.read.copy_(torch.from_numpy(self.read_texts(texts, encoder)))
        self._learnt = self.read[self.competing >= 0]

    def read_texts(self, texts: Sequence[str], encoder: TextEncoder | None = None) -> npt.NDArray[np.float32]:
        """float32 `[b, w]`: what is read of texts, of entities known or new; zeros for an empty one.

        Args:
            texts: `b`, as composed by the template.
            encoder: that of the settings; by default the process's shared one, which keeps no text.
        """
        parts = []
        if self.settings.encoder != "none":
            vectors = (encoder or shared_encoder(self.settings.encoder)).encode(texts)
            vectors[np.array([not text for text in texts], dtype=bool)] = 0
            # Coordinates of about one, as a layer expects them.
            parts.append(vectors * np.float32(vectors.shape[1] ** 0.5))
        if self.settings.words:
            words = WordEncoder(self.word_weight.cpu().numpy(), self.word_directions.cpu().numpy())
            parts.append(words.encode(texts) * np.float32(words.width**0.5))
        return np.concatenate(parts, axis=1)

    def entity_vectors(self) -> Tensor:
        """float32 `[n, d]`."""
        return self.candidates(self.read)

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """See `VectorScorer.query_vectors`."""
        return self.ask(self._read_of(queries.anchor), self._directed(queries))

    def taught(self, queries: QueryBatch, answers: Tensor) -> tuple[Tensor, Tensor]:
        """See `VectorScorer.taught`."""
        return self.query_vectors(queries), self.candidates(self.read[answers])

    def logits(self, anchor: Tensor, relation: Tensor, context: Context | None = None) -> Logits:
        """See `VectorScorer.logits`; the candidates are the entities that are learnt from."""
        anchors, place = torch.unique(anchor, return_inverse=True)
        learnt = self.read if self._learnt is None else self._learnt
        queries = self.ask(self._thinned(self.read[anchors]), relation, place)
        offset = -(queries * queries).sum(1) if self.metric == "l2" else None
        return logits_of(queries, self.candidates(self._thinned(learnt)), self.metric)._replace(offset=offset)

    def entity_penalty(self, entity: Tensor) -> Tensor:
        """See `VectorScorer.entity_penalty`."""
        return cubed(self.candidates(self.read[entity]), pairs=False)

    @property
    def grows(self) -> bool:
        """An entity is what is read of its text."""
        return True

    def guessed(self, added: KnowledgeGraph, entities: npt.NDArray[np.int64]) -> Guess:
        """See `VectorScorer.guessed`."""
        texts = described(added, self.settings.template, self.settings.language, entities)
        rows = torch.from_numpy(self.read_texts(texts))
        return Guess(rows, self.candidates(rows), np.array([bool(text) for text in texts], dtype=bool))

    def _read_of(self, entities: npt.NDArray[Any]) -> Tensor:
        return self._layered(self.read, entities)

    def _thinned(self, read: Tensor) -> Tensor:
        return dropout(read, self.settings.input_dropout if self.training else 0)


class Head(nn.Module):
    """A linear map beside a hidden layer."""

    def __init__(self, read: int, width: int, settings: TextSettings) -> None:
        super().__init__()
        self.parts = width, settings.hidden
        self.first = nn.Linear(read, width + settings.hidden)  # both at once: what is read is large
        self.second = nn.Linear(settings.hidden, width)
        self.dropout = settings.dropout

    def forward(self, read: Tensor) -> Tensor:
        """float32 `[b, width]` of float `[b, read]`."""
        straight, hidden = self.first(read).split(self.parts, dim=1)
        out: Tensor = straight + self.second(dropout(F.gelu(hidden), self.dropout if self.training else 0))
        return out.float()


class BLP(TextScorer):
    """score(s, r, o) = formula(head(text of s), r, head(text of o)).

    Args:
        n, r: entities and relations.
        settings: what is read of a text.
        formula: keeps the relations' rows and folds them with an entity's.
    """

    formula: ClassVar[type[EmbeddingScorer]]

    def __init__(self, n: int, r: int, settings: TextSettings, formula: EmbeddingScorer) -> None:
        super().__init__(n, r, settings)
        self.relations = formula
        self.head = Head(self.read.shape[1], formula.width, settings)

    @classmethod
    def from_settings(cls, settings: ModelSettings, *, n: int, r: int) -> Self:
        """Read width, scale, dropout and what is read of a text from a recipe."""
        return cls(n, r, settings.text, cls.formula.from_settings(settings, n=0, r=r))

    def candidates(self, read: Tensor) -> Tensor:
        """See `TextScorer.candidates`."""
        vectors: Tensor = self.head(read)
        return vectors

    def ask(self, read: Tensor, relation: Tensor, place: Tensor | None = None) -> Tensor:
        """See `TextScorer.ask`."""
        rows = self.head(read)
        rows = rows if place is None else rows[place]
        formula = self.relations
        relations = F.dropout(formula.relation_rows(relation), formula.relation_dropout, self.training)
        return formula.fold(rows, relations)

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """See `VectorScorer.query_vectors`."""
        if queries.slot is Slot.RELATION:
            ends = self._read_of(queries.subject), self._read_of(queries.object)
            return self.relations.relation_query(*(self.head(end) for end in ends))
        return super().query_vectors(queries)

    def relation_vectors(self) -> Tensor:
        """float32 `[r, d']`."""
        return self.relations.relation_vectors()

    def relation_logits(self, anchor: Tensor, target: Tensor, context: Context | None = None) -> Logits:
        """See `VectorScorer.relation_logits`."""
        query = self.relations.relation_query(*self.head(self.read[torch.cat([anchor, target])]).chunk(2))
        return logits_of(query, self.relations.relation_candidates_both_ways(), self.relation_metric)

    def relation_penalty(self, relation: Tensor) -> Tensor:
        """See `VectorScorer.relation_penalty`."""
        return self.relations.relation_penalty(relation)


class BLPTransE(BLP):
    """−‖s + r − o‖² over vectors of texts."""

    metric: ClassVar[Metric] = TransE.metric
    relation_metric: ClassVar[Metric] = TransE.relation_metric
    formula = TransE


class BLPDistMult(BLP):
    """Σ sᵢ rᵢ oᵢ over vectors of texts."""

    metric: ClassVar[Metric] = DistMult.metric
    formula = DistMult


class BLPComplEx(BLP):
    """Re Σ sᵢ rᵢ ōᵢ over vectors of texts."""

    metric: ClassVar[Metric] = ComplEx.metric
    formula = ComplEx


class BLPSimplE(BLP):
    """½ (Σ s′ᵢ rᵢ o″ᵢ + Σ o′ᵢ r′ᵢ s″ᵢ) over vectors of texts."""

    metric: ClassVar[Metric] = SimplE.metric
    formula = SimplE


class BiEncoder(TextScorer):
    """score(s, r, o) = scale · cos(asking(text of s, r), answering(text of o)): two networks that share nothing.

    A subject question asks the inverse relation. Source: Wang et al. 2022 (SimKGC), section 3.2, over a frozen encoder.

    Args:
        n, r: entities and relations.
        settings: what is read of a text.
        width: reals per entity.
        initial_scale: standard deviation of the relations' initial rows.
    """

    metric: ClassVar[Metric] = "ip"
    slots = frozenset({Slot.SUBJECT, Slot.OBJECT})

    def __init__(self, n: int, r: int, settings: TextSettings, *, width: int, initial_scale: float) -> None:
        super().__init__(n, r, settings)
        self.relation = nn.Parameter(torch.randn(2 * r, width) * initial_scale)
        self.asking = Head(self.read.shape[1], width, settings)
        self.meeting = Head(2 * width, width, settings)
        self.answering = Head(self.read.shape[1], width, settings)
        self.log_scale = nn.Parameter(torch.tensor(INITIAL_SCALE).log())

    @classmethod
    def from_settings(cls, settings: ModelSettings, *, n: int, r: int) -> Self:
        """Read width, scale and what is read of a text from a recipe."""
        if settings.training.relation_prediction:
            raise RecipeError("bi-encoder predicts no relations: training.relation_prediction must be 0")
        return cls(n, r, settings.text, width=settings.width, initial_scale=settings.initial_scale)

    def candidates(self, read: Tensor) -> Tensor:
        """See `TextScorer.candidates`; of length 1."""
        vectors: Tensor = F.normalize(self.answering(read), dim=1)
        return vectors

    def ask(self, read: Tensor, relation: Tensor, place: Tensor | None = None) -> Tensor:
        """See `TextScorer.ask`; as long as `scale`."""
        rows, relations = self.asking(read), F.embedding(relation, self.relation)
        rows = rows if place is None else rows[place]
        asked = self.meeting(torch.cat([rows, relations], dim=1)) + rows * relations
        return self.log_scale.exp() * F.normalize(asked, dim=1)

    def relation_vectors(self) -> Tensor:
        """float32 `[r, width]`."""
        return self.relation[: self.r]

    def relation_logits(self, anchor: Tensor, target: Tensor, context: Context | None = None) -> Logits:
        """Not to be had."""
        raise RecipeError("bi-encoder predicts no relations")

    def relation_penalty(self, relation: Tensor) -> Tensor:
        """See `VectorScorer.relation_penalty`."""
        return cubed(F.embedding(relation, self.relation), pairs=False)
