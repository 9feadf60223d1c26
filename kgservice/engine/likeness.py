"""Which entities are like one: the cosine of a model's vectors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from kgservice.answers.entities import LikeAnswer, LikeEntity
from kgservice.arrays.layers import Layers
from kgservice.errors import InvalidQuestion
from kgservice.graph.views import Views
from kgservice.release.served import ServedModel

_TILE = 65_536


def alike(
    served: ServedModel,
    views: Views,
    entity: int,
    *,
    k: int,
    allow: npt.NDArray[np.bool_] | None,
    language: str,
    release: str,
) -> LikeAnswer:
    """The `k` entities whose vectors are nearest in angle, nearest first; equal ones by id. O(n d).

    Args:
        served: the model whose entity vectors are compared.
        views: how names are shown.
        entity: never among its own likes.
        k: how many.
        allow: bool `[n]`; None for all.
        language: of labels and descriptions.
        release: named by the answer.

    Raises:
        InvalidQuestion: the model says nothing of the entity: its vector is zero.
    """
    able = served.knows(np.arange(len(served.vectors), dtype=np.int32))
    ids, cosine = _nearest(served.vectors, entity, k, able if allow is None else able & allow, served.name)
    named = views.entities(np.array([entity, *ids], np.int32), language, describe=True)
    types = views.types_of(np.array(ids, np.int32), language)
    found = [
        LikeEntity(
            rank=rank,
            id=one.id,
            label=one.label,
            description=one.description,
            types=kinds,
            similarity=float(value),
        )
        for rank, (one, kinds, value) in enumerate(zip(named[1:], types, cosine, strict=True), 1)
    ]
    return LikeAnswer(release, served.name, named[0], found)


def _nearest(
    vectors: Layers, entity: int, k: int, allow: npt.NDArray[np.bool_], model: str
) -> tuple[list[int], list[float]]:
    own = vectors[np.array([entity])][0].astype(np.float64)
    length = float(np.linalg.norm(own))
    if not length:
        raise InvalidQuestion(f"model {model!r} has no vector for this entity; name another model")
    direction = (own / length).astype(np.float32)
    tiles = [tile.numpy() for layer in (vectors.base, vectors.added) for tile in torch.split(layer, _TILE) if len(tile)]
    cosine = np.concatenate(
        [tile @ direction / np.maximum(np.sqrt(np.einsum("nd,nd->n", tile, tile)), 1e-12) for tile in tiles]
    )
    allowed = allow.copy()
    allowed[entity] = False
    ids = np.flatnonzero(allowed)
    k = min(k, len(ids))
    # The k-th best value, so that equal ones at the cut are taken by id.
    least = np.partition(cosine[ids], len(ids) - k)[len(ids) - k] if k else np.inf
    ids = ids[cosine[ids] >= least]
    ids = ids[np.lexsort((ids, -cosine[ids]))][:k]
    return ids.tolist(), cosine[ids].tolist()
