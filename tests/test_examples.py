"""`api/examples/*.http` against the real application: every request does what the comments above it say.

The files are those of the REST clients of editors: `###` begins a request, `# expect:` is its status, and each
`# assert:` a path as in jq with `==`, `contains` or `length`.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from kgservice.release import ReleaseStore
from kgservice.server.app import open_app
from kgservice.server.settings import ServerSettings

FOLDER = Path(__file__).resolve().parent.parent / "api" / "examples"
HOST = "http://localhost:8000"
ASSERTION = re.compile(r"(?P<path>\.\S*) (?P<verb>==|contains|length) (?P<value>.+)")


@dataclass(frozen=True)
class Example:
    """One request of a file, and what its comments say of the answer."""

    title: str
    method: str
    path: str
    headers: dict[str, str]
    body: str
    status: int
    assertions: list[str]


def read(path: Path) -> Iterator[Example]:
    for block in path.read_text(encoding="utf-8").split("### ")[1:]:
        head, _, body = block.partition("\n\n")
        title, *lines = head.splitlines()
        comments = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
        method, _, url = lines[len(comments)].partition(" ")
        yield Example(
            title=f"{path.stem}: {title}",
            method=method,
            path=url.removeprefix("{{host}}"),
            headers=dict(line.split(": ", 1) for line in lines[len(comments) + 1 :]),
            body=body,
            status=int(comments[0].removeprefix("expect: ")),
            assertions=[comment.removeprefix("assert: ") for comment in comments[1:]],
        )


EXAMPLES = [example for path in sorted(FOLDER.glob("*.http")) for example in read(path)]


def pick(value: Any, path: str) -> Any:
    """The part at a path such as `.a[0].b`, or all of them at `.a[].b`."""
    for step in re.findall(r"\[\d*\]|[^.\[\]]+", path):
        if step == "[]":
            rest = path.partition("[]")[2]
            return [pick(one, rest) for one in value]
        value = value[int(step[1:-1])] if step.startswith("[") else value[step]
    return value


def holds(assertion: str, answer: Any) -> bool:
    found = ASSERTION.fullmatch(assertion)
    assert found, f"not an assertion: {assertion}"
    value, expected = pick(answer, found["path"]), json.loads(found["value"])
    if found["verb"] == "length":
        return len(value) == int(expected)
    return bool(expected in value) if found["verb"] == "contains" else bool(value == expected)


@pytest.fixture(scope="module")
def client(release_store: ReleaseStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Over a copy: some examples put and erase."""
    home = tmp_path_factory.mktemp("examples")
    shutil.copytree(release_store.folder, home / "releases")
    with TestClient(open_app(ServerSettings(home=home)), base_url=HOST) as client:
        yield client


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_example(client: TestClient, release_store: ReleaseStore, example: Example) -> None:
    path = example.path.replace("{{release}}", str(release_store.current_id())[:6])
    response = client.request(example.method, path, headers=example.headers, content=example.body.strip())
    assert response.status_code == example.status, response.text
    for assertion in example.assertions:
        assert holds(assertion, response.json()), f"{assertion}, found {response.text[:1000]}"


def test_every_endpoint_has_an_example(client: TestClient) -> None:
    documented = {
        (method.upper(), re.compile(re.sub(r"\{.*?\}", "[^/]+", path)))
        for path, operations in client.get("/openapi.json").json()["paths"].items()
        for method in operations
    }
    shown = [(example.method, example.path.partition("?")[0]) for example in EXAMPLES]
    for method, path in documented:
        assert any(method == given and path.fullmatch(place) for given, place in shown), f"{method} {path.pattern}"


def test_assertions_can_fail() -> None:
    answer = {"a": [{"b": 1}, {"b": 2}]}
    assert holds(".a[].b contains 2", answer)
    assert holds(".a[1].b == 2", answer)
    assert not holds(".a length 3", answer)
    assert not holds(".a[0].b == 2", answer)
    assert not holds(".a[].b contains 3", answer)
