"""A graph's missing names in a language, and its doubtful ones, batch by batch.

The combiner learns from entities that have names in the language: what would the sources, which never see that language, have
proposed, and was it right? Whatever it is asked about later it has learnt without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.compute as pc

from kgservice.errors import InputError
from kgservice.graph import KnowledgeGraph
from kgservice.graph.texts import TextKind
from kgservice.naming import scoring
from kgservice.naming.candidates import CANDIDATES, NAMES, batches, none, texts_frame, tidied, tidy, wanted
from kgservice.naming.combiner import Combiner, Floats, Mask, cross_validated, folds
from kgservice.naming.features import Features, features, stacked
from kgservice.naming.forms import forms
from kgservice.naming.normalising import key
from kgservice.naming.sources import NameSource

Ids = npt.NDArray[np.int32]
PROPOSALS: Final = pl.Schema(
    [
        ("entity", pl.String), ("kind", pl.String), ("language", pl.String), ("text", pl.String), ("probability", pl.Float64),
        ("support", pl.Float64), ("sources", pl.List(pl.String)), ("rank", pl.Int32),
    ]
)  # fmt: skip
"""What is written: a label, alias or description that an entity lacks, or, of doubts, one that it has.

`probability` is that the text is valid; null where nothing was calibrated. `support` is the sum of the sources' votes.
"""
ASKED: Final = "existing"
"""The source of names that are asked about."""
LEAST_TO_LEARN: Final = 100
"""Entities with names in the language that a combiner is learnt from at least."""


@dataclass(frozen=True)
class Settings:
    """How names are proposed.

    Attributes:
        language: code of the language.
        kind: `LABEL` for labels and aliases, or `DESCRIPTION`.
        most: proposals for one entity at most.
        aliases: also propose aliases for entities that have a label.
        min_probability: proposed from here on; None for the threshold of the best F1 of coverage.
        doubt_below: a name is doubted below this probability; None for the threshold of the best F1 of the precision task.
        votes: without a combiner, and for descriptions: proposed from so many votes on.
        learn_from: entities that a combiner learns from at most.
        folds: of the cross-validation.
        seed: of what is drawn.
        batch: entities at once; bounds memory.
    """

    language: str
    kind: TextKind = TextKind.LABEL
    most: int = 3
    aliases: bool = False
    min_probability: float | None = None
    doubt_below: float | None = None
    votes: float = 2.0
    learn_from: int = 20_000
    folds: int = 5
    seed: int = 0
    batch: int = 5_000


@dataclass(frozen=True)
class Learnt:
    """A combiner, and how it did on entities that it was not fitted to.

    Attributes:
        combiner: fitted to all.
        figures: P, R, F1 and calibration error of the folds, at the threshold; and of votes alone.
    """

    combiner: Combiner
    figures: dict[str, Any]


class Naming:
    """Names of a graph in one language, by sources.

    Raises:
        InputError: no source can propose the kind of text that is wanted.
    """

    def __init__(self, graph: KnowledgeGraph, sources: Sequence[NameSource], settings: Settings) -> None:
        self.graph, self.settings = graph, settings
        self.sources = [source for source in sources if settings.kind in source.kinds]
        if not self.sources:
            raise InputError(
                f"none of the sources {', '.join(source.name for source in sources)} proposes {settings.kind.name.lower()}s. "
                "Descriptions come of files, endpoints and translation models."
            )
        texts, kinds = graph.texts, NAMES if settings.kind == TextKind.LABEL else (settings.kind,)
        spoken = pc.equal(texts.language, settings.language).to_numpy(zero_copy_only=False).astype(bool)
        self.named: Ids = np.unique(texts.owner[spoken & np.isin(texts.kind, kinds)])
        """Entities with a name (or description) in the language."""
        told = np.unique(texts.owner)
        self.lacking: Ids = np.setdiff1d(told, np.unique(texts.owner[spoken & (texts.kind == settings.kind)]))
        """Entities with texts, but no label (or description) in the language."""
        self.asked: Ids = told if settings.aliases and settings.kind == TextKind.LABEL else self.lacking
        """Entities that texts are proposed for."""

    def learn(self, advance: Callable[[int], object] = lambda _: None) -> Learnt:
        """Fit a combiner to the entities that have names in the language.

        Args:
            advance: called with the number of entities done.

        Raises:
            InputError: there are too few of them.
        """
        if len(self.named) < LEAST_TO_LEARN:
            raise InputError(
                f"{len(self.named):,} entities have names in {self.settings.language!r}, {LEAST_TO_LEARN} are needed to learn "
                "whom to trust. Give a combiner that was saved for another graph, or count votes alone."
            )
        some = self._drawn(self.named)
        table = stacked([self._features(ids, advance) for ids in batches(some, self.settings.batch)])
        valid = self._names(some).select("entity", "key").unique()
        right = _right(table.names, valid)
        fold = folds(table.names["entity"], self.settings.folds, self.settings.seed)
        probability = cross_validated(table, right, fold)
        # One number, chosen on probabilities of which each comes from folds that hold no name of its entity.
        threshold = scoring.best_coverage_threshold(probability, right, valid.height)
        names = table.names.select("entity", "key", "support")
        figures = {
            "entities": len(some),
            "candidates": len(right),
            "combiner": _shown(scoring.coverage(names.filter(probability >= threshold), valid)),
            "votes >= 2": _shown(scoring.coverage(names.filter(pl.col("support") >= 2), valid)),
            "votes >= 1": _shown(scoring.coverage(names.filter(pl.col("support") >= 1), valid)),
            "threshold": threshold,
            "calibration_error": scoring.expected_calibration_error(probability, right),
            "precision_at": _precisions(probability, right),
        }
        return Learnt(Combiner.fit(table, right).at(threshold), figures)

    def propose(
        self, combiner: Combiner | None, advance: Callable[[int], object] = lambda _: None
    ) -> Iterator[pl.DataFrame]:
        """Texts that entities lack: tables of `PROPOSALS`, a batch each, the best of an entity first.

        Args:
            combiner: gives probabilities; without one votes are counted, as M-NTA does.
            advance: called with the number of entities done.
        """
        settings, describing = self.settings, self.settings.kind == TextKind.DESCRIPTION
        for ids in batches(self.asked, settings.batch):
            table = self._features(ids, advance)
            names = _likely(table, None if describing else combiner)
            least = settings.min_probability
            if describing or combiner is None:
                names = names.filter(pl.col("support") >= settings.votes)
            else:
                least = (combiner.threshold or 0.5) if least is None else least
                names = names.filter(pl.col("probability") >= least)
            had = self._names(ids).select("entity", "key").unique()
            ranked = names.join(had, on=["entity", "key"], how="anti").sort(
                "entity", "probability", "support", "key", descending=[False, True, True, False], nulls_last=True
            )
            rank = pl.int_range(pl.len()).over("entity")
            lacks = pl.col("entity").is_in(np.intersect1d(ids, self.lacking, assume_unique=True).tolist())
            name = pl.when((rank == 0) & lacks).then(pl.lit("label")).otherwise(pl.lit("alias"))
            kind = pl.lit("description") if describing else name
            yield self._told(ranked.with_columns(kind=kind, rank=rank + 1).filter(pl.col("rank") <= settings.most))

    def doubts(
        self, verdicts: pl.DataFrame | None = None, advance: Callable[[int], object] = lambda _: None
    ) -> tuple[pl.DataFrame, dict[str, Any]]:
        """Names in the language that are probably wrong, the least probable first, and how well that can be told.

        Args:
            verdicts: columns entity (in the graph), name, correct; what is learnt from. Without them, names that other
                entities bear stand for the wrong ones, and a probability is one among such, half of all.
            advance: called with the number of entities done.

        Raises:
            InputError: there is too little to learn from, or verdicts name no entity of the graph.
        """
        judged = self._swapped() if verdicts is None else self._judged(verdicts)
        if judged["entity"].n_unique() < LEAST_TO_LEARN:
            raise InputError(
                f"names of {judged['entity'].n_unique():,} entities are judged, {LEAST_TO_LEARN} are needed to learn from"
            )
        taught = self._asked(judged, advance)
        truth = judged.group_by("entity", "key").agg(pl.col("correct").all())
        right = taught.names.join(truth, on=["entity", "key"], how="left", maintain_order="left")["correct"].to_numpy()
        fold = folds(taught.names["entity"], self.settings.folds, self.settings.seed)
        probability = cross_validated(taught, right, fold)
        threshold = scoring.best_error_threshold(probability, right)
        keeps = taught.names.filter(probability >= threshold)
        figures = {
            "learnt_from": "verdicts" if verdicts is not None else "names of other entities",
            "entities": judged["entity"].n_unique(), "names": len(right), "threshold": threshold,
            "figures": _shown(scoring.precision_task(keeps, judged)),
            "calibration_error": scoring.expected_calibration_error(probability, right),
        }  # fmt: skip
        combiner = Combiner.fit(taught, right)
        least = threshold if self.settings.doubt_below is None else self.settings.doubt_below
        found = []
        for ids in batches(self.named, self.settings.batch):
            held = self._names(ids)
            kinds = held.sort("kind").unique(["entity", "key"], keep="first").select("entity", "key", "kind")
            doubted = _likely(self._asked(held, advance), combiner).filter(pl.col("probability") < least)
            found.append(doubted.join(kinds, on=["entity", "key"]))
        rows = pl.concat(found)
        ranked = rows.sort("probability", "entity", "key")
        kind = pl.when(pl.col("kind") == TextKind.LABEL).then(pl.lit("label")).otherwise(pl.lit("alias"))
        return self._told(ranked.with_columns(kind=kind, rank=pl.int_range(pl.len()) + 1)), figures

    def _features(self, ids: Ids, advance: Callable[[int], object]) -> Features:
        made = features(self._candidates(ids), self.settings.language)
        advance(len(ids))
        return made

    def _asked(self, judged: pl.DataFrame, advance: Callable[[int], object]) -> Features:
        """Features of names that are asked about, among what sources propose."""
        out = []
        for ids in batches(judged["entity"].unique().sort().to_numpy(), self.settings.batch):
            asked = judged.filter(pl.col("entity").is_in(ids.tolist())).select(
                "entity", "name", pl.lit(ASKED).alias("source"), pl.lit(0.0).alias("votes"), pl.col("primary")
            )
            both = pl.concat([self._candidates(ids).select(CANDIDATES.names()), asked.cast(CANDIDATES)])
            made = features(tidy(both), self.settings.language)
            out.append(made.part(np.flatnonzero(made.names["asked"].to_numpy())))
            advance(len(ids))
        return stacked(out)

    def _candidates(self, ids: Ids) -> pl.DataFrame:
        """What all sources propose, tidied, with other forms of it."""
        asked = wanted(
            self.graph.texts, self.graph.entities.names_of(ids), ids, self.settings.language, self.settings.kind
        )
        direct = tidy(pl.concat([none(), *(source.candidates(asked).cast(CANDIDATES) for source in self.sources)]))
        if self.settings.kind == TextKind.DESCRIPTION:
            return direct
        derived = forms(direct, self.settings.language)
        return tidy(pl.concat([direct.select(CANDIDATES.names()), derived])) if derived.height else direct

    def _names(self, ids: Ids) -> pl.DataFrame:
        """What entities are called in the language: entity, kind, name, key, primary."""
        held = texts_frame(self.graph.texts, np.sort(ids)).filter(pl.col("language") == self.settings.language)
        name = tidied(pl.col("text"))
        named = held.filter(pl.col("kind").is_in([int(kind) for kind in NAMES])).select(
            "entity",
            "kind",
            name.alias("name"),
            key(name).alias("key"),
            (pl.col("kind") == TextKind.LABEL).alias("primary"),
        )
        return named.filter(pl.col("key").str.strip_chars() != "")

    def _drawn(self, ids: Ids) -> Ids:
        if len(ids) <= self.settings.learn_from:
            return ids
        drawn = np.random.default_rng(self.settings.seed).choice(ids, self.settings.learn_from, replace=False)
        return np.sort(drawn)

    def _swapped(self) -> pl.DataFrame:
        """The names of some entities, and as many that others of them bear."""
        some = self._names(self._drawn(self.named))
        moved = np.random.default_rng(self.settings.seed).permutation(some.height)
        wrong = some.with_columns(name=some["name"].gather(moved), key=some["key"].gather(moved))
        wrong = wrong.join(some.select("entity", "key").unique(), on=["entity", "key"], how="anti")
        return pl.concat([some.with_columns(correct=True), wrong.with_columns(correct=False)])

    def _judged(self, verdicts: pl.DataFrame) -> pl.DataFrame:
        missing = [column for column in ("entity", "name", "correct") if column not in verdicts.columns]
        if missing:
            raise InputError(f"verdicts have no column {' or '.join(missing)}; found {', '.join(verdicts.columns)}")
        iris = verdicts["entity"].cast(pl.String).unique().sort()
        ids = pl.DataFrame(
            {"iri": iris, "id": self.graph.entities.ids(iris.to_list())}, schema_overrides={"id": pl.Int32}
        )
        ids = ids.filter(pl.col("id") >= 0)
        held = self._names(ids["id"].to_numpy()).group_by("entity", "key").agg(pl.col("primary").any())
        name = tidied(pl.col("name"))
        correct = pl.col("correct").cast(pl.String).str.to_lowercase().is_in(["true", "1", "accept"])
        return (
            verdicts.with_columns(pl.col("entity").cast(pl.String))
            .join(ids, left_on="entity", right_on="iri")
            .select(pl.col("id").alias("entity"), name.alias("name"), key(name).alias("key"), correct.alias("correct"))
            .join(held, on=["entity", "key"], how="left")
            .with_columns(pl.col("primary").fill_null(False))
        )

    def _told(self, rows: pl.DataFrame) -> pl.DataFrame:
        names = self.graph.entities.names_of(rows["entity"].to_numpy())
        return rows.select(
            pl.Series("entity", names, dtype=pl.String), "kind", pl.lit(self.settings.language).alias("language"),
            pl.col("name").alias("text"), "probability", "support", "sources", "rank",
        ).cast(PROPOSALS)  # fmt: skip


def _likely(table: Features, combiner: Combiner | None) -> pl.DataFrame:
    if combiner is None:
        return table.names.with_columns(probability=pl.lit(None, dtype=pl.Float64))
    return table.names.with_columns(probability=pl.Series(combiner.probability(table), dtype=pl.Float64))


def _right(names: pl.DataFrame, valid: pl.DataFrame) -> Mask:
    """bool `[c]`: which names are among the valid ones."""
    told = names.select("entity", "key").join(
        valid.with_columns(valid=pl.lit(True)), on=["entity", "key"], how="left", maintain_order="left"
    )
    return np.asarray(told["valid"].fill_null(False).to_numpy(), dtype=bool)


def _shown(figures: scoring.Figures) -> dict[str, float]:
    return {"p": figures.precision, "r": figures.recall, "f1": figures.f1}


def _precisions(probability: Floats, right: Mask) -> dict[str, dict[str, float]]:
    """Of what is at least so probable: how much there is, and how much of it is right."""
    out = {}
    for least in (0.5, 0.7, 0.8, 0.9, 0.95):
        kept = probability >= least
        out[str(least)] = {
            "names": int(kept.sum()),
            "precision": float(right[kept].mean()) if kept.any() else float("nan"),
        }
    return out
