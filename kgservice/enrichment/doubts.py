"""Wrong links: every statement before its rivals, as if the graph did not hold it.

What a model has learnt it also remembers, mistakes included; but a mistake fits what else it learnt less well. So a
statement is measured by how far it stands behind what it competes with, in both directions, and by what usually goes together
with the *other* statements of its ends, and by the orders of dates that it breaks (see `orders`).
The probability is fitted on validation statements against made ones, none of which was learnt: of learnt statements it
is too trusting, and puts them in order all the same; verdicts on some of them (see `reviewing`) mend it.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kgservice.arrays.ordering import first_of_equal
from kgservice.engine import Engine
from kgservice.enrichment.calibrating import Examples, RunCalibration
from kgservice.enrichment.companions import Companions
from kgservice.enrichment.links import Advance, MissingLinks, among, ranks
from kgservice.enrichment.orders import Dates
from kgservice.enrichment.plan import Plan
from kgservice.enrichment.table import proposals
from kgservice.errors import DataError
from kgservice.evaluation.evidence import LEARNT
from kgservice.evaluation.populations import corrupted
from kgservice.graph.statements import Split
from kgservice.query import QueryBatch

Ids = npt.NDArray[np.int32]

REACH = 100.0
"""Log-ratios are cut at this."""
POPULATION = "validation statements against made ones, of which as many are taken for wrong as the plan assumes"


class DoubtfulStatements:
    """The work of a plan of kind "errors", block by block.

    Args:
        engine: of the plan's release.
        plan: what is wanted; its completeness is here the share of statements that are right.
        calibration: of an earlier start of the same run.
    """

    def __init__(self, engine: Engine, plan: Plan, calibration: RunCalibration | None = None) -> None:
        self.links = MissingLinks(engine, plan, calibration)
        self.plan, self.graph, self.calibration = plan, engine.graph, calibration
        self.relations, self.shapes = self.links.relations, self.links.shapes
        self._companions = Companions.learn(self.graph)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the models that are asked."""
        return self.links.labels

    @cached_property
    def _rows(self) -> dict[int, npt.NDArray[np.int64]]:
        """By relation: the first statement of each triple that is judged, by subject."""
        table = self.graph.statements
        fresh = first_of_equal([table.subject, table.relation, table.object])
        kept = np.flatnonzero(fresh & self.links.chosen[table.subject] & self.links.able[table.object])
        order = kept[np.argsort(table.relation[kept], kind="stable")]
        bounds = np.searchsorted(table.relation[order], np.arange(self.graph.r + 1))
        return {one: order[bounds[one] : bounds[one + 1]] for one in self.relations}

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        counts = [-(-len(self._rows[relation]) // self.plan.block) for relation in self.relations]
        return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return int(self._starts[-1])

    def pruning(self) -> dict[str, int]:
        """How many statements are judged."""
        return {"statements": sum(map(len, self._rows.values()))}

    def calibrate(self, advance: Advance = lambda _: None) -> RunCalibration:
        """Fit the calibration, unless there is one.

        Raises:
            DataError: there is no validation split.
        """
        if self.calibration is None:
            right = self.graph.statements.in_split(Split.VALID)
            if not len(right):
                raise DataError("the release holds no validation statements, so that nothing can be calibrated")
            wrong = corrupted(self.graph, right, self.plan.seed)
            parts = []
            for relation in self.relations:
                for table, is_wrong in ((right, False), (wrong, True)):
                    rows = np.flatnonzero(table.relation == relation)
                    parts += self._told(relation, table.subject[rows], table.object[rows], is_wrong)
                advance(1)
            if not parts:
                raise DataError("validation states none of the relations chosen, so that nothing can be calibrated")
            self.calibration = RunCalibration.fit(
                Examples.joined(parts),
                ("doubt",),
                population=POPULATION,
                label_share=None,
                seed=self.plan.seed,
                rounded=self.links.rounded,
                spread=None,  # what relations owe to statements not learnt does not hold for learnt ones
            )
        return self.calibration

    def _told(self, relation: int, subject: Ids, object: Ids, wrong: bool) -> list[Examples]:
        field = self.links.field(relation)
        inside = np.isin(subject, field.subjects) & np.isin(object, field.objects)
        subject, object = subject[inside], object[inside]
        m = len(subject)
        if not m:
            return []
        rate = (1 - self.plan.completeness) / self.plan.completeness
        of = np.full(m, relation, np.int32)
        question = relation * np.int64(self.graph.n) + subject
        weight = np.full(m, rate if wrong else 1.0)
        return [Examples(self._doubt(relation, subject, object)[0], of, question, np.full(m, wrong), weight)]

    def _doubt(
        self, relation: int, subject: Ids, object: Ids, dated: Dates | None = None
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
        """float64 `[m, 1]`: how ill each fits, and float32 `[m]`: the first model's score.

        The sum of how far it stands behind the best object, of its share among subjects (of models, their mean), and of the
        support of both ends, less the orders of dates that it breaks: all are log-ratios. What no statement that was learnt can
        tell is not weighted anew.
        """
        field, size = self.links.field(relation), self.plan.block
        parts = [
            field.judge(subject[start : start + size], object[start : start + size]).views
            for start in range(0, len(subject), size)
        ]
        views = np.nan_to_num(np.concatenate(parts), nan=0.0, posinf=REACH, neginf=-REACH)
        of = np.full(len(subject), relation, np.int32)
        stated = among(self.graph.known(QueryBatch.objects(subject, of), splits=LEARNT), object)
        fit = (views[:, 2::4] + views[:, 3::4]).mean(axis=1)
        fit += self._companions.support(relation, subject, object, stated).sum(axis=1)
        fit -= self.links.orders.doubt(subject, of, object, dated)
        return -fit[:, None], views[:, 0].astype(np.float32)

    def block(self, number: int) -> tuple[pa.Table, Counter[str]]:
        """The statements of one block that are doubted enough; `probability` is that of being wrong."""
        place = int(np.searchsorted(self._starts, number, side="right")) - 1
        relation = self.relations[place]
        start = (number - int(self._starts[place])) * self.plan.block
        rows = self._rows[relation][start : start + self.plan.block]
        subject, object = self.graph.statements.subject[rows], self.graph.statements.object[rows]
        of = np.full(len(subject), relation, np.int32)
        dated = self.links.orders.of_statements(self.graph, rows)
        doubt, score = self._doubt(relation, subject, object, dated)
        probability = self.calibrate().probability(doubt, of)
        doubted = probability >= self.plan.floor
        counts = Counter({"less doubtful than the floor": int((~doubted).sum())})
        rank = ranks(subject, probability)
        return proposals(subject, of, object, probability, score, rank, kept=doubted), counts
