"""Several processes over one socket: they share the work, and one that dies is replaced. Slow: each imports everything."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

QUESTION = {"subject": "world:France", "relation": "world:borders", "k": 2}


def test_workers_share_the_work_and_one_that_dies_is_replaced(world_home: Path) -> None:
    """Two processes answer; one is killed, and the other answers on; SIGTERM ends them all."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = {**os.environ, "KGSERVICE_HOME": str(world_home)}
    command = [
        sys.executable,
        "-m",
        "kgservice",
        "serve",
        "--workers",
        "2",
        "--port",
        str(port),
        "--log-level",
        "error",
    ]
    process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE)
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 60
        with httpx.Client(base_url=address, trust_env=False, timeout=30, headers={"Connection": "close"}) as client:
            while time.monotonic() < until:
                try:
                    if client.get("/readyz").status_code == 200:
                        break
                except httpx.TransportError:
                    time.sleep(0.2)
            children = _children(process.pid)
            while len(children) < 2 and time.monotonic() < until:
                time.sleep(0.1)
                children = _children(process.pid)
            # The weights are the file itself, which the workers share.
            while not all(map(_maps_weights, children)) and time.monotonic() < until:
                time.sleep(0.1)
            assert all(map(_maps_weights, children))
            os.kill(children[0], signal.SIGKILL)
            statuses = [client.post("/v1/complete", json=QUESTION).status_code for _ in range(20)]
            assert statuses == [200] * 20
            assert "kgservice_request_seconds_count" in client.get("/metrics").text
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def _maps_weights(process: int) -> bool:
    return "weights.safetensors" in Path(f"/proc/{process}/maps").read_text(encoding="utf-8")


def _children(process: int) -> list[int]:
    listed = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
    commands = {int(one): Path(f"/proc/{one}/cmdline").read_bytes() for one in listed}
    return sorted(id for id, command in commands.items() if b"spawn_main" in command)
