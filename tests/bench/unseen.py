"""Entities that are put after training: how well each model answers about and for them, by the number of facts put with them.

Some entities of the sample graph are taken out with all their statements, models are trained on the rest, and the entities are
put with their texts and 0 to 8 of their facts. The other facts are asked from both ends: about the entity, where the answer is
one that was learnt, and for it, where its rivals are all others. Run it with `make bench-unseen`.
"""

from __future__ import annotations

import argparse
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kgservice import pipeline
from kgservice.answers.records import EntityRecord
from kgservice.engine import Engine
from kgservice.graph import KnowledgeGraph
from kgservice.graph.erasing import without
from kgservice.graph.texts import TextKind
from kgservice.query import QueryBatch, Slot
from kgservice.recipe import Recipe
from kgservice.resources import share
from kgservice.scorers import refining
from kgservice.similarity import similarity
from kgservice.store import Changes
from tests.bench import machine

COUNTS = (0, 1, 2, 4, 8)
ASKED = 4
"""Facts of an entity that are asked, never put."""
FIRMNESS = (0.1, 0.3, 1.0, 3.0, 10.0)

Fact = tuple[str, str, str]


def held_out(graph: KnowledgeGraph, share: float, seed: int) -> dict[str, list[Fact]]:
    """Some entities with a text and enough facts, and their facts in random order, by name; none links two of them."""
    random = np.random.default_rng(seed)
    table = graph.statements
    enough = np.bincount(np.concatenate([table.subject, table.object]), minlength=graph.n) >= ASKED + COUNTS[-1]
    described = np.array([text is not None for text in graph.texts.preferred(np.arange(graph.n), TextKind.DESCRIPTION)])
    able = np.flatnonzero(enough & described)
    gone = np.zeros(graph.n, dtype=bool)
    gone[random.permutation(able)[: int(len(able) * share)]] = True
    found: dict[str, list[Fact]] = {}
    for entity in np.flatnonzero(gone).tolist():
        rows = graph.rows_of(entity)
        ends = np.stack([table.subject[rows], table.object[rows]])
        rows = random.permutation(rows[gone[ends].sum(0) == 1])
        facts = dict.fromkeys(
            (
                graph.entities.name(int(table.subject[row])),
                graph.relations.name(int(table.relation[row])),
                graph.entities.name(int(table.object[row])),
            )
            for row in rows
        )
        found[graph.entities.name(entity)] = list(facts)
    return {name: facts for name, facts in found.items() if len(facts) > ASKED}


def document(graph: KnowledgeGraph, name: str, facts: list[Fact]) -> str:
    """What is put of an entity: its texts, and some facts."""
    texts = graph.texts.rows(graph.entities.id(name))
    statements = [{"relation": r, "object": o} if s == name else {"subject": s, "relation": r} for s, r, o in facts]
    record = {
        "id": name,
        "labels": {code: text for kind, code, text in texts if kind is TextKind.LABEL},
        "descriptions": {code: text for kind, code, text in texts if kind is TextKind.DESCRIPTION},
        "statements": statements,
    }
    return EntityRecord.of_json(record).to_json()


def measured(engine: Engine, whole: KnowledgeGraph, asked: dict[str, list[Fact]]) -> dict[str, dict[str, float]]:
    """MRR of every model, filtered by all that is true, realistic: about the put entities, and for them."""
    graph = engine.graph
    facts = [(name, fact) for name, own in asked.items() for fact in own]
    subject, object = (np.array([graph.entities.id(fact[end]) for _, fact in facts], np.int32) for end in (0, 2))
    relation = np.array([graph.relations.id(fact[1]) for _, fact in facts], np.int32)
    put = np.array([graph.entities.id(name) for name, _ in facts], np.int32)
    true = whole.entities.ids(graph.entities.names)
    figures: dict[str, dict[str, float]] = {}
    for name in engine.release.models:
        served = engine.model(name)
        if not served.scorer.grows:
            continue
        reciprocal: dict[str, list[float]] = {"about": [], "for": []}
        vectors = torch.cat([served.vectors.base, served.vectors.added])
        able = served.knows(np.arange(graph.n, dtype=np.int32))
        for slot, anchor, target in ((Slot.OBJECT, subject, object), (Slot.SUBJECT, object, subject)):
            make = QueryBatch.objects if slot is Slot.OBJECT else QueryBatch.subjects
            given = (subject, relation) if slot is Slot.OBJECT else (relation, object)
            batch = make(*given)
            known = whole.known(make(*(column if column is relation else true[column] for column in given)))
            for row in range(len(facts)):
                kind = "about" if anchor[row] == put[row] else "for"
                if not (able[anchor[row]] and able[target[row]]):
                    reciprocal[kind].append(0.0)
                    continue
                with torch.inference_mode():
                    query = served.scorer.query_vectors(batch.take([row]))
                    scores = similarity(query, vectors, served.scorer.metric)[0].numpy()
                scores[~able] = -np.inf
                own = scores[target[row]]
                scores[np.isin(true, known[row])] = -np.inf
                better, equal = int((scores > own).sum()), int((scores == own).sum())
                reciprocal[kind].append(1 / (1 + better + equal / 2))
        figures[name] = {kind: float(np.mean(values)) for kind, values in reciprocal.items()}
    return figures


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=machine.RESULTS / "unseen.json")
    parser.add_argument("--share", type=float, default=0.2)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    given = parser.parse_args()
    machine.warn_if_busy()
    head = {
        "benchmark": "unseen", "started": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine.machine(),
        "code": machine.code(), "versions": machine.versions("torch", "numpy"), "share": given.share, "changes": given.settings,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        machine.write_result(given.out, {**head, **run(Path(folder), given.share, given.settings)})


def run(home: Path, part: float, settings: list[str]) -> dict[str, Any]:
    """Train on the rest, put, ask."""
    path = share() / "models" / "world.toml"
    world = Recipe.load(path, settings)
    whole = pipeline.prepare_graph(world, home, path.parent)
    facts = held_out(whole, part, seed=0)
    rest, _ = without(whole, [whole.entities.id(name) for name in facts])
    rest.save(home / "rest")
    models = {name: model for name, model in world.models.items() if name != "hyperformer"}
    recipe = world.model_copy(
        update={"models": models, "graph": world.graph.model_copy(update={"sources": (str(home / "rest"),)})}
    )
    learnt = Engine(pipeline.build(recipe, home, base=home))
    asked = {name: own[:ASKED] for name, own in facts.items()}
    rows: list[dict[str, Any]] = []
    default = refining.FIRMNESS
    for count in COUNTS:
        put = {name: document(whole, name, own[ASKED : ASKED + count]) for name, own in facts.items()}
        for firmness in FIRMNESS if count in (1, 4) else (default,):
            refining.FIRMNESS = firmness
            engine = learnt.revised(Changes(1, put))
            figures = measured(engine, whole, asked)
            rows.append({"facts": count, "firmness": firmness, "models": figures})
            print(
                count,
                firmness,
                {name: {k: round(v, 4) for k, v in one.items()} for name, one in figures.items()},
                flush=True,
            )
    refining.FIRMNESS = default
    return {
        "entities": len(facts),
        "questions": 2 * sum(map(len, asked.values())),
        "candidates": rest.n + len(facts),
        "default": default,
        "rows": rows,
    }


if __name__ == "__main__":
    main()
