"""What is done once before an engine serves, so that no request waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kgservice.answers import Question
from kgservice.errors import DataError
from kgservice.scorers.text import TextScorer

if TYPE_CHECKING:
    from kgservice.engine import Engine


def warm_up(engine: Engine) -> None:
    """Search once, and ask every model once.

    Raises:
        DataError: the release holds no statement to ask about.
    """
    engine.entity_search.search("warm up", k=1)
    statement = _first_statement(engine)
    question = Question(*statement[:2])
    for name in engine.release.models:
        engine.complete([question], k=1, model=name)
        engine.classify([statement], model=name)
        scorer = engine.model(name).scorer
        if isinstance(scorer, TextScorer):
            scorer.read_texts(["warm up"])


def _first_statement(engine: Engine) -> tuple[str, str, str]:
    graph = engine.graph
    table = graph.statements
    if not len(table):
        raise DataError(f"release {engine.release.id} holds no statement")
    subject, object = (graph.entities.name(int(column[0])) for column in (table.subject, table.object))
    return subject, graph.relations.name(int(table.relation[0])), object
