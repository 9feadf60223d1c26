"""What the whole graph looks like: its relations, and the map of a model's entity space."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from kgservice.engine import Engine
from kgservice.release import ReleaseStore
from kgservice.server.app import create_app, open_app
from kgservice.server.metrics import Metrics
from kgservice.server.once import Once
from kgservice.server.settings import ServerSettings
from kgservice.server.work import Workers


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[TestClient]:
    with TestClient(create_app(engine, ServerSettings(home=Path(), max_map=500))) as client:
        yield client


def test_relations_are_counted_as_they_are_stated(client: TestClient, engine: Engine) -> None:
    answer = client.get("/v1/relations", params={"k": 1000}).json()
    graph = engine.graph
    stated = Counter([*graph.statements.relation.tolist(), *graph.literals.statements.relation.tolist()])
    pairs = Counter(
        [*graph.statements.qualifier_relation.tolist(), *graph.literals.statements.qualifier_relation.tolist()]
    )
    assert answer["total"] == len(answer["relations"]) == len(stated | pairs)
    for one in answer["relations"]:
        id = engine.relations.resolve(one["id"])
        assert (one["statements"], one["qualifying"], one["links"]) == (stated[id], pairs[id], bool(graph.linking[id]))
    used = [one["statements"] + one["qualifying"] for one in answer["relations"]]
    assert used == sorted(used, reverse=True)


def test_relations_are_found_by_words(client: TestClient) -> None:
    def found(text: str, **query: Any) -> list[str]:
        return [one["id"] for one in client.get("/v1/relations", params={"q": text, **query}).json()["relations"]]

    assert found("member")[0] == "world:memberOf"
    assert found("MEMBERof") == ["world:memberOf"]
    assert found("time start") == ["world:startTime"]
    assert found("no such relation") == []
    assert len(found("o", k=2)) == 2


@pytest.fixture(scope="module")
def map_of(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/v1/map", params={"n": 300}).json()
    return found


def test_a_map_shows_the_best_connected_in_a_square(map_of: dict[str, Any], engine: Engine) -> None:
    points = map_of["points"]
    links = [point["links"] for point in points]
    assert links == np.sort(engine.graph.degree)[::-1][:300].tolist()
    xy = np.array([[point["x"], point["y"]] for point in points])
    assert np.abs(xy).max() == pytest.approx(1, abs=1e-3)
    assert {point["kind"] for point in points} <= set(range(-1, len(map_of["kinds"])))
    for point in points[:20]:
        if point["kind"] >= 0:
            held = [type.id for type in engine.entity(point["id"], limit=0).types]
            assert map_of["kinds"][point["kind"]]["id"] in held


def test_neighbours_of_a_map_are_of_one_kind(map_of: dict[str, Any]) -> None:
    """Far more often than chance has it: what a model holds to be alike is near."""
    xy = np.array([[point["x"], point["y"]] for point in map_of["points"]])
    kind = np.array([point["kind"] for point in map_of["points"]])
    far = ((xy[:, None] - xy[None]) ** 2).sum(-1)
    np.fill_diagonal(far, np.inf)
    same = (kind[far.argmin(1)] == kind).mean()
    chance = (np.bincount(kind + 1) / len(kind) @ (np.bincount(kind + 1) / len(kind))).item()
    assert same > chance + 0.2


def test_a_map_is_kept_and_the_same_again(client: TestClient, map_of: dict[str, Any]) -> None:
    again = client.get("/v1/map", params={"n": 300})
    assert again.json() == map_of
    assert client.get("/v1/map", params={"n": 300}, headers={"If-None-Match": again.headers["ETag"]}).status_code == 304


def test_limits(client: TestClient) -> None:
    for query, told in (({"n": 501}, "n must be at most 500"), ({"n": 2}, "greater than or equal to 3")):
        response = client.get("/v1/map", params=query)
        assert response.status_code == 422
        assert told in response.json()["detail"]
    assert client.get("/v1/map", params={"model": "none"}).json()["type"] == "/problems/unknown-model"
    assert client.get("/v1/relations", params={"k": 0}).status_code == 422


def test_what_is_erased_leaves_the_map(release_store: ReleaseStore, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(release_store.folder, tmp_path / "releases")
    with TestClient(open_app(ServerSettings(home=tmp_path))) as client:
        before = client.get("/v1/map", params={"n": 20}).json()
        gone = before["points"][3]["id"]
        assert client.delete(f"/v1/entities/{gone}").status_code == 204
        after = client.get("/v1/map", params={"n": 20}).json()
        assert after["points"] == [point for point in before["points"] if point["id"] != gone]
        assert after["release"].endswith("@1")


def test_once_computes_once_for_all_who_wait_and_again_after_a_failure() -> None:
    calls: list[int] = []

    def compute() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("the first fails")
        return len(calls)

    async def run() -> None:
        once = Once(Workers(1, 10, math.inf, Metrics()), size=2)
        with pytest.raises(ValueError, match="the first fails"):
            await once.get("a", compute)
        assert await asyncio.gather(*(once.get("a", compute) for _ in range(5))) == [2] * 5
        waiting = asyncio.create_task(once.get("b", compute))
        await asyncio.sleep(0)
        waiting.cancel()  # one who leaves does not take the computation along
        assert await once.get("b", compute) == 3
        assert await once.get("c", compute) == 4  # the third value: the longest unused is forgotten
        assert (await once.get("b", compute), await once.get("a", compute)) == (3, 5)

    asyncio.run(run())


def test_a_map_of_alike_vectors_is_refused(engine: Engine) -> None:
    from kgservice.arrays.layers import Layers
    from kgservice.engine.mapping import entity_map
    from kgservice.errors import InvalidQuestion

    served = engine.model()
    flat = dataclasses.replace(served, vectors=Layers.of(served.vectors.base * 0))
    with pytest.raises(InvalidQuestion, match="has no map: its vectors of entities are too few, or all alike"):
        entity_map(flat, engine.graph, engine._views, count=10, language="en", release="r")
