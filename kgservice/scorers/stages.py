"""Second stages: what orders anew the candidates that an index found, or all entities at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kgservice.graph import KnowledgeGraph
from kgservice.graph.questions import Level
from kgservice.graph.statements import Split
from kgservice.query import QueryBatch, Slot
from kgservice.recipe import ContextSettings
from kgservice.scorers.base import VectorScorer
from kgservice.scorers.generation import Generator, Memory

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


class Writing:
    """Names of entities written by a context model, as a second stage and by itself.

    Args:
        settings: of the model.
        slots: the holes it answers.
        read: questions as what a decoder looks at.
        generator: what writes, made when it is first wanted.
    """

    def __init__(
        self,
        settings: ContextSettings,
        slots: frozenset[Slot],
        read: Callable[[QueryBatch], Memory],
        generator: Callable[[], Generator],
    ) -> None:
        self.slots, self._share, self._read, self._generator = slots, settings.share, read, generator
        self.width = None if settings.answers == "names" else settings.rescored

    def rescore(self, queries: QueryBatch, candidates: Tensor, first: Tensor) -> Tensor:
        """See `SecondStage.rescore`: the score by vectors, and a share of the logarithm of the name's probability."""
        written = self._generator().of(self._read(queries), candidates)
        return torch.where(candidates < 0, -torch.inf, first + self._share * written)

    def scores(self, queries: QueryBatch) -> Tensor:
        """float32 `[b, n]`: the logarithm of the probability of every entity's name, exactly."""
        return self._generator().scores(self._read(queries))
