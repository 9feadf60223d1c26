"""Filtered ranks of held-out statements, over distinct questions.

A rank is 1 + (candidates that score better) − (known answers among them); nothing is scored twice and no filter mask of
`[b, n]` exists. Ties give three ranks from one pass: optimistic (ties lose), pessimistic (ties win), realistic (their mean).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from kgservice.arrays.ragged import Ragged, offsets_of
from kgservice.evaluation.blocks import blocks
from kgservice.evaluation.counting import count
from kgservice.evaluation.intervals import bootstrap, clusters
from kgservice.graph import KnowledgeGraph
from kgservice.graph.questions import Level, keys_of
from kgservice.graph.statements import Split, StatementTable
from kgservice.query import QueryBatch, Slot
from kgservice.scorers.base import Scorer

HITS = (1, 3, 10)
SAMPLE_SEED = 0
"""Of the statements that stand for a split where it is not measured as a whole."""
Kind = Literal["optimistic", "realistic", "pessimistic"]
SIDES = {Slot.OBJECT: "tail", Slot.SUBJECT: "head", Slot.QUALIFIER: "value"}
ENTITIES = (Slot.OBJECT, Slot.SUBJECT)


@dataclass(frozen=True)
class Ranks:
    """One row per held-out statement and side.

    Attributes:
        side: the missing slot of each row, as "head", "tail" or "value" (of a qualifier).
        subject, relation, object: int32 `[t]`; the relation of a "value" is the qualifier's.
        better, equal: int64 `[t]`: candidates above and beside the true answer, known answers and itself removed.
        candidates: int64 `[t]`: how many competed, the true answer included.
        unseen: bool `[t]`: whether the statement holds an entity that no training statement has.
    """

    side: npt.NDArray[np.str_]
    subject: npt.NDArray[np.int32]
    relation: npt.NDArray[np.int32]
    object: npt.NDArray[np.int32]
    better: npt.NDArray[np.int64]
    equal: npt.NDArray[np.int64]
    candidates: npt.NDArray[np.int64]
    unseen: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.side)

    def ranks(self, kind: Kind = "realistic") -> npt.NDArray[np.float64]:
        """float64 `[t]`, from 1."""
        share = {"optimistic": 0.0, "realistic": 0.5, "pessimistic": 1.0}[kind]
        return 1.0 + self.better + share * self.equal

    def where(self, mask: npt.NDArray[np.bool_]) -> Ranks:
        """The rows where `mask` is true."""
        return Ranks(*(getattr(self, name)[mask] for name in self.__dataclass_fields__))

    def figures(self, kind: Kind = "realistic") -> dict[str, float]:
        """MRR, Hits@k, mean rank, and the mean rank over the one that chance would give (1 is chance, near 0 is best)."""
        if not len(self):
            return {"count": 0}
        ranks = self.ranks(kind)
        expected = (self.candidates + 1) / 2
        return {
            "mrr": float((1.0 / ranks).mean()),
            **{f"hits@{k}": float((ranks <= k).mean()) for k in HITS},
            "mean_rank": float(ranks.mean()),
            "adjusted_mean_rank": float(ranks.sum() / expected.sum()),
            "count": len(self),
        }

    def intervals(self, kind: Kind = "realistic") -> dict[str, list[float]]:
        """95 % bootstrap intervals of MRR and Hits@k, both sides of a statement drawn together; empty without rows."""
        if not len(self):
            return {}
        ranks = self.ranks(kind)
        values = np.column_stack([1.0 / ranks, *(ranks <= k for k in HITS)])
        bounds = bootstrap(values, clusters(self.subject, self.relation, self.object))
        return dict(zip(("mrr", *(f"hits@{k}" for k in HITS)), bounds.tolist(), strict=True))

    def report(self, graph: KnowledgeGraph) -> dict[str, Any]:
        """All figures, by kind, side and relation, with intervals and the unseen counted."""
        overall: dict[str, Any] = {kind: self.figures(kind) for kind in ("realistic", "optimistic", "pessimistic")}
        by_relation = {}
        for relation in np.unique(self.relation).tolist():
            by_relation[graph.relations.name(relation)] = self.where(self.relation == relation).figures()
        return {
            "filtered": overall,
            "intervals": self.intervals(),
            "by_side": {SIDES[slot]: self.where(self.side == SIDES[slot]).figures() for slot in ENTITIES},
            "by_relation": by_relation,
            "unseen": {
                "rows": int(self.unseen.sum()),
                **{"seen_only_mrr": self.where(~self.unseen).figures().get("mrr")},
            },
        }


def rank(
    scorer: Scorer,
    graph: KnowledgeGraph,
    split: Split | StatementTable,
    *,
    level: Level = "triple",
    slots: Sequence[Slot] = ENTITIES,
    batch_size: int = 512,
    progress: bool = False,
) -> Ranks:
    """Rank the true subject and object of every held-out statement, or its qualifiers' values, among all entities.

    A scorer that reads qualifiers is asked with those of the statement.

    Args:
        scorer: anything that scores subject and object questions.
        graph: its statements of all splits are the filter.
        split: which statements, or the statements themselves; see `KnowledgeGraph.competing` for who answers.
        slots: which parts of a statement; of qualifiers, the values that are entities.
        level: whether a known answer must have the question's qualifiers; see `KnowledgeGraph.known`.
        batch_size: questions per step at most; fewer where their scores would leave the processor's cache.
        progress: show a bar on a terminal.
    """
    table = split if isinstance(split, StatementTable) else graph.statements.in_split(split)
    unseen = ~(graph.seen[table.subject] & graph.seen[table.object])
    allow = graph.competing(table)
    parts = []
    distinct: Level = "triple" if getattr(scorer, "reads", None) is None else "statement"
    for slot in slots:
        queries, target, row = graph.questions(slot, table)
        # Distinct questions: each is scored once, however many of its answers are held out.
        keys = keys_of(queries, level if level == "statement" else distinct)
        _, first, question = np.unique(keys, return_index=True, return_inverse=True)
        relation = queries.asked if slot is Slot.QUALIFIER else queries.relation
        part = (np.full(len(row), SIDES[slot]), queries.subject, relation, queries.object)
        queries = queries.take(first)
        known = graph.known(queries, level)
        counts = _count(scorer, queries, known, question, target, graph.n, batch_size, progress, SIDES[slot], allow)
        among = graph.n if allow is None else int(allow.sum())
        excluded = (
            known.lengths if allow is None else np.bincount(known.rows()[allow[known.values]], minlength=len(known))
        )
        candidates = among - excluded[question] + 1
        parts.append((*part, *counts, candidates, unseen[row]))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Ranks(*columns)


def sample(table: StatementTable, questions: int) -> StatementTable:
    """Some of the statements, for models that are too slow for all: half as many as questions, each asked for head and tail.

    Args:
        table: of a split; the order of its rows is the graph's own, so that the same data set gives the same sample.
        questions: in all, at least 2.
    """
    statements = questions // 2
    if statements >= len(table):
        return table
    return table.take(np.sort(np.random.default_rng(SAMPLE_SEED).permutation(len(table))[:statements]))


def _count(
    scorer: Scorer,
    queries: QueryBatch,
    known: Ragged,
    question: npt.NDArray[np.int64],
    target: npt.NDArray[np.int32],
    n: int,
    batch_size: int,
    progress: bool,
    side: str,
    allow: npt.NDArray[np.bool_] | None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """int64 `[t]` twice: candidates better than, and equal to, each target, known answers left out."""
    better, equal = np.zeros(len(target), np.int64), np.zeros(len(target), np.int64)
    order = np.argsort(question, kind="stable")
    targets = Ragged(offsets_of(np.bincount(question, minlength=len(queries))), target[order])
    bar = tqdm(total=len(queries), desc=f"ranking {side}s", unit="question", disable=None if progress else True)
    threads = torch.get_num_threads()
    barred = None if allow is None else torch.from_numpy(np.flatnonzero(~allow))
    with torch.inference_mode(), ThreadPoolExecutor(threads) as pool, bar:
        rows, scores = blocks(scorer, queries.slot, n, batch_size)
        for start in range(0, len(queries), rows):
            stop = min(start + rows, len(queries))
            part = order[targets.offset[start] : targets.offset[stop]]
            block = scores(queries.take(np.arange(start, stop)))
            if barred is not None:
                block = block.index_fill(1, barred, -torch.inf)
            better[part], equal[part] = count(
                block, _lists(targets, start, stop), _lists(known, start, stop), pool, threads
            )
            bar.update(stop - start)
    return better, equal


def _lists(lists: Ragged, start: int, stop: int) -> Ragged:
    """The lists `[start, stop)`, values not copied."""
    first, last = lists.offset[start], lists.offset[stop]
    return Ragged(lists.offset[start : stop + 1] - first, lists.values[first:last])
