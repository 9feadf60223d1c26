"""The service under load, beside a bare FastAPI answer of the same size and FAISS alone on the same vectors.

Single questions, more than ten thousand distinct ones, are sent by wrk from 32 to 512 connections; many at once by one client.
Then a server that lets few wait is asked by more than it takes, and its memory watched. The bare answer is a FastAPI route that
gives one real answer, written anew by the same serialiser for every request, under the same server with as many processes. Run it
with `make bench-serve`; it takes wrk and a release (`make demo`).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import torch

from kgservice.answers import Question
from kgservice.engine import Engine, open_engine
from kgservice.query import QueryBatch
from kgservice.resources import home
from kgservice.server.lines import ARROW
from tests.bench import machine
from tests.bench.serve_stages import stages

K = 10
DISTINCT = 12_000
JSON = {"Content-Type": "application/json"}
CONNECTIONS = (32, 128, 512)
TURNS = 5
"""How often each side is measured, one after the other."""
FEW_WAITING = 64
"""Requests that may wait in the server that is asked for too much."""
HERE = Path(__file__).resolve().parent


def questions(engine: Engine) -> list[dict[str, Any]]:
    """Distinct questions for objects, then for subjects, in a fixed random order."""
    graph = engine.graph
    table = graph.statements
    objects = np.unique(table.subject.astype(np.int64) * graph.r + table.relation)
    subjects = np.unique(table.object.astype(np.int64) * graph.r + table.relation)
    asked = []
    for part, keys in (("subject", objects), ("object", subjects)):
        for key in keys.tolist():
            entity = engine.entities.short(graph.entities.name(key // graph.r))
            asked.append(
                {part: entity, "relation": engine.relations.short(graph.relations.name(key % graph.r)), "k": K}
            )
    order = np.random.default_rng(0).permutation(len(asked))[:DISTINCT]
    return [asked[place] for place in order.tolist()]


@contextmanager
def serving(command: list[str], environ: dict[str, str]) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server of its own process, ended afterwards."""
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **environ}, stdout=log, stderr=log, cwd=HERE.parents[1])
        try:
            address = machine.address(Path(log.name), process)
            until = time.monotonic() + 120
            while httpx.get(f"{address}/livez", trust_env=False, timeout=30).status_code != 200:
                if time.monotonic() > until:
                    raise RuntimeError("the server does not get ready")
                time.sleep(0.2)
            yield address, process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def wrk(address: str, bodies: Path, connections: int, seconds: int, *, statuses: bool = False) -> dict[str, Any]:
    """What wrk measures, in requests a second and milliseconds; counts answers by status, which costs it some speed."""
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--timeout",
        "30s",
        "-s",
        str(HERE / "serve.lua"),
        address,
    ]
    command += ["--", str(bodies), *["statuses"] * statuses]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("JSON "))
    found: dict[str, Any] = json.loads(line.removeprefix("JSON "))
    if not statuses:
        found = {key: found[key] for key in found if key not in ("answered", "overloaded", "told_when")}
    figures = {"connections": connections, "requests_per_s": round(found["requests"] / found["seconds"], 1), **found}
    print(figures, file=sys.stderr, flush=True)
    return figures


def bulk(
    address: str, asked: list[dict[str, Any]], model: str | None, seconds: float, accept: str = "application/json"
) -> dict[str, float]:
    """Questions a second in requests of a thousand, from one client, the answers in one of the forms there are."""
    rows = [{key: value for key, value in one.items() if key not in ("k", "model")} for one in asked[:1000]]
    body = orjson.dumps({"questions": rows, "k": K, "model": model})
    with httpx.Client(base_url=address, trust_env=False, timeout=120) as client:
        times = []
        until = time.perf_counter() + seconds
        while time.perf_counter() < until or len(times) < 3:
            started = time.perf_counter()
            answer = client.post("/v1/complete", content=body, headers={**JSON, "Accept": accept})
            times.append(time.perf_counter() - started)
            assert answer.status_code == 200, answer.text[:500]
    return {"requests": len(times), "questions_per_s": round(len(rows) / float(np.median(times)), 1)}


def faiss_alone(
    engine: Engine, asked: list[dict[str, Any]], model: str | None, seconds: float, *, threads: int, k: int = K
) -> dict[str, float]:
    """FAISS Flat over the model's vectors with the same thousand query vectors, its product of matrices switched on."""
    import faiss

    faiss.cvar.distance_compute_blas_threshold = 20
    faiss.omp_set_num_threads(threads)
    served = engine.model(model)
    index = (faiss.IndexFlatIP if served.scorer.metric == "ip" else faiss.IndexFlatL2)(served.vectors.base.shape[1])
    index.add(served.vectors.base.numpy())
    vectors = np.concatenate([_vectors(engine, served, one) for one in asked[:1000]])
    times = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(times) < 3:
        started = time.perf_counter()
        index.search(vectors, k)
        times.append(time.perf_counter() - started)
    rate = round(len(vectors) / float(np.median(times)), 1)
    size, width = served.vectors.base.shape
    return {"vectors": size, "width": width, "threads": threads, "k": k, "questions_per_s": rate}


def _vectors(engine: Engine, served: Any, one: dict[str, Any]) -> np.ndarray:
    relation = np.array([engine.relations.resolve(one["relation"])], np.int32)
    entity = np.array([engine.entities.resolve(one.get("subject") or one["object"])], np.int32)
    batch = QueryBatch.objects(entity, relation) if "subject" in one else QueryBatch.subjects(relation, entity)
    with torch.inference_mode():
        vectors: np.ndarray = served.scorer.query_vectors(batch).numpy()
    return vectors


def resident_mib(process: subprocess.Popen[bytes]) -> float:
    """Resident memory of a server and its workers; what they share counts once for each."""
    tasks = Path(f"/proc/{process.pid}/task").iterdir()
    ids = [process.pid, *(int(id) for task in tasks for id in (task / "children").read_text().split())]
    pages = sum(int(Path(f"/proc/{id}/statm").read_text().split()[1]) for id in ids)
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def overloaded(environ: dict[str, str], bodies: Path, seconds: int, soak: int) -> dict[str, Any]:
    """A server that lets few wait, asked from ever more connections, at last for long; its memory every second of that."""
    environ = {**environ, "KGSERVICE_MAX_WAITING": str(FEW_WAITING)}
    memory: list[float] = []
    with serving([sys.executable, "-m", "kgservice", "serve"], environ) as (address, process):
        wrk(address, bodies, 32, 4)
        runs = [wrk(address, bodies, connections, seconds, statuses=True) for connections in CONNECTIONS]
        over = threading.Event()

        def watch() -> None:
            while not over.wait(1):
                memory.append(round(resident_mib(process), 1))

        watching = threading.Thread(target=watch)
        watching.start()
        long = wrk(address, bodies, CONNECTIONS[-1], soak, statuses=True)
        over.set()
        watching.join()
        after = httpx.post(
            f"{address}/v1/complete", content=bodies.open("rb").readline(), headers=JSON, trust_env=False, timeout=30
        )
    return {
        "max_waiting": FEW_WAITING,
        "service": runs,
        "long": long,
        "resident_mib_each_second": memory,
        "answers_afterwards": after.status_code == 200,
    }


def _share(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Of both measured by turns: the median of the shares, the least and the greatest."""
    shares = sorted(own / other for own, other in zip(ours, theirs, strict=True))
    return {
        "median": round(statistics.median(shares), 3),
        "least": round(shares[0], 3),
        "greatest": round(shares[-1], 3),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=home())
    parser.add_argument("--model", help="that is asked; by default the release's choice for each question")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=8, help="of each measurement")
    parser.add_argument("--soak", type=int, default=60, help="seconds of asking for too much")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "serve.json")
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed: apt-get install wrk")
    machine.warn_if_busy()
    engine = open_engine(given.home / "releases")
    asked = questions(engine)
    for one in asked:
        one |= {"model": given.model} if given.model else {}
    first = {key: value for key, value in asked[0].items() if key not in ("k", "model")}
    sample = orjson.dumps(engine.complete([Question(**first)], k=K, model=given.model)[0])
    common = {"KGSERVICE_HOME": str(given.home), "KGSERVICE_PORT": "0", "KGSERVICE_LOG_LEVEL": "warning"}
    common["KGSERVICE_WORKERS"] = str(given.workers)
    found: dict[str, Any] = {"model": given.model, "models": list(engine.release.models), "workers": given.workers}
    found["distinct_questions"] = len(asked)
    with tempfile.TemporaryDirectory() as folder:
        bodies, answer = Path(folder) / "bodies", Path(folder) / "answer.json"
        bodies.write_bytes(b"\n".join(map(orjson.dumps, asked)) + b"\n")
        answer.write_bytes(sample)
        bare = [sys.executable, "-m", "tests.bench.bare", str(answer)]
        serve = [sys.executable, "-m", "kgservice", "serve"]
        with serving(bare, common) as (beside, _), serving(serve, common) as (address, process):
            wrk(beside, bodies, 32, 2)
            wrk(address, bodies, 32, 4)  # so that every name was shown once, as on a server that runs
            before = resident_mib(process)
            # By turns, so that what else the machine does meets both.
            turns = [[wrk(where, bodies, 32, given.seconds) for where in (beside, address)] for _ in range(TURNS)]
            found["bare"], found["service_beside"] = ([turn[side] for turn in turns] for side in (0, 1))
            found["service"] = [wrk(address, bodies, connections, given.seconds) for connections in CONNECTIONS]
            found["resident_mib"] = {"before": round(before, 1), "after": round(resident_mib(process), 1)}
            pairs = []
            cores = (
                torch.get_num_threads()
            )  # once: FAISS and torch share their threads, and what one is told holds for both
            for _ in range(TURNS):
                many = [
                    bulk(address, asked, given.model, given.seconds / 3, form) for form in ("application/json", ARROW)
                ]
                alone = partial(faiss_alone, engine, asked, given.model, given.seconds / 3)
                # With all cores, and as the service searches: one thread a request, the candidates that a probability takes.
                width = engine.model(given.model).settings.calibration.width
                pairs.append((*many, alone(threads=cores), alone(threads=1, k=width)))
            for place, side in enumerate(("bulk", "bulk_arrow", "faiss", "faiss_as_served")):
                found[side] = [pair[place] for pair in pairs]
        found["overload"] = overloaded(common, bodies, given.seconds, given.soak)
    rates = {side: [turn["requests_per_s"] for turn in found[side]] for side in ("bare", "service_beside")}
    rates |= {side: [turn["questions_per_s"] for turn in found[side]] for side in ("bulk", "bulk_arrow", "faiss")}
    found["of_bare"] = _share(rates["service_beside"], rates["bare"])
    found["of_faiss"] = _share(rates["bulk"], rates["faiss"])
    found["of_faiss_arrow"] = _share(rates["bulk_arrow"], rates["faiss"])
    parts = [Question(**{key: one[key] for key in one if key not in ("k", "model")}) for one in asked]
    found["stages_us"] = {
        str(size): stages(engine, parts, size, given.seconds / 4, k=K, model=given.model) for size in (1, 16, 32, 1000)
    }
    about = {"when": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "machine": machine.machine(), "code": machine.code()}
    about["versions"] = machine.versions("fastapi", "uvicorn", "orjson", "torch", "faiss-cpu")
    about["command"] = "make bench-serve" + "".join(f" {word}" for word in sys.argv[1:] if "/" not in word)
    about["release"] = {"id": engine.release.id, "graph": engine.graph.content_hash}
    machine.write_result(given.out, {**about, **found})
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
