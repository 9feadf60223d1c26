"""Short paths between two entities, those through rarely linked entities first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kgservice.explain.adjacency import Adjacency, spans

LONGEST = 3
EDGES = 1 << 18
"""Edges looked at for the middle step of one search; entities linked to the most are left out first, for they say the least."""
KEPT = 2000
"""Paths that one search gives."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Paths:
    """`p` walks that visit no entity twice, the telling ones first.

    Attributes:
        body: int64 `[p, 3]`, the directed relations walked, −1 behind the last.
        row: int64 `[p, 3]`, the statements walked along, likewise.
        commonness: float64 `[p]`, the sum over entities in between of the logarithm of their edges; 0 where there is none.
    """

    body: Ints
    row: Ints
    commonness: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.body)


def between(adjacency: Adjacency, subject: int, relation: int, object: int) -> Paths:
    """The walks of at most three statements from one entity to another, without the statement itself.

    Both ends' edges are met in the middle: O(edges of both, and of what the subject is linked to, at most `EDGES`).
    """
    if subject == object:
        return _joined([])
    left, right = (adjacency.edges([end]).values for end in (subject, object))
    reached = adjacency.neighbour[left]
    direct = left[(reached == object) & (adjacency.relation(left) != relation)]
    left = left[(reached != object) & (reached != subject)]
    left = left[np.argsort(adjacency.degree[adjacency.neighbour[left]], kind="stable")]
    back = adjacency.neighbour[right]
    right = right[(back != subject) & (back != object)]
    right = right[np.argsort(adjacency.neighbour[right], kind="stable")]
    found = [_walked(adjacency, [direct], None)]
    turn, last = _met(adjacency, adjacency.neighbour[left], right)
    found.append(_walked(adjacency, [left[turn]], last))
    through = left[np.cumsum(adjacency.degree[adjacency.neighbour[left]]) <= EDGES]
    middle = adjacency.edges(adjacency.neighbour[through])
    first, second = through[middle.rows()], middle.values
    there = adjacency.neighbour[second]
    fit = (there != subject) & (there != object) & (there != adjacency.neighbour[first])
    first, second = first[fit], second[fit]
    turn, last = _met(adjacency, adjacency.neighbour[second], right)
    found.append(_walked(adjacency, [first[turn], second[turn]], last))
    return _joined(found)


def _met(
    adjacency: Adjacency, nodes: npt.NDArray[np.int32], right: npt.NDArray[np.int32]
) -> tuple[Ints, npt.NDArray[np.int32]]:
    """Which of `nodes` the edges `right`, sorted by where they lead, end in: places in `nodes`, and those edges."""
    ends = adjacency.neighbour[right]
    joined = spans(np.searchsorted(ends, nodes, "left"), np.searchsorted(ends, nodes, "right"))
    turn = joined.rows()[: EDGES * 4]
    return turn, right[joined.values[: EDGES * 4]]


def _walked(adjacency: Adjacency, steps: list[npt.NDArray[np.int32]], last: npt.NDArray[np.int32] | None) -> Paths:
    """Edges walked forward, then one that is walked backward, as paths."""
    count, edges = len(steps[0]), [*steps, last] if last is not None else steps
    body, row = np.full((count, LONGEST), -1, np.int64), np.full((count, LONGEST), -1, np.int64)
    commonness = np.zeros(count)
    for place, edge in enumerate(edges):
        directed = adjacency.relation(edge)
        body[:, place] = adjacency.inverse(directed) if edge is last else directed
        row[:, place] = adjacency.row[edge]
        if place < len(edges) - 1:
            commonness += np.log1p(adjacency.degree[adjacency.neighbour[edge]])
    best = np.lexsort((*row.T, commonness))[:KEPT]
    return Paths(body[best], row[best], commonness[best])


def _joined(parts: list[Paths]) -> Paths:
    if not parts:
        none = np.empty((0, LONGEST), np.int64)
        return Paths(none, none, np.empty(0))
    body, row = (np.concatenate([getattr(part, name) for part in parts]) for name in ("body", "row"))
    commonness = np.concatenate([part.commonness for part in parts])
    best = np.lexsort((*row.T, commonness))[:KEPT]
    return Paths(body[best], row[best], commonness[best])
