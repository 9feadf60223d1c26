"""Names inside other texts: found by one pass of an automaton, the longest first, on word boundaries, and replaced.

Every word is put between marks, in names and in texts: a name then matches whole words alone, and the automaton of
Aho and Corasick, which knows no boundaries, needs to know none. Time is linear in the letters of names and texts.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from kgservice.graph.texts import FALLBACK_LANGUAGES

EDGE, CLEAR, SHARED, END = "\x01", "\x02", "\x03", "\x04"
"""Round every word; before a replacement, before one whose name several bear, and behind it. No text keeps such letters."""
_SINGLE = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts without blanks between words: every letter is taken for a word."""
_WORD = rf"([{_SINGLE}]|[\w--[{_SINGLE}]]+)"


@dataclass(frozen=True)
class Mentions:
    """Attributes:
    replaced: names that were found and replaced.
    missed: names in what was left, whether small or capital their letters: some of these are other words.
    shared: of the replaced, those that several bear: the first of them, labels before aliases, was taken to be meant.
    """

    replaced: int = 0
    missed: int = 0
    shared: int = 0

    def __add__(self, other: Mentions) -> Mentions:
        return Mentions(self.replaced + other.replaced, self.missed + other.missed, self.shared + other.shared)


def replace_mentions(texts: pl.DataFrame, names: pl.DataFrame) -> tuple[pl.DataFrame, Mentions]:
    """The same rows with other texts.

    Names are sought in the texts of their language; those without one, or for all (`mul`), in all texts. In texts without
    a language, those of the fallback languages are sought too.

    Args:
        texts: columns `language` and `text` among others.
        names: columns `owner`, `kind`, `language`, `text`, and `new`, which is to stand there.
    """
    parts, found = [], Mentions()
    for (language,), part in texts.group_by("language", maintain_order=True):
        others = FALLBACK_LANGUAGES if language == "" else FALLBACK_LANGUAGES[1:]
        known = names.filter(pl.col("language").is_in([language, *others]))
        made, count = _replaced(part["text"], _lexicon(known, str(language)))
        parts.append(part.with_columns(made.alias("text")))
        found += count
    return (pl.concat(parts) if parts else texts), found


def _lexicon(names: pl.DataFrame, language: str) -> pl.DataFrame:
    """Each name once, the longest first: `text` between marks, `new`, and whether `shared` by owners named differently."""
    return (
        names.filter(pl.col("text").str.contains(r"\w"))
        .sort(pl.col("language") != language, "kind", "owner", "new", maintain_order=True)
        .group_by("text", maintain_order=True)
        .agg(pl.col("new").first(), shared=(pl.col("owner").n_unique() > 1) & (pl.col("new").n_unique() > 1))
        .with_columns(_marked(pl.col("text")))
        .sort(pl.col("text").str.len_bytes(), descending=True, maintain_order=True)
    )


def _marked(text: pl.Expr) -> pl.Expr:
    return text.str.replace_all(f"[{EDGE}-{END}]", "").str.replace_all(_WORD, f"{EDGE}${{1}}{EDGE}")


def _replaced(texts: pl.Series, lexicon: pl.DataFrame) -> tuple[pl.Series, Mentions]:
    if not len(lexicon):
        return texts, Mentions()
    names = lexicon["text"].to_list()
    begin = pl.when("shared").then(pl.lit(SHARED)).otherwise(pl.lit(CLEAR))
    standing = lexicon.select(begin + pl.col("new").str.replace_all(f"[{EDGE}-{END}]", "") + pl.lit(END)).to_series()
    text = pl.col("text")
    made = texts.to_frame("text").select(_marked(text).str.replace_many(names, standing.to_list(), leftmost=True))
    left = text.str.replace_all(f"[{CLEAR}{SHARED}][^{END}]*{END}", CLEAR)
    missed = left.str.extract_many(names, ascii_case_insensitive=True, leftmost=True).list.len()
    counts = made.select(
        replaced=text.str.count_matches(f"[{CLEAR}{SHARED}]").sum(),
        missed=missed.sum(),
        shared=text.str.count_matches(SHARED, literal=True).sum(),
    ).row(0)
    return made.select(text.str.replace_all(f"[{EDGE}-{END}]", "")).to_series(), Mentions(*map(int, counts))
