"""Who proposes names: a protocol, a registry, and the sources that need nothing but the graph and files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import polars as pl

from kgservice.errors import InputError, MissingDependency
from kgservice.graph.texts import TextKind
from kgservice.naming.candidates import CANDIDATES, Wanted, none
from kgservice.naming.normalising import in_script, key, language_scripts

COPIED_SHARE: Final = 0.8
"""Of a name's letters that must be in the language's script for it to be taken over as it is."""
ROMANISED: Final = "Any-Latin"
INTO_SCRIPT: Final[Mapping[str, str]] = {
    r"\p{Cyrillic}": "Any-Latin; Latin-Cyrillic",
    r"\p{Arabic}": "Any-Latin; Latin-Arabic",
    r"\p{Greek}": "Any-Latin; Latin-Greek",
    r"\p{Hebrew}": "Any-Latin; Latin-Hebrew",
    r"\p{Hangul}": "Any-Latin; Latin-Hangul",
    r"\p{Katakana}": "Any-Latin; Latin-Katakana",
    r"\p{Thai}": "Any-Latin; Latin-Thai",
    r"\p{Georgian}": "Any-Latin; Latin-Georgian",
    r"\p{Armenian}": "Any-Latin; Latin-Armenian",
    **{
        rf"\p{{{script}}}": f"Any-Latin; Latin-{script}"
        for script in ("Devanagari", "Bengali", "Tamil", "Telugu", "Malayalam", "Kannada", "Gujarati", "Gurmukhi")
    },
    r"\p{Latin}": ROMANISED,
}
"""From a class of characters to the ICU transform that writes in it; Han characters stand for no sounds alone, so have none."""


class NameSource(Protocol):
    """Proposes texts."""

    @property
    def name(self) -> str:
        """Unique among the sources of a run; features are named by it."""
        ...

    @property
    def kinds(self) -> tuple[TextKind, ...]:
        """What it can be asked for: `LABEL` (names) or `DESCRIPTION`."""
        ...

    def candidates(self, wanted: Wanted) -> pl.DataFrame:
        """Rows of `CANDIDATES` for some of the entities wanted, in any order, with any doubles."""
        ...


@dataclass(frozen=True)
class OtherLanguages:
    """Names in other languages as they are, where they are in the language's script; a vote for every language."""

    name: str = "languages"
    kinds: tuple[TextKind, ...] = (TextKind.LABEL,)

    def candidates(self, wanted: Wanted) -> pl.DataFrame:
        """See `NameSource.candidates`."""
        inside = in_script(pl.col("text"), wanted.language) >= COPIED_SHARE
        return _voted(wanted.texts.filter(pl.col("kind").is_in(wanted.kinds) & inside), self.name)


@dataclass(frozen=True)
class Transliteration:
    """Names of other scripts, written in the language's by ICU's transforms; a vote for every language."""

    name: str = "transliteration"
    kinds: tuple[TextKind, ...] = (TextKind.LABEL,)

    def candidates(self, wanted: Wanted) -> pl.DataFrame:
        """See `NameSource.candidates`; nothing for languages whose script ICU cannot write, such as Chinese."""
        into = next(
            (INTO_SCRIPT[script] for script in language_scripts(wanted.language) if script in INTO_SCRIPT), None
        )
        outside = in_script(pl.col("text"), wanted.language) < COPIED_SHARE
        foreign = wanted.texts.filter(pl.col("kind").is_in(wanted.kinds) & outside)
        if into is None or not foreign.height:
            return none()
        return _voted(transformed(foreign, "text", into), self.name)


def transformed(frame: pl.DataFrame, column: str, transform: str) -> pl.DataFrame:
    """A frame with one column rewritten by an ICU transform, every distinct text once.

    Raises:
        MissingDependency: PyICU is not installed.
    """
    try:
        import icu
    except ImportError as error:
        raise MissingDependency(
            "Transliteration needs PyICU and the ICU library (Debian: libicu-dev). Run: pip install 'kgservice[names]'."
        ) from error
    writer: Any = icu.Transliterator.createInstance(transform)
    distinct = frame[column].unique()
    written = pl.Series(column, [writer.transliterate(text) for text in distinct], dtype=pl.String)
    to = pl.DataFrame({"_from": distinct, "_to": written})
    return (
        frame.join(to, left_on=column, right_on="_from", how="left")
        .with_columns(pl.col("_to").alias(column))
        .drop("_to")
    )


def _voted(texts: pl.DataFrame, source: str) -> pl.DataFrame:
    """One row for every name of an entity; equal names of several languages are votes for the most frequent spelling."""
    return (
        texts.lazy()
        .with_columns(key=key(pl.col("text")))
        .group_by("entity", "key")
        .agg(
            pl.col("text").sort().mode(maintain_order=True).first().alias("name"),
            pl.col("language").n_unique().cast(pl.Float64).alias("votes"),
            (pl.col("kind") == TextKind.LABEL).any().alias("primary"),
        )
        .select("entity", "name", pl.lit(source).alias("source"), "votes", "primary")
        .collect()
        .cast(CANDIDATES)
    )


class CandidateFile:
    """Candidates from a file: JSON lines, Parquet, TSV or CSV; `.gz` and `.zst` too where polars reads them.

    Columns: `entity` (a name in the graph) and `name`; optional `language` (else the file is of one language), `votes`,
    `primary` and `kind` ("description", else names). JSON lines of WikiKGE-10's form (`wikidata_id`, `values`) are read as well.

    Args:
        path: of the file.
        name: of the source; by default the file's stem.

    Raises:
        InputError: it cannot be read, or lacks a column.
    """

    kinds: tuple[TextKind, ...] = (TextKind.LABEL, TextKind.DESCRIPTION)

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.name = name or f"file:{path.name.split('.')[0]}"
        self.path = path
        found = read_table(path)
        self._has_language, self._has_kind = "language" in found.columns, "kind" in found.columns
        missing = [column for column in ("entity", "name") if column not in found.columns]
        if missing:
            raise InputError(
                f"{path}: no column {' or '.join(missing)}; found {', '.join(found.columns)}. "
                "A file of candidates has entity and name, and may have language, votes, primary and kind."
            )
        for column, default in (("votes", 1.0), ("primary", False)):
            if column not in found.columns:
                found = found.with_columns(pl.lit(default).alias(column))
        self._rows = found.with_columns(
            pl.col("entity").cast(pl.String), pl.col("name").cast(pl.String), pl.col("votes").cast(pl.Float64),
            _truth(pl.col("primary")),
        ).sort("entity")  # fmt: skip

    def candidates(self, wanted: Wanted) -> pl.DataFrame:
        """See `NameSource.candidates`."""
        rows = _stretch(self._rows, wanted).lazy()
        if self._has_language:
            rows = rows.filter(pl.col("language") == wanted.language)
        describes = (pl.col("kind") == "description") if self._has_kind else pl.lit(False)
        rows = rows.filter(describes == (wanted.kind == TextKind.DESCRIPTION))
        return (
            rows.join(wanted.iri_of().lazy(), left_on="entity", right_on="iri", suffix="_id")
            .select(pl.col("entity_id").alias("entity"), "name", pl.lit(self.name).alias("source"), "votes", "primary")
            .collect()
        )


class SitelinkTitles:
    """Titles of pages about an entity, brackets that tell namesakes apart cut off.

    Args:
        path: a table of the columns `entity` (a name in the graph), `site` (such as `itwiki`, or a language's code) and `title`,
            as `kgservice.naming.sources.CandidateFile` reads tables.

    Raises:
        InputError: it cannot be read, or lacks a column.
    """

    kinds: tuple[TextKind, ...] = (TextKind.LABEL,)

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.name = name or "sitelinks"
        found = read_table(path)
        missing = [column for column in ("entity", "site", "title") if column not in found.columns]
        if missing:
            raise InputError(
                f"{path}: no column {' or '.join(missing)}; found {', '.join(found.columns)}. "
                "A table of sitelinks has entity, site and title."
            )
        language = pl.col("site").str.replace(r"(wiki|wiktionary|wikiquote|wikisource|wikivoyage)$", "")
        self._rows = found.with_columns(
            pl.col("entity").cast(pl.String), language.str.replace_all("_", "-").alias("language"),
            pl.col("title").str.replace_all("_", " ").str.replace(r"\s*[(（][^()（）]*[)）]$", "").alias("name"),
        ).sort("entity")  # fmt: skip

    def candidates(self, wanted: Wanted) -> pl.DataFrame:
        """See `NameSource.candidates`."""
        return (
            _stretch(self._rows, wanted)
            .lazy()
            .filter(pl.col("language") == wanted.language)
            .join(wanted.iri_of().lazy(), left_on="entity", right_on="iri", suffix="_id")
            .select(
                pl.col("entity_id").alias("entity"), "name", pl.lit(self.name).alias("source"),
                votes=pl.lit(1.0), primary=pl.lit(True),
            )
            .collect()
        )  # fmt: skip


def _stretch(rows: pl.DataFrame, wanted: Wanted) -> pl.DataFrame:
    """The rows, sorted by entity, between the first and the last entity wanted; a batch reads its part of a large file."""
    if not wanted.iris:
        return rows.clear()
    first = rows["entity"].search_sorted(min(wanted.iris), side="left")
    last = rows["entity"].search_sorted(max(wanted.iris), side="right")
    return rows.slice(int(first), int(last) - int(first))


def read_table(path: Path) -> pl.DataFrame:
    """A table by its ending: `.jsonl`, `.json` (lines), `.parquet`, `.tsv` or `.csv`.

    Raises:
        InputError: the file is not there, is of another kind, or cannot be read.
    """
    readers: Mapping[str, Callable[[], pl.DataFrame]] = {
        ".jsonl": lambda: pl.read_ndjson(path), ".json": lambda: pl.read_ndjson(path),
        ".parquet": lambda: pl.read_parquet(path),
        ".tsv": lambda: pl.read_csv(path, separator="\t", infer_schema=False, quote_char=None),
        ".csv": lambda: pl.read_csv(path, infer_schema=False),
    }  # fmt: skip
    ending = next((one for one in reversed(path.suffixes) if one in readers), None)
    if ending is None:
        raise InputError(f"{path}: a table ends in {', '.join(readers)}")
    try:
        found = readers[ending]()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path} cannot be read as {ending}: {str(error).splitlines()[0]}") from error
    return wikikge(found) if {"wikidata_id", "values"} <= set(found.columns) else found


def wikikge(found: pl.DataFrame) -> pl.DataFrame:
    """WikiKGE-10's lists of [votes, name, primary], as polars reads them (all strings), a row each."""
    parts = found.select(pl.col("wikidata_id").alias("entity"), value=pl.col("values")).explode("value").drop_nulls()
    return parts.select(
        "entity",
        pl.col("value").list.get(1).alias("name"),
        pl.col("value").list.get(0).cast(pl.Float64).alias("votes"),
        _truth(pl.col("value").list.get(2)).alias("primary"),
    )


def _truth(column: pl.Expr) -> pl.Expr:
    return column.cast(pl.String).str.to_lowercase().is_in(["true", "1"])
