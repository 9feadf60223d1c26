"""The training loop: epochs over distinct questions, validation, early stopping, checkpoints.

A training is a function of its settings and its graph: order and dropout are drawn anew from (seed, epoch), so that a run
that was killed and resumed gives, on the CPU, bit for bit the weights of one that was not.
"""

from __future__ import annotations

import ctypes
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from kgservice.errors import TrainingDiverged
from kgservice.graph import KnowledgeGraph
from kgservice.recipe import TrainingSettings
from kgservice.scorers.base import VectorScorer
from kgservice.statements import Split
from kgservice.training.checkpoint import Checkpoint, optimizer_tensors, restore_optimizer
from kgservice.training.objectives import Positives, Workspace, grouped_softmax
from kgservice.training.questions import Questions

logger = logging.getLogger(__name__)

CHECK_EVERY = 50
"""Steps between looks at the loss: a look waits for the device."""
CHECKPOINT_EVERY_S = 20.0


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
    """All epochs so far, and which validation was best."""

    epochs: list[Epoch] = field(default_factory=list)
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
) -> History:
    """Train `scorer` in place; it ends with the weights of the best validation, or the last where there is none.

    Args:
        scorer: freshly initialised.
        graph: its statements of `settings.splits` are learnt.
        settings: see the recipe.
        validate: called every `evaluate_every` epochs; higher is better.
        checkpoint: file to resume from and save to; one of another `fingerprint` is ignored.
        fingerprint: names the recipe, the graph and the data this training belongs to.
        title: shown beside the progress bar.

    Raises:
        TrainingDiverged: the loss is not a number.
    """
    device = resolve_device(settings.device)
    keep_freed_memory()
    scorer.to(device)
    optimizer = _optimizer(scorer, settings)
    history, best = History(), _weights(scorer)
    mean = _weights(scorer)
    saved = Checkpoint.load(checkpoint) if checkpoint else None
    if saved and saved.state["fingerprint"] == fingerprint:
        history = _history(saved)
        scorer.load_state_dict(_named(saved, "model/"))
        best, mean = _named(saved, "best/"), _named(saved, "mean/")
        restore_optimizer(optimizer, saved.tensors)
        logger.info("resumed %s after epoch %d", title, len(history.epochs))

    questions = Questions.of(graph, tuple(Split[name.upper()] for name in settings.splits), device)
    workspace = Workspace(resolve_precision(settings.precision, device))
    last_saved = time.monotonic()
    bar = tqdm(total=settings.epochs, initial=len(history.epochs), desc=title, unit="epoch", disable=None)
    with bar:
        for number in range(len(history.epochs) + 1, settings.epochs + 1):
            if history.validations_without_gain >= settings.patience:
                break
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * settings.learning_rate_decay ** (number - 1)
            epoch = _run_epoch(scorer, questions, optimizer, workspace, settings, number)
            mean = _averaged(mean, scorer, settings.averaging, number)
            if validate and (number % settings.evaluate_every == 0 or number == settings.epochs):
                with _wearing(scorer, mean):
                    figure = validate(scorer)
                epoch = Epoch(epoch.epoch, epoch.loss, epoch.duration_s, figure)
                history.validations_without_gain += 1
                if figure > history.best_validation:
                    history.best_validation, history.best_epoch = figure, number
                    history.validations_without_gain = 0
                    best = mean
            history.epochs.append(epoch)
            bar.update()
            bar.set_postfix(loss=f"{epoch.loss:.3f}", best=f"{max(history.best_validation, 0):.4f}")
            finished = number == settings.epochs or history.validations_without_gain >= settings.patience
            if checkpoint and (finished or time.monotonic() - last_saved > CHECKPOINT_EVERY_S):
                _save(checkpoint, fingerprint, scorer, {"best": best, "mean": mean}, optimizer, history)
                last_saved = time.monotonic()
    scorer.load_state_dict(best if history.best_epoch else mean)
    scorer.eval()
    logger.info("%s: %d epochs in %.1f s, best %s", title, len(history.epochs), history.duration_s, history.best_epoch)
    return history


def resolve_device(name: str) -> torch.device:
    """`auto` is the first CUDA device where there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where the processor multiplies it natively: about six times float32 with AMX."""
    if name == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported()
        else:
            probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # private, so each may be missing
            fast = any(getattr(torch.cpu, probe, bool)() for probe in probes)
        name = "bfloat16" if fast else "float32"
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def keep_freed_memory() -> None:
    """Let glibc reuse large freed blocks instead of returning them: fresh pages took a third of a step's time."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(ctypes.c_int(-3), ctypes.c_int(32 << 20))  # M_MMAP_THRESHOLD, at its largest
        libc.mallopt(ctypes.c_int(-1), ctypes.c_int(1 << 30))  # M_TRIM_THRESHOLD
    except (OSError, AttributeError):
        logger.debug("not glibc: memory is returned as the system likes")


def _optimizer(scorer: VectorScorer, settings: TrainingSettings) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in scorer.parameters() if parameter.requires_grad]
    if settings.optimizer == "adagrad":
        return torch.optim.Adagrad(parameters, lr=settings.learning_rate, fused=parameters[0].device.type == "cpu")
    return torch.optim.Adam(parameters, lr=settings.learning_rate, fused=True)


def _run_epoch(
    scorer: VectorScorer,
    questions: Questions,
    optimizer: torch.optim.Optimizer,
    workspace: Workspace,
    settings: TrainingSettings,
    number: int,
) -> Epoch:
    scorer.train()
    started = time.perf_counter()
    generator = torch.Generator().manual_seed((settings.seed << 32) + number)
    total = torch.zeros((), dtype=torch.float64, device=questions.anchor.device)
    answers = 0
    devices = [] if questions.anchor.device.type == "cpu" else [questions.anchor.device]
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed((settings.seed << 32) + number)
        batches = questions.batches(settings.batch_size, generator, settings.weighting)
        for step, (anchor, relation, positives) in enumerate(batches):
            optimizer.zero_grad(set_to_none=True)
            loss = _loss(scorer, anchor, relation, positives, workspace, settings)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.detach() * len(positives.target)
            answers += len(positives.target)
            if step % CHECK_EVERY == 0 and not torch.isfinite(total):
                break
    mean = float(total) / max(answers, 1)
    if mean != mean or mean in (float("inf"), float("-inf")):
        raise TrainingDiverged(
            f"the loss became {mean} in epoch {number}, by batch {step + 1}. "
            f"Try a smaller learning_rate (now {settings.learning_rate}) or precision = 'float32'."
        )
    return Epoch(number, mean, time.perf_counter() - started)


def _loss(
    scorer: VectorScorer,
    anchor: Tensor,
    relation: Tensor,
    positives: Positives,
    workspace: Workspace,
    settings: TrainingSettings,
) -> Tensor:
    logits = scorer.logits(anchor, relation)
    loss = grouped_softmax(logits, positives, workspace, smoothing=settings.label_smoothing)
    counts = positives.offset[1:] - positives.offset[:-1]
    answer_weight = positives.weight[positives.question]
    if settings.n3:
        of_question = scorer.entity_penalty(anchor) + scorer.relation_penalty(relation)
        penalty = (positives.weight * counts * of_question).sum()
        loss = loss + settings.n3 * (penalty + (answer_weight * scorer.entity_penalty(positives.target)).sum())
    if settings.relation_prediction:
        scores = scorer.relation_logits(anchor[positives.question], positives.target)
        wrong = F.cross_entropy(scores, relation[positives.question], reduction="none")
        loss = loss + settings.relation_prediction * (answer_weight * wrong).sum()
    return loss


def _weights(scorer: VectorScorer) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in scorer.state_dict().items()}


def _averaged(mean: dict[str, Tensor], scorer: VectorScorer, share: float, number: int) -> dict[str, Tensor]:
    """The running mean with this epoch's weights in it; a plain mean until so many epochs have gone as `share` spans."""
    past = min(share, 1 - 1 / number)
    return {name: past * mean[name] + (1 - past) * value if past else value for name, value in _weights(scorer).items()}


@contextmanager
def _wearing(scorer: VectorScorer, weights: dict[str, Tensor]) -> Iterator[None]:
    """Give the scorer other weights for a while, in evaluation mode."""
    own = _weights(scorer)
    scorer.load_state_dict(weights)
    scorer.eval()
    try:
        yield
    finally:
        scorer.load_state_dict(own)


def _named(saved: Checkpoint, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in saved.tensors.items() if name.startswith(prefix)}


def _save(
    path: Path,
    fingerprint: str,
    scorer: VectorScorer,
    kept: dict[str, dict[str, Tensor]],
    optimizer: torch.optim.Optimizer,
    history: History,
) -> None:
    tensors = {
        **{f"model/{name}": value for name, value in _weights(scorer).items()},
        **{f"{what}/{name}": value.clone() for what, held in kept.items() for name, value in held.items()},
        **{name: value.cpu() for name, value in optimizer_tensors(optimizer).items()},
    }
    Checkpoint(tensors, {"fingerprint": fingerprint, "history": asdict(history)}).save(path)


def _history(saved: Checkpoint) -> History:
    state = dict(saved.state["history"])
    return History(**{**state, "epochs": [Epoch(**epoch) for epoch in state["epochs"]]})
