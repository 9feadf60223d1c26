"""The grouped softmax, its gradient, and the loop's promises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kgservice import scorers
from kgservice.errors import TrainingDiverged
from kgservice.evaluation.ranking import rank
from kgservice.graph import KnowledgeGraph
from kgservice.recipe import ModelSettings
from kgservice.scorers.base import Logits
from kgservice.statements import Split, StatementTable
from kgservice.training.checkpoint import Checkpoint
from kgservice.training.loop import fit
from kgservice.training.objectives import Positives, Workspace, grouped_softmax
from kgservice.training.questions import Questions
from kgservice.vocabulary import Vocabulary

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
    return KnowledgeGraph(Vocabulary.build(names), Vocabulary.build(["next", "previous"]), statements)


def settings(**training: object) -> ModelSettings:
    chosen = {"epochs": 30, "batch_size": 16, "learning_rate": 0.3, "precision": "float32", "device": "cpu", **training}
    return ModelSettings.model_validate({"width": 32, "initial_scale": 0.1, "training": chosen})


def positives_of(lists: list[list[int]], *, by_question: bool = False) -> Positives:
    counts = torch.tensor([len(row) for row in lists])
    offset = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    question = torch.repeat_interleave(torch.arange(len(lists)), counts)
    weight = 1.0 / (counts * len(lists)) if by_question else torch.full((len(lists),), 1.0 / int(counts.sum()))
    return Positives(offset, question, torch.tensor([target for row in lists for target in row]), weight.float())


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("by_question", [False, True])
def test_grouped_softmax_equals_the_summed_cross_entropy(with_bias: bool, smoothing: float, by_question: bool) -> None:
    """Value and gradient against autograd over one row per true answer, in float64."""
    generator = torch.Generator().manual_seed(0)
    q, e = torch.randn(3, 8, generator=generator), torch.randn(11, 8, generator=generator)
    bias = torch.randn(11, generator=generator) if with_bias else None
    leaves = [t.clone().requires_grad_() for t in (q, e, *([bias] if bias is not None else []))]
    lists = [[1, 4, 7], [0], [2, 10]]
    positives = positives_of(lists, by_question=by_question)
    logits = Logits(leaves[0], leaves[1], leaves[2] if with_bias else None)
    loss = grouped_softmax(logits, positives, Workspace(torch.float32), smoothing=smoothing)
    loss.backward()

    exact = [t.double().clone().requires_grad_() for t in (q, e, *([bias] if bias is not None else []))]
    scores = exact[0] @ exact[1].T + (exact[2] if with_bias else 0)
    each = F.cross_entropy(scores[positives.question], positives.target, reduction="none", label_smoothing=smoothing)
    reference = (positives.weight[positives.question].double() * each).sum()
    reference.backward()
    assert loss.item() == pytest.approx(reference.item(), rel=1e-5)
    for found, wanted in zip(leaves, exact, strict=True):
        torch.testing.assert_close(found.grad, wanted.grad.float(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("with_bias", [False, True])
def test_bfloat16_products_stay_near_float32(with_bias: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    q, e = torch.randn(16, 32, generator=generator), torch.randn(50, 32, generator=generator)
    bias = 100 + torch.randn(50, generator=generator) if with_bias else None
    positives = positives_of([[i, i + 20] for i in range(16)])
    found = {}
    for precision in (torch.float32, torch.bfloat16):
        leaf = e.clone().requires_grad_()
        loss = grouped_softmax(Logits(q, leaf, bias), positives, Workspace(precision))
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
    for anchor, relation, positives in questions.batches(7, torch.Generator().manual_seed(0), weighting):
        seen += list(zip(anchor.tolist(), relation.tolist(), strict=True))
        assert float(positives.weight[positives.question].sum()) == pytest.approx(1, rel=1e-5)
        assert len(positives.target) == int(positives.offset[-1])
    assert sorted(seen) == sorted(zip(questions.anchor.tolist(), questions.relation.tolist(), strict=True))


@pytest.mark.parametrize("name", sorted(scorers.SCORERS))
@pytest.mark.parametrize("extra", [{}, {"n3": 0.001, "relation_prediction": 0.1, "label_smoothing": 0.1}])
def test_every_scorer_learns_the_ring(name: str, extra: dict[str, float]) -> None:
    graph = ring()
    width = 9 if name == "nfe2" else 8
    change = {"scorer": name, "initial_scale": 0.3, "width": width}
    chosen = settings(epochs=150, learning_rate=0.2, **extra).model_copy(update=change)
    scorer = scorers.build(chosen, n=graph.n, r=graph.r)
    before = rank(scorer, graph, Split.TRAIN).figures()["mrr"]
    history = fit(scorer, graph, chosen.training)
    # A symmetric scorer cannot tell forward from back, and equal steps or stretches along lines never close a ring.
    floor = 0.4 if name in ("distmult", "transe", "nfe1", "nfe2") else 0.8
    assert rank(scorer, graph, Split.TRAIN).figures()["mrr"] > max(floor, before)
    assert history.epochs[-1].loss < history.epochs[0].loss


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


def test_full_disk_keeps_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.safetensors"
    Checkpoint({"model/a": torch.ones(2)}, {"epoch": 1}).save(path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kgservice.training.checkpoint.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        Checkpoint({"model/a": torch.zeros(2)}, {"epoch": 2}).save(path)
    kept = Checkpoint.load(path)
    assert kept is not None
    assert kept.state == {"epoch": 1}


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


def test_divergence_names_epoch_and_a_way_out() -> None:
    graph, chosen = ring(), settings(optimizer="adam", learning_rate=1e30)
    with pytest.raises(
        TrainingDiverged, match=r"in epoch \d+, by batch \d+. Try a smaller learning_rate \(now 1e\+30\)"
    ):
        fit(scorers.build(chosen, n=graph.n, r=graph.r), graph, chosen.training)
