"""Recall by words: a tantivy index of one document per entity.

A document has the fields `name` (each folded name whole), `joined` (the same without spaces), `gram` (its runs of three
letters), `word` (the words of all names), `begin` (the first one, two and three letters of words), `about` (the words of the
descriptions), `type`, `fact` (statements it is subject of), `place` (0 for the most linked entity) and `entity`. Questions about
names return the most linked entities first, so that cutting many at `limit` keeps what people mean. Names that are or begin as a
question is written need no index: `names.Names.span`.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kgservice.errors import DataError
from kgservice.graph import KnowledgeGraph
from kgservice.graph.texts import TextKind
from kgservice.search.folding import fold, words
from kgservice.search.names import Names

if TYPE_CHECKING:
    import tantivy

Entities = npt.NDArray[np.int64]

_MAX_NAME = 128  # letters of a name that the field `name` holds; longer ones are still found by their words
_MAX_START = 3
_MAX_FUZZY_LETTERS = 32  # an automaton for two typos grows with the word
_MAX_FUZZY_WORDS = 8
_INDEXED = {  # whole, or split into words
    "name": "basic", "joined": "basic", "gram": "basic", "begin": "basic", "word": "freq", "about": "freq",
}  # fmt: skip
_GRAMS = 16  # of a question: with two typos in a name, as many remain as tell it from others
_HEAP_BYTES = 256_000_000
_REMOVALS = 50

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Within:
    """What entities must be to be found.

    Attributes:
        types: ids; at least one of them, if there are any.
        facts: (relation, object) of statements that the entity is subject of; all of them.
    """

    types: tuple[int, ...] = ()
    facts: tuple[tuple[int, int], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.types or self.facts)


def typos_allowed(word: str) -> int:
    """None in a word of up to 3 letters, 1 in one of up to 7, 2 in longer ones; swapped neighbours count one."""
    if len(word) > _MAX_FUZZY_LETTERS:
        return 0
    return 2 if len(word) >= 8 else 1 if len(word) >= 4 else 0


class LexicalIndex:
    """An opened index; searching changes nothing and is safe from many threads.

    Args:
        searcher: of an index that no longer changes.
        schema: of the same index.
    """

    def __init__(self, searcher: tantivy.Searcher, schema: tantivy.Schema) -> None:
        self._searcher = searcher
        self._schema = schema

    @staticmethod
    def build(graph: KnowledgeGraph, names: Names, folder: Path) -> None:
        """Write the index into a new folder, as one segment where it fits into 256 MB while being built.

        The content is the same every time; tantivy gives the segment's files random names.
        """
        import tantivy

        started = time.perf_counter()
        folder.mkdir(parents=True)
        index = tantivy.Index(_schema(), path=str(folder))
        writer = index.writer(_HEAP_BYTES, num_threads=1)
        place = places_by_links(graph)
        abouts = _descriptions(graph)
        types, facts = graph.types.of_entity, _facts(graph)
        for entity, folded in enumerate(names.folded()):
            document = tantivy.Document()
            document.add_unsigned("entity", entity)
            document.add_unsigned("place", int(place[entity]))
            # What people type first begins thousands of words: one posting list instead of a walk over them all.
            for begin in _starts([word for name in folded for word in words(name)]):
                document.add_text("begin", begin)
            for gram in _grams(name[:_MAX_NAME] for name in folded):
                document.add_text("gram", gram)
            for name in folded:
                document.add_text("name", name[:_MAX_NAME])
                document.add_text("word", name)
                if " " in name:
                    document.add_text("joined", name.replace(" ", "")[:_MAX_NAME])
            for about in abouts.get(entity, ()):
                document.add_text("about", about)
            for type_id in types[entity].tolist() if len(types) else ():
                document.add_unsigned("type", type_id)
            for fact in facts[entity].tolist():
                document.add_unsigned("fact", fact)
            writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()
        del writer
        for path in folder.iterdir():
            # Locks and the list for garbage collection matter to writers alone, and nobody writes here again.
            if path.name.startswith("."):
                path.unlink()
            else:
                path.chmod(0o644)  # tantivy makes meta.json for its owner only
        log.info("lexical index of %d entities, %d names in %.1f s", graph.n, len(names), time.perf_counter() - started)

    @classmethod
    def open(cls, folder: Path) -> LexicalIndex:
        """Map an index without writing into its folder, which may be read-only.

        tantivy makes a lock file beside what it opens, so it is shown links in a folder of its own; once all is
        mapped they are no longer needed.

        Raises:
            DataError: the folder holds no index that this tantivy reads.
        """
        import tantivy

        try:
            with _passing_folder() as links:
                for path in folder.iterdir():
                    _link(path.resolve(), links / path.name)
                index = tantivy.Index.open(str(links))
                index.config_reader("manual")
                return cls(index.searcher(), index.schema)
        except (OSError, ValueError) as error:
            raise DataError(
                f"{folder} is not a search index that can be opened: {error}. Build the release anew."
            ) from error

    def containing(self, words: Sequence[str], within: Within, limit: int) -> Entities:
        """The entities whose names have all these words, the last one as a beginning."""
        parts = [*(self._term("word", word) for word in words[:-1]), self._unfinished(words[-1])]
        return self._most_linked(self._all(parts), within, limit)

    def resembling(self, words: Sequence[str], misspelt: Sequence[str], within: Within, limit: int) -> Entities:
        """The entities with names that have all these words, the misspelt ones but for typos, or that differ in spaces alone."""
        if len(words) > _MAX_FUZZY_WORDS:
            return np.empty(0, dtype=np.int64)
        query, parts = self._query(), []
        for place, word in enumerate(words):
            last = place == len(words) - 1
            typos = typos_allowed(word) if word in misspelt else 0
            found = [self._unfinished(word) if last else self._term("word", word)]
            if typos:
                found.append(query.fuzzy_term_query(self._schema, "word", word, typos, True, last))
            parts.append(self._any(found))
        joined = "".join(words)[:_MAX_NAME]
        spaces = [self._term("joined", joined), self._term("name", joined)]
        return self._most_linked(self._any([self._all(parts), *spaces]), within, limit)

    def alike(self, key: str, within: Within, limit: int) -> Entities:
        """The entities with a name that shares the rarest runs of three letters with this one, best first by BM25."""
        held = {gram: self._searcher.doc_freq("gram", gram) for gram in _grams([key[:_MAX_NAME]])}
        rarest = sorted((gram for gram, count in held.items() if count), key=lambda gram: (held[gram], gram))
        parts = [self._term("gram", gram) for gram in rarest[:_GRAMS]]
        return self._entities(self._searcher.search(self._within(self._any(parts), within), limit, False).hits)

    def mentioning(self, words: Sequence[str], within: Within, limit: int) -> Entities:
        """The entities with any of these words in a name or a description, best first by BM25; names count double."""
        boost = self._query().boost_query
        parts = [part for word in words for part in (boost(self._term("word", word), 2.0), self._term("about", word))]
        hits = self._searcher.search(self._within(self._any(parts), within), limit, False).hits
        return self._entities(hits)

    def knows(self, word: str) -> bool:
        """True if a name or a description has this very word: then it is hardly a typo."""
        return self._searcher.doc_freq("word", word) > 0 or self._searcher.doc_freq("about", word) > 0

    def _most_linked(self, query: tantivy.Query, within: Within, limit: int) -> Entities:
        import tantivy

        found = self._searcher.search(
            self._within(query, within), limit, False, order_by_field="place", order=tantivy.Order.Asc
        )
        return self._entities(found.hits)

    def _entities(self, hits: list[tuple[Any, tantivy.DocAddress]]) -> Entities:
        addresses = [address for _, address in hits]
        return np.array(self._searcher.fast_field_values("entity", addresses), dtype=np.int64)

    def _term(self, field: str, word: str) -> tantivy.Query:
        return self._query().term_query(self._schema, field, word, _INDEXED[field])

    def _all(self, queries: Sequence[tantivy.Query]) -> tantivy.Query:
        import tantivy

        return self._query().boolean_query([(tantivy.Occur.Must, query) for query in queries])

    def _any(self, queries: Sequence[tantivy.Query]) -> tantivy.Query:
        import tantivy

        return self._query().boolean_query([(tantivy.Occur.Should, query) for query in queries])

    def _unfinished(self, word: str) -> tantivy.Query:
        if len(word) <= _MAX_START:
            return self._term("begin", word)
        # No typo and any ending: an automaton that needs no escaping, unlike a regular expression.
        return self._query().fuzzy_term_query(self._schema, "word", word, 0, True, True)

    def _within(self, query: tantivy.Query, within: Within) -> tantivy.Query:
        if not within:
            return query
        parts = [self._query().term_query(self._schema, "fact", _fact(*fact), "basic") for fact in within.facts]
        if within.types:
            parts.append(self._query().term_set_query(self._schema, "type", list(within.types)))
        return self._all([query, *(self._query().const_score_query(part, 0.0) for part in parts)])

    @staticmethod
    def _query() -> type[tantivy.Query]:
        import tantivy

        return tantivy.Query


def _schema() -> tantivy.Schema:
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("entity", fast=True)
    builder.add_unsigned_field("place", fast=True)
    builder.add_unsigned_field("type", indexed=True)
    builder.add_unsigned_field("fact", indexed=True)
    for field, option in _INDEXED.items():
        tokenizer = "raw" if option == "basic" else "whitespace"
        builder.add_text_field(field, tokenizer_name=tokenizer, index_option=option)
    return builder.build()


def places_by_links(graph: KnowledgeGraph) -> npt.NDArray[np.int32]:
    """int32 `[n]`: the place of each entity, 0 being the most linked one, then by id."""
    place = np.empty(graph.n, dtype=np.int32)
    place[np.lexsort((np.arange(graph.n), -graph.degree))] = np.arange(graph.n, dtype=np.int32)
    return place


def _fact(relation: int, object: int) -> int:
    """A statement's relation and object as one number below 2 ** 63."""
    return relation << 32 | object


def _facts(graph: KnowledgeGraph) -> list[npt.NDArray[np.int64]]:
    """int64 per entity: the statements it is subject of; they are sorted by subject."""
    table = graph.statements
    facts = table.relation.astype(np.int64) << 32 | table.object
    return np.split(facts, np.searchsorted(table.subject, np.arange(1, graph.n)))


def _grams(names: Iterable[str]) -> list[str]:
    """All runs of three letters, the ends of names counting as spaces."""
    padded = (f" {name} " for name in names)
    return sorted({name[at : at + 3] for name in padded for at in range(len(name) - 2)})


def _starts(texts: Sequence[str]) -> list[str]:
    return sorted({text[:letters] for text in texts for letters in range(1, _MAX_START + 1)})


def _descriptions(graph: KnowledgeGraph) -> dict[int, list[str]]:
    """The folded descriptions of each entity."""
    abouts: dict[int, list[str]] = {}
    for owner, kind, _, text in graph.texts.items():
        if kind is TextKind.DESCRIPTION:
            abouts.setdefault(owner, []).append(fold(text))
    return abouts


@contextmanager
def _passing_folder() -> Iterator[Path]:
    """A new folder that is gone afterwards, though tantivy may make a lock in it while it is being removed."""
    folder = Path(tempfile.mkdtemp(prefix="kgservice-search-"))
    try:
        yield folder
    finally:
        for _ in range(_REMOVALS):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.02)
        else:
            log.warning("%s could not be removed; it holds links alone", folder)


def _link(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source)
    except OSError:  # a system without links, or without the right to make them
        shutil.copyfile(source, target)
