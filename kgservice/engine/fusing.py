"""Questions that several models answer together, by what was learnt of when to believe which."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from kgservice.answers import Answer, Candidate
from kgservice.engine.filled import Made, Wanted
from kgservice.errors import InvalidQuestion
from kgservice.graph import KnowledgeGraph
from kgservice.graph.views import Views
from kgservice.query import QueryBatch
from kgservice.release.served import ServedModel
from kgservice.release.stacking import Said, Stacker, join, log_odds, say

NAME = "fused"
"""What answers of several models name as their model."""


def fused(
    models: Sequence[ServedModel],
    stacker: Stacker,
    graph: KnowledgeGraph,
    views: Views,
    batch: QueryBatch,
    wanted: Wanted,
    *,
    release: str,
) -> Made:
    """The best candidates of all models together for each question, by their joint probability.

    Args:
        models: of the release.
        stacker: what was learnt of them.
        graph: what is asked about.
        views: how names are shown.
        batch: questions for subjects or objects, without qualifiers.
        wanted: how many, and which; what the graph states is left out.
        release: named by every answer.

    Raises:
        InvalidQuestion: the release was built without a stacker for such questions.
    """
    names = stacker.models.get(batch.slot.value, ())
    if not names:
        raise InvalidQuestion(
            f"release {release} fuses no models for such questions: it takes two that are calibrated, and a release built by "
            "this version. Ask one model"
        )
    by_name = {model.name: model for model in models}
    hidden = graph.stated(batch).union(graph.loops(batch))
    joint = join([_heard(by_name[name], say(by_name[name], batch, hidden, wanted.allow), batch) for name in names])
    probability = stacker.probability(batch.slot, joint.columns, batch.relation[joint.question])
    order = np.lexsort((joint.candidate, -probability, joint.question))
    bounds = np.searchsorted(joint.question, np.arange(len(batch) + 1))
    best = [order[low:high][: wanted.k] for low, high in pairwise(bounds.tolist())]
    chosen = np.concatenate(best) if best else np.empty(0, np.int64)
    named = iter(views.entities(joint.candidate[chosen], wanted.language, describe=True))
    said = probability[chosen].tolist()
    scored = iter(zip(said, log_odds(probability[chosen]).tolist(), strict=True))
    answers = []
    for echo, pairs, places in zip(
        views.echo(batch, wanted.language), views.pairs(batch, wanted.language), best, strict=True
    ):
        candidates = []
        for rank in range(1, len(places) + 1):
            name, (likely, score) = next(named), next(scored)
            candidates.append(Candidate(name.id, name.label, name.description, score, likely, rank, False, None))
        answers.append(
            Answer(
                release,
                NAME,
                *echo,
                qualifiers=pairs,
                exact=all(by_name[one].index.exact for one in names),
                population=stacker.maps[batch.slot.value].population,
                candidates=candidates,
            )
        )
    return Made(answers)


def _heard(model: ServedModel, said: Said, batch: QueryBatch) -> Said:
    """What a model says, but of questions about entities that it does not know."""
    return Said(np.where(model.knows(batch.anchor)[:, None], said.ids, np.int32(-1)), said.probability)
