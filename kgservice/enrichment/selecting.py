"""From all that the blocks propose to what is given out: constraints, thresholds, budget; and what it may be worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kgservice.enrichment.plan import Plan
from kgservice.enrichment.table import column

Rows = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

POOLED = 400
"""Proposals above the floor below which a relation shares its threshold with the other small ones."""
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
class Selection:
    """What is given out.

    Attributes:
        table: of `SCHEMA`, the most probable first.
        dropped: why others are not, counted.
        thresholds: by relation id, the least probability that was wanted.
    """

    table: pa.Table
    dropped: Mapping[str, int]
    thresholds: Mapping[int, float]


def select(table: pa.Table, plan: Plan, limits: Limits) -> Selection:
    """Choose among proposals.

    Args:
        table: of `SCHEMA`, from all blocks in any order.
        plan: its threshold or precision, and its budget.
        limits: constraints between proposals; of two that contradict each other the more probable stays.
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
    probability = column(table, "probability").astype(np.float64)
    least = _thresholds(probability, relation, stays, plan)
    bound = np.full(len(limits.functional), 2.0)
    bound[list(least)] = list(least.values())
    drop(probability < bound[relation], "below the threshold of its relation")
    for name, limit, keys in (
        ("entity", plan.per_entity, [subject]),
        ("relation", plan.per_relation, [relation]),
        ("run", plan.total, [np.zeros_like(relation)]),
    ):
        if limit is not None:
            drop(_place(keys, stays) >= limit, f"over the budget of its {name}")
    return Selection(table.filter(pa.array(stays)), {k: v for k, v in dropped.items() if v}, least)


def expected(probability: Floats, label_share: float | None, completeness: float) -> dict[str, Any]:
    """The share of right ones to be expected, with an interval.

    Two things are unknown: which links turn out right, given that the probabilities are, and whether they are: these rest on
    about as many validation statements as there are right links, times the ratio of both.

    Args:
        probability: float64 `[m]`, of what is given out.
        label_share: of the calibration; None where it saw as many examples as it likes.
        completeness: that it assumed; the interval does not doubt it.
    """
    if not len(probability):
        return {"links": 0, "precision": None, "low": None, "high": None, "completeness": completeness}
    mean = float(probability.mean())
    luck = float((probability * (1 - probability)).sum()) / len(probability) ** 2
    doubt = 0.0
    if label_share is not None:
        held = max(probability.sum() * label_share / (1 - label_share), 1.0)
        doubt = mean**2 * (1 / held + 1 / len(probability)) * (1 - mean * label_share)
    wide = Z * float(np.sqrt(luck + doubt))
    low, high = max(0.0, mean - wide), min(1.0, mean + wide)
    return {"links": len(probability), "precision": mean, "low": low, "high": high, "completeness": completeness}


def _thresholds(probability: Floats, relation: npt.NDArray[np.int64], stays: Rows, plan: Plan) -> dict[int, float]:
    """By relation: the plan's, or the lowest from which the mean probability reaches the precision; none where none does."""
    ids = np.unique(relation[stays])
    if plan.precision is None:
        return dict.fromkeys(ids.tolist(), plan.floor)
    count = np.bincount(relation[stays], minlength=int(ids.max(initial=0)) + 1)
    groups = [[one] for one in ids.tolist() if count[one] >= POOLED]
    groups.append([one for one in ids.tolist() if count[one] < POOLED])
    found: dict[int, float] = {}
    for group in groups:
        values = probability[stays & np.isin(relation, group)]  # sorted: the most probable first
        whole = np.append(values[1:] < values[:-1], True)  # a threshold takes all that are equal
        mean = np.cumsum(values) / np.arange(1, len(values) + 1)
        reaches = np.flatnonzero(whole & (mean >= plan.precision - ROUNDING))
        if len(reaches):
            found.update(dict.fromkeys(group, float(values[reaches[-1]])))
    return found


def _ordered(table: pa.Table) -> pa.Table:
    """By probability down, then by ids, so that the order of arrival does not matter."""
    keys = [column(table, name) for name in ("object", "subject", "relation")]
    order = np.lexsort((*keys, -column(table, "probability").astype(np.float64)))
    return table.take(pa.array(order))


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
