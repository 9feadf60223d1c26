"""Explanations: paths and rules as a brute-force walk counts them, deletions as the vectors' own function has them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import networkx as nx
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from kgservice import pipeline
from kgservice.answers import Named
from kgservice.arrays.layers import Layers
from kgservice.cli import cli
from kgservice.engine import Engine
from kgservice.errors import InvalidQuestion
from kgservice.explain import Explanation, Link, deletion, paths, picture, rules, teaching
from kgservice.explain.adjacency import LEARNT, Adjacency
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split, StatementTable
from kgservice.graph.vocabulary import Vocabulary
from kgservice.query import QueryBatch, Slot
from kgservice.recipe import ModelSettings, Recipe
from kgservice.release import ReleaseStore
from kgservice.scorers import build
from kgservice.scorers.refining import guess_of, partition, refined, refined_rows
from kgservice.server.app import create_app
from kgservice.server.settings import ServerSettings
from kgservice.similarity import Metric

N, R = 7, 2
Triples = list[tuple[int, int, int]]
triples = st.lists(
    st.tuples(st.integers(0, N - 1), st.integers(0, R - 1), st.integers(0, N - 1)), min_size=1, max_size=25, unique=True
)


def graph_of(given: Triples, split: list[int] | None = None) -> KnowledgeGraph:
    s, r, o = np.array(given).T
    names = [Vocabulary.build([f"{letter}{place}" for place in range(count)]) for letter, count in (("e", N), ("r", R))]
    return KnowledgeGraph(*names, StatementTable.build(s, r, o, split=split))


def walks(given: Triples, subject: int, object: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Directed relations and nodes of all simple walks of at most three statements, by networkx."""
    graph = nx.MultiDiGraph()
    graph.add_nodes_from(range(N))
    for s, r, o in given:
        graph.add_edge(s, o, r)
        graph.add_edge(o, s, r + R)
    for path in nx.all_simple_edge_paths(graph, subject, object, cutoff=3):
        nodes = [subject, *(end for _, end, _ in path)]
        if len(set(nodes)) == len(nodes):
            yield tuple(key for _, _, key in path), tuple(nodes)


@given(given=triples, subject=st.integers(0, N - 1), object=st.integers(0, N - 1), relation=st.integers(0, R - 1))
@settings(max_examples=80, deadline=None)
def test_paths_are_all_simple_walks_but_the_statement_itself(
    given: Triples, subject: int, object: int, relation: int
) -> None:
    found = paths.between(Adjacency.of(graph_of(given)), subject, relation, object)
    expected = (
        sorted(body for body, _ in walks(given, subject, object) if body != (relation,)) if subject != object else []
    )
    assert sorted(tuple(step for step in body if step >= 0) for body in found.body.tolist()) == expected
    assert (np.diff(found.commonness) >= 0).all()


@given(given=triples, body=st.lists(st.integers(0, 2 * R - 1), min_size=1, max_size=3), relation=st.integers(0, R - 1))
@settings(max_examples=80, deadline=None)
def test_rules_are_counted_over_all_pairs(given: Triples, body: list[int], relation: int) -> None:
    counted = rules.count(Adjacency.of(graph_of(given)), relation, tuple(body))
    linked = {
        (s, o)
        for s, o in itertools.permutations(range(N), 2)
        if any(found == tuple(body) for found, _ in walks(given, s, o))
    }
    stated = {(s, o) for s, r, o in given if r == relation}
    assert counted.whole
    assert (counted.pairs, counted.support) == (len(linked), len(linked & stated))
    assert counted.open == sum(any(s == subject for subject, _ in stated) for s, _ in linked)
    assert counted.heads == len(stated)


def test_large_bodies_are_counted_over_a_sample_that_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    given = [(s, 0, o) for s in range(N) for o in range(N) if s != o]
    monkeypatch.setattr(rules, "WORK", 20)
    counted = rules.count(Adjacency.of(graph_of(given)), 0, (0, 0))
    assert not counted.whole
    assert 0 < counted.pairs == counted.support < N * (N - 1)


def test_what_is_held_out_is_no_evidence() -> None:
    given: Triples = [(0, 0, 1), (1, 0, 2), (0, 1, 2)]
    assert len(paths.between(Adjacency.of(graph_of(given)), 0, 1, 2)) == 1
    held_out = Adjacency.of(graph_of(given, [Split.TRAIN, Split.TEST, Split.TRAIN]))
    assert len(paths.between(held_out, 0, 1, 2)) == 0
    assert len(held_out.key) == 4


@given(seed=st.integers(0, 10_000), metric=st.sampled_from(["ip", "l2"]), facts=st.integers(1, 10))
@settings(max_examples=40, deadline=None)
def test_with_all_its_facts_an_entity_has_the_vector_it_has(seed: int, metric: Metric, facts: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    entities, queries = torch.randn(30, 5, generator=generator), torch.randn(facts, 5, generator=generator)
    own, rivals = torch.randn(5, generator=generator), partition(queries, entities, metric)
    guess = guess_of(own, queries, rivals, metric=metric, variance=1.0)
    again = refined(guess[None], torch.zeros(facts, dtype=torch.int64), queries, rivals, metric=metric, variance=1.0)
    torch.testing.assert_close(again[0], own, rtol=1e-3, atol=1e-3)
    # The vector without a fact answers it worse than the one that has it.
    others = torch.zeros(facts - 1, dtype=torch.int64)
    without = refined(guess[None], others, queries[1:], rivals[1:], metric=metric, variance=1.0)
    assert partition(queries[:1], without.float(), metric) <= partition(queries[:1], own[None], metric) + 1e-4


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Two relations that say the same of 40 pairs, but for the last one, of which only the first is stated."""
    home = tmp_path_factory.mktemp("twins")
    lines = ["@prefix ex: <https://example.org/> ."]
    for pair in range(40):
        lines.append(f"ex:a{pair} ex:worksFor ex:b{pair % 10} ; ex:likes ex:c{pair % 7} .")
        if pair < 39:
            lines.append(f"ex:a{pair} ex:paidBy ex:b{pair % 10} .")
    (home / "twins.ttl").write_text("\n".join(lines), encoding="utf-8")
    training = {"epochs": 60, "batch_size": 32, "learning_rate": 0.2, "evaluate_every": 30}
    tree = {
        "name": "twins",
        "graph": {"sources": ["twins.ttl"], "split": {"valid": 0.02, "test": 0.02}},
        "models": {"complex": {"scorer": "complex", "width": 32, "initial_scale": 0.1, "training": training}},
        "search": {"encoder": "none"},
    }
    recipe = Recipe.parse(tree)
    pipeline.build(recipe, home, base=home)
    return Engine.open(ReleaseStore(home / "releases").get())


def test_the_twin_relation_is_the_path_the_rule_and_what_the_score_rests_on(twins: Engine) -> None:
    statement = ("ex:a39", "ex:paidBy", "ex:b9")
    found = twins.explain([statement], k=5)[0]
    assert [step.link.relation.id for step in found.paths[0].steps] == ["ex:worksFor"]
    assert found.paths[0].rule == 0
    best = found.rules[0]
    assert best.text.endswith("⇒ ex:paidBy(x, y)")
    assert best.whole
    assert best.support >= 30
    assert best.confidence == best.support / best.pairs
    first = found.deletions[0]
    assert first.fact.relation.id == "ex:worksFor"
    assert first.fall > 0
    assert [one.fall for one in found.deletions] == sorted((one.fall for one in found.deletions), reverse=True)
    assert found.alike
    assert all(one.link.relation.id == "ex:paidBy" for one in found.alike)
    assert "worksFor" in found.sentence


ROWS = torch.randn(40, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_a_row_found_numerically_is_the_vector_found_by_newtons_method() -> None:
    own, queries = ROWS[0], ROWS[1:9]
    for metric in ("ip", "l2"):
        competition = partition(queries, ROWS[9:], metric)
        kept = ~torch.eye(8, dtype=torch.bool)
        guess = guess_of(own, queries, competition, metric=metric, variance=0.5)
        owner, fact = kept.nonzero(as_tuple=True)
        closed = refined(guess.expand(8, -1), owner, queries[fact], competition[fact], metric=metric, variance=0.5)
        how = {"metric": metric, "variance": 0.5}
        found = refined_rows(lambda rows: rows, own, kept, queries, competition, **how)
        assert torch.allclose(found, closed, atol=1e-4), metric
        assert not torch.allclose(found[0], own.float(), atol=1e-2)
        whole = refined_rows(lambda rows: rows, own, torch.ones(1, 8, dtype=torch.bool), queries, competition, **how)
        assert torch.allclose(whole[0], own.float(), atol=1e-5), metric  # with all facts it is what was learnt


@pytest.mark.parametrize("scorer", ["nfe1", "nfe2", "nfe3", "stare", "bi-encoder"])
def test_every_kind_of_model_tells_what_its_score_rests_on(twins: Engine, scorer: str) -> None:
    graph = twins.graph
    text = {"encoder": "none", "words": 8, "hidden": 8}
    chosen: dict[str, Any] = {"scorer": scorer, "width": 24, "initial_scale": 0.3}
    chosen |= {"text": text} if scorer == "bi-encoder" else {"transformer": {"heads": 2}} if scorer == "stare" else {}
    torch.manual_seed(0)
    chosen_settings = ModelSettings.model_validate(chosen)
    model = build(chosen_settings, n=graph.n, r=graph.r).eval()
    vectors = Layers.of(model.entity_vectors().detach())
    served = replace(twins.model("complex"), scorer=model, vectors=vectors, settings=chosen_settings)
    before = {name: one.clone() for name, one in model.state_dict().items()}
    subject, object = graph.entities.ids([f"https://example.org/{one}" for one in ("a3", "b3")])
    (relation,) = graph.relations.ids(["https://example.org/worksFor"])
    asked = QueryBatch(Slot.OBJECT, *(np.array([one], np.int32) for one in (subject, relation, object)))
    adjacency = Adjacency.of(graph)
    if deletion.testable(served):
        found = deletion.falls(served, adjacency, asked)
    else:
        assert teaching.testable(served)
        found = teaching.falls(served, graph, adjacency, asked)
        pupil = model.pupil(graph, LEARNT)
        rate = chosen_settings.training.learning_rate
        for row, fall in zip(found.row, found.fall, strict=True):  # the product of the two gradients, by its definition
            weights = list(pupil.parameters())
            up = torch.autograd.grad(teaching._score(pupil, asked), weights, allow_unused=True)
            down = torch.autograd.grad(
                teaching._losses(pupil, graph, np.array([row]), graph.n).sum(), weights, allow_unused=True
            )
            dot = sum(float((a * b).sum()) for a, b in zip(up, down, strict=True) if a is not None and b is not None)
            assert fall == pytest.approx(-rate * dot, rel=0.05, abs=1e-5 * rate)
    assert len(found.row) == len(found.of) >= 2
    assert np.isfinite(found.fall).all()
    assert found.fall.any()
    assert all(
        torch.equal(before[name], one) for name, one in model.state_dict().items()
    )  # what serves is left as it is


def test_no_statement_supports_itself(twins: Engine) -> None:
    stated = twins.explain([("ex:a3", "ex:worksFor", "ex:b3")])[0]
    for path in stated.paths:
        for step in path.steps:
            assert (step.link.subject.id, step.link.relation.id, step.link.object.id) != (
                "ex:a3", "ex:worksFor", "ex:b3",
            )  # fmt: skip
    for fact in stated.deletions:
        assert (fact.fact.subject.id, fact.fact.relation.id) != (
            "ex:a3",
            "ex:worksFor",
        )


def test_k_is_bounded(twins: Engine) -> None:
    with pytest.raises(InvalidQuestion, match=r"k must be in \[1, 50\], found 51"):
        twins.explain([("ex:a3", "ex:worksFor", "ex:b3")], k=51)


@pytest.fixture(scope="module")
def world(engine: Engine) -> Engine:
    return engine


@pytest.fixture(scope="module")
def client(world: Engine) -> Iterator[TestClient]:
    with TestClient(create_app(world, ServerSettings(max_explained=2))) as client:
        yield client


ASKED = {"subject": "world:France", "relation": "world:borders", "object": "world:Spain"}


def test_every_model_of_the_sample_explains(world: Engine) -> None:
    for name, model in world._models.items():
        found = world.explain([tuple(ASKED.values())], model=name)[0]  # type: ignore[list-item]
        assert found.verdict == world.classify([tuple(ASKED.values())], model=name)[0]  # type: ignore[list-item]
        assert found.tested > 0, name
        assert found.test == ("step" if model.scorer.inductive else "vector"), name
        assert found.paths


def test_rest_gives_json_and_a_picture(client: TestClient) -> None:
    one = client.get("/v1/explain", params={**ASKED, "k": 3})
    assert one.status_code == 200
    assert one.json()["verdict"]["subject"]["id"] == "world:France"
    again = client.get("/v1/explain", params={**ASKED, "k": 3}, headers={"If-None-Match": one.headers["ETag"]})
    assert again.status_code == 304
    bulk = client.post("/v1/explain", json={"statements": [ASKED, ASKED], "k": 3}).json()["explanations"]
    assert one.json() == client.post("/v1/explain", json={**ASKED, "k": 3}).json()
    for part in ("sentence", "paths", "rules", "tested"):
        assert bulk[0][part] == bulk[1][part] == one.json()[part]
    drawn = client.get("/v1/explain", params={**ASKED, "format": "svg"})
    assert drawn.headers["Content-Type"].startswith("image/svg+xml")
    assert "default-src 'none'" in drawn.headers["Content-Security-Policy"]
    assert ElementTree.fromstring(drawn.text).tag.endswith("svg")


def test_rest_says_what_is_wrong(client: TestClient) -> None:
    unknown = client.get("/v1/explain", params={**ASKED, "object": "world:Spian"})
    assert unknown.status_code == 404
    assert "world:Spain" in unknown.json()["closest"]
    many = client.post("/v1/explain", json={"statements": [ASKED] * 3})
    assert many.status_code == 422
    assert "may have 2 statements explained, this one has 3" in many.json()["detail"]
    assert client.get("/v1/explain", params={**ASKED, "format": "png"}).status_code == 422


def test_what_is_stored_is_drawn_as_text(world: Engine) -> None:
    """Markup in a label is shown, not obeyed; what XML forbids is left out."""
    found: Explanation = world.explain([tuple(ASKED.values())])[0]  # type: ignore[list-item]
    evil = Named("x:1", '<script>alert("1")</script>\x00\x08')
    drawn = picture(replace(found, verdict=replace(found.verdict, subject=evil), sentence="a < b & \x0b c"))
    tree = ElementTree.fromstring(drawn)
    assert not any(element.tag.endswith("script") for element in tree.iter())
    assert any("<script>" in (element.text or "") for element in tree.iter())
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")


def test_the_terminal_explains(world_home: Path, tmp_path: Path) -> None:
    runner = CliRunner(env={"KGSERVICE_HOME": str(world_home)})
    done = runner.invoke(cli, ["explain", *ASKED.values(), "-k", "2", "--svg", str(tmp_path / "why.svg")])
    assert done.exit_code == 0, done.output
    assert "France – shares a border with – Spain is" in done.output
    assert "rules:" in done.output
    assert "<svg" in (tmp_path / "why.svg").read_text(encoding="utf-8")


def test_links_are_told_by_their_labels() -> None:
    from kgservice.explain.sentence import told

    assert told(Link(Named("a", None), Named("r", "likes"), Named("b", "B"))) == "a – likes – B"
