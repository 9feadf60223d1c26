"""Types that no entity is known to have: told by what is written of them, through those that are known.

A linear map takes an entity's vector to the text of its types, fitted in closed form (Romera-Paredes and Torr 2015, section 3);
beside it stands the cosine of entity's and type's texts. Types are cut into folds, and each fold is told by a map that was fitted
to the others: these scores choose the penalties, weigh map against cosine, calibrate, and measure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from kgservice.arrays.ragged import Ragged
from kgservice.encoders import TextEncoder
from kgservice.errors import DataError
from kgservice.heads.types import Parts, calibration_error, tenths, truth_of

Ids = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Penalties = tuple[float, float]

TEMPLATE = "{label}[: {description}]"
"""What is read of entities and of types."""
FOLDS = 5
FEWEST_TYPES = 20
"""With a text and an entity each, for a map to be fitted."""
MOST_TYPES = 1000
MOST_FITTED, MOST_MEASURED = 10_000, 2_000
"""Entities drawn of a large graph."""
PENALTIES = tuple(product((1e-4, 1e-3, 1e-2, 1e-1), (1e-3, 1e-2, 1e-1)))
"""Tried, of entities' vectors and of types' texts, as shares of their mean squared length."""


@dataclass(frozen=True)
class ZeroShot:
    """Attributes:
    encoder: the name of the text encoder; empty where nothing is told.
    weight: float32 `[d, w]`, from an entity's vector to a type's text.
    center: float32 `[d]`, of entities' vectors.
    text_center, class_center: float32 `[w]`, of entities' and types' texts.
    blend: float32 `[3]`: of the map, of the cosine, and a constant; their sum is the logit of the probability.
    """

    encoder: str
    weight: Vectors
    center: Vectors
    text_center: Vectors
    class_center: Vectors
    blend: Vectors

    @classmethod
    def none(cls) -> Self:
        """Of a graph whose types or texts are too few."""
        nothing = np.zeros(0, np.float32)
        return cls("", np.zeros((0, 0), np.float32), nothing, nothing, nothing, np.zeros(3, np.float32))

    @classmethod
    def fit(
        cls,
        vectors: Vectors,
        of_entity: Ragged,
        classes: Vectors,
        read: Callable[[Ids], Vectors],
        encoder: str,
        parts: Parts | None = None,
    ) -> tuple[Self, dict[str, Any]]:
        """Learn from the types that are known.

        Args:
            vectors: float32 `[n, d]`.
            of_entity: ragged `[n]`, the types of each entity.
            classes: float32 `[c, w]`, the types' texts; zeros where there is none.
            read: gives float32 `[b, w]`, the texts of entities, int64 `[b]`; zeros where there is none.
            encoder: that read the texts, by name.
            parts: the entities to fit to, to choose by, to measure on; by default `tenths`.

        Returns:
            What tells them, and what it is worth on types and entities it was not fitted to, empty where there is too little.
        """
        fitted, valid, test = tenths(of_entity) if parts is None else parts
        fitted, valid, test = fitted[:MOST_FITTED], valid[:MOST_MEASURED], test[:MOST_MEASURED]
        counts = np.bincount(of_entity.take(fitted).values, minlength=len(classes)) * classes.any(axis=1)
        frequent = np.sort(np.argsort(-counts, kind="stable")[:MOST_TYPES])
        types: npt.NDArray[np.int32] = frequent[counts[frequent] > 0].astype(np.int32)
        if len(types) < FEWEST_TYPES or not len(test):
            return cls.none(), {}
        map_ = _Map(vectors[fitted], truth_of(of_entity.take(fitted), types), classes[types])
        fold = np.random.default_rng(0).permutation(len(types)) % FOLDS
        truth, tested = (truth_of(of_entity.take(rows), types) for rows in (valid, test))
        told = map_.held_out(vectors[valid], fold, PENALTIES)
        penalties = max(told, key=lambda pair: _worth(told[pair], truth, fold)["mrr"])
        texts = read(np.concatenate([valid, test]))
        text_center = texts[texts.any(axis=1)].mean(0) if texts.any() else np.zeros(classes.shape[1], np.float32)
        made = cls(
            encoder, map_.weight(penalties), map_.center, text_center, map_.class_center, np.zeros(3, np.float32)
        )
        cosine = made.cosine(texts, classes[types])
        blend = _blend(told[penalties], cosine[: len(valid)], truth)
        made = cls(**{**made.__dict__, "blend": blend})
        mapped, cosine = map_.held_out(vectors[test], fold, [penalties])[penalties], cosine[len(valid) :]
        both = blend[0] * mapped + blend[1] * cosine + blend[2]
        scores = {
            "random": np.random.default_rng(0).random(tested.shape, np.float32),
            "cosine": texts[len(valid) :] @ classes[types].T,
            "map": mapped,
            "both": both,
        }
        probability = 1 / (1 + np.exp(-both))
        return made, {
            **{who: _worth(score, tested, fold) for who, score in scores.items()},
            "expected_calibration_error": calibration_error(probability.ravel(), tested.ravel()),
            "types": len(types), "types_measured": int(tested.any(axis=0).sum()), "pairs": int(tested.sum()),
            "folds": FOLDS, "fitted": len(fitted), "measured": len(test), "penalties": penalties,
        }  # fmt: skip

    def cosine(self, texts: Vectors, classes: Vectors) -> Vectors:
        """float32 `[b, c]`: of texts less their centers, so that one without a text, which has 0, is like any other."""
        there = np.any(texts != 0, axis=1, keepdims=True)
        alike: Vectors = np.where(there, texts - self.text_center, 0) @ (classes - self.class_center).T
        return alike

    def probabilities(self, vectors: Vectors, texts: Vectors, classes: Vectors) -> Vectors:
        """float32 `[b, c]`: how likely each of `b` entities has each of `c` types.

        Args:
            vectors: float32 `[b, d]`.
            texts: float32 `[b, w]`, zeros where there is none.
            classes: float32 `[c, w]`.
        """
        mapped = (vectors - self.center) @ self.weight @ (classes - self.class_center).T
        of_map, of_cosine, constant = self.blend
        told: Vectors = 1 / (1 + np.exp(-(of_map * mapped + of_cosine * self.cosine(texts, classes) + constant)))
        return told

    def save(self, path: Path) -> None:
        """Write a safetensors file."""
        from safetensors.numpy import save_file

        columns = {name: np.ascontiguousarray(one) for name, one in self.__dict__.items() if name != "encoder"}
        save_file(columns, path, metadata={"encoder": self.encoder})

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read what `save` wrote; a release of a former version, without such a file, tells nothing.

        Raises:
            DataError: the file is damaged.
        """
        from safetensors import SafetensorError, safe_open

        if not path.exists():
            return cls.none()
        try:
            with safe_open(path, "numpy") as file:
                columns = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
                return cls(file.metadata()["encoder"], **columns)
        except (OSError, SafetensorError, TypeError, KeyError) as error:
            raise DataError(f"{path} cannot be read as a zero-shot head: {error}. Build the release anew.") from error


def read(encoder: TextEncoder, texts: Sequence[str]) -> Vectors:
    """float32 `[b, w]`: texts as vectors of length 1, zeros for empty ones."""
    vectors = encoder.encode(texts)
    vectors[np.array([not text for text in texts], dtype=bool)] = 0
    return vectors


class _Map:
    """W = (XᵀX/n + γ)⁻¹ (XᵀYZ/nc) (ZᵀZ/c + λ)⁻¹ for many penalties (γ, λ): both sides are diagonalised.

    Args:
        vectors: float32 `[n, d]`, X.
        truth: bool `[n, c]`, Y; each type is scaled to mean 0 and deviation 1, so that a rare one counts like a frequent one.
        classes: float32 `[c, w]`, Z.
    """

    def __init__(self, vectors: Vectors, truth: Mask, classes: Vectors) -> None:
        self.center, self.class_center = vectors.mean(0), classes.mean(0)
        x, self._z = vectors - self.center, classes - self.class_center
        share = truth.mean(axis=0, dtype=np.float32)
        y = (truth - share) / np.sqrt(np.maximum(share * (1 - share), 1e-6))
        self._along, self._axes = np.linalg.eigh(x.T @ x / len(x))
        self._moment = self._axes.T @ (x.T @ y) / len(x)

    def weight(self, penalties: Penalties) -> Vectors:
        """float32 `[d, w]`, fitted to all types."""
        return self._axes @ next(self._fitted(np.ones(len(self._z), dtype=bool), [penalties]))

    def held_out(self, vectors: Vectors, fold: Ids, penalties: Sequence[Penalties]) -> dict[Penalties, Vectors]:
        """float32 `[b, c]` each: the scores of types, those of each fold by a map fitted to the others.

        Args:
            vectors: float32 `[b, d]`.
            fold: int64 `[c]`.
            penalties: to be tried.
        """
        inputs = (vectors - self.center) @ self._axes
        scores = {pair: np.empty((len(vectors), len(fold)), np.float32) for pair in penalties}
        for one in range(FOLDS):
            out = fold == one
            for pair, weight in zip(penalties, self._fitted(~out, penalties), strict=True):
                scores[pair][:, out] = inputs @ (weight @ self._z[out].T)
        return scores

    def _fitted(self, types: Mask, penalties: Sequence[Penalties]) -> Iterator[Vectors]:
        """float32 `[d, w]` for each pair, fitted to types, bool `[c]`; rows along the axes of the entities' vectors."""
        z = self._z[types]
        along, axes = np.linalg.eigh(z.T @ z / len(z))
        moment = self._moment[:, types] @ z @ axes / len(z)
        for gamma, lambda_ in penalties:
            over_entities = (self._along + gamma * self._along.sum())[:, None]
            over_types = along + lambda_ * along.sum()
            yield (moment / over_entities / over_types @ axes.T).astype(np.float32)


def _blend(mapped: Vectors, cosine: Vectors, truth: Mask) -> Vectors:
    """float32 `[3]`: the logistic regression of truth on both scores, each float32 `[b, c]`, over all pairs."""
    from sklearn.linear_model import LogisticRegression

    scores = np.stack([mapped.ravel(), cosine.ravel()], axis=1)
    scale = np.maximum(scores.std(axis=0), 1e-12)
    fitted = LogisticRegression().fit(scores / scale, truth.ravel())
    return np.append(fitted.coef_[0] / scale, fitted.intercept_).astype(np.float32)


def _worth(scores: Vectors, truth: Mask, fold: Ids) -> dict[str, float]:
    """How well scores, float32 `[b, c]`, tell the types of a fold apart, as the mean over types.

    MRR and hits@1 rank a true type among the fold's that the entity has not, ties in the middle; the area under the ROC ranks
    entities by one type.
    """
    from scipy.stats import rankdata

    row, at = np.nonzero(truth)
    rivals = ~truth[row] & (fold[None, :] == fold[at][:, None])
    own = scores[row, at][:, None]
    rank = 1 + ((scores[row] > own) & rivals).sum(1) + ((scores[row] == own) & rivals).sum(1) / 2
    having = truth.sum(0)
    measured = np.flatnonzero((having > 0) & (having < len(truth)))
    by_type = [np.bincount(at, values, minlength=len(having))[measured] for values in (1 / rank, rank <= 1)]
    places = (rankdata(scores[:, measured], axis=0) * truth[:, measured]).sum(0)
    having = having[measured]
    area = (places - having * (having + 1) / 2) / (having * (len(truth) - having))
    return {
        "mrr": float((by_type[0] / having).mean()),
        "hits@1": float((by_type[1] / having).mean()),
        "roc_auc": float(area.mean()),
    }
