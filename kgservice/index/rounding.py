"""Candidates as a first, fast pass reads them, and how far that can be from the truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kgservice.precision import fast_bfloat16
from kgservice.products import COPY_BYTES, Road, laid_out
from kgservice.similarity import Metric

UNIT = 2.0**-23
"""Relative error of a float32 sum per term, doubled."""
STEP = 65_536
"""Rows looked at together."""
LEAST = 16_384
"""Candidates at once, however many questions: fewer make slow products."""
TOGETHER, TOGETHER_LAID = 64, 256
"""Questions at once, and where candidates are laid out: more gain nothing."""


@dataclass(frozen=True)
class Rounded:
    """Candidates whose products with questions are nearly the scores: ⟨q, c⟩, or ⟨q, c⟩ − ½‖c‖², which orders as −‖q − c‖².

    Attributes:
        rows: `[n, d]`, in `dtype` or, to be widened or rounded tile by tile, in half precision.
        dtype: bfloat16 where such products are fast, else float32.
        lower: float32 `[n]`, ½‖c‖²; None for inner products.
        length: the greatest ‖c‖ as rounded.
        loss: the greatest ‖c − rounded c‖.
        offset: the greatest ½‖c‖², 0 for inner products.
        roads: float32 products with `LEAST` rows each, one after the other, of what is laid out for them.
    """

    rows: Tensor
    dtype: torch.dtype
    lower: Tensor | None
    length: float
    loss: float
    offset: float
    roads: tuple[Road | None, ...] = ()

    @classmethod
    def of(cls, vectors: Tensor, metric: Metric) -> Self:
        """Read all once; float32 is kept as bfloat16 beside, if that is worth it."""
        fast = metric == "ip" and fast_bfloat16(vectors.device.type)
        dtype = torch.bfloat16 if fast else torch.float32
        kept = torch.empty_like(vectors, dtype=dtype) if fast and vectors.dtype == torch.float32 else None
        lower = torch.empty(len(vectors), device=vectors.device) if metric == "l2" else None
        length = loss = offset = 0.0
        for start in range(0, len(vectors), STEP):
            part = vectors[start : start + STEP].float()
            near = part.to(dtype)
            if kept is not None:
                kept[start : start + STEP] = near
            length, loss = _most(length, near), _most(loss, part - near.float())
            if lower is not None:
                half = lower[start : start + STEP] = 0.5 * (part * part).sum(1)
                offset = _most(offset, half[:, None])
        small = vectors.dtype == dtype == torch.float32 and vectors.nbytes <= COPY_BYTES
        roads = [laid_out(part, None, TOGETHER_LAID) for part in torch.split(vectors, LEAST)] if small else []
        return cls(vectors if kept is None else kept, dtype, lower, length, loss, offset, tuple(roads))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def together(self) -> int:
        """Questions at once that are fast."""
        return TOGETHER_LAID if any(self.roads) else TOGETHER

    def take(self, ids: Tensor) -> Rounded:
        """Some of them."""
        lower = None if self.lower is None else self.lower[ids]
        return replace(self, rows=self.rows[ids], lower=lower, roads=())

    def questions(self, vectors: Tensor) -> tuple[Tensor, npt.NDArray[np.float32]]:
        """float32 `[b, d]` questions as `scores` takes them, and how far their scores may be from the true ones before
        these are rounded to bfloat16: float32 `[b]`, not finite where that cannot be said.

        With q = q̂ + e and c = ĉ + f, |⟨q, c⟩ − ⟨q̂, ĉ⟩| ≤ ‖q‖‖f‖ + ‖e‖‖ĉ‖, and a float32 sum of d products adds no more than
        d · 2⁻²³ ‖q̂‖‖ĉ‖ in whatever order; numbers too small for it are lost entirely.
        """
        rounded = vectors.to(self.dtype)
        near = rounded.double()
        length = near.norm(dim=1)
        terms = vectors.shape[1] + 4
        doubt = terms * UNIT * (length * self.length + self.offset)
        if self.dtype != vectors.dtype or self.loss:
            exact = vectors.double()
            doubt += exact.norm(dim=1) * self.loss + (exact - near).norm(dim=1) * self.length
        doubt = doubt * 1.001 + terms * 2.0**-120 * (1 + length + self.length)
        highest = length * self.length + self.offset
        doubt[~(highest < 1e38)] = torch.inf
        return rounded, doubt.float().cpu().numpy()

    def scores(self, questions: Tensor, start: int, stop: int) -> Tensor:
        """bfloat16 `[b, stop − start]` of the candidates from `start` on, on the CPU; where there are roads, of those of one."""
        road = self.roads[start // LEAST] if self.roads else None
        scores = road(questions) if road else questions @ self.rows[start:stop].to(self.dtype).T
        if self.lower is not None:
            scores -= self.lower[start:stop]
        return scores.bfloat16().cpu()


def _most(before: float, rows: Tensor) -> float:
    """The greatest length among rows, and one from before; not a number where one is none."""
    longest = float(rows.double().norm(dim=1).max()) if len(rows) else 0.0
    return longest if not longest <= before else before
