"""The grouped softmax, its gradient, and the loop's promises."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from kgservice import scorers
from kgservice.errors import RecipeError, TrainingDiverged
from kgservice.evaluation.ranking import rank
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split, StatementTable
from kgservice.graph.texts import TextKind, Texts
from kgservice.graph.vocabulary import Vocabulary
from kgservice.query import QueryBatch
from kgservice.recipe import ModelSettings, TextSettings
from kgservice.scorers.base import Logits
from kgservice.scorers.bilinear import RESCAL
from kgservice.scorers.embedding import EmbeddingScorer
from kgservice.training.checkpoint import Checkpoint
from kgservice.training.loop import fit
from kgservice.training.objectives import OBJECTIVES, Positives, Workspace, softmax
from kgservice.training.questions import Questions
from kgservice.training.step import BatchLoss, DenseStep
from tests.conftest import family_recipe

TRAIN = (Split.TRAIN,)


def ring(n: int = 30) -> KnowledgeGraph:
    """Everyone's neighbour is the next on a ring; `back` is the inverse. Learnable, with a held-out part."""
    names = [f"e{i:02d}" for i in range(n)]
    here = np.arange(n)
    there = (here + 1) % n
    subject, object = np.concatenate([here, there]), np.concatenate([there, here])
    relation = np.repeat([0, 1], n)
    split = np.zeros(2 * n, dtype=np.int8)
    split[n + 2 : 2 * n : 6], split[n + 4 : 2 * n : 6] = Split.VALID, Split.TEST
    statements = StatementTable.build(subject, relation, object, split=split)
    texts = Texts.build(here, np.full(n, TextKind.LABEL), ["en"] * n, names)
    return KnowledgeGraph(Vocabulary.build(names), Vocabulary.build(["next", "previous"]), statements, texts=texts)


def settings(**training: object) -> ModelSettings:
    chosen = {"epochs": 30, "batch_size": 16, "learning_rate": 0.3, "precision": "float32", "device": "cpu", **training}
    return ModelSettings.model_validate({"width": 32, "initial_scale": 0.1, "training": chosen})


def positives_of(lists: list[list[int]], *, by_question: bool = False) -> Positives:
    counts = torch.tensor([len(row) for row in lists])
    offset = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    question = torch.repeat_interleave(torch.arange(len(lists)), counts)
    weight = 1.0 / (counts * len(lists)) if by_question else torch.full((len(lists),), 1.0 / int(counts.sum()))
    return Positives(offset, question, torch.tensor([target for row in lists for target in row]), weight.float())


@pytest.mark.parametrize("loss", OBJECTIVES)
@pytest.mark.parametrize("terms", ["none", "bias", "bias and offset"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("by_question", [False, True])
@pytest.mark.parametrize("in_parts", [False, True])
def test_the_closed_form_equals_autograd(
    loss: str, terms: str, smoothing: float, by_question: bool, in_parts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Value and gradient against autograd over all scores, in float64."""
    if in_parts:
        monkeypatch.setattr("kgservice.training.objectives.SCORE_BUFFER_BYTES", 2 * 11 * 4)
    generator = torch.Generator().manual_seed(0)
    shapes = {"q": (3, 8), "e": (11, 8), "bias": (11,), "offset": (3,)}
    values = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    used = ["q", "e", *(name for name in ("bias", "offset") if name in terms)]
    lists = [[1, 4, 7], [0], [2, 10]]
    positives = positives_of(lists, by_question=by_question)
    leaves = {name: values[name].clone().requires_grad_() for name in used}
    logits = Logits(leaves["q"], leaves["e"], leaves.get("bias"), leaves.get("offset"))
    found = OBJECTIVES[loss](logits, positives, Workspace(torch.float32), smoothing=smoothing, margin=0.5)
    found.backward()

    exact = {name: values[name].double().clone().requires_grad_() for name in used}
    scores = exact["q"] @ exact["e"].T
    scores = scores + (exact["bias"] if "bias" in used else 0)
    scores = scores + (exact["offset"][:, None] if "offset" in used else 0)
    weight = positives.weight.double()
    if loss == "bce":
        truth = torch.zeros(3, 11, dtype=torch.float64)
        truth[positives.question, positives.target] = 1 - smoothing
        truth += smoothing / 11
        each = F.binary_cross_entropy_with_logits(scores + 0.5, truth, reduction="none").sum(1)
        reference = (weight * each).sum()
    else:
        rows = scores[positives.question]
        if loss == "softmax":
            each = F.cross_entropy(rows, positives.target, reduction="none", label_smoothing=smoothing)
        else:
            truth = F.one_hot(positives.target, 11).double() * (1 - smoothing) + smoothing / 11
            each = F.binary_cross_entropy_with_logits(rows + 0.5, truth, reduction="none").sum(1)
        reference = (weight[positives.question] * each).sum()
    reference.backward()
    assert found.item() == pytest.approx(reference.item(), rel=1e-5)
    for name in used:
        wanted = exact[name].grad
        assert wanted is not None
        given = leaves[name].grad
        given = torch.zeros_like(leaves[name]) if given is None else given
        torch.testing.assert_close(given, wanted.float(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("with_bias", [False, True])
def test_bfloat16_products_stay_near_float32(with_bias: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    q, e = torch.randn(16, 32, generator=generator), torch.randn(50, 32, generator=generator)
    bias = 100 + torch.randn(50, generator=generator) if with_bias else None
    positives = positives_of([[i, i + 20] for i in range(16)])
    found = {}
    for precision in (torch.float32, torch.bfloat16):
        leaf = e.clone().requires_grad_()
        loss = softmax(Logits(q, leaf, bias), positives, Workspace(precision))
        loss.backward()
        found[precision] = (loss.item(), leaf.grad)
    assert found[torch.bfloat16][0] == pytest.approx(found[torch.float32][0], rel=2e-2)
    cosine = F.cosine_similarity(found[torch.bfloat16][1].flatten(), found[torch.float32][1].flatten(), dim=0)
    assert cosine > 0.999


def test_questions_hold_every_training_statement_twice() -> None:
    graph = ring()
    questions = Questions.of(graph, TRAIN, torch.device("cpu"))
    table = graph.statements.in_split(Split.TRAIN)
    held = set()
    for i in range(len(questions)):
        for target in questions.target[questions.offset[i] : questions.offset[i + 1]].tolist():
            anchor, relation = int(questions.anchor[i]), int(questions.relation[i])
            inverse = relation >= graph.r
            held.add((target, relation - graph.r, anchor, 1) if inverse else (anchor, relation, target, 0))
    rows = list(zip(table.subject.tolist(), table.relation.tolist(), table.object.tolist(), strict=True))
    assert held == {(*row, way) for row in rows for way in (0, 1)}


@pytest.mark.parametrize("weighting", ["triples", "questions"])
def test_batches_hold_every_question_once_and_weigh_one(weighting: str) -> None:
    questions = Questions.of(ring(), TRAIN, torch.device("cpu"))
    seen = []
    for anchor, relation, positives, _ in questions.batches(7, torch.Generator().manual_seed(0), weighting):
        seen += list(zip(anchor.tolist(), relation.tolist(), strict=True))
        assert float(positives.weight[positives.question].sum()) == pytest.approx(1, rel=1e-5)
        assert len(positives.target) == int(positives.offset[-1])
    assert sorted(seen) == sorted(zip(questions.anchor.tolist(), questions.relation.tolist(), strict=True))


@given(counts=st.lists(st.integers(0, 20), min_size=1, max_size=12), limit=st.integers(1, 8), seed=st.integers(0, 3))
def test_a_question_with_many_answers_comes_in_even_parts(counts: list[int], limit: int, seed: int) -> None:
    offset = torch.tensor([0, *counts]).cumsum(0)
    number = torch.arange(len(counts))
    questions = Questions(number, number, offset, torch.arange(sum(counts)))
    seen: dict[int, list[list[int]]] = {}
    for anchor, relation, positives, _ in questions.batches(3, torch.Generator().manual_seed(seed), "triples", limit):
        assert torch.equal(anchor, relation)
        weights = positives.weight[positives.question]
        assert not len(weights) or float(weights.sum()) == pytest.approx(1, rel=1e-5)
        for row, name in enumerate(anchor.tolist()):
            own = positives.target[positives.offset[row] : positives.offset[row + 1]].tolist()
            assert (positives.question[positives.offset[row] : positives.offset[row + 1]] == row).all()
            seen.setdefault(name, []).append(own)
    for name, count in enumerate(counts):
        parts = seen.get(name, [])
        assert sorted(answer for part in parts for answer in part) == list(
            range(int(offset[name]), int(offset[name + 1]))
        )
        assert all(len(part) <= limit for part in parts)
        assert len(parts) <= max(1, -(-count // limit))


def test_the_parts_of_a_question_are_others_each_epoch() -> None:
    questions = Questions(torch.zeros(1).long(), torch.zeros(1).long(), torch.tensor([0, 40]), torch.arange(40))
    ways = [
        {
            frozenset(batch.positives.target.tolist())
            for batch in questions.batches(1, torch.Generator().manual_seed(seed), "triples", 10)
        }
        for seed in (0, 1, 0)
    ]
    assert ways[0] != ways[1]
    assert ways[0] == ways[2]


SYMMETRIC_OR_STRAIGHT = {"distmult", "transe", "nfe1", "nfe1-mean", "nfe1-spread", "nfe2", "blp-distmult", "blp-transe"}


@pytest.mark.parametrize("name", sorted(scorers.SCORERS))
@pytest.mark.parametrize(
    "extra", [{}, {"n3": 0.001, "relation_prediction": 0.1, "label_smoothing": 0.1, "averaging": 0.5}]
)
def test_every_scorer_learns_the_ring(name: str, extra: dict[str, object]) -> None:
    if name in ("hyperformer", "stare", "context") or name.startswith(("blp", "bi-encoder")):
        extra = {**extra, "optimizer": "adam", "learning_rate": 0.01, "epochs": 60}
    if name in ("stare", "bi-encoder", "context"):
        extra = {**extra, "relation_prediction": 0.0}
    graph = ring()
    width = 9 if name == "nfe2" else 8
    words = TextSettings(encoder="none", words=32, dropout=0)
    change = {"scorer": name, "initial_scale": 0.3, "width": width, "text": words}
    chosen = settings(**{"epochs": 100, "learning_rate": 0.2, **extra}).model_copy(update=change)
    scorer = scorers.build(chosen, n=graph.n, r=graph.r)
    before = rank(scorer, graph, Split.TRAIN).figures()["mrr"]
    history = fit(scorer, graph, chosen.training)
    # A symmetric scorer cannot tell forward from back, and equal steps or stretches along lines never close a ring.
    # A reader of contexts is never shown the fact that it is asked for.
    floor = 0.4 if name in SYMMETRIC_OR_STRAIGHT else 0.25 if name == "context" else 0.8
    assert rank(scorer, graph, Split.TRAIN).figures()["mrr"] > max(floor, before)
    assert history.epochs[-1].loss < history.epochs[0].loss


@pytest.mark.parametrize("name", ["complex", "rescal"])
def test_dura_is_the_squared_length_of_questions_and_answers(name: str) -> None:
    """Each statement counts alike, in both directions."""
    graph = ring()
    chosen = settings(batch_size=1000).model_copy(update={"scorer": name, "width": 8, "initial_scale": 0.5})
    scorer = scorers.build(chosen, n=graph.n, r=graph.r)
    questions = Questions.of(graph, TRAIN, torch.device("cpu"))
    batch = next(questions.batches(1000, torch.Generator().manual_seed(0), "triples"))
    plain, with_dura = (
        BatchLoss(scorer, chosen.training.model_copy(update={"dura": dura}), Workspace(torch.float32))(*batch).item()
        for dura in (0.0, 0.1)
    )
    train = graph.statements.in_split(Split.TRAIN)
    forth = QueryBatch.objects(train.subject, train.relation)
    back = QueryBatch.subjects(train.relation, train.object)
    vectors = scorer.entity_vectors()
    squared = [
        (
            scorer.query_vectors(queries).square().sum(1)
            + vectors[torch.from_numpy(answers.astype(np.int64))].square().sum(1)
        )
        for queries, answers in ((forth, train.object), (back, train.subject))
    ]
    assert with_dura - plain == pytest.approx(0.1 * torch.cat(squared).mean().item(), rel=1e-4)


def test_dura_is_for_inner_products() -> None:
    graph, chosen = ring(), settings(dura=0.1).model_copy(update={"scorer": "nfe1"})
    with pytest.raises(RecipeError, match=r"training\.dura shortens inner products"):
        fit(scorers.build(chosen, n=graph.n, r=graph.r), graph, chosen.training)


def test_rescal_asks_many_questions_of_one_relation_by_one_product() -> None:
    """The same vectors and gradients as a matrix for each question."""
    scorer = scorers.build(settings().model_copy(update={"scorer": "rescal", "width": 8}), n=30, r=3)
    generator = torch.Generator().manual_seed(0)
    relation = torch.randint(0, 6, (64,), generator=generator)
    found = []
    for way in (RESCAL.asked, EmbeddingScorer.asked):
        scorer.zero_grad()
        rows = torch.randn(64, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
        queries, _ = way(scorer, rows, relation)
        queries.square().sum().backward()
        found.append((queries, rows.grad, scorer.relation.grad))
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain)


def test_resumed_training_is_bit_for_bit_the_uninterrupted_one(tmp_path: Path) -> None:
    graph = ring()
    chosen = settings(
        epochs=12, entity_dropout=0.2, averaging=0.8, optimizer="adam", learning_rate=0.01, evaluate_every=3
    )
    validate = lambda scorer: rank(scorer, graph, Split.VALID).figures()["mrr"]  # noqa: E731

    whole = scorers.build(chosen, n=graph.n, r=graph.r)
    full = fit(whole, graph, chosen.training, validate=validate)

    path = tmp_path / "run.safetensors"
    half = chosen.training.model_copy(update={"epochs": 5})
    fit(scorers.build(chosen, n=graph.n, r=graph.r), graph, half, validate=validate, checkpoint=path, fingerprint="x")
    resumed = scorers.build(chosen, n=graph.n, r=graph.r)
    saved = Checkpoint.load(path)
    assert saved is not None
    assert len(saved.state["history"]["epochs"]) == 5
    history = fit(resumed, graph, chosen.training, validate=validate, checkpoint=path, fingerprint="x")
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key])
    assert [e.loss for e in history.epochs] == [e.loss for e in full.epochs]


def test_killed_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    """A real process, killed with −9 in the middle, then run again."""
    script = tmp_path / "run.py"
    script.write_text(
        "import os, signal, sys, torch\n"
        "from pathlib import Path\n"
        "from kgservice import scorers\n"
        "from kgservice.training import loop\n"
        "from tests.test_training import ring, settings\n"
        "loop.CHECKPOINT_EVERY_S = 0.0\n"
        "graph, chosen = ring(), settings(epochs=20)\n"
        "scorer = scorers.build(chosen, n=graph.n, r=graph.r)\n"
        "real, kill_at = loop._run_epoch, int(sys.argv[2])\n"
        "def run(*args):\n"
        "    if args[-1] == kill_at:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(*args)\n"
        "loop._run_epoch = run\n"
        "loop.fit(scorer, graph, chosen.training, checkpoint=Path(sys.argv[1]), fingerprint='x')\n"
        "print(scorer.entity.double().sum().item().hex())\n"
    )
    root = Path(__file__).resolve().parent.parent

    def run(checkpoint: Path, kill_at: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(script), str(checkpoint), str(kill_at)]
        return subprocess.run(command, capture_output=True, text=True, cwd=root, env=_environment(root), check=False)

    assert run(tmp_path / "a", 11).returncode == -9
    assert not list(tmp_path.glob("*.partial"))
    resumed, whole = run(tmp_path / "a", 0), run(tmp_path / "b", 0)
    assert resumed.returncode == whole.returncode == 0, resumed.stderr + whole.stderr
    assert resumed.stdout == whole.stdout


def _environment(root: Path) -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(root)}


def test_checkpoint_of_another_recipe_is_ignored(tmp_path: Path) -> None:
    graph, chosen = ring(), settings(epochs=2)
    path = tmp_path / "run.safetensors"
    fit(scorers.build(chosen, n=graph.n, r=graph.r), graph, chosen.training, checkpoint=path, fingerprint="x")
    history = fit(scorers.build(chosen, n=graph.n, r=graph.r), graph, chosen.training, checkpoint=path, fingerprint="y")
    assert [epoch.epoch for epoch in history.epochs] == [1, 2]


def test_checkpoint_holds_plain_json_beside_tensors(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    Checkpoint({"model/a": torch.ones(2)}, {"fingerprint": "x", "history": {}}).save(path)
    header = path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")]
    assert json.loads(json.loads(header)["__metadata__"]["state"]) == {"fingerprint": "x", "history": {}}


FULL_DISK = """
import logging, resource, sys
from pathlib import Path
from kgservice import scorers
from kgservice.training import loop
from tests.test_training import ring, settings

loop.CHECKPOINT_EVERY_S, loop.CHECKPOINT_SHARE = 0.0, 1e9
logging.basicConfig(level=logging.WARNING)
graph, chosen = ring(), settings(epochs=9, evaluate_every=1, patience=99)
full, free, seen = int(sys.argv[2]), int(sys.argv[3]), 0

def validate(scorer):
    global seen
    seen += 1
    if seen in (full, free):
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096 if seen == full else hard, hard))
    return 1 / seen

scorer = scorers.build(chosen, n=graph.n, r=graph.r)
loop.fit(scorer, graph, chosen.training, validate=validate, checkpoint=Path(sys.argv[1]), fingerprint="x")
"""


def full_disk(path: Path, full: int, free: int) -> subprocess.CompletedProcess[str]:
    """A training of nine epochs; from epoch `full` to epoch `free` no file can grow beyond 4 KiB."""
    root = Path(__file__).resolve().parent.parent
    command = [sys.executable, "-c", FULL_DISK, str(path), str(full), str(free)]
    return subprocess.run(command, capture_output=True, text=True, cwd=root, env=_environment(root), check=False)


def saved_epochs(path: Path) -> int:
    saved = Checkpoint.load(path)
    assert saved is not None
    return len(saved.state["history"]["epochs"])


def test_full_disk_keeps_the_previous_checkpoint_and_training_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    done = full_disk(path, 4, 8)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("could not be written, training goes on and tries again") == 4
    assert saved_epochs(path) == 9
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_full_disk_at_the_end_says_so_and_keeps_the_previous_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    done = full_disk(path, 4, 0)
    assert done.returncode == 1
    assert "DataError" in done.stderr
    assert re.search(r"run.safetensors: the trained weights could not be written: .* Free some space", done.stderr)
    assert saved_epochs(path) == 3
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert full_disk(path, 0, 0).returncode == 0
    assert saved_epochs(path) == 9


def test_killed_evaluation_gives_the_same_figures_when_run_again(tmp_path: Path, family_ttl: Path) -> None:
    """`kgservice evaluate`: killed with -9 from outside, run again, against a run that was left alone."""
    script = (
        "import sys\n"
        "from kgservice.training import loop\n"
        "loop.CHECKPOINT_EVERY_S, loop.CHECKPOINT_SHARE = 0.0, 1e9\n"
        "from kgservice.cli import main\n"
        "main()\n"
    )
    training = {"epochs": 120, "batch_size": 16, "learning_rate": 0.01, "evaluate_every": 3, "entity_dropout": 0.1}
    recipe = family_ttl.parent / "evaluated.toml"
    recipe.write_text(family_recipe(training={**training, "optimizer": "adam"}).to_toml(), encoding="utf-8")
    options = ["evaluate", str(recipe)]
    root = Path(__file__).resolve().parent.parent

    def start(home: str, out: str) -> subprocess.Popen[str]:
        environment = {**_environment(root), "KGSERVICE_HOME": str(tmp_path / home)}
        command = [sys.executable, "-c", script, *options, "--out", str(tmp_path / out)]
        return subprocess.Popen(command, cwd=root, env=environment, text=True, stdout=subprocess.DEVNULL)

    process = start("a", "a.json")
    deadline = time.monotonic() + 120
    while not (files := list((tmp_path / "a" / "builds").glob("*.safetensors"))) or saved_epochs(files[0]) < 9:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -9
    assert not (tmp_path / "a.json").exists()
    assert 9 <= saved_epochs(files[0]) < 120
    assert start("a", "a.json").wait() == start("b", "b.json").wait() == 0
    resumed, whole = (json.loads((tmp_path / name).read_text())["models"] for name in ("a.json", "b.json"))
    assert without_durations(resumed) == without_durations(whole)
    assert whole["complex"][0]["test"]["filtered"]["realistic"]["mrr"] > 0.02


def without_durations(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_durations(part) for key, part in value.items() if key != "duration_s"}
    return [without_durations(part) for part in value] if isinstance(value, list) else value


def test_early_stopping_ends_with_the_best_weights() -> None:
    graph, chosen = ring(), settings(epochs=50, evaluate_every=1, patience=2)
    figures = iter([0.1, 0.5, 0.4, 0.3, 0.9])
    kept = {}

    def validate(scorer: torch.nn.Module) -> float:
        figure = next(figures)
        kept[figure] = scorer.state_dict()["entity"].clone()
        return figure

    scorer = scorers.build(chosen, n=graph.n, r=graph.r)
    history = fit(scorer, graph, chosen.training, validate=validate)
    assert (len(history.epochs), history.best_epoch, history.best_validation) == (4, 2, 0.5)
    assert torch.equal(scorer.state_dict()["entity"], kept[0.5])


def test_averaged_weights_are_the_running_mean() -> None:
    graph = ring()
    after = [settings(epochs=epochs) for epochs in (1, 2, 3)]
    each = []
    for chosen in after:
        scorer = scorers.build(chosen, n=graph.n, r=graph.r)
        fit(scorer, graph, chosen.training)
        each.append(scorer.state_dict()["entity"])
    chosen = settings(epochs=3, averaging=0.5)
    scorer = scorers.build(chosen, n=graph.n, r=graph.r)
    fit(scorer, graph, chosen.training)
    wanted = ((each[0] + each[1]) / 2 + each[2]) / 2
    torch.testing.assert_close(scorer.state_dict()["entity"], wanted)


@pytest.mark.parametrize("wrong", [(1, 1), (2, 3), (3, 7)])
def test_a_loss_that_is_no_number_is_named_by_epoch_and_batch(
    wrong: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The true first one, though the losses are looked at later."""
    graph, chosen = ring(), settings(epochs=5)
    per_epoch = -(-len(Questions.of(graph, TRAIN, torch.device("cpu"))) // 16)
    bad, seen, real = (wrong[0] - 1) * per_epoch + wrong[1], iter(range(1, 1000)), OBJECTIVES["softmax"]
    monkeypatch.setitem(
        OBJECTIVES, "softmax", lambda *a, **k: real(*a, **k) * (float("inf") if next(seen) == bad else 1.0)
    )
    where = f"the loss became inf in epoch {wrong[0]}, batch {wrong[1]}\\. Try a smaller learning_rate \\(now 0.3\\)"
    with pytest.raises(TrainingDiverged, match=where):
        fit(scorers.build(chosen, n=graph.n, r=graph.r), graph, chosen.training)


def test_an_exploding_step_size_is_found() -> None:
    graph, chosen = ring(), settings(optimizer="adam", learning_rate=1e30)
    with pytest.raises(TrainingDiverged, match=r"in epoch 1, batch 2\. Try a smaller learning_rate \(now 1e\+30\)"):
        fit(scorers.build(chosen, n=graph.n, r=graph.r), graph, chosen.training)


def test_a_loss_far_above_that_of_guessing_has_diverged() -> None:
    """Finite throughout: steps so large that the model is surely wrong, not overflowing."""
    graph, chosen = ring(), settings(optimizer="adam", learning_rate=3.0)
    match = r"the mean loss of epoch \d+ is [\d.e+]+ by batch \d+, more than 3 times the [\d.]+ of a model that knows nothing"
    with pytest.raises(TrainingDiverged, match=match):
        fit(scorers.build(chosen, n=graph.n, r=graph.r), graph, chosen.training)


def test_weights_that_are_no_numbers_never_reach_a_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last gradient of an epoch is bad, every loss was good: NaN scores would all rank first."""
    graph, chosen = ring(), settings(epochs=1, batch_size=1000, evaluate_every=1)
    real = DenseStep.__call__

    def step(self: DenseStep, *batch: Any) -> torch.Tensor:
        loss = real(self, *batch)
        self.loss.scorer.entity.grad[3] = float("nan")
        return loss

    monkeypatch.setattr(DenseStep, "__call__", step)
    with pytest.raises(TrainingDiverged, match="a weight is not a number after epoch 1, batch 1"):
        fit(scorers.build(chosen, n=graph.n, r=graph.r), graph, chosen.training, validate=lambda _: 1.0)


@pytest.mark.parametrize("averaging", [0.0, 0.5])
def test_the_best_weights_of_large_tables_come_from_the_checkpoint(
    averaging: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mapped from the file or copied, the same weights; also where the file could not be written."""
    graph, chosen = ring(), settings(epochs=6, evaluate_every=1, averaging=averaging)
    figures = [0.1, 0.5, 0.6, 0.3, 0.2, 0.1]

    def run(path: Path | None) -> dict[str, torch.Tensor]:
        scorer, left = scorers.build(chosen, n=graph.n, r=graph.r), iter(figures)
        fit(scorer, graph, chosen.training, validate=lambda _: next(left), checkpoint=path)
        return dict(scorer.state_dict())

    copied = run(None)
    monkeypatch.setattr("kgservice.training.weights.LARGE_BYTES", 0)
    mapped = run(tmp_path / "mapped.safetensors")
    again = run(tmp_path / "mapped.safetensors")  # finished: its weights are read back
    for name, value in copied.items():
        assert torch.equal(value, mapped[name])
        assert torch.equal(value, again[name])
