"""Exhaustive search beside FAISS Flat on the same vectors: speed one at a time and in batches, and whether the ids are right.

A million vectors of 128 numbers in clusters, a tenth of them nearly the same as others; inner products; the best ten. FAISS has
its product of matrices switched on. Ids are compared with FAISS's on ten thousand questions; where the two differ, arithmetic in
fractions says who is right. Run it with `make bench-exact`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kgservice.index import ExactIndex
from kgservice.precision import fast_bfloat16
from tests.bench import machine

Floats = npt.NDArray[np.float32]
K = 10
BATCHES = (1, 8, 64)
SEED = 0


def vectors(n: int, d: int, questions: int) -> tuple[Floats, Floats]:
    """Candidates in a thousand clusters, a tenth of them another one moved by a millionth; questions near candidates."""
    random = np.random.default_rng(SEED)
    centres = random.normal(size=(1000, d)).astype(np.float32)
    rows = centres[random.integers(0, 1000, n)] + random.normal(size=(n, d)).astype(np.float32)
    copies = random.choice(n, n // 10, replace=False)
    rows[copies] = rows[random.integers(0, n, len(copies))] * (1 + 1e-6 * random.normal(size=(len(copies), 1))).astype(
        np.float32
    )
    asked = rows[random.integers(0, n, questions)] + 0.5 * random.normal(size=(questions, d)).astype(np.float32)
    return rows, asked


def rates(asked: Floats, search: Callable[[Floats], object], seconds: float) -> dict[str, float]:
    """Questions a second by how many are asked at once: the median over what fits into `seconds`."""
    found = {}
    for size in BATCHES:
        took, at = [], 0
        search(asked[:size])
        until = time.perf_counter() + seconds
        while time.perf_counter() < until or len(took) < 5:
            some = asked[at : at + size]
            at = (at + size) % (len(asked) - size + 1)
            started = time.perf_counter()
            search(some)
            took.append(time.perf_counter() - started)
        found[str(size)] = round(size / statistics.median(took), 1)
    return found


def compared(rows: Floats, asked: Floats, ours: npt.NDArray[np.int32], theirs: npt.NDArray[np.int64]) -> dict[str, int]:
    """Questions with other ids than FAISS's, and on how many of them each is right by exact arithmetic."""
    counts = {"questions": len(asked), "same_ids": 0, "same_set": 0, "ours_right": 0, "faiss_right": 0}
    for question, own, other in zip(asked, ours, theirs, strict=True):
        if np.array_equal(own, other):
            counts["same_ids"] += 1
            continue
        counts["same_set"] += set(own.tolist()) == set(other.tolist())
        # The scores of all that either names, in fractions, rounded to float32: what a perfect float32 search orders by.
        both = np.union1d(own, other)
        exact = [
            sum(Fraction(float(a)) * Fraction(float(b)) for a, b in zip(question, rows[id], strict=True)) for id in both
        ]
        score = np.array([np.float32(float(one)) for one in exact])
        right = both[np.lexsort((both, -score))][:K]
        counts["ours_right"] += np.array_equal(own, right)
        counts["faiss_right"] += np.array_equal(other, right)
    return counts


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--questions", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    parser.add_argument("--out", type=Path, default=machine.RESULTS / "exact.json")
    given = parser.parse_args()
    machine.warn_if_busy()
    import faiss

    faiss.cvar.distance_compute_blas_threshold = 20
    faiss.omp_set_num_threads(torch.get_num_threads())
    rows, asked = vectors(given.vectors, given.width, given.questions)
    flat = faiss.IndexFlatIP(given.width)
    flat.add(rows)
    index = ExactIndex(torch.from_numpy(rows), "ip")
    found: dict[str, Any] = {"vectors": given.vectors, "width": given.width, "k": K, "seed": SEED}
    found["bfloat16"] = fast_bfloat16("cpu")
    found["faiss"] = rates(asked, lambda some: flat.search(some, K), given.seconds)
    found["ours"] = rates(asked, lambda some: index.search(torch.from_numpy(some), K), given.seconds)
    found["over_faiss"] = {size: round(found["ours"][size] / found["faiss"][size], 2) for size in found["ours"]}
    started = time.perf_counter()
    ours = index.search(torch.from_numpy(asked), K)[0]
    found["all_ours_s"] = round(time.perf_counter() - started, 2)
    started = time.perf_counter()
    theirs = flat.search(asked, K)[1]
    found["all_faiss_s"] = round(time.perf_counter() - started, 2)
    found["compared"] = compared(rows, asked, ours, theirs)
    about = {"when": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "machine": machine.machine(), "code": machine.code()}
    about["command"] = f"OMP_NUM_THREADS={torch.get_num_threads()} make bench-exact"  # type: ignore[assignment]
    machine.write_result(given.out, {**about, "versions": machine.versions("torch", "faiss-cpu", "numpy"), **found})
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
