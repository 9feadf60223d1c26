"""Candidate names as one table, and what sources are asked with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from kgservice.graph.texts import TextKind, Texts
from kgservice.naming.normalising import key

CANDIDATES: Final = pl.Schema(
    {"entity": pl.Int32, "name": pl.String, "source": pl.String, "votes": pl.Float64, "primary": pl.Boolean}
)
"""One row for a name that a source gives an entity.

`votes` is how strongly the source speaks for it, 1 where it says no more; with 0 votes a name is asked about, not proposed.
`primary` marks what comes of a label rather than of an alias. A source whose name begins with `DERIVED` makes names from those
of other sources, and adds no support of its own.
"""
DERIVED: Final = "form:"
MAX_CHARACTERS: Final = 400
"""A longer name is no name."""
NAMES: Final = (TextKind.LABEL, TextKind.ALIAS)


@dataclass(frozen=True)
class Wanted:
    """Entities that need texts in a language, and what is known of them in others.

    Attributes:
        entities: int32 `[b]`, ids, sorted.
        iris: their names in the graph, `[b]`.
        texts: columns entity (int32), kind (int8), language, text; of `entities`, **without any of `language`**, so that no
            source can give back what is asked for.
        language: code of the language wanted.
        kind: `DESCRIPTION`, or `LABEL` for names.
    """

    entities: npt.NDArray[np.int32]
    iris: list[str]
    texts: pl.DataFrame
    language: str
    kind: TextKind = TextKind.LABEL

    @property
    def kinds(self) -> tuple[TextKind, ...]:
        """Which kinds of texts say what is wanted."""
        return NAMES if self.kind == TextKind.LABEL else (self.kind,)

    def iri_of(self) -> pl.DataFrame:
        """Columns entity and iri, to join by either."""
        return pl.DataFrame({"entity": self.entities, "iri": self.iris}, schema={"entity": pl.Int32, "iri": pl.String})


def texts_frame(texts: Texts, entities: npt.NDArray[np.int32]) -> pl.DataFrame:
    """The texts of sorted entities: columns entity, kind, language, text; only their stretches of the table are read."""
    first = np.searchsorted(texts.owner, entities, side="left")
    last = np.searchsorted(texts.owner, entities, side="right")
    counts = last - first
    rows = np.repeat(first - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) + np.arange(counts.sum())
    taken = pa.array(rows, type=pa.int64())
    return pl.DataFrame(
        {
            "entity": texts.owner[rows],
            "kind": texts.kind[rows],
            "language": pl.from_arrow(texts.language.take(taken)),
            "text": pl.from_arrow(texts.text.take(taken)),
        },
        schema={"entity": pl.Int32, "kind": pl.Int8, "language": pl.String, "text": pl.String},
    )


def wanted(
    texts: Texts, iris: list[str], entities: npt.NDArray[np.int32], language: str, kind: TextKind = TextKind.LABEL
) -> Wanted:
    """What sources are asked with for some entities."""
    known = texts_frame(texts, entities).filter(pl.col("language") != language)
    return Wanted(entities, iris, known, language, kind)


def batches(entities: npt.NDArray[np.int32], size: int) -> Iterator[npt.NDArray[np.int32]]:
    """Stretches of at most `size`."""
    for start in range(0, len(entities), size):
        yield entities[start : start + size]


def tidied(name: pl.Expr) -> pl.Expr:
    """A name on one line, without spaces at its ends or several in a row."""
    return name.str.replace_all(r"[\s\p{Cc}\p{Zl}\p{Zp}]+", " ").str.strip_chars()


def tidy(candidates: pl.DataFrame) -> pl.DataFrame:
    """Rows of `CANDIDATES` with a column `key`; spaces at the ends, empty and endless names go, votes of equal names add up."""
    return (
        candidates.lazy()
        .with_columns(tidied(pl.col("name")))
        .with_columns(key=key(pl.col("name")))
        .filter((pl.col("key").str.strip_chars() != "") & (pl.col("name").str.len_chars() <= MAX_CHARACTERS))
        .group_by("entity", "key", "name", "source")
        .agg(pl.col("votes").sum(), pl.col("primary").any())
        .sort("entity", "key", "name", "source")
        .collect()
    )


def none() -> pl.DataFrame:
    """No candidates."""
    return pl.DataFrame(schema=CANDIDATES)
