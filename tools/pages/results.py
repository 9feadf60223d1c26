"""Committed results, and rows of tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "tests" / "bench" / "results"


def decimal(value: float | None) -> str:
    """Three places, or a dash where there is none."""
    return "–" if value is None else f"{value:.3f}"


def busy(record: Mapping[str, Any]) -> str:
    """A word of warning where a machine computed other things while it measured."""
    machine = record["machine"]
    if machine["load_average"][1] <= machine["cores"] + 1:
        return ""
    return (
        f" **The machine computed other things meanwhile** (load {machine['load_average'][1]:.1f} on {machine['cores']} cores): "
        "to be measured again on a quiet one before it is quoted; threads that wait for each other, as FAISS's do, suffer most."
    )


def result(name: str) -> dict[str, Any]:
    """A committed result by its name."""
    record: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return record


def table(columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Markdown, after an empty line; what a row is about stands first, under no heading."""
    yield f"\n| | {' | '.join(columns)} |"
    yield "|" + "---|" * (len(columns) + 1)
    for about, cells in rows.items():
        yield f"| {about} | {' | '.join(cells)} |"
