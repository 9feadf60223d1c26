"""The graph of a task that predicts types: without the statements that tell the answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from kgservice.graph import KnowledgeGraph


def stating_types(graph: KnowledgeGraph, held_out: Iterable[tuple[str, str]] = ()) -> npt.NDArray[np.bool_]:
    """bool `[m]`: the statements whose object is a type of their subject, whatever the relation (P31, P279, part of).

    Args:
        graph: its types count.
        held_out: (entity, type) by name, types to predict that the graph does not hold; names it does not know tell nothing.
    """
    names = list(held_out)
    # A type tells itself where it is an entity too.
    as_entity = graph.entities.ids(graph.types.vocabulary.names)
    subject = np.concatenate([graph.types.of_entity.rows(), graph.entities.ids([entity for entity, _ in names])])
    object = np.concatenate([as_entity[graph.types.of_entity.values], graph.entities.ids([kind for _, kind in names])])
    known = (subject >= 0) & (object >= 0)
    told = subject[known].astype(np.int64) * graph.n + object[known]
    table = graph.statements
    stating: npt.NDArray[np.bool_] = np.isin(table.subject.astype(np.int64) * graph.n + table.object, told)
    return stating


def withhold(graph: KnowledgeGraph, relations: Iterable[str], held_out: Iterable[tuple[str, str]]) -> KnowledgeGraph:
    """The graph with the statements of some relations alone, and of those none that states a type.

    All names stay; the provenance tells how many statements are `withheld`.

    Args:
        graph: with the types that may be learnt from.
        relations: by name, those that are kept.
        held_out: see `stating_types`.
    """
    kept = np.zeros(graph.r, dtype=bool)
    ids = graph.relations.ids(list(relations))
    kept[ids[ids >= 0]] = True
    seen = kept[graph.statements.relation] & ~stating_types(graph, held_out)
    provenance = {**graph.provenance, "withheld": int((~seen).sum())}
    return replace(graph, statements=graph.statements.take(np.flatnonzero(seen)), provenance=provenance)
