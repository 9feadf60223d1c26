"""`INSERT DATA` → entities to put: what an update says of entities that the release does not hold, as records.

A release never changes; what can be added is what REST can put. So an update may insert labels, descriptions, aliases and types
of such entities, their numbers and dates, and statements that link them to others, with annotations as qualifiers. They come on
top of what was put before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from kgservice.answers import Pair, Question
from kgservice.answers.records import EntityRecord
from kgservice.graph.literals import XSD, Literal
from kgservice.graph.names import WELL_KNOWN, name_of
from kgservice.sparql.refusals import QueryRefused
from kgservice.sparql.syntax import Token

_LABEL, _ALIAS = WELL_KNOWN["rdfs"] + "label", WELL_KNOWN["skos"] + "altLabel"
_DESCRIPTION, _TYPE = WELL_KNOWN["schema"] + "description", WELL_KNOWN["rdf"] + "type"
_OTHER = {
    *("DELETE", "LOAD", "CLEAR", "DROP", "CREATE", "ADD", "MOVE", "COPY", "WITH", "USING", "WHERE", "GRAPH"),
}


@dataclass(frozen=True)
class Term:
    """An IRI, or a literal with its language and its datatype.

    Attributes:
        kind: `iri`, `literal` or `blank`.
    """

    kind: str
    value: str
    language: str = ""
    datatype: str = ""

    @property
    def name(self) -> str:
        """As what is put names it: an entity's name, or a literal as N-Triples write it."""
        if self.kind != "literal":
            return name_of(self.value)
        return str(Literal(self.value, self.datatype or XSD + "string", self.language))


@dataclass(frozen=True)
class Stated:
    """A triple of an update with what annotates it."""

    subject: Term
    relation: str
    object: Term
    qualifiers: tuple[tuple[str, Term], ...]


def check(found: Sequence[Token]) -> None:
    """Refuse an update that is not INSERT DATA.

    Raises:
        QueryRefused: names the word that it must not have.
    """
    other = next((token for token in found if token.kind == "word" and token.text.upper() in _OTHER), None)
    if other:
        raise QueryRefused(
            "update-refused",
            f"Only INSERT DATA {{ … }} is taken, found {other.text} at character {other.start}: a release never changes.",
        )


def read(content: bytes) -> list[Stated]:
    """What the process that read an update found in it."""

    def term(one: Mapping[str, str]) -> Term:
        return Term(one["kind"], one["value"], one.get("language", ""), one.get("datatype", ""))

    return [
        Stated(
            term(one["subject"]),
            one["relation"],
            term(one["object"]),
            tuple((relation, term(value)) for relation, value in one["qualifiers"]),
        )
        for one in json.loads(content)
    ]


def records(
    stated: Iterable[Stated], held: Callable[[str], bool], former: Mapping[str, EntityRecord]
) -> list[EntityRecord]:
    """The records to put.

    Args:
        stated: the triples of an update.
        held: whether the release itself holds an entity, by its name.
        former: what was put before, by name.

    Raises:
        QueryRefused: a triple says nothing that can be put.
    """
    made: dict[str, EntityRecord] = {}

    def add(name: str, **more: tuple[object, ...]) -> None:
        record = made.get(name) or former.get(name) or EntityRecord(name)
        grown = {field: tuple(dict.fromkeys((*getattr(record, field), *values))) for field, values in more.items()}
        made[name] = EntityRecord(**{**record.__dict__, **grown})

    for one in stated:
        if one.subject.kind != "iri" or one.object.kind == "blank":
            raise _refused(one, "names every entity; blank nodes cannot be put")
        subject = name_of(one.subject.value)
        text = ((one.object.language, one.object.value),)
        about_new = not held(subject)
        if one.object.kind == "literal":
            field = {_LABEL: "labels", _ALIAS: "aliases", _DESCRIPTION: "descriptions"}.get(one.relation)
            if not about_new:
                raise _refused(one, "gives texts, numbers and dates to new entities alone")
            if field is None and one.qualifiers:
                raise _refused(one, "annotates no numbers and dates")
            if field is None:
                add(subject, values=(Pair(name_of(one.relation), one.object.name),))
            else:
                add(subject, **{field: text})
        elif one.relation == _TYPE and about_new:
            add(subject, types=(name_of(one.object.value),))
        else:
            relation, object = name_of(one.relation), name_of(one.object.value)
            pairs = tuple(Pair(name_of(key), value.name) for key, value in one.qualifiers)
            if about_new:
                add(subject, facts=(Question(None, relation, object, pairs),))
            elif not held(object):
                add(object, facts=(Question(subject, relation, None, pairs),))
            else:
                raise _refused(one, "has a new entity in every statement; what is said of the release's own is its own")
    return list(made.values())


def _refused(one: Stated, wanted: str) -> QueryRefused:
    shown = f"{one.subject.value} {one.relation} {one.object.value}"
    return QueryRefused("update-refused", f"An update {wanted}: {shown[:300]}")
