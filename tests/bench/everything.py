"""Enrichment at its limits: every link there could be, beside PyKEEN; and a graph of a million entities in bounded memory."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from kgservice import datasets
from kgservice.arrays.layers import Layers
from kgservice.enrichment.links import MissingLinks
from kgservice.enrichment.plan import Plan
from kgservice.enrichment.running import enrich, opened
from kgservice.enrichment.strongest import strongest
from kgservice.precision import fast_bfloat16
from kgservice.scorers.bilinear import ComplEx
from tests.bench import machine
from tests.bench.million import made
from tests.bench.protocol import WIDTH

K = 100_000
PEER_BATCHES = (128, 1024)
SCALE = 0.3
"""Of made vectors."""
MILLION = {"entities": 1_000_000, "statements": 5_000_000, "relations": 50, "width": 128, "k": 3}
BAR_MIB = 4096


def beside_pykeen(name: str = "codex-s") -> dict[str, Any]:
    """The `K` best of all subjects, relations and objects, by both, from the same weights; no pair is left out.

    PyKEEN's `predict_all` is timed at each batch size, on the same threads.
    """
    from pykeen.predict import predict_all

    from tests.bench.peers import pykeen_import, pykeen_model

    graph = datasets.load(name)
    factory, theirs = pykeen_model(graph, {"loss": "crossentropy"})
    ours = ComplEx(graph.n, graph.r, width=WIDTH, reciprocal=factory.create_inverse_triples).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in ours.parameters():
            weights.normal_(0, SCALE, generator=generator)
    pykeen_import(ours, theirs)
    theirs.eval()
    relations = np.arange(graph.r, dtype=np.int32)
    table = ours.entity_vectors().detach()
    strongest(ours, table, relations[:1], 100)  # compiles, and finds out what is fast
    timed: dict[str, float] = {}
    found = None
    for rounded in (False, True) if fast_bfloat16("cpu") else (False,):
        clock = time.perf_counter()
        found = strongest(ours, table, relations, K, rounded=rounded)
        timed["bfloat16 first" if rounded else "float32"] = time.perf_counter() - clock
    peer: dict[int, float] = {}
    same = 0.0
    for batch in PEER_BATCHES:
        clock = time.perf_counter()
        pack = predict_all(theirs, k=K, batch_size=batch)
        peer[batch] = time.perf_counter() - clock
        assert found is not None
        scores = np.sort(pack.scores.numpy())[::-1]
        same = float(np.abs(scores - found.score).max())
    pairs = graph.r * graph.n**2
    return {
        "dataset": name, "k": K, "width": WIDTH, "pairs": pairs, "threads": torch.get_num_threads(), "ours_s": timed,
        "pykeen_s": peer, "times_faster": min(peer.values()) / min(timed.values()),
        "pairs_per_s": pairs / min(timed.values()), "largest_difference_of_scores": same, **machine.versions("pykeen"),
    }  # fmt: skip


def million(task: dict[str, Any]) -> dict[str, Any]:
    """All relations of a made graph. Its vectors are made too: the work is that of a real one, and its links mean nothing."""
    graph = made(task["entities"], task["statements"], task["relations"])
    scorer = ComplEx(graph.n, graph.r, width=task["width"], reciprocal=True).eval()
    used = torch.from_numpy(np.log1p(graph.degree).astype(np.float32))
    with torch.no_grad():
        for weights in scorer.parameters():
            weights.normal_(0, SCALE / 3)
        scorer.entity[:, 0] = used  # what is often stated is likely again
        scorer.relation[:, 0] = 1.0
    table = scorer.entity_vectors().detach()
    served = SimpleNamespace(
        name="complex", scorer=scorer, vectors=Layers.of(table), knows=lambda ids: np.ones(len(ids), bool)
    )
    engine: Any = SimpleNamespace(
        graph=graph, release_name="made@0", release=SimpleNamespace(models=("complex",)), model=lambda _: served
    )
    made_mib = machine.peak_memory_mib()
    plan = Plan("made@0", threshold=0.01, k=task["k"])
    with tempfile.TemporaryDirectory() as folder:
        clock = time.perf_counter()
        report = enrich(engine, plan, Path(folder))
        took = time.perf_counter() - clock
    work = opened(engine, plan)
    assert isinstance(work, MissingLinks)
    return {
        "task": task, "graph": graph.counts(), "made_peak_mib": made_mib, "peak_mib": machine.peak_memory_mib(), "run_s": took,
        "counts": report["counts"], "links": report["expected"]["links"], "blocks": work.blocks,
        "pairs_per_s_of_the_run": report["counts"]["pairs scored"] / took,
        "candidates_per_s_of_the_run": report["counts"]["candidates"] / took,
        "links_per_s_of_the_run": report["expected"]["links"] / took, "speed": speed(engine, work),
    }  # fmt: skip


def speed(engine: Any, work: MissingLinks) -> dict[str, Any]:
    """Pairs a second of scoring alone, of the largest relation, beside the product of matrices that it cannot do without."""
    relation = max(work.relations, key=lambda one: len(work.questions(one)) * len(work.field_objects(one)))
    field = work.field(relation)
    subjects = work.questions(relation)[: work.plan.block]
    scored_s = machine.median_time(lambda: field.best(subjects, work.plan.k), 3)
    objects = field.sides[0].objects
    queries = torch.randn(len(subjects), objects.exact.shape[1])
    limits = {}
    for kind, vectors in (("float32", objects.exact), ("bfloat16", objects.near)):
        if vectors is not None:
            asked = queries.to(vectors.dtype)
            tiles = vectors.split(max(1, work.plan.tile // len(subjects)))
            outs = [torch.empty(len(subjects), len(tile), dtype=vectors.dtype) for tile in tiles]

            def products(asked: Any = asked, tiles: Any = tiles, outs: Any = outs) -> None:
                for tile, out in zip(tiles, outs, strict=True):
                    torch.mm(asked, tile.T, out=out)

            limits[kind] = machine.median_time(products, 3)
    pairs = len(subjects) * len(field.objects)
    return {
        "relation": engine.graph.relations.name(relation), "questions": len(subjects), "candidates": len(field.objects),
        "products_in": "bfloat16" if work.rounded else "float32", "pairs_per_s": pairs / scored_s,
        "gemm_pairs_per_s": {kind: pairs / took for kind, took in limits.items()},
        "share_of_gemm": {kind: took / scored_s for kind, took in limits.items()},
    }  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    machine.write_result(Path(sys.argv[3]), million(json.loads(sys.argv[2])))
