"""Rows of the figures that were taken apart: by leak, by class of relation, by frequency of the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kgservice.evaluation.ranking import SIDES
from kgservice.evaluation.report.models import ModelReport

BASELINES = {"most_frequent": "most frequent answer", "random": "guessing"}
LEAKS = {
    "pair": "pair linked in training",
    "triple": "the same triple, with other qualifiers",
    "relation": "by an inverse or duplicate relation",
    "symmetric": "reversed, by the same relation",
}
Figures = Mapping[str, Any]


def baseline_rows(models: Sequence[ModelReport]) -> list[tuple[str, Figures]]:
    """What is reached without learning, as of the first model that was measured beside it."""
    found: Figures = next((_test(model)["baselines"] for model in models if "baselines" in _test(model)), {})
    return [(caption, found[name]) for name, caption in BASELINES.items() if found.get(name, {}).get("count")]


def class_rows(models: Sequence[ModelReport]) -> list[dict[str, Any]]:
    """A row per class of relation and side."""
    names = _names(models, "by_class")
    return [
        _row(f"{name}, {side} missing", models, lambda test, name=name, side=side: test["by_class"][name][side])  # type: ignore[misc]
        for name in names
        for side in SIDES.values()
    ]


def frequency_rows(models: Sequence[ModelReport]) -> list[dict[str, Any]]:
    """A row per bin of training statements that hold the answer; empty bins are left out."""
    rows = [
        _row(name, models, lambda test, name=name: test["by_frequency"][name])  # type: ignore[misc]
        for name in _names(models, "by_frequency")
    ]
    return [row for row in rows if row["count"]]


def leak_rows(models: Sequence[ModelReport]) -> list[dict[str, Any]]:
    """Two rows per kind of leak that occurs: the statements that leak, and the others."""
    rows = []
    for kind in _names(models, "leakage"):
        caption = LEAKS.get(kind, kind)
        for part, label in (("leaking", caption), ("without", f"without: {caption}")):
            rows.append(_row(label, models, lambda test, kind=kind, part=part: test["leakage"][kind][part]))  # type: ignore[misc]
        if not rows[-2]["count"]:  # nothing leaks, so that the others are all
            del rows[-2:]
    return rows


def _row(label: str, models: Sequence[ModelReport], pick: Callable[[Figures], Figures]) -> dict[str, Any]:
    figures: list[Figures] = []
    for model in models:
        try:
            figures.append(pick(_test(model)))
        except KeyError:  # measured by a former version
            figures.append({})
    told = next((part for part in figures if part.get("count")), {})
    return {
        "label": label,
        "count": told.get("count", 0),
        "mrr": [part.get("mrr") for part in figures],
        "interval": [part.get("mrr_interval") for part in figures],
        "baseline": told.get("baseline_mrr", {}),
    }


def _names(models: Sequence[ModelReport], key: str) -> list[str]:
    return list(dict.fromkeys(name for model in models for name in _test(model).get(key, {})))


def _test(model: ModelReport) -> Figures:
    found: Figures = model.metrics.get("test", {})
    return found
