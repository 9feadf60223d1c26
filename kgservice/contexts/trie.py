"""The names of all entities as one tree of tokens: what may be written, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kgservice.arrays.ragged import Ragged, offsets_of
from kgservice.contexts.tokens import END, START
from kgservice.errors import InputError

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Trie:
    """Nodes are beginnings of names, the root the empty one, each before its longer ones; a whole name ends with a token of
    its own, so that none is the beginning of another.

    Attributes:
        token: int64 `[m]`, the last token of each beginning; the root's is the decoder's first.
        parent: int64 `[m]`; the root's is -1.
        depth: int64 `[m]`, tokens from the root.
        leaf: int64 `[n]`, the node of each entity's whole name.
    """

    token: Ids
    parent: Ids
    depth: Ids
    leaf: Ids

    @classmethod
    def of(cls, names: Ragged) -> Trie:
        """Of one name for each entity, ragged `[n]`, without the token that ends it.

        Raises:
            InputError: two entities have the same tokens, which `unique_names` rules out.
        """
        n = len(names)
        lengths = names.lengths + 1
        width = int(lengths.max(initial=1))
        padded = np.full((n, width), -1, dtype=np.int64)
        row, column = names.rows(), np.arange(len(names.values)) - np.repeat(names.offset[:-1], names.lengths)
        padded[row, column] = names.values
        padded[np.arange(n), lengths - 1] = END
        order = np.lexsort(padded.T[::-1])
        table = padded[order]
        differs = np.ones((n, width), dtype=bool)
        np.logical_or.accumulate(table[1:] != table[:-1], axis=1, out=differs[1:])
        if n and not differs[:, -1].all():
            twin = order[np.flatnonzero(~differs[:, -1])[0]]
            raise InputError(f"entity {twin} has the same name as another: names must be made unique first")
        # Breadth first: the nodes of one depth are the rows that differ from the row before up to there.
        node = np.zeros(n, dtype=np.int64)
        tokens, parents, depths, count = [np.array([START])], [np.array([-1])], [np.array([0])], 1
        for place in range(width):
            there = table[:, place] >= 0
            fresh = differs[:, place] & there
            tokens.append(table[fresh, place])
            parents.append(node[fresh])
            depths.append(np.full(int(fresh.sum()), place + 1))
            node = np.where(there, count + np.cumsum(fresh) - 1, node)
            count += int(fresh.sum())
        leaf = np.empty(n, dtype=np.int64)
        leaf[order] = node
        return cls(np.concatenate(tokens), np.concatenate(parents), np.concatenate(depths), leaf)

    def __len__(self) -> int:
        return len(self.token)

    @cached_property
    def children(self) -> Ragged:
        """ragged `[m]`: the nodes one token longer."""
        order = np.argsort(self.parent[1:], kind="stable") + 1
        return Ragged(offsets_of(np.bincount(self.parent[1:], minlength=len(self))), order.astype(np.int32))

    @cached_property
    def choices(self) -> npt.NDArray[np.bool_]:
        """bool `[m]`: the nodes after which there is something to choose; after the others the next token is certain."""
        return self.children.lengths > 1

    @cached_property
    def ancestors(self) -> Ids:
        """int64 `[m, deepest + 1]`: the nodes from the root to each, itself included, then -1."""
        found = np.full((len(self), int(self.depth.max()) + 1), -1, dtype=np.int64)
        for depth in range(int(self.depth.max()) + 1):
            here = np.flatnonzero(self.depth == depth)
            if depth:
                found[here, :depth] = found[self.parent[here], :depth]
            found[here, depth] = here
        return found

    @cached_property
    def entity(self) -> Ids:
        """int64 `[m]`: whose whole name a node is, or -1."""
        found = np.full(len(self), -1, dtype=np.int64)
        found[self.leaf] = np.arange(len(self.leaf))
        return found

    @cached_property
    def onward(self) -> Ids:
        """int64 `[m]`: from each node past all that is certain, to a choice or a whole name."""
        found = np.arange(len(self))
        only = self.children.lengths == 1
        step = np.where(only, 0, found)
        step[only] = self.children.values[self.children.offset[:-1][only]]
        while (step[found] != found).any():
            found = step[found]
        return found
