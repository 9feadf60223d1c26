"""What someone who has typed a few letters may mean: entities, types or properties."""

from __future__ import annotations

from typing import Literal

import numpy as np

from kgservice.answers import MAX_K, Named
from kgservice.engine import Engine
from kgservice.errors import InvalidQuestion
from kgservice.reconciliation.agreement import ALIKE, of_names
from kgservice.search.folding import fold

Kind = Literal["entity", "type", "property"]


def suggest(
    engine: Engine, kind: Kind, prefix: str, *, limit: int, offset: int = 0, language: str = "en"
) -> list[Named]:
    """Things whose name or id begins with what was typed, then those that hold it, then those alike.

    An empty prefix gives all types or properties, and no entity.

    Raises:
        InvalidQuestion: limit and offset together are over 1,000.
    """
    if limit < 1 or offset < 0 or limit + offset > MAX_K:
        raise InvalidQuestion(f"limit must be at least 1, and with offset at most {MAX_K}; found {limit} and {offset}")
    if kind == "entity":
        if not prefix.strip():
            return []
        matches = engine.search(prefix, k=limit + offset, language=language, mode="lexical").matches
        return [Named(one.id, one.label or one.id, one.description) for one in matches[offset:]]
    return sorted_by(prefix, everything(engine, kind, language))[offset : offset + limit]


def everything(engine: Engine, kind: Literal["type", "property"], language: str) -> list[Named]:
    """All types or properties, with a label where there is one, else the id."""
    graph = engine.graph
    names, texts, vocabulary = (
        (engine.types, graph.types.texts, graph.types.vocabulary)
        if kind == "type"
        else (engine.relations, graph.relation_texts, graph.relations)
    )
    labels = texts.labels(np.arange(len(vocabulary)), language)
    ids = [names.short(name) for name in vocabulary.names.to_pylist()]
    return [Named(id, label or id) for id, label in zip(ids, labels, strict=True)]


def sorted_by(prefix: str, offered: list[Named]) -> list[Named]:
    """Those that fit what was typed, the best first."""
    typed = fold(prefix)
    if not typed:
        return offered
    ranked = []
    for place, one in enumerate(offered):
        names = (fold(one.label or ""), fold(one.id), fold(one.id.rpartition(":")[2]))
        if one.id == prefix.strip():
            rank = 0.0
        elif any(name.startswith(typed) for name in names):
            rank = 1.0 + min(len(name) for name in names if name.startswith(typed)) / 1e6
        elif any(typed in name for name in names):
            rank = 2.0
        else:
            alike = max(of_names(prefix, name) for name in names)
            if alike < ALIKE:
                continue
            rank = 4.0 - alike
        ranked.append((rank, place))
    return [offered[place] for _, place in sorted(ranked)]
