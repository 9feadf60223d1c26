"""A graph on disk as batches again, so that more can be added to it, or taken out of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import StatementTable
from kgservice.graph.texts import Texts
from kgservice.graph.vocabulary import Vocabulary
from kgservice.readers.batch import Batch, Owner, Places, StatementRows, TextRows

ROWS = 1 << 19
"""Rows, or names, of one batch."""


def batches_of(graph: KnowledgeGraph, *, rows: int = ROWS) -> Iterator[Batch]:
    """All names and rows of a graph. They were counted when they were read, and are not counted again."""
    vocabularies = graph.entities, graph.relations, graph.types.vocabulary, graph.literals.vocabulary
    for names in vocabularies:
        for start in range(0, len(names), rows):
            terms = names.names.slice(start, rows)
            entities = np.arange(len(terms) if names is graph.entities else 0, dtype=np.int32)
            yield Batch(terms, entities=entities)
    for table, objects in ((graph.statements, graph.entities), (graph.literals.statements, graph.literals.vocabulary)):
        for start in range(0, len(table), rows):
            terms = _Terms()
            found = _statements(table, start, rows, graph, objects, terms)
            yield Batch(terms.united(), statements=found)
    for start in range(0, len(graph.negatives), rows):
        terms = _Terms()
        found = _statements(graph.negatives, start, rows, graph, graph.entities, terms)
        yield Batch(terms.united(), negatives=found)
    of_texts = (
        (graph.texts, graph.entities, Owner.ENTITY),
        (graph.relation_texts, graph.relations, Owner.RELATION),
        (graph.types.texts, graph.types.vocabulary, Owner.TYPE),
    )
    for texts, names, of in of_texts:
        for start in range(0, len(texts), rows):
            terms = _Terms()
            found_texts = _texts(texts, start, rows, names, of, terms)
            yield Batch(terms.united(), texts=found_texts)
    typed = graph.types.of_entity
    for start in range(0, len(typed), rows):
        part = typed.take(np.arange(start, min(start + rows, len(typed))))
        terms = _Terms()
        pairs = [
            terms.places(graph.entities, part.rows() + start),
            terms.places(graph.types.vocabulary, part.values),
        ]
        yield Batch(terms.united(), type_of=np.stack(pairs))


def _statements(
    table: StatementTable, start: int, rows: int, graph: KnowledgeGraph, objects: Vocabulary, terms: _Terms
) -> StatementRows:
    part = table.take(np.arange(start, min(start + rows, len(table))))
    return StatementRows(
        subject=terms.places(graph.entities, part.subject),
        relation=terms.places(graph.relations, part.relation),
        object=terms.places(objects, part.object),
        object_is_literal=np.full(len(part), objects is graph.literals.vocabulary),
        split=part.split,
        rank=part.rank,
        references=part.references,
        qualifier_count=np.diff(part.qualifier_offset).astype(np.int32),
        qualifier_relation=terms.places(graph.relations, part.qualifier_relation),
        qualifier_value=terms.places_of_values(graph, part.qualifier_value),
        qualifier_is_literal=part.qualifier_value < 0,
    )


def _texts(texts: Texts, start: int, rows: int, names: Vocabulary, of: Owner, terms: _Terms) -> TextRows:
    end = min(start + rows, len(texts))
    languages = texts.language.slice(start, end - start).dictionary_encode()
    return TextRows(
        owner=terms.places(names, texts.owner[start:end]),
        of=np.full(end - start, of, np.int8),
        kind=texts.kind[start:end],
        language=languages.indices.to_numpy(),
        text=texts.text.slice(start, end - start),
        languages=languages.dictionary.to_pylist(),
    )


class _Terms:
    """The names of ids of several vocabularies; equal names of two vocabularies are one term."""

    def __init__(self) -> None:
        self._parts: list[pa.LargeStringArray] = []
        self._columns: list[Places] = []
        self._size = 0

    def places(self, names: Vocabulary, ids: npt.NDArray[Any]) -> Places:
        used, back = np.unique(ids, return_inverse=True)
        return self._place(names.names.take(pa.array(used.astype(np.int64))), back)

    def places_of_values(self, graph: KnowledgeGraph, values: npt.NDArray[np.int32]) -> Places:
        """Like `places`, of qualifier values: entities, and literals as `-1 - id`."""
        used, back = np.unique(values, return_inverse=True)
        literals = graph.literals.vocabulary.names.take(pa.array(-1 - used[used < 0].astype(np.int64)))
        entities = graph.entities.names.take(pa.array(used[used >= 0].astype(np.int64)))
        return self._place(pa.concat_arrays([literals, entities]), back)

    def _place(self, used: pa.LargeStringArray, back: npt.NDArray[np.int64]) -> Places:
        self._parts.append(used)
        places: Places = (back + self._size).astype(np.int32)
        self._size += len(used)
        self._columns.append(places)
        return places

    def united(self) -> pa.LargeStringArray:
        """The distinct names; the columns that were given out are changed in place to fit."""
        encoded = pa.concat_arrays([pa.array([], pa.large_string()), *self._parts]).dictionary_encode()
        place = encoded.indices.to_numpy()
        for column in self._columns:
            column[:] = place[column]
        return encoded.dictionary
