"""An entity as people put it: names, texts, types and a few statements, in their words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from kgservice.answers import Pair, Question
from kgservice.errors import InvalidQuestion

Texts = tuple[tuple[str, str], ...]
"""Pairs of a language and a text."""


@dataclass(frozen=True)
class EntityRecord:
    """What is put of one entity.

    Attributes:
        id: an IRI, a CURIE or an id.
        labels, descriptions, aliases: by language; of aliases several in one language.
        types: of the graph, by id, CURIE or IRI.
        facts: statements with a hole where the entity itself stands, as subject or as object.
        values: what is said of it in numbers, dates and strings: relations and literals.
    """

    id: str
    labels: Texts = ()
    descriptions: Texts = ()
    aliases: Texts = ()
    types: tuple[str, ...] = ()
    facts: tuple[Question, ...] = ()
    values: tuple[Pair, ...] = ()

    def __post_init__(self) -> None:
        for place, fact in enumerate(self.facts):
            ends = [fact.subject, fact.object]
            if fact.described or not fact.relation or bool(ends[0]) == bool(ends[1]) or fact.asked:
                raise InvalidQuestion(
                    f"statement {place} of {self.id!r} must name a relation and either its subject or its object; the entity "
                    "itself stands in the place left out"
                )

    def named(self, id: str) -> Self:
        """The same under another id."""
        return replace(self, id=id)

    def to_json(self) -> str:
        """One document, for the journal and for files; `of_json` reads it."""
        document = {
            "id": self.id,
            "labels": dict(self.labels),
            "descriptions": dict(self.descriptions),
            "aliases": _listed(self.aliases),
            "types": list(self.types),
            "statements": [
                *(_statement(fact) for fact in self.facts),
                *({"relation": one.relation, "value": one.value} for one in self.values),
            ],
        }
        return json.dumps({key: value for key, value in document.items() if value}, ensure_ascii=False)

    @classmethod
    def of_json(cls, document: Mapping[str, Any]) -> Self:
        """From a document that was checked, such as a request's body or one that `to_json` wrote."""
        stated = document.get("statements", ())
        valued = [one for one in stated if one.get("value") is not None]
        for one in valued:
            if one.get("subject") or one.get("object") or one.get("qualifiers"):
                raise InvalidQuestion(
                    f"a statement of {document['id']!r} has a value, which stands alone: neither subject, object nor qualifiers"
                )
        return cls(
            id=document["id"],
            labels=tuple(document.get("labels", {}).items()),
            descriptions=tuple(document.get("descriptions", {}).items()),
            aliases=tuple((code, text) for code, texts in document.get("aliases", {}).items() for text in texts),
            types=tuple(document.get("types", ())),
            facts=tuple(
                Question(
                    one.get("subject"),
                    one["relation"],
                    one.get("object"),
                    tuple(Pair(pair["relation"], pair["value"]) for pair in one.get("qualifiers", ())),
                )
                for one in stated
                if one.get("value") is None
            ),
            values=tuple(Pair(one["relation"], one["value"]) for one in valued),
        )


def _listed(aliases: Texts) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for code, text in aliases:
        found.setdefault(code, []).append(text)
    return found


def _statement(fact: Question) -> dict[str, Any]:
    parts = {"subject": fact.subject, "relation": fact.relation, "object": fact.object}
    shown: dict[str, Any] = {part: name for part, name in parts.items() if name}
    if fact.qualifiers:
        shown["qualifiers"] = [{"relation": pair.relation, "value": pair.value} for pair in fact.qualifiers]
    return shown
