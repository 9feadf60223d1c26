"""Committed results of recipes, as tables."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from typing import Any

from pages.results import RESULTS, ROOT


def recipes() -> Iterator[str]:
    """Every committed recipe with its figures, one row per model."""
    yield (
        "\nLink prediction, test split, filtered, realistic ranks, heads and tails; ± is the standard deviation of seeds, or "
        "half of the 95 % interval over statements where there is one seed; the baseline names what a relation's answers most "
        "often are; † on a sample of the test (`--sample`), not to be compared with the whole:"
    )
    yield "\n| data set | model | reals | seeds | MRR | Hits@10 | minutes | baseline MRR |"
    yield "|---|---|---|---|---|---|---|---|"
    for dataset, (card, name), runs in committed():
        baseline = runs[0]["test"].get("baselines", {}).get("most_frequent", {}).get("mrr")
        cells = (
            dataset,
            f"[{card}](../models/{card}.md), `{name}`",
            f"{runs[0]['reals_per_entity']:,}",
            str(sum(len(run["seeds"]) for run in runs)),
            f"{figure(runs, 'mrr')}{' †' if sampled(runs) else ''}",
            figure(runs, "hits@10"),
            f"{statistics.fmean(run['training']['duration_s'] for run in runs) / 60:.1f}",
            "–" if baseline is None else f"{baseline:.3f}",
        )
        yield f"| {' | '.join(cells)} |"


def committed() -> Iterator[tuple[str, tuple[str, str], list[dict[str, Any]]]]:
    """Every model with a committed result and a recipe: its data set, its card's name and its own, its runs."""
    for path in sorted(RESULTS.glob("*.json")):
        if (ROOT / "models" / f"{path.stem}.toml").exists():
            record = json.loads(path.read_text(encoding="utf-8"))
            for name, runs in record["models"].items():
                yield record["recipe"]["graph"]["dataset"] or "files", (path.stem, name), runs


def sampled(runs: list[dict[str, Any]]) -> bool:
    """Whether not all of the test was ranked."""
    return "sample" in runs[0]


def figure(runs: list[dict[str, Any]], key: str) -> str:
    """The mean of seeds, with their deviation; of one seed with half its interval."""
    values = [run["test"]["filtered"]["realistic"][key] for run in runs]
    text = f"{statistics.fmean(values):.4f}"
    if len(values) > 1:
        return f"{text} ± {statistics.stdev(values):.4f}"
    interval = runs[0]["test"].get("intervals", {}).get(key)
    return f"{text} ± {(interval[1] - interval[0]) / 2:.4f}" if interval else text
