"""Missing links: which questions are worth asking, and what a block of them gives.

A block depends on the release, the plan and the calibration alone, so blocks may be computed in any order, on any machine, and
again after a crash.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kgservice.arrays.ragged import Ragged
from kgservice.engine import Engine
from kgservice.enrichment.calibrating import (
    Examples,
    RunCalibration,
    column_names,
    columns_of,
    label_share,
)
from kgservice.enrichment.orders import Orders
from kgservice.enrichment.plan import Plan
from kgservice.enrichment.scoring import Candidates, Field, entity_table
from kgservice.enrichment.shapes import Shapes, reversed_too
from kgservice.enrichment.table import proposals
from kgservice.errors import DataError, InvalidQuestion
from kgservice.evaluation.evidence import LEARNT
from kgservice.graph import ALL_SPLITS
from kgservice.graph.statements import Split
from kgservice.precision import fast_bfloat16
from kgservice.query import QueryBatch, Slot
from kgservice.release import ReleaseStore
from kgservice.release.served import ServedModel

Ids = npt.NDArray[np.int32]
Advance = Callable[[int], None]
POPULATION = "the best candidates of all plausible questions that training does not state"


class MissingLinks:
    """The work of one plan, block by block.

    Args:
        engine: of the plan's release.
        plan: what is wanted.
        calibration: of an earlier start of the same run.

    Raises:
        UnknownName: a relation, type, model or release that there is not.
        InvalidQuestion: a model that answers no questions for objects, or a relation that links no entities.
    """

    def __init__(self, engine: Engine, plan: Plan, calibration: RunCalibration | None = None) -> None:
        self.engine, self.plan, self.graph = engine, plan, engine.graph
        self.calibration = calibration
        self.rounded = fast_bfloat16("cpu") if calibration is None else calibration.rounded
        self.models = _models(engine, plan.models)
        self.tables = {model.name: (model, entity_table(model)) for model in self.models}
        self.relations = chosen_relations(engine, plan)
        self.shapes = Shapes.learn(self.graph)
        self.orders = Orders.learn(self.graph)
        ids = np.arange(self.graph.n, dtype=np.int32)
        self.able = np.logical_and.reduce([model.knows(ids) for model in self.models]) & ~self.graph.erased
        self._new = _new(engine, plan)
        self._of_types = _having(engine, plan.types)
        self.chosen = self.able & (self._of_types if self._of_types is not None else True)
        if self._new is not None:
            self.chosen &= self._new
        self._field: Field | None = None
        self._asked: tuple[int, Ids] | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the models that are fused."""
        return tuple(model.name for model in self.models)

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        """int64 `[relations + 1]`: the first block of each relation."""
        counts = [-(-len(self.questions(relation)) // self.plan.block) for relation in self.relations]
        return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return int(self._starts[-1])

    def questions(self, relation: int, splits: Sequence[Split] = ALL_SPLITS, *, every: bool = False) -> Ids:
        """int32, sorted: the subjects whose objects are asked for.

        Args:
            relation: which.
            splits: what counts as stated, where one object is all that a subject has.
            every: whatever the plan's types and `since` leave out too.
        """
        subjects = self.shapes.plausible_subjects(relation)
        keep = self.able[subjects]
        if not every:
            if self._of_types is not None:
                keep &= self._of_types[subjects]
            if self._new is not None and not self._new[self.field_objects(relation)].any():
                keep &= self._new[subjects]
        if self.shapes.functional[relation]:
            asked = QueryBatch.objects(subjects, np.full(len(subjects), relation, np.int32))
            keep &= self.graph.known_counts(asked, splits) == 0
        asked_for: Ids = subjects[keep]
        return asked_for

    def field_objects(self, relation: int) -> Ids:
        """int32, sorted: what competes for the object of a relation."""
        objects = self.shapes.plausible_objects(relation)
        able: Ids = objects[self.able[objects]]
        return able

    def field(self, relation: int) -> Field:
        """The relation, ready to be scored; the last one is kept, since blocks come relation by relation."""
        if self._field is None or self._field.relation != relation:
            self._field = None  # before the next one is made: two would need twice the memory
            subjects = self.shapes.plausible_subjects(relation)
            subjects = subjects[self.able[subjects]]
            self._field = Field.open(
                self.graph, self.tables, relation, subjects, self.field_objects(relation), self.plan.tile, self.rounded
            )
        return self._field

    def pruning(self) -> dict[str, int]:
        """How many questions and pairs there would be, and how many are left: by domain, range and functional relations."""
        n, asked, single, pairs = int(self.able.sum()), 0, 0, 0
        for relation in self.relations:
            questions, every = len(self.questions(relation)), len(self.shapes.plausible_subjects(relation))
            asked, single = asked + questions, single + every - questions
            pairs += questions * len(self.field_objects(relation))
        total = n * len(self.relations)
        return {
            "questions possible": total,
            "questions outside the domain": total - asked - single,
            "questions answered or not chosen": single,
            "questions asked": asked,
            "pairs possible": total * n,
            "pairs scored": pairs,
        }

    def calibrate(self, advance: Advance = lambda _: None) -> RunCalibration:
        """Fit the calibration, unless there is one.

        Raises:
            DataError: there is nothing to calibrate with.
        """
        if self.calibration is None:
            parts = list(self._examples(advance))
            if not parts:
                raise DataError("no relation of the plan has a plausible question, so that nothing can be calibrated")
            examples = Examples.joined(parts)
            share = label_share(self.graph, self.plan.completeness)
            names = column_names(list(self.labels))
            self.calibration = RunCalibration.fit(
                examples, names, population=POPULATION, label_share=share, seed=self.plan.seed, rounded=self.rounded
            )
        return self.calibration

    def _examples(self, advance: Advance) -> Iterator[Examples]:
        """Candidates of every question that validation answers, and of a draw among the others.

        Subjects and objects are plausible here by what training states: that validation states one at all tells of answers.
        """
        learnt = Shapes.learn(self.graph, LEARNT)
        random = np.random.default_rng(self.plan.seed)
        held = self.graph.statements.in_split(Split.VALID)
        asked = [
            np.intersect1d(self.questions(relation, LEARNT, every=True), learnt.plausible_subjects(relation))
            for relation in self.relations
        ]
        rate = min(1.0, self.plan.sample / max(sum(map(len, asked)), 1))
        first = 0
        for relation, subjects in zip(self.relations, asked, strict=True):
            answered = np.isin(subjects, held.subject[held.relation == relation])
            drawn = random.random(len(subjects)) < rate
            chosen = np.flatnonzero(answered | drawn)
            allow = np.isin(self.field_objects(relation), learnt.plausible_objects(relation))
            for start in range(0, len(chosen), self.plan.block):
                some = chosen[start : start + self.plan.block]
                found = self.field(relation).best(subjects[some], self.plan.k, None if allow.all() else allow)
                yield self._told(relation, found, first, np.where(answered[some], 1.0, 1 / rate), subjects[some])
                first += len(some)
            advance(1)

    def _told(
        self, relation: int, found: Candidates, first: int, weight: npt.NDArray[np.float64], asked: Ids
    ) -> Examples:
        """What the validation split says of candidates; those that other splits state are left out."""
        questions = QueryBatch.objects(found.subject, np.full(len(found.subject), relation, np.int32))
        held = among(self.graph.known(questions, splits=(Split.VALID,)), found.object)
        stated = among(self.graph.known(questions), found.object)
        found, held = found.take(~stated | held), held[~stated | held]
        place = np.searchsorted(asked, found.subject)
        columns = columns_of(self.graph, relation, found)
        of = np.full(len(held), relation, np.int32)
        return Examples(columns, of, first + place, held, weight[place])

    def block(self, number: int) -> tuple[pa.Table, Counter[str]]:
        """The proposals of one block that reach the plan's floor, and what became of the other candidates.

        Args:
            number: in `[0, blocks)`.
        """
        place = int(np.searchsorted(self._starts, number, side="right")) - 1
        relation = self.relations[place]
        start = (number - int(self._starts[place])) * self.plan.block
        if self._asked is None or self._asked[0] != relation:
            self._asked = relation, self.questions(relation)
        subjects = self._asked[1][start : start + self.plan.block]
        field = self.field(relation)
        parts: list[tuple[Ids, npt.NDArray[np.bool_] | None]] = [(subjects, None)]
        if self._new is not None:  # new entities are asked about everything, old ones about the new alone
            whole = self._new[subjects]
            parts = [(subjects[whole], None), (subjects[~whole], self._new[field.objects])]
        counts: Counter[str] = Counter({"questions": len(subjects)})
        made = [self._proposed(field, some, mask, counts) for some, mask in parts if len(some)]
        return pa.concat_tables(made), counts

    def _proposed(
        self, field: Field, subjects: Ids, allow: npt.NDArray[np.bool_] | None, counts: Counter[str]
    ) -> pa.Table:
        graph, relation = self.graph, field.relation
        found = field.best(subjects, self.plan.k, allow)
        counts["candidates"] += len(found.subject)
        of = np.full(len(found.subject), relation, np.int32)
        stated = among(graph.known(QueryBatch.objects(found.subject, of)), found.object)
        turned = np.zeros(len(of), bool)
        if self.shapes.asymmetric[relation]:
            turned = reversed_too(graph, found.subject, of, found.object) & ~stated
        taken = np.zeros(len(of), bool)
        if self.shapes.inverse_functional[relation]:
            taken = (graph.known_counts(QueryBatch.subjects(of, found.object)) > 0) & ~stated & ~turned
        untimely = (self.orders.doubt(found.subject, of, found.object) > 0) & ~(stated | turned | taken)
        counts["stated already"] += int(stated.sum())
        counts["refused: stated the other way round"] += int(turned.sum())
        counts["refused: the object has its one subject"] += int(taken.sum())
        counts["refused: a date of one end comes too early"] += int(untimely.sum())
        found = found.take(~(stated | turned | taken | untimely))
        of = of[: len(found.subject)]
        probability = self.calibrate().probability(columns_of(graph, relation, found), of)
        rank = ranks(found.subject, probability)
        sure = probability >= self.plan.kept
        counts["less probable than the floor"] += int((~sure).sum())
        score = found.views[:, 0].astype(np.float32) if len(of) else np.empty(0, np.float32)
        return proposals(found.subject, of, found.object, probability, score, rank, kept=sure)


def check(engine: Engine, plan: Plan) -> None:
    """Look at a plan before the work begins.

    Raises:
        UnknownName, InvalidQuestion: as `MissingLinks`.
    """
    chosen_relations(engine, plan)
    _models(engine, plan.models)
    _having(engine, plan.types)
    if plan.since is not None:
        ReleaseStore(engine.release.folder.parent).get(plan.since)


def ranks(group: npt.NDArray[np.integer], value: npt.NDArray[np.float64]) -> Ids:
    """int32 `[m]`: 1 for the highest value of each group, 2 for the next; equal ones in the order given."""
    order = np.lexsort((-value, group))
    sorted_group = group[order]
    first = np.searchsorted(sorted_group, sorted_group, side="left")
    place = np.empty(len(group), np.int32)
    place[order] = np.arange(len(group)) - first + 1
    return place


def among(lists: Ragged, values: Ids) -> npt.NDArray[np.bool_]:
    """bool `[m]`: whether each value stands in its row's list."""
    found = np.zeros(len(values), bool)
    found[lists.rows()[lists.values == np.repeat(values, lists.lengths)]] = True
    return found


def chosen_relations(engine: Engine, plan: Plan) -> list[int]:
    """The ids of a plan's relations, in order; all that link entities where it names none.

    Raises:
        UnknownRelation: a name that is none.
        InvalidQuestion: one links no entities.
    """
    linking = engine.graph.linking
    if not plan.relations:
        return [int(relation) for relation in np.flatnonzero(linking)]
    found = sorted({engine.relations.resolve(name) for name in plan.relations})
    for relation in found:
        if not linking[relation]:
            raise InvalidQuestion(f"{engine.graph.relations.name(relation)!r} links no entities")
    return found


def _models(engine: Engine, names: Sequence[str]) -> list[ServedModel]:
    """The models named; all that answer for subjects and objects where none is, the best first."""
    if not names:
        every = [engine.model(name) for name in engine.release.models]
        return [model for model in every if {Slot.OBJECT, Slot.SUBJECT} <= model.scorer.slots]
    chosen = [engine.model(name) for name in dict.fromkeys(names)]
    for model in chosen:
        if not {Slot.OBJECT, Slot.SUBJECT} <= model.scorer.slots:
            raise InvalidQuestion(f"model {model.name!r} does not answer for subjects and objects; leave it out")
    return chosen


def _having(engine: Engine, types: Sequence[str]) -> npt.NDArray[np.bool_] | None:
    """bool `[n]`: the entities that have one of some types; None where none is named."""
    if not types:
        return None
    having = np.zeros(engine.graph.n, dtype=bool)
    for name in types:
        having[engine.graph.types.members[engine.types.resolve(name)]] = True
    return having


def _new(engine: Engine, plan: Plan) -> npt.NDArray[np.bool_] | None:
    """bool `[n]`: the entities that a former release did not hold."""
    if plan.since is None:
        return None
    former = ReleaseStore(engine.release.folder.parent).get(plan.since)
    new: npt.NDArray[np.bool_] = former.graph.entities.ids(engine.graph.entities.names) < 0
    return new
