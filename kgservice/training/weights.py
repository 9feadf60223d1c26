"""A scorer's weights as they were: their running mean, and those of the best validation.

Memory: the mean is one copy, kept only where it differs from the weights themselves, and changed in place. The best weights
are another copy while tables are small. Of a large table with a checkpoint file they are mapped from the file, which is
written as soon as a validation was the best: then no second copy is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from kgservice.scorers.base import VectorScorer

LARGE_BYTES = 256 << 20
"""Weights above this are not copied for the sake of the best ones."""


class Kept:
    """The running mean and the best of a scorer's weights.

    Args:
        scorer: whose weights change.
        averaging: share of the past in the mean; 0 keeps no mean.
    """

    def __init__(self, scorer: VectorScorer, averaging: float) -> None:
        self.scorer, self.averaging = scorer, averaging
        self.mean = {name: value.clone() for name, value in self.live().items()} if averaging else None
        self.best: dict[str, Tensor] | None = None
        """The best weights where they are not the present ones."""
        self.large = sum(value.nbytes for value in self.live().values()) > LARGE_BYTES

    def live(self) -> dict[str, Tensor]:
        """The weights themselves, not copied."""
        return {name: value.detach() for name, value in self.scorer.state_dict().items()}

    def present(self) -> dict[str, Tensor]:
        """What is validated and kept: the mean, or the weights."""
        return self.live() if self.mean is None else self.mean

    def average(self, epoch: int) -> None:
        """Put an epoch's weights into the mean; a plain mean until so many epochs have gone as the share spans."""
        if self.mean is None:
            return
        past, learnt = min(self.averaging, 1 - 1 / epoch), {name for name, _ in self.scorer.named_parameters()}
        for name, value in self.live().items():
            if name in learnt:
                self.mean[name].mul_(past).add_(value, alpha=1 - past)
            else:
                self.mean[name].copy_(value)

    @contextmanager
    def worn(self) -> Iterator[None]:
        """Give the scorer the mean for a while, in evaluation mode; nothing is copied."""
        self._swap()
        self.scorer.eval()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        if self.mean is not None:
            for name, tensor in (*self.scorer.named_parameters(), *self.scorer.named_buffers()):
                if name in self.mean:
                    tensor.data, self.mean[name] = self.mean[name], tensor.data

    def copy_present(self) -> None:
        """Remember the present weights as the best ones, as a copy."""
        self.best = {name: value.cpu().clone() for name, value in self.present().items()}

    def tensors(self, *, best_is_present: bool) -> dict[str, Tensor]:
        """What a checkpoint holds, not copied: `model/`, and `mean/` and `best/` where they are something else."""
        held = {"model": self.live(), "mean": self.mean, "best": None if best_is_present else self.best}
        return {f"{what}/{name}": value for what, kept in held.items() for name, value in (kept or {}).items()}

    def restore(self, tensors: Mapping[str, Tensor], *, best: bool) -> None:
        """Put back what `tensors` gave; `best` where some validation was."""
        self.scorer.load_state_dict(named(tensors, "model/"))
        for name, value in named(tensors, "mean/").items() if self.mean is not None else ():
            self.mean[name].copy_(value)  # type: ignore[index]
        if best:
            self.map_best(tensors)

    def map_best(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the best weights from a checkpoint's tensors, where they are pages of a file."""
        self.best = named(tensors, "best/") or named(tensors, "mean/") or named(tensors, "model/")

    def finish(self, *, best: bool) -> None:
        """Give the scorer the best weights, or the present ones for good."""
        chosen = self.best if best and self.best is not None else self.mean
        if chosen is not None:
            self.scorer.load_state_dict(chosen)
        self.scorer.eval()


def named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def finite(scorer: VectorScorer) -> bool:
    """Whether every weight is a number: NaN and infinity carry over to the sum."""
    sums = torch.stack([parameter.detach().sum().float() for parameter in scorer.parameters()])
    return bool(sums.isfinite().all())
