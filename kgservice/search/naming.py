"""Which entities are called so: a cascade from whole names to words that are left over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kgservice.graph import KnowledgeGraph
from kgservice.search.lexical import Entities, LexicalIndex, Within, places_by_links
from kgservice.search.matching import Answering, Question, Tier, compare
from kgservice.search.names import Names

_RECALL = 100  # entities taken per kind of recall before they are compared name by name
_MAX_LIKENESS = 8  # more words than this describe something; a name spelt like all of them is not looked for
_SURE = 0.85  # closeness of a misspelt name from which on no other is looked for
_FOUND_BY_ID: Final = 3  # above every quality of a name
_REMEMBERED = (
    4096  # beginnings whose most linked entities are remembered: what many type first begins thousands of names
)
_FILTERS = 8


@dataclass(frozen=True)
class Matched:
    """Entities and how the best name of each answers; each entity once.

    Attributes:
        entity: int64 `[m]`.
        tier: int64 `[m]`, the kind of match.
        closeness: float64 `[m]`, in [0, 1], the share of the question's letters that are right.
        quality: int64 `[m]`, of the name, 0 to 2, or 3 for an id.
        name: int64 `[m]`, row of the name; -1 for the id that was typed.
    """

    entity: Entities
    tier: Entities
    closeness: npt.NDArray[np.float64]
    quality: Entities
    name: Entities

    @classmethod
    def none(cls) -> Matched:
        """No entity."""
        empty = np.empty(0, np.int64)
        return cls(empty, empty, np.empty(0), empty, empty)

    def __len__(self) -> int:
        return len(self.entity)

    def take(self, places: npt.NDArray[Any]) -> Matched:
        """Those at some places, or where a mask is true."""
        return Matched(*(column[places] for column in self._columns()))

    def joined(self, other: Matched) -> Matched:
        """These, and behind them the others that are not among them."""
        if not len(self) or not len(other):
            return self if len(self) else other
        fresh = other.take(~np.isin(other.entity, self.entity))
        pairs = zip(self._columns(), fresh._columns(), strict=True)
        return Matched(*(np.concatenate(pair) for pair in pairs))

    def _columns(self) -> tuple[npt.NDArray[Any], ...]:
        return self.entity, self.tier, self.closeness, self.quality, self.name


@dataclass(frozen=True)
class Named:
    """What the names alone say of one question.

    Attributes:
        head: the entities that are called so, best first.
        tails: ranked lists to be fused with others, best first.
        mentioned: entities with the words in a name or a description, best first; they may be in a tail too.
        typed: the id that was typed, if it is one.
    """

    head: Matched
    tails: Sequence[Matched] = ()
    mentioned: Entities = field(default_factory=lambda: np.empty(0, np.int64))
    typed: str | None = None


NOTHING = Named(Matched.none())


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
        # By name: how many entities are linked more often than its owner is.
        self._place = places_by_links(graph)[names.owner[names.by_name]]
        self._widest = lru_cache(_REMEMBERED)(self._most_linked)
        self.members = lru_cache(_FILTERS)(partial(members, graph))
        """bool `[n]`: the entities that are so; the last filters are remembered."""

    def find(self, question: Question, k: int, language: str, within: Within, *, spelt: bool = False) -> Named:
        """A worse kind of match is looked for only while there are fewer than `k` of the better ones.

        Args:
            question, language, within: see `EntitySearch.search`.
            k: how many are wanted.
            spelt: look for names that are written as the question alone.
        """
        lexical, limit, words = self._lexical, max(k, _RECALL), question.words
        typed, found = self._by_id(question, within)
        found = found.joined(self._beginning(question.key, language, within, limit))

        def fresh(entities: Entities, *, typos: bool = False, shorter: bool = False) -> Matched:
            entities = entities[~np.isin(entities, found.entity)] if len(found) else entities
            return self._compare(question, entities, language, typos=typos, shorter=shorter)

        if len(found) < k:
            found = found.joined(fresh(lexical.containing(words, within, limit)))
        if len(found) >= k or spelt:
            return Named(self.ranked(found), typed=typed)
        tails: list[Matched] = []
        misspelt = [word for word in words if not lexical.knows(word)]
        fuzzy = Matched.none()
        if misspelt:
            fuzzy = _fuzzy(fresh(lexical.resembling(words, misspelt, within, limit), typos=True))
        sure = (found.tier == Tier.EXACT).any() or (fuzzy.closeness >= _SURE).any()
        if not sure and len(words) <= _MAX_LIKENESS:
            alike = fresh(lexical.alike(question.key, within, limit), typos=True)
            tails.append(self.ranked(alike.take(alike.tier < Tier.FUZZY)))
            fuzzy = fuzzy.joined(_fuzzy(alike))
        if misspelt or len(words) > 1:
            found = found.joined(fuzzy)
        else:
            # A known word is spelt as meant ("money", not Monet): likeness in letters is then one hint among others.
            tails.append(self.ranked(fuzzy))
        mentioned = np.empty(0, np.int64)
        if len(found) < k:
            mentioned = lexical.mentioning(words, within, limit)
            tails.append(self.ranked(fresh(mentioned, typos=True, shorter=True)))
        return Named(self.ranked(found), tails, mentioned, typed)

    def text(self, row: int) -> str:
        """A name as written."""
        return self._names.texts_of(np.array([row]))[0]

    def scores(self, matched: Matched) -> npt.NDArray[np.float64]:
        """The tier, and a fraction within it: quality, then popularity; among typos, closeness before both."""
        renown = (matched.quality + self.popularity[matched.entity]) / (_FOUND_BY_ID + 1)
        within = np.where(matched.tier <= Tier.FUZZY, 0.8 * matched.closeness + 0.2 * renown, renown)
        scores: npt.NDArray[np.float64] = np.add(matched.tier, np.minimum(within, 0.999999))
        return scores

    def ranked(self, matched: Matched) -> Matched:
        """The best first."""
        return matched.take(np.lexsort((matched.entity, -self.scores(matched))))

    def _beginning(self, key: str, language: str, within: Within, limit: int) -> Matched:
        """The entities with a name that is so, and those with one that begins so."""
        low, whole, high = self._names.span(key)
        if within:
            allowed = self.members(within)
            rows = [self._most_linked(low, end, limit, allowed) for end in (whole, high)]
        else:
            rows = [self._widest(low, end, limit) for end in (whole, high)]
        chosen = np.unique(np.concatenate(rows))
        tier = np.where(self._names.lengths_of(chosen) == len(key.encode()), int(Tier.EXACT), int(Tier.PREFIX))
        return self._best(chosen, self._names.owner[chosen], Answering(tier, np.ones(len(chosen))), language)

    def _most_linked(
        self, low: int, high: int, limit: int, allowed: npt.NDArray[np.bool_] | None = None
    ) -> npt.NDArray[np.int32]:
        """int32: the rows of `by_name[low:high]` whose owners are the `limit` most linked ones. O(high - low)."""
        place, rows = self._place[low:high], self._names.by_name[low:high]
        if allowed is not None:
            inside = allowed[self._names.owner[rows]]
            place, rows = place[inside], rows[inside]
        if len(place) <= limit:
            return rows
        # Few entities have several such names, so that of four times as many rows enough are left.
        first = np.partition(place, 4 * limit)[: 4 * limit] if len(place) > 4 * limit else place
        distinct = np.unique(first)
        if len(distinct) < limit:
            distinct = np.unique(place)
        found: npt.NDArray[np.int32] = rows[place <= distinct[:limit][-1]]
        return found

    def _compare(
        self, question: Question, entities: Entities, language: str, *, typos: bool, shorter: bool = False
    ) -> Matched:
        """The best name of each entity that has one that matches."""
        if not len(entities):
            return Matched.none()
        rows, owner = self._names.rows_of(entities)
        answering = compare(question, self._names.folded_of(rows), typos=typos, shorter=shorter)
        found = self._best(rows, owner, answering, language)
        return replace(found, entity=entities[found.entity])

    def _best(
        self, rows: npt.NDArray[np.integer], owner: npt.NDArray[np.integer], answering: Answering, language: str
    ) -> Matched:
        """Of each owner the best of its names; `owner` rises."""
        quality = self._names.quality_of(rows, language)
        best = answering.best(quality, owner)
        return Matched(
            owner[best].astype(np.int64),
            answering.tier[best],
            answering.closeness[best],
            quality[best],
            rows[best].astype(np.int64),
        )

    def _by_id(self, question: Question, within: Within) -> tuple[str | None, Matched]:
        """The entity whose id, IRI or CURIE was typed, and which of them."""
        prefix, colon, rest = question.text.partition(":")
        candidates = [question.text]
        if colon and prefix in self._graph.prefixes:
            candidates.append(self._graph.prefixes[prefix] + rest)
        for name in candidates:
            entity = self._graph.entities.id(name)
            if entity >= 0 and (not within or self.members(within)[entity]):
                columns = ([entity], [int(Tier.EXACT)], [1.0], [_FOUND_BY_ID], [-1])
                return name, Matched(*map(np.array, columns))
        return None, Matched.none()


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


def _fuzzy(matched: Matched) -> Matched:
    return matched.take(matched.tier >= Tier.FUZZY)
