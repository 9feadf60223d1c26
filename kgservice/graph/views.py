"""Ids → what people read: labels beside ids, literals, statements with their qualifiers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import orjson

from kgservice.answers import Named, QualifierView, StatementView, Value
from kgservice.graph import KnowledgeGraph
from kgservice.graph.media import COMMONS_MEDIA, address_of, is_image
from kgservice.graph.names import Names
from kgservice.graph.statements import StatementTable
from kgservice.graph.texts import TextKind, Texts
from kgservice.query import QueryBatch, Slot

REMEMBERED = 1 << 16
"""Names with their labels that are kept at hand, of each kind, language and with or without descriptions."""
LANGUAGES = 32

T = TypeVar("T", Named, bytes)


class Views:
    """Shows the content of one graph, in the language asked for, with fallbacks.

    Args:
        graph: what is shown.
        entities, relations, types: its names.
    """

    def __init__(self, graph: KnowledgeGraph, entities: Names, relations: Names, types: Names) -> None:
        self.graph = graph
        self._entity_names, self._relation_names, self._type_names = entities, relations, types
        self._shown: dict[tuple[str, str, bool], dict[int, Named]] = {}
        self._begun: dict[tuple[str, str, bool], dict[int, bytes]] = {}

    def relation_name(self, relation: int) -> str:
        """As people may write it."""
        return self._relation_names.short(self.graph.relations.name(int(relation)))

    def stated(self, entity: int, relation: int) -> list[Value]:
        """The literals that the graph states."""
        rows = self.graph.literals.rows_of(entity)
        table = self.graph.literals.statements
        return [self.literal(literal) for literal in table.object[rows[table.relation[rows] == relation]].tolist()]

    def echo(self, batch: QueryBatch, language: str) -> list[tuple[Named | None, Named | None, Named | None]]:
        """Subject, relation and object of each question, None where the hole is."""
        columns: list[list[Named] | list[None]] = []
        for part, name_of in (
            (Slot.SUBJECT, self.entities),
            (Slot.RELATION, self.relations),
            (Slot.OBJECT, self.entities),
        ):
            ids = getattr(batch, part.value)
            columns.append([None] * len(batch) if part is batch.slot else name_of(ids, language))
        return list(zip(*columns, strict=True))

    def pairs(self, batch: QueryBatch, language: str) -> list[list[QualifierView]]:
        """The qualifiers of each question, and the one that it asks for."""
        if not len(batch.qualifier_value.values) and batch.slot is not Slot.QUALIFIER:
            return [[] for _ in range(len(batch))]
        asked = self.relations(np.maximum(batch.asked, 0), language) if batch.slot is Slot.QUALIFIER else None
        relations = self.relations(batch.qualifier_relation.values, language)
        values = batch.qualifier_value.values
        found: list[list[QualifierView]] = []
        for row in range(len(batch)):
            places = range(*batch.qualifier_value.offset[row : row + 2])
            views = [
                QualifierView(relations[place], self.value(int(values[place]), batch.qualifier_number[place], language))
                for place in places
            ]
            found.append(views if asked is None else [*views, QualifierView(asked[row], Value(None, None))])
        return found

    def value(self, value: int, number: float, language: str) -> Value:
        """A qualifier's value: an entity, a literal of the graph, or a number that no statement has."""
        if value >= 0:
            named = self.entities(np.array([value], np.int32), language)[0]
            return Value(named.id, named.label)
        literal = -1 - value
        if literal < len(self.graph.literals.vocabulary):
            return self.literal(literal)
        return Value(None, f"{number:g}")

    def entities(self, ids: npt.NDArray[np.int32], language: str, describe: bool = False) -> list[Named]:
        """Entities by id."""
        return self._remembered(self._shown, "entity", ids, language, describe, lambda named: named)

    def relations(self, ids: npt.NDArray[np.int32], language: str, describe: bool = False) -> list[Named]:
        """Relations by id."""
        return self._remembered(self._shown, "relation", ids, language, describe, lambda named: named)

    def begun(self, relations: bool, ids: npt.NDArray[np.int32], language: str) -> list[bytes]:
        """How the JSON objects of described entities, or relations, begin, up to their score, behind the end of one before."""
        return self._remembered(self._begun, "relation" if relations else "entity", ids, language, True, _begin)

    def _remembered(
        self,
        remembered: dict[tuple[str, str, bool], dict[int, T]],
        kind: str,
        ids: npt.NDArray[np.int32],
        language: str,
        describe: bool,
        make: Callable[[Named], T],
    ) -> list[T]:
        """What is made of `_named`; what was shown lately is not looked up again."""
        shown = remembered.get((kind, language, describe))
        if shown is None:
            if len(remembered) >= LANGUAGES:
                remembered.clear()
            shown = remembered[kind, language, describe] = {}
        wanted = ids.tolist()
        found = list(map(shown.get, wanted))
        if all(found):
            return found  # type: ignore[return-value]
        fresh = list(dict.fromkeys(id for id, one in zip(wanted, found, strict=True) if one is None))
        names, texts = (
            (self._entity_names, self.graph.texts)
            if kind == "entity"
            else (self._relation_names, self.graph.relation_texts)
        )
        named = _named(names, texts, np.array(fresh, np.int32), language, describe)
        looked_up = dict(zip(fresh, map(make, named), strict=True))
        if len(shown) + len(fresh) > REMEMBERED:
            shown = remembered[kind, language, describe] = {}
        shown |= looked_up
        return [one if one is not None else looked_up[id] for id, one in zip(wanted, found, strict=True)]

    def types(self, entity: int, language: str) -> list[Named]:
        """The types of one entity."""
        types = self.graph.types
        ids = types.of_entity[entity] if len(types.of_entity) else np.empty(0, np.int32)
        return _named(self._type_names, types.texts, ids, language, False)

    def types_of(self, entities: npt.NDArray[np.int32], language: str) -> list[list[Named]]:
        """The types of many entities; each type is looked up once."""
        types = self.graph.types
        if not len(types.of_entity) or not len(entities):
            return [[] for _ in entities]
        held = types.of_entity.take(entities)
        distinct, place = np.unique(held.values, return_inverse=True)
        named = _named(self._type_names, types.texts, distinct, language, False)
        return [[named[at] for at in places.tolist()] for places in np.split(place, held.offset[1:-1])]

    def named_types(self, types: npt.NDArray[np.int32], language: str) -> list[Named]:
        """Types by id, described."""
        return _named(self._type_names, self.graph.types.texts, types, language, True)

    def literal(self, literal: int) -> Value:
        """A literal by id."""
        value = self.graph.literals.value(literal)
        pictured = value.datatype == COMMONS_MEDIA and is_image(value.lexical)
        image = address_of(value.lexical) if pictured else None
        return Value(None, value.lexical, value.datatype, value.language or None, image)

    def statements(self, rows: npt.NDArray[np.int64], language: str) -> list[StatementView]:
        """Rows of the graph's statements."""
        table = self.graph.statements
        subjects = self.entities(table.subject[rows], language)
        relations = self.relations(table.relation[rows], language)
        objects = self.entities(table.object[rows], language)
        return [
            StatementView(subject, relation, Value(object.id, object.label), self.qualifiers(table, row, language))
            for row, subject, relation, object in zip(rows.tolist(), subjects, relations, objects, strict=True)
        ]

    def facts(self, rows: npt.NDArray[np.int64], language: str) -> list[StatementView]:
        """Rows of the statements that give literals."""
        table = self.graph.literals.statements
        subjects = self.entities(table.subject[rows], language)
        relations = self.relations(table.relation[rows], language)
        literals = table.object[rows].tolist()
        return [
            StatementView(subject, relation, self.literal(literal), self.qualifiers(table, row, language))
            for row, subject, relation, literal in zip(rows.tolist(), subjects, relations, literals, strict=True)
        ]

    def qualifiers(self, table: StatementTable, row: int, language: str) -> list[QualifierView]:
        """The qualifiers of one row."""
        views = []
        for relation, value in table.qualifiers(row):
            if value >= 0 and self.graph.erased[value]:
                continue
            named = self.relations(np.array([relation], np.int32), language)[0]
            if value < 0:
                views.append(QualifierView(named, self.literal(-1 - value)))
            else:
                entity = self.entities(np.array([value], np.int32), language)[0]
                views.append(QualifierView(named, Value(entity.id, entity.label)))
        return views


def _named(names: Names, texts: Texts, ids: npt.NDArray[np.int32], language: str, describe: bool) -> list[Named]:
    full = names.vocabulary.names_of(ids)
    labels = texts.labels(ids, language)
    descriptions = texts.preferred(ids, TextKind.DESCRIPTION, language) if describe else [None] * len(full)
    return [Named(names.short(name), *rest) for name, *rest in zip(full, labels, descriptions, strict=True)]


def _begin(named: Named) -> bytes:
    return b'},%b,"score":' % orjson.dumps(named)[:-1]
