"""Hold statements out for validation and test so that what is held out can be learnt and does not leak.

Three ways: at random, by entities that training never sees, by time. In all of them the statements of one subject,
relation and object share a split whatever their qualifiers, those of the CONTEXT split stay there, and the same content,
settings and seed give the same split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kgservice.arrays.ordering import Column, first_of_equal, order_of
from kgservice.errors import InputError
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split, StatementTable

Ids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def random_split(
    graph: KnowledgeGraph, *, valid: float, test: float, seed: int, keep_test: bool = False
) -> KnowledgeGraph:
    """The same graph with its statements split anew, at random.

    The reversed triple (o, r, s), which would give the answer away, shares the split of (s, r, o). Every entity and
    relation of a held-out statement still occurs in TRAIN.

    Args:
        valid, test: shares of the statements to hold out, in [0, 1) and together below 1.
        keep_test: leave the TEST split as it is and take validation from the others; `test` must be 0.

    Raises:
        InputError: a share is out of range, or so many cannot be held out; says how many can.
    """
    _check_shares(valid, test)
    if keep_test and test:
        raise InputError(f"test={test:g}: the test split is kept, so only validation can be held out (test = 0)")
    table = graph.statements
    rows = np.flatnonzero((table.split != Split.CONTEXT) & ~(keep_test & (table.split == Split.TEST)))
    group, sizes = _groups(_unordered(table, rows))
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
    how = {"method": "random", "valid": valid, "test": test, "seed": seed, **({"kept": "test"} if keep_test else {})}
    return _resplit(graph, rows, split_of[group], how, {"valid": wanted_valid, "test": wanted_test})


def inductive_split(
    graph: KnowledgeGraph, *, valid: float, test: float, seed: int, context: float = 0.0
) -> KnowledgeGraph:
    """Hold entities out, so that validation and test ask about entities that training has never seen.

    A statement holds its subject, its object and the entities among its qualifiers. It goes to TEST if its triple holds
    a test entity in any of its statements, else to VALID if a validation entity, else to TRAIN. So training shows no
    held-out entity, validation no test entity, and a statement between a training entity and a held-out one is held out.
    Entities are taken in random order; one is passed over where an entity that stays, or a relation, would lose its last
    training statement.

    Args:
        valid, test: shares of the linked entities to hold out, in [0, 1) and together below 1.
        context: share of the held-out pairs of entities to move to CONTEXT, where a model that reads the neighbours of new
            entities finds them. A context fact of a test entity is for the test alone.

    Raises:
        InputError: a share is out of range, or so many entities cannot be held out; says how many were found.

    Source: Daza et al. 2021, section 4, which keeps 100 statements of each relation where this keeps one.
    """
    _check_shares(valid, test)
    if not 0 <= context < 1:
        raise InputError(f"context={context:g} must be a share in [0, 1)")
    table = graph.statements
    rows = np.flatnonzero(table.split != Split.CONTEXT)
    linked = np.unique(np.concatenate([table.subject[rows], table.object[rows]]))
    wanted_test, wanted_valid = round(test * len(linked)), round(valid * len(linked))
    random = np.random.default_rng(seed)
    group, sizes = _groups((table.subject[rows], table.relation[rows], table.object[rows]))
    holder, held_entity = _incidence(table, rows, group)
    chosen = _held_out_entities(
        np.random.default_rng(seed).permutation(linked),
        wanted_test + wanted_valid,
        holder,
        held_entity,
        table,
        rows,
        group,
    )
    if len(chosen) < wanted_test + wanted_valid:
        raise InputError(
            f"{wanted_test + wanted_valid:,} of {len(linked):,} entities are to be held out, but for every other entity "
            f"and every relation to stay in training only {len(chosen):,} were found. Ask for smaller shares "
            "(--valid, --test)."
        )
    part_of = np.full(graph.n, Split.TRAIN, np.int8)
    # By a fresh draw: the search passes hubs over, later ones more often, and neither part shall be easier.
    random.shuffle(chosen)
    part_of[chosen[:wanted_test]] = Split.TEST
    part_of[chosen[wanted_test:]] = Split.VALID
    split_of = np.full(len(sizes), Split.TRAIN, np.int8)
    np.maximum.at(split_of, holder, part_of[held_entity])  # TRAIN < VALID < TEST
    split = split_of[group]
    if context:
        # By pairs: (o, r, s) in CONTEXT would give away (s, r, o) in TEST.
        pair, _ = _groups(_unordered(table, rows))
        held_out = split != Split.TRAIN
        pairs = np.unique(pair[held_out])
        given = random.permutation(pairs)[: round(context * len(pairs))]
        split[held_out & np.isin(pair, given)] = Split.CONTEXT
    how = {"method": "inductive", "valid": valid, "test": test, "context": context, "seed": seed}
    how["entities"] = {"valid": wanted_valid, "test": wanted_test}
    return _resplit(graph, rows, split, how)


def temporal_split(
    graph: KnowledgeGraph,
    by: Sequence[int],
    *,
    valid: float | None = None,
    test: float | None = None,
    valid_from: float | None = None,
    test_from: float | None = None,
) -> KnowledgeGraph:
    """Hold out what became true last, told by a time among the qualifiers.

    The time of a statement is that of the first relation of `by` among its qualifiers; of several values the earliest.
    Statements of one triple go by the latest time among them, so that training holds nothing from after the cut. What has
    no time stays in TRAIN. Held-out entities need not occur in training: that is how it is with what is new.

    Args:
        by: relation ids in order of preference.
        valid, test: shares of the statements; the dates are then set where the counts come nearest to them.
        valid_from, test_from: years with fractions; a time at or after `test_from` is for the test, one at or after
            `valid_from` and before it for validation.

    Raises:
        InputError: neither or both of shares and dates are given, they contradict each other, or nothing has a time.
    """
    table = graph.statements
    rows = np.flatnonzero(table.split != Split.CONTEXT)
    group, sizes = _groups((table.subject[rows], table.relation[rows], table.object[rows]))
    latest = np.full(len(sizes), -np.inf)
    time = statement_times(graph, by)[rows]
    timed = np.flatnonzero(~np.isnan(time))
    if not len(timed):
        what = f"no statement has a time by {_named(graph, by)}" if by else "the graph has no relation of times"
        raise InputError(f"{what}.{_time_hint(graph)}")
    np.maximum.at(latest, group[timed], time[timed])

    asked: dict[str, int] = {}
    if valid_from is not None or test_from is not None:
        if valid is not None or test is not None:
            raise InputError("give shares (--valid, --test) or dates (--valid-from, --test-from), not both")
        test_cut = np.inf if test_from is None else test_from
        valid_cut = test_cut if valid_from is None else valid_from
        if valid_cut > test_cut:
            raise InputError(f"validation starts at {valid_cut:g}, after the test at {test_cut:g}; it must come before")
    elif valid is not None or test is not None:
        valid, test = valid or 0.0, test or 0.0
        _check_shares(valid, test)
        asked = {"valid": round(valid * len(rows)), "test": round(test * len(rows))}
        test_cut = _cut(latest, sizes, asked["test"])
        valid_cut = min(test_cut, _cut(latest, sizes, asked["valid"] + asked["test"]))
    else:
        raise InputError("give shares (--valid, --test) or dates (--valid-from, --test-from)")

    split_of = np.where(latest >= test_cut, Split.TEST, np.where(latest >= valid_cut, Split.VALID, Split.TRAIN))
    if not np.any(split_of == Split.TRAIN):
        raise InputError("every statement would be held out. Give later dates (--valid-from, --test-from).")
    how: dict[str, Any] = {"method": "temporal", "by": [graph.relations.name(id) for id in by]}
    valid_from = _date(valid_cut) if valid_cut < test_cut else None
    how |= {"valid_from": valid_from, "test_from": _date(test_cut), "without_time": len(rows) - len(timed)}
    return _resplit(graph, rows, split_of[group], how, asked)


def statement_times(graph: KnowledgeGraph, by: Sequence[int]) -> Floats:
    """float64 `[m]`: years with fractions from the first relation of `by` that a statement's qualifiers have, or NaN."""
    table = graph.statements
    preference = np.full(graph.r, len(by), np.int64)
    preference[np.asarray(by, np.int64)[::-1]] = np.arange(len(by))[::-1]
    row = np.repeat(np.arange(len(table)), np.diff(table.qualifier_offset))
    literal = np.flatnonzero((preference[table.qualifier_relation] < len(by)) & (table.qualifier_value < 0))
    number = graph.literals.number[-1 - table.qualifier_value[literal]]
    literal, number = literal[np.isfinite(number)], number[np.isfinite(number)]
    row, preferred = row[literal], preference[table.qualifier_relation[literal]]
    time = np.full(len(table), np.nan)
    best_last = np.lexsort((-number, -preferred, row))
    time[row[best_last]] = number[best_last]
    return time


def _check_shares(valid: float, test: float) -> None:
    if not (0 <= valid < 1 and 0 <= test < 1 and valid + test < 1):
        raise InputError(f"valid={valid:g} and test={test:g} must be shares in [0, 1) that leave something to train on")


def _resplit(
    graph: KnowledgeGraph,
    rows: Ids,
    split_of_row: npt.NDArray[Any],
    how: dict[str, Any],
    asked: dict[str, int] | None = None,
) -> KnowledgeGraph:
    """The graph with `rows` in other splits; its provenance says how, how many were asked for, how many reached."""
    split = graph.statements.split.copy()
    split[rows] = split_of_row
    statements = graph.statements.with_split(split)
    counts = np.bincount(statements.split, minlength=len(Split)).tolist()
    if asked:
        how = {**how, "asked": asked}
    how = {**how, "reached": {part.name.lower(): counts[part] for part in Split if counts[part]}}
    return replace(graph, statements=statements, provenance={**graph.provenance, "split": how})


def _unordered(table: StatementTable, rows: Ids) -> tuple[Column, Column, Column]:
    """Equal for (s, r, o) and (o, r, s)."""
    subject, object = table.subject[rows], table.object[rows]
    return table.relation[rows], np.minimum(subject, object), np.maximum(subject, object)


def _groups(columns: Sequence[Column]) -> tuple[Ids, Ids]:
    """Rows that are equal in all columns.

    Returns:
        int64 `[m]` the group of each row, and `[g]` how many rows each group has.
    """
    order = order_of(columns)
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(first_of_equal([column[order] for column in columns])) - 1
    return group, np.bincount(group)


def _pinned(table: StatementTable, rows: Ids, group: Ids, rank: Ids) -> Mask:
    """bool `[g]`: the groups that stay in TRAIN: of every entity and every relation the first in random order."""
    pinned = np.zeros(len(rank), bool)
    order = np.argsort(rank)
    for names in (np.concatenate([table.subject[rows], table.object[rows]]), table.relation[rows]):
        owners = np.tile(rank[group], len(names) // max(len(rows), 1))
        first = np.full(int(names.max()) + 1 if len(names) else 0, len(rank), np.int64)
        np.minimum.at(first, names, owners)
        pinned[order[first[first < len(rank)]]] = True
    return pinned


def _incidence(table: StatementTable, rows: Ids, group: Ids) -> tuple[Ids, Ids]:
    """Pairs (group, entity), int64 `[k]` each: the ends of each triple and the entities among its qualifiers."""
    subject, object = table.subject[rows], table.object[rows]
    lengths = np.diff(table.qualifier_offset)
    owner = np.full(len(table), -1, np.int64)
    owner[rows] = group
    owner = np.repeat(owner, lengths)
    entity = (owner >= 0) & (table.qualifier_value >= 0)
    held = np.concatenate([subject, object, table.qualifier_value[entity]]).astype(np.int64)
    return np.concatenate([group, group, owner[entity]]), held


def _held_out_entities(
    candidates: Ids, wanted: int, holder: Ids, held_entity: Ids, table: StatementTable, rows: Ids, group: Ids
) -> Ids:
    """Up to `wanted` entities, the first of `candidates` that can go; every other keeps a training statement.

    Each round tries the next candidates, then lets back whom the others need: an entity left without a training statement
    takes back one neighbour, the one tried last. An entity let back is never tried again, so rounds end; each costs O(m).
    """
    n = int(candidates.max()) + 1 if len(candidates) else 0
    rank = np.full(max(n, int(held_entity.max()) + 1 if len(held_entity) else 0), -1, np.int64)
    groups = int(group.max()) + 1 if len(group) else 0
    ends = np.concatenate([table.subject[rows], table.object[rows]]).astype(np.int64)
    end_group, relation = np.tile(group, 2), table.relation[rows]
    must_stay = np.zeros(len(rank), bool)
    must_stay[ends] = True
    tried = 0
    while True:
        short = wanted - np.count_nonzero(rank >= 0)
        batch = candidates[tried : tried + short]
        if not len(batch):
            return np.flatnonzero(rank >= 0)[np.argsort(rank[rank >= 0])]
        rank[batch] = np.arange(tried, tried + len(batch))
        tried += len(batch)
        while True:
            last = np.full(groups, -1, np.int64)  # of each triple, whom it holds that was tried last
            np.maximum.at(last, holder, rank[held_entity])
            stranded = must_stay & (rank < 0)
            stranded[ends[last[end_group] < 0]] = False
            missing = np.ones(int(relation.max()) + 1 if len(relation) else 0, bool)
            missing[relation[last[group] < 0]] = False
            # Entities without statements of their own are in no need; nor are relations that only qualify.
            needy = np.concatenate([stranded[ends], missing[relation]])
            if not needy.any():
                break
            owner = np.concatenate([ends, len(rank) + relation.astype(np.int64)])[needy]
            offered = last[np.concatenate([end_group, group])[needy]]
            latest = np.full(len(rank) + len(missing), -1, np.int64)
            np.maximum.at(latest, owner, offered)
            rank[candidates[latest[latest >= 0]]] = -1


def _cut(latest: Floats, sizes: Ids, wanted: int) -> float:
    """The time from which on about `wanted` statements are; infinity for none."""
    timed = np.isfinite(latest)
    times, place = np.unique(latest[timed], return_inverse=True)
    since = np.cumsum(np.bincount(place, weights=sizes[timed])[::-1])[::-1]
    choices, counts = np.append(times, np.inf), np.append(since, 0.0)
    return float(choices[np.argmin(np.abs(counts - wanted))])


def _date(year: float) -> float | None:
    return float(year) if np.isfinite(year) else None


def _named(graph: KnowledgeGraph, by: Sequence[int]) -> str:
    return ", ".join(graph.relations.names_of(by))


def _time_hint(graph: KnowledgeGraph) -> str:
    """Which qualifier relations have numbers or dates, most used first."""
    table = graph.statements
    literal = np.flatnonzero(table.qualifier_value < 0)
    literal = literal[np.isfinite(graph.literals.number[-1 - table.qualifier_value[literal]])]
    uses = np.bincount(table.qualifier_relation[literal], minlength=graph.r)
    top = np.lexsort((np.arange(graph.r), -uses))[:5]
    top = top[uses[top] > 0]
    if not len(top):
        return " No qualifier of this graph has a number or a date: use --method random or inductive."
    return f" Qualifiers with numbers or dates: {_named(graph, top.tolist())} (--by)."
