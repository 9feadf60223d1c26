"""The ingest report as one HTML file for people: what was read, and what became of it.

The file loads nothing from elsewhere. Names of files and predicates are data: the template escapes all of them. The same
report gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kgservice import pages
from kgservice.ingestion.account import KEPT, REASONS

if TYPE_CHECKING:
    from jinja2 import Environment

PREDICATES = 500
"""Rows of the table of predicates, those read most; the others are summed in one."""
FILES = 200
"""Files that are listed; the others are summed in one row."""

KEPT_WORDS: Mapping[str, str] = {
    "statements": "links between two entities",
    "literals": "numbers, dates, strings and other values of an entity",
    "qualifiers": "what is said about a statement",
    "reifications": "what ties qualifiers and values to their statement",
    "types": "classes of entities",
    "texts": "labels, aliases and descriptions",
    "negatives": "statements known to be false",
    "redirects": "names that stand for another entity",
}
"""What each kept outcome is."""

NOTE_WORDS: Mapping[str, str] = {
    "malformed": "lines that do not parse; they were skipped",
    "named_graphs": "triples that name a graph; its name is not kept",
    "impossible_date": "dates that no calendar has; kept as they are",
    "merged_rows": "kept rows that became one with an equal row",
    "removed_statements": "statements and literal facts taken out of the graph",
    "removed_types": "types taken out of the graph",
    "removed_texts": "texts taken out of the graph",
}
"""What is counted beside the sum."""

_WHOLE, _OTHERS = "", "…"
"""Predicates that stand for whole lines and entities, and for all beyond those the report tells apart."""
_NAMESPACE_LENGTH, _NAME_LENGTH = 40, 60


@dataclass(frozen=True)
class _Bar:
    """An outcome.

    Attributes:
        share: of all that was read, 0 to 1.
    """

    name: str
    words: str
    count: int
    share: float
    is_kept: bool


@dataclass(frozen=True)
class _Predicate:
    """A row of the table of predicates; `namespace` and `name` are shortened, `full` is not."""

    full: str
    namespace: str
    name: str
    kept: int
    dropped: int
    outcomes: Sequence[tuple[str, int]]

    @property
    def read(self) -> int:
        return self.kept + self.dropped


def render(name: str, report: Mapping[str, Any], counts: Mapping[str, int]) -> str:
    """A self-contained HTML page.

    Args:
        name: of the graph.
        report: as `account.summary` makes it.
        counts: what the graph holds now, by kind.

    Returns:
        The page: the sum and whether it adds up, each outcome with its reason, predicates, files, notes, the graph.
    """
    bars = [*_bars(report, "kept", KEPT_WORDS), *_bars(report, "dropped", REASONS)]
    kept, dropped = (sum(report[what].values()) for what in ("kept", "dropped"))
    predicates = [_predicate(full, outcomes) for full, outcomes in report["by_predicate"].items()]
    predicates.sort(key=lambda row: (row.full == _OTHERS, -row.read, row.full))
    listed = [row for row in predicates[:PREDICATES] if row.full != _OTHERS]
    files = report["files"]
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=name,
            read=report["read"],
            kept=kept,
            dropped=dropped,
            adds_up=report["read"] == kept + dropped == sum(row.read for row in predicates),
            bars=bars,
            widest=max((bar.share for bar in bars), default=1.0),
            predicates=listed,
            rest=_rest(predicates[len(listed) :]),
            files=files[:FILES],
            more_files=len(files[FILES:]),
            more_bytes=_bytes_of(files[FILES:]),
            all_bytes=_bytes_of(files),
            notes=[(what, NOTE_WORDS.get(what, ""), count) for what, count in report["notes"].items()],
            counts={what: count for what, count in counts.items() if count},
        )
    )


def _bars(report: Mapping[str, Any], part: str, words: Mapping[str, str]) -> list[_Bar]:
    read = max(report["read"], 1)
    found = [
        _Bar(name, words.get(name, ""), count, count / read, part == "kept") for name, count in report[part].items()
    ]
    return sorted(found, key=lambda bar: (-bar.count, bar.name))


def _predicate(full: str, outcomes: Mapping[str, int]) -> _Predicate:
    kept = sum(count for outcome, count in outcomes.items() if outcome in KEPT)
    cut = max(full.rfind(sign) for sign in "/#:") + 1
    if cut == len(full):  # an IRI that ends with its separator
        cut = 0
    namespace, name = full[:cut], full[cut:]
    if full == _WHOLE:
        name = "whole lines and entities"
    return _Predicate(
        full,
        _cut(namespace, _NAMESPACE_LENGTH),
        _cut(name, _NAME_LENGTH),
        kept,
        sum(outcomes.values()) - kept,
        sorted(outcomes.items(), key=lambda pair: (-pair[1], pair[0])),
    )


def _rest(rows: Sequence[_Predicate]) -> dict[str, Any] | None:
    """The predicates that are not listed, in one row; `several` is None where the report does not tell how many."""
    if not rows:
        return None
    several = None if any(row.full == _OTHERS for row in rows) else len(rows)
    kept, dropped = sum(row.kept for row in rows), sum(row.dropped for row in rows)
    return {"several": several, "kept": kept, "dropped": dropped, "read": kept + dropped}


def _bytes_of(files: Iterable[Mapping[str, Any]]) -> int:
    return sum(file.get("size_bytes", 0) for file in files)


def _cut(text: str, length: int) -> str:
    """Shortened in the middle: the ends tell more."""
    if len(text) <= length:
        return text
    tail = length // 3
    return f"{text[: length - tail - 1]}…{text[-tail:]}"


def _percent(share: float) -> str:
    """A share of 0 to 1 as people read it; what is not nothing is not called 0 %, nor what is not all 100 %."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f} %"


def _width(share: float) -> str:
    """The width of a bar: a sliver of what is not nothing, or is not all, is still seen."""
    if 0 < share < 1:
        share = min(max(share, 0.003), 0.997)
    return f"{100 * share:.2f}%"


def _size(size_bytes: int) -> str:
    size, unit = float(size_bytes), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size_bytes:,} bytes" if unit == "bytes" else f"{size:.1f} {unit}"


@cache
def _environment() -> Environment:
    return pages.environment(
        Path(__file__).parent,
        percent=_percent,
        width=_width,
        size=_size,
        words=lambda name: name.replace("_", " "),
    )
