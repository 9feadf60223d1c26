"""From all that the blocks propose to what is given out: constraints, thresholds, budget; and what it may be worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kgservice.enrichment.plan import Plan
from kgservice.enrichment.pooling import Held, Moves
from kgservice.enrichment.table import SCHEMA, column

Rows = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

POOLED = 400
"""Links that a relation has to give out to have a threshold of its own; the others share one."""
SURE = 1.2816
"""Standard deviations below the expected precision where nine of ten outcomes are above."""
CUTS = 200
"""Thresholds that a group which has to be sure looks at."""
Z = 1.96
ROUNDING = 1e-12
"""Of a mean that was summed up."""


@dataclass(frozen=True)
class Limits:
    """What a set of links must not do, by relation.

    Attributes:
        functional, inverse_functional, asymmetric: bool `[r]`, see `Shapes`.
    """

    functional: Rows
    inverse_functional: Rows
    asymmetric: Rows


@dataclass(frozen=True)
class Threshold:
    """From where on a relation's links are given out.

    Attributes:
        least: the least probability; None where nothing is given out.
        group: "own", "pooled" with the other small ones, "sure": pooled, and so few together that the threshold is the
            one above which the precision is reached with nine chances in ten, or "given" by the plan.
    """

    least: float | None
    group: str


@dataclass(frozen=True)
class Selection:
    """What is given out.

    Attributes:
        table: of `SCHEMA`, the most probable first.
        dropped: why others are not, counted.
        thresholds: by relation id.
        moves: what validation shows of each relation's probabilities.
    """

    table: pa.Table
    dropped: Mapping[str, int]
    thresholds: Mapping[int, Threshold]
    moves: Moves


def select(
    table: pa.Table,
    plan: Plan,
    limits: Limits,
    held: Held | None = None,
    refused: Callable[[pa.Table], Rows] | None = None,
) -> Selection:
    """Choose among proposals.

    Args:
        table: of `SCHEMA`, from all blocks in any order.
        plan: its threshold or precision, and its budget.
        limits: constraints between proposals; of two that contradict each other the more probable stays.
        held: what validation states, which moves the probabilities of its relations.
        refused: bool `[m]` of what is left before the budget: what breaks the user's own shapes.
    """
    dropped: Counter[str] = Counter()
    table = _ordered(table)
    subject, relation, object = (column(table, name).astype(np.int64) for name in ("subject", "relation", "object"))
    stays = np.ones(len(table), bool)

    def drop(rows: Rows, reason: str) -> None:
        dropped[reason] += int((rows & stays).sum())
        stays[rows] = False

    drop(_place([subject, relation, object], stays) > 0, "proposed twice")
    drop(
        limits.functional[relation] & (_place([subject, relation], stays) > 0),
        "refused: the subject has one object, and another is more probable",
    )
    drop(
        limits.inverse_functional[relation] & (_place([relation, object], stays) > 0),
        "refused: the object has one subject, and another is more probable",
    )
    ends = np.minimum(subject, object), np.maximum(subject, object)
    drop(
        limits.asymmetric[relation] & (_place([relation, *ends], stays) > 0),
        "refused: the other way round is more probable",
    )
    moves = _moves(table, relation, stays, plan, limits, held)
    table, (subject, relation, object, stays) = _moved(table, moves, subject, relation, object, stays)
    probability = column(table, "probability").astype(np.float64)
    thresholds = _thresholds(probability, relation, stays, plan, moves)
    bound = np.full(len(limits.functional), np.inf)
    for one, threshold in thresholds.items():
        bound[one] = np.inf if threshold.least is None else threshold.least
    unsure = np.isinf(bound)
    drop(unsure[relation], "abstained: the precision asked cannot be shown for its relation")
    drop(probability < bound[relation], "below the threshold of its relation")
    if refused is not None:
        broken = np.zeros(len(stays), bool)
        broken[np.flatnonzero(stays)] = refused(table.filter(pa.array(stays)))
        drop(broken, "refused: it would break a shape")
    for name, limit, keys in (
        ("entity", plan.per_entity, [subject]),
        ("relation", plan.per_relation, [relation]),
        ("run", plan.total, [np.zeros_like(relation)]),
    ):
        if limit is not None:
            drop(_place(keys, stays) >= limit, f"over the budget of its {name}")
    return Selection(table.filter(pa.array(stays)), {k: v for k, v in dropped.items() if v}, thresholds, moves)


def expected(probability: Floats, relation: Ids, moves: Moves, completeness: float) -> dict[str, Any]:
    """The share of right ones to be expected, with an interval.

    Two things are unknown: which links turn out right, given that the probabilities are, and whether they are.

    Args:
        probability: float64 `[m]`, of what is given out.
        relation: int64 `[m]`.
        moves: with the doubt that is left of them.
        completeness: that the calibration assumed; the interval does not doubt it.
    """
    if not len(probability):
        return {"links": 0, "precision": None, "low": None, "high": None, "completeness": completeness}
    mean = float(probability.mean())
    wide = Z * moves.deviation(probability, relation)
    low, high = max(0.0, mean - wide), min(1.0, mean + wide)
    return {"links": len(probability), "precision": mean, "low": low, "high": high, "completeness": completeness}


def _moves(table: pa.Table, relation: Ids, stays: Rows, plan: Plan, limits: Limits, held: Held | None) -> Moves:
    r = len(limits.functional)
    if held is None:
        return Moves.none(r)
    taken = (held.best | ~limits.functional[held.relation]) & (held.probability >= plan.kept)
    probability = column(table, "probability").astype(np.float64)
    rows = stays & (probability >= plan.kept)
    return Moves.fit(probability[rows], relation[rows], held.take(taken), r)


def _moved(table: pa.Table, moves: Moves, *columns: Any) -> tuple[pa.Table, list[Any]]:
    """The table with moved probabilities in its new order, and columns beside it."""
    if not moves.by.any():
        return table, list(columns)
    relation = column(table, "relation").astype(np.int64)
    probability = moves.moved(column(table, "probability").astype(np.float64), relation)
    table = table.set_column(SCHEMA.get_field_index("probability"), SCHEMA.field("probability"), pa.array(probability))
    order = _order(table)
    return table.take(pa.array(order)), [one[order] for one in columns]


def _thresholds(probability: Floats, relation: Ids, stays: Rows, plan: Plan, moves: Moves) -> dict[int, Threshold]:
    """By relation: the plan's, or the lowest from which the mean probability reaches the precision."""
    ids = np.unique(relation[stays]).tolist()
    if plan.precision is None:
        return dict.fromkeys(ids, Threshold(plan.floor, "given"))
    found: dict[int, Threshold] = {}
    rows = np.flatnonzero(stays)
    rows = rows[np.argsort(relation[rows], kind="stable")]
    starts = np.searchsorted(relation[rows], [*ids, np.iinfo(np.int64).max])
    for one, start, end in zip(ids, starts[:-1], starts[1:], strict=True):
        mine = probability[rows[start:end]]
        least = _lowest(mine, plan.precision)
        if least is not None and (mine >= least).sum() >= POOLED:
            found[one] = Threshold(least, "own")
    small = [one for one in ids if one not in found]
    inside = stays & np.isin(relation, small)
    values = probability[inside]
    least, group = _lowest(values, plan.precision), "pooled"
    if least is None or (values >= least).sum() < POOLED:
        least, group = _surely(values, relation[inside], plan.precision, moves), "sure"
    return found | dict.fromkeys(small, Threshold(least, group))


def _ends(values: Floats) -> Ids:
    """Where a threshold may cut sorted values, the highest first: it takes all that are equal."""
    return np.flatnonzero(np.append(values[1:] < values[:-1], True)) if len(values) else np.empty(0, np.int64)


def _lowest(values: Floats, precision: float) -> float | None:
    """The lowest of sorted probabilities, the highest first, down to which their mean reaches the precision."""
    ends = _ends(values)
    mean = np.cumsum(values)[ends] / (ends + 1)
    reaches = ends[mean >= precision - ROUNDING]
    return float(values[reaches[-1]]) if len(reaches) else None


def _surely(values: Floats, relation: Ids, precision: float, moves: Moves) -> float | None:
    """The lowest down to which it is reached with nine chances in ten."""
    ends = _ends(values)
    for end in ends[np.unique(np.linspace(len(ends) - 1, 0, min(CUTS, len(ends))).astype(int))[::-1]]:
        some = values[: end + 1]
        if some.mean() - SURE * moves.deviation(some, relation[: end + 1]) >= precision:
            return float(values[end])
    return None


def _ordered(table: pa.Table) -> pa.Table:
    """By probability down, then by ids, so that the order of arrival does not matter."""
    return table.take(pa.array(_order(table)))


def _order(table: pa.Table) -> Ids:
    keys = [column(table, name) for name in ("object", "subject", "relation")]
    return np.lexsort((*keys, -column(table, "probability").astype(np.float64)))


def _place(keys: list[npt.NDArray[np.int64]], stays: Rows) -> npt.NDArray[np.int64]:
    """int64 `[m]`: how many rows before a row have its keys, among those that stay; 0 for the others."""
    rows = np.flatnonzero(stays)
    place = np.zeros(len(stays), np.int64)
    if not len(rows):
        return place
    held = [key[rows] for key in keys]
    order = np.lexsort((rows, *held))
    fresh = np.ones(len(rows), bool)
    fresh[1:] = np.logical_or.reduce([key[order][1:] != key[order][:-1] for key in held])
    starts = np.flatnonzero(fresh)
    place[rows[order]] = np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows))))
    return place
