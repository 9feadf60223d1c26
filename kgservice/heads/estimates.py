"""Missing numbers and dates: estimated from entities whose vectors are alike, with an interval.

Per relation a regression on the model's entity vectors; the interval is a conformal one from leave-one-out residuals, each
relative to those of the entities most alike: see `regression`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kgservice.arrays.layers import Layers
from kgservice.arrays.ragged import offsets_of
from kgservice.errors import DataError
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Rank, Split
from kgservice.heads.regression import (
    Floats,
    as_stated,
    figures_of,
    kernel_of,
    local_errors,
    regressed,
    skewness,
    unit,
)

Flags = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.int32]

FEWEST = 20
"""Known numbers below which a relation is not estimated."""
MOST = 1_500
"""Known numbers used per relation, see `_drawn`: a solve costs their number cubed, at 1,500 a fifth of a second."""
NEIGHBOURS = 5
GREATEST = 1e100
"""Numbers beyond it are no measurements, and their squares no floats."""


@dataclass(frozen=True)
class Known:
    """The numbers that training states for a relation, one per entity.

    Attributes:
        entity: int32 `[n]`, sorted.
        value: float64 `[n]`, of several the median of those of the best rank.
        year: whether they are dates.
    """

    entity: Ids
    value: Floats
    year: bool

    @classmethod
    def of(cls, graph: KnowledgeGraph, relation: int) -> Known:
        """Numbers or dates, whichever are more, of entities that training links."""
        literals, table = graph.literals, graph.literals.statements
        kept = (table.relation == relation) & (table.split == Split.TRAIN) & (table.rank > Rank.DEPRECATED)
        rows = np.flatnonzero(kept)
        number = literals.number[table.object[rows]]
        usable = graph.seen[table.subject[rows]] & (np.abs(number) < GREATEST)
        rows, number = rows[usable], number[usable]
        dates = literals.dates[table.object[rows]]
        year = 2 * int(dates.sum()) > len(rows)
        rows, number = rows[dates == year], number[dates == year]
        subject, rank = table.subject[rows], table.rank[rows]
        # By entity, the best rank first and then by value: the median is in the middle of the first rank.
        order = np.lexsort((number, -rank, subject))
        subject, rank, number = subject[order], rank[order], number[order]
        entity, first = np.unique(subject, return_index=True)
        best = np.repeat(rank[first], np.diff(np.append(first, len(subject))))
        count = np.add.reduceat(rank == best, first, dtype=np.int64) if len(first) else first
        value = 0.5 * number[first + (count - 1) // 2] + 0.5 * number[first + count // 2]
        return cls(entity.astype(np.int32), value, year)


@dataclass(frozen=True)
class Estimated:
    """Numbers of `b` entities for one relation.

    Attributes:
        value, low, high: float64 `[b]`.
        learnt: bool `[b]`; else it is the median of what is known.
        neighbour: int32 `[b, 5]`, the known entities most alike, the first the most; -1 where there is none.
        stated, similarity: float64 `[b, 5]`, their numbers, and the kernel, in [0, 1].
    """

    value: Floats
    low: Floats
    high: Floats
    learnt: Flags
    neighbour: Ids
    stated: Floats
    similarity: Floats


@dataclass(frozen=True)
class Estimates:
    """What one model estimates: `e` relations with `k` known numbers in all.

    Attributes:
        relation: int32 `[e]`, sorted.
        offset: int64 `[e + 1]`, the known ones of each.
        known: int64 `[e]`, how many there are, used or not.
        year, log, learnt: bool `[e]`: dates; fitted as logarithms; better than the median.
        bandwidth, intercept: float64 `[e]`, of the regression.
        reach: float64 `[e]`, how many local errors (see `local_errors`) the interval goes to either side.
        median, median_reach: float64 `[e]`, and how far the interval of the median does.
        entity: int32 `[k]`.
        value: float64 `[k]`, as stated.
        residual: float64 `[k]`, leave-one-out, of the logarithm where `log`.
        weight: float64 `[k]`: the estimate is `intercept + Σ weight · kernel`.
    """

    relation: Ids
    offset: npt.NDArray[np.int64]
    known: npt.NDArray[np.int64]
    year: Flags
    log: Flags
    learnt: Flags
    bandwidth: Floats
    intercept: Floats
    reach: Floats
    median: Floats
    median_reach: Floats
    entity: Ids
    value: Floats
    residual: Floats
    weight: Floats

    @classmethod
    def fit(
        cls, graph: KnowledgeGraph, vectors: npt.NDArray[np.float32]
    ) -> tuple[Estimates, dict[int, dict[str, Any]]]:
        """Regress every relation that links no entities on `vectors` `[n, d]`.

        Returns:
            The estimates, and the figures of each relation: see `figures_of`.
        """
        made: list[dict[str, Any]] = []
        figures: dict[int, dict[str, Any]] = {}
        for relation in np.unique(graph.literals.statements.relation).tolist():
            known = None if graph.linking[relation] else Known.of(graph, relation)
            if known is None or len(known.entity) < FEWEST:
                continue
            drawn = _drawn(graph, known.entity)
            entity, value = known.entity[drawn], known.value[drawn]
            log = not known.year and bool((value > 0).all()) and skewness(np.log(value)) < skewness(value)
            target = np.log(value) if log else value
            fit = regressed(unit(vectors[entity]), target)
            head = {"known": len(known.entity), "year": known.year, "log": log}
            made.append({"relation": relation, **head, **fit.served, "entity": entity, "value": value})
            figures[relation] = {**head, "used": len(entity), **figures_of(fit, target, value, log)}
        return cls._joined(made), figures

    @classmethod
    def _joined(cls, made: Sequence[Mapping[str, Any]]) -> Estimates:
        columns: dict[str, Any] = {
            name: np.concatenate([np.empty(0, kind), *(np.atleast_1d(np.asarray(one[name], kind)) for one in made)])
            for name, kind in _KINDS.items()
        }
        return cls(offset=offsets_of([len(one["entity"]) for one in made]), **columns)

    def place(self, relation: int) -> int | None:
        """Where a relation is, or None where it is not estimated."""
        place = int(np.searchsorted(self.relation, relation))
        return place if place < len(self.relation) and self.relation[place] == relation else None

    def ask(self, place: int, entity: Ids, vectors: npt.NDArray[np.float32] | Layers, seen: Flags) -> Estimated:
        """Estimate the numbers of entities; one whose number is known is estimated without it.

        Args:
            place: of the relation.
            entity: int32 `[b]`.
            vectors: `[n, d]`, those that were fitted.
            seen: bool `[b]`: of the others the model knows nothing, so that they get the median.
        """
        part = slice(*self.offset[place : place + 2])
        others, stated = self.entity[part], self.value[part]
        learnt = seen & self.learnt[place]
        kernel = kernel_of(unit(vectors[entity]), unit(vectors[others]), self.bandwidth[place])
        centre = kernel @ self.weight[part] + self.intercept[place]
        own = others == entity[:, None]
        row, column = np.nonzero(own)
        target = np.log(stated) if self.log[place] else stated
        centre[row] = target[column] - self.residual[part][column]
        centre = np.where(learnt, centre, self.median[place])
        kernel[own] = -1.0
        reach = self.reach[place] * local_errors(kernel, self.residual[part])
        reach = np.where(learnt, reach, self.median_reach[place])
        nearest = np.argsort(-kernel, axis=1, kind="stable")[:, :NEIGHBOURS]
        value, low, high = (self._back(place, bound) for bound in (centre, centre - reach, centre + reach))
        return Estimated(
            value,
            low,
            high,
            learnt,
            np.where(learnt[:, None], others[nearest], -1).astype(np.int32),
            stated[nearest],
            np.take_along_axis(kernel, nearest, axis=1),
        )

    def renumbered(self, number: Ids) -> Estimates:
        """Without some entities, the others by new numbers.

        Args:
            number: int32 `[n]`, the new id of each, −1 of one that is gone.
        """
        kept = number[self.entity] >= 0
        place = np.repeat(np.arange(len(self.relation)), np.diff(self.offset))[kept]
        offset = offsets_of(np.bincount(place, minlength=len(self.relation)))
        columns = {name: getattr(self, name)[kept] for name in ("value", "residual", "weight")}
        return replace(self, offset=offset, entity=number[self.entity[kept]], **columns)

    def _back(self, place: int, target: Floats) -> Floats:
        return as_stated(target, bool(self.log[place]))

    def save(self, path: Path) -> None:
        """Write safetensors."""
        from safetensors.numpy import save_file

        save_file({one.name: getattr(self, one.name) for one in fields(self)}, path, metadata={"format": "1"})

    @classmethod
    def open(cls, path: Path) -> Estimates:
        """Map what `save` wrote; a release of a former version, without such a file, estimates nothing.

        Raises:
            DataError: the file is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if not path.exists():
            return cls._joined([])
        try:
            columns = {name: tensor.numpy() for name, tensor in load_file(path).items()}
            return cls(**columns)
        except (OSError, SafetensorError, TypeError) as error:
            raise DataError(f"{path} cannot be read as estimates: {error}. Build the release anew.") from error


_KINDS: dict[str, type] = {
    **dict.fromkeys(("relation", "entity"), np.int32),
    "known": np.int64,
    **dict.fromkeys(("year", "log", "learnt"), np.bool_),
    **dict.fromkeys(("bandwidth", "intercept", "reach", "median", "median_reach"), np.float64),
    **dict.fromkeys(("value", "residual", "weight"), np.float64),
}


def _drawn(graph: KnowledgeGraph, entity: Ids) -> npt.NDArray[np.int64]:
    """int64 `[at most 1,500]`: places in `entity`, in random order; of a seeded draw without putting back.

    An entity is the likelier drawn the rarer its rarest type is among `entity`: a few countries are not lost among cities.
    """
    random = np.random.default_rng(0)
    size = np.full(len(entity), float(len(entity)))
    if len(graph.types.of_entity):
        types = graph.types.of_entity.take(entity)
        np.minimum.at(size, types.rows(), np.bincount(types.values)[types.values] if len(types.values) else 0)
    chosen = np.argsort(random.exponential(size=len(entity)) * size, kind="stable")[:MOST]
    return random.permutation(chosen)
