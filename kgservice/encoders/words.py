"""Texts by the words in them: TF-IDF, cut to its strongest directions (latent semantic analysis).

It needs no pretrained model, tells what words alone are worth, and says of rare names what a sentence encoder blurs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

BUCKETS = 2**15
"""Words share so many numbers by their hash: a new text needs no vocabulary to be read, only to be weighed."""
_ROUNDS = 3


class WordEncoder:
    """Words that the fitted texts have not are not read.

    Args:
        weight: float32 `[BUCKETS]`, the inverse document frequency; 0 for words never met.
        directions: float32 `[BUCKETS, d]`.
    """

    def __init__(self, weight: Vectors, directions: Vectors) -> None:
        self.weight, self.directions = weight, directions

    @classmethod
    def fit(cls, texts: Sequence[str], width: int) -> Self:
        """From the texts that may be learnt from; fewer texts or words than `width` leave the last directions empty."""
        from sklearn.utils.extmath import randomized_svd

        found = hashed_words(texts)
        holding = np.bincount(found.indices, minlength=BUCKETS)
        weight = np.where(holding > 0, np.log((1 + len(texts)) / (1 + holding)) + 1, 0).astype(np.float32)
        directions = np.zeros((BUCKETS, width), np.float32)
        rank = min(width, *found.shape)
        if found.nnz and rank:
            _, _, rows = randomized_svd(_weighed(found, weight), rank, n_iter=_ROUNDS, random_state=0)
            directions[:, :rank] = rows.T
        return cls(weight, directions)

    @property
    def width(self) -> int:
        """`d`."""
        return int(self.directions.shape[1])

    def encode(self, texts: Sequence[str]) -> Vectors:
        """float32 `[b, d]`, no longer than 1: what the directions do not hold is lost."""
        encoded: Vectors = np.asarray(_weighed(hashed_words(texts), self.weight) @ self.directions, dtype=np.float32)
        return encoded


@cache
def _vectorizer() -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(
        n_features=BUCKETS, alternate_sign=False, binary=True, norm=None, dtype=np.float32, token_pattern=r"(?u)\w+"
    )


def hashed_words(texts: Sequence[str]) -> Any:
    """CSR float32 `[b, BUCKETS]`: 1 for every word that a text holds."""
    return _vectorizer().transform(texts)


def _weighed(found: Any, weight: Vectors) -> Any:
    """CSR `[b, BUCKETS]`, rows of length 1 or empty."""
    from sklearn.preprocessing import normalize

    return normalize(found.multiply(weight).tocsr())
