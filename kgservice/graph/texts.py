"""Labels, aliases and descriptions of entities, relations and types, by language."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kgservice.arrays.digests import ColumnDigest

SCHEMA = pa.schema(
    [("owner", pa.int32()), ("kind", pa.int8()), ("language", pa.large_string()), ("text", pa.large_string())]
)

FALLBACK_LANGUAGES = ("en", "mul", "")
"""Tried in this order after the language asked for; then any language, by its code."""


class TextKind(IntEnum):
    """What a text is to its owner."""

    LABEL = 0
    ALIAS = 1
    DESCRIPTION = 2


class Texts:
    """Rows of (owner, kind, language, text), sorted and each there once.

    Args:
        batch: a record batch of the module's schema, sorted; use `build` for anything else.
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch
        self.owner: npt.NDArray[np.int32] = batch.column("owner").to_numpy()
        self.kind: npt.NDArray[np.int8] = batch.column("kind").to_numpy()
        self.language: pa.LargeStringArray = batch.column("language")
        self.text: pa.LargeStringArray = batch.column("text")
        self._preferred: dict[tuple[TextKind, str], npt.NDArray[np.int64]] = {}

    @classmethod
    def build(
        cls,
        owner: npt.ArrayLike = (),
        kind: npt.ArrayLike = (),
        language: Sequence[str] | pa.Array = (),
        text: Sequence[str] | pa.Array = (),
    ) -> Texts:
        """Sort and deduplicate columns given in any order; an untagged text has the language ''."""
        table = pa.table(
            [
                pa.array(np.asarray(owner, dtype=np.int32)),
                pa.array(np.asarray(kind, dtype=np.int8)),
                pa.array(language, type=pa.large_string()),
                pa.array(text, type=pa.large_string()),
            ],
            schema=SCHEMA,
        )
        table = table.group_by(SCHEMA.names, use_threads=False).aggregate([])
        table = table.sort_by([(name, "ascending") for name in SCHEMA.names]).combine_chunks()
        batches = table.to_batches()
        return cls(batches[0] if batches else pa.RecordBatch.from_pylist([], schema=SCHEMA))

    def __len__(self) -> int:
        return len(self.owner)

    def rows(self, owner: int) -> list[tuple[TextKind, str, str]]:
        """All (kind, language, text) of one owner."""
        low, high = np.searchsorted(self.owner, [owner, owner + 1])
        part = self._batch.slice(int(low), int(high - low))
        return [(TextKind(row["kind"]), row["language"], row["text"]) for row in part.to_pylist()]

    def preferred(self, owners: npt.ArrayLike, kind: TextKind, language: str = "en") -> list[str | None]:
        """One text of `kind` for each owner in the language asked for, else in a fallback, else any, else None."""
        owners = np.asarray(owners, dtype=np.int64)
        row_of = self._preferred_rows(kind, language)
        inside = (owners >= 0) & (owners < len(row_of))
        rows = np.where(inside, row_of[np.where(inside, owners, 0)] if len(row_of) else -1, -1)
        taken: list[str | None] = self.text.take(pa.array(rows, mask=rows < 0)).to_pylist()
        return taken

    def labels(self, owners: npt.ArrayLike, language: str = "en") -> list[str | None]:
        """One label for each owner, by the rule of `preferred`."""
        return self.preferred(owners, TextKind.LABEL, language)

    def label(self, owner: int, language: str = "en") -> str | None:
        """The label of one owner."""
        return self.labels([owner], language)[0]

    def description(self, owner: int, language: str = "en") -> str | None:
        """The description of one owner."""
        return self.preferred([owner], TextKind.DESCRIPTION, language)[0]

    def several(self, kind: TextKind) -> set[int]:
        """The owners of more than one text of a kind."""
        owner = self.owner[self.kind == kind]
        return set(owner[1:][owner[1:] == owner[:-1]].tolist())

    def languages(self) -> list[str]:
        """Every language code that occurs, sorted."""
        return list(self._languages)

    @cached_property
    def _languages(self) -> tuple[str, ...]:
        return tuple(sorted(pc.unique(self.language).to_pylist()))

    def _preferred_rows(self, kind: TextKind, language: str) -> npt.NDArray[np.int64]:
        """int64 `[max owner + 1]`: the row to show, or -1; computed once per kind and language."""
        if language not in self._languages:
            language = FALLBACK_LANGUAGES[0]  # one cache entry for all languages that do not occur
        key = (kind, language)
        if key not in self._preferred:
            rows = np.flatnonzero(self.kind == kind)
            order = {code: place for place, code in enumerate(dict.fromkeys((language, *FALLBACK_LANGUAGES)))}
            encoded = self.language.dictionary_encode()
            place_of = np.array([order.get(code, len(order)) for code in encoded.dictionary.to_pylist()] or [0])
            place = place_of[encoded.indices.to_numpy()[rows]]
            # Written from the worst place to the best, so that the best one stays.
            worst_first = np.lexsort((-rows, -place))
            found = np.full(int(self.owner[-1]) + 1 if len(self) else 0, -1, dtype=np.int64)
            found[self.owner[rows[worst_first]]] = rows[worst_first]
            self._preferred[key] = found
        return self._preferred[key]

    def save(self, path: Path) -> None:
        """Write an Arrow IPC file."""
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            writer.write_batch(self._batch)

    @classmethod
    def open(cls, path: Path) -> Texts:
        """Map a saved table."""
        return cls(pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0))

    def digest(self) -> str:
        """sha256 over the rows."""
        return ColumnDigest.of(self._batch)

    def items(self) -> Iterable[tuple[int, TextKind, str, str]]:
        """All rows, for exports and indexes."""
        for owner, kind, language, text in zip(
            self.owner.tolist(), self.kind.tolist(), self.language.to_pylist(), self.text.to_pylist(), strict=True
        ):
            yield owner, TextKind(kind), language, text
