"""Questions and statements of one graph, each given to the model that answers it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kgservice.answers import Described, Question, Statement
from kgservice.answers.options import Filter
from kgservice.engine.completion import Completion
from kgservice.engine.filled import Answers, Wanted
from kgservice.engine.fusing import fused
from kgservice.engine.reading import Reading, fact_of, within_bounds
from kgservice.engine.routing import Routing
from kgservice.errors import InvalidQuestion
from kgservice.graph import KnowledgeGraph
from kgservice.graph.names import Names
from kgservice.graph.views import Views
from kgservice.query import QueryBatch, Slot
from kgservice.release import Release
from kgservice.release.served import ServedModel
from kgservice.release.stacking import FILE as FUSION
from kgservice.release.stacking import Stacker

_FUSES = (
    "models answer together questions for the subject or object of links between entities, by name, without qualifiers, model "
    "or what is known"
)
_ENDS = (Slot.OBJECT, Slot.SUBJECT)


class Asking:
    """Asks the models of a release about its graph, or about one that has grown since.

    Args:
        release: whose models these are.
        release_name: named by every answer.
        reading: of the graph that is asked about.
        types: the graph's.
        views: how its names are shown.
        models: the best first, by validation.
        routing: which of them answers what.
    """

    def __init__(
        self,
        release: Release,
        release_name: str,
        reading: Reading,
        types: Names,
        views: Views,
        models: Mapping[str, ServedModel],
        routing: Routing,
    ) -> None:
        self._release, self._name = release, release_name
        self._graph: KnowledgeGraph = reading.graph
        self._reading, self._types, self._views = reading, types, views
        self._models, self._routing = models, routing
        self._completion = Completion(self._graph, views, release_name)

    @cached_property
    def _stacker(self) -> Stacker:
        return Stacker.open(self._release.folder / FUSION)

    def complete(
        self,
        questions: Sequence[Question],
        *,
        k: int = 10,
        types: Sequence[str] = (),
        filters: Sequence[Filter] = (),
        exclude_known: bool = True,
        model: str | None = None,
        fuse: bool = False,
        language: str = "en",
    ) -> Iterator[tuple[Sequence[int], Answers]]:
        """Places of questions that are answered alike, and their answers; see `Engine.complete`."""
        within_bounds(k)
        wanted = Wanted(k, self.allowed(types, filters), exclude_known, language)
        kinds: dict[tuple[Slot, bool], list[int]] = defaultdict(list)
        told: dict[Slot, list[int]] = defaultdict(list)
        for place, question in enumerate(questions):
            if question.described:
                told[question.slot].append(place)
            else:
                kinds[question.slot, bool(question.qualifiers)].append(place)
        if fuse and told:
            raise InvalidQuestion(f"{_FUSES}, found one that is described")
        for slot, places in told.items():
            asked = [questions[place] for place in places]
            yield places, self._described(slot, asked, wanted, model)
        # Questions for subjects and those for objects are two batches, which a model answers with one search.
        parts: dict[str, tuple[ServedModel, list[list[int]], list[QueryBatch]]] = {}
        for (slot, qualified), places in kinds.items():
            if slot is Slot.RELATION and (types or filters):
                raise InvalidQuestion("types and filters restrict entities; a question for a relation takes none")
            able = self._routing.able(slot, qualified, model)
            batch = self._reading.batch(slot, [questions[place] for place in places])
            numeric = ~self._graph.linking[batch.relation] & (slot is Slot.OBJECT)
            if fuse:
                if model or qualified or not exclude_known or slot not in _ENDS or numeric.any():
                    raise InvalidQuestion(f"{_FUSES}, found another")
                models = list(self._models.values())
                yield places, fused(models, self._stacker, self._graph, self._views, batch, wanted, release=self._name)
                continue
            known = (batch.anchor,) if slot in _ENDS else (batch.subject, batch.object)
            for served, asking in self._routing.parted(able, *known, beside=batch.value_columns):
                for number in np.unique(numeric[asking]).tolist():
                    rows = asking[numeric[asking] == number]
                    part = batch if len(rows) == len(batch) else batch.take(rows)
                    those = [places[row] for row in rows.tolist()]
                    if number:
                        yield those, self._completion.numbers(served, part, bool(types or filters), language)
                    else:
                        _, asked_at, batches = parts.setdefault(served.name, (served, [], []))
                        asked_at.append(those)
                        batches.append(part)
        for served, asked_at, batches in parts.values():
            yield from zip(asked_at, self._completion.candidates(served, batches, wanted), strict=True)

    def judged(
        self, statements: Sequence[tuple[str, str, str] | Statement], model: str | None
    ) -> tuple[QueryBatch, list[tuple[ServedModel, npt.NDArray[np.int64]]]]:
        """Whole statements, and which of them each model judges; see `Engine.classify`."""
        whole = [one if isinstance(one, Statement) else Statement(*one) for one in statements]
        qualified = any(one.qualifiers for one in whole)
        able = self._routing.able(Slot.OBJECT, qualified, model)
        asked = self._reading.statements(whole)
        return asked, self._routing.parted(able, asked.subject, asked.object, beside=asked.value_columns)

    def allowed(self, types: Sequence[str], filters: Sequence[Filter] = ()) -> npt.NDArray[np.bool_] | None:
        """bool `[n]`: which entities may answer; None where all may."""
        graph, reading = self._graph, self._reading
        if not types and not filters:
            return ~graph.erased if graph.erased.any() else None
        allow = ~graph.erased
        if types:
            typed = np.zeros(graph.n, dtype=bool)
            for name in types:
                typed[graph.types.members[self._types.resolve(name)]] = True
            allow &= typed
        for filter in filters:
            relation, object = fact_of(filter, reading.relations, reading.entities)
            linked = np.zeros(graph.n, dtype=bool)
            linked[graph.known(QueryBatch.subjects(relation, object))[0]] = True
            allow &= linked
        return allow

    def _described(
        self,
        slot: Slot,
        questions: Sequence[Question],
        wanted: Wanted,
        model: str | None,
    ) -> Answers:
        """Questions about entities that are described: a model that reads texts answers them."""
        if slot not in _ENDS or any(question.qualifiers for question in questions):
            raise InvalidQuestion(
                "an entity that is described, not named, can be asked for subjects or objects, without qualifiers"
            )
        served = self._routing.reading(slot, model)
        relations = self._reading.relations
        relation = np.array([relations.resolve(question.relation or "") for question in questions], dtype=np.int32)
        if not self._graph.linking[relation].all():
            raise InvalidQuestion(
                "an entity that is described is asked about relations that link entities, not numbers"
            )
        entities: list[Described] = [one for question in questions if (one := question.described)]
        return self._completion.described(served, slot, entities, relation, wanted)
