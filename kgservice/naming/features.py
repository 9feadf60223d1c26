"""What is known of a candidate name, as numbers: who proposes it, how far others agree, how it is written.

One row for every distinct name of an entity. Work and memory are `names × NEIGHBOURS`, in columns, for a batch of entities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from kgservice.naming.candidates import DERIVED
from kgservice.naming.normalising import form, in_script

NEIGHBOURS: Final = 16
"""A name is compared with so many of the best supported names of its entity."""
NEAR: Final = 0.8
"""Names at least so similar speak for each other."""

GENERAL: Final = (
    "support", "sources", "forms", "share", "rank", "names", "best", "alone", "similar", "closest", "like_best",
    "words_like_best", "near", "within", "around", "characters", "words", "relative_length", "digits", "latin",
    "script", "capital", "bracket", "comma", "spellings", "copied",
)  # fmt: skip
"""Features that do not depend on which sources there are."""


@dataclass(frozen=True)
class Features:
    """Names and their features.

    Attributes:
        names: columns entity, key, name (the best supported spelling), form, support (votes of all sources), sources (a list of
            names of sources), asked (bool: some row had no votes); sorted by entity, then key.
        columns: names of the features `[f]`.
        values: float64 `[c, f]`.
    """

    names: pl.DataFrame
    columns: tuple[str, ...]
    values: npt.NDArray[np.float64]

    def of(self, columns: Sequence[str]) -> npt.NDArray[np.float64]:
        """float64 `[c, len(columns)]`: the features asked for; zeros where a source is not among ours."""
        place = {name: at for at, name in enumerate(self.columns)}
        held = np.concatenate([self.values, np.zeros((len(self.values), 1))], axis=1)
        return held[:, [place.get(name, len(place)) for name in columns]]

    def part(self, rows: npt.NDArray[np.int64]) -> Features:
        """The features of some rows."""
        return Features(self.names[rows], self.columns, self.values[rows])


def stacked(parts: Sequence[Features]) -> Features:
    """Features of several batches of entities, one after the other, with the columns of all.

    Raises:
        ValueError: there are no parts.
    """
    columns = tuple(dict.fromkeys(name for one in parts for name in one.columns))
    names = pl.concat([one.names for one in parts])
    return Features(names, columns, np.concatenate([one.of(columns) for one in parts]))


def features(candidates: pl.DataFrame, language: str) -> Features:
    """Features of tidied candidates of one language."""
    proposed = candidates.filter(pl.col("votes") > 0)["source"].unique().sort().to_list()
    asked = candidates.filter(pl.col("votes") <= 0)["source"].unique().sort().to_list()
    direct = [source for source in proposed if not source.startswith(DERIVED)]
    names = _names(candidates, proposed, sorted({*direct, *asked}))
    names = _among_others(names, direct, proposed)
    names = _written(names, language)
    names = names.join(_neighbourhood(names), on="row", how="left").sort("row")
    columns = (*GENERAL, *(f"votes {one}" for one in proposed), *(f"label {one}" for one in sorted({*direct, *asked})))
    values = names.select(pl.col(columns).cast(pl.Float64).fill_null(0.0).fill_nan(0.0)).to_numpy()
    told = names.select("entity", "key", "name", "form", "source_names", "asked", pl.col("all_votes").alias("support"))
    return Features(told.rename({"source_names": "sources"}), columns, np.ascontiguousarray(values))


def _names(candidates: pl.DataFrame, proposed: list[str], labelling: list[str]) -> pl.DataFrame:
    """One row for every entity and key, with votes by source; `row` numbers them in order."""
    source, votes = pl.col("source"), pl.col("votes")
    return (
        candidates.lazy()
        .group_by("entity", "key")
        .agg(
            pl.col("name").sort_by([votes, pl.col("name")], descending=[True, False]).first(),
            pl.col("name").n_unique().alias("spellings"),
            source.filter(votes > 0).unique().sort().alias("source_names"),
            (votes <= 0).any().alias("asked"),
            votes.sum().alias("all_votes"),
            *(votes.filter(source == one).sum().log1p().alias(f"votes {one}") for one in proposed),
            *((pl.col("primary") & (source == one)).any().alias(f"label {one}") for one in labelling),
        )
        .sort("entity", "key")
        .with_row_index("row")
        .collect()
    )


def _among_others(names: pl.DataFrame, direct: list[str], proposed: list[str]) -> pl.DataFrame:
    """How a name's support stands among those of its entity's other names."""

    def votes(sources: list[str]) -> list[pl.Expr]:
        return [pl.col(f"votes {one}") for one in sources] or [pl.lit(0.0)]

    derived = [one for one in proposed if one not in direct]
    supported = pl.col("support") > 0
    return (
        names.with_columns(
            support=pl.sum_horizontal(votes(direct)),
            sources=pl.sum_horizontal([one > 0 for one in votes(direct)]),
            forms=pl.sum_horizontal([one > 0 for one in votes(derived)]),
        )
        .with_columns(
            best=pl.col("support").max().over("entity"),
            names=supported.sum().over("entity").cast(pl.Float64).log1p(),
        )
        .with_columns(
            share=pl.col("support") / (pl.col("best") + 1e-9),
            # Names that are only asked about take no rank from others.
            rank=pl.when(supported).then(pl.col("support").rank("average", descending=True).over("entity")).log1p(),
            alone=(pl.col("names") <= np.log1p(1)) & supported,
        )
    )  # fmt: skip


def _written(names: pl.DataFrame, language: str) -> pl.DataFrame:
    """How a name is written."""
    key, name = pl.col("key"), pl.col("name")
    length = key.str.len_chars().cast(pl.Float64)
    supported = pl.col("support") > 0
    return names.with_columns(
        form=form(name),
        characters=length.log1p(),
        words=key.str.count_matches(" ").cast(pl.Float64) + 1,
        relative_length=(length / length.filter(supported).mean().over("entity")).clip(0, 4),
        digits=key.str.count_matches(r"\p{N}") / length,
        latin=key.str.count_matches(r"\p{Latin}") / length,
        script=in_script(key, language),
        capital=name.str.contains(r"^\p{Lu}"),
        bracket=name.str.contains(r"[\(（]"),
        comma=name.str.contains(r"[,،、]"),
        copied=(in_script(key, language) < 0.5) & supported,
    )


def _neighbourhood(names: pl.DataFrame) -> pl.DataFrame:
    """How the best supported other names of the entity are like a name, by row."""
    from rapidfuzz import fuzz, process

    best = (
        names.filter(pl.col("support") > 0)
        .sort("entity", "support", "key", descending=[False, True, False])
        .group_by("entity", maintain_order=True)
        .head(NEIGHBOURS)
        .select("entity", other_row="row", other="key", weight="support")
    )
    pairs = names.select("row", "entity", "key").join(best, on="entity").filter(pl.col("row") != pl.col("other_row"))
    keys, others = pairs["key"].to_list(), pairs["other"].to_list()
    alike = pairs.with_columns(
        alike=pl.Series(process.cpdist(keys, others, scorer=fuzz.ratio) / 100, dtype=pl.Float64),
        words_alike=pl.Series(process.cpdist(keys, others, scorer=fuzz.token_sort_ratio) / 100, dtype=pl.Float64),
        inside=pl.col("other").str.contains(pl.col("key"), literal=True),
        outside=pl.col("key").str.contains(pl.col("other"), literal=True),
    )
    weight = pl.col("weight")
    first = [weight, -pl.col("other_row").cast(pl.Int64)]
    return (
        alike.lazy()
        .group_by("row")
        .agg(
            ((pl.col("alike") * weight).sum() / weight.sum()).alias("similar"),
            pl.col("alike").max().alias("closest"),
            pl.col("alike").sort_by(first).last().alias("like_best"),
            pl.col("words_alike").sort_by(first).last().alias("words_like_best"),
            weight.filter(pl.col("alike") >= NEAR).sum().log1p().alias("near"),
            weight.filter("inside").sum().log1p().alias("within"),
            weight.filter("outside").sum().log1p().alias("around"),
        )
        .collect()
    )
