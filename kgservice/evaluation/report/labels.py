"""Names and numbers as people read them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from kgservice.graph import KnowledgeGraph
from kgservice.graph.names import Names
from kgservice.graph.texts import Texts
from kgservice.graph.vocabulary import Vocabulary


def labels_of(texts: Texts, vocabulary: Vocabulary, ids: npt.ArrayLike, graph: KnowledgeGraph) -> list[str]:
    """A label for each id, else its name, shortened by a prefix where one fits."""
    short = Names.entities(vocabulary, graph.prefixes, "").short
    ids = np.asarray(ids, dtype=np.int64)
    named = zip(texts.labels(ids), vocabulary.names_of(ids), strict=True)
    return [cut(label or short(name), 160) for label, name in named]


def cut(text: str, length: int) -> str:
    """At most `length` signs."""
    return text if len(text) <= length else text[: length - 1] + "…"


def figure_text(value: float | None, places: int = 3) -> str:
    """A number as a table shows it; a dash where nothing was measured."""
    return "–" if value is None or not math.isfinite(value) else f"{value:,.{places}f}"
