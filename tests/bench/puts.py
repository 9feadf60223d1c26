"""Puts under load through a real server, killed and started again in between: how fast, and is any lost?

Several clients put entities, others search and complete; half way the server is killed (kill −9) and started again. Then every
entity that was answered for is asked for. Run it with `make bench-puts`; the sample graph's release must be there (`make demo`).
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from kgservice.resources import home
from tests.bench import machine

WRITERS, READERS = 8, 2


class Server:
    """A server of its own process over a folder of releases."""

    def __init__(self, folder: Path) -> None:
        environ = {**os.environ, "KGSERVICE_HOME": str(folder), "KGSERVICE_PORT": "0"}
        started = time.perf_counter()
        command = [sys.executable, "-m", "kgservice", "serve"]
        self.process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.address = next(line.split()[-1] for line in self.process.stderr if line.startswith("serving release"))
        threading.Thread(target=lambda: [None for _ in self.process.stderr or ()], daemon=True).start()
        with self.client() as client:
            while client.get("/readyz").status_code != 200:
                time.sleep(0.1)
        self.ready_s = time.perf_counter() - started

    def client(self) -> httpx.Client:
        """For one thread."""
        transport = httpx.HTTPTransport(retries=8)
        return httpx.Client(base_url=self.address, trust_env=False, timeout=120, transport=transport)

    def kill(self) -> None:
        """As the machine's sudden end would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def load(server: Server, numbers: list[int], kill_after: int | None) -> tuple[list[int], dict[str, list[float]]]:
    """Put entities from several clients while others ask; returns which were answered for, and milliseconds by kind."""
    waiting, done = iter(numbers), []
    taken: dict[str, list[float]] = {"put": [], "search": [], "complete": []}
    lock, over = threading.Lock(), threading.Event()

    def write() -> None:
        with server.client() as client:
            while True:
                with lock:
                    number = next(waiting, None)
                if number is None or over.is_set():
                    return
                body = {
                    "labels": {"en": f"Newport {number}"},
                    "descriptions": {"en": f"city number {number} in France"},
                }
                facts = [{"relation": "world:country", "object": "world:France"}]
                begun = time.perf_counter()
                try:
                    answer = client.put(f"/v1/entities/bench:{number}", json={**body, "statements": facts})
                except httpx.HTTPError:
                    return
                if answer.status_code == 201:
                    taken["put"].append(1e3 * (time.perf_counter() - begun))
                    done.append(number)

    def read() -> None:
        with server.client() as client:
            for turn in itertools.count():
                if over.is_set():
                    return
                begun = time.perf_counter()
                try:
                    if turn % 2:
                        client.get("/v1/search", params={"q": f"newport {turn}", "mode": "lexical"})
                    else:
                        client.post("/v1/complete", json={"relation": "world:country", "object": "world:France"})
                except httpx.HTTPError:
                    return
                taken["search" if turn % 2 else "complete"].append(1e3 * (time.perf_counter() - begun))
                time.sleep(0.05)

    with ThreadPoolExecutor(WRITERS + READERS) as pool:
        readers = [pool.submit(read) for _ in range(READERS)]
        writers = [pool.submit(write) for _ in range(WRITERS)]
        while not all(one.done() for one in writers):
            if kill_after is not None and len(done) >= kill_after:
                server.kill()
                over.set()
            time.sleep(0.02)
        over.set()
        for one in [*readers, *writers]:
            one.result()
    return done, taken


def measure(count: int) -> dict[str, Any]:
    """The figures."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(home() / "releases", Path(folder) / "releases", ignore=shutil.ignore_patterns("journal*"))
        server = Server(Path(folder))
        begun = time.perf_counter()
        first, times = load(server, list(range(count)), kill_after=count // 2)
        server = Server(Path(folder))
        known = set(first)
        second, more = load(server, [number for number in range(count) if number not in known], None)
        took = time.perf_counter() - begun
        with server.client() as client:
            lost = [n for n in {*first, *second} if client.get(f"/v1/entities/bench:{n}").status_code != 200]
            begun = time.perf_counter()
            client.put(
                "/v1/entities/bench:last", json={"labels": {"en": "Lastport"}, "descriptions": {"en": "city in France"}}
            )
            found = client.get("/v1/search", params={"q": "Lastport"}).json()["matches"][0]["id"] == "bench:last"
            asked = client.post("/v1/complete", json={"subject": "bench:last", "relation": "world:country"}).json()
            at_once = time.perf_counter() - begun
        server.kill()
    every = {kind: [*times[kind], *more[kind]] for kind in times}
    return {
        "answered_for": len({*first, *second}), "lost": len(lost), "duration_s": took, "restart_s": server.ready_s,
        "writers": WRITERS, "readers": READERS,
        "ms": {kind: dict(zip(("p50", "p99"), np.percentile(ms, [50, 99]).tolist(), strict=True)) for kind, ms in every.items()},
        "then": {"found": found, "best": asked["candidates"][0]["id"], "s": at_once},
    }  # fmt: skip


def main() -> None:
    """Measure, write `results/puts.json`, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=machine.RESULTS / "puts.json")
    given = parser.parse_args()
    machine.warn_if_busy()
    head = {
        "benchmark": "puts", "started": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine.machine(),
        "code": machine.code(), "versions": machine.versions("torch", "numpy", "tantivy", "httpx"),
    }  # fmt: skip
    figures = measure(given.count)
    machine.write_result(given.out, {**head, **figures})
    print(figures)


if __name__ == "__main__":
    main()
