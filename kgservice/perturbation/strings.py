"""Random strings of like length, and random exchanges: what stands for a text that is to say nothing, or something else."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

Ids = npt.NDArray[np.int64]

SHORTEST = 4
"""Letters of a random string at least: there are 456,976 of these."""
_BLANK = ord(" ")


def strings_like(texts: pl.Series, random: np.random.Generator) -> pl.Series:
    """A random string for each of `k` texts: letters a to z, blanks where the text has blanks.

    All are distinct and none is one of `texts`, whatever repeats among them; one that would not be is drawn again and a
    letter longer. Time is linear in the letters.
    """
    taken, wanted = texts.unique(), texts
    drawn = _drawn(wanted, random)
    while (clash := ~drawn.is_first_distinct() | drawn.is_in(taken.implode())).any():
        wanted = wanted + pl.select(pl.when(clash).then(pl.lit("x")).otherwise(pl.lit(""))).to_series()
        again = _drawn(wanted.filter(clash), random)
        drawn = drawn.scatter(clash.arg_true(), again)
    return drawn


def _drawn(texts: pl.Series, random: np.random.Generator) -> pl.Series:
    padded = texts.str.pad_end(SHORTEST, "x")
    letters = np.frombuffer("".join(padded.to_list()).encode("utf-32-le", "replace"), dtype=np.uint32)
    made = random.integers(ord("a"), ord("z") + 1, len(letters), dtype=np.uint8)
    made[letters == _BLANK] = _BLANK
    offset = np.concatenate([[0], np.cumsum(padded.str.len_chars().to_numpy(), dtype=np.int64)])
    return pl.Series(pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(offset), pa.py_buffer(made)))


def exchanged(owners: Ids, random: np.random.Generator, group: npt.NDArray[np.uint64] | None = None) -> Ids:
    """int64 `[k]`: for each of `k` distinct owners another of them, each taken once: a random cycle through them all.

    Args:
        owners: int64 `[k]`.
        random: draws the cycle.
        group: uint64 `[k]`; cycles then go through those of one group. Owners that are alone in theirs share a cycle.
    """
    kind = np.zeros(len(owners), np.int64)
    if group is not None:
        _, kind, size = np.unique(group, return_inverse=True, return_counts=True)
        kind = np.where(size[kind] == 1, -1, kind)
    order = np.lexsort((random.permutation(len(owners)), kind))
    first = np.flatnonzero(np.diff(kind[order], prepend=-2))
    follower = np.arange(1, len(owners) + 1)
    follower[np.append(first[1:], len(owners))[: len(first)] - 1] = first
    donors = np.empty(len(owners), np.int64)
    donors[order] = owners[order[follower]]
    return donors
