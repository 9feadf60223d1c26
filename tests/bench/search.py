"""Entity search over a million made names: build, memory, latency and rate, in process and over HTTP, beside peers.

Vectors are real for some of the texts and seeded random unit vectors for the rest: speed depends on their number, not on what
they say. Run it with `make bench-search`; README.md beside this file says what is made up and measured.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import psutil

from kgservice.encoders import TextEncoder, open_encoder
from kgservice.graph import KnowledgeGraph
from kgservice.release import Release, ReleaseStore
from kgservice.search import EntitySearch
from tests.bench import machine, search_peers
from tests.bench.names import asked, made, size_mib

BARS = {"lexical_p99_ms_below": 5.0, "fused_p99_ms_below": 25.0, "lexical_per_s_from": 1500, "fused_per_s_from": 150}
LEXICAL = ("prefix", "exact", "one typo", "full text")
BULK, CONNECTIONS = 64, 4


def main() -> None:
    """Measure each part in a process of its own, write `results/search.json`, print what the bars say."""
    if sys.argv[1:2] == ["--worker"]:
        task = json.loads(sys.argv[2])
        parts = {"build": build, "process": in_process, "peers": beside, "rest": over_http}
        machine.write_result(Path(sys.argv[3]), parts[task.pop("part")](**task))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, default=1_000_000)
    parser.add_argument("--encoded", type=int, default=20_000, help="texts whose vectors are real")
    parser.add_argument("--questions", type=int, default=300, help="of each kind")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes of the server")
    parser.add_argument("--home", type=Path, help="keep what is built there, and build nothing that is there already")
    parser.add_argument("--out", type=Path, default=machine.RESULTS / "search.json")
    options = parser.parse_args()
    machine.warn_if_busy()
    names = "tantivy", "rapidfuzz", "faiss-cpu", "sentence-transformers", "torch", "numpy"
    result: dict[str, Any] = {
        "benchmark": "search", "command": "make bench-search", "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.machine(), "code": machine.code(), "versions": machine.versions(*names),
        "task": {"entities": options.entities, "encoded": options.encoded, "questions": options.questions},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as passing:
        home = options.home or Path(passing)
        shared = {"home": str(home), "count": options.questions}
        run = lambda part, **task: machine.in_own_process("tests.bench.search", {"part": part, **task})  # noqa: E731
        built = home / "build.json"
        if not built.exists():
            figures = run("build", home=str(home), entities=options.entities, encoded=options.encoded)
            machine.write_result(built, figures)
        result["build"] = json.loads(built.read_text())
        result["in process"] = run("process", **shared)
        result["over HTTP"] = run("rest", **shared, workers=options.workers)
        result["peers"] = run("peers", **shared)
    result["bars"] = bars(result)
    machine.write_result(options.out, result)
    print(json.dumps(result["bars"], indent=1))


def bars(result: dict[str, Any]) -> dict[str, Any]:
    """What was asked, what was measured, whether it is met."""
    inside, http = result["in process"]["kinds"], result["over HTTP"]
    found = {
        "lexical_p99_ms_below": max(inside[kind]["p99_ms"] for kind in LEXICAL),
        "fused_p99_ms_below": inside["fused"]["p99_ms"],
        "lexical_per_s_from": http["many at once"]["lexical"]["per_s"],
        "fused_per_s_from": http["many at once"]["fused"]["per_s"],
    }
    return {
        bar: {
            "asked": wanted,
            "measured": found[bar],
            "met": found[bar] < wanted if bar.endswith("below") else found[bar] >= wanted,
        }
        for bar, wanted in BARS.items()
    }


class PartlyReal:
    """Vectors of the encoder for the first texts, random ones for the rest.

    Args:
        encoder: the real one; it also encodes the queries.
        real: how many texts it encodes.
    """

    def __init__(self, encoder: TextEncoder, real: int) -> None:
        self._encoder, self._left, self._random = encoder, real, np.random.default_rng(0)
        self.first_asked = 0.0

    @property
    def name(self) -> str:
        """The encoder's own."""
        return self._encoder.name

    @property
    def width(self) -> int:
        """`d`."""
        return self._encoder.width

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """float32 `[b, d]`, rows of length 1."""
        self.first_asked = self.first_asked or time.perf_counter()
        real = list(texts[: self._left])
        self._left -= len(real)
        rows = self._random.standard_normal((len(texts), self.width), dtype=np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        if real:
            rows[: len(real)] = self._encoder.encode(real)
        return rows


def build(home: str, entities: int, encoded: int) -> dict[str, Any]:
    """A sealed release without models: the graph, and the search index by words and by meaning."""
    started = time.perf_counter()
    graph = made(entities)
    took = {"graph_s": time.perf_counter() - started}

    def fill(folder: Path) -> None:
        graph.save(folder / "graph")
        encoder, started = PartlyReal(open_encoder(), encoded), time.perf_counter()
        EntitySearch.build(graph, folder / "search", encoder)
        took["lexical_s"] = encoder.first_asked - started
        took["vectors_s"] = time.perf_counter() - encoder.first_asked

    store = ReleaseStore(Path(home) / "releases")
    release = store.write(fill, {"models": {}, "graph": graph.counts(), "recipe": {"name": "made names"}})
    store.activate(release.id)
    sizes = {
        what: size_mib(release.folder / "search", glob)
        for what, glob in (("words", "lexical/*"), ("meaning", "dense.*"))
    }
    return {**took, "peak_mib": machine.peak_memory_mib(), "mib_on_disk": sizes, "entities": graph.n}


def in_process(home: str, count: int) -> dict[str, Any]:
    """One question after the other, each asked once."""
    release = ReleaseStore(Path(home) / "releases").get()
    graph = release.graph
    started = time.perf_counter()
    search = EntitySearch.open(release.folder / "search", graph)
    opened = time.perf_counter() - started
    search.warm()
    kinds = {}
    for kind, (texts, wanted) in asked(graph, count).items():
        mode = {"dense": "dense", "fused": "auto"}.get(kind, "lexical")
        search.search("warm up", mode=mode)  # type: ignore[arg-type]
        kinds[kind] = latency(lambda text, mode=mode: search.search(text, mode=mode), texts)  # type: ignore[misc]
        if wanted:
            found = search.search_many(texts, k=5, mode=mode)  # type: ignore[arg-type]
            kinds[kind]["found_at_5"] = share_found(graph, [[hit.entity for hit in hits] for hits in found], wanted)
    return {"open_s": opened, "kinds": kinds, "peak_mib": machine.peak_memory_mib()}


def share_found(graph: KnowledgeGraph, found: Sequence[Sequence[int]], wanted: Sequence[str]) -> float:
    """How often an entity of the wanted label is there; labels that several entities have count for each of them."""
    hits = [name in graph.texts.labels(entities) for entities, name in zip(found, wanted, strict=True)]
    return float(np.mean(hits))


def beside(home: str, count: int) -> dict[str, Any]:
    """The peers over the same names, asked the same."""
    graph = ReleaseStore(Path(home) / "releases").get().graph
    return search_peers.measure(graph, asked(graph, count), Path(home), latency)


def over_http(home: str, count: int, workers: int) -> dict[str, Any]:
    """`kgservice serve` and clients that keep their connections, on the same machine."""
    release = ReleaseStore(Path(home) / "releases").get()
    log = Path(home) / "serve.log"
    environment = {**os.environ, "KGSERVICE_HOME": home}
    with log.open("w") as sink:
        command = [sys.executable, "-m", "kgservice", "serve", "--port", "0", "--log-level", "warning"]
        command += ["--workers", str(workers)]
        server = subprocess.Popen(command, env=environment, stdout=sink, stderr=sink, cwd=machine.ROOT)
    try:
        return {"workers": workers, **_served(machine.address(log, server), release, count, server.pid)}
    finally:
        server.terminate()
        server.wait()


def _served(address: str, release: Release, count: int, pid: int) -> dict[str, Any]:
    host = address.removeprefix("http://")
    result: dict[str, Any] = {"one at a time": {}, "at the same time": {}, "many at once": {}}
    # Other questions than in process: the server has a memory for queries that it has encoded.
    asks = asked(release.graph, count, seed=1)
    words = [text for kind in LEXICAL for text in asks[kind][0]]
    fused = asks["fused"][0]
    for kind, texts, mode in (("lexical", words, "lexical"), ("fused", fused, "auto")):
        third = len(texts) // 3
        connection = http.client.HTTPConnection(host, timeout=600)
        _get(connection, "warm up", mode)
        result["one at a time"][kind] = latency(
            lambda text, at=connection, mode=mode: _get(at, text, mode),
            texts[:third],  # type: ignore[misc]
        )
        result["at the same time"][kind] = together(
            host,
            [lambda at, text=text, mode=mode: _get(at, text, mode) for text in texts[third : 2 * third]],
            1,  # type: ignore[misc]
        )
        rest = texts[2 * third :]
        bulks = [rest[first : first + BULK] for first in range(0, len(rest), BULK)]
        result["many at once"][kind] = together(
            host,
            [lambda at, bulk=bulk, mode=mode: _post(at, bulk, mode) for bulk in bulks],
            len(rest) / len(bulks),  # type: ignore[misc]
        )
    family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    result["server_peak_mib"] = [machine.peak_memory_mib(one) for one in family]
    return result


Ask = Callable[[http.client.HTTPConnection], object]


def together(host: str, asks: Sequence[Ask], each: float) -> dict[str, float]:
    """Questions a second over a few connections, where a request holds `each` questions."""
    connections = [http.client.HTTPConnection(host, timeout=600) for _ in range(CONNECTIONS)]

    def work(place: int) -> None:
        for ask in asks[place::CONNECTIONS]:
            ask(connections[place])

    started = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(work, range(CONNECTIONS)))
    took = time.perf_counter() - started
    return {"connections": CONNECTIONS, "in_a_request": each, "per_s": len(asks) * each / took}


def _get(connection: http.client.HTTPConnection, text: str, mode: str) -> bytes:
    connection.request("GET", f"/v1/search?q={quote(text)}&mode={mode}")
    return _read(connection)


def _post(connection: http.client.HTTPConnection, texts: Sequence[str], mode: str) -> bytes:
    body = json.dumps({"queries": texts, "mode": mode})
    connection.request("POST", "/v1/search", body, {"Content-Type": "application/json"})
    return _read(connection)


def _read(connection: http.client.HTTPConnection) -> bytes:
    response = connection.getresponse()
    content = response.read()
    if response.status != 200:
        raise RuntimeError(f"{response.status}: {content[:500]!r}")
    return content


def latency(ask: Callable[[str], object], texts: Sequence[str]) -> dict[str, float]:
    """Of each text asked once, one after the other."""
    took = []
    for text in texts:
        started = time.perf_counter()
        ask(text)
        took.append(time.perf_counter() - started)
    low, high = np.quantile(took, [0.5, 0.99])
    return {
        "questions": len(took), "p50_ms": 1000 * float(low), "p99_ms": 1000 * float(high), "per_s": len(took) / sum(took),
    }  # fmt: skip


if __name__ == "__main__":
    main()
