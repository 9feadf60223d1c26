"""What else finds names: tantivy as it comes, SQLite FTS5 by words and by trigrams, rapidfuzz over all names."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import rapidfuzz
import tantivy
from rapidfuzz.distance import OSA
from rapidfuzz.process import extract

from kgservice.graph import KnowledgeGraph
from kgservice.graph.texts import TextKind
from tests.bench.names import Asked

SLOW = 20
"""Questions for a peer that compares with every name."""

Rows = Sequence[tuple[int, str]]
"""(owner, name)."""


class Peer(Protocol):
    """Finds the owners of names."""

    def find(self, text: str, k: int) -> list[int]:
        """The best `k` owners."""
        ...


class Tantivy:
    """One document per name; its own tokenizer; all words must be there, the last one may go on, each with one typo if asked."""

    def __init__(self, rows: Rows, folder: Path | None = None) -> None:
        builder = tantivy.SchemaBuilder()
        builder.add_unsigned_field("owner", fast=True)
        builder.add_text_field("name", stored=False)
        self._schema = builder.build()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        index = tantivy.Index(self._schema, path=None if folder is None else str(folder))
        writer = index.writer(256_000_000, num_threads=1)
        for owner, name in rows:
            document = tantivy.Document()
            document.add_unsigned("owner", owner)
            document.add_text("name", name)
            writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()
        index.reload()
        self._index = index
        self._searcher = index.searcher()

    def find(self, text: str, k: int, typos: int = 0) -> list[int]:
        """By BM25."""
        words = "".join(letter if letter.isalnum() else " " for letter in text.lower()).split()
        if not words:
            return []
        parts = [
            (
                tantivy.Occur.Must,
                tantivy.Query.fuzzy_term_query(self._schema, "name", word, typos, True, True)
                if place == len(words) - 1
                else tantivy.Query.fuzzy_term_query(self._schema, "name", word, typos, True, False)
                if typos
                else tantivy.Query.term_query(self._schema, "name", word),
            )
            for place, word in enumerate(words)
        ]
        found = self._searcher.search(tantivy.Query.boolean_query(parts), k).hits
        return [int(owner) for owner in self._searcher.fast_field_values("owner", [address for _, address in found])]


class Fts5:
    """SQLite's full-text search by BM25.

    Args:
        rows: the names.
        tokenizer: "unicode61" for words, "trigram" for letters.
    """

    def __init__(self, rows: Rows, tokenizer: str = "unicode61") -> None:
        self._trigram = tokenizer == "trigram"
        self._base = sqlite3.connect(":memory:")
        prefix = "" if self._trigram else ", prefix='2 3'"
        self._base.execute(
            f"create virtual table names using fts5(owner unindexed, name, tokenize='{tokenizer}'{prefix})"
        )
        self._base.executemany("insert into names values (?, ?)", rows)
        self._base.commit()

    def find(self, text: str, k: int) -> list[int]:
        """All words, the last one as a beginning; or any trigram."""
        if self._trigram:
            grams = dict.fromkeys(text[at : at + 3] for at in range(max(1, len(text) - 2)))
            match = " OR ".join('"' + gram.replace('"', '""') + '"' for gram in grams if len(gram) == 3)
        else:
            words = "".join(letter if letter.isalnum() else " " for letter in text).split()
            match = " ".join(f'"{word}"' for word in words) + "*" if words else ""
        if not match:
            return []
        query = "select owner from names where names match ? order by bm25(names) limit ?"
        return [owner for (owner,) in self._base.execute(query, (match, k))]


class RapidFuzz:
    """Every name is compared with the question."""

    def __init__(self, rows: Rows) -> None:
        self._owners = [owner for owner, _ in rows]
        self._names = [name.casefold() for _, name in rows]

    def find(self, text: str, k: int) -> list[int]:
        """By the share of letters that are right."""
        found = extract(text.casefold(), self._names, scorer=OSA.normalized_similarity, limit=k)
        return [self._owners[place] for _, _, place in found]


def names_of(graph: KnowledgeGraph) -> list[tuple[int, str]]:
    """Labels and aliases."""
    return [(owner, text) for owner, kind, _, text in graph.texts.items() if kind is not TextKind.DESCRIPTION]


def measure(
    graph: KnowledgeGraph, asks: Asked, folder: Path, latency: Callable[[Callable[[str], object], Sequence[str]], Any]
) -> dict[str, Any]:
    """Build time and latency of each peer for the kinds of question that it can answer."""
    rows = names_of(graph)
    result: dict[str, Any] = {}

    def built(name: str, make: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        peer = make()
        result[name] = {"build_s": time.perf_counter() - started, "kinds": {}}
        return peer

    raw = built("tantivy", lambda: Tantivy(rows, folder / "raw"))
    for kind in ("prefix", "exact", "one typo"):
        typos = int(kind == "one typo")
        result["tantivy"]["kinds"][kind] = latency(lambda text, typos=typos: raw.find(text, 10, typos), asks[kind][0])  # type: ignore[misc]
    words = built("SQLite FTS5", lambda: Fts5(rows))
    for kind in ("prefix", "exact"):
        result["SQLite FTS5"]["kinds"][kind] = latency(lambda text: words.find(text, 10), asks[kind][0])
    grams = built("SQLite FTS5 trigram", lambda: Fts5(rows, "trigram"))
    result["SQLite FTS5 trigram"]["kinds"]["one typo"] = latency(
        lambda text: grams.find(text, 10), asks["one typo"][0][:SLOW]
    )
    scan = built(f"rapidfuzz {rapidfuzz.__version__}", lambda: RapidFuzz(rows))
    name = f"rapidfuzz {rapidfuzz.__version__}"
    result[name]["kinds"]["one typo"] = latency(lambda text: scan.find(text, 10), asks["one typo"][0][:SLOW])
    return result
