"""Entities as points of a plane, near each other where their vectors are."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kgservice.evaluation.report.labels import cut, labels_of
from kgservice.evaluation.report.models import ModelReport
from kgservice.graph import KnowledgeGraph

Floats = npt.NDArray[np.float64]

MAP_POINTS = 2500
MAP_PCA = 50
MAP_WIDTH = 1000
MAP_FONT = 15
COLOURED_TYPES = 9
"""As many hues as the page's palette tells apart; further types share the grey."""
_REST = ("other types", "no type stated")
LABELS_PER_TYPE = 4


def entity_map(graph: KnowledgeGraph, model: ModelReport) -> dict[str, Any] | None:
    """The entities of highest degree as points of a plane, grouped by type, with labels where they fit."""
    entities = np.lexsort((np.arange(graph.n), -graph.degree))[:MAP_POINTS]
    vectors = np.asarray(model.entity_vectors, dtype=np.float64)[entities]
    if not np.isfinite(vectors).all() or len(entities) < 3:
        return None
    plane = _project(vectors)
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


def _project(vectors: Floats) -> Floats | None:
    """float64 `[m, 2]`: principal components, then t-SNE; None where all vectors are alike."""
    centred = vectors - vectors.mean(axis=0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    if not size[0] > 1e-9:
        return None
    components = left[:, :MAP_PCA] * size[:MAP_PCA]
    plane = np.zeros((len(vectors), 2))
    plane[:, : components.shape[1]] = components[:, :2]
    if len(vectors) < 10:  # too few neighbours for t-SNE to say more than the components do
        return plane
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1):  # sums in one order: the same picture every time
        model = TSNE(
            init=(plane / plane[:, 0].std() * 1e-4).astype(np.float32),
            perplexity=min(30.0, (len(vectors) - 1) / 3),
            learning_rate="auto",
            random_state=0,
            n_jobs=1,
        )
        return np.asarray(model.fit_transform(components.astype(np.float32)), dtype=np.float64)


def map_groups(graph: KnowledgeGraph, entities: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """The group of each entity and the captions: the commonest types, then other types, then none.

    An entity of many types takes the commonest that not most entities share: a class of everything tells nothing.
    """
    if not len(graph.types):
        return np.zeros(len(entities), np.int64), ["entity"]
    held = graph.types.of_entity.take(entities)
    row, kind = held.rows(), held.values
    size = np.bincount(kind, minlength=len(graph.types))
    worth = np.where(size > 0.5 * len(entities), -1 / np.maximum(size, 1), size)
    best_last = np.lexsort((-kind, worth[kind], row))
    main = np.full(len(entities), -1, np.int64)
    main[row[best_last]] = kind[best_last]
    count = np.bincount(main[main >= 0], minlength=len(graph.types))
    top = np.lexsort((np.arange(len(count)), -count))[:COLOURED_TYPES]
    top = top[count[top] > 0]
    place = np.full(len(graph.types) + 1, len(top), np.int64)  # other types
    place[top], place[-1] = np.arange(len(top)), len(top) + 1  # -1 is no type
    captions = [*labels_of(graph.types.texts, graph.types.vocabulary, top, graph), *_REST]
    return place[main], captions


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
