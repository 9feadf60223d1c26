"""Contexts and names: contexts a second, questions a second by all names exactly, by a beam, and by every name by itself.

The model is that of the sample graph's recipe, untrained: what is measured does not depend on its weights. Run it with
`make bench-context`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kgservice import pipeline
from kgservice.graph.statements import Split
from kgservice.query import QueryBatch
from kgservice.recipe import Recipe
from kgservice.resources import share
from kgservice.scorers import build
from kgservice.scorers.contextual import ContextScorer
from kgservice.scorers.generation import Memory
from tests.bench import machine

CHUNK = 1024
"""Names that brute force writes at once."""


def per_second(count: int, run: Callable[[], object], least_s: float = 2.0) -> float:
    """How many of `count` things a second, the best of as many runs as fit."""
    best, until = float("inf"), time.perf_counter() + least_s
    while time.perf_counter() < until or best == float("inf"):
        started = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - started)
    return count / best


def by_itself(scorer: ContextScorer, memory: Memory) -> torch.Tensor:
    """float32 `[n]`: every name by itself for one question, as a library's decoder would: all its tokens, a softmax over all."""
    names, found = scorer._names, []
    for start in range(0, len(names), CHUNK):
        ids = torch.arange(start, min(start + CHUNK, len(names)))
        repeated = Memory(*(part.expand(len(ids), *part.shape[1:]) for part in memory))
        term = scorer._written(repeated, ids)
        logits = (term.logits.queries @ term.logits.candidates.T).log_softmax(1)
        found.append(logits.gather(1, term.target[:, None])[:, 0] if term.target is not None else logits[:, 0])
    return torch.cat(found)


def measured(scorer: ContextScorer, batch: QueryBatch) -> dict[str, float]:
    """Rates of every road."""
    rows = np.arange(len(batch))
    anchor, relation = batch.subject.astype(np.int64), batch.relation.astype(np.int64)
    generator = scorer.generator
    with torch.inference_mode():
        memory = scorer.memory(scorer.contexts(batch))
        some, one = memory.take(slice(0, 16)), memory.take(slice(0, 1))
        candidates = torch.randint(0, scorer.n, (len(batch), 16), generator=torch.Generator().manual_seed(0))
        return {
            "contexts/s": per_second(len(batch), lambda: scorer.builder.build(anchor, relation)),
            "vectors, questions/s": per_second(len(batch), lambda: scorer.query_vectors(batch)),
            "16 candidates by name, questions/s": per_second(len(rows), lambda: generator.of(memory, candidates)),
            "all names exactly, questions/s": per_second(16, lambda: generator.scores(some)),
            "beam of 64, best 10, questions/s": per_second(16, lambda: generator.beam(some, 10, 64)),
            "every name by itself, questions/s": per_second(1, lambda: by_itself(scorer, one)),
        }


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=machine.RESULTS / "context.json")
    out = parser.parse_args().out
    machine.warn_if_busy()
    path = share() / "models" / "world.toml"
    recipe = Recipe.load(path)
    with tempfile.TemporaryDirectory() as folder:
        graph = pipeline.prepare_graph(recipe, Path(folder), path.parent)
        scorer = build(recipe.models["context"], n=graph.n, r=graph.r)
        assert isinstance(scorer, ContextScorer)
        scorer.prepare(graph, (Split.TRAIN,))
        table = graph.statements.in_split(Split.TEST)
        batch = QueryBatch.objects(table.subject[:512], table.relation[:512])
        rates = measured(scorer.eval(), batch)
        trie = scorer.names.trie
    record: dict[str, Any] = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.machine(),
        **machine.code(),
        "entities": graph.n,
        "beginnings of names": len(trie),
        "of which leave a choice": int(trie.choices.sum()),
        "parameters": sum(parameter.numel() for parameter in scorer.parameters()),
        "rates": {name: round(rate, 1) for name, rate in rates.items()},
    }
    machine.write_result(out, record)
    for name, rate in record["rates"].items():
        print(f"{name:40} {rate:>12,.1f}")


if __name__ == "__main__":
    main()
