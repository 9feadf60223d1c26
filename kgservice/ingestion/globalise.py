"""Rows of runs become rows in numbers of terms: places are replaced by what the run's map says."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kgservice.arrays.ragged import offsets_of
from kgservice.ingestion.chunks import Chunks
from kgservice.ingestion.interpretation import QUOTES, TRIPLES
from kgservice.ingestion.marks import Marks, mark
from kgservice.ingestion.rows import TEXTS, Graphs, add_qualified, add_types
from kgservice.ingestion.runs import Run
from kgservice.ingestion.spool import int32
from kgservice.ingestion.terms import Terms
from kgservice.readers.options import RDF

Ids = npt.NDArray[np.int32]


def globalise(
    run: Run, number: int, terms: Terms, alias: Ids | None, marks: Marks, triples: Chunks, quotes: Chunks, found: Graphs
) -> None:
    """Add the rows of one run.

    Args:
        number: of the run among those that were merged.
        alias: int32 `[t]`, what each term stands for; itself by default.
    """
    columns = {name: column for name, column in run.columns().items() if name != "terms"}
    number_of = terms.map_of(number)
    if alias is not None:
        number_of = alias[number_of]

    def ids(name: str) -> Ids:
        taken: Ids = number_of[columns[name].to_numpy()]
        return taken

    triples.add(_sorted(pa.record_batch([int32(ids(name)) for name in "spo"], schema=TRIPLES), alias))
    quoted = [int32(ids(f"quote_{name}")) for name in "spor"]
    quotes.add(_sorted(pa.record_batch(quoted, schema=QUOTES), alias))
    counted = ("types", RDF + "type") in run.meta()[0]
    add_types(found.output.types, ids("type_entity"), ids("type_type"), counted=counted)
    mark(marks.linked, ids("entities"))
    _add_texts(columns, ids("text_owner"), ids("text_predicate"), marks, found, alias)
    for prefix, table in (("statement_", found.output.qualified), ("negative_", found.negatives)):
        _add_statements(columns, prefix, number_of, marks, table)


def _sorted(batch: pa.RecordBatch, alias: Ids | None) -> pa.RecordBatch:
    """Aliases may break the order that places keep."""
    return batch if alias is None else batch.take(pa.array(np.argsort(batch.column(0).to_numpy(), kind="stable")))


def _add_texts(
    columns: dict[str, pa.Array], owner: Ids, predicate: Ids, marks: Marks, found: Graphs, alias: Ids | None
) -> None:
    if len(predicate):
        mark(marks.described, owner)
    else:
        predicate = np.full(len(owner), -1, np.int32)
    place = pc.index_in(columns["text_languages"], value_set=found.languages).to_numpy(zero_copy_only=False)
    language = pa.array(place.astype(np.int16)[columns["text_language"].to_numpy()])
    batch = [int32(owner), columns["text_of"], columns["text_kind"], int32(predicate), language, columns["text_text"]]
    found.texts.add(_sorted(pa.RecordBatch.from_arrays(batch, schema=TEXTS), alias))


def _add_statements(columns: dict[str, pa.Array], prefix: str, number_of: Ids, marks: Marks, table: Chunks) -> None:
    column = {
        name.removeprefix(prefix): values.to_numpy(zero_copy_only=False)
        for name, values in columns.items()
        if name.startswith(prefix)
    }
    place = ("subject", "relation", "object", "qualifier_relation", "qualifier_value")
    s, r, o, pair_relation, pair_value = (number_of[column[name]] for name in place)
    if not len(s):
        return
    is_literal, value_is_literal = column["object_is_literal"], column["qualifier_is_literal"]
    mark(marks.linked, s[~is_literal], o[~is_literal], pair_value[~value_is_literal])
    add_qualified(
        table,
        subject=s,
        relation=r,
        object=o,
        literal=is_literal,
        split=column["split"],
        rank=column["rank"],
        references=column["references"],
        qualifier_offset=offsets_of(column["qualifier_count"]),
        qualifier_relation=pair_relation,
        qualifier_value=np.where(value_is_literal, -1 - pair_value, pair_value),
    )
