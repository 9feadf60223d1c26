"""Questions with the answers that a release gave when it was made: what it must still say to be opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kgservice.answers import Question
from kgservice.errors import CorruptRelease
from kgservice.graph.statements import StatementTable

if TYPE_CHECKING:
    from kgservice.engine import Engine


def replay(engine: Engine) -> None:
    """Ask the release's own questions again.

    Raises:
        CorruptRelease: an answer is not the one it had when the release was made.
    """
    for canary in engine.release.canaries():
        answer = engine.complete(
            [Question(**canary["question"])], k=len(canary["ids"]), model=canary["model"], exclude_known=False
        )[0]
        scores = [candidate.score for candidate in answer.candidates]
        if not np.allclose(scores, canary["scores"], rtol=0, atol=canary["tolerance"]):
            raise CorruptRelease(
                f"release {engine.release.id}: the canary {canary['question']} gives scores {scores}, "
                f"{canary['scores']} were sealed. It was not opened."
            )


def recall(engine: Engine) -> float:
    """Share of the canaries' answers that are given still; what was put or erased since may have its place in them."""
    expected = given = 0
    for canary in engine.release.canaries():
        question = Question(**canary["question"])
        k = len(canary["ids"])
        answer = engine.complete([question], k=k, model=canary["model"], exclude_known=False)[0]
        expected += k
        given += len(set(canary["ids"]) & {candidate.id for candidate in answer.candidates})
    return given / expected if expected else 1.0


def made(engine: Engine, table: StatementTable, count: int = 8) -> list[dict[str, Any]]:
    """Questions about some of `table`'s statements with today's answers, for `replay`."""
    chosen = np.unique(np.linspace(0, len(table) - 1, count).astype(int))[: len(table)]
    canaries = []
    for name in engine.release.models:
        for row in chosen:
            question: dict[str, Any] = {
                "subject": engine.graph.entities.name(int(table.subject[row])),
                "relation": engine.graph.relations.name(int(table.relation[row])),
            }
            answer = engine.complete([Question(**question)], k=5, model=name, exclude_known=False)[0]
            scores = [candidate.score for candidate in answer.candidates]
            tolerance = 1e-3 * max(1.0, *map(abs, scores))
            ids = [candidate.id for candidate in answer.candidates]
            canaries.append({"model": name, "question": question, "ids": ids, "scores": scores, "tolerance": tolerance})
    return canaries
