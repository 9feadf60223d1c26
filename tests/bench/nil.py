"""Can a search tell that what is asked for is not there? Names of entities held out of the index beside names held in.

Run it with `make bench-nil`; docs/search.md says the protocol.
"""

from __future__ import annotations

import argparse
import json
import lzma
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kgservice.encoders import open_encoder
from kgservice.resources import home
from kgservice.search import EntitySearch
from kgservice.search.folding import fold
from kgservice.search.hits import NIL_COSINE, NIL_SCORE, Hits
from tests.bench import entity, machine
from tests.bench.names import mirror, typed_wrong

HELD_OUT = 0.3
QUESTIONS = 600
"""Names asked for of either kind, a third each with no, one and two typos."""
NAMED, DESCRIBED, ABSENT = "a name that is there", "a question that something answers", "a name that is not there"
SCORES = (0.5, *np.round(np.arange(1.4, 2.0, 0.05), 2).tolist(), 2.0, 3.0, 4.0)
COSINES = tuple(np.round(np.arange(0.3, 0.95, 0.025), 3).tolist())


def main() -> None:
    """Measure, write `results/nil.json`, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=machine.RESULTS / "nil.json")
    options = parser.parse_args()
    result: dict[str, Any] = {
        "benchmark": "nil", "command": "make bench-nil", "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.machine(), "code": machine.code(),
        "versions": machine.versions("sentence-transformers", "tantivy", "numpy"), "held_out": HELD_OUT, "seed": 0,
        **measure(),
    }  # fmt: skip
    machine.write_result(options.out, result)
    print(json.dumps({key: result[key] for key in ("modes", "served")}, indent=1))


def measure() -> dict[str, Any]:
    """Thresholds learnt on half of the questions, judged on the other half; and those that are served."""
    folder = mirror() / "dbpedia-entity"
    with lzma.open(folder / "derived-fb15k-subset" / "corpus.jsonl.xz", "rt", encoding="utf-8") as file:
        entries = sorted((json.loads(line) for line in file), key=lambda entry: str(entry["id"]))
    random = np.random.default_rng(0)
    out = random.random(len(entries)) < HELD_OUT
    held = [entry for entry, gone in zip(entries, out, strict=True) if not gone]
    named = {
        fold(name) for entry in held for name in (entry["label"] or "", entry["name_fb"], *(entry["aliases"] or ()))
    }
    absent = [entry["name_fb"] for entry, gone in zip(entries, out, strict=True) if gone]
    absent = [name for name in absent if fold(name) not in named and len(name) > 3]
    present = [entry["name_fb"] for entry in held if len(entry["name_fb"]) > 3]
    texts, kinds = [], []
    for names, kind in ((present, NAMED), (absent, ABSENT)):
        drawn = random.permutation(len(names))[:QUESTIONS].tolist()
        texts += [typed_wrong(names[place], random, number % 3) for number, place in enumerate(drawn)]
        kinds += [kind] * len(drawn)
    held_ids, queries = {entry["id"] for entry in held}, entity._queries(folder / "v2")
    judged = entity._judged(folder / "derived-fb15k-subset" / "qrels-restricted.txt.xz")
    for id, grades in sorted(judged.items()):
        if any(grade and name in held_ids for name, grade in grades.items()):
            texts.append(queries[id])
            kinds.append(DESCRIBED)
    encoder = open_encoder(cache=home() / "cache" / "texts")
    graph = entity._graph(held)
    encoder.encode(texts)
    modes, right = {}, np.array(kinds)
    half = random.random(len(right)) < 0.5
    with tempfile.TemporaryDirectory() as place:
        EntitySearch.build(graph, Path(place), encoder)
        search = EntitySearch.open(Path(place), graph, encoder=encoder)
        for mode in ("lexical", "auto"):
            score, cosine = _evidence(search.search_many([text[:512] for text in texts], k=10, mode=mode))  # type: ignore[arg-type]
            pairs = [(a, b) for a in SCORES for b in (COSINES if mode == "auto" else (2.0,))]
            best = max(pairs, key=lambda pair: _balanced((score >= pair[0]) | (cosine >= pair[1]), right, half))
            served = (score >= NIL_SCORE) | (cosine >= NIL_COSINE)
            learnt = (score >= best[0]) | (cosine >= best[1])
            modes[mode] = {
                "learnt": {"score": best[0], "cosine": best[1]}, "balanced_accuracy": _balanced(learnt, right, ~half),
                "balanced_accuracy_served": _balanced(served, right, ~half), "wrong_served": _rates(served, right),
                "auc_of_score_for_names": _auc(score[right != DESCRIBED], right[right != DESCRIBED] == NAMED),
            }  # fmt: skip
    return {
        "entities": graph.n, "questions": {kind: kinds.count(kind) for kind in (NAMED, DESCRIBED, ABSENT)}, "modes": modes,
        "served": {"score": NIL_SCORE, "cosine": NIL_COSINE},
    }  # fmt: skip


def _evidence(found: Sequence[Hits]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The best score and the best cosine of each; 0 where there is none."""
    return (
        np.array([hits[0].score if hits else 0.0 for hits in found]),
        np.array([hits.cosine or 0.0 for hits in found]),
    )


def _balanced(said: npt.NDArray[np.bool_], kinds: npt.NDArray[np.str_], rows: npt.NDArray[np.bool_]) -> float:
    """Mean of the share of what is there that is said to be, names and questions alike, and of what is not there that is not."""
    rates = _rates(said[rows], kinds[rows])
    return 1 - ((rates[NAMED] + rates[DESCRIBED]) / 2 + rates[ABSENT]) / 2


def _rates(said: npt.NDArray[np.bool_], kinds: npt.NDArray[np.str_]) -> dict[str, float]:
    """By kind: how often it is judged wrongly."""
    return {kind: float((said[kinds == kind] != (kind != ABSENT)).mean()) for kind in (NAMED, DESCRIBED, ABSENT)}


def _auc(value: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> float:
    """How often one that is there has more than one that is not; ties count half."""
    gap = value[right][:, None] - value[~right]
    return float(((gap > 0) + (gap == 0) / 2).mean())


if __name__ == "__main__":
    main()
