"""A training that begins where a former model ended, though the graph has grown since.

Rows are found by name: what the former graph named keeps what was learnt, everything else keeps its fresh rows. The
optimiser begins anew.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kgservice.errors import RecipeError
from kgservice.graph import KnowledgeGraph
from kgservice.graph.vocabulary import Vocabulary
from kgservice.scorers.base import VectorScorer
from kgservice.scorers.embedding import EmbeddingScorer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WarmStart:
    """How much of a model was known before.

    Attributes:
        entities_kept, entities_new: rows with former weights, and freshly initialised ones.
        relations_kept, relations_new: the same; a relation and its inverse count once.
    """

    entities_kept: int
    entities_new: int
    relations_kept: int
    relations_new: int


def warm_start(
    scorer: VectorScorer,
    former_state: Mapping[str, Tensor],
    former_entities: Vocabulary,
    former_relations: Vocabulary,
    graph: KnowledgeGraph,
) -> WarmStart:
    """Give a fresh scorer the rows that a former one had for the same names, in place.

    Args:
        scorer: freshly initialised for `graph`.
        former_state: the former scorer's weights by name.
        former_entities, former_relations: the names of its rows.
        graph: what will be learnt.

    Raises:
        RecipeError: another kind of scorer, another width, or inverse relations with rows of their own in one alone.
    """
    if not isinstance(scorer, EmbeddingScorer):
        raise RecipeError(f"{type(scorer).__name__} keeps no row per entity: it cannot start from a former model")
    state = scorer.state_dict()
    if state.keys() != former_state.keys():
        raise RecipeError(
            f"the former model has the weights {', '.join(sorted(former_state))}, a {type(scorer).__name__} has "
            f"{', '.join(sorted(state))}: it is another kind of scorer, train without --from"
        )
    for name, value in state.items():
        if value.shape[1:] != former_state[name].shape[1:]:
            raise RecipeError(
                f"the former model keeps {_reals(former_state[name])} per row of {name}, this one {_reals(value)}: "
                "give the model the former width, or train without --from"
            )
    per_relation = 2 if scorer.reciprocal else 1
    former_r = len(former_relations)
    if len(former_state["relation"]) != per_relation * former_r:
        raise RecipeError(
            f"the former model keeps {len(former_state['relation'])} rows for {former_r} relations, this one "
            f"{per_relation} per relation: set reciprocal = {'false' if scorer.reciprocal else 'true'}, or train without --from"
        )
    entities, relations = former_entities.ids(graph.entities.names), former_relations.ids(graph.relations.names)
    with torch.no_grad():
        _copy(scorer.entity, former_state["entity"], entities)
        for half in range(per_relation):
            own = scorer.relation[half * graph.r : (half + 1) * graph.r]
            _copy(own, former_state["relation"][half * former_r : (half + 1) * former_r], relations)
    kept, kept_relations = int((entities >= 0).sum()), int((relations >= 0).sum())
    counts = WarmStart(kept, graph.n - kept, kept_relations, graph.r - kept_relations)
    logger.info("warm start: %s", counts)
    if not kept:
        logger.warning("warm start: no entity bears a name of the former graph, so that nothing was learnt before")
    return counts


def _copy(rows: Tensor, former: Tensor, ids: npt.NDArray[np.int32]) -> None:
    known = np.flatnonzero(ids >= 0)
    rows[torch.from_numpy(known)] = former[torch.from_numpy(ids[known].astype(np.int64))].to(rows)


def _reals(value: Tensor) -> str:
    return f"{value[0].numel() if len(value) else 0} reals"
