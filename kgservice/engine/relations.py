"""Which relations a graph has, and how much each is used."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kgservice.answers.entities import RelationSummary
from kgservice.graph import KnowledgeGraph
from kgservice.graph.views import Views


def summaries(graph: KnowledgeGraph, views: Views, language: str) -> list[RelationSummary]:
    """All relations that some statement or qualifier has, the most used first, equal ones by id. O(m + q).

    Args:
        graph: whose relations.
        views: how names are shown.
        language: of labels and descriptions.
    """
    stated = np.zeros(graph.r, np.int64)
    qualifying = np.zeros(graph.r, np.int64)
    for table in (graph.statements, graph.literals.statements):
        stated += np.bincount(table.relation, minlength=graph.r)
        qualifying += np.bincount(table.qualifier_relation, minlength=graph.r)
    used = stated + qualifying
    ranked = np.lexsort((np.arange(graph.r), -used))
    ids: npt.NDArray[np.int32] = ranked[used[ranked] > 0].astype(np.int32)
    named = views.relations(ids, language, describe=True)
    columns = (stated[ids].tolist(), qualifying[ids].tolist(), graph.linking[ids].tolist())
    return [
        RelationSummary(one.id, one.label, one.description, *figures)
        for one, *figures in zip(named, *columns, strict=True)
    ]


def matching(relations: list[RelationSummary], text: str) -> list[RelationSummary]:
    """Those whose label or id has all words of a text: where the label begins with it first, then by use."""
    sought = text.casefold().strip()
    words = sought.split()
    found = [
        (not (one.label or one.id).casefold().startswith(sought), place)
        for place, one in enumerate(relations)
        if all(word in f"{one.label or ''} {one.id}".casefold() for word in words)
    ]
    return [relations[place] for _, place in sorted(found)]
