"""The commonest questions, which are answered before the framework: read, answered and written as the route would."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from starlette.testclient import TestClient

from kgservice.answers import Described, Pair, Question
from kgservice.engine import Engine
from kgservice.engine.filled import TABLE
from kgservice.release import ReleaseStore
from kgservice.server import lines
from kgservice.server.app import open_app
from kgservice.server.bodies import CompleteBody, CompleteMany
from kgservice.server.direct import plain
from kgservice.server.lines import ARROW, NDJSON
from kgservice.server.settings import ServerSettings
from tests.bench.serve_stages import stages

JSON = {"Content-Type": "application/json"}
ROUTED = {"Content-Type": "application/json; charset=utf-8"}
"""The same to the route; what is answered directly says nothing of letters."""


@pytest.fixture(scope="module")
def client(release_store: ReleaseStore) -> Iterator[TestClient]:
    with TestClient(open_app(ServerSettings(home=release_store.folder.parent, max_bulk=50))) as client:
        yield client


names = st.one_of(
    st.none(), st.text(max_size=5), st.sampled_from(["world:France", "x" * 2048, "x" * 2049]), st.integers()
)
parts = st.dictionaries(st.sampled_from(["subject", "relation", "object"]), names, max_size=3)
options = st.fixed_dictionaries(
    {},
    optional={
        "k": st.one_of(st.integers(-1, 1001), st.just(10.0), st.booleans(), st.none()),
        "exclude_known": st.one_of(st.booleans(), st.integers(0, 1), st.none()),
        "model": st.one_of(st.none(), st.text(max_size=3), st.just("m" * 65)),
        "fuse": st.booleans(),
        "language": st.sampled_from(["en", "de-AT", "", "en\n", "e n", "é", "x" * 36]),
        "questions": st.one_of(st.none(), st.lists(parts, max_size=3)),
        "types": st.just([]),
        "other": st.just(1),
    },
)


@settings(max_examples=400, deadline=None)
@given(st.builds(lambda question, how: json.dumps({**question, **how}).encode(), parts, options))
@example(rb'{"subject": "\ud800", "relation": "r"}')
@example(b'{"subject": "\xff", "relation": "r"}')
@example(b'{"subject": "a\nb", "relation": "r"}')
@example(b'{"subject": "a", "subject": "b", "relation": "r"}')
@example(b'{"subject": "a", "relation": "r", "k": 1e1}')
@example(b'{"subject": "a", "relation": "r"} {}')
@example(b'{"subject": null, "questions": [{"subject": "a", "relation": "r"}]}')
@example(b'{"subject": "a", "relation": "r", "questions": null}')
@example(b"[]")
def test_what_is_read_directly_is_read_as_by_the_route(body: bytes) -> None:
    asked = plain(body)
    if asked is None:
        return
    expected: Any = TypeAdapter(CompleteBody).validate_python(orjson.loads(body))
    for option in ("k", "exclude_known", "model", "fuse", "language"):
        assert getattr(asked, option) == getattr(expected, option)
    if isinstance(expected, CompleteMany):
        assert isinstance(asked.questions, list)
        read = [Question(one.subject, one.relation, one.object) for one in asked.questions]
        assert read == [one.question() for one in expected.questions]
    else:
        read_parts = [asked.subject, asked.relation, asked.object]
        assert [part if isinstance(part, str) else None for part in read_parts] == [
            expected.question().subject,
            expected.question().relation,
            expected.question().object,
        ]
        assert not isinstance(asked.questions, list)


def test_the_commonest_are_read_directly() -> None:
    question = {"subject": "world:France", "relation": "world:borders"}
    for body in (question, {**question, "k": 5, "language": "de", "model": None}, {"questions": [question], "k": 3}):
        assert plain(orjson.dumps(body)) is not None


@pytest.mark.parametrize(
    "body",
    [
        {"subject": "world:France", "relation": "world:borders", "k": 5},
        {"relation": "world:currency", "object": "world:Euro", "exclude_known": False, "language": "fr"},
        {"subject": "world:France", "object": "world:Spain"},
        {"subject": "world:Czechoslovakia", "relation": "world:population"},
        {"questions": [{"subject": "world:France", "relation": "world:borders"}, {"subject": "a", "object": "b"}]},
        {"questions": [{"subject": "world:Peru", "relation": "world:borders"}] * 50, "k": 2},
        {"questions": [{"subject": "world:Peru", "relation": "world:borders"}] * 51},
        {"subject": "world:Frence", "relation": "world:borders"},
        {"subject": "world:France", "relation": "world:borders", "model": "none"},
        {"subject": "world:France"},
    ],
)
def test_it_answers_as_the_route(client: TestClient, body: dict[str, Any]) -> None:
    """Refusals too, but for the request's id."""
    assert plain(orjson.dumps(body)) is not None
    direct, routed = (client.post("/v1/complete", content=orjson.dumps(body), headers=how) for how in (JSON, ROUTED))
    assert direct.status_code == routed.status_code
    assert {**direct.json(), "request_id": ""} == {**routed.json(), "request_id": ""}
    ours, theirs = ({name for name in one.headers if name != "date"} for one in (direct, routed))
    assert ours == theirs
    assert direct.headers["content-type"] == routed.headers["content-type"]


@pytest.mark.parametrize("form", [NDJSON, ARROW])
@pytest.mark.parametrize(
    "body",
    [
        {
            "questions": [
                {"subject": "world:France", "relation": "world:borders"},
                {"relation": "world:currency", "object": "world:Euro"},
            ]
        },
        {
            "questions": [
                {"subject": "world:Czechoslovakia", "relation": "world:population"},
                {"subject": "world:France", "object": "world:Peru"},
            ],
            "exclude_known": False,
        },
        {"questions": [{"subject": "world:France"}]},
        {"subject": "world:France", "relation": "world:borders"},
    ],
)
def test_other_forms_are_those_of_the_route(client: TestClient, body: dict[str, Any], form: str) -> None:
    direct, routed = (
        client.post("/v1/complete", content=orjson.dumps(body), headers={**how, "Accept": form})
        for how in (JSON, ROUTED)
    )
    assert direct.status_code == routed.status_code
    assert direct.headers["content-type"] == routed.headers["content-type"]
    if direct.status_code == 200:
        assert direct.content == routed.content


@pytest.mark.parametrize("form", ["application/json", NDJSON, ARROW])
def test_many_are_answered_by_several_threads(client: TestClient, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    places = ("France", "Peru", "Spain", "Iraq", "Chile")
    questions = [{"subject": f"world:{place}", "relation": "world:borders"} for place in places]
    body, how = orjson.dumps({"questions": questions, "k": 3}), {**JSON, "Accept": form}
    whole = client.post("/v1/complete", content=body, headers=how)
    monkeypatch.setattr(lines, "LEAST_PART", 2)
    parts = client.post("/v1/complete", content=body, headers=how)
    assert whole.status_code == parts.status_code == 200
    if form == ARROW:
        one, other = (pa.ipc.open_stream(answer.content).read_all() for answer in (whole, parts))
        assert one.drop(["score", "probability"]) == other.drop(["score", "probability"])
        assert np.allclose(one["score"], other["score"])
        assert np.allclose(one["probability"], other["probability"])
    else:
        assert [one.count(b'"rank"') for one in (whole.content, parts.content)] == [15, 15]
        ids = re.compile(r'"id":"[^"]*"')
        assert ids.findall(whole.text) == ids.findall(parts.text)
    wrong = orjson.dumps({"questions": [*questions, {"subject": "world:Frence", "relation": "world:borders"}]})
    assert client.post("/v1/complete", content=wrong, headers=how).json()["title"] == "Unknown entity"


def test_it_counts_as_the_route(client: TestClient) -> None:
    def counted() -> float:
        line = 'kgservice_request_seconds_count{method="POST",route="/v1/complete",status="200"} '
        return float(client.get("/metrics").text.partition(line)[2].partition("\n")[0] or 0)

    before = counted()
    body = orjson.dumps({"subject": "world:France", "relation": "world:borders"})
    for how in (JSON, ROUTED):
        assert client.post("/v1/complete", content=body, headers=how).status_code == 200
    assert counted() == before + 2


def test_a_table_is_of_the_answers(engine: Engine) -> None:
    asked = [
        Question("world:France", "world:borders"),
        Question("world:Czechoslovakia", "world:population"),
        Question(relation="world:currency", object="world:Euro"),
        Question("world:France", None, "world:Spain"),
        Question("world:Peru", "world:borders"),
        Question(Described("Newport-on-Sea", "city in France"), "world:country"),
    ]
    for how in ({}, {"exclude_known": False, "k": 300}, {"language": "fr", "k": 1}):
        rows = engine.complete_table(asked, **how).to_pylist()  # type: ignore[arg-type]
        answers = engine.complete(asked, **how)  # type: ignore[arg-type]
        assert rows == [
            {"question": place, **asdict(one), "model": answer.model, "release": answer.release}
            for place, answer in enumerate(answers)
            for one in answer.candidates
        ]
    assert engine.complete_table([]).schema == engine.complete_table(asked).schema == TABLE


def test_questions_answered_together_are_answered_as_alone(engine: Engine) -> None:
    asked = [
        Question("world:France", "world:borders"),
        Question(relation="world:currency", object="world:Euro"),
        Question("world:France", None, "world:Spain"),
        Question(relation="world:memberOf", object="world:European_Union"),
        Question("world:Peru", "world:currency", qualifiers=(Pair("world:startTime", "1960"),)),
        Question("world:Croatia", "world:memberOf", "world:European_Union", (Pair("world:startDecade"),)),
    ]
    for model in (None, "hyperformer"):
        some = asked if model is None else [one for one in asked if one.relation]
        for exclude_known in (False, True):
            together = engine.complete(some, model=model, exclude_known=exclude_known)
            alone = [engine.complete([one], model=model, exclude_known=exclude_known)[0] for one in some]
            for one, other in zip(together, alone, strict=True):
                assert [found.id for found in one.candidates] == [found.id for found in other.candidates]
                assert [found.known for found in one.candidates] == [found.known for found in other.candidates]
                scores = [[found.score for found in answer.candidates] for answer in (one, other)]
                assert np.allclose(*scores, rtol=1e-4, atol=1e-4)


def test_answers_are_written_as_their_dataclasses(engine: Engine) -> None:
    asked = [
        Question("world:France", "world:borders"),
        Question(relation="world:currency", object="world:Euro"),
        Question("world:France", None, "world:Spain"),
        Question("world:Czechoslovakia", "world:population"),
        Question("world:Peru", "world:currency", qualifiers=(Pair("world:startTime", "1960"),)),
        Question("world:Croatia", "world:memberOf", "world:European_Union", (Pair("world:startDecade"),)),
        Question(Described("Newport-on-Sea", "city in France"), "world:country"),
    ]
    for how in ({}, {"exclude_known": False, "k": 300}, {"language": "fr", "k": 1}, {"k": 1000}):
        written = engine.complete_written(asked, **how)  # type: ignore[arg-type]
        assert written == list(map(orjson.dumps, engine.complete(asked, **how)))  # type: ignore[arg-type]
    typed = engine.complete_written(asked[:2], types=["world:Organisation"], k=1000)
    assert typed == list(map(orjson.dumps, engine.complete(asked[:2], types=["world:Organisation"], k=1000)))


def test_where_the_time_goes_is_a_part_of_the_whole(engine: Engine) -> None:
    places = ("France", "Peru", "Spain", "Iraq", "Chile")
    found = stages(engine, [Question(f"world:{place}", "world:borders") for place in places], 2, 0.05, k=3)
    whole = found.pop("all")
    assert {"names to ids", "search", "JSON"} <= set(found)
    assert all(took > 0 for took in found.values())
    assert sum(found.values()) <= whole + 1  # each is rounded
