"""Which entities are called so: a cascade from whole names to words that are left over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from kgservice.graph import KnowledgeGraph
from kgservice.search.lexical import Entities, LexicalIndex, Within
from kgservice.search.matching import Question, Tier, compare
from kgservice.search.names import Names

_RECALL = 100  # entities taken per kind of recall before they are compared name by name
_MAX_LIKENESS = 8  # more words than this describe something; a name spelt like all of them is not looked for
_SURE = 0.85  # closeness of a misspelt name from which on no other is looked for
_FOUND_BY_ID: Final = 3  # above every quality of a name


class Match(NamedTuple):
    """How an entity's best name answers.

    Attributes:
        tier: the kind of match.
        closeness: in [0, 1], the share of the question's letters that are right.
        quality: of the name, 0 to 2, or 3 for an id.
        name: row of the name, or the id that was typed.
    """

    tier: int
    closeness: float
    quality: int
    name: int | str


Matches = dict[int, Match]
"""By entity."""


@dataclass(frozen=True)
class Named:
    """What the names alone say of one question.

    Attributes:
        head: the entities that are called so, best first.
        tails: ranked lists to be fused with others, best first; None where no name matched.
    """

    head: Matches
    tails: list[dict[int, Match | None]]


NOTHING = Named({}, [])


class NameSearch:
    """Search over the names of one graph.

    Args:
        graph: gives ids and the links that tell how popular an entity is.
        names: the folded names.
        lexical: recall by words.
    """

    def __init__(self, graph: KnowledgeGraph, names: Names, lexical: LexicalIndex) -> None:
        self._graph, self._names, self._lexical = graph, names, lexical
        # In [0, 1): links by their logarithm, since ten times the links is one step of renown.
        links = np.log1p(graph.degree.astype(np.float64))
        self.popularity: npt.NDArray[np.float64] = links / (links.max(initial=0.0) + 1.0)

    def find(self, question: Question, k: int, language: str, within: Within) -> Named:
        """A worse kind of match is looked for only while there are fewer than `k` of the better ones."""
        lexical, limit, words = self._lexical, max(k, _RECALL), question.words
        found = self._by_id(question, within)

        def fresh(entities: Entities, *, typos: bool = False, shorter: bool = False) -> Matches:
            return self._compare(question, entities, found, language, typos=typos, shorter=shorter)

        beginning = [lexical.exact(question.key, within, limit), lexical.beginning(question.key, within, limit)]
        found |= fresh(np.concatenate(beginning))
        if len(found) < k:
            found |= fresh(lexical.containing(words, within, limit))
        if len(found) >= k:
            return Named(self._ranked(found), [])
        tails: list[dict[int, Match | None]] = []
        misspelt = [word for word in words if not lexical.knows(word)]
        fuzzy: Matches = {}
        if misspelt:
            fuzzy = _fuzzy(fresh(lexical.resembling(words, misspelt, within, limit), typos=True))
        sure = any(match.tier == Tier.EXACT for match in found.values()) or any(
            match.closeness >= _SURE for match in fuzzy.values()
        )
        if not sure and len(words) <= _MAX_LIKENESS:
            alike = fresh(lexical.alike(question.key, within, limit), typos=True)
            tails.append(
                {**self._ranked({entity: match for entity, match in alike.items() if match.tier < Tier.FUZZY})}
            )
            fuzzy |= _fuzzy({entity: match for entity, match in alike.items() if entity not in fuzzy})
        if misspelt or len(words) > 1:
            found |= fuzzy
        else:
            # A known word is spelt as meant ("money", not Monet): likeness in letters is then one hint among others.
            tails.append({**self._ranked(fuzzy)})
        if len(found) < k:
            mentioning = lexical.mentioning(words, within, limit)
            partial = fresh(mentioning, typos=True, shorter=True)
            tails.append({**self._ranked(partial)})
            tails.append({entity: partial.get(entity) for entity in mentioning.tolist()})
        return Named(self._ranked(found), tails)

    def text(self, name: int | str) -> str:
        """The name of a match as written."""
        return name if isinstance(name, str) else self._names.texts_of(np.array([name]))[0]

    def score(self, entity: int, match: Match) -> float:
        """The tier, and a fraction within it: quality, then popularity; among typos, closeness before both."""
        within = (match.quality + float(self.popularity[entity])) / (_FOUND_BY_ID + 1)
        if match.tier <= Tier.FUZZY:
            within = 0.8 * match.closeness + 0.2 * within
        return match.tier + min(within, 0.999999)

    def _compare(
        self,
        question: Question,
        entities: Entities,
        known: Matches,
        language: str,
        *,
        typos: bool,
        shorter: bool = False,
    ) -> Matches:
        """The best name of each entity that is not known yet and has one that matches."""
        fresh = np.array([entity for entity in dict.fromkeys(entities.tolist()) if entity not in known], np.int64)
        rows, owner = self._names.rows_of(fresh)
        matches = compare(question, self._names.folded_of(rows), typos=typos, shorter=shorter)
        quality = self._names.quality_of(rows, language)
        best = matches.best(quality, owner)
        columns = (matches.tier[best], matches.closeness[best], quality[best], rows[best])
        described = map(Match, *(column.tolist() for column in columns))
        return dict(zip(fresh[owner[best]].tolist(), described, strict=True))

    def _by_id(self, question: Question, within: Within) -> Matches:
        """The entity whose id, IRI or CURIE was typed."""
        prefix, colon, rest = question.text.partition(":")
        candidates = [question.text]
        if colon and prefix in self._graph.prefixes:
            candidates.append(self._graph.prefixes[prefix] + rest)
        for name in candidates:
            entity = self._graph.entities.id(name)
            if entity >= 0 and (not within or self._is_within(entity, within)):
                return {entity: Match(Tier.EXACT, 1.0, _FOUND_BY_ID, name)}
        return {}

    def _is_within(self, entity: int, within: Within) -> bool:
        return bool(members(self._graph, within)[entity])

    def _ranked(self, matches: Matches) -> Matches:
        order = sorted(matches, key=lambda entity: (-self.score(entity, matches[entity]), entity))
        return {entity: matches[entity] for entity in order}


def members(graph: KnowledgeGraph, within: Within) -> npt.NDArray[np.bool_]:
    """bool `[n]`: the entities that are so."""
    allowed = np.ones(graph.n, dtype=bool)
    if within.types:
        allowed[:] = False
        for type_id in within.types:
            allowed[graph.types.members[type_id]] = True
    table = graph.statements
    for relation, object in within.facts:
        stated = np.zeros(graph.n, dtype=bool)
        stated[table.subject[(table.relation == relation) & (table.object == object)]] = True
        allowed &= stated
    return allowed


def _fuzzy(matches: Matches) -> Matches:
    return {entity: match for entity, match in matches.items() if match.tier >= Tier.FUZZY}
