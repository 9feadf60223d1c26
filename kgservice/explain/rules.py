"""How often the graph bears a rule out: body ⇒ relation, counted over pairs of entities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kgservice.explain.adjacency import Adjacency

WORK = 1 << 18
"""Edges walked along at each step of a body; where there are more, subjects are taken evenly from all until these are reached."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Counted:
    """What the graph says of one rule.

    Attributes:
        pairs: distinct pairs of different entities that the body links by a walk that visits none twice.
        support: how many of these the relation links too.
        open: how many of these pairs begin with an entity for which the relation is stated at all.
        heads: statements of the relation.
        whole: whether all subjects were counted.
    """

    pairs: int
    support: int
    open: int
    heads: int
    whole: bool

    def without_one(self) -> Counted:
        """Without a pair that both body and relation link, so that no statement supports itself."""
        return Counted(self.pairs - 1, self.support - 1, self.open - 1, self.heads - 1, self.whole)

    @property
    def confidence(self) -> float:
        """Share of pairs that the relation links."""
        return self.support / self.pairs if self.pairs else 0.0

    @property
    def pca_confidence(self) -> float:
        """The same among `open` pairs: what is not stated of others is taken for unknown (Galárraga et al. 2013)."""
        return self.support / self.open if self.open else 0.0

    @property
    def cautious(self) -> float:
        """Confidence with five more pairs that fail, which orders rules (Meilicke et al. 2019)."""
        return self.support / (self.pairs + 5)


def count(adjacency: Adjacency, relation: int, body: tuple[int, ...]) -> Counted:
    """Count a rule.

    Args:
        adjacency: the graph.
        relation: of the head, in `[0, r)`.
        body: one to three directed relations in `[0, 2r)`, walked from the head's subject to its object.
    """
    head = adjacency.of_relation(relation)
    subjects = np.unique(adjacency.source(adjacency.of_relation(body[0])))
    # A fixed order in which every beginning is an even sample.
    turn = np.random.default_rng(0).permutation(len(subjects))
    start, walk, whole = np.arange(len(subjects)), [subjects], True
    for directed in body:
        edges = adjacency.along(walk[-1], directed)
        cost = np.bincount(start, edges.lengths, minlength=len(subjects))
        chosen = np.zeros(len(subjects), dtype=bool)
        chosen[turn[np.cumsum(cost[turn]) - cost[turn] < WORK]] = True  # at least one
        whole = whole and bool(chosen.all())
        row = edges.rows()
        end = adjacency.neighbour[edges.values].astype(np.int64)
        kept = chosen[start[row]]
        for node in walk:
            kept &= end != node[row]
        row, end = row[kept], end[kept]
        start, walk = start[row], [*(node[row] for node in walk), end]
    linked = np.unique(walk[0] * adjacency.n + walk[-1])
    stated = adjacency.source(head) * adjacency.n + adjacency.neighbour[head]
    opened = np.isin(linked // adjacency.n, adjacency.source(head))
    return Counted(len(linked), int(np.isin(linked, stated).sum()), int(opened.sum()), len(head), whole)
