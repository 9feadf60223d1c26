"""OpenRefine itself reconciles 200 rows against a server of the sample graph, without a screen.

`python -m tests.conformance.openrefine` needs OpenRefine 3.6 or newer as `openrefine` on the path (Debian: `apt-get install
openrefine`), or as `OPENREFINE` names it. Each row has a city, every second one misspelt, and the country that the graph states.
It fails unless OpenRefine takes by itself what is spelt to the letter, is offered four of five of the misspelt ones first, and
fetches values for what it took.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from kgservice.engine import Engine
from kgservice.release import ReleaseStore
from tests.bench import machine
from tests.conformance.serving import sample_release
from tests.serving import serving

ROWS, SEED = 200, 3
RESULT = Path(__file__).with_name("openrefine.json")
START_S = 120.0


@dataclass(frozen=True)
class Row:
    """What stands in a row, and what it means."""

    name: str
    country: str
    id: str
    misspelt: bool


def rows_of(engine: Engine) -> list[Row]:
    """Cities with the country that the graph states; every second one with two letters swapped."""
    graph = engine.graph
    relation, type = engine.relations.resolve("world:country"), engine.types.resolve("world:City")
    table = graph.statements
    city = np.isin(table.subject, graph.types.members[type]) & (table.relation == relation)
    subjects, first = np.unique(table.subject[city], return_index=True)
    objects = table.object[city][first]
    labels, countries = graph.texts.labels(subjects), graph.texts.labels(objects)
    named = [
        (s, label, country)
        for s, label, country in zip(subjects.tolist(), labels, countries, strict=True)
        if label and country
    ]
    chance = random.Random(SEED)
    chosen = chance.sample([one for one in named if len(one[1]) >= 5], ROWS)
    rows = []
    for place, (subject, label, country) in enumerate(chosen):
        text = label
        if place % 2:
            at = chance.randrange(1, len(text) - 2)
            text = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        id = engine.entities.short(graph.entities.name(subject))
        rows.append(Row(text, country, id, text != label))
    return rows


class Refine:
    """A running OpenRefine, asked as its own page asks it."""

    def __init__(self, address: str) -> None:
        self.http = httpx.Client(base_url=f"{address}/command/core", timeout=60)
        self.version = self.http.get("/get-version").json()["version"]
        self.token = self.http.get("/get-csrf-token").json()["token"]

    def post(self, command: str, **fields: Any) -> Any:
        """A command with its parameters; what it answers."""
        data = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
        response = self.http.post(f"/{command}", params={"csrf_token": self.token}, data=data)
        response.raise_for_status()
        answer = response.json()
        assert answer.get("code") != "error", answer
        return answer

    def create(self, table: str) -> str:
        """A project of a table of tabs; its number."""
        options = {"separator": "\t", "headerLines": 1, "guessCellValueTypes": False}
        response = self.http.post(
            "/create-project-from-upload",
            params={"csrf_token": self.token},
            data={"project-name": "cities", "format": "text/line-based/*sv", "options": json.dumps(options)},
            files={"project-file": ("cities.tsv", table.encode(), "text/tab-separated-values")},
            follow_redirects=False,
        )
        assert response.status_code == 302, response.text
        return response.headers["location"].rpartition("project=")[2]

    def wait(self, project: str) -> None:
        """Until nothing runs any more."""
        deadline = time.monotonic() + 300
        while self.http.get("/get-processes", params={"project": project}).json()["processes"]:
            assert time.monotonic() < deadline, "OpenRefine does not finish"
            time.sleep(0.2)

    def cells(self, project: str) -> list[list[Any]]:
        """All cells, each with what it was reconciled to under `recon`."""
        got = self.http.post(
            "/get-rows", params={"project": project, "start": 0, "limit": ROWS}, data={"engine": ENGINE}
        ).json()
        recons = got["pool"]["recons"]
        return [
            [cell and {**cell, "recon": recons.get(str(cell.get("r")))} for cell in row["cells"]] for row in got["rows"]
        ]


ENGINE = json.dumps({"facets": [], "mode": "row-based"})


def reconcile(refine: Refine, service: str, rows: list[Row]) -> dict[str, float]:
    """What OpenRefine makes of the rows.

    Raises:
        AssertionError: too little.
    """
    table = "city\tcountry\n" + "".join(f"{row.name}\t{row.country}\n" for row in rows)
    project = refine.create(table)
    manifest = httpx.get(service).json()
    spaces = {"identifierSpace": manifest["identifierSpace"], "schemaSpace": manifest["schemaSpace"]}
    config = {
        "mode": "standard-service",
        "service": service,
        **spaces,
        "type": {"id": "world:City", "name": "city"},
        "autoMatch": True,
        "columnDetails": [{"column": "country", "propertyID": "world:country", "propertyName": "country"}],
        "limit": 5,
    }
    refine.post("reconcile", project=project, columnName="city", config=config, engine=ENGINE)
    refine.wait(project)
    taken = right = offered = found = 0
    cells = refine.cells(project)
    assert len(cells) == len(rows)
    for row, (city, *_) in zip(rows, cells, strict=True):
        recon = city["recon"]
        ids = [
            candidate["id"] for candidate in recon.get("c", ())
        ]  # of a cell that is taken OpenRefine shows the match alone
        if recon["j"] == "matched":
            taken += 1
            right += recon["m"]["id"] == row.id
        if row.misspelt:
            offered += 1
            found += recon.get("m", {}).get("id", ids[0] if ids else "") == row.id
    extension = {"properties": [{"id": "world:country", "name": "country"}]}
    refine.post(
        "extend-data",
        project=project,
        engine=ENGINE,
        baseColumnName="city",
        endpoint=service,
        **spaces,
        columnInsertIndex="1",
        extension=extension,
    )
    refine.wait(project)
    fetched = sum(
        bool(city["recon"]["j"] == "matched" and extra and extra["recon"])
        for city, *_, extra in refine.cells(project)  # a new column stands last here, wherever it is shown
    )
    spelt = len(rows) - offered
    result = {
        "rows": len(rows),
        "taken by itself": taken,
        "of these right": right / max(taken, 1),
        "spelt to the letter": spelt,
        "misspelt found first": found / offered,
        "values fetched": fetched,
    }
    print(json.dumps(result, indent=1))
    stamp = {"command": "make conformance", "machine": machine.machine(), "code": machine.code()}
    machine.write_result(RESULT, {**stamp, "openrefine": refine.version, **result})
    assert taken >= 0.9 * spelt, "what is spelt to the letter is not taken"
    assert right >= 0.98 * taken, "what is taken is wrong"
    assert found >= 0.8 * offered, "misspelt ones are not found"
    assert fetched >= 0.95 * taken, "values are not fetched"
    return result


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def refining(command: str) -> Iterator[Refine]:
    """OpenRefine in a folder of its own, without a screen."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        options = ["-i", "127.0.0.1", "-p", str(port), "-d", folder, "-m", "1024M", "-x", "refine.headless=true"]
        # Its own group: the command is a script that starts Java.
        process = subprocess.Popen(
            [command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            deadline = time.monotonic() + START_S
            while True:
                try:
                    httpx.get(f"{address}/command/core/get-version", timeout=5).raise_for_status()
                    break
                except httpx.HTTPError:
                    assert process.poll() is None, "OpenRefine ended at once"
                    assert time.monotonic() < deadline, "OpenRefine does not start"
                    time.sleep(0.5)
            yield Refine(address)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def main() -> None:
    """Run it over the current release in `KGSERVICE_HOME`, or over one of the sample graph that is made for it."""
    command = os.environ.get("OPENREFINE") or shutil.which("openrefine")
    if not command:
        print("openrefine is not installed: skipped. Debian: apt-get install openrefine")
        return
    with sample_release() as home:
        engine = Engine.open(ReleaseStore(home / "releases").get())
        with serving(home) as address, refining(command) as refine:
            reconcile(refine, f"{address}/reconcile", rows_of(engine))


if __name__ == "__main__":
    sys.exit(main())
