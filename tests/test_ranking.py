"""Ranks against a brute-force count, and what must hold for any scorer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kgservice import datasets, products
from kgservice.arrays.ragged import Ragged
from kgservice.evaluation import blocks as scoring_blocks
from kgservice.evaluation import counting
from kgservice.evaluation.ranking import rank
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split, StatementTable
from kgservice.graph.vocabulary import Vocabulary
from kgservice.query import QueryBatch, Slot
from kgservice.scorers.bilinear import ComplEx
from kgservice.scorers.embedding import EmbeddingScorer
from kgservice.scorers.translation import TransE


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


def brute_force(
    scorer: TableScorer, graph: KnowledgeGraph, split: Split, among: range | None = None
) -> list[tuple[int, int, int]]:
    table, among = graph.statements, among or range(graph.n)
    facts = set(zip(table.subject.tolist(), table.relation.tolist(), table.object.tolist(), strict=True))
    found = []
    for side in ("tail", "head"):
        part = table.in_split(split)
        for s, r, o in zip(part.subject.tolist(), part.relation.tolist(), part.object.tolist(), strict=True):
            if side == "tail":
                scores, true = scorer.object[s, r], o
                rivals = [e for e in among if e != o and (s, r, e) not in facts]
            else:
                scores, true = scorer.subject[o, r], s
                rivals = [e for e in among if e != s and (e, r, o) not in facts]
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


@given(seed=st.integers(0, 10_000), values=st.sampled_from([1, 2, 1000]), own=st.booleans())
@settings(max_examples=20, deadline=None)
def test_entities_of_the_graph_of_inference_compete_alone(seed: int, values: int, own: bool) -> None:
    """Two graphs of nine entities; validation lies in that of training (GraIL) or of inference (ILPC), the test in the latter."""
    parts = [made_graph(seed).statements, made_graph(seed + 1).statements]
    shift = 9 * np.arange(2).repeat([len(part) for part in parts])
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in ("subject", "relation", "object")]
    split = np.concatenate([part.split for part in parts])
    inference = shift > 0
    split[~inference & (split == Split.TEST)] = Split.TRAIN
    split[~inference & (split == Split.VALID) & own] = Split.TRAIN
    split[inference & (split == Split.VALID) & (not own)] = Split.CONTEXT
    split[inference & (split == Split.TRAIN)] = Split.CONTEXT
    names = Vocabulary.build([f"e{i:02d}" for i in range(18)])
    table = StatementTable.build(columns[0] + shift, columns[1], columns[2] + shift, split=split)
    graph = KnowledgeGraph(names, Vocabulary.build(["r0", "r1", "r2"]), table)
    held = {Split.VALID: range(9, 18) if own else range(9), Split.TEST: range(9, 18)}
    for part, among in held.items():
        facts = table.in_split(Split.TRAIN if among.start == 0 else Split.CONTEXT)
        if set(among) - {*facts.subject.tolist(), *facts.object.tolist()}:
            continue  # an entity of neither graph's facts: all compete
        scorer = TableScorer(18, 3, seed, values)
        ranks = rank(scorer, graph, part)
        found = list(zip(ranks.better.tolist(), ranks.equal.tolist(), ranks.candidates.tolist(), strict=True))
        assert found == brute_force(scorer, graph, part, among)


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


# Counting: the compiled loop, the same loop as plain Python, and torch, against a count one by one.


def made_block(
    seed: int, *, n: int, values: int, dtype: str, broken: bool = False
) -> tuple[torch.Tensor, Ragged, Ragged]:
    """Scores of a few questions, their targets, and what is known: targets are often among it, not always."""
    random = np.random.default_rng(seed)
    b = int(random.integers(1, 6))
    scores = random.integers(0, values, (b, n)).astype(dtype)
    if broken:
        scores[random.random((b, n)) < 0.2] = np.nan
        scores[random.random((b, n)) < 0.2] = -np.inf
        scores[random.random((b, n)) < 0.2] = np.inf
    lists = [[np.flatnonzero(random.random(n) < share).tolist() for _ in range(b)] for share in (0.3, 0.4)]
    return torch.from_numpy(scores), Ragged.of(lists[0]), Ragged.of(lists[1])


def one_by_one(scores: torch.Tensor, targets: Ragged, known: Ragged) -> tuple[list[int], list[int]]:
    rows = [[-np.inf if np.isnan(value) else value for value in row] for row in scores.tolist()]
    above, beside = [], []
    for row, answers, others in zip(rows, targets, known, strict=True):
        for answer in answers.tolist():
            rivals = [value for e, value in enumerate(row) if e != answer and e not in set(others.tolist())]
            above.append(sum(value > row[answer] for value in rivals))
            beside.append(sum(value == row[answer] for value in rivals))
    return above, beside


blocks = {
    "seed": st.integers(0, 10_000),
    "n": st.integers(1, 40),
    "values": st.sampled_from([1, 3, 1000]),
    "dtype": st.sampled_from(["float32", "float64"]),
    "broken": st.booleans(),
}


@given(**blocks)
@settings(max_examples=60, deadline=None)
def test_compiled_counts_equal_one_by_one(seed: int, n: int, values: int, dtype: str, broken: bool) -> None:
    block = made_block(seed, n=n, values=values, dtype=dtype, broken=broken)
    assert counting.compiled() is not None
    before = block[0].clone()
    above, beside = counting.count(*block)
    assert (above.tolist(), beside.tolist()) == one_by_one(*block)
    assert torch.equal(block[0].nan_to_num(7), before.nan_to_num(7)), "scores are only read"
    again = counting.count_by_torch(*block)
    assert (again[0].tolist(), again[1].tolist()) == (above.tolist(), beside.tolist())


@given(**blocks)
@settings(max_examples=60, deadline=None)
def test_looking_up_among_many_targets_equals_one_by_one(
    seed: int, n: int, values: int, dtype: str, broken: bool
) -> None:
    scores, targets, known = made_block(seed, n=n, values=values, dtype=dtype, broken=broken)
    above, beside = np.zeros(len(targets.values), np.int64), np.zeros(len(targets.values), np.int64)
    with pytest.MonkeyPatch.context() as patch:  # as plain Python, since the compiled loop has its constants built in
        patch.setattr(counting, "FEW", 0)
        counting._count_rows(
            0, len(scores), scores.numpy(), targets.offset, targets.values, known.offset, known.values, above, beside
        )
    assert (above.tolist(), beside.tolist()) == one_by_one(scores, targets, known)


@pytest.mark.parametrize("values", [2, 50, 10**6])
def test_more_targets_than_are_compared_one_by_one(values: int) -> None:
    random = np.random.default_rng(values)
    n = counting.SPAN + 1000
    scores = torch.from_numpy(random.integers(0, values, (3, n)).astype(np.float32))
    lists = [np.sort(random.choice(n, size, replace=False)) for size in (counting.FEW + 500, 0, counting.FEW - 5)]
    targets = Ragged.of(lists)
    known = Ragged.of([np.union1d(row[::2], np.arange(0, n, 7)) for row in lists])
    ours, theirs = counting.count(scores, targets, known), counting.count_by_torch(scores, targets, known)
    assert np.array_equal(ours[0], theirs[0])
    assert np.array_equal(ours[1], theirs[1])


@given(seed=st.integers(0, 10_000), threads=st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_shares_of_threads_do_not_matter(seed: int, threads: int) -> None:
    block = made_block(seed, n=20, values=4, dtype="float32")
    with ThreadPoolExecutor(threads) as pool:
        shared = counting.count(*block, pool, threads)
    alone = counting.count(*block)
    assert np.array_equal(shared[0], alone[0])
    assert np.array_equal(shared[1], alone[1])


def test_scores_of_low_precision_that_are_not_contiguous() -> None:
    scores, targets, known = made_block(5, n=30, values=9, dtype="float32")
    ours = counting.count(scores.bfloat16().T.contiguous().T, targets, known)
    assert (ours[0].tolist(), ours[1].tolist()) == one_by_one(scores, targets, known)


@pytest.fixture
def no_numba(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    counting.compiled.cache_clear()
    monkeypatch.setitem(sys.modules, "numba", None)
    yield
    counting.compiled.cache_clear()


def test_without_numba_it_is_torch(no_numba: None) -> None:
    assert counting.compiled() is None
    block = made_block(8, n=30, values=5, dtype="float64", broken=True)
    ours = counting.count(*block)
    assert (ours[0].tolist(), ours[1].tolist()) == one_by_one(*block)


# Products: blocks, threads and roads of whole numbers, which all roads must add up exactly.


def whole_numbers(kind: type[EmbeddingScorer], graph: KnowledgeGraph, seed: int) -> EmbeddingScorer:
    """A scorer whose scores are whole and tie often."""
    torch.manual_seed(seed)
    scorer = kind(graph.n, graph.r, width=8).eval()
    with torch.no_grad():
        for weights in scorer.parameters():
            weights.copy_(torch.randint(-2, 3, weights.shape))
    return scorer


class Plain:
    """A scorer of which no more is known than its scores."""

    slots = frozenset({Slot.SUBJECT, Slot.OBJECT})

    def __init__(self, scorer: EmbeddingScorer) -> None:
        self.scorer = scorer

    def scores(self, queries: QueryBatch) -> torch.Tensor:
        return self.scorer.scores(queries)


@pytest.mark.parametrize("kind", [ComplEx, TransE])
@pytest.mark.parametrize("double", [False, True])
def test_blocks_and_threads_do_not_matter(
    kind: type[EmbeddingScorer], double: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = made_graph(7, n=120, r=3, m=2500)
    scorer = whole_numbers(kind, graph, 3)
    if double:
        scorer.double()
    expected = rank(Plain(scorer), graph, Split.TEST)
    threads = torch.get_num_threads()
    try:
        for count, block_bytes, batch_size in ((1, 1 << 20, 512), (3, 1, 512), (2, 1 << 20, 7), (2, 1 << 14, 1)):
            torch.set_num_threads(count)
            monkeypatch.setattr(scoring_blocks, "BLOCK_BYTES", block_bytes)
            ranks = rank(scorer, graph, Split.TEST, batch_size=batch_size)
            assert np.array_equal(ranks.better, expected.better)
            assert np.array_equal(ranks.equal, expected.equal)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("making", [products.plain, products.packed, products.layered])
@pytest.mark.parametrize("biased", [False, True])
def test_every_road_gives_the_same_scores(making: products.Making, biased: bool) -> None:
    random = torch.Generator().manual_seed(0)
    candidates, queries = torch.randn(301, 24, generator=random), torch.randn(64, 24, generator=random)
    bias = torch.randn(301, generator=random) if biased else None
    try:
        road = making(candidates, bias, 64)
        road(queries[:1])
    except (AttributeError, RuntimeError) as reason:
        pytest.skip(f"this torch has no such road: {reason}")
    for part in (queries, queries[:5], queries[:1]):
        exact = part.double() @ candidates.double().T + (0.0 if bias is None else bias.double())
        torch.testing.assert_close(road(part).double(), exact, rtol=0, atol=1e-4)


def test_a_road_that_is_missing_or_wrong_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> products.Road:
        raise AttributeError("no such operator")

    def rounded(candidates: torch.Tensor, bias: torch.Tensor | None, rows: int) -> products.Road:
        return lambda queries: (queries.bfloat16() @ candidates.bfloat16().T).float()

    monkeypatch.setattr(products, "packed", missing)
    monkeypatch.setattr(products, "layered", rounded)
    assert products._choose(torch.randn(500, 200), None, 64) is products.plain


def test_a_scorer_with_scores_of_its_own_is_asked_for_them() -> None:
    class Reversed(ComplEx):
        def scores(self, queries: QueryBatch) -> torch.Tensor:
            return -super().scores(queries)

    graph = made_graph(11)
    scorer = whole_numbers(Reversed, graph, 1)
    assert np.array_equal(rank(scorer, graph, Split.TEST).better, rank(Plain(scorer), graph, Split.TEST).better)


def test_a_scorer_that_gives_no_numbers_is_at_chance() -> None:
    graph = made_graph(3)
    scorer = TableScorer(graph.n, graph.r, 0, 1)
    scorer.object[:], scorer.subject[:] = torch.nan, torch.nan
    assert np.array_equal(rank(scorer, graph, Split.TEST).ranks(), rank(scorer, graph, Split.TEST).candidates / 2 + 0.5)


def test_a_statement_that_the_graph_does_not_hold_is_no_rival_of_itself() -> None:
    graph = made_graph(4)
    scorer = TableScorer(graph.n, graph.r, 0, 1)
    facts = set(
        zip(*(getattr(graph.statements, part).tolist() for part in ("subject", "relation", "object")), strict=True)
    )
    new = next((0, 0, o) for o in range(graph.n) if (0, 0, o) not in facts)
    ranks = rank(scorer, graph, StatementTable.build(*([part] for part in new)))
    assert ranks.equal.tolist() == [
        graph.n - 1 - sum(fact[:2] == (0, 0) for fact in facts),
        graph.n - 1 - sum(fact[1:] == new[1:] for fact in facts),
    ]


def test_compiled_ranks_equal_torch_on_real_statements(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = datasets.load("codex-s")
    torch.manual_seed(0)
    scorer = ComplEx(graph.n, graph.r, width=16).double().eval()
    ranks = rank(scorer, graph, Split.VALID)
    monkeypatch.setattr(counting, "compiled", lambda: None)
    again = rank(Plain(scorer), graph, Split.VALID)
    assert np.array_equal(ranks.better, again.better)
    assert np.array_equal(ranks.equal, again.equal)
