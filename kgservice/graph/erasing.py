"""A graph without some of its entities: their names, texts, statements and whatever else is said of them are gone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kgservice.arrays.ragged import Ragged, offsets_of
from kgservice.graph import KnowledgeGraph
from kgservice.graph.literals import Literals
from kgservice.graph.statements import StatementTable
from kgservice.graph.texts import Texts
from kgservice.graph.vocabulary import Vocabulary

Ids = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]


def without(graph: KnowledgeGraph, gone: npt.ArrayLike) -> tuple[KnowledgeGraph, npt.NDArray[np.int64]]:
    """The graph without some entities, the others numbered anew in the same order.

    A statement goes with its subject or object; of one that an erased entity qualifies, that pair goes. Literals that nothing
    states any more go too. What other entities' texts say in words stays.

    Args:
        graph: what is left as it is.
        gone: ids of entities.

    Returns:
        The graph, and int64 `[n']`: which entity of the former graph each is.
    """
    kept = np.ones(graph.n, dtype=bool)
    kept[np.asarray(gone, dtype=np.int64)] = False
    number = np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int32)
    links = _table(graph.statements, kept, number, kept, number)
    literals = np.ones(len(graph.literals.vocabulary), dtype=bool)
    facts = _table(graph.literals.statements, kept, number, literals, np.arange(len(literals), dtype=np.int32))
    used = np.zeros(len(literals), dtype=bool)
    used[facts.object] = True
    for table in (links, facts):
        used[-1 - table.qualifier_value[table.qualifier_value < 0]] = True
    of_literal = np.where(used, np.cumsum(used) - 1, -1).astype(np.int32)
    facts = _literals_numbered(replace(facts, object=of_literal[facts.object]), of_literal)
    types = graph.types
    if len(types.of_entity):
        types = replace(types, of_entity=types.of_entity.take(np.flatnonzero(kept)))
    erased = KnowledgeGraph(
        _vocabulary(graph.entities, kept),
        graph.relations,
        _literals_numbered(links, of_literal),
        _texts(graph.texts, kept, number),
        graph.relation_texts,
        types,
        Literals.build(_vocabulary(graph.literals.vocabulary, used), facts),
        _table(graph.negatives, kept, number, kept, number),
        graph.prefixes,
        graph.provenance,
        graph.captions.without(kept, number),
    )
    return erased, np.flatnonzero(kept)


def _vocabulary(names: Vocabulary, kept: Mask) -> Vocabulary:
    starts = np.cumsum([0] + [len(segment) for segment in names.segments])
    parts = zip(names.segments, starts[:-1], starts[1:], strict=True)
    return Vocabulary([segment.filter(pa.array(kept[start:end])) for segment, start, end in parts])


def _texts(texts: Texts, kept: Mask, number: Ids) -> Texts:
    rows = np.flatnonzero(kept[texts.owner])
    chosen = pa.array(rows)
    return Texts.build(
        number[texts.owner[rows]], texts.kind[rows], texts.language.take(chosen), texts.text.take(chosen)
    )


def _table(table: StatementTable, subjects: Mask, subject: Ids, objects: Mask, object: Ids) -> StatementTable:
    """Rows whose ends are kept, by their new numbers; pairs whose values are entities that are not kept go."""
    rows = np.flatnonzero(subjects[table.subject] & objects[table.object])
    some = table.take(rows)
    value = some.qualifier_value
    entity = value >= 0
    stays = ~entity
    stays[entity] = subjects[value[entity]]
    renumbered = value.copy()
    renumbered[entity] = subject[value[entity]]
    owner = Ragged(some.qualifier_offset, value).rows()[stays]
    return StatementTable.build(
        subject[some.subject],
        some.relation,
        object[some.object],
        split=some.split,
        rank=some.rank,
        references=some.references,
        qualifier_offset=offsets_of(np.bincount(owner, minlength=len(some))),
        qualifier_relation=some.qualifier_relation[stays],
        qualifier_value=renumbered[stays],
    )


def _literals_numbered(table: StatementTable, number: Ids) -> StatementTable:
    """The same with the literals of qualifiers by their new numbers, whose order is the former one."""
    value = table.qualifier_value.copy()
    literal = value < 0
    value[literal] = -1 - number[-1 - value[literal]]
    return replace(table, qualifier_value=value)
