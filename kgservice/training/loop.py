"""The training loop: epochs over distinct questions, validation, early stopping, checkpoints, faults.

A training is a function of its settings and its graph: order and dropout are drawn anew from (seed, epoch), so that a run
that was killed and resumed gives, on the CPU, bit for bit the weights of one that was not.
"""

from __future__ import annotations

import ctypes
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from kgservice.errors import DataError, RecipeError, TrainingDiverged
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split
from kgservice.precision import fast_bfloat16
from kgservice.recipe import TrainingSettings
from kgservice.scorers.base import VectorScorer
from kgservice.training import optimizers, weights
from kgservice.training.checkpoint import Checkpoint
from kgservice.training.distillation import answers_of
from kgservice.training.objectives import Workspace
from kgservice.training.questions import Questions
from kgservice.training.sharding import Shards
from kgservice.training.step import BatchLoss, Step, steps_of

logger = logging.getLogger(__name__)

CHECK_EVERY = 50
"""Steps between looks at the losses: a look waits for the device."""
DIVERGED = 3.0
"""A training has diverged when an epoch's mean loss is so many times that of guessing and that of its first batch."""
CHECKPOINT_EVERY_S = 20.0
CHECKPOINT_SHARE = 0.05
"""Of the time, at most: large checkpoints are written more rarely."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave.

    Attributes:
        epoch: its number, from 1.
        loss: mean over true answers.
        duration_s: seconds of training, validation not counted.
        validation: figure of the validation after it, if there was one; higher is better.
    """

    epoch: int
    loss: float
    duration_s: float
    validation: float | None = None


@dataclass
class History:
    """All epochs so far, and which validation was best.

    Attributes:
        epochs: in order.
        first_loss: of the very first batch, before any update.
        best_epoch: 0 where none was validated.
        best_validation: its figure.
        validations_without_gain: since then.
    """

    epochs: list[Epoch] = field(default_factory=list)
    first_loss: float = 0.0
    best_epoch: int = 0
    best_validation: float = float("-inf")
    validations_without_gain: int = 0

    @property
    def duration_s(self) -> float:
        """Seconds of training in all."""
        return sum(epoch.duration_s for epoch in self.epochs)


def fit(
    scorer: VectorScorer,
    graph: KnowledgeGraph,
    settings: TrainingSettings,
    *,
    validate: Callable[[VectorScorer], float] | None = None,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    title: str = "training",
    teacher: VectorScorer | None = None,
) -> History:
    """Train `scorer` in place; it ends with the weights of the best validation, or the last where there is none.

    In several processes (see `sharding`) all call it alike; the first one ends with the whole scorer, the others with their
    own rows of it.

    Args:
        scorer: freshly initialised, or warm (see `warm`).
        graph: its statements of `settings.splits` are learnt.
        settings: see the recipe.
        validate: called every `evaluate_every` epochs, in the first process; higher is better.
        checkpoint: file to resume from and save to; one of another `fingerprint` is ignored.
        fingerprint: names the recipe, the graph and the data this training belongs to.
        title: shown beside the progress bar.
        teacher: of the same graph, for `objective = "distil"`.

    Raises:
        TrainingDiverged: the loss or a weight is not a number, or the loss has grown far above that of guessing.
        DataError: the last checkpoint could not be written.
        RecipeError: settings that do not go together with sampling or several processes.
    """
    device = resolve_device(settings.device)
    keep_freed_memory()
    shards = Shards.of(scorer.n)
    shards.cut(scorer)
    scorer.to(device)
    splits = tuple(Split[name.upper()] for name in settings.splits)
    scorer.prepare(graph, splits)
    questions = Questions.of(graph, splits, device, reads=scorer.reads, values=settings.qualifier_values)
    precision = resolve_precision(settings.precision, device)
    questions = _taught(questions, scorer, teacher, settings, precision)
    loss = BatchLoss(scorer, settings, Workspace(precision))
    steps = steps_of(loss, questions, shards)
    optimizer = optimizers.build(scorer, settings, by_rows=steps.by_rows)
    kept = weights.Kept(scorer, settings.averaging)
    file = _File(checkpoint, fingerprint, shards) if checkpoint else None
    history = _resumed(file, scorer, kept, optimizer) if file else History()
    done, quiet = len(history.epochs), True if shards.rank else None
    if done:
        logger.info("resumed %s after epoch %d", title, done)

    with tqdm(total=settings.epochs, initial=done, desc=title, unit="epoch", disable=quiet) as bar:
        for number in range(done + 1, settings.epochs + 1):
            if history.validations_without_gain >= settings.patience:
                break
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * settings.learning_rate_decay ** (number - 1)
            epoch = _run_epoch(steps.of(number), optimizer, questions, history, number)
            kept.average(number)
            improved = False
            if validate and (number % settings.evaluate_every == 0 or number == settings.epochs):
                epoch = Epoch(epoch.epoch, epoch.loss, epoch.duration_s, _validated(kept, shards, validate))
                improved = _note(history, epoch)
            history.epochs.append(epoch)
            bar.update()
            bar.set_postfix(loss=f"{epoch.loss:.3f}", best=f"{max(history.best_validation, 0):.4f}")
            finished = number == settings.epochs or history.validations_without_gain >= settings.patience
            map_best = improved and kept.large and shards.alone
            if improved and not (file and map_best):
                kept.copy_present()
            if file and (finished or map_best or file.due()):
                file.save(kept, optimizer, history, last=finished, map_best=map_best)
    kept.finish(best=bool(history.best_epoch))
    shards.join(scorer)
    logger.info("%s: %d epochs in %.1f s, best %s", title, len(history.epochs), history.duration_s, history.best_epoch)
    return history


def _taught(
    questions: Questions,
    scorer: VectorScorer,
    teacher: VectorScorer | None,
    settings: TrainingSettings,
    precision: torch.dtype,
) -> Questions:
    """With a teacher's answers, where there is one."""
    if (settings.objective == "distil") != (teacher is not None):
        raise RecipeError(f"training.objective is {settings.objective!r}: only 'distil' has a teacher, and needs one")
    if teacher is None:
        return questions
    if scorer.competing is not None:
        raise RecipeError("a scorer whose candidates are the learnt entities alone has no teacher: it may name others")
    answers = answers_of(teacher, questions.anchor, questions.relation, settings.distil, precision)
    return replace(questions, soft=answers)


def _resumed(file: _File, scorer: VectorScorer, kept: weights.Kept, optimizer: torch.optim.Optimizer) -> History:
    """What was done before, its weights and the optimizer's state restored; nothing where the file is of another training."""
    saved = Checkpoint.load(file.path)
    if saved is None or saved.state["fingerprint"] != file.fingerprint:
        return History()
    history = _history(saved)
    tensors = file.shards.own(saved.tensors, scorer)
    kept.restore(tensors, best=bool(history.best_epoch))
    optimizers.restore(optimizer, tensors)
    return history


def resolve_device(name: str) -> torch.device:
    """`auto` is the first CUDA device where there is one, else the CPU.

    Raises:
        RecipeError: a CUDA device that this machine lacks.
    """
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if found else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= found:
        raise RecipeError(f"training.device is {name!r}: PyTorch finds {found} CUDA devices here; give 'auto' or 'cpu'")
    return device


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where it is fast, see `precision.fast_bfloat16`."""
    if name == "auto":
        name = "bfloat16" if fast_bfloat16(device.type) else "float32"
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def keep_freed_memory() -> None:
    """Let glibc reuse large freed blocks instead of returning them: fresh pages took a third of a step's time."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(ctypes.c_int(-3), ctypes.c_int(32 << 20))  # M_MMAP_THRESHOLD, at its largest
        libc.mallopt(ctypes.c_int(-1), ctypes.c_int(1 << 30))  # M_TRIM_THRESHOLD
    except (OSError, AttributeError):
        logger.debug("not glibc: memory is returned as the system likes")


def _run_epoch(
    step: Step, optimizer: torch.optim.Optimizer, questions: Questions, history: History, number: int
) -> Epoch:
    scorer, settings, device = step.loss.scorer, step.loss.settings, questions.anchor.device
    scorer.train()
    started = time.perf_counter()
    seed = (settings.seed << 32) + number
    order, drawing = torch.Generator().manual_seed(seed), torch.Generator(device).manual_seed(seed)
    total = torch.zeros((), dtype=torch.float64, device=device)
    losses = torch.zeros(CHECK_EVERY, device=device)
    answers = batch = 0
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
        torch.manual_seed(seed)
        batches = questions.batches(settings.batch_size, order, settings.weighting, settings.answers_at_once)
        for batch, asked in enumerate(batches, 1):
            optimizer.zero_grad(set_to_none=True)
            loss = step(asked, drawing)
            optimizer.step()
            losses[(batch - 1) % CHECK_EVERY] = loss
            total += loss * len(asked.positives.target)
            answers += len(asked.positives.target)
            if number == batch == 1:
                history.first_loss = float(loss)
            if batch % CHECK_EVERY == 0:
                _check_losses(losses, number, batch, settings)
    _check_losses(losses[: batch % CHECK_EVERY], number, batch, settings)
    mean, untrained = float(total) / max(answers, 1), max(history.first_loss, math.log(max(scorer.n, 2)))
    if not weights.finite(scorer):
        raise TrainingDiverged(f"a weight is not a number after epoch {number}, batch {batch}. {_hint(settings)}")
    if mean > DIVERGED * untrained:
        raise TrainingDiverged(
            f"the mean loss of epoch {number} is {mean:.4g} by batch {batch}, more than {DIVERGED:g} times the "
            f"{untrained:.4g} of a model that knows nothing. {_hint(settings)}"
        )
    return Epoch(number, mean, time.perf_counter() - started)


def _check_losses(losses: Tensor, epoch: int, batch: int, settings: TrainingSettings) -> None:
    """Raise where one of the last losses, up to that of `batch`, is not a number."""
    wrong = (~losses.isfinite()).nonzero()
    if len(wrong):
        first = int(wrong[0])
        raise TrainingDiverged(
            f"the loss became {float(losses[first])} in epoch {epoch}, batch {batch - len(losses) + first + 1}. "
            f"{_hint(settings)}"
        )


def _hint(settings: TrainingSettings) -> str:
    return f"Try a smaller learning_rate (now {settings.learning_rate:g}) or precision = 'float32'."


def _validated(kept: weights.Kept, shards: Shards, validate: Callable[[VectorScorer], float]) -> float:
    with kept.worn():
        complete = shards.complete(kept.scorer)
        figure: float = shards.agreed(validate(complete) if complete is not None else None)
    return figure


def _note(history: History, epoch: Epoch) -> bool:
    """Count a validation; whether it is the best so far."""
    history.validations_without_gain += 1
    if epoch.validation is None or epoch.validation <= history.best_validation:
        return False
    history.best_validation, history.best_epoch = epoch.validation, epoch.epoch
    history.validations_without_gain = 0
    return True


class _File:
    """The checkpoint of a training: when it is due, and what becomes of a full disk."""

    def __init__(self, path: Path, fingerprint: str, shards: Shards) -> None:
        self.path, self.fingerprint, self.shards = path, fingerprint, shards
        self.saved_at, self.took_s = time.monotonic(), 0.0

    def due(self) -> bool:
        pause = max(CHECKPOINT_EVERY_S, self.took_s / CHECKPOINT_SHARE)
        due: bool = self.shards.agreed(time.monotonic() - self.saved_at > pause)
        return due

    def save(
        self, kept: weights.Kept, optimizer: torch.optim.Optimizer, history: History, *, last: bool, map_best: bool
    ) -> None:
        """A checkpoint that cannot be written is one the training goes on without, unless it is the last."""
        started = time.monotonic()
        best_is_present = history.best_epoch == len(history.epochs)
        tensors = {**kept.tensors(best_is_present=best_is_present), **optimizers.state_of(optimizer)}
        tensors = self.shards.gathered(tensors, kept.scorer)
        try:
            if self.shards.rank == 0:
                Checkpoint(tensors, {"fingerprint": self.fingerprint, "history": asdict(history)}).save(self.path)
            if kept.large and self.shards.alone and history.best_epoch and (saved := Checkpoint.load(self.path)):
                kept.map_best(saved.tensors)
        except OSError as error:
            if last:
                raise DataError(
                    f"{self.path}: the trained weights could not be written: {error}. Free some space and run the same "
                    "command again: it goes on from the last checkpoint that was."
                ) from error
            logger.warning("%s could not be written, training goes on and tries again: %s", self.path, error)
            if map_best:
                kept.copy_present()
        self.saved_at = time.monotonic()
        self.took_s = self.saved_at - started


def _history(saved: Checkpoint) -> History:
    state = dict(saved.state["history"])
    return History(**{**state, "epochs": [Epoch(**epoch) for epoch in state["epochs"]]})
