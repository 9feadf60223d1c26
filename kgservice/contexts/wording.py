"""How entities and relations of a graph are worded, and the tokens of all that can be said of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from kgservice.arrays.ragged import Ragged, offsets_of
from kgservice.contexts import tokens as special
from kgservice.contexts.tokens import encoded, train_tokenizer
from kgservice.graph import KnowledgeGraph
from kgservice.graph.texts import TextKind
from kgservice.graph.vocabulary import local_name

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LABEL_TOKENS = 12
"""Of an entity's label in a context at most."""
ATTEMPTS = 4
"""At telling names apart that a tokenizer reads alike."""
HINTED = 4
"""Usual answers that a hint names."""


@dataclass(frozen=True)
class Words:
    """Everything as text, before it is tokens.

    Attributes:
        names: `[n]`, each there once: what is written.
        labels: `[n]`, several may have the same: what is read.
        relations: `[r]`.
        descriptions: `[n]`, empty where there is none.
        hints: `[2r]`: what usually answers a relation and its inverse.
        captions: `[c]`, what images show.
    """

    names: Sequence[str]
    labels: Sequence[str]
    relations: Sequence[str]
    descriptions: Sequence[str]
    hints: Sequence[str]
    captions: Sequence[str]

    @classmethod
    def of(cls, graph: KnowledgeGraph, language: str, statements: npt.NDArray[np.int64]) -> Words:
        """Those of a graph.

        Args:
            graph: where labels, descriptions and captions are.
            language: of the texts, where there is one in it.
            statements: int64, rows that hints are counted from: those that are learnt.
        """
        every = np.arange(graph.r)
        relations = [
            label or local_name(name).replace("_", " ")
            for label, name in zip(
                graph.relation_texts.labels(every, language), graph.relations.names_of(every), strict=True
            )
        ]
        labels = _labels(graph, language)
        found = graph.texts.preferred(np.arange(graph.n), TextKind.DESCRIPTION, language)
        descriptions = [text or "" for text in found]
        hints = _hints(graph, labels, statements)
        return cls(unique_names(graph, language), labels, relations, descriptions, hints, list(graph.captions.texts))


class Additional(NamedTuple):
    """Entities that come after the tokens were learnt.

    Attributes:
        labels: `[a]`, or the readable ends of their ids.
        descriptions: `[a]`, empty where there is none.
        ids: `[a]`, their full names.
    """

    labels: Sequence[str]
    descriptions: Sequence[str]
    ids: Sequence[str]

    @classmethod
    def of(cls, graph: KnowledgeGraph, language: str, entities: npt.NDArray[np.int64]) -> Additional:
        """Some entities of a graph."""
        found = graph.texts.preferred(entities, TextKind.DESCRIPTION, language)
        ids = graph.entities.names_of(entities)
        return cls(_labels(graph, language, entities), [text or "" for text in found], ids)

    def told_from(self, names: Ragged, tokenizer: Tokenizer) -> Ragged:
        """ragged `[a]`: the tokens of what each is called, so that no two are alike, nor like one of `names`."""
        taken = {tokens.tobytes() for tokens in names}
        told = list(zip(self.labels, self.descriptions, self.ids, strict=True))
        ways: list[list[str]] = [
            list(self.labels),
            [f"{name} ({text})" if text else name for name, text, _ in told],
            [f"{name} ({local_name(id)})" for name, _, id in told],
            list(self.ids),
            *([f"{id} {number}" for id in self.ids] for number in range(2, 2 + ATTEMPTS)),
        ]
        found: list[npt.NDArray[np.int32]] = [np.empty(0, np.int32)] * len(told)
        open_rows = list(range(len(told)))
        for way in ways:
            read = encoded(tokenizer, [way[row] for row in open_rows])
            left = []
            for row, tokens in zip(open_rows, read, strict=True):
                if tokens.tobytes() in taken:
                    left.append(row)
                else:
                    taken.add(tokens.tobytes())
                    found[row] = tokens
            if not (open_rows := left):
                break
        return Ragged(offsets_of([len(tokens) for tokens in found]), np.concatenate([np.empty(0, np.int32), *found]))


class Plan(NamedTuple):
    """How many tokens of each are kept at most."""

    description: int
    visual: int


@dataclass(frozen=True)
class Wording:
    """The tokens of everything that can be said.

    Attributes:
        names: ragged `[n]`, whole names, each there once.
        labels: ragged `[n]`, as entities are called in a context.
        asked: ragged `[2r]`: a relation at the head of a question.
        stated: ragged `[2r]`: the same at the head of a neighbour.
        descriptions: ragged `[n]`, with their mark.
        hints: ragged `[2r]`, with their mark.
        captions: ragged `[c]`, without one.
    """

    names: Ragged
    labels: Ragged
    asked: Ragged
    stated: Ragged
    descriptions: Ragged
    hints: Ragged
    captions: Ragged

    @classmethod
    def of(cls, words: Words, tokenizer: Tokenizer, plan: Plan) -> Wording:
        """By a tokenizer that was trained before."""
        names = _told_apart(words.names, tokenizer)
        phrases = encoded(tokenizer, words.relations)
        return cls(
            names,
            encoded(tokenizer, words.labels, LABEL_TOKENS),
            _directed(phrases, special.QUESTION, special.OF),
            _directed(phrases, special.NEIGHBOUR, special.IS),
            encoded(tokenizer, words.descriptions, plan.description, special.DESCRIPTION),
            encoded(tokenizer, words.hints, plan.description, special.HINT),
            encoded(tokenizer, words.captions, plan.visual),
        )

    @classmethod
    def empty(cls, r: int) -> Wording:
        """Of a graph without entities."""
        nothing = Ragged.empty
        return cls(nothing(0), nothing(0), nothing(2 * r), nothing(2 * r), nothing(0), nothing(2 * r), nothing(0))

    def beside(self, words: Additional, tokenizer: Tokenizer, plan: Plan) -> Wording:
        """With entities behind those there are, whose names are told apart from all others.

        Args:
            words: of the added ones.
            tokenizer, plan: as for `of`.
        """
        return replace(
            self,
            names=Ragged.joined([self.names, words.told_from(self.names, tokenizer)]),
            labels=Ragged.joined([self.labels, encoded(tokenizer, words.labels, LABEL_TOKENS)]),
            descriptions=Ragged.joined(
                [self.descriptions, encoded(tokenizer, words.descriptions, plan.description, special.DESCRIPTION)]
            ),
        )

    @classmethod
    def by_number(cls, n: int, r: int, size: int) -> Wording:
        """Of a graph that is not read yet: every entity and relation is its number.

        Args:
            n, r: entities and relations.
            size: tokens there are.
        """
        base = size - len(special.SPECIALS)
        names, phrases = (_numerals(count, base) for count in (n, r))
        nothing = Ragged.empty
        return cls(
            names,
            names,
            _directed(phrases, special.QUESTION, special.OF),
            _directed(phrases, special.NEIGHBOUR, special.IS),
            nothing(n),
            nothing(2 * r),
            nothing(0),
        )


def tokenizer_of(words: Words, size: int) -> Tokenizer:
    """A tokenizer of a graph's own names and texts."""
    corpus = (*words.labels, *words.names, *words.relations, *words.descriptions, *words.hints, *words.captions)
    return train_tokenizer(corpus, size)


def unique_names(graph: KnowledgeGraph, language: str = "en") -> list[str]:
    """`[n]`: what each entity is called, no two alike.

    A name that several share is followed by the description in brackets, and where that does not tell them apart, by the end
    of the entity's id, at last by the whole of it.
    """
    every = np.arange(graph.n)
    ids = graph.entities.names_of(every)
    descriptions = graph.texts.preferred(every, TextKind.DESCRIPTION, language)
    names = _labels(graph, language)
    ways: list[Sequence[str]] = [
        [f"{name} ({text})" if text else name for name, text in zip(names, descriptions, strict=True)],
        [f"{name} ({local_name(id)})" for name, id in zip(names, ids, strict=True)],
        ids,
    ]
    for way in ways:
        shared = {name for name, count in Counter(names).items() if count > 1}
        if not shared:
            break
        names = [other if name in shared else name for name, other in zip(names, way, strict=True)]
    return names


def _told_apart(names: Sequence[str], tokenizer: Tokenizer) -> Ragged:
    """ragged `[n]`: the tokens of names that are unique.

    A tokenizer that was made elsewhere may read some alike, as it does not know their letters: all but the first are numbered.
    """
    found, said = encoded(tokenizer, names), list(names)
    for _ in range(ATTEMPTS):
        times: Counter[bytes] = Counter()
        again = []
        for row, tokens in enumerate(found):
            key = tokens.tobytes()
            times[key] += 1
            if times[key] > 1:
                again.append(row)
                said[row] = f"{said[row]} {times[key]}"
        if not again:
            break
        place = np.arange(len(found))
        place[again] = len(found) + np.arange(len(again))
        found = Ragged.joined([found, encoded(tokenizer, [said[row] for row in again])]).take(place)
    return found


def _labels(graph: KnowledgeGraph, language: str, entities: npt.NDArray[np.int64] | None = None) -> list[str]:
    """`[n]`: the label of each entity, or the readable end of its id; never empty."""
    every = np.arange(graph.n) if entities is None else entities
    return [
        " ".join((label or local_name(id).replace("_", " ")).split()) or id
        for label, id in zip(graph.texts.labels(every, language), graph.entities.names_of(every), strict=True)
    ]


def _hints(graph: KnowledgeGraph, labels: Sequence[str], rows: npt.NDArray[np.int64]) -> list[str]:
    """The usual answers of each relation and inverse, the most frequent first, where some are met more than once."""
    table = graph.statements
    both = np.concatenate([table.relation[rows].astype(np.int64), table.relation[rows] + np.int64(graph.r)])
    answer = np.concatenate([table.object[rows], table.subject[rows]]).astype(np.int64)
    keys, counts = np.unique(both * graph.n + answer, return_counts=True)
    relation, entity = keys // graph.n, keys % graph.n
    order = np.lexsort((entity, -counts, relation))
    order = order[counts[order] > 1]
    starts = np.searchsorted(relation[order], np.arange(2 * graph.r + 1))
    return [
        ", ".join(labels[entity[place]] for place in order[low : min(high, low + HINTED)])
        for low, high in pairwise(starts.tolist())
    ]


def _directed(phrases: Ragged, first: int, last: int) -> Ragged:
    """ragged `[2r]`: mark, phrase, mark; the inverses, behind, with one mark more."""
    straight = [[first, *phrase.tolist(), last] for phrase in phrases]
    reverse = [[first, special.REVERSE, *phrase.tolist(), last] for phrase in phrases]
    return Ragged.of([*straight, *reverse])


def _numerals(count: int, base: int) -> Ragged:
    """Numbers below `count` as digits of a base, behind the special tokens; equally long."""
    digits = max(1, int(np.ceil(np.log(max(count, 2)) / np.log(base))))
    powers = base ** np.arange(digits)[::-1]
    table = np.arange(count)[:, None] // powers % base + len(special.SPECIALS)
    return Ragged(np.arange(count + 1, dtype=np.int64) * digits, table.astype(np.int32).ravel())
