"""Which types entities have, told by graph vectors, by text vectors and by both, on the same held-out entities.

Graph vectors are a ComplEx's, trained here on the training statements; text vectors are what a text scorer reads of label and
description, never of types, and zero where there is none. Then types that were never learnt, told by their texts.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kgservice import datasets
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split
from kgservice.graph.types import Types
from kgservice.heads.types import Parts, TypeHead, figures, tenths
from kgservice.pipeline import graphs, learning
from kgservice.pipeline.measuring import tell_by_text
from kgservice.recipe import ModelSettings, Recipe
from kgservice.resources import home
from kgservice.scorers import build
from kgservice.scorers.text import TextScorer
from tests.bench import machine
from tests.bench.paired import Outcome, compare

_SMALL = ("models.complex.training.negatives_until=1.0",)
TASKS = {
    "codex-s": ("models/complex-codex-s.toml", ()),
    "codex-m": (
        "models/complex-codex-m.toml",
        ("models.complex.width=200", "models.complex.training.epochs=12", *_SMALL),
    ),
    "wd50k-nc": (
        "models/complex-codex-m.toml",
        (
            "graph.dataset=wd50k-nc",
            "models.complex.width=160",
            "models.complex.training.epochs=8",
            "models.complex.training.evaluate_every=8",
            *_SMALL,
        ),
    ),
}
"""Recipe and changes to it: widths and epochs that two cores train in minutes."""
TEMPLATE = "{label}[: {description}][, {aliases}]"
WORDS = 128
ENCODER = "all-MiniLM-L6-v2"

Vectors = npt.NDArray[np.float32]


def main() -> None:
    """Measure every data set, write `results/types.json`, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=list(TASKS), choices=TASKS, help="others keep their last figures")
    parser.add_argument("--out", type=Path, default=machine.RESULTS / "types.json")
    options = parser.parse_args()
    former = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    result: dict[str, Any] = {
        "benchmark": "types", "template": TEMPLATE, "words": WORDS, "encoder": ENCODER, "data": former.get("data", {}),
    }  # fmt: skip
    for name in options.data:
        result["data"][name] = measure(name)
        machine.write_result(options.out, result)
        print(json.dumps(result["data"][name], indent=1))


def measure(name: str) -> dict[str, Any]:
    """Train the graph's model, read the texts, fit heads, tell types by their texts."""
    path, changes = TASKS[name]
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    recipe = Recipe.load(Path(path), list(changes))
    graph = graphs.prepare_graph(recipe, home(), Path(path).parent)
    scorer, history, _ = learning.learn(recipe, "complex", graph, home())
    graph, parts = labelled(name, graph)
    texts = read(graph)
    by = {"graph": _even(scorer.entity_vectors().detach().numpy()), "text": _even(texts)}
    by["both"] = np.concatenate(list(by.values()), axis=1)
    found = told(graph, parts, by, texts.any(axis=1))
    if len(graph.types.texts):
        found["unseen"] = {who: tell_by_text(graph, vectors, ENCODER, parts)[1] for who, vectors in by.items()}
    return {
        "started": started, "machine": machine.machine(), "code": machine.code(),
        "versions": machine.versions("torch", "numpy", "scikit-learn"),
        "recipe": path, "changes": changes, "graph": graph.counts(), "with_text": int(texts.any(axis=1).sum()),
        "training_s": history.duration_s, "validation_mrr": history.best_validation, **found,
        "duration_s": time.perf_counter() - clock,
    }  # fmt: skip


def labelled(name: str, graph: KnowledgeGraph) -> tuple[KnowledgeGraph, Parts]:
    """The graph with all its types, and the entities to fit to, choose by and measure on: the task's, or tenths."""
    held_out = datasets.held_out_types(name)
    if not held_out:
        return graph, tenths(graph.types.of_entity)
    kinds = graph.types.vocabulary
    fitted = np.flatnonzero(graph.types.of_entity.lengths)
    sets = [graph.entities.ids([entity for entity, _ in pairs]) for pairs in held_out.values()]
    entity = np.concatenate([graph.types.of_entity.rows(), *sets])
    kind = np.concatenate(
        [graph.types.of_entity.values, *(kinds.ids([kind for _, kind in pairs]) for pairs in held_out.values())]
    )
    types = Types.build(kinds, entity, kind, n=graph.n, texts=graph.types.texts)
    valid, test = (np.unique(ids).astype(np.int64) for ids in sets)
    return replace(graph, types=types), (fitted, valid, test)


def told(
    graph: KnowledgeGraph, parts: Parts, by: dict[str, Vectors], with_text: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    """Three heads, and naming the most frequent type always; on all measured entities and on those with a text."""
    of_entity, test = graph.types.of_entity, parts[2]
    lists, seen = of_entity.take(test), with_text[test]
    measured: dict[str, Any] = {}
    probability: dict[str, Vectors] = {}
    for who, vectors in by.items():
        head, fitted = TypeHead.fit(vectors, of_entity, len(graph.types), parts)
        probability[who] = head.probabilities(vectors[test])
        measured[who] = {key: fitted[key] for key in ("cost", "types", "types_left_out", "fitted", "measured")}
    counts = np.bincount(of_entity.take(parts[0]).values, minlength=len(graph.types))[head.types]
    frequent = np.zeros_like(probability["graph"])
    frequent[:, counts.argmax()] = 1
    probability["most frequent"] = frequent
    found = {
        who: {
            **measured.get(who, {}),
            "all": figures(one, head.types, lists),
            "with text": figures(one[seen], head.types, of_entity.take(test[seen])),
        }
        for who, one in probability.items()
    }
    outcomes = {who: Outcome.of(probability[who], head.types, lists) for who in by}
    differences = {
        f"{one} less {other}": compare(outcomes[one], outcomes[other], head.types, lists)
        for other, one in combinations(by, 2)
    }
    return {"measured": len(test), "measured_with_text": int(seen.sum()), "figures": found, "differences": differences}


def read(graph: KnowledgeGraph) -> Vectors:
    """float32 `[n, w]`: what a text scorer reads, weighed by the training entities."""
    settings = ModelSettings.model_validate(
        {"scorer": "bi-encoder", "text": {"template": TEMPLATE, "words": WORDS, "encoder": ENCODER}}
    )
    scorer = build(settings, n=graph.n, r=graph.r)
    assert isinstance(scorer, TextScorer)
    scorer.prepare(graph, (Split.TRAIN,))
    return scorer.read.numpy()


def _even(vectors: Vectors) -> Vectors:
    """Centred, of mean squared length 1, so that parts of other scales weigh alike; rows of zeros stay as they are."""
    there = vectors.any(axis=1)[:, None]
    vectors = np.where(there, vectors - vectors[there[:, 0]].mean(0), 0)
    length = np.sqrt((vectors**2).sum() / max(there.sum(), 1))
    even: Vectors = vectors / np.float32(max(float(length), 1e-12))
    return even


if __name__ == "__main__":
    main()
