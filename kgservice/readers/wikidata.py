"""The JSON dump of Wikidata, one entity a line, as batches: statements with qualifiers, texts, types, redirects.

Only what ends up in a graph is decoded: references are counted, sitelinks too. Names of entities, properties and
literals are those of `wikibase`, so that the RDF export of an entity gives the same statements.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from kgservice.errors import MalformedStatement
from kgservice.literals import WIKIBASE, XSD
from kgservice.readers import wikibase
from kgservice.readers.batch import Batch, Owner, Places, StatementRows, Tally, TextRows
from kgservice.readers.options import RDFS, SKOS, ReadOptions
from kgservice.statements import Rank, Split

_log = logging.getLogger(__name__)

SITELINKS = WIKIBASE + "sitelinks"
REDIRECTS = "http://www.w3.org/2002/07/owl#sameAs"
NO_PREDICATE = ""
"""Where the tally counts whole lines and entities."""
LOGGED_LINES = 20
"""Of the malformed lines of one block, so many are logged one by one."""

# What the tally calls texts, by kind.
_TEXT_PREDICATES = (RDFS + "label", SKOS + "altLabel", "http://schema.org/description")
_NO_VALUES = {"somevalue": wikibase.SOME_VALUE, "novalue": wikibase.NO_VALUE}
_RANKS = {"normal": Rank.NORMAL, "preferred": Rank.PREFERRED, "deprecated": Rank.DEPRECATED}
_LETTERS = {"item": "Q", "property": "P", "lexeme": "L"}
_TYPES = {letter: name for name, letter in _LETTERS.items()}
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_BYTE = re.compile(r" \(byte (\d+)\)$")


_FIELDS = {"entity_type": "entity-type", "numeric_id": "numeric-id", "upper": "upperBound", "lower": "lowerBound"}


class _Text(msgspec.Struct, gc=False):
    value: str = ""


class _Counted(msgspec.Struct, gc=False):
    """Decoded for its presence alone."""


class _Value(msgspec.Struct, gc=False, rename=_FIELDS.get):
    """A value of any type but string; the fields tell which."""

    entity_type: str = ""
    numeric_id: int | None = None
    id: str | None = None
    time: str | None = None
    precision: int | float | None = None  # of a time or, in degrees, of a coordinate
    calendarmodel: str = ""
    amount: str | None = None
    unit: str = "1"
    upper: str | None = None
    lower: str | None = None
    text: str | None = None
    language: str = ""
    latitude: float | None = None
    longitude: float | None = None
    globe: str | None = None


class _DataValue(msgspec.Struct, gc=False):
    value: str | _Value | int | float | bool | list[Any] | None = None
    type: str = ""


class _Snak(msgspec.Struct, gc=False):
    snaktype: str = ""
    datavalue: _DataValue | None = None
    datatype: str = ""


class _Claim(msgspec.Struct, gc=False):
    mainsnak: _Snak | None = None
    rank: str = "normal"
    qualifiers: dict[str, list[_Snak]] | list[_Snak] | None = None
    references: list[_Counted] | None = None


class _Redirect(msgspec.Struct, gc=False, rename={"source": "from", "target": "to"}):
    source: str = ""
    target: str = ""


class _Entity(msgspec.Struct, gc=False):
    """An entity, the record of a redirect, or a document that holds entities. Empty maps may be lists."""

    type: str = ""
    id: str = ""
    labels: dict[str, _Text] | list[_Text] | None = None
    descriptions: dict[str, _Text] | list[_Text] | None = None
    aliases: dict[str, list[_Text] | dict[str, _Text]] | list[_Text] | None = None
    claims: dict[str, list[_Claim]] | list[_Claim] | None = None
    sitelinks: dict[str, _Counted] | list[_Counted] | None = None
    entity: str = ""
    redirect: str = ""
    redirects: _Redirect | list[_Redirect] | None = None
    missing: str | None = None
    entities: dict[str, _Entity] | list[_Entity] | None = None


_decoder = msgspec.json.Decoder(_Entity)


def read_block(block: bytes, options: ReadOptions, *, source: str, first_line: int = 1) -> Batch:
    """Read whole lines of a dump.

    Args:
        block: entities, one a line, with or without a comma after each and brackets around all.
        options: what to keep; `on_error` says what becomes of a line that does not parse.
        source, first_line: named in messages.

    Returns:
        The rows, and a tally of every text, claim, qualifier, sitelink count, redirect, lexeme and malformed line.

    Raises:
        MalformedStatement: the first line that does not parse, unless these are skipped.
    """
    rows = _Rows(options)
    malformed = 0
    for number, (start, end) in enumerate(_lines(block), first_line):
        try:
            entity = _decode(block, start, end)
        except _UNREADABLE as error:
            wrong = _malformed(error, source, number)
            if options.on_error == "fail":
                raise wrong from error
            malformed += 1
            if malformed <= LOGGED_LINES:
                _log.warning("skipped: %s", wrong)
            continue
        if entity is not None:
            rows.add(entity)
    if malformed:
        rows.tally["malformed", NO_PREDICATE] += malformed
    return rows.batch()


def is_document(head: bytes) -> bool:
    """Whether a file that begins so holds one JSON value over many lines, as Special:EntityData gives it."""
    first = head.lstrip().partition(b"\n")[0]
    return first.startswith(b"{") and (b'"entities"' in first[:200] or first.rstrip() == b"{")


def read_document(content: bytes, options: ReadOptions, *, source: str) -> Batch:
    """Read one JSON document, over any number of lines: of Special:EntityData, or a single entity.

    Raises:
        MalformedStatement: it does not parse; nothing in it can be trusted then, whatever `on_error` says.
    """
    rows = _Rows(options)
    try:
        rows.add(_decode_tolerantly(content))
    except _UNREADABLE as error:
        before = content[: _byte_of(error) or 0]
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        hint = "Mend the file: it is one JSON document, so --on-error=skip does not apply to it."
        raise MalformedStatement(source, line, column, _problem_of(error), hint=hint) from error
    return rows.batch()


def _lines(block: bytes) -> Iterator[tuple[int, int]]:
    """Where lines begin and end, without the line feed, and without a carriage return or a comma before it."""
    start, size = 0, len(block)
    while start < size:
        feed = block.find(b"\n", start)
        end = feed = size if feed < 0 else feed
        while end > start and block[end - 1] in b",\r \t":
            end -= 1
        yield start, end
        start = feed + 1


def _decode(block: bytes, start: int, end: int) -> _Entity | None:
    """None for an empty line and for a bracket alone."""
    if end - start <= 1 and block[start:end] in (b"", b"[", b"]"):
        return None
    try:
        return _decoder.decode(memoryview(block)[start:end])
    except _UNREADABLE:
        # Dumps on few lines have brackets beside entities.
        line = block[start:end].strip().removeprefix(b"[").removesuffix(b"]")
        return _decode_tolerantly(line) if line else None


def _decode_tolerantly(content: bytes) -> _Entity:
    """As typed; if that fails, without the values that have another form than Wikibase gives them."""
    try:
        return _decoder.decode(content)
    except msgspec.ValidationError:
        plain = msgspec.json.decode(content)
        _drop_strange_values(plain)
        return msgspec.convert(plain, _Entity)


def _drop_strange_values(node: Any) -> None:
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        if isinstance(child, dict) and "datavalue" in child:
            try:
                msgspec.convert(child["datavalue"], _DataValue)
            except msgspec.ValidationError:
                child["datavalue"] = None
        _drop_strange_values(child)


def _malformed(error: Exception, source: str, line: int) -> MalformedStatement:
    byte = _byte_of(error)
    return MalformedStatement(source, line, None if byte is None else byte + 1, _problem_of(error))


def _byte_of(error: Exception) -> int | None:
    if isinstance(error, UnicodeDecodeError):
        return None
    match = _BYTE.search(str(error))
    return int(match[1]) if match else None


def _problem_of(error: Exception) -> str:
    problem = "invalid UTF-8" if isinstance(error, UnicodeDecodeError) else _BYTE.sub("", str(error))
    return problem[:1].lower() + problem[1:]


class _Numbers(dict[str, int]):
    """Strings, numbered as they come."""

    def __missing__(self, name: str) -> int:
        self[name] = number = len(self)
        return number


class _Rows:
    """Columns that grow by entities.

    Values are places of entities, or `-1 - place` of literals. What is the same for most statements (normal rank, no
    qualifiers) is kept for the others alone.
    """

    def __init__(self, options: ReadOptions) -> None:
        self.options = options
        self.tally: Tally = Counter()
        self.terms: dict[str, int] = {}
        self.entities: list[int] = []
        self.aliases: list[int] = []
        self.type_of: list[int] = []
        self.subject_runs: list[int] = []  # place and number of statements, in turn
        self.relation: list[int] = []
        self.object: list[int] = []
        self.references: list[int] = []
        self.ranked: list[int] = []  # row and rank, in turn
        self.qualified: list[int] = []  # row and number of qualifiers, in turn
        self.qualifier_relation: list[int] = []
        self.qualifier_value: list[int] = []
        self.impossible_dates: set[int] = set()
        self.texts: list[str] = []
        self.language: list[int] = []
        self.languages = _Numbers()
        self.text_runs: list[int] = []  # owner, of, kind and number of texts, in turn

    def add(self, entity: _Entity) -> None:
        """An entity, a redirect, or the entities of a document."""
        if entity.entities is not None:
            if isinstance(entity.entities, dict):
                for name, inner in entity.entities.items():
                    if inner.id and inner.id != name:
                        self._redirect(name, inner.id)
                    self.add(inner)
            self._redirects(entity.redirects)
            return
        if entity.redirect:
            self._redirect(entity.id or entity.entity, entity.redirect)
            return
        if entity.redirects is not None:
            self._redirects(entity.redirects)
        type_ = entity.type or _TYPES.get(entity.id[:1], "")
        if entity.missing is not None or not entity.id:
            self.tally["unknown_entity", NO_PREDICATE] += 1
        elif type_ == "item":
            self._item(entity)
        elif type_ == "property":
            place = self.terms.setdefault(entity.id, len(self.terms))
            self._texts(place, Owner.ANY, entity)
            self._drop_claims("about_a_property", entity.claims)
        else:
            self.tally["lexeme" if type_ == "lexeme" else "unknown_entity", NO_PREDICATE] += 1

    def _redirects(self, redirects: _Redirect | list[_Redirect] | None) -> None:
        for redirect in (redirects,) if isinstance(redirects, _Redirect) else redirects or ():
            self._redirect(redirect.source, redirect.target)

    def _redirect(self, name: str, target: str) -> None:
        self.aliases += (self.terms.setdefault(name, len(self.terms)), self.terms.setdefault(target, len(self.terms)))
        self.tally["redirects", REDIRECTS] += 1

    def _item(self, entity: _Entity) -> None:
        sitelinks = entity.sitelinks
        if self.options.min_sitelinks and len(sitelinks or ()) < self.options.min_sitelinks:
            self._drop_item(entity)
            return
        terms = self.terms
        place = terms.setdefault(entity.id, len(terms))
        self.entities.append(place)
        self._texts(place, Owner.ENTITY, entity)
        before = len(self.object)
        if sitelinks is not None:
            self.relation.append(terms.setdefault(SITELINKS, len(terms)))
            self.object.append(~terms.setdefault(f'"{len(sitelinks)}"^^<{XSD}integer>', len(terms)))
            self.references.append(0)
        if isinstance(entity.claims, dict):
            self._claims(place, entity.claims)
        elif entity.claims:
            self.tally["unknown_value", NO_PREDICATE] += len(entity.claims)
        self.subject_runs += (place, len(self.object) - before)

    def _texts(self, owner: int, of: int, entity: _Entity) -> None:
        wanted, number = self.options.languages, self.languages.__getitem__
        for kind, texts in ((0, entity.labels), (2, entity.descriptions)):
            if not texts:
                continue
            if not isinstance(texts, dict):
                self.tally["unknown_value", _TEXT_PREDICATES[kind]] += len(texts)
                continue
            if wanted is not None:
                read, texts = len(texts), {language: texts[language] for language in texts if language in wanted}
                self.tally["filtered_language", _TEXT_PREDICATES[kind]] += read - len(texts)
            self.texts += [text.value for text in texts.values()]
            self.language += map(number, texts)
            self.text_runs += (owner, of, kind, len(texts))
        if not entity.aliases:
            return
        if not isinstance(entity.aliases, dict):
            self.tally["unknown_value", _TEXT_PREDICATES[1]] += len(entity.aliases)
            return
        before = len(self.texts)
        for language, aliases in entity.aliases.items():
            if wanted is not None and language not in wanted:
                self.tally["filtered_language", _TEXT_PREDICATES[1]] += len(aliases)
                continue
            self.texts += [text.value for text in (aliases if isinstance(aliases, list) else aliases.values())]
            self.language += [number(language)] * len(aliases)
        self.text_runs += (owner, of, 1, len(self.texts) - before)

    def _claims(self, subject: int, groups: dict[str, list[_Claim]]) -> None:
        terms, value_of, options = self.terms, self._value, self.options
        objects, relations, references = self.object, self.relation, self.references
        qualifier_relation, qualifier_value = self.qualifier_relation, self.qualifier_value
        for name, claims in groups.items():
            is_type = name == options.type_property
            if options.properties is not None and name not in options.properties:
                self._filtered(subject, name, claims, is_type)
                continue
            relation = terms.setdefault(name, len(terms))
            for claim in claims:
                rank = _RANKS.get(claim.rank)
                if rank != 0 and (rank is None or (rank < 0 and not options.include_deprecated)):
                    self._drop_claims("unknown_rank" if rank is None else "deprecated_rank", {name: [claim]})
                    continue
                value = value_of(claim.mainsnak)
                if value is None:
                    self._drop_claims("unknown_value", {name: [claim]})
                    continue
                if rank:
                    self.ranked += (len(objects), rank)
                if is_type and value >= 0:
                    self.type_of += (subject, value)
                if claim.qualifiers:
                    before = len(qualifier_value)
                    if isinstance(claim.qualifiers, dict):
                        for qualifier, snaks in claim.qualifiers.items():
                            place = terms.setdefault(qualifier, len(terms))
                            for snak in snaks:
                                qualifying = value_of(snak)
                                if qualifying is None:
                                    self.tally["unknown_value", qualifier] += 1
                                else:
                                    qualifier_relation.append(place)
                                    qualifier_value.append(qualifying)
                    else:
                        self.tally["unknown_value", NO_PREDICATE] += len(claim.qualifiers)
                    self.qualified += (len(objects), len(qualifier_value) - before)
                relations.append(relation)
                objects.append(value)
                references.append(len(claim.references) if claim.references else 0)

    def _value(self, snak: _Snak | None) -> int | None:
        """The place of an entity, `-1 - place` of a literal, or None for a value of unknown form."""
        if snak is None:
            return None
        terms, datavalue = self.terms, snak.datavalue
        if snak.snaktype != "value" or datavalue is None:
            literal = _NO_VALUES.get(snak.snaktype)
            return None if literal is None else ~terms.setdefault(literal, len(terms))
        value, type_ = datavalue.value, datavalue.type
        if isinstance(value, str):
            if type_ != "string":
                return None
            return ~terms.setdefault(wikibase.string_value(value, snak.datatype), len(terms))
        if not isinstance(value, _Value):
            return None
        if type_ == "wikibase-entityid":
            name = value.id
            if name is None:
                letter = _LETTERS.get(value.entity_type)
                if letter is None or value.numeric_id is None:
                    return None
                name = f"{letter}{value.numeric_id}"
            return terms.setdefault(name, len(terms))
        if type_ == "time" and value.time is not None and value.precision is not None:
            literal = wikibase.time(value.time, int(value.precision), value.calendarmodel)
            place = terms.setdefault(literal, len(terms))
            if wikibase.is_no_date(literal):
                self.impossible_dates.add(~place)
            return ~place
        if type_ == "quantity" and value.amount is not None:
            literal = wikibase.quantity(value.amount, value.unit, value.lower, value.upper)
        elif type_ == "monolingualtext" and value.text is not None:
            literal = wikibase.monolingual(value.text, value.language)
        elif type_ == "globecoordinate" and value.latitude is not None and value.longitude is not None:
            literal = wikibase.coordinate(value.latitude, value.longitude, value.globe or "")
        else:
            return None
        return ~terms.setdefault(literal, len(terms))

    def _filtered(self, subject: int, name: str, claims: list[_Claim], is_type: bool) -> None:
        """Types stay known though their property is no relation of the graph."""
        if not is_type:
            self._drop_claims("filtered_property", {name: claims})
            return
        for claim in claims:
            rank = _RANKS.get(claim.rank)
            is_wanted = rank is not None and (rank >= 0 or self.options.include_deprecated)
            value = self._value(claim.mainsnak) if is_wanted else None
            if value is None or value < 0:
                self._drop_claims("filtered_property", {name: [claim]})
                continue
            self.type_of += (subject, value)
            self.tally["types", name] += 1
            self._drop_qualifiers("filtered_property", claim)

    def _drop_claims(self, reason: str, groups: dict[str, list[_Claim]] | list[_Claim] | None) -> None:
        if isinstance(groups, list):
            self.tally[reason, NO_PREDICATE] += len(groups)
        elif groups:
            for name, claims in groups.items():
                self.tally[reason, name] += len(claims)
                for claim in claims:
                    self._drop_qualifiers(reason, claim)

    def _drop_qualifiers(self, reason: str, claim: _Claim) -> None:
        if isinstance(claim.qualifiers, dict):
            for name, snaks in claim.qualifiers.items():
                self.tally[reason, name] += len(snaks)
        elif claim.qualifiers:
            self.tally[reason, NO_PREDICATE] += len(claim.qualifiers)

    def _drop_item(self, entity: _Entity) -> None:
        reason = "filtered_sitelinks"
        self._drop_claims(reason, entity.claims)
        aliases = entity.aliases.values() if isinstance(entity.aliases, dict) else [entity.aliases or ()]
        counts = (len(entity.labels or ()), sum(map(len, aliases)), len(entity.descriptions or ()))
        for kind, count in enumerate(counts):
            self.tally[reason, _TEXT_PREDICATES[kind]] += count
        self.tally[reason, SITELINKS] += entity.sitelinks is not None

    def batch(self) -> Batch:
        """All rows so far, and their tally."""
        names = list(self.terms)
        statements = self._statements()
        is_literal = statements.object_is_literal
        self._count("statements", statements.relation[~is_literal], names)
        self._count("literals", statements.relation[is_literal], names)
        self._count("qualifiers", statements.qualifier_relation, names)
        if self.impossible_dates:
            dates = list(self.impossible_dates)
            for relation, value in ((self.relation, self.object), (self.qualifier_relation, self.qualifier_value)):
                self._count("impossible_date", np.array(relation, np.int32)[np.isin(value, dates)], names)
        owner, of, kind, count = np.array(self.text_runs, np.int64).reshape(-1, 4).T
        kinds = np.repeat(kind.astype(np.int8), count)
        for text_kind, number in enumerate(np.bincount(kinds, minlength=3).tolist()):
            self.tally["texts", _TEXT_PREDICATES[text_kind]] += number
        return Batch(
            terms=pa.array(names, pa.large_string()),
            statements=statements,
            texts=TextRows(
                owner=np.repeat(owner.astype(np.int32), count),
                of=np.repeat(of.astype(np.int8), count),
                kind=kinds,
                language=np.array(self.language, np.int32),
                text=pa.array(self.texts, pa.large_string()),
                languages=[language.lower() for language in self.languages],
            ),
            type_of=_pairs(self.type_of),
            entities=np.array(self.entities, np.int32),
            aliases=_pairs(self.aliases),
            tally=+self.tally,
        )

    def _statements(self) -> StatementRows:
        object_, qualifier_value = np.array(self.object, np.int32), np.array(self.qualifier_value, np.int32)
        subject, count = _pairs(self.subject_runs)
        m = len(object_)
        rank, qualifier_count = np.zeros(m, np.int8), np.zeros(m, np.int32)
        rows, ranks = _pairs(self.ranked)
        rank[rows] = ranks
        rows, counts = _pairs(self.qualified)
        qualifier_count[rows] = counts
        return StatementRows(
            subject=np.repeat(subject, count),
            relation=np.array(self.relation, np.int32),
            object=np.where(object_ < 0, ~object_, object_),
            object_is_literal=object_ < 0,
            split=np.full(m, Split.TRAIN, np.int8),
            rank=rank,
            references=np.array(self.references, np.int32),
            qualifier_count=qualifier_count,
            qualifier_relation=np.array(self.qualifier_relation, np.int32),
            qualifier_value=np.where(qualifier_value < 0, ~qualifier_value, qualifier_value),
            qualifier_is_literal=qualifier_value < 0,
        )

    def _count(self, outcome: str, predicates: Places, names: list[str]) -> None:
        for place, count in zip(*np.unique(predicates, return_counts=True), strict=True):
            self.tally[outcome, names[place]] += int(count)


def _pairs(flat: list[int]) -> Places:
    """int32 `[2, x]` of values given in turn."""
    return np.ascontiguousarray(np.array(flat, np.int32).reshape(-1, 2).T)
