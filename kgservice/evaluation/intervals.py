"""How far a mean over test statements could be off by the luck of which were drawn: the bootstrap.

A statement is asked from both sides, and its two ranks are alike; so statements are drawn, not rows.
Source: Efron and Tibshirani 1993, percentile intervals; Field and Welsh 2007, whole clusters drawn.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kgservice.arrays.ordering import Column, first_of_equal, order_of

Floats = npt.NDArray[np.float64]

RESAMPLES = 1000
LEVEL = 0.95
_CELLS = 1 << 22
"""Draws held at once: 32 MiB."""


def clusters(*columns: Column) -> npt.NDArray[np.int64]:
    """int64 `[t]`: a number for each row, the same for rows that are equal in all `columns`, from 0 without gaps."""
    order = order_of(columns)
    number = np.empty(len(order), np.int64)
    number[order] = np.cumsum(first_of_equal([column[order] for column in columns])) - 1
    return number


def bootstrap(
    values: Floats, cluster: npt.NDArray[np.int64], *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Floats:
    """float64 `[f, 2]`: the interval of the mean of each column.

    Args:
        values: float64 `[t, f]`, at least one row.
        cluster: int64 `[t]`, as of `clusters`: rows that are drawn together.
        resamples: how many samples as large as the original; time is this times the number of clusters.
        level: the share of resamples that the interval holds.
        seed: of the draws.
    """
    count = int(cluster.max()) + 1
    # A mean over whole clusters is a quotient of sums, so rows are added up once.
    totals = np.stack([np.bincount(cluster, weights=column, minlength=count) for column in values.T], axis=1)
    parts = np.column_stack([totals, np.bincount(cluster, minlength=count)])
    random = np.random.default_rng(seed)
    means = []
    chunk = max(1, _CELLS // count)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        drawn = random.integers(0, count, (size, count)) + np.arange(size)[:, None] * count
        weight = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        sums = weight @ parts
        means.append(sums[:, :-1] / sums[:, -1:])
    tail = (1 - level) / 2
    return np.quantile(np.concatenate(means), [tail, 1 - tail], axis=0).T
