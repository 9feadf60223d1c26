"""Which types entities have, told by graph vectors, by text vectors, and by both, on the same held-out entities.

Graph vectors are a recipe's, trained here on the training statements; text vectors are what a text scorer reads of label and
description, never of types. Differences are paired: 95 % bootstrap intervals over entities.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kgservice.evaluation.intervals import bootstrap
from kgservice.graph import KnowledgeGraph
from kgservice.pipeline import graphs, learning
from kgservice.recipe import ModelSettings, Recipe
from kgservice.resources import home
from kgservice.scorers import build
from kgservice.scorers.text import TextScorer
from kgservice.statements import Split
from kgservice.type_head import TypeHead, tenths
from tests.bench import machine

RECIPES = {"models/complex-codex-s.toml": "complex", "models/complex-codex-m.toml": "complex"}
TEMPLATE = "{label}[: {description}][, {aliases}]"

Vectors = npt.NDArray[np.float32]


def main() -> None:
    """Measure every recipe's graph, write `results/types.json`, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), metavar="FILE")
    parser.add_argument("--out", type=Path, default=machine.RESULTS / "types.json")
    options = parser.parse_args()
    facts = {"machine": machine.machine(), "code": machine.code(), "versions": machine.versions("torch", "numpy")}
    result: dict[str, Any] = {
        "benchmark": "types", "started": datetime.now(UTC).isoformat(timespec="seconds"), **facts, "template": TEMPLATE,
    }  # fmt: skip
    result["recipes"] = {name: measure(Path(name)) for name in options.recipes}
    machine.write_result(options.out, result)
    print(json.dumps(result["recipes"], indent=1))


def measure(path: Path) -> dict[str, Any]:
    """Train the graph's model, read the texts, fit three heads."""
    recipe = Recipe.load(path)
    graph = graphs.prepare_graph(recipe, home(), path.parent)
    name = RECIPES[path.as_posix()]
    scorer, history, _ = learning.learn(recipe, name, graph, home())
    by = {"graph": _even(scorer.entity_vectors().detach().numpy()), "text": _even(read(graph))}
    by["both"] = np.concatenate(list(by.values()), axis=1)
    of_entity, kinds = graph.types.of_entity, len(graph.types)
    *_, test = tenths(of_entity)
    figures, right = {}, {}
    for who, vectors in by.items():
        head, figures[who] = TypeHead.fit(vectors, of_entity, kinds)
        first = head.types[head.probabilities(vectors[test]).argmax(1)]
        right[who] = np.array([kind in of_entity[entity] for kind, entity in zip(first, test.tolist(), strict=True)])
    differences = {}
    for one, other in (("both", "graph"), ("both", "text"), ("text", "graph")):
        gain = right[one].astype(float) - right[other]
        low, high = bootstrap(gain[:, None], np.arange(len(gain)))[0].tolist()
        differences[f"{one} less {other}"] = {"accuracy": float(gain.mean()), "interval": [low, high]}
    return {
        "graph": graph.counts(), "training_s": history.duration_s, "labelled": int((of_entity.lengths > 0).sum()),
        "figures": figures, "differences": differences,
    }  # fmt: skip


def read(graph: KnowledgeGraph) -> Vectors:
    """float32 `[n, w]`: what a text scorer reads, weighed by the training entities."""
    settings = ModelSettings.model_validate({"scorer": "bi-encoder", "text": {"template": TEMPLATE}})
    scorer = build(settings, n=graph.n, r=graph.r)
    assert isinstance(scorer, TextScorer)
    scorer.prepare(graph, (Split.TRAIN,))
    return scorer.read.numpy()


def _even(vectors: Vectors) -> Vectors:
    """Centred, of mean squared length 1, so that parts of other scales weigh alike."""
    vectors = vectors - vectors.mean(0)
    length = np.sqrt((vectors**2).sum(1).mean())
    even: Vectors = vectors / np.float32(max(float(length), 1e-12))
    return even


if __name__ == "__main__":
    main()
