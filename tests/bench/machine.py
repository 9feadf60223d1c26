"""What every benchmark states beside its figures: the machine, the code, the memory used, and the limit of the machine."""

from __future__ import annotations

import json
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import psutil
import torch

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).resolve().parent / "results"
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16")


@contextmanager
def matmul_precision(name: str) -> Iterator[None]:
    """Of float32 products, for a while. With AMX, "medium" rounds the factors to bfloat16: fast, and not float32-grade."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def machine() -> dict[str, Any]:
    """The processor, its flags that decide a matrix product's speed, memory, and versions."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    field = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in info.splitlines()) if value
    }
    flags = set(field.get("flags", "").split())
    return {
        "cpu": field.get("model name", platform.processor()),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": list(os.getloadavg()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def warn_if_busy() -> None:
    """Say so where others compute: what is measured beside them is not to be quoted."""
    cores = psutil.cpu_percent(interval=2) / 100 * (psutil.cpu_count() or 1)
    if cores > 0.2:
        print(f"The machine is busy ({cores:.1f} cores in use): these figures are not to be quoted.", file=sys.stderr)


def code() -> dict[str, Any]:
    """The commit that was measured, and whether the checkout differs from it."""

    def git(*arguments: str) -> str | None:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    changes = git("status", "--porcelain")
    return {"commit": git("rev-parse", "HEAD"), "modified": None if changes is None else bool(changes)}


def versions(*names: str) -> dict[str, str]:
    """Installed versions of distributions."""
    return {name: metadata.version(name) for name in names}


def peak_memory_mib(process: int | Literal["self"] = "self") -> float:
    """The most resident memory a process ever had (VmHWM, or this one's ru_maxrss where there is no /proc)."""
    status = Path(f"/proc/{process}/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def reset_peak_memory() -> None:
    """Begin `peak_memory_mib` anew from what is resident now, where the system can (Linux)."""
    control = Path("/proc/self/clear_refs")
    if control.exists():
        control.write_text("5")


def gemm_floor(*, batch: int, n: int, width: int, dtype: torch.dtype, seconds: float = 1.5) -> dict[str, float]:
    """The three products that a softmax over all entities cannot do without, into kept buffers.

    Scores `[batch, width] @ [width, n]`, the gradient of the questions `[batch, n] @ [n, width]` and of the entities
    `[n, batch] @ [batch, width]`.

    Returns:
        `batch_s`, the median time of the three, and `gflops`.
    """
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(batch, width, generator=generator).to(dtype)
    entities = torch.randn(n, width, generator=generator).to(dtype)
    scores, grad_queries, grad_entities = (
        torch.empty(shape, dtype=dtype) for shape in ((batch, n), (batch, width), (n, width))
    )

    def once() -> None:
        torch.mm(queries, entities.T, out=scores)
        torch.mm(scores, entities, out=grad_queries)
        torch.mm(scores.T, queries, out=grad_entities)

    took = median_time(once, seconds)
    return {"batch_s": took, "gflops": 3 * 2 * batch * n * width / took / 1e9}


def median_time(call: Callable[[], object], seconds: float) -> float:
    """The median of as many calls as fit into `seconds`, at least five, after two that warm up."""
    call(), call()
    took: list[float] = []
    while len(took) < 5 or sum(took) < seconds:
        started = time.perf_counter()
        call()
        took.append(time.perf_counter() - started)
    return statistics.median(took)


def in_own_process(module: str, task: Mapping[str, Any]) -> dict[str, Any]:
    """Run `python -m <module> --worker TASK RESULT` and give what it wrote, so that its peak memory is its own.

    Raises:
        RuntimeError: it failed; its own words are on standard error.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", module, "--worker", json.dumps(task), str(result)]
        done = subprocess.run(command, cwd=ROOT, check=False)
        if done.returncode:
            raise RuntimeError(f"{module} with {task} ended with {done.returncode}")
        values: dict[str, Any] = json.loads(result.read_text())
        return values


def write_result(path: Path, values: Mapping[str, Any]) -> None:
    """One JSON file, complete or not there at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_suffix(".partial")
    staging.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    staging.replace(path)


def address(log: Path, server: subprocess.Popen[bytes]) -> str:
    """Where a `kgservice serve` that writes to `log` listens, once it does.

    Raises:
        RuntimeError: it ended, or said nothing within five minutes.
    """
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"the server ended:\n{log.read_text()}")
        for word in log.read_text().split():
            if word.startswith("http://127.0.0.1:"):
                found = word.rstrip("/,.")
                with suppress(OSError), socket.create_connection(("127.0.0.1", int(found.rpartition(":")[2]))):
                    return found
        time.sleep(0.1)
    raise RuntimeError(f"the server said no address:\n{log.read_text()}")
