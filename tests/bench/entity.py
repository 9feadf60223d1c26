"""DBpedia-Entity v2: a given run ranked anew by names alone, and a small collection searched by words, by meaning, by both.

Run it with `make bench-entity`; docs/search.md says the protocol.
"""

from __future__ import annotations

import argparse
import json
import lzma
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt

from kgservice.encoders import TextEncoder, open_encoder
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import StatementTable
from kgservice.graph.texts import TextKind, Texts
from kgservice.graph.vocabulary import Vocabulary
from kgservice.resources import home
from kgservice.search import EntitySearch
from kgservice.search.folding import fold, words
from kgservice.search.matching import Question, compare
from tests.bench import machine
from tests.bench.names import mirror

BAR = 0.475
DEPTH = 50
"""Entities of the run that are ranked anew; those behind stay behind."""
CUT = 10
SIGNALS = (
    "run score",
    "run rank",
    "cosine",
    "match",
    "words of query",
    "words of name",
    "rare words",
    "length",
    "bracket",
)
STEPS = (-1.0, -0.5, -0.25, -0.1, -0.05, -0.025, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
ROUNDS = 6
FLIPS = 20_000

Floats = npt.NDArray[np.float64]
Judged = Mapping[str, Mapping[str, int]]


def main() -> None:
    """Measure both, write `results/entity.json`, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=DEPTH)
    parser.add_argument("--out", type=Path, default=machine.RESULTS / "entity.json")
    options = parser.parse_args()
    encoder = open_encoder(cache=home() / "cache" / "texts")
    folder = mirror() / "dbpedia-entity"
    result: dict[str, Any] = {
        "benchmark": "entity", "command": "make bench-entity", "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.machine(), "code": machine.code(),
        "versions": machine.versions("sentence-transformers", "tantivy", "numpy"), "cut": CUT, "flips": FLIPS, "seed": 0,
    }  # fmt: skip
    result["ranked anew"] = ranked_anew(folder / "v2", encoder, options.depth)
    machine.write_result(options.out, result)
    result["collection"] = collection(folder, encoder)
    machine.write_result(options.out, result)
    print(json.dumps({key: result[key] for key in ("ranked anew", "collection")}, indent=1))


def ranked_anew(folder: Path, encoder: TextEncoder, depth: int) -> dict[str, Any]:
    """Weights of nine signals, learnt on four folds and applied to the fifth."""
    queries, judged = _queries(folder), _judged(folder / "qrels-v2.txt.xz")
    run = _run(folder / "runs" / "bm25f-kewer.run.xz", depth)
    ids = sorted(judged)
    ideal = np.array([_ideal(judged[id].values()) for id in ids])
    signals, gains = _signals(queries, judged, run, ids, depth, encoder)
    first = np.eye(len(SIGNALS))[0]
    before = _ndcg(signals @ first, gains) / ideal
    after, learnt = before.copy(), {}
    for number, fold_ in _folds(folder / "folds" / "all_queries.json.xz").items():
        held_out = np.isin(ids, fold_["testing"])
        weight = _ascend(signals[~held_out], gains[~held_out] / ideal[~held_out, None], first)
        after[held_out] = _ndcg(signals[held_out] @ weight, gains[held_out]) / ideal[held_out]
        learnt[number] = dict(zip(SIGNALS, weight.tolist(), strict=True))
    kinds = {path.name.partition(".")[0]: _folds(path) for path in sorted((folder / "folds").glob("*.xz"))}
    figures = {}
    for kind, folds in kinds.items():
        rows = np.isin(ids, [id for one in folds.values() for id in one["testing"]])
        figures[kind] = {
            "queries": int(rows.sum()), "run": float(before[rows].mean()), "ranked anew": float(after[rows].mean()),
            "p": _flipped(after[rows] - before[rows]),
        }  # fmt: skip
    everything = figures["all_queries"]["ranked anew"]
    return {"depth": depth, "ndcg": figures, "weights": learnt, "bar": {"asked": BAR, "met": everything >= BAR}}


def _signals(
    queries: Mapping[str, str],
    judged: Judged,
    run: Mapping[str, list[tuple[str, float]]],
    ids: Sequence[str],
    depth: int,
    encoder: TextEncoder,
) -> tuple[Floats, Floats]:
    """float64 `[queries, depth, signals]`, each signal of mean 0 and deviation 1 within a query, and gains `[queries, depth]`."""
    names = {entity: _name(entity) for found in run.values() for entity, _ in found}
    vectors = dict(zip(names, encoder.encode(list(names.values())), strict=True))
    asked = dict(zip(ids, encoder.encode([queries[id] for id in ids]), strict=True))
    holding: dict[str, int] = {}
    for name in names.values():
        for word in set(words(fold(name))):
            holding[word] = holding.get(word, 0) + 1
    signals, gains = np.zeros((len(ids), depth, len(SIGNALS))), np.zeros((len(ids), depth))
    for row, id in enumerate(ids):
        found = run.get(id, [])
        if not found:
            continue
        question = Question.of(queries[id])
        folded = [fold(names[entity].partition(" (")[0]) for entity, _ in found]
        matches = compare(question, folded, typos=True)
        query = set(question.words)
        rare = {word: np.log(1 + len(names) / (1 + holding.get(word, 0))) for word in query}
        held = [set(words(name)) for name in folded]
        columns: list[Any] = [
            [score for _, score in found],
            -np.log(np.arange(1, len(found) + 1)),
            [vectors[entity] @ asked[id] for entity, _ in found],
            np.where(matches.tier >= 0, matches.tier + matches.closeness, 0.0),
            [len(query & one) / len(query) for one in held],
            [len(query & one) / max(len(one), 1) for one in held],
            [sum(rare[word] for word in query & one) / sum(rare.values()) for one in held],
            [np.log1p(len(one)) for one in held],
            ["(" in names[entity] for entity, _ in found],
        ]
        values = np.array(columns, dtype=np.float64).T
        signals[row, : len(found)] = (values - values.mean(0)) / (values.std(0) + 1e-9)
        signals[row, len(found) :, 0] = -1e6
        gains[row, : len(found)] = [judged[id].get(entity, 0) for entity, _ in found]
    return signals, gains


def _ascend(signals: Floats, gains: Floats, start: Floats) -> Floats:
    """Coordinate ascent (Metzler & Croft 2007) on mean NDCG: one weight after the other is moved while that helps."""
    weight, best = start.copy(), float(_ndcg(signals @ start, gains).mean())
    for _ in range(ROUNDS):
        before = best
        scores = signals @ weight
        for place in range(1, len(weight)):
            moved = [(float(_ndcg(scores + step * signals[..., place], gains).mean()), step) for step in STEPS]
            value, step = max(moved)
            if value > best + 1e-6:
                best = value
                weight[place] += step
                scores = scores + step * signals[..., place]
        if best <= before + 1e-6:
            break
    return weight


def collection(folder: Path, encoder: TextEncoder) -> dict[str, Any]:
    """NDCG of the search itself over the entities of FB15k that DBpedia-Entity judges, by words, by meaning, by both."""
    subset = folder / "derived-fb15k-subset"
    with lzma.open(subset / "corpus.jsonl.xz", "rt", encoding="utf-8") as file:
        entries = sorted((json.loads(line) for line in file), key=lambda entry: str(entry["id"]))
    judged = {id: found for id, found in _judged(subset / "qrels-restricted.txt.xz").items() if any(found.values())}
    queries = _queries(folder / "v2")
    graph = _graph(entries)
    ids = sorted(judged)
    scores: dict[str, Floats] = {}
    with tempfile.TemporaryDirectory() as place:
        EntitySearch.build(graph, Path(place), encoder)
        search = EntitySearch.open(Path(place), graph, encoder=encoder)
        for who, mode in (("by words", "lexical"), ("by meaning", "dense"), ("by both", "auto")):
            found = search.search_many([queries[id][:512] for id in ids], k=CUT, mode=mode)  # type: ignore[arg-type]
            gains = np.zeros((len(ids), CUT))
            for row, (id, hits) in enumerate(zip(ids, found, strict=True)):
                gains[row, : len(hits)] = [judged[id].get(graph.entities.name(hit.entity), 0) for hit in hits]
            ideal = np.array([_ideal(judged[id].values()) for id in ids])
            scores[who] = (gains / np.log2(np.arange(2, CUT + 2))).sum(1) / ideal
    return {
        "entities": graph.n, "queries": len(ids), "ndcg": {who: float(one.mean()) for who, one in scores.items()},
        "p": {f"by both less {who}": _flipped(scores["by both"] - scores[who]) for who in ("by words", "by meaning")},
    }  # fmt: skip


def _graph(entries: Sequence[Mapping[str, Any]]) -> KnowledgeGraph:
    rows = []
    for owner, entry in enumerate(entries):
        rows.append((owner, TextKind.LABEL, entry["label"] or entry["name_fb"]))
        rows += [(owner, TextKind.ALIAS, alias) for alias in {*(entry["aliases"] or ()), entry["name_fb"]} if alias]
        rows += [(owner, TextKind.DESCRIPTION, text) for text in (entry["text"] or entry["description"],) if text]
    owner, kind, text = zip(*rows, strict=True)
    texts = Texts.build(owner, kind, ["en"] * len(rows), text)
    names = Vocabulary.build([str(entry["id"]) for entry in entries])
    return KnowledgeGraph(names, Vocabulary.build([]), StatementTable.empty(), texts=texts)


def _ndcg(scores: Floats, gains: Floats) -> Floats:
    """float64 `[queries]`: gains by the first ten by score, each over the logarithm of its rank."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :CUT]
    found: Floats = (np.take_along_axis(gains, order, axis=1) / np.log2(np.arange(2, CUT + 2))).sum(axis=1)
    return found


def _ideal(grades: Any) -> float:
    best = np.sort(np.fromiter(grades, float))[::-1][:CUT]
    return float((best / np.log2(np.arange(2, len(best) + 2))).sum()) or 1.0


def _flipped(differences: Floats) -> float:
    """The share of sign flips whose mean difference is as large: a paired permutation test, two-sided."""
    random, mean = np.random.default_rng(0), abs(differences.mean())
    flips = random.choice((-1.0, 1.0), (FLIPS, len(differences)))
    return float((1 + (np.abs(flips @ differences) / len(differences) >= mean - 1e-12).sum()) / (1 + FLIPS))


def _name(entity: str) -> str:
    return unquote(entity.removeprefix("<dbpedia:").removesuffix(">")).replace("_", " ")


def _queries(folder: Path) -> dict[str, str]:
    with lzma.open(folder / "queries-v2.txt.xz", "rt", encoding="utf-8") as file:
        return dict(line.rstrip("\n").split("\t", 1) for line in file)  # type: ignore[misc]


def _judged(path: Path) -> dict[str, dict[str, int]]:
    judged: dict[str, dict[str, int]] = {}
    with lzma.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            id, _, entity, grade = line.split()
            judged.setdefault(id, {})[entity] = int(grade)
    return judged


def _run(path: Path, depth: int) -> dict[str, list[tuple[str, float]]]:
    run: dict[str, list[tuple[str, float]]] = {}
    with lzma.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            id, _, entity, rank, score, _ = line.split()
            if int(rank) <= depth:
                short = "<dbpedia:" + entity.removeprefix("<http://dbpedia.org/resource/")
                run.setdefault(id, []).append((short, float(score)))
    return {id: sorted(found, key=lambda one: -one[1]) for id, found in run.items()}


def _folds(path: Path) -> dict[str, dict[str, list[str]]]:
    with lzma.open(path, "rt", encoding="utf-8") as file:
        folds: dict[str, dict[str, list[str]]] = json.load(file)
    return folds


if __name__ == "__main__":
    main()
