"""StarE: messages along statements whose qualifiers have their say, then a transformer over the question.

Source: Galkin et al. 2020 (EMNLP). An edge carries its relation mixed with its qualifiers; entities and relations come out of
two such layers, and those vectors are what questions are made of and what answers them.
"""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from kgservice.arrays.layers import Layers
from kgservice.errors import RecipeError
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split
from kgservice.query import QueryBatch, Slot
from kgservice.recipe import ModelSettings, TransformerSettings
from kgservice.scorers.base import Logits, VectorScorer
from kgservice.scorers.composition import compose
from kgservice.scorers.context import Context
from kgservice.scorers.embedding import cubed
from kgservice.scorers.transformer import Transformer, dropout
from kgservice.similarity import Metric

OF_RELATION = 0.8
"""Share of the relation in what an edge carries; the rest is its qualifiers'."""
LAYERS = 2


class StarE(VectorScorer):
    """query = the mean of a transformer's outputs over [anchor, relation, pairs…], mapped; score = inner product.

    Args:
        n, r: entities and relations.
        width: reals per entity, even.
        settings: of the transformer.
        initial_scale: standard deviation of the initial rows.
    """

    metric: ClassVar[Metric] = "ip"
    mixed: ClassVar[bool] = True
    shares: ClassVar[bool] = True
    slots = frozenset({Slot.SUBJECT, Slot.OBJECT})
    by_entity: ClassVar[tuple[str, ...]] = ("entity", "encoded")
    encoded: Tensor
    encoded_relation: Tensor

    def __init__(
        self, n: int, r: int, *, width: int, settings: TransformerSettings, initial_scale: float = 0.05
    ) -> None:
        super().__init__()
        self.n, self.r, self.width, self.parts = n, r, width, settings
        self.reads = settings.qualifiers or None
        self.entity = nn.Parameter(torch.randn(n, width) * initial_scale)
        self.relation = nn.Parameter(torch.randn(2 * r, width) * initial_scale)
        self.layers = nn.ModuleList(Messages(width) for _ in range(LAYERS))
        self.encoder = Transformer.of(width, settings)
        self.back = nn.Linear(width, width)
        # What the layers give, kept so that a release answers without the graph's edges.
        self.register_buffer("encoded", self.entity.detach().clone())
        self.register_buffer("encoded_relation", self.relation.detach().clone())
        self._edges: Edges | None = None

    @classmethod
    def from_settings(cls, settings: ModelSettings, *, n: int, r: int) -> Self:
        """Read width, scale and the transformer's settings from a recipe."""
        if settings.width % settings.transformer.heads or settings.width % 2:
            raise RecipeError(
                f"{settings.scorer}: width must be even and a multiple of transformer.heads, found {settings.width} and "
                f"{settings.transformer.heads}"
            )
        return cls(n, r, width=settings.width, settings=settings.transformer, initial_scale=settings.initial_scale)

    def prepare(self, graph: KnowledgeGraph, splits: tuple[Split, ...]) -> None:
        """Lay out the edges of the statements that messages go along."""
        self._edges = Edges.of(graph, splits, self.reads or 0, self.entity.device)

    def train(self, mode: bool = True) -> Self:
        """In evaluation the layers' outputs are computed once, for as long as it lasts."""
        super().train(mode)
        if not mode and self._edges is not None:
            with torch.no_grad():
                entities, relations = self.encode()
                self.encoded.copy_(entities)
                self.encoded_relation.copy_(relations)
        return self

    def encode(self) -> tuple[Tensor, Tensor]:
        """float32 `[n, width]` and `[2r, width]`: what the layers make of the rows."""
        assert self._edges is not None
        x, h = self.entity, self.relation
        for layer in self.layers:
            x, h = layer(self._dropped(x), h, self._edges)
        return x, h

    def _dropped(self, x: Tensor) -> Tensor:
        return dropout(x, self.parts.input_dropout if self.training else 0.0)

    def logits(self, anchor: Tensor, relation: Tensor, context: Context | None = None) -> Logits:
        """See `VectorScorer.logits`."""
        if self.training and self._edges is not None:
            entities, relations = self.encode()
        else:
            entities, relations = self.encoded, self.encoded_relation
        return Logits(self._queries(anchor, relation, context, entities, relations), entities)

    def _queries(
        self, anchor: Tensor, relation: Tensor, context: Context | None, entities: Tensor, relations: Tensor
    ) -> Tensor:
        b = len(anchor)
        tokens = torch.stack([self._rows(anchor, entities), F.embedding(relation, relations)], 1)
        present = torch.ones(b, 2, dtype=torch.bool, device=anchor.device)
        if context is not None and context.relation.shape[1]:
            # Values that are no entity are left to the models that have scales.
            there = (context.relation >= 0) & (context.value >= 0)
            pairs = torch.stack(
                [
                    F.embedding(context.relation.clamp(min=0), relations),
                    self._rows(context.value.clamp(min=0), entities),
                ],
                2,
            )
            tokens = torch.cat([tokens, pairs.flatten(1, 2)], 1)
            present = torch.cat([present, there.repeat_interleave(2, 1)], 1)
        out = self.encoder(self._dropped(tokens), present)
        counts = present.sum(1)
        row = torch.repeat_interleave(torch.arange(b, device=anchor.device), counts)
        mean = out.new_zeros(b, self.width).index_add(0, row, out) / counts.unsqueeze(1)
        queries: Tensor = self.back(mean).float()
        return queries

    def pupil(self, graph: KnowledgeGraph, splits: tuple[Split, ...]) -> Self:
        """See `VectorScorer.pupil`; with the edges that messages go along, of the entities that it has learnt."""
        pupil = super().pupil(graph, splits)
        pupil._edges = Edges.of(graph, splits, self.reads or 0, self.entity.device, len(self.entity))
        return pupil

    def taught(self, queries: QueryBatch, answers: Tensor) -> tuple[Tensor, Tensor]:
        """See `VectorScorer.taught`; once it is prepared, through the layers."""
        entities, relations = self.encode() if self._edges is not None else (self.encoded, self.encoded_relation)
        return self._asked(queries, entities, relations), entities[answers]

    def _rows(self, ids: Tensor, entities: Tensor) -> Tensor:
        """float `[..., width]`: of entities, those that were added behind the table."""
        return F.embedding(ids, entities) if self._added is None else Layers(entities, self._added).take(ids)

    @property
    def grows(self) -> bool:
        """An entity is what the layers gave; one that came later has no part in their messages."""
        return True

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """See `VectorScorer.query_vectors`."""
        return self._asked(queries, self.encoded, self.encoded_relation)

    def _asked(self, queries: QueryBatch, entities: Tensor, relations: Tensor) -> Tensor:
        self._check(queries)
        anchor = torch.from_numpy(self._valid(queries.anchor)).to(self.entity.device)
        context = None
        if self.reads:
            context = Context.of(queries, self.reads).to(self.entity.device)
            self._valid(context.value[context.value >= 0].cpu().numpy())
        return self._queries(anchor, self._directed(queries), context, entities, relations)

    def entity_vectors(self) -> Tensor:
        """float32 `[n, width]`: what the layers gave."""
        return self.encoded

    def relation_vectors(self) -> Tensor:
        """float32 `[r, width]`."""
        return self.encoded_relation[: self.r]

    def relation_logits(self, anchor: Tensor, target: Tensor, context: Context | None = None) -> Logits:
        """It asks for no relation.

        Raises:
            RecipeError: always.
        """
        raise RecipeError("stare predicts no relations: training.relation_prediction must be 0")

    def entity_penalty(self, entity: Tensor) -> Tensor:
        """See `VectorScorer.entity_penalty`."""
        return cubed(F.embedding(entity, self.entity), pairs=False)

    def relation_penalty(self, relation: Tensor) -> Tensor:
        """See `VectorScorer.relation_penalty`."""
        return cubed(F.embedding(relation, self.relation), pairs=False)


class Edges:
    """Statements in both directions, and their qualifiers.

    Attributes:
        ends: int64 `[2, k]`: from where to where a message goes; first along all statements, then against them.
        relation: int64 `[k]`, in `[0, 2r)`.
        degree: float32 `[n]`: messages that reach an entity, at least 1.
        pair_statement, pair_relation, pair_value: int64 `[q]`: which statement, in `[0, k/2)`, each pair is of, and the pair.
    """

    def __init__(self, ends: Tensor, relation: Tensor, n: int, pairs: tuple[Tensor, Tensor, Tensor]) -> None:
        self.ends, self.relation = ends, relation
        self.degree = torch.bincount(ends[1], minlength=n).clamp(min=1).float()
        self.pair_statement, self.pair_relation, self.pair_value = pairs

    @classmethod
    def of(
        cls, graph: KnowledgeGraph, splits: tuple[Split, ...], reads: int, device: torch.device, n: int | None = None
    ) -> Edges:
        """From the statements of `splits` between the first `n` entities, by default all; `reads` pairs of each at most."""
        n, table = graph.n if n is None else n, graph.statements
        table = table.take(np.isin(table.split, splits) & (table.subject < n) & (table.object < n))
        queries, filled, _ = graph.questions(Slot.OBJECT, table)
        context = Context.of(queries, reads)
        statement, place = ((context.value >= 0) & (context.relation >= 0)).nonzero(as_tuple=True)
        pairs = statement, context.relation[statement, place], context.value[statement, place]
        ends = torch.from_numpy(np.stack([queries.anchor, filled]).astype(np.int64)).to(device)
        relation = torch.from_numpy(queries.relation.astype(np.int64)).to(device)
        statement, relations, values = (part.to(device) for part in pairs)
        both = torch.cat([ends, ends.flip(0)], 1), torch.cat([relation, relation + graph.r])
        return cls(*both, n, (statement, relations, values))


class Messages(MessagePassing):  # type: ignore[misc]
    """One layer: along an edge goes its start, turned by what it carries; an entity takes the mean, and its own row."""

    def __init__(self, width: int) -> None:
        super().__init__(aggr="add")
        self.of_pairs, self.of_relation = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.along, self.against, self.own = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, h: Tensor, edges: Edges) -> tuple[Tensor, Tensor]:
        """float `[n, width]` and `[2r, width]` → the same."""
        half, messages = len(edges.relation) // 2, []
        pairs = compose(F.embedding(edges.pair_relation, h), F.embedding(edges.pair_value, x), "rotate")
        said = self.of_pairs(x.new_zeros(half, x.shape[1]).index_add(0, edges.pair_statement, pairs)).float()
        # Maps may run in lower precision, sums do not. A map is linear, so it meets the sums: they are fewer than messages.
        for part, map in ((slice(0, half), self.along), (slice(half, None), self.against)):
            carried = torch.add(said * (1 - OF_RELATION), F.embedding(edges.relation[part], h), alpha=OF_RELATION)
            gathered = self.propagate(edges.ends[:, part], x=x, carried=carried, size=(len(x), len(x)))
            messages.append(map(gathered / edges.degree.unsqueeze(1)).float())
        out = self.norm(torch.tanh(messages[0] + messages[1] + self.own(x).float()) + x)
        return out, self.of_relation(h).float()

    def message(self, x_j: Tensor, carried: Tensor) -> Tensor:
        """float `[k, width]`: the start of each edge, turned."""
        return compose(carried, x_j, "rotate")
