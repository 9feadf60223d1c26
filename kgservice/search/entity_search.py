"""Entity search: names first, by kind of match; what names leave open is filled by descriptions and vectors."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

import numpy as np

from kgservice.encoders import TextEncoder
from kgservice.errors import DataError, InvalidQuestion
from kgservice.graph import KnowledgeGraph
from kgservice.search.dense import DenseIndex, QueryEncoder
from kgservice.search.hits import Hit, Hits, MatchKind, Mode
from kgservice.search.lexical import Entities, LexicalIndex
from kgservice.search.matching import Match, Question, Tier, best_match
from kgservice.search.names import Names

FORMAT_VERSION = 1
MAX_QUERY_LETTERS = 512
MAX_K = 1000

_RECALL = 100  # entities taken per kind of recall before they are compared name by name
_MIN_COSINE = 0.3  # below it a vector says nothing; unrelated texts of MiniLM reach .2
_RRF = 60  # Cormack et al. 2009: 1 / (60 + rank) over lists whose scores do not compare
_FOUND_BY_ID: Final = 3  # above every quality of a name

_KIND: dict[Tier, MatchKind] = {
    Tier.EXACT: "exact",
    Tier.PREFIX: "prefix",
    Tier.WORDS: "prefix",
    Tier.FUZZY: "fuzzy",
    Tier.PARTIAL: "fuzzy",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Named:
    """What the names alone say of one question."""

    head: list[Hit]
    tails: list[dict[int, Match | None]]  # ranked lists to be fused with the vectors', best first


class EntitySearch:
    """Search over the entities of one graph; safe from many threads.

    Args:
        graph: the graph that the indexes were built from.
        names: the folded names.
        lexical: recall by words.
        dense: recall by vectors; None where the release was built without an encoder.
        encoder: makes the vectors of queries; opened by its name at the first need if not given.
    """

    def __init__(
        self,
        graph: KnowledgeGraph,
        names: Names,
        lexical: LexicalIndex,
        dense: DenseIndex | None = None,
        *,
        encoder: TextEncoder | None = None,
    ) -> None:
        self.graph = graph
        self._names = names
        self._lexical = lexical
        self._dense = dense
        self._encoder = QueryEncoder(dense.encoder, encoder) if dense is not None else None
        # In [0, 1): links by their logarithm, since ten times the links is one step of renown.
        links = np.log1p(graph.degree.astype(np.float64))
        self._popularity = links / (links.max(initial=0.0) + 1.0)

    @staticmethod
    def build(graph: KnowledgeGraph, folder: Path, encoder: TextEncoder | None, progress: bool = False) -> None:
        """Write `lexical/`, `names.arrow`, `search.json` and, with an encoder, `dense.safetensors` into `folder`.

        `search.json` is written last: a folder without it is one whose build was cut short.
        """
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder / "lexical", ignore_errors=True)
        for stale in ("search.json", "names.arrow", "dense.safetensors"):
            (folder / stale).unlink(missing_ok=True)
        names = Names.build(graph)
        names.save(folder / "names.arrow")
        LexicalIndex.build(graph, names, folder / "lexical")
        counts = {"entities": graph.n, "names": len(names), "vectors": 0}
        if encoder is not None:
            dense = DenseIndex.build(graph, encoder, progress=progress)
            dense.save(folder / "dense.safetensors")
            counts["vectors"] = len(dense.entity)
        meta = {
            "format_version": FORMAT_VERSION,
            "encoder": encoder.name if encoder is not None else None,
            "counts": counts,
        }
        (folder / "search.json").write_text(json.dumps(meta, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def open(cls, folder: Path, graph: KnowledgeGraph, *, encoder: TextEncoder | None = None) -> EntitySearch:
        """Map what `build` wrote for this graph; nothing in the folder is touched.

        Args:
            folder: may be read-only.
            graph: the one the folder was built from.
            encoder: for queries; by default the one that encoded the descriptions, loaded when it is first needed.

        Raises:
            DataError: the folder is incomplete, of another format, or of another graph or encoder.
        """
        try:
            meta = json.loads((folder / "search.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{folder} holds no search index: {error}. Build the release anew.") from error
        if meta.get("format_version") != FORMAT_VERSION:
            raise DataError(
                f"{folder}: search format {meta.get('format_version')}, this kgservice reads {FORMAT_VERSION}; "
                "build the release anew."
            )
        if meta["counts"]["entities"] != graph.n:
            raise DataError(f"{folder} was built for {meta['counts']['entities']} entities, the graph has {graph.n}.")
        if encoder is not None and meta["encoder"] not in (None, encoder.name):
            raise DataError(f"{folder} was built with the encoder {meta['encoder']!r}, not {encoder.name!r}.")
        dense = DenseIndex.open(folder / "dense.safetensors") if meta["encoder"] is not None else None
        names = Names.open(folder / "names.arrow", graph.n)
        return cls(graph, names, LexicalIndex.open(folder / "lexical"), dense, encoder=encoder)

    @property
    def has_dense(self) -> bool:
        """True if descriptions can be searched by meaning."""
        return self._dense is not None

    @property
    def encoder_name(self) -> str | None:
        """What encoded the descriptions."""
        return self._dense.encoder if self._dense is not None else None

    def warm(self) -> None:
        """Load the encoder now (seconds), so that no query waits for it."""
        if self._encoder is not None:
            self._encoder.open()

    def search(
        self, query: str, *, k: int = 10, language: str = "en", types: Sequence[int] = (), mode: Mode = "auto"
    ) -> Hits:
        """The entities a query may mean, best first.

        Args:
            query: a name, the beginning of one, a misspelt one, an id or CURIE, or words that describe; at most 512
                letters. One without letters and symbols finds nothing.
            k: at most so many, 1 to 1,000.
            language: names in it rank above equal matches in others.
            types: type ids; only entities of at least one of them, if there are any.
            mode: "lexical" by words only, "dense" by meaning only, "auto" both: matches of names come first.

        Returns:
            At most `k` hits. `.mode` says "lexical" where vectors were wanted but there are none.

        Raises:
            InvalidQuestion: the query is too long, or `k`, `mode` or a type does not exist.
        """
        return self.search_many([query], k=k, language=language, types=types, mode=mode)[0]

    def search_many(
        self,
        queries: Sequence[str],
        *,
        k: int = 10,
        language: str = "en",
        types: Sequence[int] = (),
        mode: Mode = "auto",
    ) -> list[Hits]:
        """As `search`, for many queries; those that need vectors are encoded together."""
        self._check(queries, k, types, mode)
        answered: Mode = mode if self._dense is not None else "lexical"
        questions = [Question.of(query) for query in queries]
        named = [
            _Named([], []) if answered == "dense" or not question.words else self._by_name(question, k, language, types)
            for question in questions
        ]
        wanting = [
            place
            for place, question in enumerate(questions)
            if answered != "lexical" and question.words and len(named[place].head) < k
        ]
        # As many more as the head may hold already.
        nearest = self._by_meaning([questions[place].text for place in wanting], 2 * k, types)
        near_of = dict(zip(wanting, nearest, strict=True))
        if answered == "dense":
            return [
                Hits(
                    [Hit(entity, cosine, None, "description") for entity, cosine in near_of.get(place, [])[:k]],
                    answered,
                )
                for place in range(len(questions))
            ]
        return [Hits(self._fuse(found, near_of.get(place, []), k), answered) for place, found in enumerate(named)]

    def _check(self, queries: Sequence[str], k: int, types: Sequence[int], mode: str) -> None:
        for query in queries:
            if len(query) > MAX_QUERY_LETTERS:
                raise InvalidQuestion(
                    f"A query may have {MAX_QUERY_LETTERS} characters, this one has {len(query):,}: {query[:40]!r}…"
                )
        if not 1 <= k <= MAX_K:
            raise InvalidQuestion(f"k must be 1 to {MAX_K:,}, found {k}.")
        if mode not in get_args(Mode):
            raise InvalidQuestion(f"mode must be one of {', '.join(get_args(Mode))}, found {mode!r}.")
        for type_id in types:
            if not 0 <= type_id < len(self.graph.types):
                raise InvalidQuestion(f"type ids must be in [0, {len(self.graph.types)}), found {type_id}.")

    def _by_name(self, question: Question, k: int, language: str, types: Sequence[int]) -> _Named:
        """Cascade: a worse kind of match is looked for only while there are fewer than `k` of the better ones."""
        lexical, limit = self._lexical, max(k, _RECALL)
        found = self._by_id(question, types)

        def compare(entities: Entities, *, typos: bool = False) -> dict[int, Match]:
            fresh = np.array([entity for entity in dict.fromkeys(entities.tolist()) if entity not in found], np.int64)
            matches = zip(fresh.tolist(), self._names.of(fresh, language), strict=True)
            compared = ((entity, best_match(question, names, typos=typos)) for entity, names in matches)
            return {entity: match for entity, match in compared if match is not None}

        beginning = [lexical.exact(question.key, types, limit), lexical.beginning(question.key, types, limit)]
        found |= compare(np.concatenate(beginning))
        if len(found) < k:
            found |= compare(lexical.containing(question.words, types, limit))
        if len(found) >= k:
            return _Named(self._ranked(found), [])
        resembling = compare(lexical.resembling(question.words, types, limit), typos=True)
        fuzzy = {entity: match for entity, match in resembling.items() if match.tier >= Tier.FUZZY}
        tails: list[dict[int, Match | None]] = []
        if all(lexical.knows(word) for word in question.words):
            # Known words are spelt as meant ("money", not Monet): likeness in letters is then one hint among others.
            tails.append({hit.entity: fuzzy[hit.entity] for hit in self._ranked(fuzzy)})
        else:
            found |= fuzzy
        if len(found) < k:
            mentioning = lexical.mentioning(question.words, types, limit)
            partial = compare(mentioning, typos=True)
            tails.append({hit.entity: partial[hit.entity] for hit in self._ranked(partial)})
            tails.append({entity: partial.get(entity) for entity in mentioning.tolist()})
        return _Named(self._ranked(found), tails)

    def _by_id(self, question: Question, types: Sequence[int]) -> dict[int, Match]:
        """The entity whose id, IRI or CURIE was typed."""
        prefix, colon, rest = question.text.partition(":")
        candidates = [question.text]
        if colon and prefix in self.graph.prefixes:
            candidates.append(self.graph.prefixes[prefix] + rest)
        for name in candidates:
            entity = self.graph.entities.id(name)
            if entity >= 0 and self._is_of(entity, types):
                return {entity: Match(Tier.EXACT, 1.0, _FOUND_BY_ID, name)}
        return {}

    def _is_of(self, entity: int, types: Sequence[int]) -> bool:
        return not types or any(entity in self.graph.types.members[type_id] for type_id in types)

    def _ranked(self, matches: dict[int, Match]) -> list[Hit]:
        hits = [
            Hit(entity, self._score(entity, match), match.text, _KIND[match.tier]) for entity, match in matches.items()
        ]
        return sorted(hits, key=lambda hit: (-hit.score, hit.entity))

    def _score(self, entity: int, match: Match) -> float:
        """The tier, and a fraction within it: quality, then popularity; among typos, closeness before both."""
        within = (match.quality + float(self._popularity[entity])) / (_FOUND_BY_ID + 1)
        if match.tier <= Tier.FUZZY:
            within = 0.8 * match.closeness + 0.2 * within
        return match.tier + min(within, 0.999999)

    def _by_meaning(self, texts: Sequence[str], k: int, types: Sequence[int]) -> list[list[tuple[int, float]]]:
        if self._dense is None or self._encoder is None or not texts:
            return [[] for _ in texts]
        allowed = None
        if types:
            allowed = np.zeros(self.graph.n, dtype=bool)
            for type_id in types:
                allowed[self.graph.types.members[type_id]] = True
        return self._dense.search(self._encoder.encode(texts), k, allowed)

    def _fuse(self, named: _Named, near: list[tuple[int, float]], k: int) -> list[Hit]:
        """The head as it is; behind it the other lists by reciprocal rank."""
        room = k - len(named.head)
        if room <= 0:
            return named.head[:k]
        close: dict[int, Match | None] = {entity: None for entity, cosine in near if cosine >= _MIN_COSINE}
        lists = [*named.tails, close]
        seen = {hit.entity for hit in named.head}
        score: dict[int, float] = {}
        matched: dict[int, Match] = {}
        for ranked in lists:
            rest = (entity for entity in ranked if entity not in seen)
            for rank, entity in enumerate(rest, start=1):
                score[entity] = score.get(entity, 0.0) + (_RRF + 1) / (_RRF + rank) / (len(lists) + 1)
                if (match := ranked[entity]) is not None:
                    matched[entity] = match
        best = sorted(score, key=lambda entity: (-score[entity], -self._popularity[entity], entity))[:room]
        return named.head + [
            Hit(entity, score[entity], matched[entity].text, _KIND[matched[entity].tier])
            if entity in matched
            else Hit(entity, score[entity], None, "description")
            for entity in best
        ]
