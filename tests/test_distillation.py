"""Distillation: a narrow student that also learns from a wide teacher's answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from kgservice import pipeline, scorers
from kgservice.errors import RecipeError
from kgservice.graph.statements import Split
from kgservice.query import QueryBatch
from kgservice.recipe import DistilSettings, Recipe
from kgservice.scorers.base import Logits
from kgservice.training import distillation
from kgservice.training.distillation import distilled
from kgservice.training.loop import fit
from kgservice.training.objectives import Positives, Soft, Workspace, softmax
from kgservice.training.projection import start_projected
from tests.conftest import family_recipe

B, N, K, D = 3, 11, 4, 6
WORKSPACE = Workspace(torch.float32)


def problem() -> tuple[torch.Tensor, torch.Tensor, Positives]:
    generator = torch.Generator().manual_seed(0)
    queries, candidates = torch.randn(B, D, generator=generator), torch.randn(N, D, generator=generator)
    target = torch.stack([torch.randperm(N, generator=generator)[:K] for _ in range(B)])
    probability = torch.softmax(torch.randn(B, K, generator=generator), 1)
    positives = Positives(
        torch.tensor([0, 2, 3, 5]),
        torch.tensor([0, 0, 1, 2, 2]),
        torch.tensor([1, 4, 0, 9, 10]),
        torch.full((B,), 0.2),
        soft=Soft(target, probability),
    )
    return queries, candidates, positives


def settings(**given: object) -> DistilSettings:
    return DistilSettings.model_validate({"teacher": "wide", "candidates": K, **given})


def gradients(distance: str, share: float) -> tuple[float, torch.Tensor, torch.Tensor]:
    queries, candidates, positives = problem()
    queries.requires_grad_(), candidates.requires_grad_()
    loss = distilled(
        softmax, Logits(queries, candidates), positives, WORKSPACE, settings(distance=distance, share=share)
    )
    loss.backward()
    return loss.item(), queries.grad, candidates.grad


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("distance", ["kl", "reverse-kl"])
def test_value_and_gradient_equal_autograd(distance: str, share: float) -> None:
    value, grad_q, grad_e = gradients(distance, share)
    queries, candidates, positives = problem()
    q, e = queries.double().requires_grad_(), candidates.double().requires_grad_()
    log_p = torch.log_softmax(q @ e.T, 1)
    hard = -(0.2 * log_p[positives.question, positives.target]).sum()
    soft, weight = positives.soft, 0.2 * torch.tensor([2.0, 1.0, 2.0]).double()
    assert soft is not None
    teacher = soft.probability.double()
    if distance == "kl":
        apart = -(teacher * log_p.gather(1, soft.target)).sum(1)
    else:
        student = torch.log_softmax((q @ e.T).gather(1, soft.target), 1)
        apart = (student.exp() * (student - teacher.log())).sum(1)
    reference = (1 - share) * hard + share * (weight * apart).sum()
    reference.backward()
    assert value == pytest.approx(reference.item(), rel=1e-5)
    torch.testing.assert_close(grad_q.double(), q.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(grad_e.double(), e.grad, rtol=1e-4, atol=1e-6)


def test_sinkhorn_is_near_the_optimal_plan_and_falls_along_its_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distillation, "SINKHORN_STEPS", 20_000)
    monkeypatch.setattr(distillation, "SINKHORN_ENTROPY", 0.03)
    _, candidates, positives = problem()
    soft = positives.soft
    assert soft is not None
    costs = distillation._costs(candidates, soft.target)
    goal = torch.log_softmax(torch.randn(B, K, generator=torch.Generator().manual_seed(5)), 1)
    found = distillation._sinkhorn(soft.probability.log(), goal, costs)
    for row in range(B):  # the plan by linear programming
        rows, columns = np.repeat(np.eye(K), K, axis=1), np.tile(np.eye(K), K)
        source, end = soft.probability[row].double(), goal[row].double().exp()
        bounds = torch.cat([source / source.sum(), end / end.sum()]).numpy()
        best = linprog(
            costs[row].flatten().double().numpy(), A_eq=np.concatenate([rows, columns])[:-1], b_eq=bounds[:-1]
        ).fun
        assert found[row].item() == pytest.approx(best, abs=0.03)
    scores = goal.clone().requires_grad_()
    distillation._sinkhorn(soft.probability.log(), torch.log_softmax(scores, 1), costs).sum().backward()
    moved = torch.log_softmax(scores.detach() - 0.05 * scores.grad, 1)
    assert (distillation._sinkhorn(soft.probability.log(), moved, costs) < found).all()


def taught(**training: object) -> Recipe:
    """A wide model, and a narrow one that learns from it."""
    recipe = family_recipe()
    wide = recipe.models["complex"]
    tree = recipe.model_dump(mode="json")
    tree["models"] = {"wide": wide.model_dump(mode="json"), "narrow": {**wide.model_dump(mode="json"), "width": 8}}
    tree["models"]["narrow"]["training"] |= {"objective": "distil", "distil": {"teacher": "wide"}} | training
    return Recipe.parse(tree)


@pytest.mark.parametrize("kind", ["complex", "distmult", "rescal", "simple"])
def test_a_projection_loses_what_lies_outside_of_the_students_width_alone(
    family_ttl: Path, tmp_path: Path, kind: str
) -> None:
    recipe = family_recipe(scorer=kind, width=16)
    graph = pipeline.prepare_graph(recipe, tmp_path, family_ttl.parent)
    teacher = scorers.build(recipe.models["complex"], n=graph.n, r=graph.r)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # entities of six dimensions, somewhere in sixteen
        teacher.entity.copy_(torch.randn(graph.n, 6, generator=generator) @ torch.randn(6, 16, generator=generator))
    every = np.arange(graph.n)
    queries = QueryBatch.objects(every, np.arange(graph.n) % graph.r)
    wanted = teacher.scores(queries).detach().numpy()
    for width, close in ((6, True), (3, False)):
        student = scorers.build(family_recipe(scorer="rescal", width=width).models["complex"], n=graph.n, r=graph.r)
        assert start_projected(student, teacher, graph)
        assert (
            np.allclose(student.scores(queries).detach().numpy(), wanted, atol=1e-3 * float(np.abs(wanted).max()))
            == close
        )
    same = scorers.build(family_recipe(scorer="complex", width=6).models["complex"], n=graph.n, r=graph.r)
    assert not start_projected(same, teacher, graph)


@pytest.mark.parametrize("distance", ["kl", "reverse-kl", "sinkhorn"])
def test_a_student_comes_closer_to_its_teacher(family_ttl: Path, tmp_path: Path, distance: str) -> None:
    """Learnt from the teacher alone, of the same recipe and then of a release: most best answers are the teacher's."""
    recipe = taught(distil={"teacher": "wide", "distance": distance, "share": 0.95}, epochs=60)
    graph = pipeline.prepare_graph(recipe, tmp_path, family_ttl.parent)
    teacher, student = (pipeline.learn(recipe, name, graph, tmp_path)[0] for name in ("wide", "narrow"))
    untaught = scorers.build(recipe.models["narrow"], n=graph.n, r=graph.r).eval()
    table = graph.statements.in_split(Split.TRAIN)
    queries = QueryBatch.objects(table.subject, table.relation)
    with torch.inference_mode():
        best, found, before = (scorer.scores(queries).argmax(1) for scorer in (teacher, student, untaught))
    assert (found == best).float().mean() > 0.5 > (before == best).float().mean()


def test_a_release_teaches(family_ttl: Path, tmp_path: Path) -> None:
    release = pipeline.build(family_recipe(), tmp_path, base=family_ttl.parent)
    recipe = taught(distil={"teacher": f"{release.id}/complex"})
    graph = pipeline.prepare_graph(recipe, tmp_path, family_ttl.parent)
    assert pipeline.learn(recipe, "narrow", graph, tmp_path)[1].epochs


def test_a_teacher_that_cannot_be_is_refused(family_ttl: Path, tmp_path: Path) -> None:
    graph = pipeline.prepare_graph(taught(), tmp_path, family_ttl.parent)
    with pytest.raises(RecipeError, match=r"'wise': expected a model of this recipe \(wide\) or RELEASE/MODEL"):
        pipeline.learn(taught(distil={"teacher": "wise"}), "narrow", graph, tmp_path)
    with pytest.raises(RecipeError, match="narrow is taught by itself: narrow → narrow"):
        pipeline.learn(taught(distil={"teacher": "narrow"}), "narrow", graph, tmp_path)
    settings = taught().models["narrow"]
    with pytest.raises(RecipeError, match="only 'distil' has a teacher, and needs one"):
        fit(scorers.build(settings, n=graph.n, r=graph.r), graph, settings.training)
    with pytest.raises(RecipeError, match=r"needs distil.teacher"):
        taught(distil={})
