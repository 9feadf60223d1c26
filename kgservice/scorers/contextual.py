"""Reads a question's context, finds candidates by vectors, and orders them by writing their names.

One T5 encoder reads the sequence that `contexts` builds: question, description, facts that matter, what images show. Its means
are a vector that entities' vectors are compared with; its decoder writes names of real entities (`generation`). An entity is what
is said of it: there is a row per entity only where `context.structure` asks for it. Sources: Saxena et al. 2022 (KGT5), Kochsiek
et al. 2023 (its contexts), the link-aware contexts of arXiv 2501.15688.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kgservice.arrays.layers import Layers
from kgservice.arrays.ragged import Ragged, offsets_of
from kgservice.contexts import PAD, ContextBuilder, Contexts, Neighbourhood, Segment, Trie
from kgservice.contexts.builder import ORDER
from kgservice.contexts.tokens import FEWEST
from kgservice.contexts.wording import Additional, Plan, Wording, Words, tokenizer_of
from kgservice.encoders import TextEncoder, encoded_width, open_encoder, shared_encoder
from kgservice.errors import DataError, RecipeError
from kgservice.graph import KnowledgeGraph
from kgservice.graph.captions import Captions
from kgservice.graph.statements import Split
from kgservice.query import QueryBatch, Slot
from kgservice.recipe import ModelSettings
from kgservice.resources import home
from kgservice.scorers.base import Answers, Guess, Logits, SecondStage, Term, VectorScorer
from kgservice.scorers.bilinear import ComplEx
from kgservice.scorers.context import Context
from kgservice.scorers.embedding import cubed
from kgservice.scorers.features import read_features
from kgservice.scorers.fusion import GatedFusion
from kgservice.scorers.generation import Beams, Generator, Memory, Names, to_be_written
from kgservice.scorers.stages import Writing
from kgservice.scorers.t5 import Pretrained, stacks
from kgservice.similarity import Metric

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER = "tokenizer.json"
LEARNT_TOKENS = 12
"""Of a name that is learnt to be written: a few long ones would make every batch as long."""


class ContextScorer(VectorScorer):
    """score(s, r, o) = means(encoder(context of s, r)) · vector(what is said of o); then the names of the best are written.

    Args:
        n, r: entities and relations.
        settings: of the model.
    """

    metric: ClassVar[Metric] = "ip"
    slots = frozenset({Slot.SUBJECT, Slot.OBJECT})
    by_entity: ClassVar[tuple[str, ...]] = ("structure.entity", "text_vectors", "features")

    def __init__(self, n: int, r: int, settings: ModelSettings) -> None:
        super().__init__()
        self.n, self.r, self.width, self.settings = n, r, settings.width, settings.context
        self.seed = settings.training.seed
        asked = settings.context
        if asked.vocabulary < FEWEST and not asked.pretrained:
            raise RecipeError(f"context.vocabulary must be at least {FEWEST}, found {asked.vocabulary}")
        self.encoder, self.decoder = stacks(self.width, asked)
        self.embedding = nn.Embedding(asked.vocabulary, self.width)
        self.salience = nn.Parameter(torch.zeros(asked.vocabulary))
        self.asking = nn.Linear(3 * self.width, self.width)
        self.answering = nn.Sequential(nn.Linear(self.width, asked.hidden or 2 * self.width), nn.GELU())
        self.answering.append(nn.Linear(asked.hidden or 2 * self.width, self.width))
        self.structure: ComplEx | None = None
        if asked.structure:
            given = {"width": asked.structure, "initial_scale": settings.initial_scale}
            self.structure = ComplEx.from_settings(settings.model_copy(update=given), n=n, r=r)
        widths = [self.width]
        for name, width in (
            ("text_vectors", 0 if asked.encoder == "none" else encoded_width(asked.encoder)),
            ("features", asked.features_width),
        ):
            self.register_buffer(name, torch.zeros(n if width else 0, width))
            widths += [width] if width else []
        self.text_vectors: Tensor
        self.features: Tensor
        self.fusion = GatedFusion(widths, self.width)
        self.tokenizer: Tokenizer | None = None
        self._worded(Wording.by_number(n, r, asked.vocabulary), Neighbourhood.empty(n, r), Captions())

    @classmethod
    def from_settings(cls, settings: ModelSettings, *, n: int, r: int) -> Self:
        """Read everything from a recipe."""
        if settings.width % settings.context.heads:
            raise RecipeError(
                f"context: width must be a multiple of context.heads, found {settings.width} and {settings.context.heads}"
            )
        if settings.training.relation_prediction:
            raise RecipeError("context predicts no relations: training.relation_prediction must be 0")
        if settings.training.loss != "softmax":
            raise RecipeError(
                f"context writes names: training.loss must be 'softmax', found {settings.training.loss!r}"
            )
        return cls(n, r, settings)

    # What is read of a graph

    def prepare(self, graph: KnowledgeGraph, splits: tuple[Split, ...]) -> None:
        """Learn the tokens of a graph's names and texts, count its facts, read the vectors of other kinds."""
        rows = _rows(graph, splits)
        words = Words.of(graph, self.settings.language, rows)
        if self.settings.pretrained:
            self.tokenizer = self._begin(Pretrained.open(self.settings.pretrained))
        else:
            self.tokenizer = tokenizer_of(words, self.settings.vocabulary)
        self._read(graph, rows, words)
        if len(self.text_vectors):
            encoder = open_encoder(self.settings.encoder, home() / "encoded")
            self.text_vectors.copy_(torch.from_numpy(self._encoded(words.names, words.descriptions, encoder)))
        if len(self.features):
            self.features.copy_(torch.from_numpy(read_features(self.settings, graph)))

    def _encoded(
        self, names: Sequence[str], descriptions: Sequence[str], encoder: TextEncoder | None = None
    ) -> npt.NDArray[np.float32]:
        """float32 `[b, w]`: a sentence encoder's vectors of names and descriptions, coordinates of about one."""
        texts = [f"{name}: {text}" if text else name for name, text in zip(names, descriptions, strict=True)]
        found = (encoder or shared_encoder(self.settings.encoder)).encode(texts)
        return found * np.float32(self.width**0.5)

    def _begin(self, pretrained: Pretrained) -> Tokenizer:
        """Take the weights of a model that was trained elsewhere, and its tokens."""
        names = ("vocabulary", "layers", "decoder_layers", "heads", "gated")
        given = {f"context.{name}": getattr(self.settings, name) for name in names}
        hidden = self.settings.hidden or 2 * self.width
        pretrained.check({**given, "width": self.width, "context.hidden": hidden}, self.encoder.config)
        pretrained.fill(self.encoder, self.decoder, self.embedding)
        return pretrained.tokenizer

    def keep(self, folder: Path) -> None:
        """See `VectorScorer.keep`: the tokenizer; all else is read of the graph again."""
        if self.tokenizer is not None:
            self.tokenizer.save(str(folder / TOKENIZER))

    def reopen(self, folder: Path, graph: KnowledgeGraph, splits: tuple[Split, ...]) -> None:
        """See `VectorScorer.reopen`."""
        from tokenizers import Tokenizer

        path = folder / TOKENIZER
        if not path.is_file():
            raise DataError(f"{path} is missing: a context model reads by its own tokens")
        self.tokenizer = Tokenizer.from_file(str(path))
        rows = _rows(graph, splits)
        self._read(graph, rows, Words.of(graph, self.settings.language, rows))

    def _read(self, graph: KnowledgeGraph, rows: np.ndarray, words: Words) -> None:
        assert self.tokenizer is not None
        wording = Wording.of(words, self.tokenizer, self._plan)
        # An entity's own row of the data sets' alphabet seeds nothing: the seed says what is drawn where there is too much.
        self._worded(wording, Neighbourhood.of(graph, rows, self.seed), graph.captions)

    @property
    def _plan(self) -> Plan:
        return Plan(self.settings.description_tokens, self.settings.visual_tokens)

    def _worded(self, wording: Wording, neighbourhood: Neighbourhood, captions: Captions) -> None:
        self._building(wording, neighbourhood, captions)
        self._said, self._said_of = self._tokens_said(wording, captions)

    def _building(self, wording: Wording, neighbourhood: Neighbourhood, captions: Captions) -> None:
        """What contexts and names are made of."""
        asked = self.settings
        self.builder = ContextBuilder(
            wording,
            neighbourhood,
            captions,
            segments=[Segment(name) for name in asked.segments],
            neighbours=asked.neighbours,
            tokens=asked.tokens,
            spread=asked.spread,
            seed=self.seed,
        )
        self._names = wording.names
        self.__dict__.pop("names", None)

    def _tokens_said(self, wording: Wording, captions: Captions) -> tuple[Tensor, Tensor]:
        """int64: the tokens of what is said of entities, and where those of each begin."""
        said = _said(wording, captions, [Segment(name) for name in self.settings.segments])
        device = self.salience.device
        device = torch.device("cpu") if device.type == "meta" else device
        return torch.from_numpy(said.values.astype(np.int64)).to(device), torch.from_numpy(said.offset).to(device)

    @cached_property
    def names(self) -> Names:
        """The tree of the names that may be written."""
        return Names(Trie.of(self._names), self.salience.device)

    # Vectors

    @property
    def grows(self) -> bool:
        """An entity is what is said of it."""
        return self.tokenizer is not None

    def guessed(self, added: KnowledgeGraph, entities: npt.NDArray[np.int64]) -> Guess:
        """See `VectorScorer.guessed`; where there are rows too, an added entity begins with the mean one."""
        assert self.tokenizer is not None
        words = Additional.of(added, self.settings.language, entities)
        wording = Wording.empty(self.r).beside(words, self.tokenizer, self._plan)
        kinds = []
        if len(self.text_vectors):
            kinds.append(torch.from_numpy(self._encoded(words.labels, words.descriptions)))
        if len(self.features):
            kinds.append(torch.zeros(len(entities), self.features.shape[1]))
        fused = self.fusion([self._of_tokens(*self._tokens_said(wording, Captions())), *kinds])
        if self.structure is not None:
            fused = torch.cat([fused, self.structure.entity.mean(0).expand(len(fused), -1)], 1)
        labels = added.texts.labels(entities, self.settings.language)
        able = [bool(label or text) for label, text in zip(labels, words.descriptions, strict=True)]
        return Guess(None, fused, np.array(able, dtype=bool))

    def grown(self, rows: Tensor, added: KnowledgeGraph | None = None) -> Self:
        """See `VectorScorer.grown`: it reads what is said of them and what they are linked to, and may write their names."""
        grown = super().grown(rows)
        assert self.tokenizer is not None
        assert added is not None
        words = Additional.of(added, self.settings.language, np.arange(self.n, grown.n))
        was = self.builder
        wording = was.wording.beside(words, self.tokenizer, self._plan)
        around = was.neighbourhood.beside(added.statements, len(rows))
        grown._building(wording, around, was.captions)
        return grown

    def contexts(self, queries: QueryBatch, without: Collection[Segment] = ()) -> Contexts:
        """What is read for some questions; the fact that is asked for is not in it."""
        self._check(queries)
        filler = (queries.subject if queries.slot is Slot.SUBJECT else queries.object).astype(np.int32)
        hidden = Ragged(offsets_of(filler >= 0), filler[filler >= 0])
        anchor, relation = self._valid(queries.anchor), self._directed(queries).cpu().numpy()
        return self.builder.build(anchor, relation, hidden=hidden, without=without)

    def memory(self, contexts: Contexts) -> Memory:
        """What the encoder makes of contexts."""
        tokens = torch.from_numpy(contexts.tokens.astype(np.int64)).to(self.salience.device)
        present = tokens != PAD
        states = self.encoder(inputs_embeds=self.embedding(tokens), attention_mask=present.long()).last_hidden_state
        question = torch.from_numpy(contexts.segment == ORDER.index(Segment.QUESTION)).to(present.device)
        return Memory(states, present, question)

    def _remembered(self, queries: QueryBatch) -> Memory:
        return self.memory(self.contexts(queries))

    def asked(self, memory: Memory, anchor: Tensor, relation: Tensor) -> Tensor:
        """float32 `[b, d]`: questions as vectors.

        A mean over all tokens alone would drown the relation, which is two or three of them: beside it stand the mean over the
        question's own tokens, and its first one.
        """
        states = memory.states
        parts = [states[:, 0], *(_mean(states, mask) for mask in (memory.question, memory.present))]
        vectors: Tensor = self.asking(torch.cat(parts, 1)) / 2
        if self.structure is None:
            return vectors.float()
        formula = self.structure
        table = formula.entity
        own = table[anchor] if self._added is None else Layers(table, self._added[:, self.width :]).take(anchor)
        rows = F.dropout(own, formula.entity_dropout, self.training)
        relations = F.dropout(formula.relation_rows(relation), formula.relation_dropout, self.training)
        return torch.cat([vectors, formula.fold(rows, relations)], 1).float()

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """See `VectorScorer.query_vectors`."""
        return self.asked_of(queries, self._remembered(queries))

    def asked_of(self, queries: QueryBatch, memory: Memory) -> Tensor:
        """float32 `[b, d]`: questions as vectors, read before."""
        anchor = torch.from_numpy(self._valid(queries.anchor)).to(self.salience.device)
        return self.asked(memory, anchor, self._directed(queries))

    def entity_vectors(self) -> Tensor:
        """float32 `[n, d]`: of what is said of each, weighted by token, and of vectors of other kinds, gated.

        Of entities that were learnt; those that were added have theirs from what is said and from their facts.
        """
        kinds = [self._of_tokens(self._said, self._said_of)]
        kinds += [vectors for vectors in (self.text_vectors, self.features) if len(vectors)]
        fused = self.fusion(kinds)
        return fused if self.structure is None else torch.cat([fused, self.structure.entity], 1)

    def _of_tokens(self, said: Tensor, offset: Tensor) -> Tensor:
        """float `[b, width]`: entities by the tokens of what is said of each."""
        weight = self.salience.exp()[said]
        sums = F.embedding_bag(
            said, self.embedding.weight, offset, mode="sum", per_sample_weights=weight, include_last_offset=True
        )
        owner = torch.repeat_interleave(torch.arange(len(offset) - 1, device=weight.device), offset.diff())
        total = torch.zeros(len(offset) - 1, device=weight.device).index_add(0, owner, weight)
        mean = sums / total.clamp(min=1e-6).unsqueeze(1)
        found: Tensor = mean + self.answering(mean)
        return found

    def relation_vectors(self) -> Tensor:
        """float32 `[r, 1]`: it answers no questions for relations."""
        return torch.zeros(self.r, 1)

    # Training

    def logits(self, anchor: Tensor, relation: Tensor, context: Context | None = None) -> Logits:
        """See `VectorScorer.logits`."""
        contexts = self.builder.build(anchor.cpu().numpy(), relation.cpu().numpy())
        return Logits(self.asked(self.memory(contexts), anchor, relation), self.entity_vectors())

    def terms(
        self, anchor: Tensor, relation: Tensor, context: Context | None = None, answers: Answers | None = None
    ) -> list[Term]:
        """The answers by their vectors, and one of each question's by the tokens of its name."""
        if answers is None:
            return [Term(self.logits(anchor, relation))]
        hidden = Ragged(answers.offset.cpu().numpy(), answers.target.cpu().numpy().astype(np.int32))
        draw = int(torch.randint(2**31, ()))
        contexts = self.builder.build(anchor.cpu().numpy(), relation.cpu().numpy(), hidden=hidden, draw=draw)
        memory = self.memory(contexts)
        terms = [Term(Logits(self.asked(memory, anchor, relation), self.entity_vectors()))]
        if self.settings.generation:
            chance = torch.rand(len(anchor)).to(answers.offset.device)
            place = answers.offset[:-1] + (chance * answers.offset.diff()).long()
            names = self._names.take(answers.target[place].cpu().numpy())
            queries, written = to_be_written(self.decoder, self.embedding, memory, names, LEARNT_TOKENS)
            terms.append(Term(Logits(queries, self.embedding.weight), self.settings.generation, written))
        return terms

    def relation_logits(self, anchor: Tensor, target: Tensor, context: Context | None = None) -> Logits:
        """Not to be had."""
        raise RecipeError("context predicts no relations")

    def entity_penalty(self, entity: Tensor) -> Tensor:
        """See `VectorScorer.entity_penalty`: of rows, where there are some."""
        if self.structure is None:
            return cubed(self.entity_vectors()[entity], pairs=False)
        return self.structure.cubes(self.structure.entity[entity])

    def relation_penalty(self, relation: Tensor) -> Tensor:
        """See `VectorScorer.relation_penalty`; 0 without rows."""
        if self.structure is None:
            return torch.zeros(len(relation), device=relation.device)
        return self.structure.cubes(self.structure.relation_rows(relation))

    # Writing names

    @property
    def generator(self) -> Generator:
        """Writes names by the weights as they are."""
        return Generator(self.decoder, self.embedding, self.names)

    @property
    def second(self) -> SecondStage | None:
        """See `VectorScorer.second`."""
        if self.settings.answers == "vectors":
            return None
        return Writing(self.settings, self.slots, self._remembered, lambda: self.generator)

    def generate(self, queries: QueryBatch, k: int, width: int = 64) -> Beams:
        """The `k` likeliest names of real entities, by a beam; see `Beams` for what it says of itself."""
        return self.generator.beam(self._remembered(queries), k, width)


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    """float `[b, d]`: of the tokens `[b, s]` that are marked."""
    share = mask.unsqueeze(2).to(states.dtype)
    return (states * share).sum(1) / share.sum(1).clamp(min=1)


def _rows(graph: KnowledgeGraph, splits: tuple[Split, ...]) -> np.ndarray:
    return np.flatnonzero(np.isin(graph.statements.split, splits))


def _said(wording: Wording, captions: Captions, segments: list[Segment]) -> Ragged:
    """ragged `[n]`: the tokens of each entity's name, and of what is said of it in the segments that are read."""
    n, parts = len(wording.names), [wording.names]
    if Segment.DESCRIPTION in segments:
        parts.append(wording.descriptions)
    if Segment.VISUAL in segments and len(captions):
        parts.append(wording.captions.take(captions.rows(np.arange(n), np.full(n, -1))))
    owner = np.concatenate([part.rows() for part in parts])
    values = np.concatenate([part.values for part in parts])
    order = np.argsort(owner, kind="stable")
    return Ragged(offsets_of(np.bincount(owner, minlength=n)), values[order])
