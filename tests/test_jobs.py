"""Jobs: leases, keys, cancelling and going on; and enrichments over REST, done in a process beside the server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as parquet
import pytest
import sqlalchemy
from click.testing import CliRunner
from sqlalchemy import update
from starlette.testclient import TestClient

from kgservice.answers.records import EntityRecord
from kgservice.cli import cli
from kgservice.engine import open_engine
from kgservice.enrichment.plan import Plan
from kgservice.enrichment.running import PLAN, PROPOSALS, block_path, read_proposals, read_report, write
from kgservice.enrichment.worker import folder_of, work
from kgservice.errors import RecipeError
from kgservice.release import ReleaseStore
from kgservice.server.app import open_app
from kgservice.server.jobs import ENRICHMENT
from kgservice.server.settings import ServerSettings
from kgservice.store import Journal
from kgservice.store.database import open_database
from kgservice.store.jobs import JOBS, LEASE_S, Job, Jobs, KeyReused, UnknownJob, WrongState

REQUEST = {"relations": ["world:officialLanguage"], "models": ["complex"], "threshold": 0.01, "total": 250}


@pytest.fixture
def jobs(database: sqlalchemy.Engine) -> Jobs:
    with database.begin() as connection:
        connection.execute(JOBS.delete())
    return Jobs(database)


def test_a_job_goes_from_queued_to_done(jobs: Jobs) -> None:
    job, new = jobs.submit("x", {"a": 1})
    assert new
    assert (job.state, job.request) == ("queued", {"a": 1})
    assert jobs.claim("y", "me") is None
    taken = jobs.claim("x", "me")
    assert taken is not None
    assert (taken.id, taken.state) == (job.id, "running")
    assert jobs.claim("x", "you") is None
    assert jobs.beat(job.id, "me", "score", 3, 10)
    assert not jobs.beat(job.id, "you", "score", 9, 10)
    assert (jobs.get(job.id).done, jobs.get(job.id).total) == (3, 10)
    assert jobs.finish(job.id, "me")
    assert jobs.get(job.id).state == "done"
    assert jobs.waiting("x") == 0


def test_a_key_stands_for_one_request(jobs: Jobs) -> None:
    job, _ = jobs.submit("x", {"a": 1, "b": 2}, "key")
    assert jobs.submit("x", {"b": 2, "a": 1}, "key") == (job, False)
    with pytest.raises(KeyReused, match="'key' came before with another request"):
        jobs.submit("x", {"a": 2}, "key")
    assert len(jobs.list("x", 10)) == 1


def test_what_a_dead_worker_held_is_taken_over(jobs: Jobs) -> None:
    job, _ = jobs.submit("x", {})
    assert jobs.claim("x", "dead")
    with jobs._engine.begin() as connection:
        connection.execute(update(JOBS).values(heard=time.time() - LEASE_S - 1))
    taken = jobs.claim("x", "heir")
    assert taken is not None
    assert taken.id == job.id
    assert not jobs.renew(job.id, "dead")  # should it live after all, it hears that it has lost the job
    assert not jobs.finish(job.id, "dead")
    assert jobs.give_back(job.id, "heir")
    assert jobs.get(job.id).state == "queued"


def test_cancelled_and_failed_ones_can_be_resumed(jobs: Jobs) -> None:
    job, _ = jobs.submit("x", {})
    assert jobs.claim("x", "me")
    assert jobs.cancel(job.id).state == "cancelled"
    assert not jobs.beat(job.id, "me", "", 0, 0)  # the worker hears it, and stops
    with pytest.raises(WrongState, match="is cancelled; only one that is queued or running"):
        jobs.cancel(job.id)
    assert jobs.resume(job.id).state == "queued"
    assert jobs.claim("x", "me")
    assert jobs.finish(job.id, "me", "it is too hot")
    assert jobs.get(job.id).error == "it is too hot"
    jobs.resume(job.id)
    with pytest.raises(WrongState, match="is queued; only one that was cancelled or failed"):
        jobs.resume(job.id)
    with pytest.raises(UnknownJob, match="'nothing' is not a job"):
        jobs.get("nothing")


def test_many_workers_take_each_job_once(jobs: Jobs) -> None:
    for number in range(12):
        jobs.submit("x", {"number": number})
    taken: list[Job] = []

    def take(name: str) -> None:
        while job := jobs.claim("x", name):
            taken.append(job)

    threads = [threading.Thread(target=take, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(job.request["number"] for job in taken) == list(range(12))


@pytest.fixture(scope="module")
def home(release_store: ReleaseStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("jobs")
    shutil.copytree(release_store.folder, home / "releases")
    return home


def _client(home: Path) -> TestClient:
    return TestClient(open_app(ServerSettings(home=home, job_poll_s=0.05)))


def _until(client: TestClient, id: str, *states: str, timeout_s: float = 120) -> dict[str, object]:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        found = client.get(f"/v1/enrichments/{id}").json()
        if found["state"] in states:
            return dict(found)
        time.sleep(0.1)
    raise AssertionError(found)


@pytest.fixture(scope="module")
def finished(home: Path) -> str:
    """An enrichment that was under way while its server stopped, and that the next one finished."""
    with _client(home) as client:
        sent = client.post("/v1/enrichments", json=REQUEST, headers={"Idempotency-Key": "once"})
        assert sent.status_code == 202, sent.text
        id = str(sent.json()["id"])
        assert sent.headers["location"] == f"/v1/enrichments/{id}"
        _until(client, id, "running")
    assert Jobs(open_database(home)).get(id).state == "queued"
    with _client(home) as client:
        done = _until(client, id, "done", "failed")
        assert done["state"] == "done", done["error"]
    return str(id)  # its server has ended: it would take other tests' jobs


def worker(home: Path) -> subprocess.Popen[bytes]:
    """`kgservice worker` in a group of processes of its own, so that all of it can be killed as a container would be."""
    environ = {**os.environ, "KGSERVICE_HOME": str(home), "KGSERVICE_JOB_POLL_S": "0.1"}
    call = [sys.executable, "-m", "kgservice", "worker", "--heartbeat", str(home / "alive")]
    return subprocess.Popen(call, env=environ, start_new_session=True, stderr=subprocess.PIPE)


def test_a_killed_workers_job_goes_on_elsewhere(home: Path, finished: str) -> None:
    """A server that does no jobs itself; one worker is killed at it, the next one finishes: nothing is lost or doubled."""
    app = open_app(ServerSettings(home=home, max_jobs=0))
    jobs = Jobs(open_database(home))
    with TestClient(app) as client:
        id = client.post("/v1/enrichments", json={**REQUEST, "completeness": 0.9}).json()["id"]
        first = worker(home)
        _until(client, id, "running")
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
        assert (home / "alive").exists()
        assert client.get(f"/v1/enrichments/{id}").json()["state"] == "running"  # its lease has not run out
        assert jobs.claim(ENRICHMENT, "hasty") is None
        with jobs._engine.begin() as connection:
            connection.execute(update(JOBS).where(JOBS.c.id == id).values(heard=time.time() - LEASE_S - 1))
        second = worker(home)
        try:
            done = _until(client, id, "done", "failed")
        finally:
            second.terminate()
            told = second.communicate()[1].decode()
        assert done["state"] == "done", done["error"]
        assert f"job {id} is taken" in told
        assert second.returncode == 0
    found, expected = (parquet.read_table(home / "enrichments" / one / PROPOSALS) for one in (id, finished))
    assert found == expected


def test_a_worker_that_may_do_nothing_says_so() -> None:
    done = CliRunner(env={"KGSERVICE_MAX_JOBS": "0"}).invoke(cli, ["worker"])
    assert isinstance(done.exception, RecipeError)
    assert str(done.exception) == "KGSERVICE_MAX_JOBS is 0, so that this worker would do nothing; give --jobs 1."


def test_it_survives_a_restart_and_the_same_request_is_the_same_job(home: Path, finished: str) -> None:
    with _client(home) as client:
        again = client.post("/v1/enrichments", json=REQUEST, headers={"Idempotency-Key": "once"})
        assert again.status_code == 200
        assert again.json()["id"] == finished
        other = client.post("/v1/enrichments", json={**REQUEST, "k": 3}, headers={"Idempotency-Key": "once"})
        assert other.status_code == 409
        assert other.json()["type"] == "/problems/key-reused"
        report = client.get(f"/v1/enrichments/{finished}").json()["report"]
        assert report["expected"]["links"] > 0
        assert [one["id"] for one in client.get("/v1/enrichments").json()["enrichments"]][-1] == finished


def test_results_page_by_page_are_all_of_them(home: Path, finished: str) -> None:
    with _client(home) as client:
        path = f"/v1/enrichments/{finished}/results"
        page = client.get(f"{path}?limit=100").json()
        found = page["proposals"]
        while page["next"]:
            page = client.get(f"{path}?cursor={page['next']}").json()
            found += page["proposals"]
        assert len(found) == page["total"]
        assert [one["probability"] for one in found] == sorted((one["probability"] for one in found), reverse=True)
        assert {one["relation"]["id"] for one in found} == {"world:officialLanguage"}
        assert found[0]["subject"]["label"]
        wrong = client.get(f"{path}?cursor=abc")
        assert wrong.status_code == 422
        assert "is not a cursor of this server" in wrong.json()["detail"]


def test_a_cancelled_one_is_resumed(home: Path) -> None:
    with _client(home) as client:
        id = client.post("/v1/enrichments", json={**REQUEST, "total": 7}).json()["id"]
        assert client.get(f"/v1/enrichments/{id}/results").json()["type"] == "/problems/not-done"
        assert client.post(f"/v1/enrichments/{id}/cancel").json()["state"] == "cancelled"
        assert client.post(f"/v1/enrichments/{id}/cancel").status_code == 409
        assert client.post(f"/v1/enrichments/{id}/resume").json()["state"] == "queued"
        _until(client, id, "done")
    assert (home / "enrichments" / id / PROPOSALS).exists()


def test_one_that_was_interrupted_before_entities_were_put_starts_anew(
    release_store: ReleaseStore, tmp_path: Path
) -> None:
    shutil.copytree(release_store.folder, tmp_path / "releases")
    store, jobs = ReleaseStore(tmp_path / "releases"), Jobs(open_database(tmp_path))
    plan = Plan(store.get().id, relations=("world:officialLanguage",), models=("complex",), threshold=0.01, total=9)
    job, _ = jobs.submit(ENRICHMENT, plan.to_json())
    folder = folder_of(tmp_path, job.id)
    begun = replace(plan, release=open_engine(store.folder).release_name)
    block_path(folder, 0).parent.mkdir(parents=True)
    write(block_path(folder, 0), b"of a revision that nobody can open")
    write(folder / PLAN, json.dumps(begun.to_json()).encode())
    Journal(store.folder).put({"urn:new": EntityRecord("urn:new", (("en", "New"),)).to_json()})
    assert jobs.claim(ENRICHMENT, "me")
    work(tmp_path, jobs, job.id, "me")
    assert (jobs.get(job.id).state, jobs.get(job.id).error) == ("done", None)
    assert read_report(folder)["release"] != begun.release
    assert len(read_proposals(folder)) == 9


def test_wrong_requests_are_told_at_once(home: Path) -> None:
    with _client(home) as client:
        for body, type, detail in (
            ({"relations": ["world:border"]}, "unknown-relation", "world:borders"),
            ({"models": ["complexx"]}, "unknown-model", "complex"),
            ({"types": ["world:Citty"]}, "unknown-type", "world:City"),
            ({"since": "zzzz"}, "unknown-release", "zzzz"),
            ({"threshold": 0.5, "precision": 0.5}, "invalid-question", "not both"),
            ({"threshhold": 0.5}, "invalid-request", "threshold"),
        ):
            answer = client.post("/v1/enrichments", json=body)
            assert answer.json()["type"] == f"/problems/{type}", answer.text
            assert detail in answer.text
        assert client.get(f"/v1/enrichments/{'0' * 32}").json()["type"] == "/problems/unknown-job"


def test_a_review_over_rest(home: Path, finished: str) -> None:
    with _client(home) as client:
        queued = client.post("/v1/reviews", json={"enrichment": finished, "count": 20, "audit": 0.5}).json()
        assert queued == {"enrichment": finished, "queued": 20}
        items = client.get(f"/v1/reviews?enrichment={finished}&limit=6").json()["reviews"]
        for place, item in enumerate(items):
            verdict = {"verdict": "accept" if place % 3 else "reject", "reviewer": "Ada", "reason": "seen"}
            noted = client.post(f"/v1/reviews/{item['id']}", json=verdict).json()
            assert noted["verdict"] == verdict["verdict"]
            assert noted["proposal"]["subject"]["id"].startswith("world:")
        said = client.get(f"/v1/reviews/summary?enrichment={finished}").json()
        assert (said["accepted"], said["rejected"]) == (4, 2)
        assert said["precision"]["accepted"] + said["precision"]["rejected"] == sum(item["audit"] for item in items)
        assert said["relations"][0]["relation"].endswith("officialLanguage")
        rest = client.get(f"/v1/reviews?enrichment={finished}&limit=1000").json()["reviews"]
        assert len(rest) == 14
        assert client.post("/v1/reviews/none", json={"verdict": "accept"}).json()["type"] == "/problems/unknown-review"
        assert client.get("/v1/reviews?enrichment=typo").json()["type"] == "/problems/unknown-job"


def test_what_is_erased_is_not_shown(home: Path, finished: str) -> None:
    with _client(home) as client:
        path = f"/v1/enrichments/{finished}/results"
        first = client.get(path).json()["proposals"][0]["subject"]["id"]
        assert client.delete(f"/v1/entities/{first}").status_code == 204
        assert first not in client.get(path).text
        client.post("/v1/reviews", json={"enrichment": finished, "count": 100})
        head = client.get("/v1/reviews", params={"enrichment": finished, "limit": 1}).json()["reviews"]
        assert client.delete(f"/v1/entities/{head[0]['proposal']['subject']['id']}").status_code == 204
        after = client.get("/v1/reviews", params={"enrichment": finished, "limit": 1}).json()["reviews"]
        assert len(after) == 1  # what was erased does not hide what comes behind it
        assert after[0]["id"] != head[0]["id"]


def test_the_database_is_a_secret() -> None:
    settings = ServerSettings.load({"KGSERVICE_DATABASE_URL": "postgresql://someone:secret@host/name"})
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value().endswith("secret@host/name")
    assert "secret" not in str(settings.shown()).replace("SecretStr", "")
