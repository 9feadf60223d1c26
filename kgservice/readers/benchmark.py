"""Benchmarks of labelled triples and of inductive link prediction: folders of tab-separated files."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from kgservice.graph.statements import Split
from kgservice.readers.assembly import BatchBuilder
from kgservice.readers.facts import SPLIT_OF_STEM, FactFile, add_facts
from kgservice.readers.report import FileReport
from kgservice.readers.sources import Source

_fields = pl.col("fields")
_EMPTY = r"(?:^|\t)( *)(?:\t|$)"


def is_benchmark(source: Source) -> bool:
    """Whether a file's name is one that only benchmarks have."""
    return source.suffix in (".txt", ".tsv") and source.stem in SPLIT_OF_STEM


def read_benchmark(
    sources: Sequence[Source], builder: BatchBuilder, *, skip_malformed: bool
) -> tuple[list[FileReport], dict[str, str]]:
    """Lines `head<TAB>relation<TAB>tail`, or with a fourth field: 1 for a true statement, -1 for a false one.

    `context` and `inference` files, and `train` in a GraIL folder whose name ends in `_ind`, hold what is given at
    inference about entities unseen in training.

    Raises:
        MalformedStatement: a line has not three fields or four, has an empty one, or another label.
        DataError: a file cannot be read to its end.
    """
    files, splits = [], []
    for source in sources:
        file = FactFile.open(source, "benchmark triples", skip_malformed)
        file.facts = file.facts.with_columns(pl.col("text").str.split("\t").alias("fields"))
        count = _fields.list.len()
        file.keep(
            count.is_between(3, 4),
            pl.format("expected head, relation, tail and perhaps a label, found {} fields", count),
            at="$",
        )
        file.keep(
            ~pl.col("text").str.contains(_EMPTY), "expected fields divided by tabs, found an empty one", at=_EMPTY
        )
        label = _fields.list.get(3, null_on_oob=True).str.strip_chars()
        file.keep(
            label.fill_null("1").is_in(["1", "-1"]),
            pl.format("expected the label 1 or -1, found {}", label),
            at=r"([^\t]*)$",
        )
        file.facts = file.facts.select(
            "line",
            _fields.list.get(0).alias("subject"),
            _fields.list.get(1).alias("relation"),
            _fields.list.get(2).alias("object"),
            (label.fill_null("1") == "-1").alias("is_false"),
        )
        inductive = source.path.resolve().parent.name.endswith("_ind")
        files.append(file)
        splits.append(Split.CONTEXT if inductive and file.split is Split.TRAIN else file.split)
    return add_facts(files, builder, splits=splits, has_literals=False)
