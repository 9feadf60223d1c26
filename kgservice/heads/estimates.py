"""Missing numbers and dates: estimated from entities whose vectors are alike, with an interval.

Per relation a kernel ridge regression on the model's entity vectors; the interval is a conformal one from leave-one-out
residuals (the jackknife; Barber et al. 2021, "Predictive inference with the jackknife+", Annals of Statistics 49), each
relative to those of the entities most alike (Lei et al. 2018, "Distribution-free predictive inference for regression", §5.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.int32]

FEWEST = 20
"""Known numbers below which a relation is not estimated."""
MOST = 1_500
"""Known numbers used per relation, see `_drawn`: a solve costs their number cubed, at 1,500 a fifth of a second."""
TUNED_ON = 1_000
"""Of these so many choose the ridge strength."""
COVERAGE = 0.9
NEIGHBOURS = 5
LOCAL = 50
"""Known entities most alike whose residuals say how far off an estimate is."""
FOLDS = 5
RIDGES = (0.001, 0.01, 0.03, 0.1, 0.3, 1.0)
CONSTANT = 10.0
"""Added to the kernel: an intercept that the ridge hardly shrinks."""
GREATEST = 1e100
"""Numbers beyond it are no measurements, and their squares no floats."""
_EXPONENT = 690.0


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
        reach: float64 `[e]`, how many local errors (see `_local`) the interval goes to either side.
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
            The estimates, and the figures of each relation: see `_figures`.
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
            fit = _fit(_unit(vectors[entity]), target)
            head = {"known": len(known.entity), "year": known.year, "log": log}
            made.append({"relation": relation, **head, **fit.served, "entity": entity, "value": value})
            figures[relation] = {**head, "used": len(entity), **_figures(fit, target, value, log)}
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
        kernel = _kernel(_unit(vectors[entity]), _unit(vectors[others]), self.bandwidth[place])
        centre = kernel @ self.weight[part] + self.intercept[place]
        own = others == entity[:, None]
        row, column = np.nonzero(own)
        target = np.log(stated) if self.log[place] else stated
        centre[row] = target[column] - self.residual[part][column]
        centre = np.where(learnt, centre, self.median[place])
        kernel[own] = -1.0
        reach = self.reach[place] * _local(kernel, self.residual[part])
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
        return _back(target, bool(self.log[place]))

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


@dataclass(frozen=True)
class _Fit:
    """One relation fitted.

    Attributes:
        kernel: float64 `[n, n]`, -1 where an entity meets itself.
        inverse: float64 `[n, n]`, of the kernel with its ridge.
        centred: float64 `[n]`, targets without their median.
        median_residual: float64 `[n]`, leave-one-out.
        served: what `Estimates` keeps.
    """

    kernel: Floats
    inverse: Floats
    centred: Floats
    median_residual: Floats
    served: dict[str, Any]


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


def _fit(vectors: Floats, target: Floats) -> _Fit:
    median = float(np.median(target))
    centred = target - median
    few = vectors[:TUNED_ON]
    bandwidth = _bandwidth(few)
    small = _kernel(few, few, bandwidth)
    errors = [np.abs(_residuals(_inverse(small, ridge), centred[: len(few)])).mean() for ridge in RIDGES]
    kernel = _kernel(vectors, vectors, bandwidth)
    inverse = _inverse(kernel, RIDGES[int(np.argmin(errors))])
    np.fill_diagonal(kernel, -1.0)
    weight, residual = inverse @ centred, _residuals(inverse, centred)
    plain = median_residuals(target)
    served = {
        "learnt": bool(np.abs(residual).mean() < np.abs(plain).mean()),
        "bandwidth": bandwidth,
        "intercept": median + CONSTANT * weight.sum(),
        "reach": conformal(residual / _local(kernel, residual)),
        "median": median,
        "median_reach": conformal(plain),
        "residual": residual,
        "weight": weight,
    }
    return _Fit(kernel, inverse, centred, plain, served)


def _figures(fit: _Fit, target: Floats, value: Floats, log: bool) -> dict[str, Any]:
    """How good an estimate is.

    Returns:
        `mae`, `median_mae`: mean absolute leave-one-out error of the regression and of the median, as stated; `error`,
        `median_error`: the same as fitted, of the natural logarithm where `log`; `coverage`: share of held-out numbers
        within the interval that the others gave, over five folds; `learnt`: whether the regression or the median answers.
    """
    learnt = fit.served["learnt"]
    residuals = fit.served["residual"], fit.median_residual
    mae, median_mae = (float(np.abs(value - _back(target - residual, log)).mean()) for residual in residuals)
    error, median_error = (float(np.abs(residual).mean()) for residual in residuals)
    folds = _folded(fit) if learnt else _folded_median(target)
    inside = [np.abs(held) <= conformal(left) for held, left in folds]
    return {
        "learnt": learnt,
        "mae": mae,
        "median_mae": median_mae,
        "error": error,
        "median_error": median_error,
        "coverage": float(np.concatenate(inside).mean()),
    }


def _folded(fit: _Fit) -> Iterator[tuple[Floats, Floats]]:
    """Residuals of each fold held out, and the leave-one-out ones of the others, over the local errors that the others tell.

    By the inverse of a block: no fold is solved anew.
    """
    inverse, weight = fit.inverse, fit.served["weight"]
    for fold in range(FOLDS):
        out = np.arange(len(weight)) % FOLDS == fold
        held = np.linalg.solve(inverse[np.ix_(out, out)], np.column_stack([weight[out], inverse[np.ix_(out, ~out)]]))
        across = inverse[np.ix_(~out, out)]
        diagonal = np.diagonal(inverse)[~out] - np.einsum("ij,ji->i", across, held[:, 1:])
        left = (weight[~out] - across @ held[:, 0]) / diagonal
        yield (
            held[:, 0] / _local(fit.kernel[np.ix_(out, ~out)], left),
            left / _local(fit.kernel[np.ix_(~out, ~out)], left),
        )


def _folded_median(target: Floats) -> Iterator[tuple[Floats, Floats]]:
    for fold in range(FOLDS):
        out = np.arange(len(target)) % FOLDS == fold
        yield target[out] - np.median(target[~out]), median_residuals(target[~out])


def _local(kernel: Floats, residual: Floats) -> Floats:
    """float64 `[b]`: the mean absolute residual of the 50 known entities most alike, by the kernel `[b, n]`.

    Where a relation is known of cities and of countries, an interval for a country is as wide as those of countries.
    """
    size = np.abs(residual)
    if kernel.shape[1] > LOCAL:
        size = size[np.argpartition(kernel, -LOCAL, axis=1)[:, -LOCAL:]]
    mean = np.broadcast_to(size.mean(-1), len(kernel))
    return np.asarray(np.maximum(mean, 0.01 * np.abs(residual).mean() + 1e-300))


def conformal(residual: Floats) -> float:
    """How far to either side of an estimate 90 % of truths are: the ⌈.9(n + 1)⌉-th smallest absolute residual."""
    rank = min(int(np.ceil(COVERAGE * (len(residual) + 1))), len(residual))
    return float(np.partition(np.abs(residual), rank - 1)[rank - 1])


def median_residuals(target: Floats) -> Floats:
    """float64 `[n]`: each number without the median of the others."""
    n = len(target)
    order = np.argsort(target)
    ordered, place = target[order], np.arange(n)
    lower, upper = (n - 2) // 2, (n - 1) // 2
    residual = np.empty(n)
    residual[order] = ordered - 0.5 * (ordered[lower + (lower >= place)] + ordered[upper + (upper >= place)])
    return residual


def skewness(values: Floats) -> float:
    """The absolute third standardised moment; 0 of equal values."""
    centred = values / max(np.abs(values).max(), 1e-300)
    centred = centred - centred.mean()
    deviation = np.sqrt((centred**2).mean())
    return float(abs((centred**3).mean()) / deviation**3) if deviation > 1e-12 else 0.0


def _unit(vectors: npt.NDArray[np.float32]) -> Floats:
    rows = vectors.astype(np.float64)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def _squared(left: Floats, right: Floats) -> Floats:
    products = left @ right.T
    lengths = (left * left).sum(1)[:, None] + (right * right).sum(1)
    return np.asarray(np.maximum(lengths - 2 * products, 0.0))


def _bandwidth(vectors: Floats) -> float:
    """The median distance of two entities."""
    above = np.triu_indices(len(vectors), 1)
    return float(np.sqrt(np.median(_squared(vectors, vectors)[above]))) or 1.0


def _kernel(left: Floats, right: Floats, bandwidth: float) -> Floats:
    """float64 `[b, n]`: exp(−d² / 2h²)."""
    return np.asarray(np.exp(_squared(left, right) / (-2 * bandwidth**2)))


def _inverse(kernel: Floats, ridge: float) -> Floats:
    """float64 `[n, n]`: (K + c + λI)⁻¹ by Cholesky, n³ operations."""
    from scipy.linalg.lapack import dpotrf, dpotri

    matrix = kernel + CONSTANT
    matrix[np.diag_indices_from(matrix)] += ridge
    lower, _ = dpotrf(matrix, lower=1, overwrite_a=1)
    half, _ = dpotri(lower, lower=1, overwrite_c=1)
    return np.asarray(np.tril(half) + np.tril(half, -1).T)


def _residuals(inverse: Floats, target: Floats) -> Floats:
    """float64 `[n]`: leave-one-out residuals in closed form, αᵢ / G⁻¹ᵢᵢ (Rasmussen and Williams 2006, eq. 5.12)."""
    return np.asarray((inverse @ target) / np.diagonal(inverse))


def _back(target: Floats, log: bool) -> Floats:
    return np.exp(np.clip(target, -_EXPONENT, _EXPONENT)) if log else target
