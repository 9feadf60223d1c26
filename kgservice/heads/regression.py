"""Kernel ridge regression with leave-one-out residuals in closed form, and conformal intervals from these.

Sources: Barber et al. 2021, "Predictive inference with the jackknife+", Annals of Statistics 49; local errors as in Lei et al.
2018, "Distribution-free predictive inference for regression", §5.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

TUNED_ON = 1_000
"""Of these so many choose the ridge strength."""
COVERAGE = 0.9
LOCAL = 50
"""Known entities most alike whose residuals say how far off an estimate is."""
FOLDS = 5
RIDGES = (0.001, 0.01, 0.03, 0.1, 0.3, 1.0)
CONSTANT = 10.0
"""Added to the kernel: an intercept that the ridge hardly shrinks."""
_EXPONENT = 690.0


@dataclass(frozen=True)
class Fit:
    """One relation fitted.

    Attributes:
        kernel: float64 `[n, n]`, -1 where an entity meets itself.
        inverse: float64 `[n, n]`, of the kernel with its ridge.
        median_residual: float64 `[n]`, leave-one-out.
        served: what `Estimates` keeps.
    """

    kernel: Floats
    inverse: Floats
    median_residual: Floats
    served: dict[str, Any]


def regressed(vectors: Floats, target: Floats) -> Fit:
    """Fit a relation's numbers; the strength of the ridge is the one of the smallest mean absolute leave-one-out residual.

    Args:
        vectors: `[n, d]`, of length one, in random order.
        target: `[n]`.
    """
    median = float(np.median(target))
    centred = target - median
    few = vectors[:TUNED_ON]
    bandwidth = _bandwidth(few)
    small = kernel_of(few, few, bandwidth)
    errors = [np.abs(_residuals(_inverse(small, ridge), centred[: len(few)])).mean() for ridge in RIDGES]
    kernel = kernel_of(vectors, vectors, bandwidth)
    inverse = _inverse(kernel, RIDGES[int(np.argmin(errors))])
    np.fill_diagonal(kernel, -1.0)
    weight, residual = inverse @ centred, _residuals(inverse, centred)
    plain = median_residuals(target)
    served = {
        "learnt": bool(np.abs(residual).mean() < np.abs(plain).mean()),
        "bandwidth": bandwidth,
        "intercept": median + CONSTANT * weight.sum(),
        "reach": conformal(residual / local_errors(kernel, residual)),
        "median": median,
        "median_reach": conformal(plain),
        "residual": residual,
        "weight": weight,
    }
    return Fit(kernel, inverse, plain, served)


def figures_of(fit: Fit, target: Floats, value: Floats, log: bool) -> dict[str, Any]:
    """How good an estimate is.

    Returns:
        `mae`, `median_mae`: mean absolute leave-one-out error of the regression and of the median, as stated; `error`,
        `median_error`: the same as fitted, of the natural logarithm where `log`; `coverage`: share of held-out numbers
        within the interval that the others gave, over five folds; `learnt`: whether the regression or the median answers.
    """
    learnt = fit.served["learnt"]
    residuals = fit.served["residual"], fit.median_residual
    mae, median_mae = (float(np.abs(value - as_stated(target - residual, log)).mean()) for residual in residuals)
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


def _folded(fit: Fit) -> Iterator[tuple[Floats, Floats]]:
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
            held[:, 0] / local_errors(fit.kernel[np.ix_(out, ~out)], left),
            left / local_errors(fit.kernel[np.ix_(~out, ~out)], left),
        )


def _folded_median(target: Floats) -> Iterator[tuple[Floats, Floats]]:
    for fold in range(FOLDS):
        out = np.arange(len(target)) % FOLDS == fold
        yield target[out] - np.median(target[~out]), median_residuals(target[~out])


def local_errors(kernel: Floats, residual: Floats) -> Floats:
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


def unit(vectors: npt.NDArray[np.float32]) -> Floats:
    """Vectors `[n, d]` of length one; zeros stay zeros."""
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


def kernel_of(left: Floats, right: Floats, bandwidth: float) -> Floats:
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


def as_stated(target: Floats, log: bool) -> Floats:
    """What was fitted, of logarithms where `log`, as numbers again."""
    return np.exp(np.clip(target, -_EXPONENT, _EXPONENT)) if log else target
