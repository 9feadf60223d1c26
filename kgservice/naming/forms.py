"""Other forms of names that sources propose: without brackets, in the other Chinese script, family name first, …

A graph holds such forms beside the plain name. How far a form is to be trusted in a language is learnt by the combiner, like any
source; the rules here only say which forms there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from kgservice.errors import MissingDependency
from kgservice.naming.candidates import CANDIDATES, DERIVED, none
from kgservice.naming.sources import transformed


@dataclass(frozen=True)
class Rewriting:
    """Names in which `found` occurs, with `put` in its place.

    Attributes:
        name: of the form.
        found, put: a regular expression and what replaces all its places.
        languages: whose names it is for; empty for all.
    """

    name: str
    found: str
    put: str
    languages: tuple[str, ...] = ()


_FAMILY_NAME: Final = r"^(\p{Lu}[\p{L}.'’-]*(?: \p{Lu}[\p{L}.'’-]*)?) (\p{Lu}[\p{L}'’-]+)$"
REWRITINGS: Final = (
    Rewriting("brackets", r"\s*[\(（][^\(\)（）]*[\)）]", ""),
    Rewriting("comma", r"\s*[,،、].*$", ""),
    Rewriting("family-first", _FAMILY_NAME, "$2, $1", ("ru", "uk", "be", "bg", "kk")),
    Rewriting("yo", "ё", "е", ("ru",)),
    Rewriting("unspaced", r"\s+", "", ("ja", "ko", "zh")),
    Rewriting("hamza", "[أإآ]", "ا", ("ar",)),
    Rewriting("ta-marbuta", r"ة\b", "ه", ("ar",)),
    Rewriting("alif-maqsura", r"ى\b", "ي", ("ar",)),
    Rewriting("article", r"\bال", "", ("ar",)),
)
TRANSFORMS: Final = {"zh": (("simplified", "Traditional-Simplified"), ("traditional", "Simplified-Traditional"))}
"""By language: forms that ICU writes, and its transforms."""


def forms(candidates: pl.DataFrame, language: str) -> pl.DataFrame:
    """Rows of `CANDIDATES` for the other forms of tidied candidates; those alone that differ from what they come from.

    Where PyICU is not installed, forms that need it are left out.
    """
    names = candidates.filter(pl.col("votes") > 0).select("entity", "name").unique(maintain_order=True)
    code = language.split("-")[0].lower()
    name, made = pl.col("name"), []
    for one in REWRITINGS:
        if not one.languages or code in one.languages:
            rewritten = name.str.replace_all(one.found, one.put)
            made.append(_derived(names.filter(name.str.contains(one.found)), one.name, rewritten))
    for form, transform in TRANSFORMS.get(code, ()):
        try:
            written = transformed(names.with_columns(written=name), "written", transform)
        except MissingDependency:
            continue
        made.append(_derived(written.filter(pl.col("written") != name), form, pl.col("written")))
    return pl.concat(made) if made else none()


def _derived(names: pl.DataFrame, form: str, name: pl.Expr) -> pl.DataFrame:
    columns = {"name": name, "source": pl.lit(DERIVED + form), "votes": pl.lit(1.0), "primary": pl.lit(False)}
    return names.select("entity", **columns).cast(CANDIDATES)
