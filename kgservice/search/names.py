"""Every name of every entity, folded once at build time and mapped when searching."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kgservice.errors import DataError
from kgservice.graph import KnowledgeGraph
from kgservice.graph.texts import TextKind
from kgservice.graph.vocabulary import local_name
from kgservice.search.folding import fold

_SCHEMA = pa.schema(
    [
        ("owner", pa.int32()),
        ("kind", pa.int8()),
        ("language", pa.dictionary(pa.int32(), pa.large_string())),
        ("text", pa.large_string()),
        ("folded", pa.large_string()),
        ("by_name", pa.int32()),
    ]
)

_UNTAGGED = ("", "mul", "zxx")
"""Languages of names that hold in all languages."""


class Names:
    """Rows of (owner, kind, language, text, folded), sorted by owner; `by_name` holds their numbers by the bytes of `folded`.

    Args:
        batch: a record batch of the module's schema; `build` makes it.
        n: how many entities there are, named or not.
    """

    def __init__(self, batch: pa.RecordBatch, n: int) -> None:
        self._batch = batch
        owner = batch.column("owner").to_numpy()
        self.owner: npt.NDArray[np.int32] = owner
        # Tables of former versions lack it.
        held = "by_name" in batch.schema.names
        self.by_name: npt.NDArray[np.int32] = (
            batch.column("by_name") if held else _by_name(batch["folded"].to_pylist())
        ).to_numpy()
        self._offset = np.searchsorted(owner, np.arange(n + 1)).astype(np.int64)
        self._kind: npt.NDArray[np.int8] = batch.column("kind").to_numpy()
        self._language: npt.NDArray[np.int32] = batch.column("language").indices.to_numpy()
        self._asked: dict[str, npt.NDArray[np.int64]] = {}
        self._folded, self._texts = _Strings(batch.column("folded")), _Strings(batch.column("text"))

    @classmethod
    def build(cls, graph: KnowledgeGraph) -> Names:
        """Labels and aliases of the graph, and of each entity the last part of its IRI: an alias, or its only label."""
        labelled = np.zeros(graph.n, dtype=bool)
        labelled[graph.texts.owner[graph.texts.kind == TextKind.LABEL]] = True
        rows = [
            (owner, int(kind), language, text)
            for owner, kind, language, text in graph.texts.items()
            if kind is not TextKind.DESCRIPTION
        ]
        for entity, name in enumerate(graph.entities.names.to_pylist()):
            kind = TextKind.ALIAS if labelled[entity] else TextKind.LABEL
            rows.append((entity, int(kind), "", local_name(name)))
        rows = sorted(row for row in set(rows) if fold(row[3]))
        owner, kinds, languages, texts = zip(*rows, strict=True) if rows else ((), (), (), ())
        folded = [fold(text) for text in texts]
        columns = [
            pa.array(owner, type=pa.int32()),
            pa.array(kinds, type=pa.int8()),
            pa.array(languages, type=pa.large_string()).dictionary_encode(),
            pa.array(texts, type=pa.large_string()),
            pa.array(folded, type=pa.large_string()),
            _by_name(folded),
        ]
        return cls(pa.record_batch(columns, schema=_SCHEMA), graph.n)

    def __len__(self) -> int:
        return int(self._batch.num_rows)

    def folded(self) -> Iterator[list[str]]:
        """The folded names of each entity in turn, each once."""
        column = self._batch.column("folded")
        for low, high in zip(self._offset[:-1].tolist(), self._offset[1:].tolist(), strict=True):
            yield list(dict.fromkeys(column.slice(low, high - low).to_pylist()))

    def span(self, key: str) -> tuple[int, int, int]:
        """Places of `by_name`: where the names that begin so begin, where those end that are so, where all end. O(log m)."""
        asked, read = key.encode(), self._folded.bytes_at
        low = bisect_left(self.by_name, asked, key=read)
        high = bisect_left(self.by_name, asked + b"\xff", low, key=read)  # above all bytes of UTF-8
        return low, bisect_left(self.by_name, asked + b"\x00", low, high, key=read), high

    def rows_of(self, entities: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """int64, int64: the rows of some entities, one entity after the other, and the place of its entity for each."""
        low = self._offset[entities]
        counts = self._offset[entities + 1] - low
        # Row j of entity i is low[i] + j: one arange, shifted by entity.
        shift = low - (np.cumsum(counts) - counts)
        return np.arange(int(counts.sum()), dtype=np.int64) + np.repeat(shift, counts), np.repeat(
            np.arange(len(entities)), counts
        )

    def lengths_of(self, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """int64: bytes of names as they are compared."""
        return self._folded.lengths(rows)

    def folded_of(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """Names as they are compared."""
        return self._folded.at(rows)

    def texts_of(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """Names as they are written in the graph."""
        return self._texts.at(rows)

    def quality_of(self, rows: npt.NDArray[np.integer], language: str) -> npt.NDArray[np.int64]:
        """int64: 2 a label in the language asked for; 1 a label in another, or an alias in this one; 0 any other alias."""
        quality: npt.NDArray[np.int64] = (self._kind[rows] == TextKind.LABEL) + self._is_asked(language)[
            self._language[rows]
        ]
        return quality

    def _is_asked(self, language: str) -> npt.NDArray[np.int64]:
        """int64 `[languages]`: 1 for the language asked for, its variants ("pt" and "pt-br"), and untagged names."""
        asked = language.split("-")[0].lower()
        if asked not in self._asked:
            own = [code in _UNTAGGED or code.split("-")[0].lower() == asked for code in self._codes]
            if not any(own):
                return np.zeros(len(own), np.int64)
            self._asked[asked] = np.array(own, np.int64)  # as many entries as the names have languages
        return self._asked[asked]

    @cached_property
    def _codes(self) -> list[str]:
        codes: list[str] = self._batch.column("language").dictionary.to_pylist()
        return codes

    def save(self, path: Path) -> None:
        """Write an Arrow IPC file."""
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
            writer.write_batch(self._batch)

    @classmethod
    def open(cls, path: Path, n: int) -> Names:
        """Map a saved table.

        Raises:
            DataError: the file is missing or damaged.
        """
        try:
            return cls(pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0), n)
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{path} cannot be read as names: {error}. Build the release anew.") from error


def _by_name(folded: Sequence[str]) -> pa.Int32Array:
    """Numbers of the rows in the order of their bytes in UTF-8, which is that of code points."""
    return pa.array(sorted(range(len(folded)), key=folded.__getitem__), type=pa.int32())


class _Strings:
    """Random reads of a column of strings: a slice of its bytes each, a tenth of what arrow's own `take` costs for few."""

    def __init__(self, column: pa.LargeStringArray) -> None:
        _, offset, data = column.buffers()
        self._offset = np.frombuffer(offset, np.int64)[column.offset : column.offset + len(column) + 1]
        self._data = memoryview(data) if data is not None else memoryview(b"")

    def bytes_at(self, row: int) -> bytes:
        """The string at `row`, in UTF-8."""
        return bytes(self._data[self._offset[row] : self._offset[row + 1]])

    def lengths(self, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """int64: bytes of the strings at `rows`."""
        lengths: npt.NDArray[np.int64] = self._offset[rows + 1] - self._offset[rows]
        return lengths

    def at(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """The strings at `rows`."""
        low, high, data = self._offset[rows].tolist(), self._offset[rows + 1].tolist(), self._data
        return [str(data[start:end], "utf-8") for start, end in zip(low, high, strict=True)]
