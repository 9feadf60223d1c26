"""The map of a model's entity space: the best-connected entities as points of a plane."""

from __future__ import annotations

import numpy as np

from kgservice.answers.entities import EntityMap, MapPoint
from kgservice.errors import InvalidQuestion
from kgservice.evaluation.projection import best_connected, main_types, project
from kgservice.graph import KnowledgeGraph
from kgservice.graph.views import Views
from kgservice.release.served import ServedModel


def entity_map(
    served: ServedModel, graph: KnowledgeGraph, views: Views, *, count: int, language: str, release: str
) -> EntityMap:
    """The best-connected entities that a model has learnt; takes seconds for thousands (t-SNE, O(m log m) per step).

    Args:
        served: whose entity vectors are projected.
        graph: whose entities these are.
        views: how names are shown.
        count: points at most.
        language: of labels.
        release: named by the map.

    Raises:
        InvalidQuestion: there is nothing to tell apart: fewer than three entities, or their vectors are alike.
    """
    entities = best_connected(graph, count + int(graph.erased.sum()))
    entities = entities[(entities < len(served.vectors.base)) & ~graph.erased[entities]][:count]
    vectors = served.vectors.base.numpy()[entities].astype(np.float64)
    plane = project(vectors) if len(entities) >= 3 and np.isfinite(vectors).all() else None
    if plane is None:
        raise InvalidQuestion(f"model {served.name!r} has no map: its vectors of entities are too few, or all alike")
    low, high = plane.min(axis=0), plane.max(axis=0)
    xy = (plane - (low + high) / 2) / ((high - low).max() / 2)
    kind, top = main_types(graph, entities)
    kind = np.where(kind < len(top), kind, -1)
    named = views.entities(entities.astype(np.int32), language)
    links = graph.degree[entities]
    points = [
        MapPoint(one.id, one.label, round(x, 4), round(y, 4), own, degree)
        for one, (x, y), own, degree in zip(named, xy.tolist(), kind.tolist(), links.tolist(), strict=True)
    ]
    kinds = views.named_types(top.astype(np.int32), language)
    return EntityMap(release, served.name, graph.n - int(graph.erased.sum()), kinds, points)
