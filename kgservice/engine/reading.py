"""Questions in the user's words → ids, with the closest names to what is none."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from kgservice.answers import MAX_K, MAX_PAIRS, Pair, Question, Statement
from kgservice.answers.options import Filter
from kgservice.arrays.ragged import Ragged, offsets_of
from kgservice.errors import InvalidQuestion, UnknownEntity, UnknownRelation
from kgservice.graph import KnowledgeGraph
from kgservice.graph.literals import XSD, Literal
from kgservice.graph.names import Names
from kgservice.query import QueryBatch, Slot

_DATE = re.compile(r"[+-]?\d{4,}(-\d\d){0,2}(T[0-9:.]+Z?)?")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")


class Reading:
    """Reads the questions of one graph.

    Args:
        graph: what is asked about.
        entities, relations: its names.
    """

    def __init__(self, graph: KnowledgeGraph, entities: Names, relations: Names) -> None:
        self.graph, self.entities, self.relations = graph, entities, relations

    def beside(self, names: Sequence[str]) -> Reading:
        """The same where some entities are known by name that are to be put; ids of those the graph lacks are n and on."""
        graph = self.graph
        vocabulary = graph.entities.extend([self.entities.full(name) for name in names])
        if len(vocabulary) == graph.n:
            return self
        hidden = np.pad(graph.erased, (0, len(vocabulary) - graph.n))
        entities = Names.entities(vocabulary, graph.prefixes, f"{self.entities.where}, nor put with it", hidden)
        return Reading(graph, entities, self.relations)

    def batch(self, slot: Slot, questions: Sequence[Question]) -> QueryBatch:
        """Questions that ask for the same part.

        Raises:
            UnknownName: a name that the graph does not hold.
            InvalidQuestion: too many qualifiers, a value that is neither an entity nor a literal, or a relation that links
                no entities where its object is given.
        """

        def column(part: Slot, names: Names) -> npt.NDArray[np.int32]:
            if part is slot:
                return np.full(len(questions), -1, np.int32)
            return np.array([names.resolve(name) for name in map(attrgetter(part.value), questions)], np.int32)

        subject, relation = column(Slot.SUBJECT, self.entities), column(Slot.RELATION, self.relations)
        if slot in (Slot.SUBJECT, Slot.QUALIFIER):
            self._must_link(relation)
        beside: tuple[Any, ...] = ()
        if any(question.qualifiers for question in questions):
            asked = [self._qualifier(question.asked) if question.asked else -1 for question in questions]
            beside = *self._pairs([question.given for question in questions]), np.array(asked, np.int32)
        return QueryBatch(slot, subject, relation, column(Slot.OBJECT, self.entities), *beside)

    def statements(self, statements: Sequence[Statement]) -> QueryBatch:
        """Whole statements, in their order, as questions for their objects.

        Raises:
            UnknownName, InvalidQuestion: as by `batch`; also a qualifier without a value.
        """
        for one in statements:
            for pair in one.qualifiers:
                if not pair.value:
                    raise InvalidQuestion(f"the qualifier {pair.relation!r} of a whole statement needs a value")

        def column(part: str, names: Names) -> npt.NDArray[np.int32]:
            return np.array([names.resolve(getattr(one, part)) for one in statements], np.int32)

        s, r = column("subject", self.entities), column("relation", self.relations)
        self._must_link(r)
        o = column("object", self.entities)
        return QueryBatch(Slot.OBJECT, s, r, o, *self._pairs([one.qualifiers for one in statements]))

    def _must_link(self, relation: npt.NDArray[np.int32]) -> None:
        for id in relation[~self.graph.linking[relation]][:1].tolist():
            name = self.relations.short(self.relations.vocabulary.name(id))
            raise InvalidQuestion(
                f"{name!r} links no entities, so that neither its subject nor a statement of it can be judged. Where it "
                "states numbers, leave out the object to have it estimated"
            )

    def _pairs(self, rows: Sequence[Sequence[Pair]]) -> tuple[Ragged, Ragged, npt.NDArray[np.float64]]:
        """Relations, values and numbers, in the order that statements keep theirs."""
        lists = []
        for row in rows:
            if len(row) > MAX_PAIRS:
                raise InvalidQuestion(f"a statement may have {MAX_PAIRS} qualifiers, this one has {len(row)}")
            # As statements keep theirs: sorted, each once.
            read = {(self._qualifier(pair.relation), self._value(pair)) for pair in row}
            lists.append(sorted(read, key=lambda pair: (pair[0], pair[1][0])))
        offset = offsets_of([len(pairs) for pairs in lists])
        relations = np.array([relation for pairs in lists for relation, _ in pairs], np.int32)
        values = np.array([value for pairs in lists for _, (value, _) in pairs], np.int32)
        numbers = np.array([number for pairs in lists for _, (_, number) in pairs], np.float64)
        return Ragged(offset, relations), Ragged(offset, values), numbers

    def _qualifier(self, name: str) -> int:
        found = self.relations.resolve(name)
        if not self.graph.qualifying[found]:
            held = [self.relations.vocabulary.name(int(id)) for id in np.flatnonzero(self.graph.qualifying)[:10]]
            closest = [self.relations.short(other) for other in held]
            raise UnknownRelation(name, "that qualifies a statement of this release", closest)
        return found

    def _value(self, pair: Pair) -> tuple[int, float]:
        """An entity and NaN; or a literal as `-1 - id` and its number, ids beyond the last for those never stated."""
        assert pair.value is not None
        text = pair.value.strip()
        if not text.startswith('"'):
            found = self.entities.find(text)
            if found >= 0:
                return found, np.nan
        literal = literal_of(text)
        if literal is None:
            where = f"{self.entities.where}, nor a number, a date or a literal in quotes"
            raise UnknownEntity(text, where, self.entities.closest(text))
        vocabulary = self.graph.literals.vocabulary
        id = vocabulary.id(str(literal))
        return -1 - (id if id >= 0 else len(vocabulary)), literal.number


def within_bounds(k: int) -> None:
    """Refuse to give out more than is ever given.

    Raises:
        InvalidQuestion: `k` is not in [1, 1000].
    """
    if not 1 <= k <= MAX_K:
        raise InvalidQuestion(f"k must be in [1, {MAX_K}], found {k}")


def literal_of(text: str, dated: bool = True) -> Literal | None:
    """What a text without quotes measures, or the literal in quotes; None where it is neither.

    Args:
        text: as people write it; a number beyond float64 and a date of no calendar, such as `2023-13-01`, measure nothing.
        dated: whether four digits are a year, where they may be a number too.
    """
    if text.startswith('"'):
        return Literal.parse(text)
    if _DATE.fullmatch(text) and (dated or not _NUMBER.fullmatch(text)):
        kinds = {0: "gYear", 1: "gYearMonth", 2: "date"}
        kind = "dateTime" if "T" in text else kinds[text.lstrip("+-").count("-")]
    elif _NUMBER.fullmatch(text):
        kind = "integer" if text.lstrip("+-").isdigit() else "decimal"
    else:
        return None
    literal = Literal(text, XSD + kind)
    return literal if math.isfinite(literal.number) else None


def fact_of(given: Filter, relations: Names, entities: Names) -> tuple[int, int]:
    """The relation and the object of a filter.

    Raises:
        InvalidQuestion: a text without an equals sign.
        UnknownName: a name that the graph does not hold.
    """
    relation, object = given if isinstance(given, tuple) else _parts(given, relations)
    return relations.resolve(relation), entities.resolve(object)


def _parts(text: str, relations: Names) -> tuple[str, str]:
    """An IRI may hold the sign too: the first one behind a relation that there is divides."""
    places = [place for place, letter in enumerate(text) if letter == "="]
    if not places:
        raise InvalidQuestion(f"A filter is RELATION=OBJECT, such as world:country=world:France; found {text[:80]!r}.")
    place = next((place for place in places if relations.find(text[:place]) >= 0), places[0])
    return text[:place], text[place + 1 :]
