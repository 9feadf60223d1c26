"""The rows that entities give: statements with qualifiers, texts, types, redirects, and a tally of all that was met."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa

from kgservice.graph.literals import WIKIBASE, XSD
from kgservice.graph.statements import Rank, Split
from kgservice.readers import wikibase
from kgservice.readers.batch import Batch, Owner, Places, StatementRows, Tally, TextRows
from kgservice.readers.options import RDFS, SKOS, ReadOptions
from kgservice.readers.wikidata.documents import Claim, Entity, Redirect, Snak, Value

SITELINKS = WIKIBASE + "sitelinks"
REDIRECTS = "http://www.w3.org/2002/07/owl#sameAs"
NO_PREDICATE = ""
"""Where the tally counts whole lines and entities."""

# What the tally calls texts, by kind.
_TEXT_PREDICATES = (RDFS + "label", SKOS + "altLabel", "http://schema.org/description")
_NO_VALUES = {"somevalue": wikibase.SOME_VALUE, "novalue": wikibase.NO_VALUE}
_RANKS = {"normal": Rank.NORMAL, "preferred": Rank.PREFERRED, "deprecated": Rank.DEPRECATED}
_LETTERS = {"item": "Q", "property": "P", "lexeme": "L"}
_TYPES = {letter: name for name, letter in _LETTERS.items()}


class _Numbers(dict[str, int]):
    """Strings, numbered as they come."""

    def __missing__(self, name: str) -> int:
        self[name] = number = len(self)
        return number


class Rows:
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

    def add(self, entity: Entity) -> None:
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

    def _redirects(self, redirects: Redirect | list[Redirect] | None) -> None:
        for redirect in (redirects,) if isinstance(redirects, Redirect) else redirects or ():
            self._redirect(redirect.source, redirect.target)

    def _redirect(self, name: str, target: str) -> None:
        self.aliases += (self.terms.setdefault(name, len(self.terms)), self.terms.setdefault(target, len(self.terms)))
        self.tally["redirects", REDIRECTS] += 1

    def _item(self, entity: Entity) -> None:
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

    def _texts(self, owner: int, of: int, entity: Entity) -> None:
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

    def _claims(self, subject: int, groups: dict[str, list[Claim]]) -> None:
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

    def _value(self, snak: Snak | None) -> int | None:
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
        if not isinstance(value, Value):
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

    def _filtered(self, subject: int, name: str, claims: list[Claim], is_type: bool) -> None:
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

    def _drop_claims(self, reason: str, groups: dict[str, list[Claim]] | list[Claim] | None) -> None:
        if isinstance(groups, list):
            self.tally[reason, NO_PREDICATE] += len(groups)
        elif groups:
            for name, claims in groups.items():
                self.tally[reason, name] += len(claims)
                for claim in claims:
                    self._drop_qualifiers(reason, claim)

    def _drop_qualifiers(self, reason: str, claim: Claim) -> None:
        if isinstance(claim.qualifiers, dict):
            for name, snaks in claim.qualifiers.items():
                self.tally[reason, name] += len(snaks)
        elif claim.qualifiers:
            self.tally[reason, NO_PREDICATE] += len(claim.qualifiers)

    def _drop_item(self, entity: Entity) -> None:
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
