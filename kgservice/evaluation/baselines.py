"""What is reached without learning: guessing, and naming what a relation's answers most often are.

A model that is no better than the second has learnt how common entities are, not which belong together.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from scipy.special import digamma
from torch import Tensor

from kgservice.errors import InvalidQuestion
from kgservice.evaluation.ranking import HITS, Ranks
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split
from kgservice.query import QueryBatch, Slot


class MostFrequent:
    """A `Scorer` whose score is how often a candidate fills the hole of the question's relation in training.

    Args:
        graph: its TRAIN statements are counted; most candidates are tied at 0, which realistic ranks show.
    """

    slots = frozenset({Slot.SUBJECT, Slot.OBJECT})

    def __init__(self, graph: KnowledgeGraph) -> None:
        table = graph.statements.in_split(Split.TRAIN)
        ones, shape = np.ones(len(table), np.float32), (graph.r, graph.n)
        self._counts = {
            slot: sparse.csr_array(sparse.coo_array((ones, (table.relation, answer)), shape=shape))
            for slot, answer in ((Slot.SUBJECT, table.subject), (Slot.OBJECT, table.object))
        }

    def scores(self, queries: QueryBatch) -> Tensor:
        """float32 `[b, n]`.

        Raises:
            InvalidQuestion: the relation is missing.
        """
        if queries.slot not in self.slots:
            raise InvalidQuestion(f"{type(self).__name__} answers object and subject questions, not {queries.slot}")
        relation, place = np.unique(queries.relation, return_inverse=True)
        rows = self._counts[queries.slot][relation].toarray()
        return torch.from_numpy(rows).index_select(0, torch.from_numpy(place.ravel()))


def random_figures(ranks: Ranks) -> dict[str, float]:
    """What guessing is expected to reach among the candidates of each row, exactly.

    Of C candidates in random order, the true one has each rank with probability 1/C: E[1/rank] = H(C)/C, with the
    harmonic number H(C) = ψ(C + 1) + γ.
    """
    if not len(ranks):
        return {"count": 0}
    candidates = ranks.candidates.astype(np.float64)
    return {
        "mrr": float(((digamma(candidates + 1) + np.euler_gamma) / candidates).mean()),
        **{f"hits@{k}": float((np.minimum(k, candidates) / candidates).mean()) for k in HITS},
        "mean_rank": float(((candidates + 1) / 2).mean()),
        "adjusted_mean_rank": 1.0,
        "count": len(ranks),
    }
