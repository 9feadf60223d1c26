"""The console's files: served with their policy, naming no outside address and no path that the API does not have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath

import pytest
from starlette.testclient import TestClient

from kgservice.engine import Engine
from kgservice.errors import RecipeError
from kgservice.resources import share
from kgservice.server.app import create_app
from kgservice.server.settings import ServerSettings

FOLDER = share() / "api" / "console"
FILES = sorted(str(PurePosixPath(path.relative_to(FOLDER))) for path in FOLDER.rglob("*") if path.is_file())
SCRIPTS = [name for name in FILES if name.endswith(".js")]
NAMESPACE = "http://www.w3.org/2000/svg"


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[TestClient]:
    with TestClient(create_app(engine, ServerSettings(home=Path()))) as client:
        yield client


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_served_with_its_policy(client: TestClient, name: str) -> None:
    response = client.get(f"/console/{name}")
    assert response.content == (FOLDER / name).read_bytes()
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    kinds = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    assert response.headers["Content-Type"].startswith(kinds[Path(name).suffix])


def test_the_page_is_at_the_root_and_is_not_sent_twice(client: TestClient) -> None:
    page = client.get("/")
    assert page.content == (FOLDER / "index.html").read_bytes()
    assert page.headers["Cache-Control"] == "no-cache"
    again = client.get("/", headers={"If-None-Match": f'"other", {page.headers["ETag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == page.headers["ETag"] != client.get("/console/main.js").headers["ETag"]


@pytest.mark.parametrize("path", ["missing.js", "%2e%2e%2fopenapi.json", "pages", "", "..%2fDockerfile"])
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    response = client.get(f"/console/{path}")
    assert response.status_code == 404
    assert response.json()["type"] == "/problems/not-found"


def test_it_can_be_off(engine: Engine) -> None:
    client = TestClient(create_app(engine, ServerSettings(home=Path(), console=False)))
    assert client.get("/console/main.js").status_code == 404
    assert "POST /v1/complete" in client.get("/").text
    client = TestClient(create_app(engine, ServerSettings(home=Path(), docs=False)))
    assert client.get("/").content == (FOLDER / "index.html").read_bytes()
    client = TestClient(create_app(engine, ServerSettings(home=Path(), docs=False, console=False)))
    assert client.get("/").status_code == 404


def test_pictures_come_from_where_the_operator_says(engine: Engine) -> None:
    given = {"KGSERVICE_CONSOLE_IMAGES": "https://commons.wikimedia.org, https://upload.wikimedia.org"}
    settings = ServerSettings.load(given)
    policy = TestClient(create_app(engine, settings)).get("/").headers["Content-Security-Policy"]
    assert "img-src 'self' https://commons.wikimedia.org https://upload.wikimedia.org;" in policy
    with pytest.raises(RecipeError, match="KGSERVICE_CONSOLE_IMAGES: expected origins such as https://example.org"):
        ServerSettings.load({"KGSERVICE_CONSOLE_IMAGES": "https://a.example; script-src *"})


def test_no_file_names_an_outside_address() -> None:
    for name in FILES:
        text = (FOLDER / name).read_text(encoding="utf-8").replace(f'xmlns="{NAMESPACE}"', "")
        assert not re.findall(
            r"(?:https?:)?//[\w.-]+\.\w+|@import|url\((?!#)", re.sub(r"^\s*//.*", "", text, flags=re.M)
        ), name


class Page(HTMLParser):
    """What the page loads, and whether anything in it runs by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert not [name for name in given if name.startswith("on") or name == "style"]
        assert tag != "style"
        assert tag != "script" or given.get("src")
        for name in ("src", "href"):
            if tag in ("script", "link", "img") and name in given:
                self.loaded.append(str(given[name]))


def test_the_page_runs_no_inline_script_and_loads_what_there_is() -> None:
    page = Page()
    page.feed((FOLDER / "index.html").read_text(encoding="utf-8"))
    assert {f"console/{name}" for name in FILES if name.endswith(".css")} < set(page.loaded)
    assert set(page.loaded) <= {f"console/{name}" for name in FILES}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_import_what_there_is_and_write_no_markup(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    for target in re.findall(r"""(?:from|import\()\s*"([^"]+)\"""", text):
        assert (FOLDER / name).parent.joinpath(target).resolve().is_file(), target
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setHTML", text)


def test_every_path_that_is_asked_is_in_the_api() -> None:
    document = json.loads((share() / "api" / "openapi.json").read_text(encoding="utf-8"))
    there = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    asked = {
        call
        for name in SCRIPTS
        for call in re.findall(r'"((?:GET|POST|PUT|DELETE) /[^"]*)"', (FOLDER / name).read_text())
    }
    assert len(asked) >= 8
    assert asked <= there, asked - there
    for name in SCRIPTS:  # no call goes around `ask`
        assert name == "api.js" or "fetch(" not in (FOLDER / name).read_text()
