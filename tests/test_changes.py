"""Entities put and erased while a release serves: what is asked afterwards, what is kept, what is gone from every file."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from kgservice.answers import Pair, Question, Statement
from kgservice.answers.records import EntityRecord
from kgservice.cli import cli
from kgservice.engine import Engine, open_engine
from kgservice.enrichment.running import PROPOSALS
from kgservice.enrichment.table import NAMED
from kgservice.errors import DataError, Erased, InvalidQuestion, UnknownEntity, UnknownRelation
from kgservice.graph.literals import XSD
from kgservice.pipeline import build, purge
from kgservice.recipe import Recipe
from kgservice.release import ReleaseStore
from kgservice.server.app import open_app
from kgservice.server.settings import ServerSettings
from kgservice.store import Changes, Journal
from kgservice.store.database import open_database
from kgservice.store.reviews import Reviews

BASE = "http://example.org/"
SCHEMA = "http://www.w3.org/2000/01/rdf-schema#"
TYPE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
COUNTRIES = ("France", "Japan", "Kenya", "Peru")
NEWTOWN = {
    "labels": {"en": "Newtown"},
    "descriptions": {"en": "a town in Japan"},
    "types": [f"{BASE}Town"],
    "statements": [{"relation": f"{BASE}country", "object": f"{BASE}Japan"}],
}


@pytest.fixture(scope="session")
def towns_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a release of a table and a text model over towns and their countries."""
    home = tmp_path_factory.mktemp("towns")
    parts: dict[str, list[str]] = {"train.tsv": [], "valid.tsv": [], "test.tsv": [], "texts.nt": []}
    for country in COUNTRIES:
        parts["texts.nt"] += [
            f'<{BASE}{country}> <{SCHEMA}label> "{country}"@en .',
            f"<{BASE}{country}> <{TYPE}> <{BASE}Country> .",
        ]
    for number in range(100):
        town, country = f"{BASE}town{number}", COUNTRIES[number % len(COUNTRIES)]
        part = "train.tsv" if number < 88 else "valid.tsv" if number < 94 else "test.tsv"
        parts[part].append(f"{town}\t{BASE}country\t{BASE}{country}")
        if number < 60:
            parts["train.tsv"].append(f"{town}\t{BASE}twin\t{BASE}town{(number + 4) % 60}")
        parts["texts.nt"] += [
            f'<{town}> <{SCHEMA}label> "Town {number}"@en .',
            f'<{town}> <{SCHEMA}comment> "a town in {country}"@en .',
            f"<{town}> <{TYPE}> <{BASE}Town> .",
        ]
    for name, lines in parts.items():
        (home / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    training = {"epochs": 20, "batch_size": 32, "learning_rate": 0.3}
    table = {"width": 16, "initial_scale": 0.1, "training": training}
    words = {"encoder": "none", "words": 16, "hidden": 16}
    text = {
        "scorer": "bi-encoder",
        "width": 16,
        "text": words,
        "training": {**training, "learning_rate": 0.01, "optimizer": "adam"},
    }
    tree = {
        "name": "towns",
        "graph": {"sources": list(parts)},
        "models": {"table": table, "text": text},
        "search": {"encoder": "none"},
    }
    build(Recipe.parse(tree), home, base=home)
    return home


@pytest.fixture
def home(towns_home: Path, tmp_path: Path) -> Path:
    """A home of one's own with a copy of the release."""
    shutil.copytree(towns_home / "releases", tmp_path / "releases")
    return tmp_path


@pytest.fixture
def client(home: Path) -> Iterator[TestClient]:
    with TestClient(open_app(ServerSettings(home=home, release_poll_s=0.05))) as client:
        yield client


def put(engine: Engine, journal: Journal, name: str = "Newtown", **document: object) -> Engine:
    record = engine.record(EntityRecord.of_json({"id": BASE + name, **(document or NEWTOWN)}))
    journal.put({record.id: record.to_json()})
    return engine.revised(journal.changes())


def test_what_is_put_is_known_at_once(home: Path) -> None:
    """Found, shown, completed both ways, judged and typed, by every model that can; the former engine answers as before."""
    before = open_engine(home / "releases")
    engine = put(before, Journal(home / "releases"))
    assert engine.release_name == f"{before.release.id}@1"
    assert engine.search("Newtown").matches[0].id == f"{BASE}Newtown"
    assert engine.search("newtwon").matches[0].id == f"{BASE}Newtown"
    page = engine.entity(f"{BASE}Newtown")
    assert (page.label, page.types[0].id, page.statement_count) == ("Newtown", f"{BASE}Town", 1)
    assert page.statements[0].object.id == f"{BASE}Japan"
    for model in ("text", "table", None):
        asked = [Question(f"{BASE}Newtown", f"{BASE}country"), Question(None, f"{BASE}country", f"{BASE}Japan")]
        answers = engine.complete(asked, k=1000, exclude_known=False, model=model)
        best = answers[0].candidates[0]
        assert (best.id, best.known) == (f"{BASE}Japan", True), model
        if model:
            assert [one.known for one in answers[1].candidates if one.id == f"{BASE}Newtown"] == [True]
    hidden = engine.complete([Question(f"{BASE}Newtown", f"{BASE}country")], k=10)[0]
    assert f"{BASE}Japan" not in [one.id for one in hidden.candidates]
    verdicts = engine.classify(
        [(f"{BASE}Newtown", f"{BASE}country", f"{BASE}{country}") for country in ("Japan", "Peru")]
    )
    assert [verdict.known for verdict in verdicts] == [True, False]
    assert verdicts[0].score > verdicts[1].score
    told = engine.types_of([f"{BASE}Newtown"])[0]
    assert (told.candidates[0].id, told.candidates[0].known) == (f"{BASE}Town", True)
    assert len(engine.entity(f"{BASE}Japan").statements) == len(before.entity(f"{BASE}Japan").statements) + 1
    with pytest.raises(UnknownEntity):
        before.entity(f"{BASE}Newtown")


def test_facts_refine_a_vector(home: Path) -> None:
    """Without any text the table model places an entity by its facts; contrary facts place it elsewhere."""
    engine, journal = open_engine(home / "releases"), Journal(home / "releases")
    for name, twin in (("A", "town1"), ("B", "town2")):
        facts = [
            {"relation": f"{BASE}twin", "object": BASE + twin},
            {"relation": f"{BASE}twin", "subject": BASE + twin},
        ]
        engine = put(engine, journal, name, statements=facts)
    answers = engine.complete(
        [Question(BASE + name, f"{BASE}twin") for name in "AB"], k=1, exclude_known=False, model="table"
    )
    assert [answer.candidates[0].id for answer in answers] == [f"{BASE}town1", f"{BASE}town2"]


@pytest.fixture(scope="module")
def families(towns_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """A release of models whose answers are no rows that facts move in one convex problem."""
    home = tmp_path_factory.mktemp("families")
    for name in ("train.tsv", "valid.tsv", "test.tsv", "texts.nt"):
        shutil.copyfile(towns_home / name, home / name)
    adam = {"epochs": 30, "batch_size": 32, "optimizer": "adam", "learning_rate": 0.02, "evaluate_every": 30}
    quick = {"calibration": {"method": "none"}}
    flow = {"width": 16, "initial_scale": 0.1, "training": adam, **quick}
    reader = {**quick, "width": 16, "initial_scale": 0.1, "transformer": {"layers": 1, "heads": 2, "dropout": 0.0}}
    models = {
        **{name: {**flow, "scorer": name} for name in ("nfe1", "nfe3", "nfe3-reverse")},
        "nfe2": {**flow, "scorer": "nfe2", "width": 18},
        **{name: {**reader, "scorer": name, "training": adam} for name in ("hyperformer", "stare")},
    }
    tree = {
        "name": "families",
        "graph": {"sources": ["train.tsv", "valid.tsv", "test.tsv", "texts.nt"]},
        "models": models,
        "search": {"encoder": "none"},
    }
    return Engine.open(build(Recipe.parse(tree), home, base=home))


@pytest.mark.parametrize("model", ["nfe1", "nfe2", "nfe3", "nfe3-reverse", "hyperformer", "stare"])
def test_flows_and_transformers_know_what_was_put_by_its_facts(families: Engine, model: str) -> None:
    """Each answers for it where its facts place it, and is asked about it; beside others it is the same."""
    facts = {
        name: [{"relation": f"{BASE}country", "object": BASE + country}]
        + [{"relation": f"{BASE}twin", "subject": f"{BASE}town{number}"} for number in numbers]
        for name, country, numbers in (("A", "France", (0, 4)), ("B", "Peru", (3, 7)))
    }
    records = [EntityRecord.of_json({"id": BASE + name, "statements": told}) for name, told in facts.items()]
    documents = {one.id: one.to_json() for one in map(families.record, records)}
    engine = families.revised(Changes(1, documents))
    place = {}
    for name, country in (("A", "France"), ("B", "Peru")):
        asked = Question(None, f"{BASE}country", BASE + country)
        found = engine.complete([asked], k=1000, model=model, exclude_known=False)[0].candidates
        place[name] = {one.id: one.rank for one in found}
        assert engine.complete([Question(BASE + name, f"{BASE}twin")], k=3, model=model)[0].candidates
    for told in ((f"{BASE}A", f"{BASE}country", f"{BASE}France"), (f"{BASE}town4", f"{BASE}country", f"{BASE}France")):
        assert engine.explain([told], model=model)[0].verdict.known, model
    assert place["A"][f"{BASE}A"] < place["A"][f"{BASE}B"]
    assert place["B"][f"{BASE}B"] < place["B"][f"{BASE}A"]
    alone = families.revised(Changes(1, {f"{BASE}B": documents[f"{BASE}B"]}))
    ours, theirs = (one.model(model).vectors.added[-1] for one in (engine, alone))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    bare = families.revised(Changes(1, {f"{BASE}C": json.dumps({"id": f"{BASE}C", "labels": {"en": "C"}})}))
    with pytest.raises(InvalidQuestion, match=f"was put after {model} learnt"):
        bare.complete([Question(f"{BASE}C", f"{BASE}country")], model=model)


def test_a_question_names_what_was_put_in_a_qualifier(release_store: ReleaseStore) -> None:
    """It is read by the row that its facts have told; one of which nothing is known is refused, with what to do."""
    world = Engine.open(release_store.get(), verify=False)
    fact = {"relation": "world:currency", "object": "world:Euro"}
    documents = [
        {"id": "world:Known", "labels": {"en": "Known"}, "statements": [fact]},
        {"id": "world:Blank", "labels": {"en": "Blank"}},
    ]
    records = [world.record(EntityRecord.of_json(document)) for document in documents]
    engine = world.revised(Changes(1, {record.id: record.to_json() for record in records}))

    def asked(*values: str) -> Question:
        return Question("world:France", "world:currency", None, tuple(Pair("world:status", one) for one in values))

    plain, read, other = engine.complete([asked(), asked("world:Known"), asked("world:Japan")], model="hyperformer")
    assert len({tuple(one.score for one in answer.candidates) for answer in (plain, read, other)}) == 3
    verdicts = engine.classify(
        [
            Statement("world:France", "world:currency", "world:Euro", asked(*values).qualifiers)
            for values in ((), ("world:Known",), ("world:Japan", "world:Known"))
        ],
        model="hyperformer",
    )
    assert len({verdict.score for verdict in verdicts}) == 3
    statement = Statement("world:France", "world:currency", "world:Euro", asked("world:Known").qualifiers)
    assert engine.explain([statement], model="hyperformer")[0].verdict.score == verdicts[1].score
    with pytest.raises(InvalidQuestion, match="question 1 names an entity that was put after hyperformer learnt"):
        engine.complete([asked("world:Known"), asked("world:Japan", "world:Blank")])


def test_numbers_and_dates_are_put(release_store: ReleaseStore) -> None:
    """As statements and as qualifiers; shown, told apart from links, and read by the model that reads qualifiers."""
    world = Engine.open(release_store.get(), verify=False)
    bridge = {
        "id": "world:Newport-on-Sea",
        "labels": {"en": "Newport-on-Sea"},
        "statements": [
            {"relation": "world:population", "value": "12000"},
            {"relation": "world:inception", "value": "1998"},
            {
                "relation": "world:currency",
                "object": "world:Euro",
                "qualifiers": [{"relation": "world:startTime", "value": "1999-01-01"}],
            },
            {
                "relation": "world:currency",
                "object": "world:French_Franc",
                "qualifiers": [{"relation": "world:startTime", "value": "1961-02-03"}],
            },
        ],
    }
    record = world.record(EntityRecord.of_json(bridge))
    assert EntityRecord.of_json(json.loads(record.to_json())) == record
    engine = world.revised(Changes(1, {record.id: record.to_json()}))
    page = engine.entity("world:Newport-on-Sea")
    said = {
        (one.relation.id, one.object.label or one.object.id): [
            pair.value.label or pair.value.id for pair in one.qualifiers
        ]
        for one in page.statements
    }
    assert said == {
        ("world:population", "12000"): [],
        ("world:inception", "1998"): [],
        ("world:currency", "Euro"): ["1999-01-01"],
        ("world:currency", "French Franc"): ["1961-02-03"],
    }
    assert [one.object.datatype for one in page.statements if one.relation.id == "world:population"] == [
        f"{XSD}integer"
    ]
    assert [one.object.datatype for one in page.statements if one.relation.id == "world:inception"] == [f"{XSD}gYear"]
    asked = [
        Question("world:Newport-on-Sea", "world:currency", None, (Pair("world:startTime", when),))
        for when in ("1999-01-01", "1961-02-03")
    ]
    scores = [
        {one.id: one.score for one in answer.candidates}
        for answer in engine.complete(asked, k=100, exclude_known=False, model="hyperformer")
    ]
    lead = [found["world:Euro"] - found["world:French_Franc"] for found in scores]
    assert lead[0] > lead[1], "the date is read"
    before = world.entity("world:France")
    assert engine.entity("world:France").statement_count == before.statement_count
    with pytest.raises(InvalidQuestion, match="neither a number, a date, nor a literal in quotes"):
        world.record(
            EntityRecord.of_json({"id": "x", "statements": [{"relation": "world:population", "value": "many"}]})
        )


def test_too_little_is_told(home: Path) -> None:
    engine = put(open_engine(home / "releases"), Journal(home / "releases"), "Nowhere", labels={"en": "Nowhere"})
    with pytest.raises(InvalidQuestion, match="was put after table learnt"):
        engine.complete([Question(f"{BASE}Nowhere", f"{BASE}country")], model="table")
    assert engine.complete([Question(f"{BASE}Nowhere", f"{BASE}country")])[0].model == "text"


def test_one_revision_after_another_is_all_at_once(home: Path) -> None:
    """Vectors do not depend on the order or the number of revisions they came by."""
    engine, journal = open_engine(home / "releases"), Journal(home / "releases")
    names = ["C", "A", "D", "B"]
    for place, name in enumerate(names):
        document = {**NEWTOWN, "labels": {"en": name}, "descriptions": {"en": f"a town in {COUNTRIES[place]}"}}
        engine = put(engine, journal, name, **document).grow()
    at_once = open_engine(home / "releases").grow()
    for model in ("table", "text"):
        ours, theirs = engine.model(model).vectors.added, at_once.model(model).vectors.added
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert [one.id for one in engine.search("town in Peru").matches] == [
        one.id for one in at_once.search("town in Peru").matches
    ]


def test_the_erased_is_named_nowhere(home: Path) -> None:
    """Neither the release's own nor what was put, by any question."""
    journal = Journal(home / "releases")
    engine = put(open_engine(home / "releases"), journal)
    journal.erase([engine.erasable(f"{BASE}Newtown"), engine.erasable(f"{BASE}town8")])
    engine = engine.revised(journal.changes())
    seen = [
        str(engine.complete([Question(f"{BASE}town4", f"{BASE}twin")], k=1000, exclude_known=False, model=model))
        for model in ("table", "text")
    ]
    seen += [
        str(engine.search(query, k=1000).matches)
        for query in ("Newtown", "Town 8", "town8", f"{BASE}town8", "town in France")
    ]
    seen += [str(engine.entity(name)) for name in (f"{BASE}town4", f"{BASE}town12", f"{BASE}Japan", f"{BASE}France")]
    for name in ("Newtown", "town8"):
        assert not any(f"{BASE}{name}'" in text for text in seen)
        with pytest.raises(UnknownEntity) as error:
            engine.entity(BASE + name)
        assert f"{BASE}{name}" not in error.value.closest
    with pytest.raises(Erased):
        journal.put({f"{BASE}town8": "{}"})
    assert journal.changes().put == {}


def test_purged_files_hold_nothing_of_it(home: Path, towns_home: Path) -> None:
    """Every file, of every release; the others answer as before; a release built anew leaves it out."""
    journal, store = Journal(home / "releases"), ReleaseStore(home / "releases")
    engine = open_engine(store.folder)
    question = [Question(f"{BASE}town5", f"{BASE}country")]
    former = engine.complete(question, k=3, exclude_known=False)[0]
    assert holding(home, b"example.org/town88")
    assert holding(home, b"Town 88")
    reviews = Reviews(open_database(home))
    rows = [(f"{BASE}town{place}", f"{BASE}country", f"{BASE}town{place + 1}", 0.9, 1.0, 1) for place in (5, 87, 88)]
    proposed = pa.Table.from_pylist([dict(zip(NAMED.names, row, strict=True)) for row in rows], schema=NAMED)
    (home / "enrichments" / "run").mkdir(parents=True)
    parquet.write_table(proposed, home / "enrichments" / "run" / PROPOSALS, compression="none")
    reviews.queue("run", "links", [{**row, "audit": False} for row in proposed.select(range(4)).to_pylist()])
    journal.erase([engine.erasable(f"{BASE}town88")])
    ((old, new),) = purge(store, home, reviews)
    assert not holding(home / "enrichments", b"town88")
    assert not [path for path in home.glob("service.sqlite*") if b"town88" in path.read_bytes()]
    assert [one.subject for one in reviews.next("run", 9)] == [f"{BASE}town5"]
    assert parquet.read_table(home / "enrichments" / "run" / PROPOSALS)["subject"].to_pylist() == [f"{BASE}town5"]
    assert (store.current_id(), store.ids()) == (new, [new])
    assert old not in (store.folder / "HISTORY").read_text()
    assert not holding(home / "releases" / new, b"town88")
    assert not holding(home / "releases" / new, b"Town 88")
    after = Engine.open(store.get()).complete(question, k=3, exclude_known=False)[0]
    assert [one.id for one in after.candidates] == [one.id for one in former.candidates]
    assert [one.score for one in after.candidates] == pytest.approx([one.score for one in former.candidates], abs=1e-4)
    assert list(purge(store, home)) == []
    for name in ("train.tsv", "valid.tsv", "test.tsv", "texts.nt"):
        shutil.copyfile(towns_home / name, home / name)
    recipe = Recipe.load(next((home / "releases" / new / "models").glob("table/recipe.toml")))
    rebuilt = build(recipe, home, base=home)
    assert not holding(rebuilt.folder, b"town88")
    assert not holding(rebuilt.folder, b"Town 88")


def holding(folder: Path, what: bytes) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and what in path.read_bytes() and "journal" not in path.name
    ]


def test_rest_puts_replaces_and_erases(client: TestClient) -> None:
    path = f"/v1/entities/{BASE}Newtown".replace("://", "%3A%2F%2F")
    first = client.put(path, json=NEWTOWN)
    assert (first.status_code, first.json()["created"]) == (201, 1)
    again = client.put(path, json={**NEWTOWN, "labels": {"en": "Novitown"}})
    assert (again.status_code, again.json()["replaced"]) == (200, 1)
    page = client.get(path)
    assert page.json()["label"] == "Novitown"
    revised = page.headers["etag"]
    found = client.get("/v1/search", params={"q": "Novitown"}).json()["matches"]
    assert found[0]["id"] == f"{BASE}Newtown"
    assert client.get("/v1/search", params={"q": "Newtown"}).json()["matches"][:1] != found[:1]
    assert client.get(path, headers={"If-None-Match": revised}).status_code == 304
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    assert client.delete(path).status_code == 404
    refused = client.put(path, json=NEWTOWN)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/erased")


@pytest.mark.parametrize(
    ("name", "document", "status", "what"),
    [
        ("France", {}, 422, "is an entity of release"),
        ("New", {"statements": [{"relation": f"{BASE}contry", "object": f"{BASE}Japan"}]}, 404, f"{BASE}country"),
        ("New", {"statements": [{"relation": f"{BASE}country", "object": f"{BASE}Jpan"}]}, 404, f"{BASE}Japan"),
        ("New", {"statements": [{"relation": f"{BASE}country"}]}, 422, "either its subject or its object"),
        ("New", {"statements": [{"relation": f"{BASE}country", "value": "5"}]}, 422, "links entities"),
        ("New", {"statements": [{"relation": f"{BASE}country", "object": "x", "value": "5"}]}, 422, "stands alone"),
        ("New", {"types": [f"{BASE}Twon"]}, 404, f"{BASE}Town"),
        ("New", {"label": "x"}, 422, "labels"),
        ("New", {"labels": {"en": "x" * 3000}}, 422, "2048"),
        ("New town", {}, 422, "id"),
    ],
)
def test_what_cannot_be_put_is_told(
    client: TestClient, name: str, document: dict[str, object], status: int, what: str
) -> None:
    answer = client.put(f"/v1/entities/{BASE}{name}".replace("://", "%3A%2F%2F"), json=document)
    assert answer.status_code == status
    assert what in answer.text


def test_a_read_only_server_takes_no_change(home: Path) -> None:
    with TestClient(open_app(ServerSettings(home=home, read_only=True))) as client:
        answers = [
            client.put("/v1/entities/x", json=NEWTOWN),
            client.delete("/v1/entities/x"),
            client.post("/v1/entities", json={"entities": [{"id": "x"}]}),
        ]
    assert {answer.status_code for answer in answers} == {403}


def test_many_are_put_together_or_not_at_all(client: TestClient) -> None:
    entities = [{"id": f"{BASE}new{number}", "labels": {"en": f"New {number}"}} for number in range(50)]
    assert client.post("/v1/entities", json={"entities": entities}).json()["created"] == 50
    assert client.get("/v1/search", params={"q": "New 49"}).json()["matches"][0]["id"] == f"{BASE}new49"
    bad = [{"id": f"{BASE}other"}, {"id": f"{BASE}wrong", "types": ["no"]}]
    assert client.post("/v1/entities", json={"entities": bad}).status_code == 404
    assert client.get(f"/v1/entities/{BASE}other".replace("://", "%3A%2F%2F")).status_code == 404


def test_those_put_together_may_name_each_other(client: TestClient) -> None:
    """Whichever comes first, as an end and in a path; what neither the release nor the request holds is told."""
    twin, country = f"{BASE}twin", f"{BASE}country"
    entities = [
        {"id": f"{BASE}East", "labels": {"en": "East"}, "statements": [{"relation": twin, "object": f"{BASE}West"}]},
        {"id": f"{BASE}West", "labels": {"en": "West"}, "statements": [{"relation": country, "object": f"{BASE}Peru"}]},
    ]
    assert client.post("/v1/entities", json={"entities": entities}).json()["created"] == 2
    page = client.get(f"/v1/entities/{BASE}West".replace("://", "%3A%2F%2F")).json()
    stated = {(one["subject"]["id"], one["object"]["id"]) for one in page["statements"]}
    assert stated == {(f"{BASE}East", f"{BASE}West"), (f"{BASE}West", f"{BASE}Peru")}
    strange = {"id": f"{BASE}New", "statements": [{"relation": twin, "object": f"{BASE}Wset"}]}
    refused = client.post("/v1/entities", json={"entities": [strange, {"id": f"{BASE}Other"}]})
    assert refused.status_code == 404
    assert f"{BASE}West" in refused.text


def test_the_terminal_adds_and_erases_beside_a_server(
    home: Path, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process's changes are served within a second."""
    monkeypatch.setenv("KGSERVICE_HOME", str(home))
    lines = [
        json.dumps(
            {
                "id": f"{BASE}line{number}",
                "labels": {"en": f"Line {number}"},
                "statements": [{"relation": f"{BASE}twin", "object": f"{BASE}line{(number + 1) % 3}"}],
            }
        )
        for number in range(3)
    ]
    (home / "new.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = CliRunner().invoke(cli, ["add", str(home / "new.jsonl")])
    assert done.output.strip().endswith("3 entities put, revision 3"), done.output
    until(lambda: client.get("/v1/search", params={"q": "Line 2"}).json()["matches"][:1])
    CliRunner().invoke(cli, ["erase", "--yes", f"{BASE}line2"])
    until(lambda: client.get(f"/v1/entities/{BASE}line2".replace("://", "%3A%2F%2F")).status_code == 404)
    (home / "bad.jsonl").write_text('{"id": "a b"}\n', encoding="utf-8")
    bad = CliRunner().invoke(cli, ["add", str(home / "bad.jsonl")])
    assert "bad.jsonl:1" in str(bad.exception)


def until(holds: Callable[[], object], seconds: float = 20) -> None:
    done = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if holds():
            return
        done.wait(0.05)
    raise AssertionError("it never held")


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(home: Path) -> None:
    """kill -9 in the midst of puts from several clients; after the restart all that were answered for are there."""
    environ = {**os.environ, "KGSERVICE_HOME": str(home), "KGSERVICE_PORT": "0"}
    command = [sys.executable, "-m", "kgservice", "serve"]
    server = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    address = next(line.split()[-1] for line in server.stderr if line.startswith("serving release"))
    acknowledged: list[str] = []

    def puts(worker: int) -> None:
        # Bound, but not yet listened to.
        transport = httpx.HTTPTransport(retries=8)
        with httpx.Client(base_url=address, trust_env=False, timeout=60, transport=transport) as client:
            client.get("/readyz")
            for number in range(1000):
                name = f"k{worker}-{number}"
                try:
                    if client.put(f"/v1/entities/{name}", json={"labels": {"en": name}}).status_code == 201:
                        acknowledged.append(name)
                except httpx.HTTPError:
                    return

    try:
        with ThreadPoolExecutor(4) as pool:
            workers = [pool.submit(puts, worker) for worker in range(4)]
            until(lambda: len(acknowledged) >= 60 or all(worker.done() for worker in workers), 120)
            server.send_signal(signal.SIGKILL)
            for worker in workers:
                worker.result()
    finally:
        server.kill()
        log = server.communicate()[1]
    assert len(acknowledged) >= 60, log
    engine = open_engine(home / "releases")
    assert set(acknowledged) <= {engine.graph.entities.name(id) for id in range(engine.release.graph.n, engine.graph.n)}


@pytest.mark.parametrize("damage", ["half", "middle", "other"])
def test_a_damaged_journal_is_refused_by_its_name(tmp_path: Path, damage: str) -> None:
    """It is never read in part: what was erased would come back."""
    journal = Journal(tmp_path)
    journal.put({str(number): "x" * 4000 for number in range(200)})
    journal.close()
    path = tmp_path / "journal.sqlite"
    whole = path.read_bytes()
    noise = np.random.default_rng(0).bytes(100_000)
    path.write_bytes(
        {"half": whole[:400_000], "middle": whole[:8192] + noise + whole[108_192:], "other": noise}[damage]
    )
    for ask in (journal.revision, journal.changes, lambda: journal.put({"a": "1"})):
        with pytest.raises(DataError, match=r"journal\.sqlite cannot be (read|written)"):
            ask()
        journal.close()
    path.write_bytes(whole)  # no lock is left behind
    assert journal.revision() == 200


def test_a_journal_keeps_the_last_change_of_a_name(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert (journal.revision(), journal.changes()) == (0, Changes())
    assert journal.put({"a": "1", "b": "2"}) == 2
    assert journal.put({"a": "secret"}) == 3
    journal.erase(["a"])
    assert journal.changes() == Changes(4, {"b": "2"}, frozenset({"a"}))
    journal.close()
    assert b"secret" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert Journal(tmp_path).changes() == Changes(4, {"b": "2"}, frozenset({"a"}))
    with pytest.raises(Erased):
        journal.put({"c": "3", "a": "4"})
    assert "c" not in journal.changes().put


def test_names_of_another_release_are_left_out(home: Path) -> None:
    """A document that names what this release does not hold is read as far as it goes."""
    strange = {
        "id": "x",
        "labels": {"en": "X"},
        "types": ["gone"],
        "statements": [{"relation": "gone", "object": f"{BASE}Japan"}],
    }
    Journal(home / "releases").put({"x": json.dumps(strange), f"{BASE}France": json.dumps({"id": f"{BASE}France"})})
    engine = open_engine(home / "releases")
    page = engine.entity("x")
    assert (page.label, page.types, page.statements) == ("X", [], [])
    assert engine.entity(f"{BASE}France").label == "France"
    with pytest.raises(UnknownRelation):
        engine.complete([Question("x", "gone")])
