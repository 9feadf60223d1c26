"""A graph as N-Triples of RDF 1.2, in blocks of lines made by columns.

A statement is its triple; its qualifiers are those of a reifier, `_:r rdf:reifies <<( s p o )>>`, one for each statement, so that
the same triple with other qualifiers stays apart. Labels are `rdfs:label`, aliases `skos:altLabel`, descriptions
`schema:description`. Names that are no IRIs are written as `names.iri_of` says. What was erased is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kgservice.arrays.ragged import Ragged
from kgservice.graph import KnowledgeGraph
from kgservice.graph.grown import GrownGraph
from kgservice.graph.names import IRI, KG, WELL_KNOWN, iri_of
from kgservice.graph.statements import StatementTable
from kgservice.graph.texts import TextKind, Texts

ERASED = f"<{KG}erased>"
"""Marks an entity for the process that loads a file beside the graph; the mark does not stay."""
Column: TypeAlias = Any  # a pa.LargeStringArray
Mask = npt.NDArray[np.bool_]

BLOCK = 100_000
"""Statements or texts of one block, about 20 MB of lines."""
_TYPE = f"<{WELL_KNOWN['rdf']}type>"
_REIFIES = f"<{WELL_KNOWN['rdf']}reifies>"
_PREDICATES = {
    TextKind.LABEL: f"<{WELL_KNOWN['rdfs']}label>",
    TextKind.ALIAS: f"<{WELL_KNOWN['skos']}altLabel>",
    TextKind.DESCRIPTION: f"<{WELL_KNOWN['schema']}description>",
}
_LANGUAGE = r"^[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*$"


def blocks(graph: KnowledgeGraph) -> Iterator[memoryview]:
    """The lines of a graph, whole ones in every block; of all splits. Without what was put, see `additions`."""
    part = graph.base if isinstance(graph, GrownGraph) else graph
    entities, relations, values = _terms(graph)
    yield from _about(part, graph, "s0x")
    yield from _statements(
        part.literals.statements, entities, relations, graph.literals.vocabulary.names, values, graph.erased, "f"
    )
    yield from _texts(graph.relation_texts, relations, np.zeros(graph.r, dtype=bool))
    types = terms(graph.types.vocabulary.names)
    yield from _texts(graph.types.texts, types, np.zeros(len(types), dtype=bool))


def additions(graph: KnowledgeGraph) -> Iterator[memoryview]:
    """The lines of what was put into a graph; none for one that is as it was released."""
    if isinstance(graph, GrownGraph):
        yield from _about(graph.added, graph, "s1x")
        entities, relations, values = _terms(graph)
        facts, literals = graph.added.literals.statements, graph.literals.vocabulary.names
        yield from _statements(facts, entities, relations, literals, values, graph.erased, "f1x")


def _about(part: KnowledgeGraph, graph: KnowledgeGraph, name: str) -> Iterator[memoryview]:
    """What a part of a graph says of entities."""
    entities, relations, values = _terms(graph)
    yield from _statements(part.statements, entities, relations, entities, values, graph.erased, name)
    yield from _texts(part.texts, entities, graph.erased)
    yield from _types(part, entities, graph.erased)


def _terms(graph: KnowledgeGraph) -> tuple[Column, Column, Column]:
    """Entities, relations, and the values of qualifiers: the entities and behind them the literals."""
    entities = terms(graph.entities.names)
    literals = graph.literals.vocabulary.names.cast(pa.large_string())
    return entities, terms(graph.relations.names), pa.concat_arrays([entities, literals])


def marks(erased: Iterable[str]) -> Iterator[memoryview]:
    """A line for each entity that must not be shown."""
    names = pa.array(sorted(erased), pa.large_string())
    if len(names):
        yield _lines(terms(names), f" {ERASED} ", pa.array(['"true"'] * len(names), pa.large_string()))


def terms(names: Column) -> Column:
    """Names as N-Triples writes them: IRIs in angle brackets, blank nodes as they are."""
    names = names.cast(pa.large_string())
    blank = pc.starts_with(names, "_:")
    plain = pc.invert(pc.or_(pc.match_substring_regex(names, f"^(?:{IRI})$"), blank))
    if pc.any(plain).as_py():
        fitting = pa.array([iri_of(name) for name in names.filter(plain).to_pylist()], pa.large_string())
        names = pc.replace_with_mask(names, plain, fitting)
    return pc.if_else(blank, names, _joined("<", names, ">"))


def _statements(
    table: StatementTable,
    entities: Column,
    relations: Column,
    objects: Column,
    values: Column,
    erased: Mask,
    name: str,
) -> Iterator[memoryview]:
    """Triples and reifiers; `values` are the entities and behind them the literals."""
    n = len(entities)
    kept = ~erased[table.subject]
    if objects is entities:
        kept &= ~erased[table.object]
    pairs = Ragged(table.qualifier_offset, np.arange(len(table.qualifier_value), dtype=np.int64))  # type: ignore[arg-type]
    for start in range(0, len(table), BLOCK):
        rows = start + np.flatnonzero(kept[start : start + BLOCK])
        triples = _joined(
            _take(entities, table.subject[rows]),
            " ",
            _take(relations, table.relation[rows]),
            " ",
            _take(objects, table.object[rows]),
        )
        yield _lines(triples)
        asked = pairs.take(rows)
        qualified = np.flatnonzero(asked.lengths)
        if not len(qualified):
            continue
        reifiers = _joined(f"_:{name}", pa.array(rows).cast(pa.large_string()))
        yield _lines(_take(reifiers, qualified), " ", _REIFIES, " <<( ", _take(triples, qualified), " )>>")
        value = table.qualifier_value[asked.values]
        shown = (value < 0) | ~erased[np.maximum(value, 0)]
        pair, value = asked.values[shown], value[shown]
        yield _lines(
            _take(reifiers, asked.rows()[shown]),
            " ",
            _take(relations, table.qualifier_relation[pair]),
            " ",
            _take(values, np.where(value >= 0, value, n - 1 - value)),
        )


def _texts(texts: Texts, owners: Column, erased: Mask) -> Iterator[memoryview]:
    kept = np.flatnonzero(~erased[texts.owner])
    for start in range(0, len(kept), BLOCK):
        rows = kept[start : start + BLOCK]
        language = _take(texts.language, rows)
        tagged = pc.match_substring_regex(language, _LANGUAGE)
        tag = pc.if_else(tagged, _joined("@", language), "").cast(pa.large_string())
        predicate = pa.array([_PREDICATES[TextKind(kind)] for kind in sorted(TextKind)], pa.large_string())
        order = np.searchsorted(sorted(TextKind), texts.kind[rows])
        quoted = _joined('"', _escaped(_take(texts.text, rows)), '"', tag)
        yield _lines(_take(owners, texts.owner[rows]), " ", _take(predicate, order), " ", quoted)


def _types(graph: KnowledgeGraph, entities: Column, erased: Mask) -> Iterator[memoryview]:
    of_entity, types = graph.types.of_entity, terms(graph.types.vocabulary.names)
    owner = of_entity.rows()
    kept = np.flatnonzero(~erased[owner])
    for start in range(0, len(kept), BLOCK):
        rows = kept[start : start + BLOCK]
        yield _lines(_take(entities, owner[rows]), f" {_TYPE} ", _take(types, of_entity.values[rows]))


def _take(column: Column, rows: npt.NDArray[np.integer]) -> Column:
    return column.take(pa.array(rows))


def _joined(*parts: str | Column) -> Column:
    columns = [pa.scalar(part, pa.large_string()) if isinstance(part, str) else part for part in parts]
    return pc.binary_join_element_wise(*columns, pa.scalar("", pa.large_string()))


def _escaped(texts: Column) -> Column:
    for character, escape in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r")):
        texts = pc.replace_substring(texts, character, escape)
    return texts


def _lines(*parts: str | Column) -> memoryview:
    """One line of each row, as the bytes that the column holds behind one another."""
    column = _joined(*parts, " .\n")
    data = column.buffers()[2]
    return (
        memoryview(data)[: int(pc.sum(pc.binary_length(column)).as_py() or 0)] if data is not None else memoryview(b"")
    )
