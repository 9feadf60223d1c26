"""Hold statements out for validation and test so that what is held out can be learnt and does not leak."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from kgservice.errors import InputError
from kgservice.graph import KnowledgeGraph
from kgservice.statements import Split, StatementTable


def random_split(graph: KnowledgeGraph, *, valid: float, test: float, seed: int) -> KnowledgeGraph:
    """The same graph with its statements split anew; those of the CONTEXT split stay there.

    Statements of one subject, relation and object share a split whatever their qualifiers, and so does the reversed
    triple (o, r, s), which would give the answer away. Every entity and relation of a held-out statement still occurs
    in TRAIN. The same content, shares and seed give the same split.

    Args:
        valid, test: shares of the statements to hold out, in [0, 1) and together below 1.

    Raises:
        InputError: a share is out of range, or so many cannot be held out; says how many can.
    """
    if not (0 <= valid < 1 and 0 <= test < 1 and valid + test < 1):
        raise InputError(f"valid={valid:g} and test={test:g} must be shares in [0, 1) that leave something to train on")
    table = graph.statements
    rows = np.flatnonzero(table.split != Split.CONTEXT)
    group, sizes = _groups(table, rows)
    order = np.random.default_rng(seed).permutation(len(sizes))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))

    free = order[~_pinned(table, rows, group, rank)[order]]
    wanted_test, wanted_valid = round(test * len(rows)), round(valid * len(rows))
    reached = np.cumsum(sizes[free])
    available = int(reached[-1]) if len(free) else 0
    if wanted_test + wanted_valid > available:
        raise InputError(
            f"{wanted_test + wanted_valid:,} of {len(rows):,} statements are to be held out, but for every entity and "
            f"relation to stay in training only {available:,} can be. Ask for smaller shares (--valid, --test)."
        )
    split_of = np.full(len(sizes), Split.TRAIN, np.int8)
    # A group goes where its last statement falls: the shares are met to within one group.
    split_of[free[reached <= wanted_test + wanted_valid]] = Split.VALID
    split_of[free[reached <= wanted_test]] = Split.TEST

    split = table.split.copy()
    split[rows] = split_of[group]
    how = {"method": "random", "valid": valid, "test": test, "seed": seed}
    return replace(graph, statements=table.with_split(split), provenance={**graph.provenance, "split": how})


def _groups(table: StatementTable, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Statements that must share a split, told by (min(s, o), r, max(s, o)).

    Returns:
        int64 `[m]` the group of each row, and `[g]` how many rows each group has.
    """
    subject, relation, object = table.subject[rows], table.relation[rows], table.object[rows]
    columns = (np.minimum(subject, object), relation, np.maximum(subject, object))
    order = np.lexsort(columns)
    fresh = np.ones(len(rows), bool)
    fresh[1:] = np.any([column[order][1:] != column[order][:-1] for column in columns], axis=0)
    group = np.empty(len(rows), np.int64)
    group[order] = np.cumsum(fresh) - 1
    return group, np.bincount(group)


def _pinned(
    table: StatementTable, rows: npt.NDArray[np.int64], group: npt.NDArray[np.int64], rank: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """bool `[g]`: the groups that stay in TRAIN: of every entity and every relation the first in random order."""
    pinned = np.zeros(len(rank), bool)
    order = np.argsort(rank)
    for names in (np.concatenate([table.subject[rows], table.object[rows]]), table.relation[rows]):
        owners = np.tile(rank[group], len(names) // max(len(rows), 1))
        first = np.full(int(names.max()) + 1 if len(names) else 0, len(rank), np.int64)
        np.minimum.at(first, names, owners)
        pinned[order[first[first < len(rank)]]] = True
    return pinned
