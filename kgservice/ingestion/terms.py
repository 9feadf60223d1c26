"""All terms of all runs, sorted and numbered: a sample sort, whose parts are cut so that each fits into memory.

Splitters drawn from the runs cut every run into slices; the slices between two splitters are united, sorted and written,
part after part. A run's map then says which number each of its terms has.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from kgservice.errors import GraphError
from kgservice.ingestion.runs import Run
from kgservice.ingestion.spool import opened, read_batch, read_items, write_batch

_SCHEMA = pa.schema({"name": pa.large_string()})
_MAP = pa.schema({"id": pa.int32()})
SAMPLE_EVERY = 64


@dataclass(frozen=True)
class Terms:
    """`t` distinct terms in the order of their bytes, on disk.

    Attributes:
        folder: holds `<part>.terms` and `<part>.map` files.
        bases: int64 `[parts + 1]`, the number of the first term of each part, and `t`.
        cuts: int64 `[runs, parts + 1]`, where each run's terms fall into parts.
    """

    folder: Path
    bases: npt.NDArray[np.int64]
    cuts: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.bases[-1])

    @property
    def parts(self) -> range:
        """Numbers of the parts."""
        return range(len(self.bases) - 1)

    def part(self, number: int) -> pa.LargeStringArray:
        """The terms from `bases[number]` on, mapped."""
        return read_batch(self.folder / f"{number}.terms").column(0)

    def map_of(self, run: int) -> npt.NDArray[np.int32]:
        """int32 `[terms of the run]`: the number of each."""
        pieces = []
        for part in self.parts:
            low, high = self.cuts[run, part], self.cuts[run, part + 1]
            start = int((self.cuts[:run, part + 1] - self.cuts[:run, part]).sum())
            pieces.append(self._maps[part][start : start + high - low] + np.int32(self.bases[part]))
        return np.concatenate(pieces) if pieces else np.empty(0, np.int32)

    @cached_property
    def _maps(self) -> list[npt.NDArray[np.int32]]:
        """Per part, the places of the terms of all runs; opened once, since every run asks every part."""
        return [read_batch(self.folder / f"{part}.map").column(0).to_numpy() for part in self.parts]

    def find(self, names: Sequence[str]) -> npt.NDArray[np.int32]:
        """int32: the numbers of a few names, -1 where there is none."""
        return np.array([self._find(name) for name in names], np.int32)

    def _find(self, name: str) -> int:
        if not len(self):
            return -1
        number = self._place(name)
        part = int(np.searchsorted(self.bases, number, side="right")) - 1
        if part not in self.parts:
            return -1
        return number if self.part(part)[number - self.bases[part]].as_py() == name else -1

    def range_of(self, prefix: str) -> tuple[int, int]:
        """The numbers [low, high) of the terms that begin with an ASCII prefix."""
        return self._place(prefix), self._place(prefix[:-1] + chr(ord(prefix[-1]) + 1))

    def _place(self, name: str) -> int:
        """How many terms sort before a name."""
        if not len(self):
            return 0
        part = max(bisect_right(self._first, name.encode()) - 1, 0)
        return int(self.bases[part]) + int(pl.Series(self.part(part)).search_sorted(name, side="left"))

    def find_all(self, names: pa.LargeStringArray) -> npt.NDArray[np.int32]:
        """int32: the numbers of many names, all of which are terms."""
        found = np.full(len(names), -1, np.int32)
        for part in self.parts:
            places = pc.index_in(names, value_set=self.part(part))
            here = pc.is_valid(places).to_numpy(zero_copy_only=False)
            found[here] = places.filter(pa.array(here)).to_numpy() + self.bases[part]
        return found

    @cached_property
    def _first(self) -> list[bytes]:
        return [
            self.part(part)[0].as_py().encode() if self.bases[part + 1] > self.bases[part] else b""
            for part in self.parts
        ]

    def take(self, ids: npt.NDArray[np.integer]) -> pa.LargeStringArray:
        """The terms of sorted numbers."""
        cuts = np.searchsorted(ids, self.bases)
        pieces = [
            self.part(part).take(pa.array(ids[cuts[part] : cuts[part + 1]] - self.bases[part]))
            for part in self.parts
            if cuts[part] < cuts[part + 1]
        ]
        return pa.concat_arrays([pa.array([], pa.large_string()), *pieces])


def merge(runs: Sequence[Run], folder: Path, pool: Executor, *, part_bytes: int) -> Terms:
    """Unite the terms of runs.

    Args:
        folder: for the result; made.
        part_bytes: how many bytes of terms, repeated ones included, are in memory at a time per thread.

    Raises:
        GraphError: more distinct terms than int32 ids.
    """
    folder.mkdir(parents=True, exist_ok=True)
    total, samples = 0, []
    for run in runs:
        terms = run.terms()
        total += terms.nbytes
        samples.append(terms.take(pa.array(np.arange(SAMPLE_EVERY // 2, len(terms), SAMPLE_EVERY))))
    parts = max(1, -(-total // part_bytes))
    sample = pl.Series("term", pa.concat_arrays([pa.array([], pa.large_string()), *samples]), dtype=pl.String).sort()
    chosen = [sample[i * len(sample) // parts] for i in range(1, parts)] if len(sample) else []
    splitters = sorted(set(chosen), key=lambda name: name.encode())
    cuts = np.stack([_cut(run.terms(), splitters) for run in runs]) if runs else np.zeros((0, 1), np.int64)
    numbers = range(len(splitters) + 1)
    places = [run.terms_place() for run in runs]
    sizes = list(pool.map(lambda part: _merge_part(runs, places, cuts, part, folder), numbers))
    bases = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    if bases[-1] > np.iinfo(np.int32).max:
        raise GraphError(f"{bases[-1]:,} distinct terms, more than 2^31 - 1; split the sources into several graphs")
    return Terms(folder, bases, cuts)


def _slice(run: Run, place: tuple[int, int], low: int, high: int) -> pa.LargeStringArray:
    """The terms of a run from `low` to `high`."""
    if low == high:
        return pa.array([], pa.large_string())
    with opened(run.path) as file:
        offsets = read_items(file, place[0], low, high + 1, np.dtype(np.int64))
        data = read_items(file, place[1], int(offsets[0]), int(offsets[-1]), np.dtype(np.uint8))
    return pa.LargeStringArray.from_buffers(high - low, pa.py_buffer(offsets - offsets[0]), pa.py_buffer(data))


def _cut(terms: pa.LargeStringArray, splitters: Sequence[str]) -> npt.NDArray[np.int64]:
    names = pl.Series("term", terms, dtype=pl.String)
    wanted = pl.Series(splitters, dtype=pl.String)
    inner = names.search_sorted(wanted, side="left").to_numpy() if splitters else np.empty(0, np.int64)
    return np.concatenate([[0], inner, [len(names)]]).astype(np.int64)


def _merge_part(
    runs: Sequence[Run], places: Sequence[tuple[int, int]], cuts: npt.NDArray[np.int64], part: int, folder: Path
) -> int:
    slices = [
        _slice(run, place, int(cuts[number, part]), int(cuts[number, part + 1]))
        for number, (run, place) in enumerate(zip(runs, places, strict=True))
    ]
    encoded = pa.concat_arrays([pa.array([], pa.large_string()), *slices]).dictionary_encode()
    order = pl.Series("term", encoded.dictionary, dtype=pl.String).arg_sort().to_numpy()
    ids = np.empty(len(order), np.int32)
    ids[order] = np.arange(len(order), dtype=np.int32)
    names = encoded.dictionary.take(pa.array(order))
    write_batch(folder / f"{part}.terms", pa.record_batch([names], schema=_SCHEMA))
    write_batch(folder / f"{part}.map", pa.record_batch([pa.array(ids[encoded.indices.to_numpy()])], schema=_MAP))
    return len(names)
