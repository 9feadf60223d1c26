"""Whether statements are true: scores, and where a model is calibrated, probabilities and decisions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kgservice.answers import Decision, Verdict
from kgservice.evaluation.evidence import evidence, statement_scores
from kgservice.graph import KnowledgeGraph
from kgservice.graph.views import Views
from kgservice.query import QueryBatch
from kgservice.release.served import ServedModel


class Judging:
    """Judges statements about one graph.

    Args:
        graph: what they are about.
        views: how its names are shown.
        release: named by every verdict.
    """

    def __init__(self, graph: KnowledgeGraph, views: Views, release: str) -> None:
        self.graph, self.views, self.release = graph, views, release

    def verdicts(self, served: ServedModel, asked: QueryBatch, language: str) -> list[Verdict]:
        """A verdict on each.

        Args:
            served: the model asked.
            asked: whole statements, as questions for their objects.
            language: of labels.
        """
        subject, relation, object, m = asked.subject, asked.relation, asked.object, len(asked)
        scores = statement_scores(served.scorer, asked, served.vectors)
        known = self.graph.stated(asked)
        calibration = served.calibrations.get("classification")
        probability: Sequence[float | None] = [None] * m
        decision: Sequence[Decision | None] = [None] * m
        accept, reject = probability, probability
        if calibration:
            said = calibration.probability(evidence(served.scorer, self.graph, asked, served.vectors), relation)
            probability, decision = said.tolist(), calibration.decide(said, relation)
            accept, reject = calibration.bounds.of(relation).T.tolist()
        ends = zip(subject.tolist(), object.tolist(), strict=True)
        spreads = [[served.uncertainty(end) for end in pair] for pair in ends]
        names = [self.views.entities(ids, language) for ids in (subject, object)]
        relations = self.views.relations(relation, language)
        qualifiers = self.views.pairs(asked, language)
        return [
            Verdict(
                release=self.release,
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
                uncertainty=max((spread for spread in spreads[row] if spread is not None), default=None),
            )
            for row in range(m)
        ]
