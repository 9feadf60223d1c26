"""Which types (classes) each entity has. Types have names and texts of their own; they need not be entities."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kgservice.arrays.digests import ColumnDigest
from kgservice.arrays.ragged import Ragged, offsets_of
from kgservice.graph.texts import Texts
from kgservice.graph.vocabulary import Vocabulary

SCHEMA = pa.schema({"types": pa.large_list(pa.int32())})
"""`entity_types.arrow`: a list of type ids per entity."""


@dataclass(frozen=True)
class Types:
    """Attributes:
    vocabulary: the `c` types.
    of_entity: ragged `[n]`, the type ids of each entity, sorted.
    texts: labels and descriptions of the types.
    """

    vocabulary: Vocabulary = field(default_factory=lambda: Vocabulary.build([]))
    of_entity: Ragged = field(default_factory=lambda: Ragged.empty(0))
    texts: Texts = field(default_factory=Texts.build)

    @classmethod
    def build(
        cls, vocabulary: Vocabulary, entity: npt.ArrayLike, type: npt.ArrayLike, *, n: int, texts: Texts | None = None
    ) -> Types:
        """From pairs (entity id, type id) in any order; `n` is the number of entities."""
        pairs = np.unique(np.stack([np.asarray(entity, np.int64), np.asarray(type, np.int64)], axis=1), axis=0)
        offset = offsets_of(np.bincount(pairs[:, 0], minlength=n))
        return cls(vocabulary, Ragged(offset, pairs[:, 1].astype(np.int32)), texts or Texts.build())

    def __len__(self) -> int:
        return len(self.vocabulary)

    @cached_property
    def members(self) -> Ragged:
        """ragged `[c]`: the entities of each type."""
        entity = self.of_entity.rows()
        order = np.argsort(self.of_entity.values, kind="stable")
        counts = np.bincount(self.of_entity.values, minlength=len(self))
        return Ragged(offsets_of(counts), entity[order].astype(np.int32))

    def save(self, folder: Path) -> None:
        """Write `types.arrow` (names), `entity_types.arrow` (a list per entity) and `type_texts.arrow`."""
        self.vocabulary.save(folder / "types.arrow")
        with pa.OSFile(str(folder / "entity_types.arrow"), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            writer.write_batch(self._lists())
        self.texts.save(folder / "type_texts.arrow")

    @classmethod
    def open(cls, folder: Path) -> Types:
        """Map what `save` wrote."""
        reader = pa.ipc.open_file(pa.memory_map(str(folder / "entity_types.arrow")))
        of_entity = Ragged.empty(0)
        if reader.num_record_batches:
            column = reader.get_batch(0).column("types")
            of_entity = Ragged(column.offsets.to_numpy(), column.values.to_numpy())
        return cls(Vocabulary.open(folder / "types.arrow"), of_entity, Texts.open(folder / "type_texts.arrow"))

    def digest(self) -> str:
        """sha256 over names, lists and texts."""
        parts = (self.vocabulary.content_hash, self.texts.digest(), ColumnDigest.of(self._lists()))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _lists(self) -> pa.RecordBatch:
        lists = pa.LargeListArray.from_arrays(pa.array(self.of_entity.offset), pa.array(self.of_entity.values))
        return pa.record_batch([lists], schema=SCHEMA)
