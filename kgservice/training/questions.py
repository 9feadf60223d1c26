"""The distinct questions of a graph's training statements, resident on the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from kgservice.graph import KnowledgeGraph
from kgservice.query import Slot
from kgservice.statements import Split
from kgservice.training.objectives import Positives, Soft


@dataclass(frozen=True)
class Questions:
    """`u` distinct (anchor, relation) pairs of both directions with all their true answers.

    Attributes:
        anchor: int64 `[u]`.
        relation: int64 `[u]`, in `[0, 2r)`; an inverse asks for the subject.
        offset: int64 `[u + 1]`.
        target: int64 `[a]`, the answers of question i at `offset[i] : offset[i + 1]`.
        soft: what a teacher answers to every question, in a distillation.
    """

    anchor: Tensor
    relation: Tensor
    offset: Tensor
    target: Tensor
    soft: Soft | None = None

    @classmethod
    def of(cls, graph: KnowledgeGraph, splits: tuple[Split, ...], device: torch.device) -> Questions:
        """Group the statements of `splits` by question."""
        anchors, relations, lengths, targets = [], [], [], []
        for slot, shift in ((Slot.OBJECT, 0), (Slot.SUBJECT, graph.r)):
            index = graph.answers(slot, "triple", splits)
            anchors.append((index.keys // np.uint64(graph.r)).astype(np.int64))
            relations.append((index.keys % np.uint64(graph.r)).astype(np.int64) + shift)
            lengths.append(index.answers.lengths)
            targets.append(index.answers.values.astype(np.int64))
        offset = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
        columns = (np.concatenate(anchors), np.concatenate(relations), offset, np.concatenate(targets))
        anchor, relation, bounds, target = (
            torch.from_numpy(np.ascontiguousarray(column)).to(device) for column in columns
        )
        return cls(anchor, relation, bounds, target)

    def __len__(self) -> int:
        return len(self.anchor)

    def batches(
        self, size: int, generator: torch.Generator, weighting: Literal["triples", "questions"]
    ) -> Iterator[tuple[Tensor, Tensor, Positives]]:
        """Every question once, in random order, as (anchor, relation, positives) of `size` questions."""
        order = torch.randperm(len(self), generator=generator).to(self.anchor.device)
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            yield self.anchor[rows], self.relation[rows], self._positives(rows, weighting)

    def _positives(self, rows: Tensor, weighting: Literal["triples", "questions"]) -> Positives:
        start = self.offset[rows]
        counts = self.offset[rows + 1] - start
        offset = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        question = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), counts)
        place = torch.arange(len(question), device=rows.device) + (start - offset[:-1])[question]
        if weighting == "triples":
            weight = torch.full((len(rows),), 1.0 / max(len(question), 1), device=rows.device)
        else:
            weight = 1.0 / (counts.to(torch.float32) * len(rows))
        soft = None
        if self.soft is not None:
            soft = Soft(self.soft.target[rows].long(), self.soft.probability[rows].float())
        return Positives(offset, question, self.target[place], weight, soft=soft)
