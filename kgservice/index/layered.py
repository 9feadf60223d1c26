"""An index, and behind it the vectors that were added since it was built."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import Tensor

from kgservice.arrays.ragged import Ragged, offsets_of

if TYPE_CHECKING:
    from kgservice.index import Found, Searcher


class LayeredIndex:
    """Searches both and merges: what was added since is few, and the index is neither copied nor changed.

    Args:
        base: over the first `n` candidates.
        added: over the `a` behind them.
        able: bool `[a]`, which of those may answer.
    """

    def __init__(self, base: Searcher, added: Searcher, able: npt.NDArray[np.bool_]) -> None:
        self._base, self._added, self._able = base, added, able
        self.exact = base.exact

    def __len__(self) -> int:
        return len(self._base) + len(self._added)

    def search(
        self,
        vectors: Tensor,
        k: int,
        exclude: Ragged | None = None,
        allow: npt.NDArray[np.bool_] | None = None,
    ) -> Found:
        """See `Searcher.search`."""
        n = len(self._base)
        first, behind = _parted(exclude, n) if exclude is not None else (None, None)
        open = self._able if allow is None else self._able & allow[n:]
        ids, scores = self._base.search(vectors, k, first, None if allow is None else allow[:n])
        if not open.any():
            return ids, scores
        more, more_scores = self._added.search(vectors, k, behind, open)
        ids = np.concatenate([ids, np.where(more >= 0, more + n, -1)], axis=1)
        scores = np.concatenate([scores, more_scores], axis=1)
        # Stable: of equal scores the smaller id stays first.
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(ids, order, axis=1).astype(np.int32), np.take_along_axis(scores, order, axis=1)


def _parted(lists: Ragged, n: int) -> tuple[Ragged, Ragged]:
    """The values below n, and the others less n."""
    row, low = lists.rows(), lists.values < n
    parts = []
    for chosen, shift in ((low, 0), (~low, n)):
        counts = np.bincount(row[chosen], minlength=len(lists))
        parts.append(Ragged(offsets_of(counts), lists.values[chosen] - np.int32(shift)))
    return parts[0], parts[1]
