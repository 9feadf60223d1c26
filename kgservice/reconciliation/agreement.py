"""How well what a table says of a thing agrees with what the graph says of an entity: numbers in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from rapidfuzz import fuzz

from kgservice.engine import Engine
from kgservice.graph.literals import Literal as Lexical
from kgservice.graph.texts import TextKind
from kgservice.search.folding import fold

Quantifier = Literal["any", "all", "none"]
ALIKE = 0.7
"""Names of values less alike than this are those of other things, and agree not at all."""
Given = str | float | bool


@dataclass(frozen=True)
class Condition:
    """What a table says beside the name.

    Attributes:
        relation: by name.
        values: texts and numbers as they stand in cells; ids where cells are reconciled already.
        ids: which values are ids of entities.
        required: who does not agree at all is no candidate.
        quantifier: whether one value must agree, all must, or none may.
    """

    relation: str
    values: tuple[Given, ...]
    ids: tuple[bool, ...]
    required: bool = False
    quantifier: Quantifier = "any"


def of_names(given: str, name: str) -> float:
    """How alike two names are: 1 where they have the same letters, whatever their case, accents and punctuation."""
    left, right = fold(given), fold(name)
    return 1.0 if left == right else fuzz.ratio(left, right) / 100


class Agreement:
    """Compares conditions with what the graph of an engine states.

    Args:
        engine: whose graph.
        condition: what is compared.

    Raises:
        UnknownRelation: the graph has no such relation.
    """

    def __init__(self, engine: Engine, condition: Condition) -> None:
        self._graph = engine.graph
        self._condition = condition
        self._relation = engine.relations.resolve(condition.relation)
        self._named = [
            engine.entities.find(str(value)) if is_id or isinstance(value, str) else -1
            for value, is_id in zip(condition.values, condition.ids, strict=True)
        ]

    def of(self, entity: int) -> float:
        """In [0, 1]; of an entity of which nothing is stated, 0."""
        objects, literals = self._stated(entity)
        found = [
            max(self._of_value(value, is_id, named, objects, literals), default=0.0)
            for value, is_id, named in zip(self._condition.values, self._condition.ids, self._named, strict=True)
        ]
        if not found:
            return 0.0
        if self._condition.quantifier == "none":
            return 1.0 - max(found)
        return min(found) if self._condition.quantifier == "all" else max(found)

    def holders(self, limit: int) -> list[int]:
        """Entities that state a value which is an entity; the first by id."""
        table = self._graph.statements
        wanted = [named for named in self._named if named >= 0]
        rows = (table.relation == self._relation) & np.isin(table.object, wanted)
        kept = np.unique(table.subject[rows])
        return [int(one) for one in kept[~self._graph.erased[kept]][:limit]]

    def _stated(self, entity: int) -> tuple[list[int], list[Lexical]]:
        graph, table, facts = self._graph, self._graph.statements, self._graph.literals.statements
        rows = graph.rows_of(entity)
        rows = rows[(table.subject[rows] == entity) & (table.relation[rows] == self._relation)]
        others = table.object[rows]
        told = graph.literals.rows_of(entity)
        told = told[facts.relation[told] == self._relation]
        return others[~graph.erased[others]].tolist(), [
            graph.literals.value(one) for one in facts.object[told].tolist()
        ]

    def _of_value(
        self, value: Given, is_id: bool, named: int, objects: Sequence[int], literals: Sequence[Lexical]
    ) -> list[float]:
        """How well one value agrees with each that the graph states."""
        if named >= 0 or is_id:
            return [float(named in objects)]
        text = str(value).lower() if isinstance(value, bool) else str(value)
        names = [
            name for one in objects for kind, _, name in self._graph.texts.rows(one) if kind is not TextKind.DESCRIPTION
        ]
        found = [of_names(text, name) for name in names] + [_of_literal(text, one) for one in literals]
        return [alike for alike in found if alike >= ALIKE]


def _of_literal(text: str, literal: Lexical) -> float:
    number = literal.number
    try:
        if np.isfinite(number) and float(text) == number:
            return 1.0
    except ValueError:
        pass
    if np.isfinite(number):  # a date or a number agrees or does not; a year agrees with its days
        return float(len(text) >= 4 and literal.lexical.lstrip("+").startswith(text))
    return of_names(text, literal.lexical)
