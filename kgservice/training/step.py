"""One training step: the loss of a batch of questions, and gradients over all entities or over the rows in use alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from kgservice.errors import RecipeError
from kgservice.recipe import TrainingSettings
from kgservice.scorers.base import Answers, Logits, VectorScorer
from kgservice.scorers.context import Context
from kgservice.scorers.embedding import TableScorer
from kgservice.training.distillation import distilled
from kgservice.training.objectives import OBJECTIVES, Positives, Workspace, softmax
from kgservice.training.questions import Batch, Questions
from kgservice.training.sampled import AUTO_ABOVE, Drawn, Sampler, negatives_of, sampled_softmax
from kgservice.training.sharding import TABLE, Shards


class BatchLoss(nn.Module):
    """A module around a scorer, so that `torch.func.functional_call` can put other rows in the place of its table."""

    def __init__(self, scorer: VectorScorer, settings: TrainingSettings, workspace: Workspace) -> None:
        super().__init__()
        self.scorer, self.settings, self.workspace = scorer, settings, workspace
        self.relations = Workspace(workspace.precision)

    def forward(
        self,
        anchor: Tensor,
        relation: Tensor,
        positives: Positives,
        context: Context | None = None,
        answers_loss: Callable[[Logits], Tensor] | None = None,
    ) -> Tensor:
        """float32 `[]`.

        Args:
            anchor, relation: int64 `[b]`, distinct questions; anchors are rows of the scorer's table.
            positives: their answers, rows of the same table.
            context: their qualifiers, for a scorer that reads some.
            answers_loss: in the place of the recipe's loss over all entities.
        """
        scorer, settings = self.scorer, self.settings
        half = scorer.mixed and self.workspace.precision == torch.bfloat16
        layers = partial(torch.autocast, anchor.device.type, torch.bfloat16, half)
        if answers_loss is None:
            with layers():
                terms = scorer.terms(anchor, relation, context, Answers(positives.offset, positives.target))
            queries, answers = terms[0].logits.queries, _competing(positives, scorer.competing)
            parts = [t.weight * self.over_all_entities(t.logits, _answers(t.target, answers)) for t in terms]
            loss = torch.stack(parts).sum() if len(parts) > 1 else parts[0]
        else:
            with layers():
                logits = scorer.logits(anchor, relation, context)
            loss, queries = answers_loss(logits), logits.queries
        if settings.n3:
            ids, weight = _together(torch.cat([anchor, positives.target]), torch.cat([positives.total, positives.each]))
            relations, counted = _together(relation, positives.total)
            of_relations = (counted * scorer.relation_penalty(relations)).sum()
            loss = loss + settings.n3 * (of_relations + (weight * scorer.entity_penalty(ids)).sum())
        if settings.dura:
            assert isinstance(scorer, TableScorer)
            ids, weight = _together(positives.target, positives.each)
            of_answers = (weight * _squared(scorer.answering(scorer.rows_of(ids)))).sum()
            loss = loss + settings.dura * ((positives.total * _squared(queries)).sum() + of_answers)
        if settings.relation_prediction:
            question, target, each = positives.question, positives.target, positives.each
            if context is not None:
                # A qualifier's value is no end of a statement.
                whole = ~context.asks_value[question]
                question, target, each = question[whole], target[whole], each[whole]
            one = torch.arange(len(target) + 1, device=anchor.device)
            truth = Positives(one, one[:-1], relation[question], each)
            beside = None if context is None else context.take(question)
            with layers():
                between = scorer.relation_logits(anchor[question], target, beside)
            loss = loss + settings.relation_prediction * softmax(between, truth, self.relations)
        return loss

    def over_all_entities(self, logits: Logits, positives: Positives) -> Tensor:
        """The recipe's loss, and a teacher's where there is one."""
        settings, objective = self.settings, OBJECTIVES[self.settings.loss]
        given = {"smoothing": settings.label_smoothing, "margin": settings.margin}
        if positives.soft is not None:
            return distilled(objective, logits, positives, self.workspace, settings.distil, **given)
        return objective(logits, positives, self.workspace, **given)


class DenseStep:
    """Loss and gradients of a batch over all entities."""

    by_rows = False

    def __init__(self, loss: BatchLoss) -> None:
        self.loss = loss

    def __call__(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The loss; gradients are left in the parameters."""
        scorer = self.loss.scorer
        with scorer.collecting() if isinstance(scorer, TableScorer) else nullcontext():
            loss: Tensor = self.loss(*batch)
            loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()


class RowStep:
    """Loss and gradients of a batch over own candidates and fetched rows, in the place of the whole table.

    The scorer runs on a small table of `c` own rows and the `u` distinct anchors and answers. With a sampler the table's
    gradient may be sparse: the rows in use. Without one the own candidates are all rows held here, and it is dense.
    """

    def __init__(self, loss: BatchLoss, shards: Shards, sampler: Sampler | None, *, by_rows: bool) -> None:
        self.loss, self.shards, self.sampler, self.by_rows = loss, shards, sampler, by_rows
        self._gradient: Tensor | None = None
        self._touched: Tensor | None = None

    def __call__(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The loss; gradients are left in the parameters."""
        anchor, relation, positives, _ = batch
        scorer, shards = self.loss.scorer, self.shards
        assert isinstance(scorer, TableScorer)
        table: nn.Parameter = getattr(scorer, TABLE)
        if self.sampler is None:
            ids = torch.arange(shards.start, shards.stop, device=table.device)
            drawn, own = Drawn(ids, torch.zeros(len(ids), device=table.device)), table.detach()
        else:
            drawn = self.sampler.draw(generator)
            own = table.detach()[drawn.ids - shards.start]
        ids, place = torch.unique(torch.cat([anchor, positives.target]), return_inverse=True)
        rows = torch.cat([own, shards.fetch(table, ids)]).requires_grad_()
        local_anchor, local_target = torch.split(place + len(own), [len(anchor), len(positives.target)])
        softmax: Callable[[Logits], Tensor] = partial(
            sampled_softmax,
            drawn=drawn,
            positives=positives,
            rows=local_target,
            workspace=self.loss.workspace,
            shards=shards,
        )
        arguments = (local_anchor, relation, replace(positives, target=local_target), None, softmax)
        with scorer.collecting(rows):
            loss: Tensor = functional_call(self.loss, {f"scorer.{TABLE}": rows}, arguments)
            loss.backward()  # type: ignore[no-untyped-call]
        assert rows.grad is not None
        of_own, of_fetched = torch.split(rows.grad, [len(own), len(ids)])
        held = shards.mine(ids)
        self._give(table, drawn.ids - shards.start, of_own, ids[held] - shards.start, of_fetched[held])
        return loss.detach()

    def _give(self, table: nn.Parameter, drawn: Tensor, of_drawn: Tensor, fetched: Tensor, of_fetched: Tensor) -> None:
        """Leave the table's gradient: sparse, or in a matrix that is kept, since a fresh one costs its page faults."""
        if self.by_rows:
            both = torch.cat([drawn, fetched]), torch.cat([of_drawn, of_fetched])
            table.grad = torch.sparse_coo_tensor(both[0].unsqueeze(0), both[1], table.shape, check_invariants=False)
            return
        if self._gradient is None:
            self._gradient = torch.zeros_like(table)
        elif self._touched is not None:
            self._gradient.index_fill_(0, self._touched, 0)
        self._gradient[drawn] = of_drawn
        self._gradient.index_add_(0, fetched, of_fetched)
        self._touched = torch.cat([drawn, fetched])
        table.grad = self._gradient


def _together(ids: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Each id once, with the sum of what it counts."""
    ids, place = torch.unique(ids, return_inverse=True)
    return ids, torch.zeros(len(ids), device=ids.device).index_add_(0, place, weight)


def _squared(rows: Tensor) -> Tensor:
    """float `[b]`."""
    return (rows * rows).sum(1)


def _competing(positives: Positives, row: Tensor | None) -> Positives:
    """Answers as rows of the candidates that compete."""
    if row is None:
        return positives
    return replace(positives, target=row[positives.target])


def _answers(target: Tensor | None, of_batch: Positives) -> Positives:
    if target is None:
        return of_batch
    one = torch.arange(len(target) + 1, device=target.device)
    return Positives(one, one[:-1], target, torch.full(target.shape, 1 / max(len(target), 1), device=target.device))


Step = DenseStep | RowStep


@dataclass(frozen=True)
class Steps:
    """The steps of a training: one for its first epochs, one for the rest.

    Attributes:
        first: where candidates are drawn, it draws them.
        rest: compares with all entities.
        until: the last epoch of `first`.
        by_rows: whether the table's gradients are sparse, in all epochs.
    """

    first: Step
    rest: Step
    until: int
    by_rows: bool

    def of(self, epoch: int) -> Step:
        """The step of an epoch, numbered from 1."""
        return self.first if epoch <= self.until else self.rest


def steps_of(loss: BatchLoss, questions: Questions, shards: Shards) -> Steps:
    """The steps that a recipe and the processes at hand ask for.

    Raises:
        RecipeError: sampling, several processes or a penalty with a loss, smoothing, optimiser or scorer that they do not have.
    """
    scorer, settings = loss.scorer, loss.settings
    if settings.dura and not (isinstance(scorer, TableScorer) and scorer.metric == "ip"):
        raise RecipeError(
            f"training.dura shortens inner products of rows, which {type(scorer).__name__} does not score by"
        )
    negatives = negatives_of(settings, scorer.n)
    if negatives is None and shards.alone:
        step = DenseStep(loss)
        return Steps(step, step, settings.epochs, by_rows=False)
    _check(scorer, settings, sampled=negatives is not None)
    if not shards.alone and settings.candidate_dropout:
        raise RecipeError(
            "several processes need training.candidate_dropout = 0: each would drop other parts of an answer"
        )
    rest = DenseStep(loss) if shards.alone else RowStep(loss, shards, None, by_rows=False)
    if negatives is None:
        return Steps(rest, rest, settings.epochs, by_rows=False)
    until = round(settings.negatives_until * settings.epochs)
    # A table too large for dense gradients never gets one.
    by_rows = until >= settings.epochs and settings.optimizer == "adagrad"
    answers = torch.bincount(questions.target, minlength=scorer.n)[shards.start : shards.stop]
    sampler = Sampler(answers, -(-negatives // shards.world), shards.start)
    return Steps(RowStep(loss, shards, sampler, by_rows=by_rows), rest, until, by_rows)


def _check(scorer: VectorScorer, settings: TrainingSettings, *, sampled: bool) -> None:
    what = 'sampled candidates (negatives; "all" takes every entity)' if sampled else "several processes"
    if not isinstance(scorer, TableScorer):
        raise RecipeError(f"{what} need a scorer with a row per entity, {type(scorer).__name__} has none")
    if scorer.reads is not None:
        raise RecipeError(f"{what} need a scorer that reads no qualifiers: transformer.qualifiers = 0")
    if settings.loss != "softmax" or settings.label_smoothing:
        raise RecipeError(
            f"{what} need training.loss = 'softmax' and training.label_smoothing = 0, found "
            f"{settings.loss!r} and {settings.label_smoothing}"
        )
    if settings.objective != "answers":
        raise RecipeError(f"{what} need training.objective = 'answers', found {settings.objective!r}")
    if sampled and scorer.n > AUTO_ABOVE and (settings.optimizer != "adagrad" or settings.negatives_until < 1):
        raise RecipeError(
            f"{scorer.n:,} entities need training.optimizer = 'adagrad', which keeps one number per row, and "
            "training.negatives_until = 1"
        )
