"""Embedding tables with their names, and how other layouts become ours.

Ours: complex rows keep real parts first; a rotation is its angles; a RESCAL matrix is flat by rows and scores sᵀ R o; the
rows of inverse relations are a table of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kgservice.errors import DataError, RecipeError

UNIT_TOLERANCE = 1e-3
PAIRED = {"complex", "rotate"}
DISTANCES = {"transe", "rotate"}


@dataclass(frozen=True)
class Embeddings:
    """Tables in our layout.

    Attributes:
        entity: float32 `[N, w]`.
        relation: float32 `[R, w']`, the direct relations.
        inverse: float32 `[R, w']`, or None where subjects are asked with the direct rows.
        entities, relations: the names of the rows, `N` and `R`.
        files: what was read.
    """

    entity: Tensor
    relation: Tensor
    inverse: Tensor | None
    entities: Sequence[str]
    relations: Sequence[str]
    files: Sequence[Path]


def halves(rows: Tensor) -> Tensor:
    """`[m, 2d]` of real and imaginary parts in turn → real parts first."""
    return rows.reshape(len(rows), -1, 2).transpose(1, 2).reshape(len(rows), -1)


def transposed(rows: Tensor) -> Tensor:
    """`[m, d²]` of flat matrices → of their transposes."""
    side = round(rows.shape[1] ** 0.5)
    return rows.reshape(-1, side, side).transpose(1, 2).reshape(rows.shape)


def angles(rows: Tensor, where: Path) -> Tensor:
    """`[m, 2d]` unit complex numbers, real parts first → `[m, d]` angles.

    Raises:
        DataError: a modulus is not 1, so that the relation does more than turn.
    """
    real, imaginary = rows.chunk(2, dim=1)
    off = float((real.square() + imaginary.square()).sqrt().sub(1).abs().max()) if rows.numel() else 0.0
    if off > UNIT_TOLERANCE:
        raise DataError(f"{where}: a rotation's complex numbers must have modulus 1, found one {off:.3g} away from it")
    return torch.atan2(imaginary, real)


def with_inverses(relation: Tensor, names: int, order: str, where: Path) -> tuple[Tensor, Tensor | None]:
    """A table of `names` rows as it is, one of twice as many as direct and inverse rows.

    Args:
        relation: `[names, w']` or `[2 · names, w']`.
        names: how many relations have a name.
        order: "odd" for inverses at 2i + 1, "last" for inverses in the second half.
        where: for messages.

    Raises:
        DataError: another number of rows.
    """
    if len(relation) == names:
        return relation, None
    if len(relation) == 2 * names:
        return (relation[0::2], relation[1::2]) if order == "odd" else (relation[:names], relation[names:])
    raise DataError(
        f"{where}: {len(relation)} relation rows for {names} relation names; expected {names}, or {2 * names} with inverses"
    )


def require_squared_norm(scorer: str, norm: float | None, where: Path) -> None:
    """Refuse distances whose order is not that of the squared L2 distance.

    Raises:
        RecipeError: the norm is 1, or nobody says which it is.
    """
    if scorer not in DISTANCES or norm == 2:
        return
    if norm is None:
        raise RecipeError(
            f"{where}: the weights do not tell by which norm {scorer} was trained; say norm = 2 or norm = 1 in "
            "[models.NAME.weights]"
        )
    raise RecipeError(
        f"{where}: {scorer} was trained with norm {norm:g}; only norm 2 ranks as the squared distance that is searched here. "
        "Train it with norm 2 (PyKEEN: scoring_fct_norm=2, LibKGE: l_norm: 2)."
    )
