"""HyperFormer: a transformer that reads a question as a short set of tokens, qualifiers among them.

Source: Hu et al. 2023 (CIKM). Its parts are settings: entity neighbours, the meeting of qualifiers and relation, their
convolutional interaction, mixture of experts. Ours, by default: tokens that know their role, one token for a pair so that a
value knows its relation, numbers and dates as places on a scale, and every entity slot asked for, values too.
"""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kgservice.errors import RecipeError
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split
from kgservice.query import QueryBatch, Slot
from kgservice.recipe import ModelSettings, TransformerSettings
from kgservice.scorers.base import Answers, Logits, Term
from kgservice.scorers.composition import compose
from kgservice.scorers.context import MASKED, NOTHING, NUMBER, OTHER, Context
from kgservice.scorers.embedding import TableScorer, cubed
from kgservice.scorers.scales import KNOTS, Scales
from kgservice.scorers.transformer import Transformer, dropout
from kgservice.similarity import Metric

NEIGHBOUR_WEIGHT = 0.5
"""Of the loss that finds an entity from its facts."""
ANCHOR, RELATION, ANSWER, PAIR, ASKED_PAIR = range(5)
"""Roles of tokens."""


class HyperFormer(TableScorer):
    """query = the transformer's output at the hole; score = its inner product with an entity's row.

    Args:
        n, r: entities and relations.
        width: reals per entity.
        settings: of the transformer.
        initial_scale: standard deviation of the initial rows.
        relations: whether it is trained to answer questions for a relation.
    """

    metric: ClassVar[Metric] = "ip"
    mixed: ClassVar[bool] = True

    def __init__(
        self,
        n: int,
        r: int,
        *,
        width: int,
        settings: TransformerSettings,
        initial_scale: float = 0.02,
        relations: bool = False,
    ) -> None:
        super().__init__()
        self.n, self.r, self.width, self.parts = n, r, width, settings
        self.reads = settings.qualifiers or None
        extra = [Slot.RELATION] if relations else []
        self.slots = frozenset({Slot.SUBJECT, Slot.OBJECT, *extra, *([Slot.QUALIFIER] if self.reads else [])})
        self.entity = nn.Parameter(torch.randn(n, width) * initial_scale)
        self.relation = nn.Parameter(torch.randn(2 * r, width) * initial_scale)
        self.hole = nn.Parameter(torch.randn(width) * initial_scale)
        self.literal = nn.Parameter(torch.randn(width) * initial_scale)
        self.role = nn.Parameter(torch.randn(5, width) * initial_scale) if settings.roles else None
        self.measure = nn.Parameter(torch.randn(2 * KNOTS, width) * initial_scale)
        self.scales = Scales(r)
        self.encoder = Transformer.of(width, settings)
        self.interaction = Interaction(width) if settings.interaction else None
        self._facts: _Facts | None = None

    @classmethod
    def from_settings(cls, settings: ModelSettings, *, n: int, r: int) -> Self:
        """Read width, scale and the transformer's settings from a recipe."""
        parts = settings.transformer
        if settings.width % parts.heads:
            raise RecipeError(
                f"{settings.scorer}: width must be a multiple of transformer.heads, found {settings.width} and {parts.heads}"
            )
        if parts.aggregation in ("complex", "rotate") and settings.width % 2:
            raise RecipeError(f"transformer.aggregation = {parts.aggregation!r} needs an even width")
        return cls(
            n,
            r,
            width=settings.width,
            settings=parts,
            initial_scale=settings.initial_scale,
            relations=settings.training.relation_prediction > 0,
        )

    def prepare(self, graph: KnowledgeGraph, splits: tuple[Split, ...]) -> None:
        """Take the scales of numbers from the statements, and the facts of every entity where neighbours are drawn."""
        if self.reads:
            self.scales.fit(graph, splits)
        if self.parts.neighbours:
            self._facts = _Facts(graph, splits, self.reads or 0)

    def logits(self, anchor: Tensor, relation: Tensor, context: Context | None = None) -> Logits:
        """See `VectorScorer.logits`: the plain pass."""
        return Logits(self._plain(anchor, relation, context), self.entity)

    def terms(
        self, anchor: Tensor, relation: Tensor, context: Context | None = None, answers: Answers | None = None
    ) -> list[Term]:
        """The plain pass; what neighbours say of the anchor; the second pass, after the interaction."""
        context = self._hidden(context)
        tokens, present = self._tokens(anchor, relation, context)
        place = self._place(relation, context)
        of_relation = None
        if self.interaction is None:
            hole = self.encoder(tokens, present, place)
        else:
            counts = present.sum(1)
            starts = counts.cumsum(0) - counts
            out = self.encoder(tokens, present)
            hole, of_relation = out[starts + place], out[starts + 1]
        terms = [Term(Logits(hole, self.entity))]
        of_anchor = None
        if self._facts is not None:
            fact, fact_context, said_of, used = self._facts.draw(anchor, relation, self.parts.neighbours)
            said = self._plain(*fact, fact_context)
            terms.append(Term(Logits(said, self.entity), NEIGHBOUR_WEIGHT, said_of))
            of_anchor = said.new_zeros(len(anchor), self.width).index_add(0, used, said)
            counts = torch.bincount(used, minlength=len(anchor)).clamp(min=1)
            of_anchor = of_anchor / counts.unsqueeze(1)
        if self.interaction is not None or self.parts.aggregation != "none":
            of_pairs = self._aggregated(context, len(anchor)) if self.parts.aggregation != "none" else None
            first, second = tokens[:, 0], tokens[:, 1]
            if of_relation is None:
                second = second + (of_pairs if of_pairs is not None else 0)
            else:
                first, second = self._interact(first, of_relation, of_anchor, of_pairs)
            again = torch.cat([first.unsqueeze(1), second.unsqueeze(1), tokens[:, 2:]], 1)
            terms.append(Term(Logits(self.encoder(again, present, place), self.entity)))
        return terms

    def _hidden(self, context: Context | None) -> Context | None:
        """The context without some of its pairs, in training; what is asked for stays."""
        share = self.parts.pair_dropout
        if context is None or not (self.training and share):
            return context
        hide = (torch.rand(context.number.shape, device=context.number.device) < share) & (context.value != MASKED)
        return context._replace(
            relation=context.relation.masked_fill(hide, -1), value=context.value.masked_fill(hide, NOTHING)
        )

    def _plain(self, anchor: Tensor, relation: Tensor, context: Context | None) -> Tensor:
        """float `[b, width]`: outputs at the hole.

        A relation of -1 is the hole itself; the context then says what fills the answer's place.
        """
        out: Tensor = self.encoder(*self._tokens(anchor, relation, context), self._place(relation, context))
        return out

    def _tokens(self, anchor: Tensor, relation: Tensor, context: Context | None) -> tuple[Tensor, Tensor]:
        """float `[b, t, width]` and bool `[b, t]`: anchor, relation, hole or what fills it, and pairs."""
        b = len(anchor)
        if context is None:
            rows, of_value, answer = self.rows_of(anchor), None, self.hole.expand(b, -1)
        else:
            filled, named = context.filler >= 0, context.value >= 0
            ids = torch.cat([anchor, context.filler[filled], context.value[named]])
            rows, of_filler, of_value = torch.split(self.rows_of(ids), [b, int(filled.sum()), int(named.sum())])
            answer = self.hole.expand(b, -1).index_copy(0, filled.nonzero().squeeze(1), of_filler)
        asks = (relation < 0).unsqueeze(1)
        relations = torch.where(asks, self.hole, F.embedding(relation.clamp(min=0), self.relation))
        main = torch.stack([rows, relations, answer], 1)
        if self.role is not None:
            main = main + self.role[:3]
        present = torch.ones(b, 3, dtype=torch.bool, device=anchor.device)
        if context is None or context.relation.shape[1] == 0:
            return self._dropped(main), present
        assert of_value is not None
        there = context.relation >= 0
        values = self._values(context, of_value)
        relations = F.embedding(context.relation.clamp(min=0), self.relation)
        if self.role is None:
            pairs, there = torch.stack([relations, values], 2).flatten(1, 2), there.repeat_interleave(2, 1)
        else:
            role = F.embedding(PAIR + (context.value == MASKED).long(), self.role)
            pairs = relations + values + role
        return self._dropped(torch.cat([main, pairs], 1)), torch.cat([present, there], 1)

    def _dropped(self, tokens: Tensor) -> Tensor:
        return dropout(tokens, self.parts.input_dropout if self.training else 0.0)

    def _values(self, context: Context, of_entities: Tensor) -> Tensor:
        """float `[b, p, width]`: what stands for the value of each pair."""
        value = context.value
        out = of_entities.new_zeros(value.numel(), self.width)
        out = out.index_copy(0, (value >= 0).flatten().nonzero().squeeze(1), of_entities).view(*value.shape, -1)
        for constant, row in ((MASKED, self.hole), (OTHER, self.literal)):
            out = torch.where((value == constant).unsqueeze(-1), row, out)
        numbers = (value == NUMBER).nonzero(as_tuple=True)
        if len(numbers[0]):
            low, share = self.scales(context.relation[numbers], context.number[numbers])
            between = torch.lerp(self.measure[low], self.measure[low + 1], share.unsqueeze(1))
            out = out.index_put(numbers, between)
        return out

    def _place(self, relation: Tensor, context: Context | None) -> Tensor:
        """int64 `[b]`: which of a question's tokens is the hole."""
        place = torch.where(relation < 0, 1, 2)
        if context is None:
            return place
        # The asked pair is the first; without roles its value is the second of its tokens.
        return torch.where(context.asks_value, 3 if self.role is not None else 4, place)

    def _aggregated(self, context: Context | None, b: int) -> Tensor:
        """float `[b, width]`: the mean over pairs of relation and value composed, 0 where there is none."""
        if context is None or context.relation.shape[1] == 0:
            return self.hole.new_zeros(b, self.width)
        named = (context.relation >= 0) & (context.value >= 0)
        values = self._values(context, self.rows_of(context.value[context.value >= 0]))
        relations = F.embedding(context.relation.clamp(min=0), self.relation)
        composed = compose(relations, values, self.parts.aggregation) * named.unsqueeze(-1)
        return composed.sum(1) / named.sum(1, keepdim=True).clamp(min=1)

    def _interact(
        self, anchor: Tensor, relation: Tensor, of_anchor: Tensor | None, of_pairs: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What re-enters in the places of anchor and relation."""
        assert self.interaction is not None
        entity = anchor if of_anchor is None else of_anchor
        first, second = self.interaction(entity, relation)
        if of_pairs is None:
            return first, second
        other_first, _ = self.interaction(entity, of_pairs)
        other_second, _ = self.interaction(relation, of_pairs)
        return (first + other_first) / 2, (second + other_second) / 2

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """See `VectorScorer.query_vectors`: the plain pass, as published."""
        self._check(queries)
        device = self.entity.device
        anchor = torch.from_numpy(self._valid(queries.anchor)).to(device)
        context = None
        if self.reads or queries.slot is Slot.RELATION:
            context = Context.of(queries, self.reads or 0).to(device)
            self._valid(context.value[context.value >= 0].cpu().numpy())
            self._valid(context.filler[context.filler >= 0].cpu().numpy())
        hole = torch.full((len(queries),), -1, device=device)
        relation = hole if queries.slot is Slot.RELATION else self._directed(queries)
        return self._plain(anchor, relation, context)

    @property
    def grows(self) -> bool:
        """An entity is its row, as what is asked about, as an answer and as a value."""
        return True

    def relation_vectors(self) -> Tensor:
        """float32 `[r, width]`."""
        return self.relation[: self.r]

    def relation_logits(self, anchor: Tensor, target: Tensor, context: Context | None = None) -> Logits:
        """See `VectorScorer.relation_logits`."""
        if context is None:
            context = Context.empty(len(anchor), anchor.device)
        hole = torch.full_like(anchor, -1)
        return Logits(self._plain(anchor, hole, context._replace(filler=target)), self.relation)

    def entity_penalty(self, entity: Tensor) -> Tensor:
        """See `VectorScorer.entity_penalty`."""
        return cubed(self.rows_of(entity), pairs=False)

    def relation_penalty(self, relation: Tensor) -> Tensor:
        """See `VectorScorer.relation_penalty`."""
        return cubed(F.embedding(relation, self.relation), pairs=False)


class Interaction(nn.Module):
    """Two vectors, chequered into one picture, convolved with its edges joined, and each opened to the other by a gate."""

    FILTERS, KERNEL = 96, 9

    def __init__(self, width: int) -> None:
        super().__init__()
        self.height = _nearest_divisor(2 * width)
        self.convolve = nn.Conv2d(1, self.FILTERS, self.KERNEL, padding=self.KERNEL // 2, padding_mode="circular")
        self.back = nn.Linear(self.FILTERS * 2 * width, 2 * width)

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """float `[b, width]` twice → the same, each a mixture of both."""
        picture = torch.stack([a, b], 2).flatten(1).view(len(a), 1, self.height, -1).clone()
        # Neighbours in a row alternate already; every other row is turned, so that columns alternate too.
        picture[:, :, 1::2] = picture[:, :, 1::2].roll(1, -1)
        gate = self.back(F.relu(self.convolve(picture)).flatten(1)).sigmoid().float()
        of_a, of_b = gate.chunk(2, 1)
        return torch.lerp(b, a, of_a), torch.lerp(a, b, of_b)


class _Facts:
    """The training questions that each entity answers."""

    def __init__(self, graph: KnowledgeGraph, splits: tuple[Split, ...], reads: int) -> None:
        self.r = graph.r
        table = graph.statements.take(np.isin(graph.statements.split, splits))
        answers, anchors, relations, contexts = [], [], [], []
        for slot in (Slot.OBJECT, Slot.SUBJECT):
            queries, filled, _ = graph.questions(slot, table)
            answers.append(filled)
            anchors.append(queries.anchor)
            relations.append(queries.relation + (graph.r if slot is Slot.SUBJECT else 0))
            contexts.append(Context.of(queries, reads))
        answer = np.concatenate(answers)
        order = torch.from_numpy(np.argsort(answer, kind="stable"))
        counts = np.bincount(answer, minlength=graph.n)
        self.offset = torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]))
        self.anchor = torch.from_numpy(np.concatenate(anchors).astype(np.int64))[order]
        self.relation = torch.from_numpy(np.concatenate(relations).astype(np.int64))[order]
        self.context = Context.joined(contexts).take(order)

    def draw(
        self, entity: Tensor, relation: Tensor, count: int
    ) -> tuple[tuple[Tensor, Tensor], Context, Tensor, Tensor]:
        """Up to `count` facts of each entity, none of the asked relation, so that none gives the answer away.

        Returns:
            anchors and relations int64 `[k]`, their context, the entity of each fact, and its row in `entity`.
        """
        start, size = self.offset[entity], self.offset[entity + 1] - self.offset[entity]
        row = torch.arange(len(entity)).repeat_interleave(count)
        row = row[size[row] > 0]
        place = start[row] + (torch.rand(len(row)) * size[row]).long().clamp_max(size[row] - 1)
        kept = self.relation[place] != (relation[row] + self.r) % (2 * self.r)
        row, place = row[kept], place[kept]
        return (self.anchor[place], self.relation[place]), self.context.take(place), entity[row], row


def _nearest_divisor(size: int) -> int:
    """The largest divisor of `size` not above its root."""
    return max(k for k in range(1, int(size**0.5) + 1) if size % k == 0)
