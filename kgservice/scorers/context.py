"""What stands in a question beside its anchor and relation, as tensors."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from kgservice.query import QueryBatch, Slot

NOTHING, MASKED, NUMBER, OTHER = -1, -2, -3, -4
"""Values of a pair that are no entity: no pair at all, the one that is asked for, a number or date, another literal."""


class Context(NamedTuple):
    """The rest of `b` questions, with up to `p` qualifier pairs each.

    Attributes:
        filler: int64 `[b]`: the entity where the answer would stand, if something else is asked for; else -1.
        relation: int64 `[b, p]`: of each pair; -1 where there is none. The pair that is asked for is the first.
        value: int64 `[b, p]`: an entity, or one of the constants above.
        number: float32 `[b, p]`: of a number or date; else 0.
    """

    filler: Tensor
    relation: Tensor
    value: Tensor
    number: Tensor

    @classmethod
    def of(cls, queries: QueryBatch, most: int) -> Self:
        """The first `most` pairs of each question, in the order of their relations and values.

        The pair that is asked for comes before them and does not count.
        """
        relations, values = queries.qualifier_relation, queries.qualifier_value
        lengths = np.minimum(relations.lengths, most)
        asking, filled = queries.slot is Slot.QUALIFIER, queries.slot in (Slot.QUALIFIER, Slot.RELATION)
        b, width = len(queries), int(lengths.max(initial=0)) + asking
        relation = np.full((b, width), -1, np.int64)
        value = np.full((b, width), NOTHING, np.int64)
        number = np.zeros((b, width), np.float32)
        row = np.repeat(np.arange(b), lengths)
        column = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        place = relations.offset[:-1][row] + column
        column = column + asking
        relation[row, column] = relations.values[place]
        measured = np.isfinite(queries.qualifier_number[place])
        literal = np.where(measured, NUMBER, OTHER)
        value[row, column] = np.where(values.values[place] >= 0, values.values[place], literal)
        number[row, column] = np.where(measured, queries.qualifier_number[place], 0)
        filler = queries.object.astype(np.int64) if filled else np.full(b, -1, np.int64)
        if asking:
            relation[:, 0], value[:, 0] = queries.asked, MASKED
        return cls(*(torch.from_numpy(column) for column in (filler, relation, value, number)))

    @classmethod
    def empty(cls, b: int, device: torch.device) -> Self:
        """Of questions without qualifiers."""
        pairs = torch.empty(b, 0, dtype=torch.int64, device=device)
        return cls(torch.full((b,), -1, device=device), pairs, pairs, pairs.float())

    @property
    def asks_value(self) -> Tensor:
        """bool `[b]`: whether the value of the first pair is asked for."""
        if self.value.shape[1] == 0:
            return torch.zeros_like(self.filler, dtype=torch.bool)
        return self.value[:, 0] == MASKED

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Contexts below one another, padded to the widest."""
        width = max(part.relation.shape[1] for part in parts)
        padded = [part.widened(width) for part in parts]
        return cls(*(torch.cat(columns) for columns in zip(*padded, strict=True)))

    def widened(self, width: int) -> Self:
        """With room for `width` pairs."""
        more = width - self.relation.shape[1]
        pad = torch.nn.functional.pad
        return type(self)(
            self.filler,
            pad(self.relation, (0, more), value=-1),
            pad(self.value, (0, more), value=NOTHING),
            pad(self.number, (0, more)),
        )

    def take(self, rows: Tensor) -> Self:
        """The questions at `rows`, no wider than they need."""
        relation = self.relation[rows]
        width = int((relation >= 0).sum(1).amax()) if relation.numel() else 0
        return type(self)(self.filler[rows], relation[:, :width], self.value[rows, :width], self.number[rows, :width])

    def to(self, device: torch.device) -> Self:
        """On another device."""
        return type(self)(*(part.to(device) for part in self))
