"""Sampled softmax, its sampler, and Adagrad by rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kgservice import datasets, scorers
from kgservice.errors import RecipeError
from kgservice.evaluation.ranking import rank
from kgservice.graph.statements import Split
from kgservice.recipe import ModelSettings, TransformerSettings
from kgservice.scorers.base import Logits
from kgservice.training.loop import fit
from kgservice.training.objectives import Workspace, softmax
from kgservice.training.optimizers import RowAdagrad
from kgservice.training.questions import Questions
from kgservice.training.sampled import AUTO_NEGATIVES, Drawn, Sampler, negatives_of, sampled_softmax
from kgservice.training.sharding import Shards
from kgservice.training.step import BatchLoss, DenseStep, RowStep, steps_of
from tests.test_training import TRAIN, positives_of, ring, settings

LISTS = [[1, 4, 7], [0], [2, 10]]
F32 = Workspace(torch.float32)


def leaves(n: int = 11, with_bias: bool = True) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(shape, generator=generator) for shape in ((3, 8), (n, 8), (n,))]
    return [value.requires_grad_() for value in made[: 3 if with_bias else 2]]


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("by_question", [False, True])
def test_with_all_entities_drawn_it_is_the_softmax(with_bias: bool, by_question: bool) -> None:
    """Value and gradient."""
    found, wanted = leaves(with_bias=with_bias), leaves(with_bias=with_bias)
    positives = positives_of(LISTS, by_question=by_question)
    drawn = Sampler(torch.zeros(11), 11).draw(torch.Generator())
    loss = sampled_softmax(Logits(*found), drawn, positives, positives.target, F32)
    loss.backward()
    exact = softmax(Logits(*wanted), positives, F32)
    exact.backward()
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("with_bias", [False, True])
def test_bfloat16_products_stay_near_float32(with_bias: bool) -> None:
    positives, drawn = positives_of(LISTS), Sampler(torch.zeros(11), 11).draw(torch.Generator())
    found = leaves(with_bias=with_bias)
    values = [value.detach() + 100 * (value.dim() == 1) for value in found]  # a bias far above what 8 bits resolve
    losses = [
        float(sampled_softmax(Logits(*values), drawn, positives, positives.target, Workspace(precision)))
        for precision in (torch.float32, torch.bfloat16)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)


def test_an_answer_that_is_drawn_counts_once() -> None:
    """By hand: one question, answers 0 and 1, drawn 1 and 2, of which 2 was drawn with probability one half."""
    scores = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    drawn = Drawn(torch.tensor([1, 2]), torch.tensor([0.5, 0.5]).log())
    rows = torch.tensor([2, 3])  # the answers' vectors come after those drawn
    candidates = torch.tensor([[2.0], [3.0], [1.0], [2.0]])
    loss = sampled_softmax(Logits(torch.ones(1, 1), candidates), drawn, positives_of([[0, 1]]), rows, F32)
    z = scores[0, 0].exp() + scores[0, 1].exp() + scores[0, 2].exp() / 0.5
    assert loss.item() == pytest.approx(float(z.log() - 1.5), rel=1e-6)


def test_a_question_whose_answers_are_all_that_was_drawn_has_a_finite_gradient() -> None:
    found = leaves(with_bias=False)
    drawn = Drawn(torch.tensor([1, 4, 7]), torch.zeros(3))
    candidates = torch.cat([found[1][drawn.ids], found[1]])
    loss = sampled_softmax(
        Logits(found[0], candidates), drawn, positives_of(LISTS), positives_of(LISTS).target + 3, F32
    )
    loss.backward()
    assert found[0].grad is not None
    assert found[0].grad.isfinite().all()
    assert found[1].grad is not None
    assert found[1].grad.isfinite().all()


def test_the_sum_over_what_is_drawn_is_unbiased() -> None:
    """E Σ_{j ∈ C} exp(s_j) / π_j = Σ_j exp(s_j), with answers drawn more often than others."""
    answers = torch.tensor([0, 0, 1, 3, 50, 200, 0, 7, 2, 0, 30, 1])
    scores = torch.randn(12, generator=torch.Generator().manual_seed(1))
    sampler, generator = Sampler(answers, 6, first=100), torch.Generator().manual_seed(2)
    sums, times = [], torch.zeros(12)
    for _ in range(4000):
        drawn = sampler.draw(generator)
        sums.append(float((scores[drawn.ids - 100] - drawn.log_odds).exp().sum()))
        times[drawn.ids - 100] += 1
    estimates = torch.tensor(sums)
    error = float(estimates.std()) / len(sums) ** 0.5
    assert float(estimates.mean()) == pytest.approx(float(scores.exp().sum()), abs=4 * error)
    assert error < 0.03 * float(scores.exp().sum())
    share = (1 + answers.double()).pow(0.75)
    odds = 1 - (1 - share / share.sum()) ** 6
    torch.testing.assert_close(times.double() / 4000, odds, atol=0.04, rtol=0)


def test_adagrad_by_rows_equals_a_dense_reference() -> None:
    """Three steps with repeated rows, against loops over dense gradients; a dense parameter follows torch's rule."""
    generator = torch.Generator().manual_seed(0)
    table, other = (torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((6, 4), (3, 4)))
    reference, plain = table.detach().double().clone(), torch.nn.Parameter(other.detach().clone())
    optimizer, torchs = RowAdagrad([table, other], lr=0.1), torch.optim.Adagrad([plain], lr=0.1)
    total = torch.zeros(6, dtype=torch.float64)
    for rows in ([1, 3, 1], [0, 1, 5], [5, 5, 5]):
        values = torch.randn(3, 4, generator=generator)
        table.grad = torch.sparse_coo_tensor(torch.tensor([rows]), values, (6, 4), check_invariants=True)
        other.grad = plain.grad = torch.randn(3, 4, generator=generator)
        optimizer.step()
        torchs.step()
        dense = torch.zeros(6, 4, dtype=torch.float64)
        for row, value in zip(rows, values, strict=True):
            dense[row] += value
        for row in set(rows):
            total[row] += dense[row].square().mean()
            reference[row] -= 0.1 * dense[row] / (total[row].sqrt() + 1e-10)
    torch.testing.assert_close(table.detach().double(), reference, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(other, plain)
    assert optimizer.state[table]["sum"].shape == (6,)


WITHOUT = ("stare", "context", "blp", "bi-encoder")
WITH_ROWS = [name for name in sorted(scorers.SCORERS) if not name.startswith(WITHOUT)]
"""StarE's rows meet in messages, readers of texts and of contexts have none."""


@pytest.mark.parametrize("name", WITH_ROWS)
def test_a_step_over_rows_gives_the_gradient_of_a_dense_one(name: str) -> None:
    """Every scorer, with penalties and relation prediction, all entities drawn; no dense gradient of the table exists."""
    graph = ring()
    dura = 0.02 if name in ("complex", "distmult", "rescal", "simple") else 0.0
    chosen = settings(n3=0.01, dura=dura, relation_prediction=0.1, batch_size=7)
    parts = TransformerSettings(dropout=0.0)
    chosen = chosen.model_copy(update={"scorer": name, "width": 12, "initial_scale": 0.3, "transformer": parts})
    scorer = scorers.build(chosen, n=graph.n, r=graph.r)
    questions = Questions.of(graph, TRAIN, torch.device("cpu"))
    loss = BatchLoss(scorer, chosen.training, Workspace(torch.float32))
    generator = torch.Generator().manual_seed(0)
    batch = next(questions.batches(7, generator, "triples"))
    gradients = []
    steps = [
        RowStep(loss, Shards(graph.n), Sampler(torch.ones(graph.n), 99), by_rows=sparse) for sparse in (True, False)
    ]
    for step in (DenseStep(loss), *steps):
        scorer.zero_grad()
        value = step(batch, generator)
        assert scorer.entity.grad is not None
        assert scorer.entity.grad.is_sparse == step.by_rows
        gradients.append([value, *(p.grad.to_dense() for p in scorer.parameters() if p.grad is not None)])
    for dense, *others in zip(*gradients, strict=True):
        for other in others:
            torch.testing.assert_close(other, dense, rtol=1e-3, atol=1e-5)


def test_rows_out_of_use_keep_their_weights() -> None:
    graph = ring()
    chosen = settings(negatives=2)
    scorer = scorers.build(chosen, n=graph.n, r=graph.r)
    questions = Questions.of(graph, TRAIN, torch.device("cpu"))
    loss = BatchLoss(scorer, chosen.training, Workspace(torch.float32))
    sampler, generator = Sampler(torch.ones(graph.n), 2), torch.Generator().manual_seed(0)
    batch = next(questions.batches(3, generator, "triples"))
    RowStep(loss, Shards(graph.n), sampler, by_rows=True)(batch, generator)
    assert scorer.entity.grad is not None
    assert len(scorer.entity.grad.coalesce().indices()[0]) <= 2 + 3 + len(batch[2].target)


def test_resumed_sampling_is_bit_for_bit_the_uninterrupted_one(tmp_path: Path) -> None:
    graph, chosen = ring(), settings(epochs=9, negatives=8, entity_dropout=0.2, averaging=0.5)
    whole, resumed = (scorers.build(chosen, n=graph.n, r=graph.r) for _ in range(2))
    fit(whole, graph, chosen.training)
    path = tmp_path / "run.safetensors"
    half = chosen.training.model_copy(update={"epochs": 4})
    fit(scorers.build(chosen, n=graph.n, r=graph.r), graph, half, checkpoint=path, fingerprint="x")
    history = fit(resumed, graph, chosen.training, checkpoint=path, fingerprint="x")
    assert [epoch.epoch for epoch in history.epochs] == list(range(1, 10))
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key])


def test_sampling_learns_nearly_what_the_softmax_learns(mirror: Path) -> None:
    """CoDEx-S, five epochs: 400 of 2,034 entities a batch."""
    graph = datasets.load("codex-s")
    reached = {}
    for negatives in ("all", 400):
        chosen = ModelSettings.model_validate(
            {
                "width": 64,
                "training": {
                    "epochs": 5,
                    "batch_size": 256,
                    "learning_rate": 0.2,
                    "negatives": negatives,
                    "device": "cpu",
                },
            }
        )
        scorer = scorers.build(chosen, n=graph.n, r=graph.r)
        fit(scorer, graph, chosen.training)
        reached[negatives] = rank(scorer, graph, Split.VALID).figures()["mrr"]
    assert reached[400] > 0.9 * reached["all"]
    assert reached["all"] > 0.3


BAD_SETTINGS: list[tuple[dict[str, object], str]] = [
    ({"loss": "bce"}, r"training.loss = 'softmax'.*found 'bce'"),
    ({"label_smoothing": 0.1}, r"label_smoothing = 0, found 'softmax' and 0.1"),
]


@pytest.mark.parametrize(("wrong", "message"), BAD_SETTINGS)
def test_what_sampling_cannot_do_is_said(wrong: dict[str, object], message: str) -> None:
    graph, chosen = ring(), settings(negatives=5, **wrong)
    with pytest.raises(RecipeError, match=message):
        fit(scorers.build(chosen, n=graph.n, r=graph.r), graph, chosen.training)


@pytest.mark.parametrize("wrong", [{"optimizer": "adam"}, {"negatives_until": 0.5}])
def test_a_table_too_large_for_dense_gradients_gets_none(
    wrong: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, chosen = ring(), settings(negatives=5, **wrong)
    fit(scorers.build(chosen, n=graph.n, r=graph.r), graph, chosen.training)
    monkeypatch.setattr("kgservice.training.step.AUTO_ABOVE", graph.n - 1)
    with pytest.raises(RecipeError, match=r"entities need training.optimizer = 'adagrad'.*negatives_until = 1"):
        fit(scorers.build(chosen, n=graph.n, r=graph.r), graph, chosen.training)


def test_the_last_epochs_compare_with_all_entities() -> None:
    graph, chosen = ring(), settings(epochs=10, negatives=5, negatives_until=0.7)
    scorer = scorers.build(chosen, n=graph.n, r=graph.r)
    questions = Questions.of(graph, TRAIN, torch.device("cpu"))
    steps = steps_of(BatchLoss(scorer, chosen.training, Workspace(torch.float32)), questions, Shards(graph.n))
    assert [isinstance(steps.of(epoch), RowStep) for epoch in range(1, 11)] == [True] * 7 + [False] * 3
    assert not steps.by_rows


def test_all_entities_compete_up_to_a_million() -> None:
    chosen = settings().training
    assert negatives_of(chosen, 1_000_000) is None
    assert negatives_of(chosen, 1_000_001) == AUTO_NEGATIVES
    assert negatives_of(chosen.model_copy(update={"negatives": "all"}), 10**8) is None
    assert negatives_of(chosen.model_copy(update={"negatives": 7}), 10) == 7
