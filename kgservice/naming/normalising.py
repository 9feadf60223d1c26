"""When two spellings are the same name, which script it is in, and of which form it is."""

from __future__ import annotations

from typing import Final

import polars as pl

LATIN: Final = (r"\p{Latin}",)
SCRIPTS: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(("ar", "fa", "ur", "ps", "ckb", "sd", "ug"), (r"\p{Arabic}",)),
    **dict.fromkeys(("ru", "uk", "be", "bg", "mk", "kk", "ky", "mn", "tg", "tt", "ba", "cv"), (r"\p{Cyrillic}",)),
    **dict.fromkeys(("zh", "yue", "wuu", "gan", "lzh"), (r"\p{Han}",)),
    **dict.fromkeys(("hi", "mr", "ne", "sa"), (r"\p{Devanagari}",)),
    **dict.fromkeys(("he", "yi"), (r"\p{Hebrew}",)),
    "ja": (r"\p{Han}", r"\p{Hiragana}", r"\p{Katakana}", "ー"),
    "ko": (r"\p{Hangul}",),
    "el": (r"\p{Greek}",),
    "th": (r"\p{Thai}",),
    "ka": (r"\p{Georgian}",),
    "hy": (r"\p{Armenian}",),
    "bn": (r"\p{Bengali}",),
    "ta": (r"\p{Tamil}",),
    "te": (r"\p{Telugu}",),
    "ml": (r"\p{Malayalam}",),
    "kn": (r"\p{Kannada}",),
    "gu": (r"\p{Gujarati}",),
    "pa": (r"\p{Gurmukhi}",),
    "sr": (r"\p{Cyrillic}", r"\p{Latin}"),
    "am": (r"\p{Ethiopic}",),
    "my": (r"\p{Myanmar}",),
    "km": (r"\p{Khmer}",),
    "si": (r"\p{Sinhala}",),
    "lo": (r"\p{Lao}",),
}
"""Classes of characters that a language is written in; any other language is taken to be written in Latin letters."""


def key(name: pl.Expr) -> pl.Expr:
    """What names are compared by: lower case; letters, digits and spaces alone. As WikiKGE-10 compares them."""
    return name.str.to_lowercase().str.replace_all(r"[^\p{L}\p{N} ]", "")


def language_scripts(language: str) -> tuple[str, ...]:
    """The classes of characters of a language, by the part of its code before the first hyphen."""
    return SCRIPTS.get(language.split("-")[0].lower(), LATIN)


def in_script(name: pl.Expr, language: str) -> pl.Expr:
    """float64 in [0, 1]: the share of a name's letters that are in the language's scripts; 1 where it has no letter."""
    letters = name.str.count_matches(r"\p{L}|ー")
    inside = name.str.count_matches("|".join(language_scripts(language)))
    return pl.when(letters > 0).then((inside / letters).clip(upper_bound=1.0)).otherwise(1.0)


def form(name: pl.Expr) -> pl.Expr:
    """The form of a name: runs of letters and digits become one character each; punctuation and spaces stay.

    "Norfolk (Virginia)" is "Aa (Aa)", "2001年宇宙の旅" is "0漢かの漢" with "か" for kana. At most 24 characters.
    """
    for found, put in (
        (r"\p{N}+", "0"), (r"\p{Lu}+", "A"), (r"\p{Ll}+", "a"), (r"\p{Han}+", "漢"), (r"\p{Hiragana}+", "か"),
        (r"[\p{Katakana}ー]+", "カ"), (r"\p{Hangul}+", "한"), (r"\p{Arabic}+", "ع"),
    ):  # fmt: skip
        name = name.str.replace_all(found, put)
    return name.str.slice(0, 24)
