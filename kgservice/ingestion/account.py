"""The ingest report: what was read, what it became, and what was dropped for which reason, by predicate."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from kgservice.readers.batch import Tally

KEPT = ("statements", "literals", "qualifiers", "reifications", "types", "texts", "negatives", "redirects")
"""What is part of the graph; every other outcome is a reason to drop."""

REASONS: Mapping[str, str] = {
    "duplicate": "the same was read before",
    "about_no_entity": "a text, type or number of a name that is no entity of the graph",
    "about_a_reifier": "a type or text of a reifier, or a link to one",
    "broken_reification": "a reification that lacks a part, or has one twice",
    "unasserted": "about a triple that is quoted but not stated",
    "qualifies_no_link": "qualifies a text, a type or a literal",
    "triple_term": "a quoted triple where an entity or a literal is expected",
    "restated": "a truthy Wikidata triple whose full statement is there too",
    "deprecated_rank": "of deprecated rank",
    "about_a_property": "a statement about a Wikidata property",
    "lexeme": "a Wikidata lexeme, or about one",
    "reference": "part of a reference; references are counted beside their statement",
    "sitelink": "a page about an entity; how many there are is kept",
    "wikidata_metadata": "about the description of an entity, not about the entity",
    "normalized_value": "a value again, in another unit or as a link",
    "unknown_value": "a value of a type that is not known",
    "unknown_rank": "of a rank that is not known",
    "unknown_entity": "neither an item nor a property nor a lexeme, or without an id",
    "filtered_language": "in a language that was not asked for",
    "filtered_property": "of a property that was not asked for",
    "filtered_sitelinks": "about an entity with too few sitelinks",
    "filtered_class": "about an entity of a class that was not asked for",
}
"""Why something is not in the graph."""

NOTES = ("malformed", "named_graphs", "impossible_date")
"""Counts beside the sum: lines that do not parse, triples that name a graph, dates that no calendar has."""

PREDICATES = 10_000
"""So many predicates are told apart in provenance, those read most; the rest is counted together as `…`."""


def summary(files: Sequence[Mapping[str, Any]], tally: Tally, *, merged: int = 0) -> dict[str, Any]:
    """The report as plain values, kept in `graph.provenance["report"]`.

    Args:
        files: per file, its name, format and how much was read.
        merged: rows that became one with an equal row.

    Returns:
        `read` equals the sum of `kept` and `dropped`, each by outcome; `by_predicate` divides them further.
    """
    kept, dropped, notes = Counter[str](), Counter[str](), Counter[str]()
    by_predicate: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for (outcome, predicate), count in tally.items():
        if not count:
            continue
        if outcome in NOTES:
            notes[outcome] += count
            continue
        (kept if outcome in KEPT else dropped)[outcome] += count
        by_predicate[predicate][outcome] += count
    if merged:
        notes["merged_rows"] = merged
    most_read = sorted(by_predicate, key=lambda name: (-by_predicate[name].total(), name))
    for name in most_read[PREDICATES:]:
        by_predicate["…"] += by_predicate.pop(name)
    return {
        "files": list(files),
        "read": kept.total() + dropped.total(),
        "kept": _plain(kept),
        "dropped": _plain(dropped),
        "notes": _plain(notes),
        "by_predicate": {name: _plain(by_predicate[name]) for name in sorted(by_predicate)},
    }


def _plain(counts: Counter[str]) -> dict[str, int]:
    return {name: counts[name] for name in sorted(counts) if counts[name]}
