"""An enrichment on a cluster: two nodes on this machine, one of them lost in the middle, give the bytes of one process."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kgservice.engine import Engine
from kgservice.enrichment import distributed
from kgservice.enrichment.plan import Plan
from kgservice.enrichment.running import CALIBRATION, PROPOSALS, enrich
from kgservice.errors import DataError
from kgservice.release import ReleaseStore
from tests.test_distributed import Nodes, started

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with started() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def engine(release_store: ReleaseStore) -> Engine:
    return Engine.open(release_store.get(), verify=False)


@pytest.fixture(scope="module")
def plan(engine: Engine) -> Plan:
    relations = ("world:borders", "world:officialLanguage", "world:currency")
    return Plan(engine.release_name, models=("complex",), relations=relations, threshold=0.02, block=16)


@pytest.fixture(scope="module")
def alone(engine: Engine, plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        enrich(engine, plan, folder)
    finally:
        torch.set_num_threads(threads)
    return folder


def _same(one: Path, other: Path) -> None:
    blocks = sorted(path.name for path in (one / "blocks").iterdir())
    assert sorted(path.name for path in (other / "blocks").glob("[0-9]*")) == blocks
    for name in (PROPOSALS, CALIBRATION, *(f"blocks/{block}" for block in blocks)):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_two_nodes_give_the_same_bytes(
    nodes: Nodes, engine: Engine, plan: Plan, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(distributed, "TOGETHER", 2)
    with caplog.at_level(logging.INFO, distributed.__name__):
        enrich(engine, plan, tmp_path, ray="")
    assert "done on 2 nodes" in caplog.text
    _same(alone, tmp_path)


def test_a_lost_node_loses_nothing(
    nodes: Nodes, engine: Engine, plan: Plan, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setattr(distributed, "TOGETHER", 1)
    lost: list[int] = []

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "score" and done >= 4 and not lost:
            lost.append(total - done)
            nodes.lose()

    try:
        enrich(engine, plan, tmp_path, progress, ray="")
        alive = sum(node["Alive"] for node in ray.nodes())
    finally:
        nodes.add()
    assert alive == 1
    assert lost[0] > 10, "most of the work should come after the loss"
    _same(alone, tmp_path)


def test_a_node_with_another_release_says_so(nodes: Nodes, engine: Engine, plan: Plan, tmp_path: Path) -> None:
    enrich(engine, plan, tmp_path)
    (tmp_path / "report.json").unlink()
    for block in (tmp_path / "blocks").iterdir():
        block.unlink()
    other = replace(plan, release=f"{plan.release.partition('@')[0]}@99")
    (tmp_path / "plan.json").write_text(json.dumps(other.to_json()))
    with pytest.raises(DataError, match=r"on this node, and the run is of .*@99"):
        distributed.blocks_with_ray(tmp_path, engine.release.folder.parent, [0], "", lambda _: None)
