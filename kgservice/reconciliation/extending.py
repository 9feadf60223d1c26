"""Values of entities that are known by now: which properties are worth fetching, and what they hold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from kgservice.answers import Named, Value
from kgservice.engine import Engine
from kgservice.graph.literals import XSD
from kgservice.graph.statements import StatementTable

_INTEGERS = {XSD + name for name in ("integer", "int", "long", "nonNegativeInteger")}
_DECIMALS = {XSD + name for name in ("decimal", "double", "float")}
_MOMENT = re.compile(r"-?\d{4,}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?")

Row = dict[str, list[dict[str, Any]]]


def propose(engine: Engine, type: str | None, limit: int, language: str = "en") -> list[Named]:
    """The relations that entities of a type have, the most frequent first; of all entities without a type.

    Raises:
        UnknownType: the graph has no such type.
    """
    graph = engine.graph
    member = np.ones(graph.n, dtype=bool)
    if type:
        member[:] = False
        member[graph.types.members[engine.types.resolve(type)]] = True
    counts = np.zeros(graph.r, dtype=np.int64)
    for table in (graph.statements, graph.literals.statements):
        counts += np.bincount(table.relation[member[table.subject]], minlength=graph.r)
    best = np.argsort(-counts, kind="stable")[:limit]
    best = best[counts[best] > 0].astype(np.int32)
    labels = graph.relation_texts.labels(best, language)
    ids = [engine.relations.short(name) for name in graph.relations.names_of(best)]
    return [Named(id, label or id) for id, label in zip(ids, labels, strict=True)]


def values(
    engine: Engine, ids: Sequence[str], relations: Sequence[tuple[str, int]], language: str = "en"
) -> list[tuple[str, Row]]:
    """What the graph states of some entities.

    Args:
        engine: whose graph.
        ids: of entities; of one that the graph does not hold, nothing is stated.
        relations: each with how many values at most; 0 for all.
        language: of labels.

    Returns:
        Each id as given, with the values of each relation as given; a value is `{"id", "name"}`, `{"int"}`, `{"float"}`,
        `{"date"}` or `{"str"}`.

    Raises:
        UnknownRelation: the graph has no such relation.
    """
    asked = [(name, engine.relations.resolve(name), most) for name, most in relations]
    rows = []
    for id in ids:
        entity = engine.entities.find(id)
        row: Row = {
            name: _values(engine, entity, relation, most, language) if entity >= 0 else []
            for name, relation, most in asked
        }
        rows.append((id, row))
    return rows


def _values(engine: Engine, entity: int, relation: int, most: int, language: str) -> list[dict[str, Any]]:
    graph, table, facts = engine.graph, engine.graph.statements, engine.graph.literals
    rows = graph.rows_of(entity)
    others = _objects(table, rows[table.subject[rows] == entity], relation)
    others = others[~graph.erased[others]]
    labels = graph.texts.labels(others, language)
    ids = [engine.entities.short(name) for name in graph.entities.names_of(others)]
    found: list[dict[str, Any]] = [{"id": id, "name": label or id} for id, label in zip(ids, labels, strict=True)]
    for literal in _objects(facts.statements, facts.rows_of(entity), relation).tolist():
        value = facts.value(literal)
        found.append(_plain(Value(None, value.lexical, value.datatype)))
    return found[:most] if most else found


def _objects(table: StatementTable, rows: Any, relation: int) -> Any:
    """int32: the distinct objects of a relation among some rows, in their order."""
    return np.unique(table.object[rows[table.relation[rows] == relation]])


def _plain(value: Value) -> dict[str, Any]:
    text = value.label or ""
    try:
        if value.datatype in _INTEGERS:
            return {"int": int(text)}
        if value.datatype in _DECIMALS and np.isfinite(float(text)):
            return {"float": float(text)}
    except ValueError:
        pass  # a graph may state "about 12" as a number: a text then
    return {"date": text} if _MOMENT.fullmatch(text) else {"str": text}
