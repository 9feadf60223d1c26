"""Training that starts from a former model, by names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from kgservice import datasets, scorers
from kgservice.cli import cli
from kgservice.errors import RecipeError
from kgservice.evaluation.ranking import rank
from kgservice.graph import KnowledgeGraph
from kgservice.graph.splits import random_split
from kgservice.graph.statements import Split, StatementTable
from kgservice.graph.vocabulary import Vocabulary
from kgservice.recipe import ModelSettings
from kgservice.release import ReleaseStore
from kgservice.scorers.base import VectorScorer
from kgservice.training.loop import fit
from kgservice.training.warm import WarmStart, warm_start
from tests.conftest import family_recipe
from tests.test_training import ring, settings


def named_graph(entities: list[str], relations: list[str]) -> KnowledgeGraph:
    statements = StatementTable.build([0, 1], [0, len(relations) - 1], [1, 0])
    return KnowledgeGraph(Vocabulary.build(entities), Vocabulary.build(relations), statements)


def fresh(graph: KnowledgeGraph, **change: object) -> VectorScorer:
    chosen = settings().model_copy(update={"width": 4, **change})
    return scorers.build(chosen, n=graph.n, r=graph.r)


@pytest.mark.parametrize("reciprocal", [True, False])
def test_rows_follow_their_names(reciprocal: bool) -> None:
    """New names sort between the old ones, one old name is gone; inverse halves shift with the number of relations."""
    before, now = named_graph(["b", "d", "f"], ["p", "r"]), named_graph(["a", "b", "c", "f"], ["o", "p", "q", "r"])
    former, scorer = fresh(before, reciprocal=reciprocal), fresh(now, reciprocal=reciprocal)
    with torch.no_grad():
        former.entity.copy_(torch.arange(3.0)[:, None].expand(3, 4))  # type: ignore[operator]
        former.relation.copy_(100 + torch.arange(float(len(former.relation)))[:, None].expand(-1, 4))  # type: ignore
    own = {name: value.clone() for name, value in scorer.state_dict().items()}
    counts = warm_start(scorer, former.state_dict(), before.entities, before.relations, now)
    assert counts == WarmStart(entities_kept=2, entities_new=2, relations_kept=2, relations_new=2)
    entity, relation = scorer.state_dict()["entity"], scorer.state_dict()["relation"]
    assert entity[[1, 3], 0].tolist() == [0, 2]
    assert torch.equal(entity[[0, 2]], own["entity"][[0, 2]])
    known, unknown = ([1, 3, 5, 7], [0, 2, 4, 6]) if reciprocal else ([1, 3], [0, 2])
    assert relation[known, 0].tolist() == [100, 101, 102, 103][: len(known)]
    assert torch.equal(relation[unknown], own["relation"][unknown])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"width": 8},
            "the former model keeps 4 reals per row of entity, this one 8 reals: give the model the former width",
        ),
        ({"scorer": "rescal"}, "keeps 4 reals per row of relation, this one 16 reals"),
        ({"reciprocal": False}, "keeps 4 rows for 2 relations, this one 1 per relation: set reciprocal = true"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    graph = ring()
    with pytest.raises(RecipeError, match=message):
        warm_start(fresh(graph, **change), fresh(graph).state_dict(), graph.entities, graph.relations, graph)


def smaller(graph: KnowledgeGraph, share: float) -> KnowledgeGraph:
    """What is left when a share of the entities and of the statements is not known yet; ids are other ones."""
    random = np.random.default_rng(0)
    kept = random.random(graph.n) >= share
    table = graph.statements
    held = kept[table.subject] & kept[table.object] & (random.random(len(table)) >= share)
    number = np.cumsum(kept) - 1
    columns = number[table.subject[held]], table.relation[held], number[table.object[held]]
    statements = StatementTable.build(*columns, split=table.split[held])
    return KnowledgeGraph(Vocabulary.build(graph.entities.names_of(np.flatnonzero(kept))), graph.relations, statements)


def test_a_grown_graph_is_learnt_faster_from_a_former_model() -> None:
    """The sample graph, 5 % smaller before: two epochs from the former model against two from nothing."""
    graph = random_split(datasets.load("world"), valid=0.05, test=0.05, seed=0)
    before = smaller(graph, 0.05)
    training = {
        "epochs": 2,
        "batch_size": 2048,
        "optimizer": "adam",
        "learning_rate": 0.005,
        "n3": 0.01,
        "device": "cpu",
    }
    chosen = ModelSettings.model_validate({"width": 16, "initial_scale": 0.05, "training": training})
    former = scorers.build(chosen, n=before.n, r=before.r)
    fit(former, before, chosen.training.model_copy(update={"epochs": 4}))
    reached = {}
    for start in ("cold", "warm"):
        scorer = scorers.build(chosen, n=graph.n, r=graph.r)
        if start == "warm":
            warm_start(scorer, former.state_dict(), before.entities, before.relations, graph)
        fit(scorer, graph, chosen.training)
        reached[start] = rank(scorer, graph, Split.VALID).figures()["mrr"]
    assert reached["warm"] > 1.1 * reached["cold"], reached


def test_a_release_is_built_from_a_former_one(
    tmp_path: Path, family_ttl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line: from a release whose graph is smaller; the checkpoint belongs to that release alone."""
    monkeypatch.setenv("KGSERVICE_HOME", str(tmp_path / "home"))
    text = family_ttl.read_text(encoding="utf-8")
    (tmp_path / "family.ttl").write_text(text, encoding="utf-8")
    (tmp_path / "family.toml").write_text(family_recipe().to_toml(), encoding="utf-8")
    run = CliRunner().invoke
    assert run(cli, ["build", str(tmp_path / "family.toml")], catch_exceptions=False).exit_code == 0
    store = ReleaseStore(tmp_path / "home" / "releases")
    former = store.get()
    more = "\n".join(f"ex:cousin{i} ex:livesIn ex:town{i % 3} ; ex:spouse ex:child{i} ." for i in range(6))
    (tmp_path / "family.ttl").write_text(f"{text}\n{more}\n", encoding="utf-8")
    brief = ["--set", "models.complex.training.epochs=1"]
    for start in (["--from", former.id], []):
        done = run(cli, ["build", str(tmp_path / "family.toml"), *brief, *start], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        release = store.get()
        trained = json.loads((release.model_folder("complex") / "metrics.json").read_text())["training"]
        assert ("warm_start" in trained) == bool(start)
        if start:
            assert trained["warm_start"] == {
                "release": former.id,
                "entities_kept": former.graph.n,
                "entities_new": 6,
                "relations_kept": former.graph.r,
                "relations_new": 0,
            }
    checkpoints = list((tmp_path / "home" / "builds").glob("family-complex-*.safetensors"))
    assert len(checkpoints) == 3
    wrong = [*brief, "--set", "models.complex.scorer=distmult"]
    with pytest.raises(RecipeError, match="it was 'complex': a training starts from the same kind of scorer"):
        run(cli, ["train", str(tmp_path / "family.toml"), *wrong, "--from", former.id], catch_exceptions=False)
