"""What the native formats of benchmarks share: files named by their split, a fact a line, qualifiers beside it.

Readers make one table of facts per file; a row is a fact:

    line: the number of its line, from 1
    subject, relation, object: names
    qualifier_relation, qualifier_value: lists of names, of the same length
    is_false: whether the fact is known to be false (by default it is not)

A literal, as object or as the value of a qualifier, is in N-Triples form and so begins with a quotation mark.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from kgservice.errors import MalformedStatement
from kgservice.graph.statements import Split
from kgservice.readers.assembly import BatchBuilder
from kgservice.readers.report import FileReport
from kgservice.readers.sources import Source
from kgservice.readers.tsv import ROLE_OF_STEM

_log = logging.getLogger(__name__)

SPLIT_OF_STEM: Mapping[str, Split] = {
    **{stem: split for stem, (split, is_false) in ROLE_OF_STEM.items() if not is_false},
    "context": Split.CONTEXT,
    "inference": Split.CONTEXT,
    "inference_validation": Split.VALID,
    "inference_test": Split.TEST,
    "train2id": Split.TRAIN,
    "valid2id": Split.VALID,
    "test2id": Split.TEST,
    "n-ary_train": Split.TRAIN,
    "n-ary_valid": Split.VALID,
    "n-ary_test": Split.TEST,
}
"""What the file of a benchmark holds, by its name; a file of any other name is for training."""

EMPTY = pl.lit([], dtype=pl.List(pl.String))
_PAIRS = ("qualifier_relation", "qualifier_value")


@dataclass
class FactFile:
    """A file and what was read from it."""

    source: Source
    report: FileReport
    skip_malformed: bool
    facts: pl.DataFrame

    @classmethod
    def open(cls, source: Source, format_: str, skip_malformed: bool) -> FactFile:
        """Read a file's lines: `facts` has the columns `line` and `text`; blank lines are left out.

        Raises:
            MalformedStatement: a line is not UTF-8.
            DataError: the file cannot be read to its end.
        """
        with source.open() as stream:
            content = stream.read().removeprefix(b"\xef\xbb\xbf")
        opened = cls(source, FileReport(source.name, format_), skip_malformed, pl.DataFrame())
        try:
            text = content.decode()
        except UnicodeDecodeError:
            text = "\n".join(opened._decode(number, line) for number, line in enumerate(content.split(b"\n"), 1))
        lines = pl.DataFrame({"text": [text]}, schema={"text": pl.String}).select(
            pl.col("text").str.split("\n").explode()
        )
        lines = lines.with_columns(pl.col("text").str.strip_suffix("\r")).with_row_index("line", 1)
        opened.facts = lines.filter(pl.col("text").str.contains(r"\S"))
        return opened

    @property
    def split(self) -> Split:
        """What the file's facts are for."""
        return SPLIT_OF_STEM.get(self.source.stem, Split.TRAIN)

    def keep(self, is_good: pl.Expr, problem: pl.Expr | str, *, at: str | None = None) -> None:
        """Drop the lines that are not good: each is an error, or is counted and logged under `skip_malformed`.

        Args:
            problem: what is wrong with a line that is not good.
            at: a pattern that begins, or whose group begins, where it is wrong.
        """
        is_bad = ~is_good.fill_null(False)
        message = pl.lit(problem) if isinstance(problem, str) else problem
        bad = self.facts.filter(is_bad).select("line", message.alias("problem"), "text")
        for line, said, text in bad.iter_rows():
            place = None if at is None else re.search(at, text)
            self.refuse(line, said, None if place is None else place.start(place.re.groups) + 1)
        if len(bad):
            self.facts = self.facts.filter(~is_bad)

    def take_count(self) -> None:
        """Take off the first line, which says how many follow.

        Raises:
            MalformedStatement: it does not, or other than it says; under `skip_malformed` that is counted only.
        """
        first = self.facts["text"][0].strip() if len(self.facts) else ""
        if not first.isdecimal():
            self.refuse(1, f"expected the number of lines that follow, found {first!r}")
            return
        self.facts = self.facts[1:]
        if int(first) != len(self.facts):
            self.refuse(1, f"says that {int(first):,} lines follow, found {len(self.facts):,}")

    def refuse(self, line: int, problem: str, column: int | None = None) -> None:
        """A malformed line.

        Raises:
            MalformedStatement: unless malformed lines are to be skipped.
        """
        error = MalformedStatement(self.source.name, line, column, problem)
        if not self.skip_malformed:
            raise error
        self.report.malformed += 1
        _log.warning("skipped: %s", error)

    def _decode(self, number: int, line: bytes) -> str:
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            self.refuse(number, "not UTF-8", error.start + 1)
            return ""


def add_facts(
    files: Sequence[FactFile],
    builder: BatchBuilder,
    *,
    splits: Sequence[Split] | None = None,
    has_literals: bool = True,
) -> tuple[list[FileReport], dict[str, str]]:
    """Give a builder the facts of all files, each once per split, and account for them.

    The subject of a literal is an entity even if no link says so.

    Args:
        splits: of the files; by default told from their names.
        has_literals: whether an object or a value that begins with a quotation mark is a literal; else it is a name.

    Returns:
        What a reader returns: one account per file, and no prefixes.
    """
    splits = [file.split for file in files] if splits is None else splits
    tables = [
        file.facts.select(
            *("subject", "relation", "object"),
            *(pl.col(name) if name in file.facts.columns else EMPTY.alias(name) for name in _PAIRS),
            pl.col("is_false") if "is_false" in file.facts.columns else pl.lit(False).alias("is_false"),
            pl.lit(number, pl.Int32).alias("file"),
            pl.lit(int(split), pl.Int8).alias("split"),
        )
        for number, (file, split) in enumerate(zip(files, splits, strict=True))
    ]
    if not tables:
        return [], {}
    facts = pl.concat(tables)
    is_literal = pl.col("object").str.starts_with('"') & has_literals
    facts = facts.with_columns(_key(facts), is_literal.alias("is_literal"))
    what = ["subject", "relation", "object", "pairs", "split", "is_false"]
    fresh = facts.filter(pl.struct(what).is_first_distinct())
    for number, file in enumerate(files):
        file.report.read = len(file.facts)
        mine = fresh.filter(pl.col("file") == number)
        outcome = pl.when("is_false").then(pl.lit("negatives")).when("is_literal").then(pl.lit("literals"))
        counted = mine.group_by(outcome.otherwise(pl.lit("statements")).alias("outcome")).len()
        file.report.kept.update(dict(counted.iter_rows()))
        if len(mine) < len(file.facts):
            file.report.dropped["duplicate"] = len(file.facts) - len(mine)
    for (split, is_false, is_literal), rows in fresh.group_by("split", "is_false", "is_literal", maintain_order=True):
        _add(builder, rows, Split(split), is_false=bool(is_false), is_literal=bool(is_literal))
    return [file.report for file in files], {}


def _add(builder: BatchBuilder, rows: pl.DataFrame, split: Split, *, is_false: bool, is_literal: bool) -> None:
    triple = [rows[name].to_arrow() for name in ("subject", "relation", "object")]
    if is_false:
        builder.add_negatives(*triple, split=split)
        return
    counts = rows["qualifier_relation"].list.len().to_numpy().astype(np.int64)
    pairs = rows.filter(pl.col("qualifier_relation").list.len() > 0).select(_PAIRS).explode(_PAIRS)
    (builder.add_literals if is_literal else builder.add_statements)(
        *triple,
        split=split,
        qualifier_counts=counts,
        qualifier_relation=pairs["qualifier_relation"].to_arrow(),
        qualifier_value=pairs["qualifier_value"].to_arrow(),
        qualifier_is_literal=pairs["qualifier_value"].str.starts_with('"').to_numpy(),
    )
    if is_literal:
        builder.add_entities(triple[0])


def _key(facts: pl.DataFrame) -> pl.Series:
    """The qualifiers of every fact as one string, the same in whatever order they are given."""
    qualified = facts.with_row_index("row").filter(pl.col("qualifier_relation").list.len() > 0)
    pairs = qualified.select("row", *_PAIRS).explode(_PAIRS).sort("row", *_PAIRS)
    keys = pairs.group_by("row", maintain_order=True).agg(
        pl.concat_str(_PAIRS, separator="\x1f").str.join("\x1e").alias("pairs")
    )
    rows = pl.DataFrame({"row": pl.arange(0, len(facts), dtype=pl.UInt32, eager=True)})
    return rows.join(keys, on="row", how="left", maintain_order="left")["pairs"].fill_null("")
