"""Entities as points of a plane, near each other where their vectors are."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kgservice.evaluation.projection import best_connected, main_types, project
from kgservice.evaluation.report.labels import cut, labels_of
from kgservice.evaluation.report.models import ModelReport
from kgservice.graph import KnowledgeGraph

Floats = npt.NDArray[np.float64]

MAP_POINTS = 2500
MAP_WIDTH = 1000
MAP_FONT = 15
_REST = ("other types", "no type stated")
LABELS_PER_TYPE = 4


def entity_map(graph: KnowledgeGraph, model: ModelReport) -> dict[str, Any] | None:
    """The entities of highest degree as points of a plane, grouped by type, with labels where they fit."""
    entities = best_connected(graph, MAP_POINTS)
    vectors = np.asarray(model.entity_vectors, dtype=np.float64)[entities]
    if not np.isfinite(vectors).all() or len(entities) < 3:
        return None
    plane = project(vectors)
    if plane is None:
        return None
    span = np.ptp(plane, axis=0)
    height = int(np.clip(MAP_WIDTH * span[1] / max(span[0], 1e-12), 600, 1000))
    scale = min((MAP_WIDTH - 40) / max(span[0], 1e-12), (height - 40) / max(span[1], 1e-12))
    xy = (plane - plane.min(axis=0) - span / 2) * scale + [MAP_WIDTH / 2, height / 2]

    names = labels_of(graph.texts, graph.entities, entities, graph)
    has_label = np.array([label is not None for label in graph.texts.labels(entities)])
    group, captions = map_groups(graph, entities)
    points: list[list[dict[str, Any]]] = [[] for _ in captions]
    for place, (x, y) in enumerate(xy.tolist()):
        point = {"x": f"{x:.1f}", "y": f"{y:.1f}", "label": names[place], "degree": int(graph.degree[entities[place]])}
        points[group[place]].append(point)
    hues = len(captions) - len(_REST) if len(captions) > 1 else 1
    groups = [
        {"label": label, "points": part, "hue": number < hues}
        for number, (label, part) in enumerate(zip(captions, points, strict=True))
    ]
    worth_naming = has_label if has_label.any() else ~has_label
    labels = map_labels(xy, names, np.where(worth_naming, group, -1), len(captions))
    return {"model": model.name, "height": height, "groups": groups, "labels": labels, "shown": len(entities)}


def map_groups(graph: KnowledgeGraph, entities: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """The group of each entity and the captions: the commonest types, then other types, then none."""
    if not len(graph.types):
        return np.zeros(len(entities), np.int64), ["entity"]
    group, top = main_types(graph, entities)
    captions = [*labels_of(graph.types.texts, graph.types.vocabulary, top, graph), *_REST]
    return group, captions


def map_labels(xy: Floats, names: Sequence[str], group: npt.NDArray[np.int64], groups: int) -> list[dict[str, Any]]:
    """Names of the best-connected entities of each group, in turns, where they cover no other name.

    Args:
        xy: float64 `[m, 2]`, best-connected first.
        names, group: of each point; one of group -1 gets no label.
        groups: how many there are.
    """
    turns = [np.flatnonzero(group == number)[: 3 * LABELS_PER_TYPE] for number in range(groups)]
    boxes: list[tuple[float, float, float, float]] = []
    labels: list[dict[str, Any]] = []
    placed = [0] * groups
    for turn in range(3 * LABELS_PER_TYPE):
        for number, members in enumerate(turns):
            if turn >= len(members) or placed[number] >= LABELS_PER_TYPE:
                continue
            x, y = xy[members[turn]]
            text = cut(names[members[turn]], 28)
            width = sum(1.0 if unicodedata.east_asian_width(sign) in "WF" else 0.56 for sign in text) * MAP_FONT
            left = x + 7 if x + 7 + width < MAP_WIDTH else x - 7 - width
            box = (left - 3, y - MAP_FONT * 0.7, left + width + 3, y + MAP_FONT * 0.5)
            if left < 0 or any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in boxes):
                continue
            boxes.append(box)
            placed[number] += 1
            labels.append({"x": f"{left:.1f}", "y": f"{y + MAP_FONT * 0.33:.1f}", "text": text, "group": number})
    return labels
