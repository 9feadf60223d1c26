"""How many candidates of a question score above and beside its true answers, known answers left out.

One pass over a question's scores serves all its answers, and nothing as large as the scores is written beside them. On the
CPU it is a compiled loop, rows shared out to threads; on other devices, and where numba cannot be imported, it is torch.

A score that is not a number counts as −∞: a broken scorer ranks last, or at chance where nothing else competes.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kgservice.arrays.ragged import Ragged

Counts = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
FEW = 768
"""Up to so many answers a question is compared with each (vectorised); above, each score is looked up among them."""
SPAN = 4096
"""Scores that stay in the first cache while all answers are compared with them."""


def count(scores: Tensor, targets: Ragged, known: Ragged, pool: Executor | None = None, threads: int = 1) -> Counts:
    """Candidates above and beside each target.

    Args:
        scores: float `[b, n]`, only read.
        targets: ragged `[b]`, the true answers of each question.
        known: ragged `[b]`, what does not compete, sorted; a target never competes with itself, known or not.
        pool: runs all shares of the rows but the first.
        threads: how many shares.

    Returns:
        int64 `[len(targets.values)]` twice.
    """
    kernel = compiled() if scores.device.type == "cpu" else None
    if kernel is None:
        return count_by_torch(scores, targets, known)
    if scores.dtype not in (torch.float32, torch.float64):
        scores = scores.float()
    values = scores.detach().contiguous().numpy()
    above, beside = np.zeros(len(targets.values), np.int64), np.zeros(len(targets.values), np.int64)
    rest = (values, targets.offset, targets.values, known.offset, known.values, above, beside)
    # Shares of rows with about as many targets each; rows after the last target have none.
    cuts = np.searchsorted(targets.offset, np.linspace(0, targets.offset[-1], (threads if pool else 1) + 1))
    shares = list(pairwise(cuts.tolist()))
    running = [pool.submit(kernel, *share, *rest) for share in shares[1:]] if pool else []
    kernel(*shares[0], *rest)
    for done in running:
        done.result()
    return above, beside


def count_by_torch(scores: Tensor, targets: Ragged, known: Ragged) -> Counts:
    """The same as `count`, on any device; it copies the row of a question for each of its targets, `b` at a time."""

    def ids(values: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(values.astype(np.int64)).to(scores.device)

    def numbers(part: Tensor) -> Tensor:
        return torch.where(part.isnan(), -torch.inf, part)

    question = targets.rows()
    row, target = ids(question), ids(targets.values)
    goals = numbers(scores[row, target])
    above, beside = torch.zeros_like(target), torch.zeros_like(target)
    for start in range(0, len(target), max(len(scores), 1)):
        part = slice(start, start + len(scores))
        rivals, goal = numbers(scores[row[part]]), goals[part].unsqueeze(1)
        above[part] = (rivals > goal).sum(1)
        beside[part] = (rivals == goal).sum(1)
    # Take back the known answers, and the target where it is not among them.
    lists = known.take(question)
    owners = lists.rows()
    owner = ids(owners)
    held = numbers(scores[row[owner], ids(lists.values)])
    above.index_add_(0, owner, -(held > goals[owner]).to(above.dtype))
    beside.index_add_(0, owner, -(held == goals[owner]).to(beside.dtype))
    itself = np.repeat(targets.values, lists.lengths) == lists.values
    beside -= ids(np.bincount(owners[itself], minlength=len(question)) == 0)
    return above.cpu().numpy(), beside.cpu().numpy()


@cache
def compiled() -> Callable[..., None] | None:
    """`_count_rows` as machine code that holds no lock, or None without numba. Compiled once a machine where it can be kept."""
    try:
        import numba
    except ImportError:
        return None
    try:
        kernel: Callable[..., None] = numba.njit(nogil=True, cache=True)(_count_rows)
    except RuntimeError:  # no folder to keep it in
        kernel = numba.njit(nogil=True)(_count_rows)
    return kernel


def _count_rows(
    low: int,
    high: int,
    scores: npt.NDArray[Any],
    target_offset: npt.NDArray[np.int64],
    target: npt.NDArray[np.int32],
    known_offset: npt.NDArray[np.int64],
    known: npt.NDArray[np.int32],
    above: npt.NDArray[np.int64],
    beside: npt.NDArray[np.int64],
) -> None:
    """Rows `[low, high)` of `count`, in the subset of Python that numba compiles."""
    n = scores.shape[1]
    for question in range(low, high):
        row = scores[question]
        first, last = target_offset[question], target_offset[question + 1]
        start, stop = known_offset[question], known_offset[question + 1]
        if first == last:
            continue
        goals = row[target[first:last]]
        for i in range(len(goals)):
            if goals[i] != goals[i]:
                goals[i] = -np.inf
        held = row[known[start:stop]]
        for i in range(len(held)):
            if held[i] != held[i]:
                held[i] = -np.inf
        if last - first <= FEW:
            for begin in range(0, n, SPAN):
                part = row[begin : begin + SPAN]
                for i in range(len(goals)):
                    # 32 bits, as many as a score has: compared and counted in registers of equal lanes, twice as fast.
                    goal, better, equal = goals[i], np.int32(0), np.int32(0)
                    for j in range(len(part)):  # by position: over the values themselves, it is not vectorised as well
                        better = np.int32(better + np.int32(part[j] > goal))
                        equal = np.int32(equal + np.int32(part[j] == goal))
                    above[first + i] += better
                    beside[first + i] += equal
            for i in range(len(goals)):
                goal, over, same = goals[i], 0, 0
                if goal == -np.inf:
                    beside[first + i] = n - above[first + i]  # what is not a number among them
                for j in range(len(held)):
                    over += held[j] > goal
                    same += held[j] == goal
                above[first + i] -= over
                beside[first + i] -= same
        else:
            # Goals in rising order; `run[i]` ends the run of goals that equal the i-th. A score adds one to every goal
            # below it, and one to every goal up to it: two histograms, summed from the right.
            order = np.argsort(goals)
            goals = goals[order]
            k = len(goals)
            run = np.full(k, k)
            for i in range(k - 2, -1, -1):
                run[i] = run[i + 1] if goals[i] == goals[i + 1] else i + 1
            below, upto = np.zeros(k + 1, np.int64), np.zeros(k + 1, np.int64)
            for values, sign in ((row, 1), (held, -1)):
                for value in values:
                    number = value if value == value else -np.inf
                    place, length = 0, k
                    while length > 0:  # the first goal that is not below
                        half = length // 2
                        if goals[place + half] < number:
                            place += half + 1
                            length -= half + 1
                        else:
                            length = half
                    below[place] += sign
                    upto[run[place] if place < k and goals[place] == number else place] += sign
            over = same = 0
            for i in range(k - 1, -1, -1):
                over += below[i + 1]
                same += upto[i + 1]
                above[first + order[i]] = over
                beside[first + order[i]] = same - over
        for i in range(first, last):
            place = start + np.searchsorted(known[start:stop], target[i])
            if place == stop or known[place] != target[i]:
                beside[i] -= 1
