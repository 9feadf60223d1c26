"""The container files name what is there, and what runs is hardened. No engine is needed to see that."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kgservice.server.metrics import Metrics
from kgservice.server.settings import ELSEWHERE, PREFIX, ServerSettings

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).resolve().parent.parent
STORES = ("postgresql", "milvus", "etcd", "minio")
"""Others' images that write beside their volumes, or drop to a user of their own as they start."""
MONITORING = ROOT / "api" / "monitoring"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = read(ROOT / "docker-compose.yml")["services"]
    return found


def test_what_runs_is_hardened_and_watched(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert "no-new-privileges:true" in service["security_opt"], name
        assert not service.get("privileged"), name
        assert "healthcheck" in service, name
        if name not in STORES:
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name


def test_settings_of_the_containers_are_settings(services: dict[str, dict[str, Any]]) -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8") + (ROOT / "api" / "Dockerfile").read_text("utf-8")
    named = set(re.findall(rf"{PREFIX}([A-Z_]+)", text))
    assert named
    others = {name.removeprefix(PREFIX) for name in ELSEWHERE}
    assert {name.lower() for name in named - others} <= set(ServerSettings.model_fields)
    # Compose hands on what is not set as an empty text.
    environment = {
        name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for name, value in services["api"]["environment"].items()
    }
    assert ServerSettings.load(environment).database_url is None
    grace_s = int(services["api"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > ServerSettings().drain_s


def test_jobs_are_done_beside_what_answers(services: dict[str, dict[str, Any]]) -> None:
    api, worker = services["api"], services["worker"]
    assert (api["environment"]["KGSERVICE_MAX_JOBS"], worker["command"][0]) == ("0", "worker")
    assert set(api["volumes"]) == set(worker["volumes"])  # what a worker writes is what the server reads
    assert worker["command"][2] in worker["healthcheck"]["test"][-1]


def test_mounted_files_are_there(services: dict[str, dict[str, Any]]) -> None:
    volumes = read(ROOT / "docker-compose.yml")["volumes"]
    for service in services.values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (ROOT / source).is_file() if source.startswith("./") else source in volumes


def test_prometheus_looks_at_the_service(services: dict[str, dict[str, Any]]) -> None:
    (job,) = read(MONITORING / "prometheus.yml")["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    name, _, port = target.partition(":")
    assert services[name]["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_the_dashboard_shows_what_is_counted() -> None:
    board = json.loads((MONITORING / "grafana" / "kgservice.json").read_text(encoding="utf-8"))
    (source,) = read(MONITORING / "grafana" / "datasource.yml")["datasources"]
    shown = set()
    for panel in board["panels"]:
        assert panel["datasource"]["uid"] == source["uid"]
        for target in panel["targets"]:
            shown |= set(re.findall(r"kgservice_\w+", target["expr"]))
    metrics = Metrics()
    metrics.serves("x", 0)
    counted = set(re.findall(r"^# TYPE (\w+)", metrics.text().decode(), flags=re.MULTILINE))
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown} == {
        name for name in counted if not name.endswith("_created")
    }


def test_the_image_is_built_as_hadolint_wants_it() -> None:
    beside = Path(sys.executable).with_name("hadolint")
    if (found := str(beside) if beside.exists() else shutil.which("hadolint")) is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([found, str(ROOT / "api" / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_image_does_not_run_as_root() -> None:
    lines = (ROOT / "api" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users
    assert users[-1] not in ("0", "root")
