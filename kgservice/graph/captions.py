"""What images of entities show, in words: visual texts, of all that is asked or of one relation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kgservice.arrays.digests import ColumnDigest

SCHEMA = pa.schema([("entity", pa.int32()), ("relation", pa.int32()), ("text", pa.large_string())])
ANY = -1
"""The relation of a caption that was not prompted by one."""
FILE = "captions.arrow"


@dataclass(frozen=True)
class Captions:
    """`c` captions, sorted by entity and relation, one of each.

    Attributes:
        entity: int32 `[c]`.
        relation: int32 `[c]`, the relation that prompted it, or `ANY`.
        texts: `[c]`.
    """

    entity: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    relation: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    texts: Sequence[str] = ()

    @classmethod
    def build(cls, entity: npt.ArrayLike, relation: npt.ArrayLike, texts: Sequence[str]) -> Captions:
        """Of columns in any order; of several captions of the same entity and relation the last one given stays."""
        entities, relations = np.asarray(entity, np.int32), np.asarray(relation, np.int32)
        order = np.lexsort((np.arange(len(entities)), relations, entities))
        last = np.ones(len(order), dtype=bool)
        same = (np.diff(entities[order]) == 0) & (np.diff(relations[order]) == 0)
        last[:-1] = ~same
        kept = order[last]
        return cls(entities[kept], relations[kept], [texts[row] for row in kept.tolist()])

    def __len__(self) -> int:
        return len(self.entity)

    @cached_property
    def _keys(self) -> npt.NDArray[np.int64]:
        return self.entity.astype(np.int64) << 32 | (self.relation.astype(np.int64) + 1)

    def rows(self, entity: npt.ArrayLike, relation: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """int64 `[b]`: the caption of each entity prompted by a relation, else the one of `ANY`, else -1."""
        entities, relations = np.asarray(entity, np.int64), np.asarray(relation, np.int64)
        found = np.full(len(entities), -1, dtype=np.int64)
        if not len(self):
            return found
        for asked in (np.full_like(relations, ANY), relations):
            keys = entities << 32 | (asked + 1)
            place = np.minimum(np.searchsorted(self._keys, keys), len(self) - 1)
            found = np.where(self._keys[place] == keys, place, found)
        return found

    def without(self, kept: npt.NDArray[np.bool_], number: npt.NDArray[np.int32]) -> Captions:
        """Those of the entities that are kept, by their new numbers."""
        rows = np.flatnonzero(kept[self.entity])
        texts = [self.texts[row] for row in rows.tolist()]
        return Captions(number[self.entity[rows]], self.relation[rows], texts)

    def save(self, folder: Path) -> None:
        """Write `captions.arrow`; nothing where there are none."""
        if len(self):
            with pa.OSFile(str(folder / FILE), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
                writer.write_batch(self._batch())

    @classmethod
    def open(cls, folder: Path) -> Captions:
        """Read what `save` wrote."""
        if not (folder / FILE).exists():
            return cls()
        batch = pa.ipc.open_file(pa.memory_map(str(folder / FILE))).get_batch(0)
        entity, relation = (batch.column(name).to_numpy() for name in ("entity", "relation"))
        return cls(entity, relation, batch.column("text").to_pylist())

    def digest(self) -> str:
        """sha256 over the rows."""
        return ColumnDigest.of(self._batch())

    def _batch(self) -> pa.RecordBatch:
        columns = [pa.array(self.entity), pa.array(self.relation), pa.array(self.texts, pa.large_string())]
        return pa.record_batch(columns, schema=SCHEMA)
