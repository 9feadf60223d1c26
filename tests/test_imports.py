"""Embeddings trained elsewhere: every layout gives the scores of the formula it was trained with."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from kgservice import imports, pipeline
from kgservice.answers import Question
from kgservice.engine import Engine
from kgservice.errors import DataError, RecipeError
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import StatementTable
from kgservice.graph.vocabulary import Vocabulary
from kgservice.query import QueryBatch
from kgservice.recipe import ModelSettings, Recipe

ENTITIES, RELATIONS = ["d", "a", "e", "c", "b"], ["works", "knows", "born"]  # the order of the files, not of the graph
D = 3
Formula = Callable[[Tensor, Tensor, Tensor], Tensor]


@pytest.fixture
def graph() -> KnowledgeGraph:
    table = StatementTable.build(subject=[0, 1, 2, 3], relation=[0, 1, 2, 0], object=[1, 2, 3, 4])
    return KnowledgeGraph(Vocabulary.build(ENTITIES), Vocabulary.build(RELATIONS), table)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scores_equal(
    scorer: object,
    graph: KnowledgeGraph,
    formula: Callable[[int, int, int], float],
    inverse: Callable[[int, int, int], float],
) -> None:
    """Compare every triple, both ways, with a formula over row numbers of the files."""
    for r, relation in enumerate(RELATIONS):
        for a, anchor in enumerate(ENTITIES):
            ids = [graph.entities.id(name) for name in ENTITIES]
            objects = scorer.scores(QueryBatch.objects([graph.entities.id(anchor)], [graph.relations.id(relation)]))  # type: ignore[attr-defined]
            subjects = scorer.scores(QueryBatch.subjects([graph.relations.id(relation)], [graph.entities.id(anchor)]))  # type: ignore[attr-defined]
            expected = [formula(a, r, t) for t in range(len(ENTITIES))]
            assert objects[0, ids].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)
            expected = [inverse(s, r, a) for s in range(len(ENTITIES))]
            assert subjects[0, ids].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def write_names(folder: Path, entities: str = "entities.txt", relations: str = "relations.txt") -> None:
    for name, names in ((entities, ENTITIES), (relations, RELATIONS)):
        (folder / name).write_text("\n".join(names) + "\n", encoding="utf-8")


def write_del(folder: Path) -> None:
    for name, names in (("entity_ids.del", ENTITIES), ("relation_ids.del", RELATIONS)):
        (folder / name).write_text("".join(f"{id}\t{text}\n" for id, text in enumerate(names)), encoding="utf-8")


def write_factory(folder: Path) -> None:
    """As PyKEEN's `TriplesFactory.to_path_binary` does."""
    folder.mkdir(exist_ok=True)
    for name, names in (("entity_to_id", ENTITIES), ("relation_to_id", RELATIONS)):
        with gzip.open(folder / f"{name}.tsv.gz", "wt", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t", lineterminator="\n")
            writer.writerows([("id", "label"), *enumerate(names)])


def settings(scorer: str, **weights: object) -> ModelSettings:
    return ModelSettings.model_validate({"scorer": scorer, "weights": weights})


def complex_score(h: Tensor, r: Tensor, t: Tensor) -> float:
    return float((h * r * t.conj()).sum().real)


# PyKEEN


def pykeen_state(entity: Tensor, relation: Tensor) -> dict[str, Tensor]:
    return {
        "entity_representations.0._embeddings.weight": entity,
        "relation_representations.0._embeddings.weight": relation,
        "relation_representations.0.regularizer.weight": torch.tensor(1.0),
    }


def test_pykeen_complex_pairs_and_inverses_are_interleaved(tmp_path: Path, graph: KnowledgeGraph) -> None:
    entity, relation = random(5, D, 2), random(6, D, 2, seed=1)
    torch.save(pykeen_state(entity.reshape(5, -1), relation.reshape(6, -1)), tmp_path / "state_dict.pt")
    write_factory(tmp_path / "training_triples")
    made = imports.load(settings("complex", format="pykeen", path="."), graph, tmp_path)
    e, r = torch.view_as_complex(entity), torch.view_as_complex(relation)
    assert (made.settings.width, made.settings.reciprocal) == (2 * D, True)
    scores_equal(
        made.scorer,
        graph,
        lambda s, p, o: complex_score(e[s], r[2 * p], e[o]),
        lambda s, p, o: complex_score(e[o], r[2 * p + 1], e[s]),
    )


@pytest.mark.parametrize("scorer", ["distmult", "transe", "rescal", "rotate"])
def test_pykeen_without_inverses(tmp_path: Path, graph: KnowledgeGraph, scorer: str) -> None:
    entity = random(5, 2 * D)
    e, paired = entity, torch.view_as_complex(entity.reshape(5, D, 2))
    relation, theta = random(3, 2 * D, seed=1), random(3, D, seed=2)
    matrices = random(3, 2 * D, 2 * D, seed=3)
    turned = torch.polar(torch.ones(3, D), theta)
    stored, formula = {
        "distmult": (relation, lambda s, p, o: float((e[s] * relation[p] * e[o]).sum())),
        "transe": (relation, lambda s, p, o: -float((e[s] + relation[p] - e[o]).norm() ** 2)),
        "rescal": (matrices.flatten(1), lambda s, p, o: float(e[s] @ matrices[p] @ e[o])),
        "rotate": (
            torch.view_as_real(turned).flatten(1),
            lambda s, p, o: -float((paired[s] * turned[p] - paired[o]).norm() ** 2),
        ),
    }[scorer]
    torch.save(pykeen_state(entity, stored), tmp_path / "state_dict.pt")
    write_factory(tmp_path)
    given = settings(scorer, format="pykeen", path="state_dict.pt", **({"norm": 2} if scorer == "transe" else {}))
    made = imports.load(given, graph, tmp_path)
    assert not made.settings.reciprocal
    scores_equal(made.scorer, graph, formula, formula)


def test_distances_of_another_norm_are_refused(tmp_path: Path, graph: KnowledgeGraph) -> None:
    torch.save(pykeen_state(random(5, 4), random(3, 4)), tmp_path / "state_dict.pt")
    write_factory(tmp_path)
    with pytest.raises(RecipeError, match="say norm = 2 or norm = 1"):
        imports.load(settings("transe", format="pykeen", path="."), graph, tmp_path)
    with pytest.raises(RecipeError, match="only norm 2 ranks as the squared distance"):
        imports.load(settings("transe", format="pykeen", path=".", norm=1), graph, tmp_path)


def test_rotations_must_only_turn(tmp_path: Path, graph: KnowledgeGraph) -> None:
    torch.save(pykeen_state(random(5, 4), random(3, 4)), tmp_path / "state_dict.pt")
    write_factory(tmp_path)
    with pytest.raises(DataError, match="must have modulus 1"):
        imports.load(settings("rotate", format="pykeen", path="."), graph, tmp_path)


class Bomb:
    """Runs a command when unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        import os

        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize(("format", "file"), [("pykeen", "trained_model.pkl"), ("libkge", "checkpoint_best.pt")])
def test_nothing_is_unpickled(tmp_path: Path, graph: KnowledgeGraph, format: str, file: str) -> None:
    torch.save({"model": Bomb(tmp_path / "boom")}, tmp_path / file)
    with pytest.raises(DataError, match=r"(?s)which only running code could read.*torch\.save\("):
        imports.load(settings("complex", format=format, path="."), graph, tmp_path)
    assert not (tmp_path / "boom").exists()


def test_arrays_of_objects_are_refused(tmp_path: Path, graph: KnowledgeGraph) -> None:
    np.savez(tmp_path / "w.npz", entity=np.array([Bomb(tmp_path / "boom")], dtype=object), relation=np.zeros((3, 4)))
    with pytest.raises(DataError, match="cannot be read as arrays"):
        imports.load(settings("complex", path="w.npz"), graph, tmp_path)
    assert not (tmp_path / "boom").exists()


# LibKGE


@pytest.fixture
def kge() -> object:
    """Stands for LibKGE's package while a checkpoint is written, and is gone when it is read."""
    config = type("Config", (), {"__module__": "kge.config"})
    package, module = ModuleType("kge"), ModuleType("kge.config")
    module.Config = config  # type: ignore[attr-defined]
    sys.modules.update({"kge": package, "kge.config": module})
    yield config
    for name in ("kge", "kge.config"):
        sys.modules.pop(name, None)


def write_checkpoint(
    folder: Path,
    kge: type,
    options: dict[str, object],
    entity: Tensor,
    relation: Tensor,
    prefix: str = "",
    **more: object,
) -> None:
    config = kge()
    config.options, config.folder = options, "/somewhere"
    keys = {
        f"{where}_{what}_embedder._embeddings.weight": table
        for where in ("", prefix)
        for what, table in (("entity", entity), ("relation", relation))
    }
    checkpoint = {
        "type": "train",
        "epoch": 3,
        "model": (keys, {}),
        "config": config,
        "valid_trace": [{"mrr": 0.3}],
        **more,
    }
    torch.save(checkpoint, folder / "checkpoint_best.pt")
    for name in ("kge", "kge.config"):
        del sys.modules[name]


def test_libkge_reciprocal_complex_has_halves_of_halves(tmp_path: Path, graph: KnowledgeGraph, kge: type) -> None:
    entity, relation = random(5, 2 * D), random(6, 2 * D, seed=1)
    base = {"type": "complex"}
    options = {"model": "reciprocal_relations_model", "reciprocal_relations_model": {"base_model": base}}
    write_checkpoint(tmp_path, kge, options, entity, relation, "_base_model.")
    write_del(tmp_path)
    made = imports.load(settings("complex", format="libkge", path="checkpoint_best.pt"), graph, tmp_path)
    e, r = (torch.complex(*rows.chunk(2, dim=1)) for rows in (entity, relation))
    scores_equal(
        made.scorer,
        graph,
        lambda s, p, o: complex_score(e[s], r[p], e[o]),
        lambda s, p, o: complex_score(e[o], r[p + 3], e[s]),
    )


def test_libkge_package_brings_names_and_norm(tmp_path: Path, graph: KnowledgeGraph, kge: type) -> None:
    entity, theta = random(5, 2 * D), random(3, D, seed=1)
    meta = {"entity_ids": ENTITIES, "relation_ids": RELATIONS}
    options = {"model": "rotate", "rotate": {"l_norm": 2.0}}
    write_checkpoint(tmp_path, kge, options, entity, theta, dataset={"num_entities": 5, "meta": meta})
    made = imports.load(settings("rotate", format="libkge", path="."), graph, tmp_path)
    e, r = torch.complex(*entity.chunk(2, dim=1)), torch.polar(torch.ones(3, D), theta)

    def formula(s: int, p: int, o: int) -> float:
        return -float((e[s] * r[p] - e[o]).norm() ** 2)

    scores_equal(made.scorer, graph, formula, formula)


def test_libkge_tells_another_model_and_norm(tmp_path: Path, graph: KnowledgeGraph, kge: type) -> None:
    write_checkpoint(tmp_path, kge, {"model": "transe", "transe": {"l_norm": 1.0}}, random(5, 4), random(3, 4))
    write_del(tmp_path)
    with pytest.raises(RecipeError, match="a model transe, the recipe says scorer = 'complex'"):
        imports.load(settings("complex", format="libkge", path="."), graph, tmp_path)
    with pytest.raises(RecipeError, match="was trained with norm 1"):
        imports.load(settings("transe", format="libkge", path=".", norm=2), graph, tmp_path)


# Arrays


@pytest.mark.parametrize("kind", ["npz", "safetensors", "npy"])
def test_arrays(tmp_path: Path, graph: KnowledgeGraph, kind: str) -> None:
    entity, relation = random(5, 4), random(6, 4, seed=1)
    if kind == "npz":
        np.savez(tmp_path / "w.npz", entity=entity.numpy().astype(np.float64), relation=relation.numpy())
    elif kind == "safetensors":
        save_file({"entity": entity.half().float().contiguous(), "relation": relation}, tmp_path / "w.safetensors")
        entity = entity.half().float()
    else:
        np.save(tmp_path / "entity.npy", entity.numpy())
        np.save(tmp_path / "relation.npy", relation.numpy())
    write_names(tmp_path)
    path = "." if kind == "npy" else f"w.{kind}"
    made = imports.load(settings("distmult", path=path, inverses="odd"), graph, tmp_path)

    def formula(row: Callable[[int], int]) -> Callable[[int, int, int], float]:
        return lambda s, p, o: float((entity[s] * relation[row(p)] * entity[o]).sum())

    scores_equal(made.scorer, graph, formula(lambda p: 2 * p), formula(lambda p: 2 * p + 1))
    assert made.report["entities"] == {"mapped": 5, "filled": 0, "extra": 0}


def test_arrays_complex_rotations_and_transposed_matrices(tmp_path: Path, graph: KnowledgeGraph) -> None:
    write_names(tmp_path)
    entity, theta, matrices = random(5, 2 * D), random(3, D, seed=1), random(3, 2 * D, 2 * D, seed=2)
    pairs = torch.complex(*entity.chunk(2, dim=1))
    turned = torch.polar(torch.ones(3, D), theta)

    def rotate(s: int, p: int, o: int) -> float:
        return -float((pairs[s] * turned[p] - pairs[o]).norm() ** 2)

    interleaved = torch.view_as_real(pairs).flatten(1).numpy()
    for tables, how in (
        ({"entity": pairs.numpy(), "relation": turned.numpy()}, {}),
        ({"entity": entity.numpy(), "relation": theta.numpy()}, {}),
        (
            {"entity": interleaved, "relation": torch.view_as_real(turned).flatten(1).numpy()},
            {"complex": "interleaved"},
        ),
    ):
        np.savez(tmp_path / "w.npz", **tables)
        scores_equal(
            imports.load(settings("rotate", path="w.npz", **how), graph, tmp_path).scorer, graph, rotate, rotate
        )

    def rescal(s: int, p: int, o: int) -> float:
        return float(entity[o] @ matrices[p] @ entity[s])

    np.savez(tmp_path / "w.npz", entity=entity.numpy(), relation=matrices.numpy())
    made = imports.load(settings("rescal", path="w.npz", transposed=True), graph, tmp_path)
    scores_equal(made.scorer, graph, rescal, rescal)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a\nb\n", ["a", "b"]),
        ("1\ta\n0\tb\n", ["b", "a"]),
        ("a\t1\nb\t0\n", ["b", "a"]),
        ("2\na\t0\nb\t1\n", ["a", "b"]),
        ('id\tlabel\n0\t"say ""a"""\n1\tb\n', ['say "a"', "b"]),
        ("1\t0\n0\t7\n", ["7", "0"]),
    ],
)
def test_files_of_names(tmp_path: Path, text: str, names: list[str]) -> None:
    from kgservice.imports.names import read

    (tmp_path / "names.tsv").write_text(text, encoding="utf-8")
    assert read(tmp_path / "names.tsv") == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\na\n", "'a' names two rows"),
        ("0\ta\n2\tb\n", "expected the numbers 0 to 1, each once"),
        ("0\ta\tx\n", "row 1: expected a number and a name"),
    ],
)
def test_bad_files_of_names(tmp_path: Path, text: str, message: str) -> None:
    from kgservice.imports.names import read

    (tmp_path / "names.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read(tmp_path / "names.tsv")


def test_entities_without_a_row(tmp_path: Path, graph: KnowledgeGraph, caplog: pytest.LogCaptureFixture) -> None:
    kept, rows = ["a", "b", "z"], random(3, 4)
    np.savez(tmp_path / "w.npz", entity=rows.numpy(), relation=random(3, 4).numpy())
    write_names(tmp_path)
    (tmp_path / "entities.txt").write_text("\n".join(kept), encoding="utf-8")
    with pytest.raises(DataError, match=r"no row for 3 of the graph's 5 entities: 'c', 'd', 'e'\..*'zero' or 'mean'"):
        imports.load(settings("distmult", path="w.npz"), graph, tmp_path)
    with caplog.at_level(logging.WARNING):
        zero = imports.load(settings("distmult", path="w.npz", missing="zero"), graph, tmp_path)
    mean = imports.load(settings("distmult", path="w.npz", missing="mean"), graph, tmp_path)
    assert "2 mapped, 3 filled, 1 extra" in caplog.text
    assert zero.report["entities"] == {"mapped": 2, "filled": 3, "extra": 1}
    c = graph.entities.id("c")
    assert not zero.scorer.entity_vectors()[c].any()
    assert torch.allclose(mean.scorer.entity_vectors()[c], rows.mean(0))


def test_relations_without_a_row_matter_where_they_link(tmp_path: Path, graph: KnowledgeGraph) -> None:
    np.savez(tmp_path / "w.npz", entity=random(5, 4).numpy(), relation=random(2, 4).numpy())
    write_names(tmp_path)
    (tmp_path / "relations.txt").write_text("works\nknows\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"no row for 1 of the graph's 3 relations: 'born'"):
        imports.load(settings("distmult", path="w.npz"), graph, tmp_path)
    table = graph.statements.take(graph.statements.relation != graph.relations.id("born"))
    without = KnowledgeGraph(graph.entities, graph.relations, table)
    made = imports.load(settings("distmult", path="w.npz"), without, tmp_path)
    assert made.report["relations"] == {"mapped": 2, "filled": 1, "extra": 0}


@pytest.mark.parametrize(
    ("scorer", "given", "tables", "error", "message"),
    [
        ("distmult", {"width": 8}, {}, RecipeError, "the weights have width = 4, the recipe says 8"),
        ("distmult", {"reciprocal": True}, {}, RecipeError, "have reciprocal = false, the recipe says true"),
        ("distmult", {}, {"entity": random(4, 4)}, DataError, "4 rows of entity for 5 names"),
        ("distmult", {}, {"relation": random(4, 4)}, DataError, "4 relation rows for 3 relation names"),
        ("rescal", {}, {}, DataError, r"rescal needs a table relation of shape \(3, 16\), found \(3, 4\)"),
        ("nfe1", {}, {}, RecipeError, "reciprocal must be true"),
        ("distmult", {}, {"entity": random(5, 4) / 0}, DataError, "values that are not finite"),
    ],
)
def test_weights_that_do_not_fit(
    tmp_path: Path,
    graph: KnowledgeGraph,
    scorer: str,
    given: dict[str, object],
    tables: dict[str, Tensor],
    error: type[Exception],
    message: str,
) -> None:
    whole = {"entity": random(5, 4), "relation": random(3, 4), **tables}
    np.savez(tmp_path / "w.npz", **{name: table.numpy() for name, table in whole.items()})
    write_names(tmp_path)
    wanted = ModelSettings.model_validate({"scorer": scorer, "weights": {"path": "w.npz"}, **given})
    with pytest.raises(error, match=message):
        imports.load(wanted, graph, tmp_path)


def test_missing_files_are_named(tmp_path: Path, graph: KnowledgeGraph) -> None:
    with pytest.raises(DataError, match=r"nowhere\.npz: no such file or folder"):
        imports.load(settings("complex", path="nowhere.npz"), graph, tmp_path)
    np.savez(tmp_path / "w.npz", entity=np.zeros((5, 4)), vectors=np.zeros((3, 4)))
    with pytest.raises(DataError, match="relation missing, found entity, vectors"):
        imports.load(settings("complex", path="w.npz"), graph, tmp_path)
    np.savez(tmp_path / "w.npz", entity=np.zeros((5, 4)), relation=np.zeros((3, 4)))
    with pytest.raises(DataError, match="no file of names"):
        imports.load(settings("complex", path="w.npz"), graph, tmp_path)


# The whole way


def test_a_release_of_imported_weights_answers(tmp_path: Path, family_ttl: Path) -> None:
    """A model trained here, written as PyKEEN would, is served with the same answers and figures."""
    from conftest import family_recipe

    home = tmp_path / "home"
    recipe = family_recipe()
    first = pipeline.build(recipe, home, base=family_ttl.parent)
    engine = Engine(first)
    scorer, graph = engine.model("complex").scorer, first.graph
    entity, relation = scorer.entity.detach(), scorer.relation.detach()  # type: ignore[attr-defined]
    direct, inverse = relation.chunk(2)

    def interleaved(rows: Tensor) -> Tensor:
        return torch.stack(rows.chunk(2, dim=1), dim=2).flatten(1)

    order = torch.randperm(graph.n, generator=torch.Generator().manual_seed(0))
    both = torch.stack([direct, inverse], dim=1).flatten(0, 1)
    torch.save(pykeen_state(interleaved(entity)[order], interleaved(both)), tmp_path / "state_dict.pt")
    for name, names in (
        ("entity_to_id", graph.entities.names_of(order.numpy())),
        ("relation_to_id", graph.relations.names.to_pylist()),
    ):
        with gzip.open(tmp_path / f"{name}.tsv.gz", "wt", encoding="utf-8") as file:
            file.write("id\tlabel\n" + "".join(f"{id}\t{text}\n" for id, text in enumerate(names)))
    tree = recipe.model_dump(mode="json", exclude_none=True)
    tree["models"] = {"theirs": {"scorer": "complex", "weights": {"format": "pykeen", "path": str(tmp_path)}}}
    second = pipeline.build(Recipe.parse(tree), home, base=family_ttl.parent)
    ours, theirs = first.metrics("complex"), second.metrics("theirs")
    assert theirs["test"]["filtered"]["realistic"] == pytest.approx(ours["test"]["filtered"]["realistic"])
    assert theirs["training"]["imported"]["entities"]["mapped"] == graph.n
    assert json.loads((second.model_folder("theirs") / "calibration.json").read_text())
    question = Question(subject="https://example.org/child3", relation="https://example.org/livesIn")
    ours, theirs = (Engine(release).complete([question], k=5)[0].candidates for release in (first, second))
    assert [one.id for one in theirs] == [one.id for one in ours]
    assert [one.score for one in theirs] == pytest.approx([one.score for one in ours])


PYKEEN = Path(__file__).resolve().parent.parent / ".venv-bench" / "bin" / "python"
TRAIN = """
import json, sys, warnings
warnings.filterwarnings("ignore")
import torch
from pykeen.pipeline import pipeline
out = sys.argv[1]
for model, extra in (("ComplEx", {}), ("DistMult", {}), ("RESCAL", {}), ("RotatE", {}), ("TransE", {"scoring_fct_norm": 2})):
    for inverse in (False, True):
        done = pipeline(dataset="nations", dataset_kwargs={"create_inverse_triples": inverse}, model=model, random_seed=0,
                        model_kwargs={"embedding_dim": 6, **extra}, training_kwargs={"num_epochs": 1, "use_tqdm": False},
                        evaluation_kwargs={"use_tqdm": False})
        folder = f"{out}/{model.lower()}-{inverse}"
        done.save_to_directory(folder, save_replicates=False)
        torch.save(done.model.state_dict(), folder + "/state_dict.pt")
        factory = done.training
        factory.to_path_binary(folder + "/training_triples")
        triples = factory.mapped_triples[:50]
        scores = {"triples": factory.label_triples(triples).tolist(),
                  "tails": done.model.predict_t(triples[:, :2]).tolist(),
                  "heads": done.model.predict_h(triples[:, 1:]).tolist(),
                  "entities": [factory.entity_id_to_label[i] for i in range(factory.num_entities)],
                  "relations": [factory.relation_id_to_label[i] for i in range(factory.real_num_relations)]}
        json.dump(scores, open(folder + "/scores.json", "w"))
"""


@pytest.fixture(scope="module")
def pykeen_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real PyKEEN models of Nations, with and without inverses, and their scores."""
    python = sys.executable if importlib.util.find_spec("pykeen") else str(PYKEEN)
    if not Path(python).exists():
        pytest.skip("PyKEEN is not installed: make .venv-bench/.ready")
    out = tmp_path_factory.mktemp("pykeen")
    done = subprocess.run([python, "-c", TRAIN, str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("scorer", ["complex", "distmult", "rescal", "rotate", "transe"])
def test_real_pykeen_models_score_alike(pykeen_models: Path, scorer: str, inverse: bool) -> None:
    folder = pykeen_models / f"{scorer}-{inverse}"
    told = json.loads((folder / "scores.json").read_text())
    entities, relations = Vocabulary.build(told["entities"]), Vocabulary.build(told["relations"])
    s, p, o = (np.array(column) for column in zip(*told["triples"], strict=True))
    s, p, o = entities.ids(s.tolist()), relations.ids(p.tolist()), entities.ids(o.tolist())
    graph = KnowledgeGraph(entities, relations, StatementTable.build(subject=s, relation=p, object=o))
    given = settings(scorer, format="pykeen", path=".", **({"norm": 2} if scorer == "transe" else {}))
    made = imports.load(given, graph, folder)
    assert made.settings.reciprocal == inverse
    order = torch.from_numpy(entities.ids(told["entities"]).astype(np.int64))
    for key, queries in (("tails", QueryBatch.objects(s, p)), ("heads", QueryBatch.subjects(p, o))):
        ours, theirs = made.scorer.scores(queries)[:, order], torch.tensor(told[key])
        if scorer in ("rotate", "transe"):  # theirs are distances, ours their squares
            ours = -(-ours).clamp_min(0).sqrt()
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=2e-4), key
