"""Vectors of entities as points of a plane, and the types that tell them apart there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kgservice.graph import KnowledgeGraph

Floats = npt.NDArray[np.float64]

COMPONENTS = 50
TYPES = 9
"""As many hues as a palette tells apart."""


def project(vectors: Floats) -> Floats | None:
    """float64 `[m, 2]` of float64 `[m, d]`: principal components, then t-SNE; None where all vectors are alike."""
    centred = vectors - vectors.mean(axis=0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    if not size[0] > 1e-9:
        return None
    components = left[:, :COMPONENTS] * size[:COMPONENTS]
    plane = np.zeros((len(vectors), 2))
    plane[:, : components.shape[1]] = components[:, :2]
    if len(vectors) < 10:  # too few neighbours for t-SNE to say more than the components do
        return plane
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1):  # sums in one order: the same picture every time
        model = TSNE(
            init=(plane / plane[:, 0].std() * 1e-4).astype(np.float32),
            perplexity=min(30.0, (len(vectors) - 1) / 3),
            learning_rate="auto",
            max_iter=500,  # by then the picture stands; the default goes on twice as long
            random_state=0,
            n_jobs=1,
        )
        return np.asarray(model.fit_transform(components.astype(np.float32)), dtype=np.float64)


def best_connected(graph: KnowledgeGraph, count: int) -> npt.NDArray[np.int64]:
    """int64 `[m]`: at most `count` entities of the highest degree, equal ones by id."""
    return np.lexsort((np.arange(graph.n), -graph.degree))[:count]


def main_types(
    graph: KnowledgeGraph, entities: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """One type for each entity, and the commonest of these.

    An entity of many types takes the commonest that not most entities share: a class of everything tells nothing.

    Returns:
        int64 `[m]`: a place in the second array, its length for further types, and one more where no type is stated; int64
        `[t]`: at most `TYPES` types, the commonest first.
    """
    if not len(graph.types) or not len(graph.types.of_entity):
        return np.ones(len(entities), np.int64), np.empty(0, np.int64)
    held = graph.types.of_entity.take(entities)
    row, kind = held.rows(), held.values
    size = np.bincount(kind, minlength=len(graph.types))
    worth = np.where(size > 0.5 * len(entities), -1 / np.maximum(size, 1), size)
    best_last = np.lexsort((-kind, worth[kind], row))
    main = np.full(len(entities), -1, np.int64)
    main[row[best_last]] = kind[best_last]
    count = np.bincount(main[main >= 0], minlength=len(graph.types))
    top = np.lexsort((np.arange(len(count)), -count))[:TYPES]
    top = top[count[top] > 0]
    place = np.full(len(graph.types) + 1, len(top), np.int64)  # further types
    place[top], place[-1] = np.arange(len(top)), len(top) + 1  # -1 is no type
    return place[main], top
