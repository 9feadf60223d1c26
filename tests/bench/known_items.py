"""Is an entity found by its own name, typed wrongly? All labels and aliases of a graph, beside SQLite FTS5, tantivy, rapidfuzz.

Run it with `make bench-known-items`; README.md beside this file says what is counted.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kgservice import datasets
from kgservice.evaluation.intervals import bootstrap
from kgservice.graph import KnowledgeGraph
from kgservice.search import EntitySearch
from kgservice.search.folding import fold
from tests.bench import machine
from tests.bench.names import mirror, typed_wrong
from tests.bench.search_peers import Fts5, RapidFuzz, Rows, Tantivy, names_of

K = 5
Find = Callable[[str], list[int]]


def main() -> None:
    """Measure both graphs with one and two typos, write `results/known-items.json`, print the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", nargs="+", default=["fb15k-237", "world"])
    parser.add_argument("--questions", type=int, default=2000, help="names asked for, drawn at random; 0 for all")
    parser.add_argument("--out", type=Path, default=machine.RESULTS / "known-items.json")
    options = parser.parse_args()
    result: dict[str, Any] = {
        "benchmark": "known-items", "command": "make bench-known-items",
        "started": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine.machine(), "code": machine.code(),
        "versions": machine.versions("tantivy", "rapidfuzz", "numpy"), "seed": 0,
    }  # fmt: skip
    result["graphs"] = {name: measure(name, options.questions) for name in options.graphs}
    machine.write_result(options.out, result)
    for name, found in result["graphs"].items():
        print(name, json.dumps(found["success"], indent=1))


def measure(dataset: str, count: int) -> dict[str, Any]:
    """Success at 1 and at 5 of every system, and what kgservice gains on each, with 95 % intervals over questions."""
    graph = datasets.load(dataset, mirror())
    rows = names_of(graph)
    random = np.random.default_rng(0)
    drawn = random.permutation(len(rows))[: count or len(rows)].tolist()
    asked = [rows[place] for place in drawn if len(fold(rows[place][1]).replace(" ", "")) > 3]
    with tempfile.TemporaryDirectory() as folder:
        systems = _systems(graph, rows, Path(folder))
        result: dict[str, Any] = {"names": len(rows), "questions": len(asked), "success": {}, "gain_at_1": {}}
        for typos in (0, 1, 2):
            texts = [typed_wrong(name, random, typos) for _, name in asked]
            ranks = {who: _ranks(find(typos), rows, asked, texts) for who, find in systems.items()}
            told = f"{typos} typos"
            result["success"][told] = {
                who: {"at_1": float((rank <= 1).mean()), "at_5": float((rank <= K).mean())}
                for who, rank in ranks.items()
            }
            ours = ranks.pop("kgservice") <= 1
            result["gain_at_1"][told] = {who: _gain(ours, rank <= 1) for who, rank in ranks.items()}
    return result


def _systems(graph: KnowledgeGraph, rows: Rows, folder: Path) -> dict[str, Callable[[int], Find]]:
    """By name: given how many typos there are, what finds the owners of a text. Only tantivy needs to be told."""
    EntitySearch.build(graph, folder / "search", None)
    ours = EntitySearch.open(folder / "search", graph)
    raw, words, grams, scan = Tantivy(rows), Fts5(rows), Fts5(rows, "trigram"), RapidFuzz(rows)
    return {
        "kgservice": lambda typos: lambda text: [hit.entity for hit in ours.search(text, k=K, mode="lexical")],
        "tantivy": lambda typos: lambda text: raw.find(text, K, typos),
        "SQLite FTS5": lambda typos: lambda text: words.find(text, K),
        "SQLite FTS5 trigram": lambda typos: lambda text: grams.find(text, K),
        "rapidfuzz": lambda typos: lambda text: scan.find(text, K),
    }


def _ranks(find: Find, rows: Rows, asked: Rows, texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """int64: the rank of the first entity that is called so; entities of the same name are equally right."""
    called: dict[str, set[int]] = {}
    for owner, name in rows:
        called.setdefault(fold(name), set()).add(owner)
    ranks = np.full(len(texts), K + 1)
    for place, ((_, name), text) in enumerate(zip(asked, texts, strict=True)):
        right = called[fold(name)]
        ranks[place] = next((rank for rank, owner in enumerate(find(text), 1) if owner in right), K + 1)
    return ranks


def _gain(ours: npt.NDArray[np.bool_], theirs: npt.NDArray[np.bool_]) -> dict[str, Any]:
    gain = ours.astype(float) - theirs
    low, high = bootstrap(gain[:, None], np.arange(len(gain)))[0].tolist()
    return {"gain": float(gain.mean()), "interval": [low, high]}


if __name__ == "__main__":
    main()
