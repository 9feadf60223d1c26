"""Second stages: what orders anew the candidates that an index found, or all entities at once."""

from __future__ import annotations

import torch
from torch import Tensor

from kgservice.graph import KnowledgeGraph
from kgservice.graph.questions import Level
from kgservice.graph.statements import Split
from kgservice.query import QueryBatch
from kgservice.scorers.base import VectorScorer

LEARNT = (Split.TRAIN, Split.CONTEXT)


class Staged:
    """A scorer with its second stage, as one that can be ranked; the first stage's order holds behind what was scored anew.

    Args:
        scorer: has a second stage.
        graph: whose training answers no candidate is taken from, as in what is served.
        level: see `KnowledgeGraph.known`.
    """

    def __init__(self, scorer: VectorScorer, graph: KnowledgeGraph, level: Level = "triple") -> None:
        self.scorer, self.graph, self.level = scorer, graph, level
        self.slots, self.reads = scorer.slots, scorer.reads

    def scores(self, queries: QueryBatch) -> Tensor:
        """float32 `[b, n]`."""
        second = self.scorer.second
        assert second is not None
        if second.width is None:
            return second.scores(queries)
        first = self.scorer.scores(queries)
        known = self.graph.known(queries, self.level, LEARNT)
        rows, values = (torch.from_numpy(ids.astype("int64")).to(first.device) for ids in (known.rows(), known.values))
        barred = first.index_put((rows, values), first.new_tensor(-torch.inf))
        window, ids = barred.topk(min(second.width, first.shape[1]), dim=1)
        ids = ids.masked_fill(window == -torch.inf, -1)
        anew = second.rescore(queries, ids, window)
        found = first + least_change(window, anew)
        place = ids >= 0
        row = torch.arange(len(ids), device=ids.device)[:, None].expand_as(ids)
        return found.index_put((row[place], ids[place]), anew[place])


def least_change(first: Tensor, anew: Tensor) -> Tensor:
    """float32 `[b, 1]`: what the second stage says of a candidate at worst; those it did not look at are taken to be so."""
    change = torch.where(first == -torch.inf, torch.inf, anew - first).amin(1, keepdim=True)
    return torch.where(change.isinf(), 0, change)
