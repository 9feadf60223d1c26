"""The SPARQL store of a release: how long it takes to make, what it takes, and how fast it answers, on the disk and in memory.

Run it with `make bench-sparql`; the sample graph and FB15k-237.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kgservice import datasets
from kgservice.graph import KnowledgeGraph
from kgservice.ingestion import ingest
from kgservice.resources import share
from kgservice.sparql.dataset import blocks
from tests.bench import machine

STARS = 500
ASK = """
import json, sys, time
import pyoxigraph as ox

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

kind, folder, lines, stars = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
before, started = resident(), time.perf_counter()
if kind == "disk":
    store = ox.Store.read_only(folder)
else:
    store = ox.Store()
    store.bulk_load(path=lines, format=ox.RdfFormat.N_TRIPLES, lenient=True)
opened = time.perf_counter() - started
started = time.perf_counter()
count = int(list(store.query("SELECT (COUNT(*) AS ?n) { ?s ?p ?o }"))[0]["n"].value)
counted = time.perf_counter() - started
subjects = [str(row["s"]) for row in store.query(f"SELECT DISTINCT ?s {{ ?s ?p ?o FILTER(isIRI(?s)) }} LIMIT {stars}")]
started = time.perf_counter()
for subject in subjects:
    list(store.query(f"SELECT ?p ?o {{ {subject} ?p ?o }}"))
star = (time.perf_counter() - started) / len(subjects)
print(json.dumps({"open_s": opened, "memory_mib": (resident() - before) / 2**20, "triples": count, "count_s": counted,
                  "star_ms": star * 1e3}))
"""
"""In a process of its own, as queries are asked."""


def main() -> None:
    """Measure, write `results/sparql.json`, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=machine.RESULTS / "sparql.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = ingest([share() / "data" / "world"], Path(folder) / "world")
        graphs = {"world": world, "fb15k-237": datasets.load("fb15k-237")}
        measured = {name: measure(graph, Path(folder) / f"{name}-store") for name, graph in graphs.items()}
    result: dict[str, Any] = {
        "benchmark": "sparql", "command": "make bench-sparql", "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.machine(), "code": machine.code(), "versions": machine.versions("pyoxigraph", "pyarrow"), **measured,
    }  # fmt: skip
    machine.write_result(options.out, result)
    print(json.dumps(measured, indent=1))


def measure(graph: KnowledgeGraph, folder: Path) -> dict[str, Any]:
    """One graph: its lines, the store made of them, and questions to it."""
    started = time.perf_counter()
    content = b"".join(blocks(graph))
    written = time.perf_counter() - started
    lines = folder.with_suffix(".nt")
    lines.write_bytes(content)
    started = time.perf_counter()
    with lines.open("rb") as source:
        command = [sys.executable, "-m", "kgservice.sparql.worker", "load", str(folder), "urn:predicted"]
        subprocess.run(command, stdin=source, check=True)
    loaded = time.perf_counter() - started
    return {
        "lines_s": round(written, 2),
        "load_s": round(loaded, 2),
        "disk_mib": round(sum(file.stat().st_size for file in folder.iterdir()) / 2**20, 1),
        **{kind: ask(kind, folder, lines) for kind in ("disk", "memory")},
    }


def ask(kind: str, folder: Path, lines: Path) -> dict[str, float]:
    """What a process needs that has the store on the disk, or in memory."""
    command = [sys.executable, "-c", ASK, kind, str(folder), str(lines), str(STARS)]
    found: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {name: round(value, 3) for name, value in found.items()}


if __name__ == "__main__":
    main()
