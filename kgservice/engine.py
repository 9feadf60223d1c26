"""The engine: a release answers completion, classification, search and entity questions.

It gives out the frozen dataclasses of `answers`, with labels beside ids and the release that answered.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kgservice.answers import (
    MAX_K,
    MAX_STATEMENTS,
    Answer,
    Decision,
    EntityPage,
    LikeAnswer,
    Question,
    SearchResult,
    Statement,
    TypesAnswer,
    Verdict,
)
from kgservice.completion import Completion
from kgservice.errors import CorruptRelease, DataError, InvalidQuestion, UnknownModel
from kgservice.evaluation.evidence import evidence, statement_scores
from kgservice.finding import Finding, Sought
from kgservice.likeness import alike
from kgservice.names import Names
from kgservice.query import QueryBatch, Slot
from kgservice.reading import Reading
from kgservice.release import Release
from kgservice.served import ServedModel
from kgservice.statements import StatementTable
from kgservice.texts import TextKind
from kgservice.views import Views

logger = logging.getLogger(__name__)


class Engine:
    """Answers from one release; read-only and safe to call from many threads.

    Args:
        release: what to answer from; its files are trusted, see `open`.
    """

    def __init__(self, release: Release) -> None:
        self.release, self.graph = release, release.graph
        self.revision = 0
        where = f"in release {release.id}"
        graph = self.graph
        self.entities = Names.entities(graph.entities, graph.prefixes, f"{where} ({graph.n:,} entities)")
        self.relations = Names.relations(graph.relations, graph.prefixes, f"{where} ({graph.r:,} relations)")
        self.types = Names.types(graph.types.vocabulary, graph.prefixes, f"{where} ({len(graph.types):,} types)")
        self._reading = Reading(graph, self.entities, self.relations)
        self._views = Views(graph, self.entities, self.relations, self.types)
        self._models = {name: ServedModel.open(release, name) for name in release.models}
        self._search_lock = threading.Lock()

    @classmethod
    def open(cls, release: Release, *, verify: bool = True) -> Engine:
        """Verify a release, open it, and replay its canaries.

        Raises:
            CorruptRelease: a file is not the one that was sealed, or a canary answers otherwise.
        """
        if verify:
            release.verify()
        engine = cls(release)
        engine.replay_canaries()
        return engine

    @property
    def release_name(self) -> str:
        """`id@revision`, named by every answer."""
        return f"{self.release.id}@{self.revision}"

    def model(self, name: str | None = None) -> ServedModel:
        """A model by name; the best by validation where none is named.

        Raises:
            UnknownModel: the release has no such model.
        """
        if name is None:
            return next(iter(self._models.values()))
        if name not in self._models:
            raise UnknownModel(name, f"in release {self.release.id}", self._models)
        return self._models[name]

    def model_for(self, slot: Slot, qualified: bool, name: str | None = None, *, unseen: bool = False) -> ServedModel:
        """The model that answers such a question: the named one, or the best of those that can.

        Args:
            slot: what is asked for.
            qualified: whether the question has qualifiers.
            name: of a model, if one is wanted.
            unseen: whether it is about an entity of no training statement: a model that reads texts is better there.

        Raises:
            UnknownModel: the release has no such model.
            InvalidQuestion: the named model, or all of them, cannot answer it; says which can.
        """
        able = [
            model
            for model in self._models.values()
            if slot in model.scorer.slots and (model.scorer.reads is not None or not qualified)
        ]
        what = (
            f"questions for a {'qualifier' if slot is Slot.QUALIFIER else slot.value}{' with qualifiers' * qualified}"
        )
        if name is None:
            if not able:
                raise InvalidQuestion(f"release {self.release.id} has no model that answers {what}")
            return next((model for model in able if unseen and model.scorer.inductive), able[0])
        chosen = self.model(name)
        if chosen not in able:
            others = ", ".join(model.name for model in able) or "no model of this release"
            raise InvalidQuestion(f"model {name!r} does not answer {what}; {others} does")
        return chosen

    def complete(
        self,
        questions: Sequence[Question],
        *,
        k: int = 10,
        types: Sequence[str] = (),
        exclude_known: bool = True,
        model: str | None = None,
        language: str = "en",
    ) -> list[Answer]:
        """The best candidates for the hole of each question; for an object that is a number, its estimate.

        Args:
            questions: each with one part missing.
            k: candidates per question, in [1, 1000].
            types: candidates must have one of these; for subject and object questions.
            exclude_known: leave out what the graph states; else it is marked `known`.
            model: by name; the release's best by default.
            language: of labels and descriptions, with fallbacks.

        Raises:
            InvalidQuestion: `k` out of range, not exactly one part missing, or too few numbers known for an estimate.
            UnknownName: an entity, relation, type or model that the release does not hold.
        """
        if not 1 <= k <= MAX_K:
            raise InvalidQuestion(f"k must be in [1, {MAX_K}], found {k}")
        allow = self._of_types(types) if types else None
        kinds: dict[tuple[Slot, bool], list[int]] = defaultdict(list)
        told: dict[Slot, list[int]] = defaultdict(list)
        for place, question in enumerate(questions):
            if question.described:
                told[question.slot].append(place)
            else:
                kinds[question.slot, bool(question.qualifiers)].append(place)
        completion = Completion(self.graph, self._views, self.release_name)
        answers: dict[int, Answer] = {}
        for slot, places in told.items():
            asked = [questions[place] for place in places]
            filled = self._complete_described(completion, slot, asked, k, allow, model, language)
            answers.update(zip(places, filled, strict=True))
        for (slot, qualified), places in kinds.items():
            if slot is Slot.RELATION and types:
                raise InvalidQuestion("types restrict entities; a question for a relation takes none")
            served_by = [self.model_for(slot, qualified, model, unseen=new) for new in (False, True)]
            batch = self._reading.batch(slot, [questions[place] for place in places])
            numeric = ~self.graph.linking[batch.relation] & (slot is Slot.OBJECT)
            known = (batch.anchor,) if slot in (Slot.OBJECT, Slot.SUBJECT) else (batch.subject, batch.object)
            kind = 2 * numeric + self._unseen(*known)
            for one in np.unique(kind).tolist():
                rows = np.flatnonzero(kind == one)
                part = batch if len(rows) == len(batch) else batch.take(rows)
                served = served_by[one % 2]
                if one >= 2:
                    filled = completion.numbers(served, part, bool(types), language)
                else:
                    filled = completion.candidates(served, part, k, allow, exclude_known, language)
                answers.update(zip([places[row] for row in rows], filled, strict=True))
        return [answers[place] for place in range(len(questions))]

    def _complete_described(
        self,
        completion: Completion,
        slot: Slot,
        questions: Sequence[Question],
        k: int,
        allow: npt.NDArray[np.bool_] | None,
        model: str | None,
        language: str,
    ) -> list[Answer]:
        """Questions about entities that are described: a model that reads texts answers them."""
        if slot not in (Slot.SUBJECT, Slot.OBJECT) or any(question.qualifiers for question in questions):
            raise InvalidQuestion(
                "an entity that is described, not named, can be asked for subjects or objects, without qualifiers"
            )
        served = self.model_for(slot, False, model, unseen=True)
        if not served.scorer.inductive:
            able = (
                ", ".join(one.name for one in self._models.values() if one.scorer.inductive)
                or "no model of this release"
            )
            raise InvalidQuestion(
                f"model {served.name!r} knows entities by their rows; {able} reads what describes one"
            )
        relation = np.array([self.relations.resolve(question.relation or "") for question in questions], dtype=np.int32)
        if not self.graph.linking[relation].all():
            raise InvalidQuestion(
                "an entity that is described is asked about relations that link entities, not numbers"
            )
        entities = [question.described for question in questions]
        return completion.described(served, slot, [one for one in entities if one], relation, k, allow, language)

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
        whole = [one if isinstance(one, Statement) else Statement(*one) for one in statements]
        qualified = any(one.qualifiers for one in whole)
        served_by = [self.model_for(Slot.OBJECT, qualified, model, unseen=new) for new in (False, True)]
        asked = self._reading.statements(whole)
        unseen = self._unseen(asked.subject, asked.object)
        verdicts: dict[int, Verdict] = {}
        for new in np.unique(unseen).tolist():
            rows = np.flatnonzero(unseen == new)
            part = asked if len(rows) == len(asked) else asked.take(rows)
            verdicts.update(zip(rows.tolist(), self._verdicts(served_by[new], part, language), strict=True))
        return [verdicts[place] for place in range(len(whole))]

    def _verdicts(self, served: ServedModel, asked: QueryBatch, language: str) -> list[Verdict]:
        subject, relation, object, m = asked.subject, asked.relation, asked.object, len(asked)
        scores = statement_scores(served.scorer, asked)
        known = self.graph.stated(asked)
        calibration = served.calibrations.get("classification")
        probability: Sequence[float | None] = [None] * m
        decision: Sequence[Decision | None] = [None] * m
        accept, reject = probability, probability
        if calibration:
            said = calibration.probability(evidence(served.scorer, self.graph, asked), relation)
            probability, decision = said.tolist(), calibration.decide(said, relation)
            accept, reject = calibration.bounds.of(relation).T.tolist()
        wide = served.uncertainty
        names = [self._views.entities(ids, language) for ids in (subject, object)]
        relations = self._views.relations(relation, language)
        qualifiers = self._views.pairs(asked, language)
        return [
            Verdict(
                release=self.release_name,
                model=served.name,
                subject=names[0][row],
                relation=relations[row],
                object=names[1][row],
                qualifiers=qualifiers[row],
                score=float(scores[row]),
                probability=probability[row],
                decision=decision[row],
                threshold=calibration.threshold if calibration else None,
                accept_from=accept[row],
                reject_to=reject[row],
                population=calibration.population if calibration else None,
                known=bool(np.isin(object[row], known[row])),
                uncertainty=None if wide is None else float(max(wide[subject[row]], wide[object[row]])),
            )
            for row in range(m)
        ]

    def types_of(
        self,
        entities: Sequence[str],
        *,
        k: int = 10,
        model: str | None = None,
        exclude_known: bool = False,
        language: str = "en",
    ) -> list[TypesAnswer]:
        """Which types entities have, the likeliest first.

        Args:
            entities: ids, CURIEs or IRIs.
            k: types of each.
            model: by name; by default the one that tells types best, for an entity of no training statement one that reads texts.
            exclude_known: leave out what the graph states.
            language: of labels and descriptions.

        Raises:
            InvalidQuestion: `k` out of range, or the model, or all of them, tells no types.
            UnknownName: an entity or model that the release does not hold.
        """
        if not 1 <= k <= MAX_K:
            raise InvalidQuestion(f"k must be in [1, {MAX_K}], found {k}")
        served_by = [self._typing_model(model, unseen=new) for new in (False, True)]
        ids = np.array([self.entities.resolve(name) for name in entities], dtype=np.int32)
        unseen = self._unseen(ids)
        completion = Completion(self.graph, self._views, self.release_name)
        found: dict[int, TypesAnswer] = {}
        for new in np.unique(unseen).tolist():
            rows = np.flatnonzero(unseen == new)
            filled = completion.types(served_by[new], ids[rows], k, exclude_known, language)
            found.update(zip(rows.tolist(), filled, strict=True))
        return [found[place] for place in range(len(ids))]

    def _typing_model(self, name: str | None, *, unseen: bool) -> ServedModel:
        able = [model for model in self._models.values() if len(model.type_head.types)]
        if not able:
            raise InvalidQuestion(
                f"release {self.release.id} tells no types: its graph has no type of enough entities, or it was built by a "
                "version that learnt none. Build it anew"
            )
        if name is not None:
            chosen = self.model(name)
            if chosen not in able:
                raise InvalidQuestion(f"model {name!r} tells no types; {', '.join(one.name for one in able)} does")
            return chosen
        able.sort(key=lambda one: -self.release.metrics(one.name)["types"]["micro_f1"])
        return next((one for one in able if unseen and one.scorer.inductive), able[0])

    def search(self, query: str, *, cursor: str | None = None, **sought: Any) -> SearchResult:
        """Entities by what they are called and what is said of them.

        Args:
            query: a name, the beginning of one, a misspelt one, an id or a description; at most 512 letters.
            cursor: a result's `next`, for the page behind it.
            sought: what `search_many` takes.

        Raises:
            InvalidQuestion: also where the cursor is of another release or question.
        """
        wanted = self._sought(sought)
        return self._finding.page(query, wanted, cursor) if cursor else self._finding.many([query], wanted)[0]

    def search_many(self, queries: Sequence[str], **sought: Any) -> list[SearchResult]:
        """The first matches of many queries, which are read together.

        Args:
            queries: as for `search`.
            sought: the fields of `kgservice.finding.Sought`: `k`, `types`, `filters`, `language`, `mode`, `facets`, `facet_by`,
                `highlight`.

        Raises:
            InvalidQuestion: `k` out of range, a query too long, or a filter that is not RELATION=OBJECT.
            UnknownName: a type, relation or entity that the release does not hold.
        """
        return self._finding.many(queries, self._sought(sought))

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
        if not 1 <= k <= MAX_K:
            raise InvalidQuestion(f"k must be in [1, {MAX_K}], found {k}")
        asked = self.entities.resolve(entity)
        if model is None and not self._models:
            raise InvalidQuestion(f"release {self.release.id} has no model, and so no vectors to compare")
        served = self.model(model)
        if model is None and not self.graph.seen[asked]:
            served = next((one for one in self._models.values() if one.scorer.inductive), served)
        allow = self._of_types(types) if types else None
        return alike(served, self._views, asked, k=k, allow=allow, language=language, release=self.release_name)

    @property
    def _finding(self) -> Finding:
        return Finding(self.entity_search, self._views, self.entities, self.relations, self.types, self.release_name)

    @staticmethod
    def _sought(given: dict[str, Any]) -> Sought:
        sought = Sought(**given)
        if not 1 <= sought.k <= MAX_K:
            raise InvalidQuestion(f"k must be in [1, {MAX_K}], found {sought.k}")
        return sought

    def entity(self, name: str, *, language: str = "en", limit: int = MAX_STATEMENTS) -> EntityPage:
        """Labels, types and statements of one entity.

        Raises:
            UnknownEntity: the graph does not hold it.
        """
        entity = self.entities.resolve(name)
        graph = self.graph
        texts: dict[TextKind, dict[str, list[str]]] = {kind: defaultdict(list) for kind in TextKind}
        for kind, code, text in graph.texts.rows(entity):
            texts[kind][code].append(text)
        rows = graph.rows_of(entity)
        facts = graph.literals.rows_of(entity)
        named = self._views.entities(np.array([entity], np.int32), language, describe=True)[0]
        views = self._views.facts(facts[:limit], language)
        views += self._views.statements(rows[: limit - len(views)], language)
        return EntityPage(
            release=self.release_name,
            id=named.id,
            iri=graph.entities.name(entity),
            label=named.label,
            description=named.description,
            labels={code: found[0] for code, found in texts[TextKind.LABEL].items()},
            descriptions={code: found[0] for code, found in texts[TextKind.DESCRIPTION].items()},
            aliases=dict(texts[TextKind.ALIAS]),
            types=self._views.types(entity, language),
            statements=views,
            statement_count=len(rows) + len(facts),
            uncertainty={
                name: float(model.uncertainty[entity])
                for name, model in self._models.items()
                if model.uncertainty is not None
            },
        )

    @cached_property
    def entity_search(self) -> Any:
        """The release's search index, opened at first use."""
        from kgservice.search import EntitySearch

        with self._search_lock:
            return EntitySearch.open(self.release.folder / "search", self.graph)

    def warm_up(self) -> None:
        """Do once what the first requests would otherwise wait for."""
        self.entity_search.search("warm up", k=1)
        statement = _first_statement(self)
        question = Question(*statement[:2])
        for name in self._models:
            self.complete([question], k=1, model=name)
            self.classify([statement], model=name)

    def replay_canaries(self) -> None:
        """Ask the release's own questions again.

        Raises:
            CorruptRelease: an answer is not the one it had when the release was made.
        """
        for canary in self.release.canaries():
            answer = self.complete(
                [Question(**canary["question"])], k=len(canary["ids"]), model=canary["model"], exclude_known=False
            )[0]
            scores = [candidate.score for candidate in answer.candidates]
            if not np.allclose(scores, canary["scores"], rtol=0, atol=canary["tolerance"]):
                raise CorruptRelease(
                    f"release {self.release.id}: the canary {canary['question']} gives scores {scores}, "
                    f"{canary['scores']} were sealed. It was not opened."
                )

    def canaries(self, table: StatementTable, count: int = 8) -> list[dict[str, Any]]:
        """Questions about some of `table`'s statements with today's answers, for `replay_canaries`."""
        chosen = np.unique(np.linspace(0, len(table) - 1, count).astype(int))[: len(table)]
        made = []
        for name in self._models:
            for row in chosen:
                question: dict[str, Any] = {
                    "subject": self.graph.entities.name(int(table.subject[row])),
                    "relation": self.graph.relations.name(int(table.relation[row])),
                }
                answer = self.complete([Question(**question)], k=5, model=name, exclude_known=False)[0]
                scores = [candidate.score for candidate in answer.candidates]
                tolerance = 1e-3 * max(1.0, *map(abs, scores))
                ids = [candidate.id for candidate in answer.candidates]
                made.append({"model": name, "question": question, "ids": ids, "scores": scores, "tolerance": tolerance})
        return made

    def _unseen(self, *entities: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """bool `[b]`: whether one of some entities, each int32 `[b]`, is in no training statement."""
        seen: npt.NDArray[np.bool_] = np.logical_and.reduce([self.graph.seen[ids] for ids in entities])
        return ~seen

    def _of_types(self, types: Sequence[str]) -> npt.NDArray[np.bool_]:
        allow = np.zeros(self.graph.n, dtype=bool)
        for name in types:
            allow[self.graph.types.members[self.types.resolve(name)]] = True
        return allow


def open_engine(folder: Path, id: str | None = None) -> Engine:
    """The engine over a release of the store at `folder`; the current one by default."""
    from kgservice.release import ReleaseStore

    return Engine.open(ReleaseStore(folder).get(id))


def _first_statement(engine: Engine) -> tuple[str, str, str]:
    table = engine.graph.statements
    if not len(table):
        raise DataError(f"release {engine.release.id} holds no statement")
    graph = engine.graph
    subject, object = (graph.entities.name(int(column[0])) for column in (table.subject, table.object))
    return subject, graph.relations.name(int(table.relation[0])), object
