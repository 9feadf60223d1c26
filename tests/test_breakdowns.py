"""Intervals, baselines and parts of a figure, against counts by hand, brute force and the audit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kgservice import datasets
from kgservice.audit import audit
from kgservice.evaluation.baselines import MostFrequent, random_figures
from kgservice.evaluation.breakdowns import (
    UNTRAINED,
    answer_frequencies,
    breakdowns,
    frequency,
    frequency_names,
    leaks,
    relation_classes,
    uncertainty,
)
from kgservice.evaluation.intervals import bootstrap, clusters
from kgservice.evaluation.ranking import HITS, Ranks, rank
from kgservice.graph import KnowledgeGraph
from kgservice.graph.splits import random_split
from kgservice.graph.statements import Split, StatementTable
from kgservice.graph.vocabulary import Vocabulary
from kgservice.query import QueryBatch
from kgservice.recipe import Recipe
from kgservice.release.card import model_card
from kgservice.scorers.base import Scorer

RESULTS = Path(__file__).parent / "bench" / "results"


def graph_of(*statements: tuple[int, int, int, int], n: int, r: int) -> KnowledgeGraph:
    subject, relation, object, split = zip(*statements, strict=True)
    table = StatementTable.build(subject, relation, object, split=split)
    names = Vocabulary.build(f"e{i:02d}" for i in range(n)), Vocabulary.build(f"r{i}" for i in range(r))
    return KnowledgeGraph(*names, table)


@pytest.fixture(scope="module")
def world() -> KnowledgeGraph:
    return random_split(datasets.load("world"), valid=0.1, test=0.1, seed=0)


def test_an_interval_is_that_of_the_mean() -> None:
    values = np.random.default_rng(1).random((4000, 2))
    (low, high), _ = bounds = bootstrap(values, np.arange(4000))
    expected = 1.96 * values[:, 0].std() / np.sqrt(4000)
    assert low < values[:, 0].mean() < high
    assert (high - low) / 2 == pytest.approx(expected, rel=0.1)
    assert np.array_equal(bootstrap(values, np.arange(4000)), bounds), "seeded"
    assert not np.array_equal(bootstrap(values, np.arange(4000), seed=1), bounds)


def test_both_sides_of_a_statement_move_together() -> None:
    values = np.random.default_rng(2).random((2000, 1))
    twice = np.concatenate([values, values])

    def width(cluster: np.ndarray) -> float:
        low, high = bootstrap(twice, cluster)[0]
        return float(high - low)

    # The same rank from both sides tells no more than one of them; taken for independent, it would seem to.
    alone = bootstrap(values, np.arange(2000))[0]
    assert width(np.tile(np.arange(2000), 2)) == pytest.approx(alone[1] - alone[0])
    assert width(np.arange(4000)) == pytest.approx((alone[1] - alone[0]) / np.sqrt(2), rel=0.1)


def test_resamples_in_chunks_are_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).random((500, 1))
    whole = bootstrap(values, np.arange(500))
    monkeypatch.setattr("kgservice.evaluation.intervals._CELLS", 1700)
    assert bootstrap(values, np.arange(500)) == pytest.approx(whole, abs=3e-3)


def test_clusters_number_equal_rows() -> None:
    found = clusters(np.array([3, 1, 3, 1]), np.array([0, 5, 0, 6]))
    assert found[0] == found[2]
    assert sorted(set(found.tolist())) == [0, 1, 2]
    assert len(clusters(np.empty(0, np.int32))) == 0


def ranks_of(graph: KnowledgeGraph, candidates: list[int]) -> Ranks:
    t = len(candidates)
    zero = np.zeros(t, np.int64)
    ids = np.zeros(t, np.int32)
    return Ranks(np.full(t, "tail"), ids, ids, ids, zero, zero, np.array(candidates), np.zeros(t, bool))


def test_guessing_is_the_mean_over_all_ranks(world: KnowledgeGraph) -> None:
    candidates = [1, 2, 7, 250]
    figures = random_figures(ranks_of(world, candidates))
    every = [np.arange(1, c + 1) for c in candidates]
    assert figures["mrr"] == pytest.approx(np.mean([(1 / ranks).mean() for ranks in every]))
    assert figures["mean_rank"] == pytest.approx(np.mean([ranks.mean() for ranks in every]))
    for k in HITS:
        assert figures[f"hits@{k}"] == pytest.approx(np.mean([(ranks <= k).mean() for ranks in every]))


def test_the_most_frequent_answer_by_hand() -> None:
    # e3 answers r0 twice, e4 once; of r1 nothing is known. Five entities.
    train = [(0, 0, 3, 0), (1, 0, 3, 0), (2, 0, 4, 0)]
    graph = graph_of(*train, (0, 0, 4, 2), (3, 1, 0, 2), n=5, r=2)
    scorer = MostFrequent(graph)
    assert isinstance(scorer, Scorer)
    assert scorer.scores(QueryBatch.objects([0, 1, 0], [0, 1, 0])).tolist() == [
        [0, 0, 0, 2, 1],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 2, 1],
    ]
    assert scorer.scores(QueryBatch.subjects([0], [3])).tolist() == [[1, 1, 1, 0, 0]]
    ranks = rank(scorer, graph, Split.TEST)
    told = dict(
        zip(zip(ranks.side.tolist(), ranks.relation.tolist(), strict=True), ranks.ranks().tolist(), strict=True)
    )
    # (e0, r0, ?): e3 is known and left out, so that e4 is first. (?, r0, e4): e2 is known; e0, the answer, ties with e1.
    assert told == {("tail", 0): 1.0, ("head", 0): 1.5, ("tail", 1): 3.0, ("head", 1): 3.0}


def test_what_leaks_by_hand() -> None:
    train = [(0, 0, 1, 0), (2, 0, 3, 0), (4, 1, 5, 0)]
    held_out = [(1, 0, 0, 2), (2, 1, 3, 2), (5, 0, 4, 2), (0, 0, 5, 2)]
    graph = graph_of(*train, *held_out, n=6, r=2)
    ranks = rank(MostFrequent(graph), graph, Split.TEST)
    found = leaks(ranks, graph)
    tails = ranks.side == "tail"

    def subjects(mask: np.ndarray) -> list[int]:
        return ranks.subject[mask & tails].tolist()

    assert subjects(found["pair"]) == [1, 2, 5]
    assert subjects(found["symmetric"]) == [1]
    assert subjects(found["triple"]) == []
    assert subjects(found["relation"]) == [], "three pairs are too few to call two relations inverse"
    assert np.array_equal(found["pair"][tails], found["pair"][~tails])


def test_leaks_are_those_of_the_audit(world: KnowledgeGraph) -> None:
    agrees(world)


@pytest.mark.parametrize("name", ["kinship", "umls", "nations"])
def test_leaks_of_benchmarks_are_those_of_the_audit(name: str, mirror: Path) -> None:
    agrees(datasets.load(name))


def agrees(graph: KnowledgeGraph) -> None:
    test = graph.statements.in_split(Split.TEST)
    sides = np.full(len(test), "tail")
    zero = np.zeros(len(test), np.int64)
    ranks = Ranks(sides, test.subject, test.relation, test.object, zero, zero, zero + 1, np.zeros(len(test), bool))
    found = leaks(ranks, graph)
    measured = audit(graph).leakage[-1]
    assert measured.split == "test"
    assert found["pair"].sum() == measured.linked
    assert found["symmetric"].sum() == measured.symmetric
    assert found["triple"].sum() == measured.direct
    assert max(measured.inverse, measured.duplicate) <= found["relation"].sum() <= measured.inverse + measured.duplicate


def test_classes_are_of_training_alone() -> None:
    one = [(0, 0, 1, 0), (2, 0, 3, 0)]
    to_many = [(0, 1, 1, 0), (0, 1, 2, 0), (3, 1, 4, 0), (3, 1, 5, 0)]
    many_to = [(1, 2, 0, 0), (2, 2, 0, 0)]
    many = [(s, 3, o, 0) for s in (0, 1) for o in (2, 3)]
    held_out = [(0, r, 5, 2) for r in range(5)]  # would make relation 0 one of many tails
    graph = graph_of(*one, *to_many, *many_to, *many, *held_out, n=6, r=5)
    ranks = rank(MostFrequent(graph), graph, Split.TEST)
    found = {name: np.unique(ranks.relation[mask]).tolist() for name, mask in relation_classes(ranks, graph).items()}
    assert found == {"1-1": [0], "1-N": [1], "N-1": [2], "N-N": [3], UNTRAINED: [4]}


def test_frequencies_part_the_rows(world: KnowledgeGraph) -> None:
    ranks = rank(MostFrequent(world), world, Split.TEST)
    parts = answer_frequencies(ranks, world)
    assert list(parts) == ["0", "1–3", "4–10", "11–30", "31–100", "101+"]
    assert (sum(mask.astype(int) for mask in parts.values()) == 1).all()
    count = frequency(world)
    answer = np.where(ranks.side == "tail", ranks.object, ranks.subject)
    assert set(count[answer[parts["4–10"]]]) <= set(range(4, 11))
    assert (count[answer[parts["101+"]]] > 100).all()


def test_every_part_has_an_interval_and_baselines(world: KnowledgeGraph) -> None:
    ranks = rank(MostFrequent(world), world, Split.TEST)
    found = breakdowns(ranks, world, Split.TEST)
    json.dumps(found, allow_nan=False)
    assert found["baselines"]["most_frequent"] == ranks.figures()
    for kind in ("by_class", "by_frequency", "by_relation"):
        parts = [part.get("both", part) for part in found[kind].values()]
        assert sum(part["count"] for part in parts) == len(ranks)
        for part in parts:
            if part["count"]:
                low, high = part["mrr_interval"]
                assert low <= part["mrr"] + 1e-12
                assert part["mrr"] <= high + 1e-12
                assert part["baseline_mrr"]["most_frequent"] == pytest.approx(part["mrr"])
                assert part["baseline_mrr"]["random"] > 0
    pair = found["leakage"]["pair"]
    assert pair["of"] == len(world.statements.in_split(Split.TEST))
    assert pair["leaking"]["count"] + pair["without"]["count"] == len(ranks)
    mean = sum(pair[part]["count"] * pair[part].get("mrr", 0) for part in ("leaking", "without")) / len(ranks)
    assert mean == pytest.approx(ranks.figures()["mrr"])
    low, high = ranks.report(world)["intervals"]["mrr"]
    assert low < ranks.figures()["mrr"] < high


def test_without_a_test_split_there_are_no_parts() -> None:
    graph = graph_of((0, 0, 1, 0), n=2, r=1)
    ranks = rank(MostFrequent(graph), graph, Split.TEST)
    found = breakdowns(ranks, graph, Split.TEST)
    json.dumps(found, allow_nan=False)
    assert found["baselines"]["random"] == {"count": 0}
    assert ranks.intervals() == {}


class Spread:
    def __init__(self, values: np.ndarray | None) -> None:
        self.values = values

    def spread(self) -> torch.Tensor | None:
        return None if self.values is None else torch.from_numpy(np.asarray(self.values, np.float32))


def test_whether_spread_follows_rarity(world: KnowledgeGraph) -> None:
    count = frequency(world)
    falling = uncertainty(Spread(1 / (1 + count)), world)
    rising = uncertainty(Spread(count), world)
    assert falling is not None
    assert rising is not None
    assert falling["spearman"] == pytest.approx(-1)
    assert rising["spearman"] == pytest.approx(1)
    assert falling["entities"] == np.count_nonzero(world.seen)
    means = [part["mean"] for part in falling["by_frequency"].values()]
    assert means == sorted(means, reverse=True)
    assert sum(part["count"] for part in falling["by_frequency"].values()) == world.n
    assert set(falling["by_frequency"]) <= set(frequency_names())


def test_no_spread_no_uncertainty(world: KnowledgeGraph) -> None:
    assert uncertainty(Spread(None), world) is None
    same = uncertainty(Spread(np.ones(world.n)), world)
    assert same is not None
    assert same["spearman"] is None


def test_a_card_of_former_results() -> None:
    record = json.loads((RESULTS / "complex-codex-s.adagrad.json").read_text(encoding="utf-8"))
    runs = record["models"]["complex"]
    for run in runs:
        for key in ("intervals", "baselines", "leakage", "by_class", "by_frequency"):
            run["test"].pop(key, None)
        run.pop("uncertainty", None)
    card = model_card(Recipe.parse(record["recipe"]), "complex", runs)
    assert "| test | 0.46" in card
    for words in ("interval", "most frequent", "### "):
        assert words not in card


def test_a_card_tells_all_parts(world: KnowledgeGraph) -> None:
    record = json.loads((RESULTS / "complex-codex-s.adagrad.json").read_text(encoding="utf-8"))
    run = record["models"]["complex"][0]
    ranks = rank(MostFrequent(world), world, Split.TEST)
    run["test"] = {**ranks.report(world), **breakdowns(ranks, world, Split.TEST)}
    run["uncertainty"] = uncertainty(Spread(1 / (1 + frequency(world))), world)
    card = model_card(Recipe.parse(record["recipe"]), "complex", [run])
    mrr = f"{ranks.figures()['mrr']:.4f}"
    assert f"| test, most frequent answer | {mrr} |" in card
    low, high = ranks.intervals()["mrr"]
    assert f"MRR {low:.4f}–{high:.4f}" in card
    for words in ("guessing", "### What training gives away", "### By relation class", "| N-1 |", "### By frequency"):
        assert words in card
    assert "frequency: -1.0000 over" in card
    nan = card.lower().replace("nancy", "")
    assert "| nan" not in nan
