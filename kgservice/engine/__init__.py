"""The engine: a release answers completion, classification, search and entity questions.

It gives out the frozen dataclasses of `answers`, with labels beside ids and the release that answered.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Unpack

import numpy as np
import pyarrow as pa

from kgservice.answers import MAX_STATEMENTS, Answer, Described, Question, Statement, Verdict
from kgservice.answers.entities import EntityMap, EntityPage, LikeAnswer, RelationSummary, TypesAnswer
from kgservice.answers.matches import SearchResult
from kgservice.answers.options import CompleteOptions, SearchOptions
from kgservice.answers.records import EntityRecord
from kgservice.engine import canaries
from kgservice.engine.adding import AddedEntities, canonical
from kgservice.engine.asking import Asking
from kgservice.engine.filled import in_order, stacked
from kgservice.engine.finding import Finding, Sought
from kgservice.engine.judging import Judging
from kgservice.engine.likeness import alike
from kgservice.engine.mapping import entity_map
from kgservice.engine.reading import Reading, within_bounds
from kgservice.engine.relations import summaries
from kgservice.engine.routing import Routing
from kgservice.engine.searching import ReleaseSearch
from kgservice.engine.showing import entity_page
from kgservice.engine.telling import Telling
from kgservice.errors import InvalidQuestion
from kgservice.explain import MAX_SHOWN, Explaining, Explanation
from kgservice.graph import KnowledgeGraph
from kgservice.graph.names import Names
from kgservice.graph.views import Views
from kgservice.release import Release, ReleaseStore
from kgservice.release.served import ServedModel
from kgservice.search import EntitySearch, LayeredSearch
from kgservice.store import Changes, Journal


class Engine:
    """Answers from one release; read-only and safe to call from many threads.

    Args:
        release: what to answer from; its files are trusted, see `open`.
    """

    def __init__(self, release: Release, changes: Changes | None = None, *, former: Engine | None = None) -> None:
        self.release, self.changes = release, changes or Changes()
        self.revision = self.changes.revision
        self._learnt: Mapping[str, ServedModel] = (
            former._learnt if former else {name: ServedModel.open(release, name) for name in release.models}
        )
        before = former._added if former else None
        self._added: AddedEntities | None = (
            AddedEntities.read(release.graph, self.changes, before) if self.revision else None
        )
        self.graph: KnowledgeGraph = self._added.graph if self._added else release.graph
        # The nearest one before whose models are grown; what they have is not computed again.
        self._former: Engine | None = former if former is None or former._grown else former._former
        self._grown: bool = self._added is None
        self._made = self._learnt
        self._growing = threading.Lock()
        where = f"in release {release.id}"
        graph = self.graph
        self.entities = Names.entities(graph.entities, graph.prefixes, f"{where} ({graph.n:,} entities)", graph.erased)
        self.relations = Names.relations(graph.relations, graph.prefixes, f"{where} ({graph.r:,} relations)")
        self.types = Names.types(graph.types.vocabulary, graph.prefixes, f"{where} ({len(graph.types):,} types)")
        self._reading = Reading(graph, self.entities, self.relations)
        self._views = Views(graph, self.entities, self.relations, self.types)
        self._judging = Judging(graph, self._views, self.release_name)
        self._explaining = Explaining(graph, self._views)
        self._search: ReleaseSearch = former._search if former else ReleaseSearch(release)

    @classmethod
    def open(cls, release: Release, changes: Changes | None = None, *, verify: bool = True) -> Engine:
        """Verify a release, open it, replay its canaries, and add what was put since.

        Raises:
            CorruptRelease: a file is not the one that was sealed, or a canary answers otherwise.
        """
        if verify:
            release.verify()
        engine = cls(release)
        canaries.replay(engine)
        return engine.revised(changes) if changes and changes.revision else engine

    def revised(self, changes: Changes) -> Engine:
        """An engine over the same release and models after other changes; this one answers on as it did.

        What was put is read by the models at the first question, or when `grow` is called.
        """
        return Engine(self.release, changes, former=self)

    def grow(self) -> Engine:
        """Have the models read what was put, so that no question waits for it."""
        assert self._models is not None
        return self

    @cached_property
    def _models(self) -> Mapping[str, ServedModel]:
        if self._added is None:
            return self._learnt
        with self._growing:
            if not self._grown:
                before = self._former
                then = (before._models, before._added) if before else (self._learnt, None)
                self._made = self._added.grow(self._learnt, *then)
                self._grown, self._former = True, None
            return self._made

    @cached_property
    def _routing(self) -> Routing:
        told = {
            name: self.release.metrics(name)["types"]["micro_f1"]
            for name, model in self._learnt.items()
            if len(model.type_head.types)
        }
        return Routing(self.release.id, self._models, told, self.graph.seen)

    @cached_property
    def _asking(self) -> Asking:
        return Asking(
            self.release, self.release_name, self._reading, self.types, self._views, self._models, self._routing
        )

    def together(self, names: Sequence[str]) -> Reading:
        """What names mean to entities that are put together, which may name each other.

        Args:
            names: of all of them.
        """
        return self._reading.beside(names)

    def record(self, record: EntityRecord, together: Reading | None = None) -> EntityRecord:
        """An entity that is to be put, by full names.

        Args:
            record: as it was given.
            together: see there; by default it is put alone.

        Raises:
            InvalidQuestion: the release holds an entity of this name itself, or a statement cannot be put.
            UnknownName: a name that the release does not hold, with the closest ones.
        """
        id = self.entities.full(record.id)
        if 0 <= self.entities.find(record.id) < self.release.graph.n:
            raise InvalidQuestion(
                f"{record.id!r} is an entity of release {self.release.id} itself; what that says is changed by a new release"
            )
        return canonical(record, id, together or self._reading, self.types)

    def erasable(self, name: str) -> str:
        """The full name of an entity that is to be erased.

        Raises:
            UnknownEntity: there is none of this name, or it is erased already.
        """
        return self.graph.entities.name(self.entities.resolve(name))

    @property
    def release_name(self) -> str:
        """`id@revision`, named by every answer."""
        return f"{self.release.id}@{self.revision}"

    def model(self, name: str | None = None) -> ServedModel:
        """A model by name; the best by validation where none is named.

        Raises:
            UnknownModel: the release has no such model.
        """
        return self._routing.named(name)

    def complete(self, questions: Sequence[Question], **options: Unpack[CompleteOptions]) -> list[Answer]:
        """The best candidates for the hole of each question; for an object that is a number, its estimate.

        Args:
            questions: each with one part missing.
            k: candidates per question, in [1, 1000].
            types: candidates must have one of these; for subject and object questions.
            filters: candidates must be the subject of all these statements, each RELATION=OBJECT or the two.
            exclude_known: leave out what the graph states; else it is marked `known`.
            model: by name; the release's best by default.
            fuse: have all calibrated models answer together; for subjects and objects, without qualifiers, of what is not known.
            language: of labels and descriptions, with fallbacks.

        Raises:
            InvalidQuestion: `k` out of range, not exactly one part missing, too few numbers known for an estimate, or a question
                that models cannot answer together.
            UnknownName: an entity, relation, type or model that the release does not hold.
        """
        return in_order((places, some.answers()) for places, some in self._asking.complete(questions, **options))

    def complete_written(self, questions: Sequence[Question], **options: Unpack[CompleteOptions]) -> list[bytes]:
        """The answers of `complete`, each as JSON: for servers, that make no dataclasses to write them."""
        return in_order((places, some.written()) for places, some in self._asking.complete(questions, **options))

    def complete_table(
        self, questions: Sequence[Question], first: int = 0, **options: Unpack[CompleteOptions]
    ) -> pa.Table:
        """The candidates of `complete` as rows of `engine.filled.TABLE`, question by question, the first called `first`."""
        parts = self._asking.complete(questions, **options)
        return stacked([some.table([first + place for place in places]) for places, some in parts])

    def classify(
        self,
        statements: Sequence[tuple[str, str, str] | Statement],
        *,
        model: str | None = None,
        language: str = "en",
    ) -> list[Verdict]:
        """Score statements, and accept, reject or abstain where it is calibrated.

        Args:
            statements: as (subject, relation, object), or with qualifiers as `Statement`.
            model: by name; by default the release's best, of those that read qualifiers if some statement has any.
            language: of labels.
        """
        asked, parts = self._asking.judged(statements, model)
        return in_order(
            (rows.tolist(), self._judging.verdicts(served, asked.take(rows), language)) for served, rows in parts
        )

    def explain(
        self,
        statements: Sequence[tuple[str, str, str] | Statement],
        *,
        k: int = 5,
        model: str | None = None,
        language: str = "en",
    ) -> list[Explanation]:
        """Why statements are thought true: paths, rules, entities alike, and the facts that their scores rest on.

        Args:
            statements, model, language: as for `classify`.
            k: of each kind of evidence, in [1, 50].
        """
        if not 1 <= k <= MAX_SHOWN:
            raise InvalidQuestion(f"k must be in [1, {MAX_SHOWN}], found {k}")
        asked, parts = self._asking.judged(statements, model)
        found: dict[int, Explanation] = {}
        for served, rows in parts:
            part = asked.take(rows)
            verdicts = self._judging.verdicts(served, part, language)
            filled = self._explaining.explain(served, part, verdicts, k, language)
            found.update(zip(rows.tolist(), filled, strict=True))
        return [found[place] for place in range(len(asked))]

    def types_of(
        self,
        entities: Sequence[str],
        *,
        types: Sequence[str | Described] = (),
        k: int = 10,
        model: str | None = None,
        exclude_known: bool = False,
        language: str = "en",
    ) -> list[TypesAnswer]:
        """Which types entities have, the likeliest first.

        Args:
            entities: ids, CURIEs or IRIs.
            types: to choose among, named or described: those that no entity was known to have are told by their texts; by default
                all that are learnt.
            k: types of each.
            model: by name; by default the one that tells types best, for an entity of no training statement one that reads texts.
            exclude_known: leave out what the graph states.
            language: of labels and descriptions.

        Raises:
            InvalidQuestion: `k` out of range, or the model, or all of them, tells no types, or not one of those given.
            UnknownName: an entity, type or model that the release does not hold.
        """
        within_bounds(k)
        able = self._routing.typing(model)
        ids = np.array([self.entities.resolve(name) for name in entities], dtype=np.int32)
        given = [one if isinstance(one, Described) else self.types.resolve(one) for one in types]
        telling = Telling(self.graph, self._views, self.release_name)
        found: dict[int, TypesAnswer] = {}
        for served, rows in self._routing.parted(able, ids):
            filled = telling.types(served, ids[rows], given, k, exclude_known, language)
            found.update(zip(rows.tolist(), filled, strict=True))
        return [found[place] for place in range(len(ids))]

    def search(self, query: str, *, cursor: str | None = None, **options: Unpack[SearchOptions]) -> SearchResult:
        """Entities by what they are called and what is said of them.

        Args:
            query: a name, the beginning of one, a misspelt one, an id or a description; at most 512 letters.
            cursor: a result's `next`, for the page behind it.
            options: what `search_many` takes.

        Raises:
            InvalidQuestion: also where the cursor is of another release or question.
        """
        wanted = Sought(**options)
        return self._finding.page(query, wanted, cursor) if cursor else self._finding.many([query], wanted)[0]

    def search_many(self, queries: Sequence[str], **options: Unpack[SearchOptions]) -> list[SearchResult]:
        """The first matches of many queries, which are read together.

        Args:
            queries: as for `search`.
            options: the fields of `engine.finding.Sought`: `k`, `types`, `filters`, `language`, `mode`, `facets`, `facet_by`,
                `highlight`.

        Raises:
            InvalidQuestion: `k` out of range, a query too long, or a filter that is not RELATION=OBJECT.
            UnknownName: a type, relation or entity that the release does not hold.
        """
        return self._finding.many(queries, Sought(**options))

    def suggest(self, prefix: str, *, k: int = 10, types: Sequence[str] = (), language: str = "en") -> SearchResult:
        """Entities one of whose names is, or begins with, what was typed so far.

        Args:
            prefix: at most 512 letters.
            k, types, language: as for `search_many`.
        """
        found = self._finding.many([prefix], Sought(k=k, types=types, language=language, spelt=True))[0]
        return replace(found, next=None, nil=not found.matches, reason=None if found.matches else found.reason)

    def similar_to(
        self, entity: str, *, k: int = 10, model: str | None = None, types: Sequence[str] = (), language: str = "en"
    ) -> LikeAnswer:
        """Entities whose vectors point the same way: what a graph model learnt of their links, a text model of their words.

        Args:
            entity: an id, CURIE or IRI.
            k: how many, in [1, 1000].
            model: by name; by default the release's best, for an entity of no training statement one that reads texts.
            types: only entities of at least one of these.
            language: of labels and descriptions.

        Raises:
            InvalidQuestion: `k` out of range, or the release has no model.
            UnknownName: an entity, type or model that the release does not hold.
        """
        within_bounds(k)
        asked = np.array([self.entities.resolve(entity)], dtype=np.int32)
        if not self._models:
            raise InvalidQuestion(f"release {self.release.id} has no model, and so no vectors to compare")
        able = [self.model(model)] if model else list(self._models.values())
        served, _ = self._routing.parted(able, asked)[0]
        allow = self._asking.allowed(types)
        return alike(served, self._views, int(asked[0]), k=k, allow=allow, language=language, release=self.release_name)

    @property
    def _finding(self) -> Finding:
        return Finding(self.entity_search, self._views, self.entities, self.relations, self.types, self.release_name)

    def entity(self, name: str, *, language: str = "en", limit: int = MAX_STATEMENTS) -> EntityPage:
        """Labels, types and statements of one entity.

        Raises:
            UnknownEntity: the graph does not hold it.
        """
        return entity_page(
            self.graph,
            self._views,
            self._models,
            self.entities.resolve(name),
            limit=limit,
            language=language,
            release=self.release_name,
        )

    def relation_summaries(self, language: str = "en") -> list[RelationSummary]:
        """The relations that are used, the most used first."""
        return summaries(self.graph, self._views, language)

    def map(self, n: int = 1000, *, model: str | None = None, language: str = "en") -> EntityMap:
        """The `n` best-connected entities as points of a plane; takes seconds.

        Raises:
            InvalidQuestion: the model's vectors tell nothing apart.
            UnknownModel: the release has no such model.
        """
        return entity_map(
            self.model(model), self.graph, self._views, count=n, language=language, release=self.release_name
        )

    @cached_property
    def entity_search(self) -> EntitySearch | LayeredSearch:
        """The search index of the release and of what was put since, opened at first use."""
        return self._search.over(self._added) if self._added else self._search.base


def open_engine(folder: Path, id: str | None = None) -> Engine:
    """The engine over a release of the store at `folder`, the current one by default, and what was put since."""
    return Engine.open(ReleaseStore(folder).get(id), Journal(folder).changes())
