"""Random splits: deterministic, without leakage, and nothing held out that training has never seen."""

import numpy as np
import pytest

from kgservice.errors import InputError
from kgservice.graph import KnowledgeGraph
from kgservice.splits import random_split
from kgservice.statements import Split, StatementTable
from kgservice.vocabulary import Vocabulary


def graph_of(m=2000, n=60, r=5, seed=0, qualified=True):
    rng = np.random.default_rng(seed)
    subject, relation, object = rng.integers(0, n, m), rng.integers(0, r, m), rng.integers(0, n, m)
    counts = rng.integers(0, 2, m) if qualified else np.zeros(m, int)
    table = StatementTable.build(
        np.concatenate([subject, object[: m // 4]]),
        np.concatenate([relation, relation[: m // 4]]),
        np.concatenate([object, subject[: m // 4]]),
        qualifier_offset=np.concatenate([[0], np.cumsum(counts), np.full(m // 4, counts.sum())]),
        qualifier_relation=np.zeros(counts.sum(), int),
        qualifier_value=rng.integers(0, n, counts.sum()),
    )
    name = lambda count: Vocabulary.build([f"{i:03}" for i in range(count)])  # noqa: E731
    return KnowledgeGraph(name(n), name(r), table)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_laws(seed):
    graph = random_split(graph_of(), valid=0.1, test=0.2, seed=seed)
    table = graph.statements
    m = len(table)
    counts = np.bincount(table.split, minlength=4)
    assert abs(counts[Split.VALID] - 0.1 * m) <= 8
    assert abs(counts[Split.TEST] - 0.2 * m) <= 8
    split_of = {}
    for s, r, o, split in zip(table.subject, table.relation, table.object, table.split, strict=True):
        assert split_of.setdefault((min(s, o), r, max(s, o)), split) == split
    train = table.in_split(Split.TRAIN)
    held_out = table.take(table.split != Split.TRAIN)
    assert set(held_out.relation) <= set(train.relation)
    assert {*held_out.subject, *held_out.object} <= {*train.subject, *train.object}


def test_deterministic_and_content_alone_decides():
    first = random_split(graph_of(), valid=0.1, test=0.1, seed=3)
    again = random_split(first, valid=0.1, test=0.1, seed=3)
    other = random_split(graph_of(), valid=0.1, test=0.1, seed=4)
    assert first.content_hash == again.content_hash != other.content_hash
    assert first.provenance["split"] == {"method": "random", "valid": 0.1, "test": 0.1, "seed": 3}


def test_context_stays():
    graph = graph_of(qualified=False)
    table = graph.statements
    split = np.where(np.arange(len(table)) % 10 == 0, Split.CONTEXT, Split.TRAIN)
    table = StatementTable.build(table.subject, table.relation, table.object, split=split)
    result = random_split(
        KnowledgeGraph(graph.entities, graph.relations, table), valid=0.1, test=0.1, seed=0
    ).statements
    assert np.array_equal(result.split == Split.CONTEXT, table.split == Split.CONTEXT)


def test_what_cannot_be_held_out_is_an_error():
    name = lambda count: Vocabulary.build([str(i) for i in range(count)])  # noqa: E731
    chain = KnowledgeGraph(name(9), name(1), StatementTable.build(range(8), [0] * 8, range(1, 9)))
    with pytest.raises(InputError, match=r"4 of 8 statements are to be held out, but .* only \d can be"):
        random_split(chain, valid=0.25, test=0.25, seed=0)
    with pytest.raises(InputError, match="must be shares in"):
        random_split(chain, valid=0.5, test=0.5, seed=0)
