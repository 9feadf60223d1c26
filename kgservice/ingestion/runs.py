"""Batches on disk: a run is one batch with its terms sorted and its rows in the order of their terms.

Because places are given in the order of the terms, rows that are sorted by place stay sorted when places become the ids
of all terms together. A run appears under its name in one step, so that a run that is there need not be made again.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from kgservice.arrays.ordering import first_of_equal, order_of, sort_rows
from kgservice.arrays.ragged import offsets_of
from kgservice.ingestion.spool import read_batch, write_batch
from kgservice.readers.batch import Batch, Places, StatementRows, Tally, TextRows

STATEMENT_FIELDS = tuple(StatementRows.__dataclass_fields__)
_PLACES = ("subject", "relation", "object", "qualifier_relation", "qualifier_value")


def write_run(path: Path, batch: Batch) -> None:
    """Sort a batch and write it; repeated triples are counted as duplicates and written once."""
    terms = pl.Series("term", batch.terms, dtype=pl.String)
    order = terms.arg_sort().to_numpy()
    place = np.empty(len(terms), np.int32)
    place[order] = np.arange(len(terms), dtype=np.int32)
    tally = Counter(batch.tally)
    triples = place[batch.triples]
    if triples.shape[1]:
        triples, repeated = _distinct(triples)
        sorted_terms = terms.gather(order)
        for predicate, count in zip(*np.unique(repeated, return_counts=True), strict=True):
            tally["duplicate", sorted_terms[int(predicate)]] += int(count)
    texts = batch.texts
    by_owner = np.argsort(place[texts.owner], kind="stable")
    types, quotes = place[batch.type_of], place[batch.quotes]
    columns: dict[str, Any] = {
        "terms": batch.terms.take(pa.array(order)),
        "s": triples[0],
        "p": triples[1],
        "o": triples[2],
        **_sorted_table("quote_", ("s", "p", "o", "r"), quotes[[1, 2, 3, 0]]),
        **_sorted_table("value_", ("s", "p", "o"), place[batch.value_nodes]),
        **_sorted_table("type_", ("entity", "type"), types),
        **_sorted_table("alias_", ("from", "to"), place[batch.aliases]),
        "entities": np.unique(place[batch.entities]),
        "text_owner": place[texts.owner][by_owner],
        "text_of": texts.of[by_owner],
        "text_kind": texts.kind[by_owner],
        "text_language": texts.language[by_owner],
        "text_text": texts.text.take(pa.array(by_owner)),
        "text_languages": pa.array(list(texts.languages), pa.large_string()),
        "text_predicate": place[texts.predicate][by_owner] if len(texts.predicate) else texts.predicate,
        **_statements("statement_", batch.statements, place),
        **_statements("negative_", batch.negatives, place),
    }
    meta = {"tally": [[*key, count] for key, count in tally.items()], "prefixes": dict(batch.prefixes)}
    names, lists = [], []
    for name, column in columns.items():
        values = column if isinstance(column, pa.Array) else pa.array(column)
        names.append(name)
        lists.append(pa.LargeListArray.from_arrays(pa.array([0, len(values)], pa.int64()), values))
    schema = pa.schema(
        [(name, column.type) for name, column in zip(names, lists, strict=True)], metadata={"run": json.dumps(meta)}
    )
    write_batch(path, pa.RecordBatch.from_arrays(lists, schema=schema))


def _distinct(triples: Places) -> tuple[Places, Places]:
    """int32 `[3, m]` the distinct triples in order, and the predicates of those that repeat another."""
    triples = np.stack(sort_rows(list(triples)))
    fresh = first_of_equal(list(triples))
    return triples[:, fresh], triples[1, ~fresh]


def _sorted_table(prefix: str, names: tuple[str, ...], columns: Places) -> dict[str, Places]:
    order = order_of(list(columns)) if columns.shape[1] else slice(None)
    return {prefix + name: column[order] for name, column in zip(names, columns, strict=True)}


def _statements(prefix: str, rows: StatementRows, place: Places) -> dict[str, npt.NDArray[Any]]:
    """The columns sorted by subject; qualifiers move with their statements."""
    columns = {name: getattr(rows, name) for name in STATEMENT_FIELDS}
    for name in _PLACES:
        columns[name] = place[columns[name]]
    order = np.argsort(columns["subject"], kind="stable")
    offset = offsets_of(columns["qualifier_count"])
    start, length = offset[:-1][order], np.asarray(columns["qualifier_count"])[order]
    pairs = np.arange(int(offset[-1])) + np.repeat(start - offsets_of(length)[:-1], length)
    return {
        prefix + name: (column[pairs] if name.startswith("qualifier_") and name != "qualifier_count" else column[order])
        for name, column in columns.items()
    }


@dataclass(frozen=True)
class Run:
    """A run on disk, mapped. Places are given in the order of `terms`."""

    path: Path

    @property
    def name(self) -> str:
        """Of its file, without suffix."""
        return self.path.stem

    def columns(self) -> dict[str, pa.Array]:
        """All columns, without a copy."""
        batch = read_batch(self.path)
        return {name: batch.column(name).values for name in batch.schema.names}

    def terms(self) -> pa.LargeStringArray:
        """The terms, sorted by their bytes."""
        return self.columns()["terms"]

    def terms_place(self) -> tuple[int, int]:
        """Where in the file the offsets (int64) and the bytes of the terms begin: slices are read without a mapping."""
        with pa.memory_map(str(self.path)) as mapped:
            terms = pa.ipc.open_file(mapped).get_batch(0).column("terms").values
            mapped.seek(0)
            start = mapped.read_buffer().address
            _, offsets, data = terms.buffers()
            return offsets.address - start, (data.address - start) if data is not None else 0

    def meta(self) -> tuple[Tally, dict[str, str]]:
        """What was read and what became of it so far, and the prefixes."""
        meta = json.loads(read_batch(self.path).schema.metadata[b"run"])
        return Counter({(outcome, predicate): count for outcome, predicate, count in meta["tally"]}), meta["prefixes"]


def texts_of(columns: dict[str, pa.Array]) -> TextRows:
    """The texts of a run."""
    number = {name: columns[f"text_{name}"].to_numpy() for name in ("owner", "of", "kind", "language", "predicate")}
    return TextRows(
        number["owner"],
        number["of"],
        number["kind"],
        number["language"],
        columns["text_text"],
        columns["text_languages"].to_pylist(),
        number["predicate"],
    )
