"""Splits: deterministic, no triple in two of them, and what is held out is unseen only where it is meant to be."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from kgservice import datasets
from kgservice.cli import cli
from kgservice.errors import InputError
from kgservice.graph import KnowledgeGraph
from kgservice.graph.literals import XSD, Literal, Literals
from kgservice.graph.splits import inductive_split, random_split, statement_times, temporal_split
from kgservice.graph.statements import Split, StatementTable
from kgservice.graph.vocabulary import Vocabulary


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
    how = {"method": "random", "valid": 0.1, "test": 0.1, "seed": 3}
    assert {**first.provenance["split"], **how} == first.provenance["split"]


def test_context_stays():
    graph = graph_of(qualified=False)
    table = graph.statements
    split = np.where(np.arange(len(table)) % 10 == 0, Split.CONTEXT, Split.TRAIN)
    table = StatementTable.build(table.subject, table.relation, table.object, split=split)
    result = random_split(
        KnowledgeGraph(graph.entities, graph.relations, table), valid=0.1, test=0.1, seed=0
    ).statements
    assert np.array_equal(result.split == Split.CONTEXT, table.split == Split.CONTEXT)


def test_a_test_split_that_is_kept():
    graph = random_split(graph_of(), valid=0.0, test=0.1, seed=1)
    again = random_split(graph, valid=0.1, test=0.0, seed=2, keep_test=True)
    before, after = graph.statements.split, again.statements.split
    assert np.array_equal(before == Split.TEST, after == Split.TEST)
    assert (after == Split.VALID).any()
    with pytest.raises(InputError, match="test split is kept"):
        random_split(graph, valid=0.1, test=0.1, seed=2, keep_test=True)


def test_what_cannot_be_held_out_is_an_error():
    name = lambda count: Vocabulary.build([str(i) for i in range(count)])  # noqa: E731
    chain = KnowledgeGraph(name(9), name(1), StatementTable.build(range(8), [0] * 8, range(1, 9)))
    with pytest.raises(InputError, match=r"4 of 8 statements are to be held out, but .* only \d can be"):
        random_split(chain, valid=0.25, test=0.25, seed=0)
    with pytest.raises(InputError, match="must be shares in"):
        random_split(chain, valid=0.5, test=0.5, seed=0)


def splits_of_triples(table):
    found = {}
    for *triple, split in zip(table.subject, table.relation, table.object, table.split, strict=True):
        found.setdefault(tuple(triple), set()).add(Split(split))
    return found


def entities_of(table):
    values = table.qualifier_value
    return {*table.subject.tolist(), *table.object.tolist(), *values[values >= 0].tolist()}


def check_inductive(before, after, valid, test):
    """The laws of `inductive_split` without context."""
    table = after.statements
    assert all(len(parts) == 1 for parts in splits_of_triples(table).values())
    train, validation, tested = (table.in_split(part) for part in (Split.TRAIN, Split.VALID, Split.TEST))
    all_linked = {*before.statements.subject.tolist(), *before.statements.object.tolist()}
    linked = {*train.subject.tolist(), *train.object.tolist()}
    held_out = all_linked - linked
    assert len(held_out) == round(valid * len(all_linked)) + round(test * len(all_linked))
    assert not held_out & entities_of(train), "not even in a qualifier"
    test_entities = held_out - entities_of(validation)
    # A validation entity whose every statement holds a test entity too is among them.
    assert round(test * len(all_linked)) <= len(test_entities) <= 1.02 * test * len(all_linked) + 1
    valid_entities = held_out - test_entities
    assert set(table.relation.tolist()) == set(train.relation.tolist())
    # Every held-out triple has a held-out entity in one of its statements.
    for part, new in ((validation, valid_entities), (tested, test_entities)):
        touched = {}
        for row in range(len(part)):
            triple = (part.subject[row], part.relation[row], part.object[row])
            held = {triple[0], triple[2], *(value for _, value in part.qualifiers(row))}
            touched[triple] = touched.get(triple, False) or bool(held & new)
        assert all(touched.values())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_inductive_laws(seed):
    graph = graph_of(m=600, n=120, seed=seed)
    check_inductive(graph, inductive_split(graph, valid=0.05, test=0.1, seed=seed), 0.05, 0.1)


def test_inductive_on_wd50k(mirror):
    graph = datasets.load("wd50k-100")
    made = inductive_split(graph, valid=0.05, test=0.05, seed=0)
    check_inductive(graph, made, 0.05, 0.05)
    assert made.content_hash == inductive_split(graph, valid=0.05, test=0.05, seed=0).content_hash
    assert made.content_hash != inductive_split(graph, valid=0.05, test=0.05, seed=1).content_hash


def test_inductive_context_gives_facts_of_held_out_entities_and_no_reversed_answer():
    graph = graph_of(m=600, n=120, qualified=False)
    plain = inductive_split(graph, valid=0.05, test=0.05, seed=0).statements
    given = inductive_split(graph, valid=0.05, test=0.05, seed=0, context=0.4).statements
    assert np.array_equal(plain.split == Split.TRAIN, given.split == Split.TRAIN), "training is the same"
    context = given.in_split(Split.CONTEXT)
    assert 0.3 < len(context) / np.count_nonzero(plain.split != Split.TRAIN) < 0.5
    held_out = given.take((given.split == Split.VALID) | (given.split == Split.TEST))
    triples = set(zip(held_out.subject.tolist(), held_out.relation.tolist(), held_out.object.tolist(), strict=True))
    reversed = set(zip(context.object.tolist(), context.relation.tolist(), context.subject.tolist(), strict=True))
    assert not triples & reversed


def test_inductive_takes_back_whom_others_need():
    # A star: every leaf would be left alone if the centre went, and the relation has no statement without the centre.
    name = lambda count: Vocabulary.build([f"{i:02}" for i in range(count)])  # noqa: E731
    star = KnowledgeGraph(name(11), name(1), StatementTable.build([0] * 10, [0] * 10, range(1, 11)))
    for seed in range(5):
        table = inductive_split(star, valid=0.0, test=0.4, seed=seed).statements
        assert np.bincount(table.split, minlength=3).tolist() == [6, 0, 4]
    chain = KnowledgeGraph(name(9), name(1), StatementTable.build(range(8), [0] * 8, range(1, 9)))
    with pytest.raises(InputError, match=r"8 of 9 entities are to be held out, but .* only \d were found"):
        inductive_split(chain, valid=0.45, test=0.45, seed=0)


def dated_graph():
    """Eight statements: untimed, timed by relation 1 or 2, and one triple with two times."""
    dates = [Literal(f"{year}-01-01", XSD + "date") for year in range(2010, 2020)]
    vocabulary = Vocabulary.build(map(str, dates))
    year = {2010 + i: -1 - vocabulary.id(str(date)) for i, date in enumerate(dates)}
    rows = [
        (0, 1, []),
        (1, 2, [(1, year[2010])]),
        (2, 3, [(1, year[2012]), (2, year[2019])]),  # relation 1 is preferred
        (3, 4, [(2, year[2015])]),
        (4, 5, [(1, year[2016]), (1, year[2018])]),  # the earliest
        (5, 6, [(1, year[2011])]),
        (5, 6, [(1, year[2018])]),  # the same triple, later
        (6, 7, [(3, year[2019])]),  # no relation of times
    ]
    pairs = [pair for *_, qualifiers in rows for pair in qualifiers]
    table = StatementTable.build(
        [row[0] for row in rows],
        [0] * len(rows),
        [row[1] for row in rows],
        qualifier_offset=np.cumsum([0, *(len(row[2]) for row in rows)]),
        qualifier_relation=[pair[0] for pair in pairs],
        qualifier_value=[pair[1] for pair in pairs],
    )
    names = [Vocabulary.build([f"{letter}{i}" for i in range(8)]) for letter in "er"]
    return KnowledgeGraph(*names, table, literals=Literals.build(vocabulary, StatementTable.empty()))


def by_subject(graph):
    return {
        int(s): Split(split).name for s, split in zip(graph.statements.subject, graph.statements.split, strict=True)
    }


def test_temporal_by_dates():
    graph = dated_graph()
    times = statement_times(graph, [1, 2])
    assert np.array_equal(times, [np.nan, 2010, 2012, 2015, 2016, 2018, 2011, np.nan], equal_nan=True)
    made = temporal_split(graph, [1, 2], valid_from=2015.0, test_from=2018.0)
    expected = {0: "TRAIN", 1: "TRAIN", 2: "TRAIN", 3: "VALID", 4: "VALID", 5: "TEST", 6: "TRAIN"}
    assert by_subject(made) == expected
    assert np.array_equal(made.statements.split[5:7], [Split.TEST] * 2), "one triple, one split, by the latest time"
    how = made.provenance["split"]
    assert how["by"] == ["r1", "r2"]
    assert (how["valid_from"], how["test_from"], how["without_time"]) == (2015.0, 2018.0, 2)
    assert how["reached"] == {"train": 4, "valid": 2, "test": 2}
    swapped = temporal_split(graph, [2, 1], valid_from=2015.0, test_from=2019.0)
    assert by_subject(swapped)[2] == "TEST"


def test_temporal_by_shares_cuts_between_times():
    made = temporal_split(dated_graph(), [1, 2], valid=0.125, test=0.25)
    assert made.provenance["split"]["asked"] == {"valid": 1, "test": 2}
    assert made.provenance["split"]["reached"] == {"train": 5, "valid": 1, "test": 2}
    assert made.provenance["split"]["test_from"] == 2018.0
    none = temporal_split(dated_graph(), [1, 2], valid=0.0, test=0.0)
    assert none.provenance["split"]["reached"] == {"train": 8}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give shares .* or dates"),
        ({"valid": 0.1, "test_from": 2015.0}, "not both"),
        ({"valid_from": 2016.0, "test_from": 2015.0}, "must come before"),
        ({"by": [], "test": 0.1}, "the graph has no relation of times. Qualifiers with numbers or dates: r1, r2, r3"),
        ({"by": [4], "test": 0.1}, "no statement has a time by r4. Qualifiers with numbers or dates: r1, r2, r3"),
    ],
)
def test_temporal_errors(settings, message):
    with pytest.raises(InputError, match=message):
        temporal_split(dated_graph(), **{"by": [1, 2], **settings})


def test_no_triple_in_two_splits_of_jf17k(mirror):
    graph = datasets.load("jf17k")
    assert any(len(parts) > 1 for parts in splits_of_triples(graph.statements).values())
    made = random_split(graph, valid=0.05, test=0.05, seed=0)
    assert all(len(parts) == 1 for parts in splits_of_triples(made.statements).values())


def run(*words):
    return CliRunner().invoke(cli, [str(word) for word in words])


def test_command(tmp_path):
    dated_graph().save(tmp_path / "g")
    options = ["--method", "temporal", "--by", "r1,r2", "--valid-from", "2015", "--test-from", "2018-01-01"]
    result = run("split", tmp_path / "g", "--out", tmp_path / "h", *options)
    assert result.exit_code == 0, result.output
    assert "by r1, r2: valid from 2015.00, test from 2018.00; 2 statements without a time" in result.output
    assert by_subject(KnowledgeGraph.open(tmp_path / "h"))[5] == "TEST"
    assert json.loads((tmp_path / "h" / "graph.json").read_text())["provenance"]["split"]["method"] == "temporal"

    graph_of().save(tmp_path / "g")
    for method in ("random", "inductive"):
        result = run("split", tmp_path / "g", "--out", tmp_path / "h", "--method", method, "--test", 0.1)
        assert result.exit_code == 0, result.output
        made = KnowledgeGraph.open(tmp_path / "h")
        assert f"{made.counts()['test']:,}" in result.output
    assert "6 entities held out" in result.output


def test_command_errors(tmp_path):
    dated_graph().save(tmp_path / "g")
    out = ["--out", tmp_path / "h"]
    assert "is not a date" in run("split", tmp_path / "g", *out, "--method", "temporal", "--test-from", "soon").output
    assert "are for --method temporal" in run("split", tmp_path / "g", *out, "--test-from", "2015").output
    assert "is for --method inductive" in run("split", tmp_path / "g", *out, "--context", 0.5).output
    assert "Closest: 'r1'" in str(run("split", tmp_path / "g", *out, "--method", "temporal", "--by", "rr1").exception)
    assert "Did you mean codex-s" in str(run("split", "codx-s", *out).exception)
    assert not (tmp_path / "h").exists()
