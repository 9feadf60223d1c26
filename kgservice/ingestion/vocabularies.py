"""Vocabularies of a graph: which terms belong, what ids they have, and how they are written."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from kgservice.arrays.digests import ColumnDigest
from kgservice.graph import literals, vocabulary
from kgservice.graph.literals import numbers
from kgservice.ingestion.marks import Ids, Mask
from kgservice.ingestion.spool import Spool, mapped
from kgservice.ingestion.terms import Terms


@dataclass(frozen=True)
class Numbering:
    """The ids of terms in one vocabulary of the graph.

    Attributes:
        members: bool `[t]`, all terms that belong to it.
        base: names that have ids already, and keep them.
        base_terms: int32, their numbers as terms.
        path: of a file for the ids.
    """

    members: Mask
    base: vocabulary.Vocabulary
    base_terms: Ids
    path: Path

    @cached_property
    def of(self) -> Ids:
        """int32 `[t]`, in a file: the id of each term, -1 for those that do not belong."""
        fresh = self.fresh
        ids = mapped(self.path, np.int32, len(fresh))
        np.cumsum(fresh, dtype=np.int32, out=ids)
        ids += np.int32(len(self.base) - 1)
        ids[~fresh] = -1
        ids[self.base_terms] = np.arange(len(self.base), dtype=np.int32)
        return ids

    @cached_property
    def fresh(self) -> Mask:
        """bool `[t]`: the terms that get a new id."""
        fresh = np.array(self.members)
        fresh[self.base_terms] = False
        return fresh

    @property
    def keeps_order(self) -> bool:
        """Whether ids rise with the numbers of terms."""
        return not len(self.base)


def write_vocabulary(path: Path, numbering: Numbering, terms: Terms, folder: Path, *, measured: bool = False) -> str:
    """The segments of the base, then one of the new names; returns the content hash."""
    schema = literals.SCHEMA if measured else vocabulary.SCHEMA
    digest = ColumnDigest(vocabulary.SCHEMA)
    spool = Spool(folder / path.name, schema)
    for segment in numbering.base.segments:
        digest.update(pa.record_batch([segment], schema=vocabulary.SCHEMA))
    for part in terms.parts:
        fresh = np.flatnonzero(numbering.fresh[terms.bases[part] : terms.bases[part + 1]])
        if len(fresh):
            names = terms.part(part).take(pa.array(fresh))
            digest.update(pa.record_batch([names], schema=vocabulary.SCHEMA))
            columns = [names, pa.array(numbers(names))] if measured else [names]
            spool.append(pa.RecordBatch.from_arrays(columns, schema=schema))
    new = folder / f"{path.name}.new"
    spool.seal(new)
    batches = [_with_numbers(segment) if measured else [segment] for segment in numbering.base.segments]
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for columns in batches:
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
        if spool.rows and batches:
            writer.write_batch(pa.ipc.open_file(pa.memory_map(str(new))).get_batch(0))
    if not batches:
        new.replace(path)
    return digest.hexdigest()


def _with_numbers(names: pa.LargeStringArray) -> list[pa.Array]:
    return [names, pa.array(numbers(names))]
