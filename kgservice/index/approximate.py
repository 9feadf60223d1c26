"""FAISS indexes by factory string; the only module that imports FAISS."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from torch import Tensor

from kgservice.errors import DataError, MissingDependency, RecipeError
from kgservice.index.exact import ExactIndex
from kgservice.ragged import Ragged
from kgservice.similarity import Metric

EXACT_BELOW = 50_000
"""Where an allow list leaves fewer candidates than this, scoring them all is faster than filtering a search."""


class FaissIndex:
    """A FAISS index, with an exact one beside it for narrow allow lists and for what the search did not reach.

    Args:
        index: a trained and filled FAISS index.
        vectors: float32 `[n, d]`, the vectors in it.
        metric: must be the index's own.
    """

    exact = False

    def __init__(self, index: Any, vectors: Tensor, metric: Metric) -> None:
        faiss = _faiss()
        wanted = faiss.METRIC_INNER_PRODUCT if metric == "ip" else faiss.METRIC_L2
        if index.metric_type != wanted or index.ntotal != len(vectors) or index.d != vectors.shape[1]:
            raise DataError(
                f"index of metric {index.metric_type}, {index.ntotal} × {index.d}, "
                f"where metric {wanted}, {len(vectors)} × {vectors.shape[1]} was expected"
            )
        # Scans of few queries at once use matrix products too: six times faster in batches of 64.
        faiss.cvar.distance_compute_blas_threshold = 20
        self._index, self._metric = index, metric
        self._oracle = ExactIndex(vectors, metric)
        self._removed: npt.NDArray[np.int32] = np.empty(0, np.int32)

    @classmethod
    def build(cls, spec: str, vectors: Tensor, metric: Metric) -> Self:
        """Train and fill an index by its factory string, such as `IVF256,SQ8` or `HNSW32`; search parameters may follow
        behind a semicolon, as in `IVF256,SQ8;nprobe=8`, and are kept with the index.
        """
        faiss = _faiss()
        factory, _, parameters = spec.partition(";")
        data = np.ascontiguousarray(vectors.detach().cpu().numpy(), dtype=np.float32)
        try:
            code = faiss.METRIC_INNER_PRODUCT if metric == "ip" else faiss.METRIC_L2
            index = faiss.index_factory(data.shape[1], factory, code)
            index.train(data)
            index.add(data)
            if parameters:
                faiss.ParameterSpace().set_index_parameters(index, parameters)
        except RuntimeError as error:
            reason = str(error).split("Error: ")[-1].strip()
            raise RecipeError(f"index = {spec!r}: FAISS refuses it over {data.shape} vectors: {reason}") from error
        return cls(index, vectors, metric)

    @classmethod
    def load(cls, path: Path, vectors: Tensor, metric: Metric) -> Self:
        """Read an index that `save` wrote."""
        faiss = _faiss()
        return cls(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC), vectors, metric)

    def save(self, path: Path) -> None:
        """Write FAISS's own file."""
        _faiss().write_index(self._index, str(path))

    def __len__(self) -> int:
        return len(self._oracle)

    def search(
        self,
        vectors: Tensor,
        k: int,
        exclude: Ragged | None = None,
        allow: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """See `Index.search`: more than `k` are fetched, filtered, and fetched again wider while too few remain."""
        if allow is not None and np.count_nonzero(allow) < EXACT_BELOW:
            return self._oracle.search(vectors, k, exclude, allow)
        data = np.ascontiguousarray(vectors.detach().cpu().numpy(), dtype=np.float32)
        found = np.full((len(data), k), -1, dtype=np.int32)
        scores = np.full((len(data), k), -np.inf, dtype=np.float32)
        most = int(exclude.lengths.max()) if exclude is not None and len(exclude) else 0
        width, open_rows = k + most + len(self._removed), np.arange(len(data))
        while len(open_rows):
            width = min(width, self._index.ntotal)
            values, ids = self._index.search(data[open_rows], width)
            kept = self._filter(ids, exclude.take(open_rows) if exclude is not None else None, allow)
            for place, row in enumerate(open_rows.tolist()):
                best = np.flatnonzero(kept[place])[:k]
                found[row, : len(best)] = ids[place, best]
                scores[row, : len(best)] = values[place, best] if self._metric == "ip" else -values[place, best]
            short = (found[open_rows] < 0).any(axis=1)
            if width == self._index.ntotal or not short.any():
                break
            # An index that returns padding has no more to give; only a filter that ate too much is worth a wider look.
            open_rows = open_rows[short & (ids[:, -1] >= 0)]
            width *= 4
        return found, scores

    def _filter(
        self, ids: npt.NDArray[np.int64], exclude: Ragged | None, allow: npt.NDArray[np.bool_] | None
    ) -> npt.NDArray[np.bool_]:
        kept = ids >= 0
        if allow is not None:
            kept &= allow[np.maximum(ids, 0)]
        if len(self._removed):
            kept &= ~np.isin(ids, self._removed)
        if exclude is not None and len(exclude.values):
            stride = np.int64(len(self) + 1)
            hidden = exclude.rows() * stride + exclude.values
            kept &= ~np.isin(np.arange(len(ids))[:, None] * stride + ids, hidden)
        return np.asarray(kept)

    def add(self, vectors: Tensor) -> npt.NDArray[np.int32]:
        """See `Index.add`."""
        self._index.add(np.ascontiguousarray(vectors.detach().cpu().numpy(), dtype=np.float32))
        return self._oracle.add(vectors)

    def remove(self, ids: npt.ArrayLike) -> None:
        """See `Index.remove`."""
        self._oracle.remove(ids)
        self._removed = np.union1d(self._removed, np.asarray(ids, dtype=np.int32))


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise MissingDependency(
            "FAISS is not installed. Run: pip install 'kgservice[cpu]' (or [gpu]), or use index = 'exact'."
        ) from error
    return faiss
