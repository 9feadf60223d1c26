"""Rows of a table, and rows that were added behind it, without copying the table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


@dataclass(frozen=True)
class Layers:
    """`n + a` rows in two pieces.

    Attributes:
        base: float `[n, d]`.
        added: float `[a, d]`.
    """

    base: Tensor
    added: Tensor

    @classmethod
    def of(cls, base: Tensor) -> Layers:
        """With nothing added."""
        return cls(base, base[:0])

    def __len__(self) -> int:
        return len(self.base) + len(self.added)

    def take(self, ids: Tensor) -> Tensor:
        """float `[b, d]`: the rows of int64 `[b]` ids."""
        n = len(self.base)
        if not len(self.added):
            return self.base[ids]
        behind = ids >= n
        rows = self.base[torch.where(behind, 0, ids)]
        rows[behind] = self.added[ids[behind] - n]
        return rows

    def __getitem__(self, ids: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """float32 `[b, d]`: as `take`, for arrays."""
        taken: npt.NDArray[np.float32] = self.take(torch.from_numpy(np.asarray(ids, dtype=np.int64))).numpy()
        return taken
