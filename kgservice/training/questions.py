"""The distinct questions of a graph's training statements, resident on the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from kgservice.graph import KnowledgeGraph
from kgservice.graph.questions import Level
from kgservice.graph.statements import Split
from kgservice.query import Slot
from kgservice.scorers.context import Context
from kgservice.training.objectives import Positives, Soft


class Batch(NamedTuple):
    """Some distinct questions and their answers.

    Attributes:
        anchor, relation: int64 `[b]`, see `Questions`.
        positives: the true answers.
        context: the qualifiers, where the questions have some.
    """

    anchor: Tensor
    relation: Tensor
    positives: Positives
    context: Context | None = None


@dataclass(frozen=True)
class Questions:
    """`u` distinct questions of both directions with all their true answers.

    Attributes:
        anchor: int64 `[u]`.
        relation: int64 `[u]`, in `[0, 2r)`; an inverse asks for the subject.
        offset: int64 `[u + 1]`.
        target: int64 `[a]`, the answers of question i at `offset[i] : offset[i + 1]`.
        context: their qualifiers, for scorers that read some; then equal questions with other qualifiers are others.
        soft: what a teacher answers to every question, in a distillation.
    """

    anchor: Tensor
    relation: Tensor
    offset: Tensor
    target: Tensor
    context: Context | None = None
    soft: Soft | None = None

    @classmethod
    def of(
        cls,
        graph: KnowledgeGraph,
        splits: tuple[Split, ...],
        device: torch.device,
        *,
        reads: int | None = None,
        values: bool = False,
    ) -> Questions:
        """Group the statements of `splits` by question.

        Args:
            graph: what is learnt.
            splits: of its statements.
            device: where the questions stay.
            reads: how many qualifiers of each question are read; None: questions do without.
            values: ask for the values of qualifiers too; for a scorer that reads some.
        """
        table = graph.statements
        if set(splits) != set(Split):
            table = table.take(np.isin(table.split, splits))
        level: Level = "triple" if reads is None else "statement"
        slots = [Slot.OBJECT, Slot.SUBJECT] + [Slot.QUALIFIER] * (values and reads is not None)
        anchors, relations, lengths, targets, contexts = [], [], [], [], []
        for slot in slots:
            index = graph.answers(slot, level, splits)
            queries = graph.questions(slot, table)[0].take(index.first_row)
            anchors.append(queries.anchor.astype(np.int64))
            relations.append(queries.relation.astype(np.int64) + (graph.r if slot is Slot.SUBJECT else 0))
            lengths.append(index.answers.lengths)
            targets.append(index.answers.values.astype(np.int64))
            if reads is not None:
                contexts.append(Context.of(queries, reads))
        offset = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
        columns = (np.concatenate(anchors), np.concatenate(relations), offset, np.concatenate(targets))
        anchor, relation, bounds, target = (
            torch.from_numpy(np.ascontiguousarray(column)).to(device) for column in columns
        )
        context = Context.joined(contexts).to(device) if contexts else None
        return cls(anchor, relation, bounds, target, context)

    def __len__(self) -> int:
        return len(self.anchor)

    def batches(
        self,
        size: int,
        generator: torch.Generator,
        weighting: Literal["triples", "questions"],
        answers_at_once: int | None = None,
    ) -> Iterator[Batch]:
        """Every question once, in random order, `size` of them at a time.

        Args:
            size: questions in a batch.
            generator: of the order, on the CPU.
            weighting: whether every answer counts alike, or every question.
            answers_at_once: a question with more comes in several parts, each time others.
        """
        device, target = self.anchor.device, self.target
        question, first, counts = torch.arange(len(self), device=device), self.offset[:-1], self.offset.diff()
        if answers_at_once is not None and len(target) and int(counts.max()) > answers_at_once:
            shuffled = question.repeat_interleave(counts) + torch.rand(
                len(target), generator=generator, dtype=torch.float64
            ).to(device)
            target = target[shuffled.argsort()]
            question, first, counts = _parted(first, counts, answers_at_once)
        order = torch.randperm(len(question), generator=generator).to(device)
        for start in range(0, len(order), size):
            parts = order[start : start + size]
            rows = question[parts]
            context = None if self.context is None else self.context.take(rows)
            positives = self._positives(rows, first[parts], counts[parts], target, weighting)
            yield Batch(self.anchor[rows], self.relation[rows], positives, context)

    def _positives(
        self, rows: Tensor, start: Tensor, counts: Tensor, target: Tensor, weighting: Literal["triples", "questions"]
    ) -> Positives:
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
        return Positives(offset, question, target[place], weight, soft=soft)


def _parted(first: Tensor, counts: Tensor, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which question each part is of, where its answers begin, and how many they are: as even as can be."""
    parts = (counts + limit - 1) // limit
    question = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), parts)
    place = torch.arange(len(question), device=counts.device) - (parts.cumsum(0) - parts)[question]
    whole, parts = counts[question], parts[question]
    begin, end = place * whole // parts, (place + 1) * whole // parts
    return question, first[question] + begin, end - begin
