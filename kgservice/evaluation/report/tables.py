"""Rows of the page's tables and bar lists."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from kgservice import __version__
from kgservice.evaluation.ranking import SIDES
from kgservice.evaluation.report.charts import reliability_chart, spread_chart
from kgservice.evaluation.report.labels import labels_of
from kgservice.evaluation.report.models import ModelReport
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split

BARS = 24
"""Relations or types drawn; the rest goes into a table that unfolds."""
FEW = 5
"""Test questions below which a relation's MRR is chance rather than a finding."""
LIBRARIES = ("numpy", "torch", "faiss-cpu", "faiss-gpu", "pyarrow", "polars", "scikit-learn", "matplotlib", "jinja2")


def provenance(graph: KnowledgeGraph) -> dict[str, str]:
    """Where the graph comes from."""
    facts = {name: value for name, value in graph.provenance.items() if isinstance(value, str)}
    return {**facts, "graph content": graph.content_hash[:12]}


def versions() -> dict[str, str]:
    """Of kgservice and what it computes with."""
    found = {"kgservice": __version__, "Python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def model_view(model: ModelReport, colour: str) -> dict[str, Any]:
    """A model's rows of figures, and what is said beside them."""
    ranks = model.ranks
    rows = [("both sides", ranks.figures(), "main")]
    if len(ranks):
        rows += [(kind, ranks.figures(kind), "tie") for kind in ("optimistic", "pessimistic")]
        rows += [(f"{side} missing", ranks.where(ranks.side == side).figures(), "side") for side in SIDES.values()]
    unseen = int(ranks.unseen.sum())
    if unseen:
        rows.append(("seen entities only", ranks.where(~ranks.unseen).figures(), "side"))
    validation: Any = model.metrics
    for key in ("valid", "filtered", "realistic", "mrr"):
        validation = validation.get(key, {}) if isinstance(validation, Mapping) else {}
    return {
        "name": model.name,
        "scorer": model.settings.scorer,
        "rows": rows,
        "interval": ranks.intervals().get("mrr"),
        "uncertainty": model.metrics.get("uncertainty"),
        "spread": spread_chart(model, colour),
        "unseen": unseen,
        "validation": validation if isinstance(validation, float) else None,
        "epochs": len(model.history),
        "duration_s": sum(epoch.get("duration_s") or 0.0 for epoch in model.history),
        "reals": model.entity_vectors.shape[1],
        "calibrations": [
            {"what": what, "made": made, "chart": chart}
            for what, made in model.calibrations.items()
            if (chart := reliability_chart(model.name, what, made, colour)) is not None
        ],
    }


def number_rows(graph: KnowledgeGraph, models: Sequence[ModelReport]) -> list[dict[str, Any]]:
    """What is said of missing numbers, by the first model: the relations known of most entities first."""
    found: Mapping[str, Any] = models[0].metrics.get("estimates", {}) if models else {}
    names = sorted(found, key=lambda name: (-found[name]["known"], name))
    ids = np.array([graph.relations.id(name) for name in names], dtype=np.int64)
    labels = labels_of(graph.relation_texts, graph.relations, ids, graph) if names else []
    return [{"label": label, **found[name]} for label, name in zip(labels, names, strict=True)]


def settings_table(models: Sequence[ModelReport]) -> list[tuple[str, list[str]]]:
    """Every setting with its value for each model."""
    columns = [dict(_flat(model.settings.model_dump(mode="json"))) for model in models]
    return [(key, [str(column.get(key, "–")) for column in columns]) for key in (columns[0] if columns else {})]


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, ", ".join(map(str, value)) if isinstance(value, list) else value


def relation_rows(graph: KnowledgeGraph, models: Sequence[ModelReport]) -> dict[str, Any]:
    """MRR of each relation and model, best first by the first model; `shown` are those to draw."""
    tested = [model for model in models if len(model.ranks)]
    if not tested:
        return {"all": [], "shown": [], "middle": 0}
    ids = np.unique(np.concatenate([model.ranks.relation for model in tested]))
    columns = []
    for model in models:
        counts = np.bincount(model.ranks.relation, minlength=graph.r)[ids]
        totals = np.bincount(model.ranks.relation, weights=1.0 / model.ranks.ranks(), minlength=graph.r)[ids]
        columns.append(np.where(counts > 0, totals / np.maximum(counts, 1), np.nan))
    mrr = np.stack(columns, axis=1)
    first = models.index(tested[0])
    counts = np.bincount(tested[0].ranks.relation, minlength=graph.r)[ids]
    labels = labels_of(graph.relation_texts, graph.relations, ids, graph)
    order = np.lexsort((ids, -counts, -mrr[:, first]))
    names = graph.relations.names_of(ids)
    measured = tested[0].metrics.get("test", {}).get("by_relation", {})
    rows = [
        {
            "label": labels[i],
            "count": int(counts[i]),
            "mrr": mrr[i].tolist(),
            "interval": measured.get(names[i], {}).get("mrr_interval"),
            "baseline": measured.get(names[i], {}).get("baseline_mrr", {}),
        }
        for i in order.tolist()
    ]
    shown = [row for row in rows if row["count"] >= FEW] or rows
    half = BARS // 2 if len(shown) > BARS else len(shown)
    return {"all": rows, "shown": shown[:half] + shown[max(half, len(shown) - half) :], "middle": half}


def statement_rows(graph: KnowledgeGraph) -> list[dict[str, Any]]:
    """Statements of each relation and split, most first; a relation without any is left out."""
    table = graph.statements
    counts = np.zeros((graph.r, len(Split)), np.int64)
    np.add.at(counts, (table.relation, table.split), 1)
    total = counts.sum(axis=1)
    ids = np.lexsort((np.arange(graph.r), -total))[: np.count_nonzero(total)]
    labels = labels_of(graph.relation_texts, graph.relations, ids, graph)
    splits = [split for split in Split if counts[:, split].any()]
    return [
        {
            "label": label,
            "count": int(total[i]),
            "note": ", ".join(f"{counts[i, split]:,} {split.name.lower()}" for split in splits),
        }
        for label, i in zip(labels, ids.tolist(), strict=True)
    ]


def type_rows(graph: KnowledgeGraph) -> list[dict[str, Any]]:
    """Every type with its entities, most first."""
    sizes = graph.types.members.lengths if len(graph.types) else np.zeros(0, np.int64)
    ids = np.lexsort((np.arange(len(sizes)), -sizes))
    labels = labels_of(graph.types.texts, graph.types.vocabulary, ids, graph) if len(ids) else []
    return [{"label": label, "count": int(sizes[i]), "note": ""} for label, i in zip(labels, ids.tolist(), strict=True)]
