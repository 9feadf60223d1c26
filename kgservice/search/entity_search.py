"""Entity search: names first, by kind of match; what names leave open is filled by descriptions and vectors."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from kgservice.encoders import TextEncoder
from kgservice.errors import DataError, InvalidQuestion
from kgservice.graph import KnowledgeGraph
from kgservice.search.dense import DenseIndex, QueryEncoder
from kgservice.search.hits import Hit, Hits, MatchKind, Mode, Search
from kgservice.search.lexical import LexicalIndex, Within
from kgservice.search.matching import Question, Tier
from kgservice.search.names import Names
from kgservice.search.naming import NOTHING, Matched, Named, NameSearch

FORMAT_VERSION = 2
MAX_QUERY_LETTERS = 512
MAX_K = 1000

_MIN_COSINE = 0.3  # below it a vector says nothing; unrelated texts of MiniLM reach .2
_RRF = 10  # Cormack et al. 2009: 1 / (constant + rank) over lists whose scores do not compare
_MEANING = 5.0  # weight of the vectors' list, the others' being 1; how both were chosen: docs/search.md

_KIND: dict[int, MatchKind] = {
    Tier.EXACT: "exact",
    Tier.PREFIX: "prefix",
    Tier.WORDS: "prefix",
    Tier.FUZZY: "fuzzy",
    Tier.PARTIAL: "fuzzy",
}

log = logging.getLogger(__name__)


class EntitySearch(Search):
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
        self._named = NameSearch(graph, names, lexical)
        self._dense = dense
        self._encoder = QueryEncoder(dense.encoder, encoder) if dense is not None else None

    @staticmethod
    def build(graph: KnowledgeGraph, folder: Path, encoder: TextEncoder | None, progress: bool = False) -> None:
        """Write `lexical/`, `names.arrow`, `search.json` and, with an encoder, `dense.safetensors` (and,
        for many entities, `dense.faiss`) into `folder`.

        `search.json` is written last: a folder without it is one whose build was cut short.
        """
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder / "lexical", ignore_errors=True)
        for stale in ("search.json", "names.arrow", "dense.safetensors", "dense.faiss"):
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

    def search_many(
        self,
        queries: Sequence[str],
        *,
        k: int = 10,
        language: str = "en",
        types: Sequence[int] = (),
        facts: Sequence[tuple[int, int]] = (),
        mode: Mode = "auto",
        spelt: bool = False,
    ) -> list[Hits]:
        """The entities that each query may mean, best first; queries that need vectors are encoded together.

        Args:
            queries: each a name, the beginning of one, a misspelt one, an id or CURIE, or words that describe; at most 512
                letters. One without letters and symbols finds nothing.
            k: at most so many of each, 1 to 1,000.
            language: names in it rank above equal matches in others.
            types: type ids; only entities of at least one of them, if there are any.
            facts: (relation, object) ids; only entities that are the subject of all these statements.
            mode: "lexical" by words only, "dense" by meaning only, "auto" both: matches of names come first.
            spelt: only names that are, begin with, or have the words of the query as it is written; by words only.

        Returns:
            Of each at most `k` hits. `.mode` says "lexical" where vectors were wanted but there are none.

        Raises:
            InvalidQuestion: a query is too long, or `k`, `mode`, a type or a fact does not exist.
        """
        within = Within(tuple(types), tuple(facts))
        self._check(queries, k, within, mode)
        answered: Mode = mode if self._dense is not None and not spelt else "lexical"
        questions = [Question.of(query) for query in queries]
        named = [
            NOTHING
            if answered == "dense" or not question.words
            else self._named.find(question, k, language, within, spelt=spelt)
            for question in questions
        ]
        wanting = [
            place
            for place, question in enumerate(questions)
            if answered != "lexical" and question.words and len(named[place].head) < k
        ]
        # As many more as the head may hold already.
        nearest = self._by_meaning([questions[place].text for place in wanting], 2 * k, within)
        near_of = dict(zip(wanting, nearest, strict=True))
        found = []
        for place, names in enumerate(named):
            near = near_of.get(place, [])
            if answered == "dense":
                hits = [Hit(entity, cosine, None, "description") for entity, cosine in near[:k]]
            else:
                hits = self._fuse(names, near, k)
            found.append(Hits(hits, answered, near[0][1] if near else None))
        return found

    def _check(self, queries: Sequence[str], k: int, within: Within, mode: str) -> None:
        for query in queries:
            if len(query) > MAX_QUERY_LETTERS:
                raise InvalidQuestion(
                    f"A query may have {MAX_QUERY_LETTERS} characters, this one has {len(query):,}: {query[:40]!r}…"
                )
        if not 1 <= k <= MAX_K:
            raise InvalidQuestion(f"k must be 1 to {MAX_K:,}, found {k}.")
        if mode not in get_args(Mode):
            raise InvalidQuestion(f"mode must be one of {', '.join(get_args(Mode))}, found {mode!r}.")
        for type_id in within.types:
            if not 0 <= type_id < len(self.graph.types):
                raise InvalidQuestion(f"type ids must be in [0, {len(self.graph.types)}), found {type_id}.")
        for relation, object in within.facts:
            if not (0 <= relation < self.graph.r and 0 <= object < self.graph.n):
                raise InvalidQuestion(
                    f"facts must be (relation, object) below ({self.graph.r}, {self.graph.n}), found {(relation, object)}."
                )

    def _by_meaning(self, texts: Sequence[str], k: int, within: Within) -> list[list[tuple[int, float]]]:
        if self._dense is None or self._encoder is None or not texts:
            return [[] for _ in texts]
        allowed = self._named.members(within) if within else None
        return self._dense.search(self._encoder.encode(texts), k, allowed)

    def _hits(
        self, entities: npt.NDArray[np.int64], matches: Matched, scores: npt.NDArray[np.float64], typed: str | None
    ) -> list[Hit]:
        """Hits of entities, with the name of each that has a match."""
        place_of = dict(zip(matches.entity.tolist(), range(len(matches)), strict=True))
        hits = []
        for entity, score in zip(entities.tolist(), scores.tolist(), strict=True):
            if (place := place_of.get(entity)) is None:
                hits.append(Hit(entity, score, None, "description"))
                continue
            row = int(matches.name[place])
            name = typed if row < 0 else self._named.text(row)
            hits.append(Hit(entity, score, name, _KIND[int(matches.tier[place])]))
        return hits

    def _fuse(self, named: Named, near: list[tuple[int, float]], k: int) -> list[Hit]:
        """The head as it is; behind it the other lists by reciprocal rank."""
        head = named.head.take(np.arange(min(k, len(named.head))))
        hits = self._hits(head.entity, head, self._named.scores(head), named.typed)
        room = k - len(head)
        if room <= 0:
            return hits
        close = np.array([entity for entity, cosine in near if cosine >= _MIN_COSINE], dtype=np.int64)
        lists = [*((tail.entity, 1.0) for tail in named.tails), (named.mentioned, 1.0), (close, _MEANING)]
        whole = sum(weight for _, weight in lists) + 1.0
        rests, parts = [], []
        for ranked, weight in lists:
            rests.append(ranked[~np.isin(ranked, named.head.entity)] if len(named.head) else ranked)
            parts.append(weight * (_RRF + 1) / (_RRF + np.arange(1, len(rests[-1]) + 1)) / whole)
        entities, place = np.unique(np.concatenate(rests), return_inverse=True)
        scores = np.bincount(place, np.concatenate(parts), len(entities)).astype(np.float64, copy=False)
        best = np.lexsort((entities, -self._named.popularity[entities], -scores))[:room]
        # Of an entity in several tails the last one's match.
        matches = Matched.none()
        for tail in reversed(named.tails):
            matches = matches.joined(tail)
        return hits + self._hits(entities[best], matches, scores[best], named.typed)
