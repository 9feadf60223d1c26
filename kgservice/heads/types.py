"""Which types an entity has, told by its vector: one logistic regression per type over frozen vectors, calibrated.

Entities without any type are left out, for they may have some that nobody stated. Of the others a tenth chooses the strength of
the penalty and the temperature of the probabilities, and another tenth measures; both are the same for every model of a graph, so
that models compare.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from kgservice.arrays.ragged import Ragged
from kgservice.errors import DataError

Ids = npt.NDArray[np.int32]
Vectors = npt.NDArray[np.float32]
Parts = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Three sets of entities, int64 `[·]` each: to fit to, to choose by, to measure on."""

FEWEST = 5
"""Entities that must have a type for it to be learnt."""
MOST_TYPES = 1000
MOST_ENTITIES = 50_000
"""The most frequent types, and as many entities drawn, are enough of a large graph."""
COSTS = (0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0)
"""C of the regression: how much the errors count beside ½‖w‖²; the best on held-out entities is taken."""
HELD_OUT = 0.1
_STEPS = 40
_GAIN = 1e-5
"""Steps that gain less per entity, or move less, are the last: figures no longer change."""
_BLOCK = 8192


@dataclass(frozen=True)
class TypeHead:
    """Attributes:
    types: int32 `[c]`, those that are told apart, sorted.
    weight: float32 `[c, d]`, of vectors less `center`.
    bias: float32 `[c]`, at the temperature of the probabilities, as `weight` is.
    center: float32 `[d]`.
    """

    types: Ids
    weight: Vectors
    bias: Vectors
    center: Vectors

    @classmethod
    def none(cls, d: int) -> Self:
        """Of a graph without types."""
        return cls(
            np.zeros(0, np.int32), np.zeros((0, d), np.float32), np.zeros(0, np.float32), np.zeros(d, np.float32)
        )

    @classmethod
    def fit(
        cls, vectors: Vectors, of_entity: Ragged, kinds: int, parts: Parts | None = None
    ) -> tuple[Self, dict[str, Any]]:
        """Learn to tell types apart.

        Args:
            vectors: float32 `[n, d]`.
            of_entity: ragged `[n]`, the types of each entity.
            kinds: how many types there are.
            parts: the entities to fit to, to choose by, to measure on; by default `tenths`.

        Returns:
            The head, and what it is worth on entities it was not fitted to, empty where there is nothing to learn.
        """
        fitted, valid, test = tenths(of_entity) if parts is None else parts
        counts = np.bincount(of_entity.take(fitted).values, minlength=kinds) if len(fitted) else np.zeros(kinds, int)
        frequent = np.sort(np.argsort(-counts, kind="stable")[:MOST_TYPES])
        types = frequent[counts[frequent] >= FEWEST].astype(np.int32)
        if not len(types) or not len(test):
            return cls.none(vectors.shape[1]), {}
        truth = [torch.from_numpy(truth_of(of_entity.take(rows), types)).float() for rows in (fitted, valid)]
        center = vectors[fitted].mean(0)
        length = float(np.sqrt(((vectors[fitted] - center) ** 2).sum(1).mean()))
        scale = 1 / max(length, 1e-12)
        inputs = [torch.from_numpy((vectors[rows] - center) * scale) for rows in (fitted, valid)]
        parameters = torch.zeros(len(types), vectors.shape[1] + 1)
        best = None
        for cost in COSTS:  # from the previous one's weights: a stronger fit is near
            parameters = _regressed(inputs[0], truth[0], cost, parameters)
            logits = _logits(inputs[1], parameters)
            temperature = _temperature(logits, truth[1])
            loss = float(F.binary_cross_entropy_with_logits(logits / temperature, truth[1]))
            if best is not None and loss >= best[0]:
                break  # on held-out entities a stronger fit is worse from here on
            best = loss, cost, parameters / temperature
        assert best is not None
        _, cost, parameters = best
        head = cls(types, (parameters[:, :-1] * scale).numpy(), parameters[:, -1].numpy(), center)
        lists = of_entity.take(test)
        return head, {
            **figures(head.probabilities(vectors[test]), types, lists),
            "most_frequent_accuracy": float(truth_of(lists, types)[:, counts[types].argmax()].mean()),
            "types": len(types), "types_left_out": int((counts > 0).sum()) - len(types),
            "fitted": len(fitted), "measured": len(test), "cost": cost,
        }  # fmt: skip

    def probabilities(self, vectors: Vectors) -> Vectors:
        """float32 `[b, c]` of float32 `[b, d]`: how likely each has each of `types`."""
        logits = torch.from_numpy(vectors - self.center) @ torch.from_numpy(self.weight).T + torch.from_numpy(self.bias)
        told: Vectors = logits.sigmoid().numpy()
        return told

    def save(self, path: Path) -> None:
        """Write a safetensors file."""
        from safetensors.numpy import save_file

        save_file({name: np.ascontiguousarray(getattr(self, name)) for name in self.__dataclass_fields__}, path)

    @classmethod
    def open(cls, path: Path, d: int) -> Self:
        """Read what `save` wrote, of vectors of `d` reals; a release of a former version, without such a file, tells no types.

        Raises:
            DataError: the file is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        if not path.exists():
            return cls.none(d)
        try:
            return cls(**load_file(path))
        except (OSError, SafetensorError, TypeError) as error:
            raise DataError(f"{path} cannot be read as a type head: {error}. Build the release anew.") from error


def tenths(of_entity: Ragged, seed: int = 0) -> Parts:
    """Entities that have types: to fit to, to choose by, to measure on; the same for every model of a graph."""
    labelled = np.flatnonzero(of_entity.lengths) if len(of_entity) else np.zeros(0, np.int64)
    labelled = np.random.default_rng(seed).permutation(labelled)[:MOST_ENTITIES]
    held = round(HELD_OUT * len(labelled))
    return labelled[2 * held :], labelled[held : 2 * held], labelled[:held]


def truth_of(lists: Ragged, types: Ids) -> npt.NDArray[np.bool_]:
    """bool `[b, c]`: whether an entity has a type.

    Args:
        lists: ragged `[b]`, the types of each entity.
        types: int32 `[c]`, sorted; others are passed over.
    """
    at = np.minimum(np.searchsorted(types, lists.values), len(types) - 1)
    there = types[at] == lists.values
    truth = np.zeros((len(lists), len(types)), dtype=bool)
    truth[lists.rows()[there], at[there]] = True
    return truth


def figures(probability: Vectors, types: Ids, lists: Ragged) -> dict[str, float]:
    """What probabilities are worth on entities that have types.

    Args:
        probability: float32 `[b, c]`.
        types: int32 `[c]`, sorted, those that are told; an entity's other types count as missed.
        lists: ragged `[b]`, the types of each entity.

    Returns:
        F1 of what is told with at least one half, over all pairs and per type that occurs; the share of entities whose likeliest
        type is right, of all and as the mean over their types; the expected calibration error.
    """
    truth = truth_of(lists, types)
    told = probability >= 0.5
    hits, claims, facts = (told & truth).sum(0), told.sum(0), truth.sum(0)
    f1 = 2 * hits / np.maximum(claims + facts, 1)
    first = probability.argmax(1)
    right = truth[np.arange(len(first)), first]
    rows = lists.rows()
    recall = [right[rows[lists.values == kind]].mean() for kind in np.unique(lists.values)]
    return {
        "micro_f1": float(2 * hits.sum() / max(claims.sum() + len(lists.values), 1)),
        "macro_f1": float(f1[facts > 0].mean()) if facts.any() else 0.0,
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.mean(recall)),
        "expected_calibration_error": calibration_error(probability.ravel(), truth.ravel()),
    }


def _logits(inputs: Tensor, parameters: Tensor) -> Tensor:
    return torch.addmm(parameters[:, -1], inputs, parameters[:, :-1].T)


def _regressed(inputs: Tensor, truth: Tensor, cost: float, start: Tensor) -> Tensor:
    """float32 `[c, d + 1]`: minimises C Σ loss + ½‖w‖², all types at once, by L-BFGS; blocks keep memory flat."""
    parameters = start.clone().requires_grad_()
    parameters.grad = torch.empty_like(start)
    optimizer = torch.optim.LBFGS(
        [parameters], max_iter=_STEPS, tolerance_change=_GAIN, history_size=8, line_search_fn="strong_wolfe"
    )
    shrink = 1 / (cost * len(inputs))

    @torch.no_grad()
    def closure() -> Tensor:
        weight, slope = parameters[:, :-1], parameters.grad
        assert slope is not None
        torch.mul(parameters, shrink, out=slope)[:, -1] = 0
        total = 0.5 * shrink * weight.square().sum()
        for low, high in _blocks(len(inputs)):
            logits, true = _logits(inputs[low:high], parameters), truth[low:high]
            total += (F.softplus(logits).sum() - torch.vdot(logits.ravel(), true.ravel())) / len(inputs)
            wrong = logits.sigmoid_().sub_(true).div_(len(inputs))
            slope[:, :-1].addmm_(wrong.T, inputs[low:high])
            slope[:, -1] += wrong.sum(0)
        return total

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return parameters.detach()


def _blocks(n: int) -> Iterator[tuple[int, int]]:
    return pairwise([*range(0, n, _BLOCK), n])


def _temperature(logits: Tensor, truth: Tensor) -> float:
    """By which logits are divided to be calibrated on held-out entities (Guo et al. 2017)."""
    tried = torch.logspace(-1, 1, 41)
    losses = [float(F.binary_cross_entropy_with_logits(logits / one, truth)) for one in tried]
    return float(tried[int(np.argmin(losses))])


def calibration_error(probability: Vectors, true: npt.NDArray[np.bool_], bins: int = 10) -> float:
    """Over bins of equal mass among the probabilities of at least one percent: most types are ruled out without doubt."""
    rows = np.flatnonzero(probability >= 0.01)
    order = rows[np.argsort(probability[rows])]
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [abs(probability[part].mean() - true[part].mean()) * len(part) for part in parts]
    return float(sum(gaps) / max(len(order), 1))
