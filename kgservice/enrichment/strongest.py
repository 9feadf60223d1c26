"""The k links of the highest scores among all that there could be: every subject, relation and object, nothing pruned.

A raw score says nothing of how probable a link is, and scores of different relations are hardly comparable; see `links` for what
can be told. This is the plain question that other libraries answer too, as fast as the products of matrices go.

Where bfloat16 is fast, products are taken in it first. What its rounding may hide is bounded (Cauchy and Schwarz), and whatever
could belong to the best is scored again in float32: the answer is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kgservice.precision import fast_bfloat16
from kgservice.query import QueryBatch
from kgservice.scorers.base import VectorScorer
from kgservice.similarity import Metric, similarity

Ids = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]

ROWS, COLUMNS = 256, 2048
"""Questions and candidates of a tile, whose scores stay in a core's cache."""
SPARE = 4
"""So many times k are collected before all but the best k are dropped."""
BLOCK, FOUND = 256, 1 << 15
"""Scores that are passed over together where none reaches the floor; how many are expected to reach it in a tile."""
ROUNDED = 2.0**-8
"""Of a score, what storing it in bfloat16 changes at most."""


@dataclass(frozen=True)
class Strongest:
    """Links by score down, then by relation, subject and object.

    Attributes:
        subject, relation, object: int32 `[k]`.
        score: float32 `[k]`.
    """

    subject: Ids
    relation: Ids
    object: Ids
    score: Scores


def strongest(scorer: VectorScorer, table: Tensor, relations: Ids, k: int, *, rounded: bool | None = None) -> Strongest:
    """The best of `relations` times all entities squared, stated ones included.

    Args:
        scorer: answers for objects.
        table: float32 `[n, d]`, the vectors of its entities, see `scoring.entity_table`.
        relations: int32, direct ones.
        k: how many.
        rounded: take products in bfloat16 first; by default where that is fast.
    """
    if rounded is None:
        rounded = fast_bfloat16("cpu")
    collected = _Collected(k, len(table))
    rounded = rounded and scorer.metric == "ip"
    tiles = [_Tile(start, table[start : start + COLUMNS], rounded) for start in range(0, len(table), COLUMNS)]
    buffer = torch.empty(ROWS * COLUMNS)  # fresh memory for every tile costs as much as looking at it
    with torch.inference_mode():
        for relation in relations:
            for start in range(0, len(table), ROWS):
                subject = np.arange(start, min(start + ROWS, len(table)), dtype=np.int32)
                asked = QueryBatch.objects(subject, np.full(len(subject), relation, np.int32))
                question = _Question(scorer.query_vectors(asked), scorer.metric, rounded)
                for tile in tiles:
                    row, column, score = tile.above(question, collected.floor, buffer)
                    if len(row):
                        collected.add(int(relation), start + row, tile.start + column, score)
    return collected.best()


class _Question:
    """Vectors `[b, d]` of questions; where products are, rounded too, with what bounds the error."""

    def __init__(self, vectors: Tensor, metric: Metric, rounded: bool) -> None:
        self.vectors, self.metric = vectors, metric
        if rounded:
            self.rounded = vectors.bfloat16()
            back = self.rounded.float()
            self.length = float(back.norm(dim=1).max())
            self.off = float((vectors - back).norm(dim=1).max())


class _Tile:
    """Candidates `[t, d]`, the same rounded, and what bounds the error."""

    def __init__(self, start: int, vectors: Tensor, rounded: bool) -> None:
        self.start, self.vectors = start, vectors
        self.rounded = vectors.bfloat16() if rounded else None
        if self.rounded is not None:
            self.length = float(vectors.norm(dim=1).max())
            self.off = float((vectors - self.rounded.float()).norm(dim=1).max())

    def above(self, question: _Question, floor: float, buffer: Tensor) -> tuple[Ints, Ints, Scores]:
        """Rows, columns and scores that are not below the floor."""
        scores = buffer[: len(question.vectors) * len(self.vectors)].view(len(question.vectors), -1)
        if self.rounded is None or floor == -np.inf:
            similarity(question.vectors, self.vectors, question.metric, out=scores)
            return reaching(scores, floor)
        scores.copy_(question.rounded @ self.rounded.T)
        reach = question.off * self.length + question.length * self.off
        row, column, _ = reaching(scores, floor - reach - ROUNDED * (abs(floor) + reach))
        vectors = question.vectors[torch.from_numpy(row)], self.vectors[torch.from_numpy(column)]
        score = (vectors[0] * vectors[1]).sum(1).numpy()
        kept = score >= floor
        return row[kept], column[kept], score[kept]


def reaching(scores: Tensor, floor: float) -> tuple[Ints, Ints, Scores]:
    """Row, column and value of what is not below a floor, row by row: one look at float32 `[b, t]`, contiguous, b · t < 2³¹."""
    flat = scores.numpy().reshape(-1)
    place = np.empty(FOUND, np.int32)
    found = _compiled()(flat, np.float32(floor), place)
    if found > len(place):
        place = np.empty(found, np.int32)
        _compiled()(flat, np.float32(floor), place)
    place = place[:found]
    row, column = np.divmod(place.astype(np.int64), scores.shape[1])
    return row, column, flat[place]


@cache
def _compiled() -> Callable[[Scores, np.float32, Ids], int]:
    """`_reaching` as machine code that holds no lock; compiled once a machine where it can be kept."""
    import numba

    try:
        return cast("Callable[[Scores, np.float32, Ids], int]", numba.njit(nogil=True, cache=True)(_reaching))
    except RuntimeError:  # no folder to keep it in
        return cast("Callable[[Scores, np.float32, Ids], int]", numba.njit(nogil=True)(_reaching))


def _reaching(scores: Scores, floor: np.float32, place: Ids) -> int:
    """Where scores are not below the floor, as many as there is place for, and how many there are; for numba.

    Most blocks hold none. That is told by counting, which the compiler does with many numbers at once.
    """
    found = 0
    for begin in range(0, len(scores), BLOCK):
        part = scores[begin : begin + BLOCK]
        inside = np.int32(0)
        for j in range(len(part)):
            inside += np.int32(part[j] >= floor)
        if inside == 0:
            continue
        if found + inside <= len(place):
            for j in range(len(part)):
                if part[j] >= floor:
                    place[found] = begin + j
                    found += 1
        else:
            found += int(inside)
    return found


class _Collected:
    """Links above a floor that rises: the k-th best so far."""

    def __init__(self, k: int, n: int) -> None:
        self.k, self.n, self.floor = k, n, -np.inf
        self._keys: list[npt.NDArray[np.int64]] = []
        self._scores: list[Scores] = []
        self._held = 0

    def add(self, relation: int, subject: Ints, object: Ints, score: Scores) -> None:
        key = (np.int64(relation) * self.n + subject) * self.n + object
        self._keys.append(key)
        self._scores.append(score)
        self._held += len(key)
        if self._held >= SPARE * self.k:
            self._cut()

    def _cut(self) -> None:
        keys = np.concatenate([np.empty(0, np.int64), *self._keys])
        scores = np.concatenate([np.empty(0, np.float32), *self._scores])
        if len(keys) > self.k:
            self.floor = float(np.partition(scores, len(scores) - self.k)[len(scores) - self.k])
            kept = scores >= self.floor  # equal ones are told apart in the end
            keys, scores = keys[kept], scores[kept]
        self._keys, self._scores, self._held = [keys], [scores], len(keys)

    def best(self) -> Strongest:
        self._cut()
        keys, scores = self._keys[0], self._scores[0]
        order = np.lexsort((keys, -scores))[: self.k]
        keys, scores = keys[order], scores[order]
        pair = keys // self.n
        subject, relation, object = (one.astype(np.int32) for one in (pair % self.n, pair // self.n, keys % self.n))
        return Strongest(subject, relation, object, scores)
