"""Speed and memory: training, reading, serving, and what that is for Wikidata."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterator
from typing import Any

from pages.results import busy, result, table

ITEMS, CANDIDATES = 119_000_000, 1_000_000
"""Wikidata's items; and, as an assumption, the entities that compete for a question on the average."""


CORE_HOUR, MACHINE = 0.04, 64
"""What a core costs for an hour, and how many cores a machine has, as assumptions."""


def scaled() -> Iterator[str]:
    """Each stage's measured rate, and what it comes to for Wikidata."""
    ingest, million, sparql, enrich = (result(name) for name in ("ingest", "million", "sparql", "enrich"))
    inputs, runs = (next(iter(ingest["wikidata"][part].values())) for part in ("inputs", "runs"))
    read = runs["ours"]
    # The benchmark's output tells what was kept: statements between items, by the item.
    links = ITEMS * int(re.search(r"kept +statements +([0-9,]+)", read["output"])[1].replace(",", "")) / read["items"]  # type: ignore[index]
    rows: dict[str, tuple[str, ...]] = {}

    def stage(name: str, rate: float, unit: str, cores: int, amount: float, size: float, result: str) -> None:
        hours = amount / rate / 3600
        rows[name] = (
            f"{rate:,.0f} {unit}/s, {cores} thread{'s' * (cores > 1)}", f"{amount:.2g}", f"{size / 2**30:,.0f} GiB",
            f"{hours * cores:,.0f}", f"{math.ceil(hours * cores / MACHINE / 24)}", f"{hours * cores * CORE_HOUR:,.0f}",
            f"`{result}`",
        )  # fmt: skip

    size = (inputs["bytes"] / inputs["entities"] + read["graph_mib"] * 2**20 / read["items"]) * ITEMS
    stage("read the dump", read["items_per_s"], "items", 2, ITEMS, size, "ingest.json")
    size = (million["training_peak_mib"] - million["graph"]["peak_mib"]) * 2**20 / million["task"]["entities"] * ITEMS
    threads = million["machine"]["threads"]
    stage("train, one epoch", million["statements_per_s"], "statements", threads, links, size, "million.json")
    if "million" in enrich:
        found = enrich["million"]
        size = (found["peak_mib"] - found["made_peak_mib"]) * 2**20 / found["graph"]["entities"] * ITEMS
        stage("enrich: score", found["speed"]["pairs_per_s"], "pairs", 1, 2 * links * CANDIDATES, size, "enrich.json")
        rate = found["counts"]["candidates"] / found["run_s"]
        stage("enrich: judge the best ten", rate, "candidates", 1, 10 * links, size, "enrich.json")
    load = sparql["fb15k-237"]
    triples = load["disk"]["triples"]
    size = load["disk_mib"] * 2**20 / triples * links
    stage("load the SPARQL store", triples / load["load_s"], "triples", 1, links, size, "sparql.json")
    columns = ("measured here", "for Wikidata", "bytes", "core hours", f"machines of {MACHINE} cores for a day")
    yield from table((*columns, f"cost at {CORE_HOUR} a core hour", "result"), rows)


def trained() -> Iterator[str]:
    """Training and evaluation beside PyKEEN."""
    record = result("train")
    machine = record["machine"]
    yield (
        f"ComplEx of {record['model']['reals_per_entity']} reals per entity on {machine['cores']} cores "
        f"({', '.join(machine['flags'])}), beside PyKEEN {record['versions']['pykeen']} at the best of its settings tried "
        "(17 on CoDEx-S, of these the best 3 on FB15k-237); `make bench-train`, all runs in `tests/bench/results/train.json`:"
    )
    yield from _beside_pykeen(record)
    quick = result("train.quick")
    yield (
        f"\nOn another machine ({quick['machine']['cpu']}, {', '.join(quick['machine']['flags'])}), three epochs and one "
        "setting a side (`python -m tests.bench.train --quick`, all runs in `tests/bench/results/train.quick.json`):"
    )
    yield from _beside_pykeen(quick)


def _beside_pykeen(record: dict[str, Any]) -> Iterator[str]:
    columns = "s an epoch", "s to the peer's best MRR", "over the bf16 GEMM floor", "peak MiB", "ranked statements/s"
    rows = {}
    for name, data in record["datasets"].items():
        theirs = max(data["pykeen"], key=lambda run: max(epoch["mrr"] for epoch in run["epochs"]))
        for who, run in (("kgservice", data["ours"][0]), ("PyKEEN", theirs)):
            ranked = data["evaluation"]["ours" if who == "kgservice" else "pykeen"]["statements_per_s"]
            rows[f"{name}, {who}"] = (
                f"{run['epoch_s']:.2f}",
                f"{run['time_to_target_s']['1']:.1f} (MRR {data['target_mrr']:.3f})",
                f"{run['over_floor']['bfloat16']:.1f}",
                f"{run['peak_mib']:.0f}",
                f"{ranked:,.0f}",
            )
    yield from table(columns, rows)


def large() -> str:
    """A graph of a million entities."""
    record = result("million")
    after, chance = record["validation"]["epochs"][-1]["mrr"], record["validation"]["chance_mrr"]
    return (
        f"\nA made graph of {record['task']['entities']:,} entities and {record['task']['statements']:,} statements at "
        f"{record['task']['width']} reals per entity, the table in memory {record['table_mib']:,.0f} MiB: peak "
        f"{record['peak_mib']:,.0f} MiB where {record['bars']['peak_mib_below']:,} are allowed, "
        f"{record['statements_per_s']:,.0f} statements/s, validation MRR {after:.4f} after one epoch where chance gives "
        f"{chance:.5f}; `make bench-million`."
    )


def ingested() -> Iterator[str]:
    """Ingestion beside its peers."""
    record = result("ingest")
    yield (
        f"\nIngestion to a finished graph on disk, {record['machine']['cores']} cores; peers only parse; `make bench-ingest`, "
        "all runs in `tests/bench/results/ingest.json`:"
    )
    rows = {}
    for bar in record["bars"]:
        found = bar["measured"]
        shown = "–" if found is None else f"{found:,.2f}" if found < 100 else f"{found:,.0f}"
        rows[bar["bar"]] = bar["required"], shown, "yes" if bar["met"] else "no"
    yield from table(("required", "measured", "met"), rows)


def served() -> Iterator[str]:
    """The service beside a bare answer and FAISS, the service asked for too much, and exhaustive search."""
    record, exact = result("serve"), result("exact")
    asked = f"model `{record['model']}`" if record["model"] else "by the release's choice of a model"
    yield (
        f"\nSingle completions of {record['distinct_questions']:,} distinct questions and bulk ones, {asked} "
        f"of the sample graph, {record['workers']} process on {record['machine']['cores']} cores shared with the client; "
        f"`make bench-serve`, in `tests/bench/results/serve.json`:{busy(record)}"
    )
    rows = {}
    for about, side, other, rate, required in (
        ("single, beside a bare FastAPI answer", "service_beside", "bare", "requests_per_s", "0.50"),
        ("in bulk, beside FAISS Flat alone", "bulk", "faiss", "questions_per_s", "0.70"),
        ("in bulk as Arrow, beside FAISS Flat alone", "bulk_arrow", "faiss", "questions_per_s", "0.70"),
    ):
        if side not in record:  # measured before there was one
            continue
        ours, theirs = (statistics.median(turn[rate] for turn in record[one]) for one in (side, other))
        share = record["of_faiss_arrow" if side == "bulk_arrow" else f"of_{other}"]
        shown = f"{share['median']:.2f} ({share['least']:.2f}–{share['greatest']:.2f})"
        rows[about] = f"{ours:,.0f}", f"{theirs:,.0f}", shown, required
    yield from table(("questions/s", "beside", "share, of five turns", "required"), rows)
    if "stages_us" in record:
        yield from _stages(record)
    over = record["overload"]
    memory = over["resident_mib_each_second"]
    yield (
        f"\nA server that lets {over['max_waiting']} requests wait, asked from {over['long']['connections']} connections for "
        f"{over['long']['seconds']:.0f} s: {over['long']['answered']:,} answers, {over['long']['overloaded']:,} times 503, "
        f"{over['long']['told_when']:,} of them with Retry-After, {over['long']['broken']:,} connections broken; memory "
        f"{memory[0]:,.0f} MiB after a second, {memory[-1]:,.0f} at the end."
    )
    yield (
        f"\nExhaustive search over {exact['vectors']:,} × {exact['width']}, inner products, the best {exact['k']}, "
        f"near-duplicates among them; FAISS Flat with its product of matrices; threads of each: "
        f"{exact['machine']['threads']}; "
        "`OMP_NUM_THREADS=1 make bench-exact`, in "
        f"`tests/bench/results/exact.json`:{busy(exact)}"
    )
    rows = {
        f"{size} at a time": (
            f"{rate:,.0f}",
            f"{exact['faiss'][size]:,.0f}",
            f"{exact['over_faiss'][size]:.2f}",
            "1.50",
        )
        for size, rate in exact["ours"].items()
    }
    yield from table(("questions/s", "FAISS's", "times", "required"), rows)
    found = exact["compared"]
    yield (
        f"\nOf {found['questions']:,} questions {found['same_ids']:,} have FAISS's ids in its order. Of the others, arithmetic "
        f"in fractions says that {found['ours_right']:,} are right as given here and {found['faiss_right']:,} as FAISS has them: "
        "it adds up in float32, and near-duplicates change places."
    )


def _stages(record: dict[str, Any]) -> Iterator[str]:
    """Where the time of a question goes in the engine."""
    alone = statistics.median(turn["questions_per_s"] for turn in record["faiss_as_served"])
    taken = record["stages_us"]
    bare = statistics.median(turn["requests_per_s"] for turn in record["bare"])
    yield (
        "\nMicroseconds of a question in the engine, on one thread, by how many are answered together. One thread of FAISS takes "
        f"{1e6 / alone:.1f} for the {record['faiss_as_served'][0]['k']} best, which a probability is read off; the bare answer "
        f"takes {1e6 / bare:.0f}:"
    )
    names = [name for name in next(iter(taken.values())) if name != "all"] + ["all"]
    yield from table(
        tuple(taken), {name: tuple(f"{of.get(name, 0.0):,.1f}" for of in taken.values()) for name in names}
    )


def qualified() -> Iterator[str]:
    """Training on statements with qualifiers beside the products it cannot do without, and how fast questions are answered."""
    record = result("qualifiers")
    yield (
        f"\nStatements with qualifiers, {record['dataset']}, {record['machine']['cores']} cores "
        f"({', '.join(record['machine']['flags'])}); `stare` in the setting that was published for it; `make bench-qualifiers`:"
    )
    columns = (
        "questions in a batch",
        "training statements/s",
        "s an epoch",
        "over the GEMM floor of its products",
        "peak MiB",
    )
    rows = {
        name: (
            str(run["batch_size"]),
            f"{run['statements_per_s']:,.0f}",
            f"{run['epoch_s']:.1f}",
            f"{run['over_floor']:.1f}",
            f"{run['peak_mib']:,.0f}",
        )
        for name, run in record["training"].items()
    }
    yield from table(columns, rows)
    served = record["serving"].items()
    told = (f"{kind}: p50 {took['p50_ms']:.1f} ms, p99 {took['p99_ms']:.1f} ms" for kind, took in served)
    yield f"\nServed over HTTP, one question after the other: {'; '.join(told)}."
