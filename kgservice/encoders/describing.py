"""Entities as texts, for what reads text: the encoders of search and of scorers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kgservice.graph import KnowledgeGraph
from kgservice.graph.texts import TextKind
from kgservice.graph.vocabulary import local_name
from kgservice.recipe.template import DEFAULT_TEMPLATE, Template


def described(
    graph: KnowledgeGraph,
    template: str = DEFAULT_TEMPLATE,
    language: str = "en",
    entities: npt.NDArray[np.int64] | None = None,
) -> list[str]:
    """One text for each entity, empty where nothing that the template asks for is known.

    Args:
        graph: where labels, descriptions, aliases and types are.
        template: see `recipe.template`.
        language: of the texts, where there is one in it; see `Texts.preferred`.
        entities: int64 `[v]`; all by default.
    """
    plan = Template.parse(template)
    everyone = np.arange(graph.n) if entities is None else entities
    columns: dict[str, Sequence[str | None]] = {
        "label": graph.texts.labels(everyone, language),
        "description": _descriptions(graph, everyone, language),
    }
    if "types" in plan.fields:
        columns["types"] = _types(graph, everyone, language)
    if "aliases" in plan.fields:
        columns["aliases"] = _aliases(graph, everyone, language)
    rows = zip(*columns.values(), strict=True)
    return [plan.fill({name: value or "" for name, value in zip(columns, row, strict=True)}) for row in rows]


def described_types(
    graph: KnowledgeGraph, template: str, language: str = "en", types: npt.NDArray[np.int64] | None = None
) -> list[str]:
    """One text for each type, of its label and description; empty where it has neither.

    Args:
        graph: where they are.
        template: of `{label}` and `{description}`; other fields are empty.
        language: as for `described`.
        types: int64 `[c]`; all by default.
    """
    plan, texts = Template.parse(template), graph.types.texts
    every = np.arange(len(graph.types)) if types is None else types
    columns = texts.labels(every, language), texts.preferred(every, TextKind.DESCRIPTION, language)
    return [
        plan.fill({"label": label or "", "description": description or ""})
        for label, description in zip(*columns, strict=True)
    ]


def _descriptions(graph: KnowledgeGraph, entities: npt.NDArray[np.int64], language: str) -> list[str | None]:
    """The preferred one of each entity, and behind it the others in its language: sources may differ in what they say."""
    texts = graph.texts
    found = texts.preferred(entities, TextKind.DESCRIPTION, language)
    several = texts.several(TextKind.DESCRIPTION)
    for place, entity in enumerate(entities.tolist() if several else []):
        if entity in several:
            rows = [(of, text) for kind, of, text in texts.rows(entity) if kind is TextKind.DESCRIPTION]
            chosen = min((of for of, text in rows if text == found[place]), key=lambda of: of != language)
            found[place] = ". ".join(text.removesuffix(".") for of, text in rows if of == chosen)
    return found


def _types(graph: KnowledgeGraph, entities: npt.NDArray[np.int64], language: str) -> list[str]:
    if not len(graph.types.of_entity):
        return [""] * len(entities)
    labels = graph.types.texts.labels(np.arange(len(graph.types)), language)
    names = graph.types.vocabulary.names.to_pylist()
    shown = [label or local_name(name) for label, name in zip(labels, names, strict=True)]
    return [", ".join(shown[kind] for kind in graph.types.of_entity[entity].tolist()) for entity in entities.tolist()]


def _aliases(graph: KnowledgeGraph, entities: npt.NDArray[np.int64], language: str) -> list[str]:
    found = []
    for entity in entities.tolist():
        rows = graph.texts.rows(entity)
        found.append(", ".join(text for kind, of, text in rows if kind is TextKind.ALIAS and of in (language, "")))
    return found
