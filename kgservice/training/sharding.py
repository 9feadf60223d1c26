"""Training in several processes, each of which holds a part of the entities' rows and of their optimiser state.

All processes see the same batch. The rows of its anchors and answers are summed up from their owners (every row has one);
each process scores its own candidates; the softmax is normalised over all. Relations are kept by everyone: the gradient of
the questions is summed over the processes, so everyone computes the same update. A step so moves `[u, d]` rows and `[b, d]`
gradients, and nothing that grows with the number of entities.

Whoever is first holds the whole table in main memory for a while to validate, to save and at the end.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kgservice.scorers.base import VectorScorer
from kgservice.training import optimizers

PATIENCE = timedelta(hours=4)
"""How long a process waits for another: as long as a validation may take."""
Made = TypeVar("Made")
TABLE = "entity"
"""The parameter of a scorer that has a row per entity."""


@contextmanager
def joined() -> Iterator[int]:
    """Work together with the processes that `torchrun` started, if it did; gives this one's number, from 0."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield 0
        return
    # Its functions take the group of the moment of their import as a default and would keep it alive beyond its end, whose
    # threads then die with the interpreter, aborting; optimisers import it.
    import torch.distributed.nn

    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)
    log = logging.getLogger("kgservice")
    before = log.level
    try:
        if dist.get_rank():
            log.setLevel(logging.ERROR)
        yield dist.get_rank()
    finally:
        log.setLevel(before)
        dist.destroy_process_group()


def after_the_first(make: Callable[[], Made]) -> Made:
    """What `make` gives, which leaves files behind: the others make it when the first process has."""
    together = dist.is_available() and dist.is_initialized()
    if together and dist.get_rank():
        dist.barrier()
    made = make()
    if together and not dist.get_rank():
        dist.barrier()
    return made


@dataclass(frozen=True)
class Shards:
    """Which rows of `n` a process holds; alone it holds them all, and nothing here does anything.

    Attributes:
        n: entities.
        rank: number of the process, from 0.
        world: how many processes there are.
    """

    n: int
    rank: int = 0
    world: int = 1

    @classmethod
    def of(cls, n: int) -> Shards:
        """By the process group that was joined, if there is one."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls(n)
        return cls(n, dist.get_rank(), dist.get_world_size())

    @property
    def size(self) -> int:
        """Rows of every process but the last."""
        return -(-self.n // self.world)

    @property
    def start(self) -> int:
        """The first entity held here."""
        return min(self.rank * self.size, self.n)

    @property
    def stop(self) -> int:
        """One past the last entity held here."""
        return min(self.start + self.size, self.n)

    @property
    def alone(self) -> bool:
        """Whether there is one process."""
        return self.world == 1

    def cut(self, scorer: VectorScorer) -> None:
        """Leave the scorer the rows held here."""
        if not self.alone:
            setattr(scorer, TABLE, nn.Parameter(getattr(scorer, TABLE).detach()[self.start : self.stop].clone()))

    def mine(self, ids: Tensor) -> Tensor:
        """bool `[u]`: whether an entity's row is held here."""
        return (ids >= self.start) & (ids < self.stop)

    @torch.no_grad()
    def fetch(self, table: Tensor, ids: Tensor) -> Tensor:
        """float `[u, d]`: the rows of `ids`, int64 `[u]`, from those who hold them; the same for everyone."""
        if self.alone:
            return table[ids]
        rows, mine = table.new_zeros(len(ids), table.shape[1]), self.mine(ids)
        rows[mine] = table[ids[mine] - self.start]
        dist.all_reduce(rows)
        return rows

    def shared(self, values: Tensor) -> Tensor:
        """The same values; their gradient is summed over the processes."""
        return values if self.alone else _SumGradients.apply(values)  # type: ignore[no-untyped-call]

    def summed(self, values: Tensor) -> Tensor:
        """Summed over the processes; everyone's gradient is its own."""
        return values if self.alone else _SumValues.apply(values)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def highest(self, values: Tensor) -> Tensor:
        """The maximum over the processes, without gradient."""
        values = values.detach()
        if not self.alone:
            values = values.clone()
            dist.all_reduce(values, dist.ReduceOp.MAX)
        return values

    def agreed(self, value: Any) -> Any:
        """What the first process says."""
        if self.alone:
            return value
        said = [value]
        dist.broadcast_object_list(said, src=0)
        return said[0]

    def whole(self, rows: Tensor) -> Tensor | None:
        """`[n, ...]` in main memory from everyone's rows, for the first process; None for the others."""
        rows = rows.detach().cpu()
        if self.alone:
            return rows
        even = torch.cat([rows, rows.new_zeros(self.size - len(rows), *rows.shape[1:])]).contiguous()
        parts = [torch.empty_like(even) for _ in range(self.world)] if self.rank == 0 else None
        dist.gather(even, parts, dst=0)
        return torch.cat(parts)[: self.n] if parts else None

    def complete(self, scorer: VectorScorer) -> VectorScorer | None:
        """For the first process a scorer with all rows, in main memory; None for the others."""
        if self.alone:
            return scorer
        table = getattr(scorer, TABLE)
        rows = self.whole(table)
        if rows is None:
            return None
        return copy.deepcopy(scorer, {id(table): nn.Parameter(rows)}).cpu()

    def join(self, scorer: VectorScorer) -> None:
        """Give the first process's scorer all rows."""
        if not self.alone and (rows := self.whole(getattr(scorer, TABLE))) is not None:
            setattr(scorer.cpu(), TABLE, nn.Parameter(rows))

    def gathered(self, tensors: Mapping[str, Tensor], scorer: VectorScorer) -> dict[str, Tensor]:
        """What a checkpoint holds, in main memory, everyone's rows put together for the first process."""
        found = {}
        for name, tensor in tensors.items():
            value = self.whole(tensor) if self._by_entity(name, tensor, scorer) else tensor.detach().cpu()
            if value is not None:
                found[name] = value
        return found

    def own(self, tensors: Mapping[str, Tensor], scorer: VectorScorer) -> dict[str, Tensor]:
        """The part of a checkpoint that belongs here."""
        if self.alone:
            return dict(tensors)
        return {
            name: tensor[self.start : self.stop] if self._by_entity(name, tensor, scorer) else tensor
            for name, tensor in tensors.items()
        }

    def _by_entity(self, name: str, tensor: Tensor, scorer: VectorScorer) -> bool:
        table = getattr(scorer, TABLE, None)
        number = next((i for i, each in enumerate(optimizers.trained(scorer)) if each is table), None)
        return name.endswith(f"/{TABLE}") or (name.startswith(f"optimizer/{number}/") and tensor.dim() > 0)


class _SumGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


class _SumValues(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient
