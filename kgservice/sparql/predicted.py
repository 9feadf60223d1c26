"""`SERVICE kg:complete { … }`: what the engine predicts, as rows that a query goes on with.

The first statement in the block is the question::

    SERVICE kg:complete {
        ?country world:memberOf world:NATO {| kg:probability ?p ; kg:rank ?rank |} .
        ?country a world:Country
    }

One part of it is the hole, and stands for the candidates. Another may be a variable that the rest of the block binds from the
graph; then one question is asked for each of its values. What is between the bars is written as in the graph: relations of the
graph are qualifiers, those of `kg:` say what is known of a candidate. The block becomes `{ VALUES (…) { … } rest }`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from kgservice.answers import Answer, Candidate, Estimate, Pair, Question
from kgservice.graph.names import IRI, KG, iri_of, name_of
from kgservice.sparql.refusals import QueryRefused
from kgservice.sparql.syntax import Prologue, Service, Token

PREFIX = "kg"
COMPLETE = f"{KG}complete"
PREDICTED = f"{KG}predicted"
"""The graph that predicted links are loaded into."""
_XSD = "http://www.w3.org/2001/XMLSchema#"
_TOLD = ("probability", "score", "rank", "known", "model", "low", "high")
_GIVEN = ("limit", "model")


class Names(Protocol):
    """Names as an engine knows them."""

    def full(self, text: str) -> str:
        """The whole name."""


@dataclass(frozen=True)
class Asked:
    """What a block asks.

    Attributes:
        parts: subject, relation and object: an IRI, or a variable with its mark, such as `?x`.
        qualifiers: pairs of an IRI and a value: an IRI, a literal, or a variable.
        told: variables by what they tell of a candidate.
        limit: candidates of each question.
        model: by name.
        rest: the block behind the question, as written.
        bound: the variables in it, without their marks.
    """

    parts: tuple[str, str, str]
    qualifiers: tuple[tuple[str, str], ...]
    told: Mapping[str, str]
    limit: int | None
    model: str | None
    rest: str
    bound: frozenset[str]

    @property
    def variables(self) -> list[str]:
        """Of the question, without repetition; a qualifier's value last."""
        values = [value for _, value in self.qualifiers]
        return list(dict.fromkeys(part for part in (*self.parts, *values) if part[0] in "?$"))

    @property
    def anchor(self) -> str | None:
        """The variable that the rest of the block binds, where the question has two.

        Raises:
            QueryRefused: it has more or none, or neither is bound.
        """
        free = self.variables
        if len(free) == 1:
            return None
        bound = [one for one in free if one[1:] in self.bound]
        if len(free) != 2 or not bound:
            raise QueryRefused(
                "malformed-query",
                f"The question in a block of SERVICE kg:complete must have one hole; it has {' and '.join(free) or 'none'}. A "
                "second variable is taken from the graph where the block goes on with a pattern that binds it.",
            )
        return bound[0]

    def question(self, values: Mapping[str, str]) -> Question:
        """The question where variables have the values given, as names; the other one is the hole."""

        def filled(part: str) -> str | None:
            return values.get(part) if part[0] in "?$" else name_of(part)

        subject, relation, object = map(filled, self.parts)
        pairs = tuple(
            Pair(name_of(key), filled(value) if value[0] in "?$" else _written(value)) for key, value in self.qualifiers
        )
        return Question(subject, relation, object, pairs)


def read(service: Service, query: str, prologue: Prologue) -> Asked:
    """What a block asks.

    Raises:
        QueryRefused: it does not begin with a statement of the form shown above.
    """
    inside = list(service.inside)
    if len(inside) < 3:
        raise _malformed("expected subject, relation and object", inside[0] if inside else None)
    parts = tuple(_term(token, prologue) for token in inside[:3])
    pairs: list[tuple[Token, str, str]] = []
    place = 3
    if place < len(inside) and inside[place].text == "{|":
        pairs, place = _annotation(inside, place + 1, prologue)
    if place < len(inside) and inside[place].text == ".":
        place += 1
    elif place < len(inside) and inside[place].text in (";", ","):
        raise _malformed("one statement, ended by a full stop", inside[place])
    told: dict[str, str] = {}
    given: dict[str, str] = {}
    qualifiers = []
    for token, key, value in pairs:
        name = key.removeprefix(KG) if key.startswith(KG) else None
        if name in _TOLD and value[0] in "?$":
            told[name] = value
        elif name in _GIVEN:
            given[name] = value
        elif name in _TOLD:
            raise _malformed(f"kg:{name} takes a variable; compare it in a FILTER", token)
        else:
            qualifiers.append((key, value))
    rest = query[inside[place].start : service.closing] if place < len(inside) else ""
    limit = given.get("limit")
    if limit is not None and not limit.isdecimal():
        raise _malformed("kg:limit takes a number", inside[3])
    model = given["model"].strip("\"'") if "model" in given else None
    if nested := next((token for token in inside[place:] if token.text.upper() == "SERVICE"), None):
        raise _malformed("no other SERVICE within", nested)
    bound = frozenset(token.text[1:] for token in inside[place:] if token.kind == "variable")
    return Asked(
        (parts[0], parts[1], parts[2]), tuple(qualifiers), told, int(limit) if limit else None, model, rest, bound
    )


def rows(asked: Asked, names: Names, answers: Sequence[tuple[str | None, Answer]]) -> str:
    """The block as a query can go on with it.

    Args:
        names: of entities, to write candidates in full.
        answers: each with the value of the anchor as a name, None where there is no anchor.
    """
    anchor = asked.anchor
    hole = next(one for one in asked.variables if one != anchor)
    columns = [hole, *([anchor] if anchor else []), *asked.told.values()]
    lines = []
    for value, answer in answers:
        for filled, facts in _facts(answer, names):
            terms = [filled, *([f"<{iri_of(value)}>"] if value else [])]
            lines.append(f"({' '.join([*terms, *(facts.get(name, 'UNDEF') for name in asked.told)])})")
    return f"{{ VALUES ({' '.join(columns)}) {{ {' '.join(lines)} }} {asked.rest} }}"


def _facts(answer: Answer, names: Names) -> Iterator[tuple[str, dict[str, str]]]:
    """Each filler as a term, and what is told of it as terms."""
    model = {"model": f'"{answer.model}"'}
    if answer.estimate is not None:
        yield _number(answer.estimate.value), {**model, **_interval(answer.estimate)}
    for candidate in answer.candidates:
        yield f"<{iri_of(names.full(candidate.id))}>", {**model, **_told(candidate)}


def _told(candidate: Candidate) -> dict[str, str]:
    told = {"score": _number(candidate.score), "rank": str(candidate.rank), "known": str(candidate.known).lower()}
    return told if candidate.probability is None else {**told, "probability": _number(candidate.probability)}


def _interval(estimate: Estimate) -> dict[str, str]:
    return {"low": _number(estimate.low), "high": _number(estimate.high), "rank": "1"}


def _number(value: float) -> str:
    return f'"{value!r}"^^<{_XSD}double>'


def _written(value: str) -> str:
    """A constant as questions take it: an IRI by its name, a literal as it is."""
    return name_of(value) if re.fullmatch(IRI, value) else value


def _term(token: Token, prologue: Prologue) -> str:
    if token.kind == "variable":
        return token.text
    if token.kind in ("iri", "name"):
        return prologue.iri(token)
    raise _malformed("expected an IRI, a prefixed name or a variable", token)


def _annotation(inside: Sequence[Token], place: int, prologue: Prologue) -> tuple[list[tuple[Token, str, str]], int]:
    """The pairs between the bars, and where the question goes on."""
    pairs = []
    while place + 1 < len(inside):
        relation, value = inside[place], inside[place + 1]
        key = _term(relation, prologue)
        place += 2
        if value.kind in ("string", "number", "word"):
            text = value.text
            if value.kind == "string" and place < len(inside) and inside[place].kind == "language":
                text += inside[place].text
                place += 1
            elif value.kind == "string" and place + 1 < len(inside) and inside[place].text == "^^":
                text += f"^^<{prologue.iri(inside[place + 1])}>"
                place += 2
            pairs.append((relation, key, text))
        else:
            pairs.append((relation, key, _term(value, prologue)))
        if place < len(inside) and inside[place].text == "|}":
            return pairs, place + 1
        if place >= len(inside) or inside[place].text != ";":
            break
        place += 1
    raise _malformed("expected '; relation value' or '|}'", inside[min(place, len(inside) - 1)])


def _malformed(expected: str, token: Token | None) -> QueryRefused:
    found = f", found {token.text[:80]!r} at character {token.start}" if token else ""
    return QueryRefused("malformed-query", f"In a block of SERVICE kg:complete: {expected}{found}.")
