"""The texts of a graph while a copy is made of them: tables of rows (owner, kind, language, text), changed step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from kgservice.arrays.ordering import mix
from kgservice.graph import KnowledgeGraph
from kgservice.graph.texts import FALLBACK_LANGUAGES, TextKind, Texts
from kgservice.graph.vocabulary import Vocabulary
from kgservice.perturbation.mentions import Mentions, replace_mentions
from kgservice.perturbation.strings import exchanged, strings_like

_DESCRIPTION = pl.col("kind") == int(TextKind.DESCRIPTION)
_NAME = ~_DESCRIPTION
_ROW = ("owner", "kind", "language", "text")


@dataclass(frozen=True)
class Replaced:
    """Of the texts that a copy is to replace, those that it did: some are exchanged for their like, some are not found."""

    wanted: int = 0
    done: int = 0

    @property
    def recall(self) -> float | None:
        """`done` of `wanted`; None where nothing was to be replaced."""
        return self.done / self.wanted if self.wanted else None

    def __add__(self, other: Replaced) -> Replaced:
        return Replaced(self.wanted + other.wanted, self.done + other.done)


class Draft:
    """Args:
        graph: whose texts are taken.
        random: draws.

    Attributes:
        replaced: by "names", "mentions" and "descriptions", as far as some step is to replace them.
        shared: replaced mentions of a name that several bear.
    """

    def __init__(self, graph: KnowledgeGraph, random: np.random.Generator) -> None:
        self._graph, self._random = graph, random
        self._texts = {"entity": graph.texts, "relation": graph.relation_texts, "type": graph.types.texts}
        self._vocabularies = {"entity": graph.entities, "relation": graph.relations, "type": graph.types.vocabulary}
        self._rows = {of: _frame(texts) for of, texts in self._texts.items()}
        self._renamed: dict[str, pl.DataFrame] = {}  # names as they were, with what is `new`
        self._mappings: list[pl.DataFrame] = []
        self.replaced: dict[str, Replaced] = {}
        self.shared = 0

    def trade_names(self, *, within_types: bool) -> None:
        """Entities trade names, labels and aliases together, and relations do."""
        for of in ("entity", "relation"):
            names = self._rows[of].filter(_NAME)
            traded = self._traded(of, "names", names, within_types=within_types and of == "entity")
            label = (
                names.filter(pl.col("kind") == int(TextKind.LABEL))
                .group_by("owner", "language")
                .agg(new=pl.col("text").first())
            )
            place = pl.col("language").replace_strict(dict(zip(FALLBACK_LANGUAGES, range(3), strict=True)), default=3)
            usual = (
                names.sort("owner", "kind", place, "language", "text")
                .group_by("owner")
                .agg(usual=pl.col("text").first())
            )
            self._renamed[of] = (
                names.join(traded, on="owner")
                .join(label, left_on=["donor", "language"], right_on=["owner", "language"], how="left")
                .join(usual, left_on="donor", right_on="owner")
                .select(*_ROW, pl.coalesce("new", "usual").alias("new"))
            )
            self._replace(of, "names", names, _given(names, traded))

    def trade_descriptions(self) -> None:
        """Entities trade descriptions, and relations do."""
        for of in ("entity", "relation"):
            told = self._rows[of].filter(_DESCRIPTION)
            self._replace(of, "descriptions", told, _given(told, self._traded(of, "descriptions", told)))

    def randomise_names(self, whose: Sequence[str]) -> None:
        """A random string for each name, the same for whoever bears it."""
        old = pl.concat([self._rows[of].filter(_NAME)["text"] for of in whose]).unique().sort()
        strings = pl.DataFrame({"text": old, "new": strings_like(old, self._random)})
        self._mappings.append(strings.select(pl.lit("names").alias("what"), old="text", new="new"))
        for of in whose:
            names = self._rows[of].filter(_NAME)
            self._renamed[of] = names.join(strings, on="text")
            self._replace(of, "names", names, self._renamed[of].with_columns(text="new"))

    def randomise_descriptions(self) -> None:
        """A random string for each description, even of several that are the same; and a label for types without one."""
        for of in self._rows:
            told = self._rows[of].filter(_DESCRIPTION)
            strings = strings_like(told["text"], self._random)
            self._replace(of, "descriptions", told, told.with_columns(strings.alias("text")))
        named = self._rows["type"].filter(pl.col("kind") == int(TextKind.LABEL))
        bare = _names(self._vocabularies["type"]).join(named, on="owner", how="anti")
        labels = pl.DataFrame({"owner": bare["owner"], "text": strings_like(bare["name"], self._random)})
        made = labels.with_columns(kind=pl.lit(int(TextKind.LABEL), pl.Int8), language=pl.lit(""))
        self._rows["type"] = pl.concat([self._rows["type"], made.select(_ROW)])

    def replace_mentions(self) -> None:
        """Where descriptions, and whatever is said of types, mention a name, what it became."""
        entities, relations = self._renamed["entity"], self._renamed["relation"]
        both = pl.concat([relations, entities.join(relations, on="text", how="anti").select(relations.columns)])
        total = Mentions()
        for of, names in (("entity", entities), ("relation", both), ("type", entities)):
            read = pl.lit(True) if of == "type" else _DESCRIPTION
            rows = self._rows[of]
            made, found = replace_mentions(rows.filter(read), names)
            self._rows[of] = pl.concat([rows.filter(~read), made])
            total += found
        self.replaced["mentions"] = Replaced(total.replaced + total.missed, total.replaced)
        self.shared = total.shared

    def mapping(self) -> pl.DataFrame:
        """See `Perturbed.mapping`."""
        return pl.concat(self._mappings)

    def finished(self, how: Mapping[str, Any]) -> KnowledgeGraph:
        """The graph with these texts; `how` goes into its provenance."""
        entity, relation, type_ = (_texts(rows) for rows in self._rows.values())
        types = replace(self._graph.types, texts=type_)
        provenance = {**self._graph.provenance, "perturbation": dict(how)}
        return replace(self._graph, texts=entity, relation_texts=relation, types=types, provenance=provenance)

    def _traded(self, of: str, what: str, rows: pl.DataFrame, *, within_types: bool = False) -> pl.DataFrame:
        """`owner` of rows and `donor`, whose rows it gets; written into the mapping."""
        owners = rows["owner"].unique().sort().to_numpy()
        group = self._kinds()[owners] if within_types else None
        pairs = pl.DataFrame({"owner": owners, "donor": exchanged(owners, self._random, group)})
        names = _names(self._vocabularies[of])["name"]
        old, new = (names.gather(pairs[column]) for column in ("owner", "donor"))
        self._mappings.append(
            pl.DataFrame({"old": old, "new": new}).select(pl.lit(f"{of} {what}").alias("what"), "old", "new")
        )
        return pairs

    def _kinds(self) -> npt.NDArray[np.uint64]:
        """uint64 `[n]`: the same for entities of the same types."""
        types = self._graph.types.of_entity
        total = np.zeros(self._graph.n, np.uint64)
        np.add.at(total, types.rows(), mix(types.values.astype(np.uint64)))
        return total

    def _replace(self, of: str, what: str, old: pl.DataFrame, new: pl.DataFrame) -> None:
        """Put rows in the place of others, and count the texts that their owner is rid of."""
        rows = self._rows[of]
        kept = old.join(new, on=["owner", "text"], how="semi")
        self._rows[of] = pl.concat([rows.filter(_NAME if what == "descriptions" else _DESCRIPTION), new.select(_ROW)])
        self.replaced[what] = self.replaced.get(what, Replaced()) + Replaced(len(old), len(old) - len(kept))


def _given(rows: pl.DataFrame, traded: pl.DataFrame) -> pl.DataFrame:
    """The rows with those who got them as owners."""
    got = traded.join(rows, left_on="donor", right_on="owner")
    return got.select(_ROW)


def _names(vocabulary: Vocabulary) -> pl.DataFrame:
    names = pl.Series("name", vocabulary.names)
    return pl.DataFrame({"owner": pl.int_range(len(names), dtype=pl.Int32, eager=True), "name": names})


def _frame(texts: Texts) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "owner": texts.owner,
            "kind": texts.kind,
            "language": pl.Series(texts.language, dtype=pl.String),
            "text": pl.Series(texts.text, dtype=pl.String),
        }
    )


def _texts(rows: pl.DataFrame) -> Texts:
    text = (rows[column].to_arrow() for column in ("language", "text"))
    return Texts.build(rows["owner"].to_numpy(), rows["kind"].to_numpy(), *text)
