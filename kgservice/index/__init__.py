"""Nearest-neighbour search over candidate vectors: `exact` is the oracle and the default, FAISS and Milvus serve the rest.

An index answers `search(vectors, k, exclude, allow)`; both filters are honoured before the cut to `k`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from kgservice.arrays.ragged import Ragged
from kgservice.index.approximate import ApproximateIndex, Nearest
from kgservice.index.exact import ExactIndex
from kgservice.index.faiss_nearest import FaissNearest
from kgservice.index.layered import LayeredIndex
from kgservice.index.milvus_nearest import PREFIX, MilvusNearest
from kgservice.similarity import Metric

Found = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]


class Searcher(Protocol):
    """Finds the candidates that score best against a query vector.

    Attributes:
        exact: whether answers are those of an exhaustive search.
    """

    exact: bool

    def __len__(self) -> int: ...

    def search(
        self,
        vectors: Tensor,
        k: int,
        exclude: Ragged | None = None,
        allow: npt.NDArray[np.bool_] | None = None,
    ) -> Found:
        """The `k` best candidates of each query.

        Args:
            vectors: float32 `[b, d]`.
            k: how many.
            exclude: ragged `[b]`, ids that must not appear.
            allow: bool `[n]`, ids that may appear; all by default.

        Returns:
            ids int32 `[b, k]` and scores float32 `[b, k]`, by score down (then id up, for `exact`), padded with -1/-inf.
        """
        ...


class Index(Searcher, Protocol):
    """A searcher that is built and kept; what is added later stands behind it, see `LayeredIndex`."""

    def save(self, path: Path) -> None:
        """Write what `load` needs beside the vectors; nothing for an exact index."""
        ...


def build(spec: str, vectors: Tensor, metric: Metric) -> Index:
    """An index over float32 `[n, d]` candidates: `exact`, a FAISS factory string, or `milvus:` and an index of Milvus.

    Raises:
        RecipeError: the string is not one that the engine knows.
        MissingDependency: the engine is not installed.
        DataError: the engine's server does not answer.
    """
    if spec == "exact":
        return ExactIndex(vectors, metric)
    data = np.ascontiguousarray(vectors.detach().cpu().numpy(), dtype=np.float32)
    nearest: Nearest = _engine(spec).build(spec, data, metric)
    return ApproximateIndex(nearest, vectors, metric)


def load(spec: str, path: Path, vectors: Tensor, metric: Metric) -> Index:
    """Open what `build` made: an exact index needs the vectors alone, an approximate one its file too."""
    if spec == "exact":
        return ExactIndex(vectors, metric)
    nearest: Nearest = _engine(spec).load(path, spec, (len(vectors), vectors.shape[1]), metric)
    return ApproximateIndex(nearest, vectors, metric)


def _engine(spec: str) -> type[FaissNearest | MilvusNearest]:
    """What finds nearest vectors, by the beginning of its string."""
    return MilvusNearest if spec.startswith(PREFIX) else FaissNearest


def recall(index: Index, oracle: Index, queries: Tensor, k: int = 10) -> float:
    """Mean share of the oracle's `k` best that `index` finds too."""
    found, truth = index.search(queries, k)[0], oracle.search(queries, k)[0]
    hits = [(np.intersect1d(row[row >= 0], best[best >= 0]).size) for row, best in zip(found, truth, strict=True)]
    return float(np.sum(hits) / max(int((truth >= 0).sum()), 1))


__all__ = ["ExactIndex", "Found", "Index", "LayeredIndex", "Searcher", "build", "load", "recall"]
