"""The other forms of REST: lines, tables, filters, suggestions; releases changed and compared over the wire."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from kgservice.answers import Question
from kgservice.cli import cli
from kgservice.engine import Engine
from kgservice.engine.differences import difference, questions_of
from kgservice.errors import InvalidQuestion
from kgservice.release import ReleaseStore
from kgservice.release.stacking import Stacker
from kgservice.server.app import create_app, open_app
from kgservice.server.lines import ARROW, NDJSON
from kgservice.server.settings import ServerSettings
from tests.test_server import own_store, sibling

__all__ = ["own_store"]

LANGUAGE = {"subject": "world:France", "relation": "world:officialLanguage", "k": 3}
BORDERS = {"subject": "world:France", "relation": "world:borders", "object": "world:Spain"}


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[TestClient]:
    with TestClient(create_app(engine, ServerSettings(home=Path(), max_bulk=10))) as client:
        yield client


def lines(*bodies: Any) -> bytes:
    return b"\n".join(json.dumps(body).encode() for body in bodies)


def post(client: TestClient, path: str, content: bytes, accept: str = "*/*") -> Any:
    return client.post(path, content=content, headers={"Content-Type": NDJSON, "Accept": accept})


def close(one: Any, other: Any) -> bool:
    """Equal, but for the last digits of numbers: a batch adds in another order."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    return bool(one == pytest.approx(other, rel=1e-4, abs=1e-4)) if isinstance(one, float) else one == other


@pytest.mark.parametrize(
    ("path", "bodies"),
    [
        ("/v1/complete", [LANGUAGE, {**LANGUAGE, "subject": "world:Peru", "k": 2}, {**LANGUAGE, "model": "complex"}]),
        ("/v1/classify", [BORDERS, {**BORDERS, "object": "world:Peru"}]),
    ],
)
def test_a_line_is_answered_as_a_single_request(client: TestClient, path: str, bodies: list[Any]) -> None:
    answer = post(client, path, lines(*bodies))
    assert answer.headers["Content-Type"].startswith(NDJSON)
    found = [json.loads(line) for line in answer.content.splitlines()]
    assert close(found, [client.post(path, json=body).json() for body in bodies])


def test_queries_as_lines(client: TestClient) -> None:
    answer = post(
        client, "/v1/search", lines({"query": "France", "k": 1}, {"query": "Pariss", "k": 2, "mode": "lexical"})
    )
    first, second = (json.loads(line) for line in answer.content.splitlines())
    assert first["matches"][0]["id"] == "world:France"
    assert second["matches"][0]["label"] == "Paris"


def test_a_bad_line_spoils_no_other(client: TestClient) -> None:
    bad = [{**LANGUAGE, "relation": "world:nosuch"}, {**LANGUAGE, "kk": 1}, {"subject": "world:France"}]
    answer = post(client, "/v1/complete", lines(LANGUAGE, *bad) + b"\n{\n" + lines(LANGUAGE))
    assert answer.status_code == 200
    found = [json.loads(line) for line in answer.content.splitlines()]
    assert [one.get("type") for one in found] == [
        None,
        "/problems/unknown-relation",
        "/problems/invalid-request",
        "/problems/invalid-question",
        "/problems/malformed-json",
        None,
    ]
    assert found[0] == found[-1]
    assert "Did you mean k?" in found[2]["detail"]


def test_lines_have_limits(client: TestClient) -> None:
    many = post(client, "/v1/complete", lines(*[LANGUAGE] * 11))
    assert (many.status_code, many.json()["detail"]) == (422, "A request may hold 10 lines, this one has 11")
    assert post(client, "/v1/complete", b"\n \n").status_code == 400
    assert post(client, "/v1/entities", b"{}").status_code == 415


def test_many_answers_as_lines_and_as_a_table(client: TestClient) -> None:
    body = {"questions": [{"subject": s, "relation": "world:officialLanguage"} for s in ("world:France", "world:Peru")]}
    whole = client.post("/v1/complete", json=body).json()["answers"]
    streamed = client.post("/v1/complete", json=body, headers={"Accept": NDJSON})
    assert [json.loads(line) for line in streamed.content.splitlines()] == whole
    table = pa.ipc.open_stream(client.post("/v1/complete", json=body, headers={"Accept": ARROW}).content).read_all()
    rows = table.to_pylist()
    assert [row["id"] for row in rows] == [one["id"] for answer in whole for one in answer["candidates"]]
    assert [row["question"] for row in rows] == [0] * 10 + [1] * 10
    shown = ("id", "label", "description", "score", "probability", "rank", "known", "uncertainty")
    assert [[row[name] for name in shown] for row in rows] == [
        [one[name] for name in shown] for answer in whole for one in answer["candidates"]
    ]
    assert {(row["model"], row["release"]) for row in rows} == {(whole[0]["model"], whole[0]["release"])}
    verdicts = client.post("/v1/classify", json={"statements": [BORDERS]}, headers={"Accept": ARROW}).content
    assert pa.ipc.open_stream(verdicts).read_all().to_pylist()[0]["known"] is True
    found = client.post("/v1/search", json={"queries": ["France"]}, headers={"Accept": ARROW}).content
    assert pa.ipc.open_stream(found).read_all().to_pylist()[0]["id"] == "world:France"


def test_tags_are_of_the_release_and_of_all_that_is_asked(client: TestClient) -> None:
    tags = {}
    for path in ("/v1/entities/world:France", "/v1/entities/world:Peru", "/v1/entities/world:France?limit=1"):
        first = client.get(path)
        tags[path] = first.headers["ETag"]
        assert not tags[path].startswith("W/")
        for given in (tags[path], f'"x", {tags[path]}', f"W/{tags[path]}", "*"):
            again = client.get(path, headers={"If-None-Match": given})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["ETag"] == tags[path]
        assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    assert len(set(tags.values())) == 3


def test_filters_restrict_candidates(client: TestClient, engine: Engine) -> None:
    asked = {"relation": "world:officialLanguage", "object": "world:French_language", "exclude_known": False, "k": 1000}
    by_text = client.post("/v1/complete", json={**asked, "filters": ["world:currency=world:Euro"]}).json()
    parts = {"relation": "world:currency", "object": "world:Euro"}
    assert by_text == client.post("/v1/complete", json={**asked, "filters": [parts]}).json()
    euro = engine.complete([Question(relation="world:currency", object="world:Euro")], k=1000, exclude_known=False)[0]
    known = {one.id for one in euro.candidates if one.known}
    ids = [one["id"] for one in by_text["candidates"]]
    assert ids
    assert set(ids) <= known
    refused = client.post("/v1/complete", json={**asked, "filters": ["nothing"]})
    assert "A filter is RELATION=OBJECT" in refused.json()["detail"]
    both = {"subject": "world:France", "object": "world:Spain", "filters": [parts]}
    assert "types and filters restrict entities" in client.post("/v1/complete", json=both).json()["detail"]


def test_suggestions_begin_with_what_was_typed(client: TestClient) -> None:
    found = client.get("/v1/suggest", params={"prefix": "Fran", "k": 5}).json()["matches"]
    assert "world:France" in [one["id"] for one in found]
    assert {one["kind"] for one in found} <= {"exact", "prefix"}
    assert client.get("/v1/suggest", params={"prefix": "Frnace", "mode": "auto"}).status_code == 422
    assert client.get("/v1/suggest", params={"prefix": "zzzqqq"}).json()["matches"] == []


# Releases


def test_releases_are_activated_and_rolled_back(own_store: ReleaseStore) -> None:
    first, second = own_store.current_id(), sibling(own_store, "second")
    own_store.activate(str(first))
    with TestClient(open_app(ServerSettings(home=own_store.folder.parent))) as client:
        done = client.post(f"/v1/releases/{second[:8]}/activate")
        assert (done.status_code, done.json()) == (200, {"current": second, "serving": second})
        assert client.post("/v1/complete", json=LANGUAGE).json()["release"] == f"{second}@0"
        assert client.post("/v1/releases/rollback").json() == {"current": first, "serving": first}
        assert client.post("/v1/releases/nosuch/activate").json()["type"] == "/problems/unknown-release"
        same = client.get(f"/v1/releases/{first}/diff/{second}", params={"questions": 20, "k": 5}).json()
        assert (same["asked"], same["changed"], same["overlap"], same["examples"]) == (20, 0, 1.0, [])
    with TestClient(open_app(ServerSettings(home=own_store.folder.parent, read_only=True))) as client:
        assert client.post("/v1/releases/rollback").status_code == 403


def test_the_terminal_compares_releases(own_store: ReleaseStore) -> None:
    first, second = own_store.current_id(), sibling(own_store, "second")
    runner = CliRunner(env={"KGSERVICE_HOME": str(own_store.folder.parent)})
    done = runner.invoke(cli, ["release", "diff", str(first), second, "--questions", "10", "-k", "3"])
    assert done.exit_code == 0, done.output
    assert f"{first}@0 → {second}@0: 10 questions" in done.output
    assert "0 with other answers, 0 with another first one; 100.0% of the best 3 are the same" in done.output


def test_a_damaged_release_is_not_served(own_store: ReleaseStore, caplog: pytest.LogCaptureFixture) -> None:
    first, second = own_store.current_id(), sibling(own_store, "bad")
    own_store.activate(str(first))
    weights = next((own_store.folder / second).glob("models/*/weights.safetensors"))
    sound = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    with TestClient(open_app(ServerSettings(home=own_store.folder.parent))) as client:
        done = client.post(f"/v1/releases/{second}/activate")
        assert done.status_code == 503 or done.json()["serving"] == first
        assert client.post("/v1/complete", json=LANGUAGE).json()["release"] == f"{first}@0"
    assert "weights.safetensors" in caplog.text


def test_twenty_swaps_under_load_fail_no_request(family_engine: Engine, tmp_path: Path) -> None:
    """Every answer is whole, and of a release that was current."""
    store = ReleaseStore(shutil.copytree(family_engine.release.folder.parent, tmp_path / "releases"))
    ids = [str(store.current_id()), sibling(store, "second")]
    asked = {"subject": "https://example.org/child0", "relation": "https://example.org/parent", "k": 3}
    with TestClient(open_app(ServerSettings(home=tmp_path))) as client:
        stop = threading.Event()

        def ask() -> set[tuple[int, str]]:
            seen = set()
            while not stop.is_set():
                answer = client.post("/v1/complete", json=asked)
                seen.add((answer.status_code, answer.json().get("release", answer.text)))
            return seen

        with ThreadPoolExecutor(3) as pool:
            asking = [pool.submit(ask) for _ in range(3)]
            try:
                for turn in range(20):
                    done = client.post(f"/v1/releases/{ids[turn % 2]}/activate").json()
                    assert done["serving"] == ids[turn % 2]
            finally:
                stop.set()
        seen = set().union(*(one.result() for one in asking))
    assert {status for status, _ in seen} == {200}
    assert {release for _, release in seen} <= {f"{id}@0" for id in ids}
    assert len({release for _, release in seen}) == 2


def test_the_difference_is_what_has_changed(engine: Engine, tmp_path: Path, release_store: ReleaseStore) -> None:
    shutil.copytree(release_store.folder, tmp_path / "releases")
    with TestClient(open_app(ServerSettings(home=tmp_path))) as client:
        gone = client.post("/v1/complete", json=LANGUAGE).json()["candidates"][0]["id"]
        assert client.delete(f"/v1/entities/{gone}").status_code == 204
        after = client.app.state.service.engine  # type: ignore[attr-defined]
    question = Question(subject="world:France", relation="world:officialLanguage")
    found = difference(engine, after, questions=[question], k=3)
    assert (found.asked, found.changed, found.first_changed) == (1, 1, 1)
    assert found.overlap == pytest.approx(2 / 3)
    places = {place.answer.id: (place.before, place.after) for place in found.examples[0].places}
    assert places[gone] == (1, None)
    asked = found.examples[0]
    assert (asked.subject and asked.subject.label, asked.object) == ("France", None)
    named_gone = Question(subject=gone, relation="world:country")
    assert difference(engine, after, questions=[named_gone]).unanswered == 1
    assert len(questions_of(engine.graph, 7)) == 7
    with pytest.raises(InvalidQuestion, match="between 1 and 1,000 questions can be compared, found 1,001"):
        difference(engine, after, count=1001)


# Models together


@pytest.fixture(scope="module")
def fused(release_store: ReleaseStore, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The sample's models with what makes them answer together, learnt here: the release of the tests may lack it."""
    engine = Engine.open(release_store.get())
    path = tmp_path_factory.mktemp("fusion") / "fusion.json"
    Stacker.fit(list(engine._models.values()), engine.graph).save(path)
    engine._asking.__dict__["_stacker"] = Stacker.open(path)
    return engine


def test_models_together_are_no_worse_than_the_best_of_them(fused: Engine) -> None:
    """On test questions, whose answers nothing was learnt on; and their probability is right on average."""
    for slot in ("object", "subject"):
        figures = fused._asking._stacker.figures[slot]
        alone = {name: value for name, value in figures["mrr"].items() if name != "fused"}
        assert set(alone) == set(fused._asking._stacker.models[slot])
        assert figures["mrr"]["fused"] > max(alone.values())
        assert figures["mean_probability"] == pytest.approx(figures["true_share"], rel=0.25)


def test_fused_answers_are_ranked_by_their_probability(fused: Engine) -> None:
    asked = [
        Question(subject="world:Croatia", relation="world:memberOf"),
        Question(relation="world:currency", object="world:Euro"),
        Question(subject="world:Peru", relation="world:memberOf"),
    ]
    answers = fused.complete(asked, fuse=True, k=20)
    for answer in answers:
        said = [one.probability for one in answer.candidates]
        assert answer.model == "fused"
        assert len(said) == 20
        assert said == sorted(said, reverse=True)  # type: ignore[type-var]
        assert not any(one.known for one in answer.candidates)
        assert len({one.id for one in answer.candidates}) == 20
    alone = fused.complete([asked[1]], fuse=True, k=20)[0]
    assert [one.id for one in alone.candidates][:3] == [one.id for one in answers[1].candidates][:3]
    typed = fused.complete(asked[:1], fuse=True, k=5, types=["world:Organisation"])[0]
    assert {one.id for one in typed.candidates} <= {
        one.id for one in fused.complete(asked[:1], fuse=True, k=1000)[0].candidates
    }


@pytest.mark.parametrize(
    ("question", "options"),
    [
        (Question(subject="world:France", object="world:Spain"), {}),
        (Question(subject="world:France", relation="world:population"), {}),
        (Question(subject="world:France", relation="world:borders"), {"model": "complex"}),
        (Question(subject="world:France", relation="world:borders"), {"exclude_known": False}),
    ],
)
def test_what_models_cannot_answer_together(fused: Engine, question: Question, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidQuestion, match="models answer together questions for the subject or object"):
        fused.complete([question], fuse=True, **options)


def test_a_release_without_it_says_so(engine: Engine) -> None:
    bare = Engine(engine.release)
    bare._asking.__dict__["_stacker"] = Stacker({}, {}, {})
    with pytest.raises(InvalidQuestion, match="fuses no models for such questions"):
        bare.complete([Question(subject="world:France", relation="world:borders")], fuse=True)
