"""FAISS indexes by factory string; the only module that imports FAISS."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from kgservice.errors import DataError, MissingDependency, RecipeError
from kgservice.index.approximate import Floats
from kgservice.similarity import Metric


class FaissNearest:
    """A FAISS index, in a file of its own.

    Args:
        index: trained and filled.
    """

    def __init__(self, index: Any) -> None:
        # Scans of few queries at once use matrix products too: six times faster in batches of 64.
        _faiss().cvar.distance_compute_blas_threshold = 20
        self._index, self.count, self.reach = index, int(index.ntotal), int(index.ntotal)
        self._sign = 1 if index.metric_type == _faiss().METRIC_INNER_PRODUCT else -1

    @classmethod
    def build(cls, spec: str, vectors: Floats, metric: Metric) -> Self:
        """Train and fill an index by its factory string, such as `IVF256,SQ8` or `HNSW32`; search parameters may follow
        behind a semicolon, as in `IVF256,SQ8;nprobe=8`, and are kept with the index.

        Raises:
            RecipeError: FAISS does not know the string.
        """
        faiss = _faiss()
        factory, _, parameters = spec.partition(";")
        try:
            index = faiss.index_factory(vectors.shape[1], factory, _code(metric))
            index.train(vectors)
            index.add(vectors)
            if parameters:
                faiss.ParameterSpace().set_index_parameters(index, parameters)
        except RuntimeError as error:
            reason = str(error).split("Error: ")[-1].strip()
            raise RecipeError(f"index = {spec!r}: FAISS refuses it over {vectors.shape} vectors: {reason}") from error
        return cls(index)

    @classmethod
    def load(cls, path: Path, spec: str, shape: tuple[int, int], metric: Metric) -> Self:
        """Map the file that `save` wrote.

        Raises:
            DataError: it is an index of other vectors or another metric.
        """
        faiss = _faiss()
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        if index.metric_type != _code(metric) or (index.ntotal, index.d) != shape:
            raise DataError(
                f"{path}: index of metric {index.metric_type}, {index.ntotal} × {index.d}, "
                f"where metric {_code(metric)}, {shape[0]} × {shape[1]} was expected"
            )
        return cls(index)

    def save(self, path: Path) -> None:
        """Write FAISS's own file."""
        _faiss().write_index(self._index, str(path))

    def search(self, vectors: Floats, width: int) -> tuple[Floats, npt.NDArray[np.int64]]:
        """See `Nearest.search`."""
        values, ids = self._index.search(vectors, width)
        return values * np.float32(self._sign), ids


def _code(metric: Metric) -> int:
    return int(_faiss().METRIC_INNER_PRODUCT if metric == "ip" else _faiss().METRIC_L2)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise MissingDependency(
            "FAISS is not installed. Run: pip install 'kgservice[cpu]' (or [gpu]), or use index = 'exact'."
        ) from error
    return faiss
