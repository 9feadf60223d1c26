"""Fewer rows: only those about instances of some classes, or all but those that are to be deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from kgservice.arrays.ordering import mix
from kgservice.arrays.ragged import offsets_of
from kgservice.errors import InputError
from kgservice.ingestion.chunks import Chunks, Range, ranges
from kgservice.ingestion.marks import Marks, mark
from kgservice.ingestion.rows import PLAIN, TEXTS, Graphs, Output
from kgservice.ingestion.terms import Terms
from kgservice.readers.options import RDFS, ReadOptions


def restrict(found: Graphs, marks: Marks, terms: Terms, options: ReadOptions, *, end: int, rows: int) -> None:
    """Mark as excluded what is no instance of the classes that were asked for, nor of a subclass of theirs.

    Entities are then the instances, and what statements about them mention.

    Raises:
        InputError: a class does not occur in the sources.
    """
    names = sorted(options.instance_of)
    wanted = terms.find(names)
    if absent := [name for name, place in zip(names, wanted.tolist(), strict=True) if place < 0]:
        raise InputError(
            f"--instance-of {', '.join(absent)}: no such class in the sources. Give it as the sources name it: "
            "a full IRI, or the plain id of a Wikidata item."
        )
    subclass = terms.find([options.subclass_property, RDFS + "subClassOf"])
    tables = [found.output.plain, found.output.qualified]
    below: dict[int, list[int]] = {}
    for keys in ranges(tables, end, rows=rows):
        for table in tables:
            batch = table.read(keys)
            s, r, o, is_literal = (batch.column(name).to_numpy() for name in PLAIN.names)
            chosen = np.isin(r, subclass[subclass >= 0]) & (is_literal == 0)
            for child, parent in zip(s[chosen].tolist(), o[chosen].tolist(), strict=True):
                below.setdefault(parent, []).append(child)
    classes = np.zeros(max(end, 1), bool)
    waiting = wanted.tolist()
    while waiting:  # each class once, so that a circle of subclasses ends
        class_ = waiting.pop()
        if not classes[class_]:
            classes[class_] = True
            waiting += below.get(class_, ())
    marks.excluded[:] = True
    for keys in ranges([found.output.types], end, rows=rows):
        entity, type_ = (column.to_numpy() for column in found.output.types.read(keys, ["entity", "type"]).columns)
        marks.excluded[entity[classes[type_]]] = False
    marks.linked[:] = ~marks.excluded
    marks.described[:] = False
    for keys in ranges(tables, end, rows=rows):
        for table in tables:
            batch = table.read(keys)
            batch = batch.filter(pa.array(~marks.excluded[batch.column(0).to_numpy()]))
            links = batch.filter(pa.array(batch.column("literal").to_numpy() == 0))
            mark(marks.linked, links.column("subject").to_numpy(), links.column("object").to_numpy())
            if table is found.output.qualified:
                value = batch.column("qualifier_value").flatten().to_numpy()
                mark(marks.linked, value[value >= 0])


def subtract(found: Graphs, gone: Graphs, folder: Path, *, end: int, rows: int) -> tuple[Graphs, dict[str, int]]:
    """All rows of `found` that `gone` does not state.

    Returns:
        The rows, in a new folder, and how many of each kind were taken out.
    """
    left = Graphs(Output.within(folder), found.negatives, Chunks(folder / "texts", TEXTS), found.languages)
    counts = {"removed_statements": 0, "removed_types": 0, "removed_texts": 0}
    lost = [gone.output.plain, gone.output.qualified]
    for table, kept in ((found.output.plain, left.output.plain), (found.output.qualified, left.output.qualified)):
        for keys in ranges([table, *lost], end, rows=rows):
            batch = table.read(keys)
            taken = pl.concat([_frame(other.read(keys)) for other in lost])
            triple = ["subject", "relation", "object", "literal"]
            bare = taken.filter(pl.col("qualifiers") == _NO_QUALIFIERS)
            frame = _frame(batch).with_row_index("row")
            frame = frame.join(bare, on=triple, how="anti").join(taken, on=[*triple, "qualifiers"], how="anti")
            counts["removed_statements"] += _keep(kept, batch, frame["row"])
    for keys in ranges([found.output.types, gone.output.types], end, rows=rows):
        counts["removed_types"] += _without(
            found.output.types, gone.output.types, left.output.types, keys, ["entity", "type"]
        )
    same_text = ["owner", "kind", "language", "text"]
    for keys in ranges([found.texts, gone.texts], end, rows=rows // 4 + 1):
        counts["removed_texts"] += _without(found.texts, gone.texts, left.texts, keys, same_text)
    return left, counts


_NO_QUALIFIERS = 0


def _frame(batch: pa.RecordBatch) -> pl.DataFrame:
    """Subject, relation, object, and a hash of the qualifiers that does not depend on their order."""
    hashes = np.full(len(batch), _NO_QUALIFIERS, np.uint64)
    if "qualifier_value" in batch.schema.names:
        relation, value = (
            batch.column(name).flatten().to_numpy() for name in ("qualifier_relation", "qualifier_value")
        )
        offset = offsets_of(batch.column("qualifier_value").value_lengths().to_numpy())
        pair = mix(relation.astype(np.uint64) << np.uint64(32) | value.astype(np.uint32).astype(np.uint64))
        total = np.zeros(len(pair) + 1, np.uint64)
        np.cumsum(pair, out=total[1:])
        hashes = total[offset[1:]] - total[offset[:-1]]
    return pl.DataFrame(
        {name: batch.column(name).to_numpy() for name in PLAIN.names} | {"qualifiers": hashes},
        schema={**{name: pl.Int32 for name in PLAIN.names[:3]}, "literal": pl.Int8, "qualifiers": pl.UInt64},
    )


def _without(table: Chunks, gone: Chunks, kept: Chunks, keys: Range, on: list[str]) -> int:
    batch = table.read(keys)
    frames: list[Any] = [pl.from_arrow(pa.Table.from_batches([found])) for found in (batch, gone.read(keys))]
    left = frames[0].with_row_index("row").join(frames[1], on=on, how="anti")
    return _keep(kept, batch, left["row"])


def _keep(kept: Chunks, batch: pa.RecordBatch, rows: pl.Series) -> int:
    """Add some rows of a batch, by their key; how many are left out."""
    chosen: npt.NDArray[np.int64] = np.sort(rows.to_numpy().astype(np.int64))
    key = batch.column(0).to_numpy()[chosen]
    kept.add(batch.take(pa.array(chosen[np.argsort(key, kind="stable")])))
    return len(batch) - len(chosen)
