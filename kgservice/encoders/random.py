"""Texts by random vectors of their words: an encoder that has read nothing.

It stands beside a pretrained one to tell what that knows from what any distinct vector would give: two texts are alike
here only as far as they share words.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from kgservice.encoders.words import BUCKETS, hashed_words

RANDOM_ENCODER = "random"
"""What `open_encoder` opens it by."""
RANDOM_WIDTH = 384
"""As wide as the default encoder."""


class RandomEncoder:
    """The same vectors in every process: words are hashed, and the seed is fixed."""

    name = RANDOM_ENCODER
    width = RANDOM_WIDTH

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """float32 `[b, d]`: the sum over a text's distinct words, of length 1; zeros where there is no word."""
        vectors = np.asarray(hashed_words(texts) @ _of_words(), dtype=np.float32)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
        return vectors


@cache
def _of_words() -> npt.NDArray[np.float32]:
    """float32 `[BUCKETS, d]`."""
    return np.random.default_rng(0).standard_normal((BUCKETS, RANDOM_WIDTH), dtype=np.float32)
