"""Ranks against a brute-force count, and what must hold for any scorer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kgservice.evaluation.ranking import rank
from kgservice.graph import KnowledgeGraph
from kgservice.query import QueryBatch, Slot
from kgservice.statements import Split, StatementTable
from kgservice.vocabulary import Vocabulary


class TableScorer:
    """Scores read from a made table, with many ties."""

    slots = frozenset({Slot.SUBJECT, Slot.OBJECT})

    def __init__(self, n: int, r: int, seed: int, values: int) -> None:
        random = np.random.default_rng(seed)
        self.object = torch.from_numpy(random.integers(0, values, (n, r, n)).astype(np.float32))
        self.subject = torch.from_numpy(random.integers(0, values, (n, r, n)).astype(np.float32))

    def scores(self, queries: QueryBatch) -> torch.Tensor:
        table = self.object if queries.slot is Slot.OBJECT else self.subject
        return table[torch.from_numpy(queries.anchor).long(), torch.from_numpy(queries.relation).long()]


def made_graph(seed: int, n: int = 9, r: int = 3, m: int = 60) -> KnowledgeGraph:
    random = np.random.default_rng(seed)
    triples = np.unique(
        np.stack([random.integers(0, n, m), random.integers(0, r, m), random.integers(0, n, m)]), axis=1
    )
    split = random.choice([0, 1, 2], triples.shape[1], p=[0.6, 0.2, 0.2])
    names = [f"e{i}" for i in range(n)]
    return KnowledgeGraph(
        Vocabulary.build(names),
        Vocabulary.build([f"r{i}" for i in range(r)]),
        StatementTable.build(*triples, split=split),
    )


def brute_force(scorer: TableScorer, graph: KnowledgeGraph, split: Split) -> list[tuple[int, int, int]]:
    table = graph.statements
    facts = set(zip(table.subject.tolist(), table.relation.tolist(), table.object.tolist(), strict=True))
    found = []
    for side in ("tail", "head"):
        part = table.in_split(split)
        for s, r, o in zip(part.subject.tolist(), part.relation.tolist(), part.object.tolist(), strict=True):
            if side == "tail":
                scores, true = scorer.object[s, r], o
                rivals = [e for e in range(graph.n) if e != o and (s, r, e) not in facts]
            else:
                scores, true = scorer.subject[o, r], s
                rivals = [e for e in range(graph.n) if e != s and (e, r, o) not in facts]
            better = sum(float(scores[e]) > float(scores[true]) for e in rivals)
            equal = sum(float(scores[e]) == float(scores[true]) for e in rivals)
            found.append((better, equal, len(rivals) + 1))
    return found


@given(seed=st.integers(0, 10_000), values=st.sampled_from([1, 2, 5, 1000]), batch=st.sampled_from([1, 4, 512]))
@settings(max_examples=40, deadline=None)
def test_ranks_equal_a_brute_force_count(seed: int, values: int, batch: int) -> None:
    graph = made_graph(seed)
    scorer = TableScorer(graph.n, graph.r, seed, values)
    ranks = rank(scorer, graph, Split.TEST, batch_size=batch)
    found = list(zip(ranks.better.tolist(), ranks.equal.tolist(), ranks.candidates.tolist(), strict=True))
    assert found == brute_force(scorer, graph, Split.TEST)
    optimistic, realistic, pessimistic = (ranks.ranks(kind) for kind in ("optimistic", "realistic", "pessimistic"))
    assert np.all(optimistic <= realistic)
    assert np.all(realistic <= pessimistic)
    assert np.all(pessimistic <= ranks.candidates)
    again = rank(scorer, graph, Split.TEST, batch_size=batch)
    assert np.array_equal(again.ranks(), ranks.ranks())


def test_a_constant_scorer_is_at_chance() -> None:
    graph = made_graph(3)
    ranks = rank(TableScorer(graph.n, graph.r, 0, 1), graph, Split.TEST)
    assert np.array_equal(ranks.ranks("realistic"), (ranks.candidates + 1) / 2)
    assert ranks.figures()["adjusted_mean_rank"] == pytest.approx(1.0)


def test_unseen_entities_are_counted_not_dropped() -> None:
    entities, relations = Vocabulary.build(["a", "b", "c", "new"]), Vocabulary.build(["r"])
    statements = StatementTable.build([0, 1, 0], [0, 0, 0], [1, 2, 3], split=[0, 0, 2])
    graph = KnowledgeGraph(entities, relations, statements)
    ranks = rank(TableScorer(4, 1, 0, 10), graph, Split.TEST)
    assert len(ranks) == 2
    assert ranks.unseen.all()
    assert ranks.report(graph)["unseen"]["rows"] == 2


def test_an_empty_split_has_no_figures() -> None:
    graph = made_graph(1)
    ranks = rank(TableScorer(graph.n, graph.r, 0, 9), graph, Split.CONTEXT)
    assert ranks.figures() == {"count": 0}
    assert ranks.report(graph)["by_relation"] == {}


def test_report_splits_by_side_and_relation() -> None:
    graph = made_graph(2)
    ranks = rank(TableScorer(graph.n, graph.r, 5, 1000), graph, Split.TEST)
    report = ranks.report(graph)
    sides = report["by_side"]
    assert sides["head"]["count"] == sides["tail"]["count"] == len(ranks) / 2
    mean = (sides["head"]["mrr"] + sides["tail"]["mrr"]) / 2
    assert report["filtered"]["realistic"]["mrr"] == pytest.approx(mean)
    assert sum(part["count"] for part in report["by_relation"].values()) == len(ranks)
