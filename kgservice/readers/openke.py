"""Benchmarks as OpenKE writes them: numbers for names, in files that begin with how many lines follow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from kgservice.errors import DataError
from kgservice.readers.assembly import BatchBuilder
from kgservice.readers.facts import FactFile, add_facts
from kgservice.readers.report import FileReport
from kgservice.readers.sources import Source

_NAMES = ("entity2id", "relation2id")
_STEM = re.compile(r"(?:train|valid|test|entity|relation)2id")


def is_openke(source: Source) -> bool:
    """Whether a file is named as OpenKE names its files."""
    return source.suffix == ".txt" and _STEM.fullmatch(source.stem) is not None


def read_openke(
    sources: Sequence[Source], builder: BatchBuilder, *, skip_malformed: bool
) -> tuple[list[FileReport], dict[str, str]]:
    """Lines `head tail relation` of numbers, with `entity2id.txt` and `relation2id.txt` among the sources or beside them.

    The angle brackets around IRIs are taken off names.

    Raises:
        MalformedStatement: a line has not three numbers, or one that has no name; the number of lines is not as stated.
        DataError: a file of names is missing or has not the numbers from 0 on; a file cannot be read to its end.
    """
    given = {source.stem: source for source in sources}
    entities, relations = (_names(given.get(stem) or _beside(sources, stem)) for stem in _NAMES)
    files = []
    for source in sources:
        if source.stem in _NAMES:
            continue
        file = FactFile.open(source, "OpenKE ids", skip_malformed)
        file.take_count()
        numbers = pl.col("text").str.extract_groups(r"^\s*(?<h>\d+)\s+(?<t>\d+)\s+(?<r>\d+)\s*$")
        file.facts = file.facts.with_columns(numbers.struct.unnest())
        file.keep(pl.col("h").is_not_null(), "expected three numbers, head, tail and relation")
        file.facts = file.facts.with_columns(pl.col("h", "t", "r").cast(pl.UInt32, strict=False))
        for name, of, names in (("h", "head", entities), ("t", "tail", entities), ("r", "relation", relations)):
            which = f"expected a {of} below {len(names)}; a line holds head, tail and relation, in this order"
            file.keep(pl.col(name) < len(names), which)
        file.facts = file.facts.select(
            "line",
            *(
                names.gather(file.facts[number]).alias(column)
                for column, number, names in (
                    ("subject", "h", entities),
                    ("relation", "r", relations),
                    ("object", "t", entities),
                )
            ),
        )
        files.append(file)
    builder.add_entities(entities.to_arrow())
    return add_facts(files, builder, has_literals=False)


def _names(source: Source) -> pl.Series:
    """The names in the order of their numbers."""
    file = FactFile.open(source, "OpenKE ids", skip_malformed=False)
    file.take_count()
    table = file.facts.with_columns(
        pl.col("text").str.extract_groups(r"^(?<name>.*\S)\s+(?<id>\d+)\s*$").struct.unnest()
    )
    if table["name"].null_count():
        line = table.filter(pl.col("name").is_null())["line"][0]
        raise DataError(f"{source.name}:{line}: expected a name and its number. Fetch the file again.")
    table = table.with_columns(pl.col("id").cast(pl.UInt32), pl.col("name").str.replace(r"^<(.*)>$", "${1}")).sort("id")
    if not (table["id"] == pl.Series(range(len(table)), dtype=pl.UInt32)).all() or table["name"].is_duplicated().any():
        raise DataError(
            f"{source.name}: expected each number from 0 to {len(table) - 1} and each name once. Fetch the file again."
        )
    return table["name"]


def _beside(sources: Sequence[Source], stem: str) -> Source:
    for folder in dict.fromkeys(source.path.parent for source in sources):
        for path in sorted(folder.glob(f"{stem}.txt*")):
            if Source(path, path.name).plain_name == f"{stem}.txt":
                return Source(path, path.name)
    wanted = sources[0].name if sources else Path(stem).name
    raise DataError(f"{wanted}: {stem}.txt is not beside it. It holds the names of the numbers; put it there.")
