"""Visual texts: the describer, the endpoint against a stand-in server, and the job that is killed and goes on."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from kgservice import ingestion
from kgservice.captioning import CaptioningFailed, Picture, one_line
from kgservice.captioning.builtin import Describer, Given
from kgservice.captioning.describer import describe
from kgservice.captioning.endpoint import BudgetSpent, Endpoint, EndpointSettings
from kgservice.captioning.images import Image as EntityImage
from kgservice.captioning.images import of_table
from kgservice.captioning.job import caption, with_captions
from kgservice.cli import cli
from kgservice.errors import InputError
from kgservice.graph import KnowledgeGraph
from kgservice.graph.captions import ANY, Captions

KEY = "sk-never-to-be-seen"


def flag(*colours: str, way: str = "down", size: tuple[int, int] = (60, 40)) -> Image.Image:
    image = Image.new("RGB", size, colours[0])
    draw, (width, height) = ImageDraw.Draw(image), size
    for place, colour in enumerate(colours):
        low, high = place / len(colours), (place + 1) / len(colours)
        if way == "down":
            draw.rectangle((low * width, 0, high * width - 1, height), fill=colour)
        else:
            draw.rectangle((0, low * height, width, high * height - 1), fill=colour)
    return image


class TestDescriber:
    def test_stripes(self) -> None:
        assert describe(flag("blue", "white", "red")).startswith("three vertical stripes blue white red")
        assert describe(flag("black", "red", "gold", way="across")).startswith(
            "three horizontal stripes black red yellow"
        )
        turns = ["red", "white"] * 6 + ["red"]
        assert describe(flag(*turns, way="across", size=(130, 91))).startswith(
            "13 horizontal stripes red and white in turn"
        )

    def test_a_cross_and_a_disc(self) -> None:
        nordic = Image.new("RGB", (80, 50), "blue")
        draw = ImageDraw.Draw(nordic)
        draw.rectangle((0, 20, 80, 29), fill="yellow")
        draw.rectangle((22, 0, 31, 50), fill="yellow")
        assert describe(nordic).startswith("yellow cross left of the middle on blue")
        sun = Image.new("RGB", (60, 40), "white")
        ImageDraw.Draw(sun).ellipse((20, 10, 40, 30), fill="red")
        assert describe(sun) == "plain white ground, red disc in the middle, colours white red, wide"

    def test_a_transparent_rim_is_not_part_of_it(self) -> None:
        framed = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
        framed.paste(flag("green", "white", "green"), (20, 30))
        assert describe(framed) == describe(flag("green", "white", "green"))

    @given(seed=st.integers(0, 1000), width=st.integers(1, 90), height=st.integers(1, 90), noise=st.booleans())
    @settings(max_examples=25, deadline=None)
    def test_every_image_gives_the_same_short_words_again(
        self, seed: int, width: int, height: int, noise: bool
    ) -> None:
        random = np.random.default_rng(seed)
        pixels = random.integers(0, 256, (height, width, 3)) if noise else np.full((height, width, 3), seed % 256)
        image = Image.fromarray(pixels.astype(np.uint8))
        said = describe(image)
        assert said == describe(image)
        assert 0 < len(said) < 300
        assert "\n" not in said

    def test_real_flags(self, mirror: Path) -> None:
        folder = mirror / "multimodal" / "flags" / "64"
        said = {
            code: describe(Image.open(folder / f"{code}.png")) for code in ("FR", "DE", "JP", "SE", "US", "CZ", "NG")
        }
        assert said["FR"].startswith("three vertical stripes blue white red")
        assert said["DE"].startswith("three horizontal stripes black red yellow")
        assert "red disc in the middle" in said["JP"]
        assert said["SE"].startswith("yellow cross left of the middle on blue")
        assert "red and white in turn, blue upper left corner" in said["US"]
        assert "blue triangle at the left" in said["CZ"]
        assert said["NG"].startswith("three vertical stripes green white green")
        every = [describe(Image.open(path)) for path in sorted(folder.glob("*.png"))]
        assert len(set(every)) > 0.9 * len(every)

    def test_what_is_no_image_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "x.png"
        path.write_bytes(b"\x89PNG not really")
        with pytest.raises(CaptioningFailed, match=r"x\.png is no image that Pillow reads"):
            Describer().caption(Picture("e", "E", "", path, "0"))


class StandIn:
    """A server that answers as it is told, call after call; then with a caption that repeats what it was asked."""

    def __init__(self) -> None:
        self.script: list[Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]] = []
        self.calls: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                stand_in.calls.append(body)
                stand_in.keys.add(self.headers.get("authorization", ""))
                act = stand_in.script.pop(0) if stand_in.script else good
                with suppress(BrokenPipeError):
                    act(self, body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def send(handler: BaseHTTPRequestHandler, status: int, content: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("content-length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def good(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    text = "seen: " + body["messages"][0]["content"][0]["text"]
    answer = {"choices": [{"message": {"content": text}}], "usage": {"total_tokens": 100}}
    send(handler, 200, json.dumps(answer).encode())


def busy(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    send(handler, 429, b"slow down", retry_after="7")


def slow(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    time.sleep(0.6)
    send(handler, 200, b"{}")


def malformed(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    send(handler, 200, b'{"choices": [{"message": {"content": null}}]}')


def refused(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    send(handler, 401, f"wrong key {KEY}".encode())


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    server = StandIn()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def picture(tmp_path: Path) -> Picture:
    path = tmp_path / "flag.png"
    flag("blue", "white", "red").save(path)
    return Picture("ex:fr", "France", "capital", path, "abc")


def endpoint(stand_in: StandIn, waits: list[float] | None = None, **changes: Any) -> Endpoint:
    given = {"url": stand_in.url, "model": "m", "key": KEY, "timeout_s": 0.3, "at_once": 2, **changes}
    return Endpoint(EndpointSettings(**given), wait=(waits if waits is not None else []).append)


class TestEndpoint:
    def test_an_image_is_sent_with_a_prompt_of_the_relation(self, stand_in: StandIn, picture: Picture) -> None:
        captioner = endpoint(stand_in)
        said = captioner.caption(picture)
        assert "this image of France shows that may tell its capital" in said
        content = stand_in.calls[0]["messages"][0]["content"]
        assert content[1]["image_url"]["url"].startswith("data:image/png;base64,")
        assert stand_in.keys == {f"Bearer {KEY}"}
        assert captioner.spent_tokens == 100

    def test_time_outs_429_and_malformed_answers_are_tried_again(self, stand_in: StandIn, picture: Picture) -> None:
        stand_in.script = [slow, busy, malformed]
        waits: list[float] = []
        captioner = endpoint(stand_in, waits)
        assert captioner.caption(picture).startswith("seen:")
        assert captioner.calls == 4
        assert captioner.retries == 3
        assert waits[1] == 7  # as the server asked
        assert all(0 < wait <= 60 for wait in waits)

    def test_it_gives_up_and_says_why(self, stand_in: StandIn, picture: Picture) -> None:
        stand_in.script = [malformed, malformed, busy]
        with pytest.raises(
            CaptioningFailed, match=r"no caption of flag\.png of ex:fr: .* after 3 attempts: status 429"
        ):
            endpoint(stand_in, attempts=3).caption(picture)
        gone = endpoint(stand_in, attempts=1)
        stand_in.server.shutdown()
        stand_in.server.server_close()
        with pytest.raises(CaptioningFailed, match="no connection: ConnectError"):
            gone.caption(picture)

    def test_no_key_is_ever_shown(self, stand_in: StandIn, picture: Picture, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        stand_in.script = [busy, refused]
        captioner = endpoint(stand_in)
        with pytest.raises(CaptioningFailed, match="status 401") as raised:
            captioner.caption(picture)
        shown = caplog.text + str(raised.value) + repr(captioner.settings) + captioner.fingerprint
        assert KEY not in shown

    def test_no_more_is_spent_than_the_budget(self, stand_in: StandIn, picture: Picture) -> None:
        captioner = endpoint(stand_in, budget_tokens=150)
        captioner.caption(picture)
        captioner.caption(picture)
        with pytest.raises(BudgetSpent, match="the budget of 150 tokens is spent: 200 were used"):
            captioner.caption(picture)
        assert len(stand_in.calls) == 2


@pytest.fixture(scope="module")
def family(family_ttl: Path, tmp_path_factory: pytest.TempPathFactory) -> KnowledgeGraph:
    return ingestion.ingest([family_ttl], tmp_path_factory.mktemp("captioning") / "graph")


def pictured(graph: KnowledgeGraph, folder: Path, count: int) -> list[EntityImage]:
    colours = ["red", "green", "blue", "white", "black", "yellow"]
    found = []
    for place in range(count):
        path = folder / f"{place}.png"
        flag(colours[place % 6], colours[(place // 6 + place + 1) % 6], size=(40 + place, 40)).save(path)
        found.append(EntityImage(place, str(path)))
    return found


class TestJob:
    def test_captions_are_kept_and_the_same_image_is_asked_once(
        self, family: KnowledgeGraph, stand_in: StandIn, tmp_path: Path
    ) -> None:
        images = pictured(family, tmp_path, 6)
        images.append(EntityImage(10, images[0].place))
        images.append(EntityImage(11, str(tmp_path / "lost.png")))
        first, report = caption(family, images, endpoint(stand_in, at_once=1), tmp_path / "kept", relations=[ANY, 0])
        assert (report.made, report.kept, report.failed) == (12, 2, {"CaptioningFailed": 2})
        assert "lost.png is not there" in report.failures[0]
        again, report = caption(family, images, endpoint(stand_in), tmp_path / "kept", relations=[ANY, 0])
        assert (report.made, report.kept) == (0, 14)
        assert list(again.texts) == list(first.texts)
        assert len(stand_in.calls) == 12
        saved = with_captions(family, first)
        assert saved.content_hash != family.content_hash
        saved.save(tmp_path / "graph")
        opened = KnowledgeGraph.open(tmp_path / "graph")
        assert list(opened.captions.texts) == list(first.texts)
        assert opened.content_hash == saved.content_hash
        for file in (tmp_path / "graph").rglob("*"):
            assert KEY.encode() not in file.read_bytes()
        for file in (tmp_path / "kept").rglob("*"):
            assert KEY.encode() not in file.read_bytes()

    def test_a_spent_budget_ends_the_job_and_the_next_goes_on(
        self, family: KnowledgeGraph, stand_in: StandIn, tmp_path: Path
    ) -> None:
        images = pictured(family, tmp_path, 6)
        made, report = caption(family, images, endpoint(stand_in, budget_tokens=250, at_once=1), tmp_path / "kept")
        assert len(made) == report.made == 3
        assert not report.finished
        made, report = caption(family, images, endpoint(stand_in), tmp_path / "kept")
        assert (len(made), report.kept, report.finished) == (6, 3, True)

    def test_a_killed_job_goes_on(self, family: KnowledgeGraph, stand_in: StandIn, tmp_path: Path) -> None:
        folder = tmp_path / "graph"
        family.save(folder)
        images = pictured(family, tmp_path, 6)
        names = [family.entities.name(image.entity) for image in images]
        table = tmp_path / "images.tsv"
        rows = [f"{name}\t{Path(image.place).name}" for name, image in zip(names, images, strict=True)]
        table.write_text("\n".join(["entity\timage", *rows, "nobody\tx.png"]), encoding="utf-8")
        held = threading.Event()

        def hold(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
            held.set()
            time.sleep(20)

        stand_in.script = [good, good, hold]
        command = [
            sys.executable,
            "-m",
            "kgservice",
            "caption",
            str(folder),
            "--images",
            str(table),
            "--by",
            "endpoint",
        ]
        command += ["--url", stand_in.url, "--model", "m", "--at-once", "1", "--timeout", "30"]
        here = {**os.environ, "KGSERVICE_HOME": str(tmp_path / "home"), "KGSERVICE_CAPTION_KEY": KEY}
        running = subprocess.Popen(command, env=here, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert held.wait(60)
        running.send_signal(signal.SIGKILL)
        running.wait()
        kept = next((tmp_path / "home" / "captions").glob("*.jsonl"))
        with kept.open("a", encoding="utf-8") as torn:
            torn.write('{"sha256": "12')
        done = subprocess.run(command, env=here, capture_output=True, text=True, timeout=60, check=True)
        assert "4 captions made, 2 kept from before, 0 empty, 0 failed" in done.stdout
        assert "1 rows name other entities" in done.stdout
        assert KEY not in done.stdout + done.stderr
        assert len(KnowledgeGraph.open(folder).captions) == 6
        assert len(stand_in.calls) == 2 + 1 + 4

    def test_a_file_of_captions_and_the_describer_by_command(
        self, family: KnowledgeGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KGSERVICE_HOME", str(tmp_path / "home"))
        folder = tmp_path / "graph"
        family.save(folder)
        file = tmp_path / "captions.jsonl"
        town = "https://example.org/town0"
        lines = [
            {"entity": town, "text": "a market\nplace"},
            {"entity": town, "relation": "https://example.org/livesIn", "text": "a house"},
            {"entity": "https://example.org/nobody", "text": "x"},
        ]
        file.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
        run = ["caption", str(folder), "--by", "file", "--captions", str(file), "--relation", "ex:livesIn"]
        done = CliRunner().invoke(cli, run, catch_exceptions=False)
        assert "1 entities with an image, 2 captions by file; 1 rows name other entities" in done.output
        captions = KnowledgeGraph.open(folder).captions
        assert list(captions.texts) == ["a market place", "a house"]
        images = pictured(family, tmp_path, 2)
        table = tmp_path / "images.csv"
        table.write_text(f"entity,image\ntown1,{images[0].place}\n", encoding="utf-8")
        report = tmp_path / "report.json"
        run = ["caption", str(folder), "--images", str(table), "--report", str(report)]
        CliRunner().invoke(cli, run, catch_exceptions=False)
        assert len(KnowledgeGraph.open(folder).captions) == 3  # those of before stay
        assert json.loads(report.read_text())["made"] == 1

    def test_wrong_files_are_refused(self, tmp_path: Path, family: KnowledgeGraph) -> None:
        file = tmp_path / "captions.jsonl"
        file.write_text('{"entity": "x"}\n', encoding="utf-8")
        with pytest.raises(InputError, match=r"captions\.jsonl:1: expected an object such as"):
            Given(file, {})
        table = tmp_path / "images.tsv"
        table.write_text("id\tpath\n", encoding="utf-8")
        with pytest.raises(InputError, match="has the columns id, path; expected 'entity' and 'image'"):
            of_table(table, family)


class TestCaptions:
    def test_the_prompted_one_goes_before_the_other(self) -> None:
        captions = Captions.build([3, 3, 5, 3], [ANY, 2, 2, ANY], ["a", "b", "c", "d"])
        assert list(captions.texts) == ["d", "b", "c"]  # the last one given stays
        assert captions.rows([3, 3, 5, 5, 9], [2, 1, 2, 1, 2]).tolist() == [1, 0, 2, -1, -1]
        assert Captions().rows([1], [1]).tolist() == [-1]

    def test_what_is_erased_has_none(self, family: KnowledgeGraph) -> None:
        from kgservice.graph.erasing import without

        graph = replace(family, captions=Captions.build([0, 1, 2], [ANY] * 3, ["a", "b", "c"]))
        kept, _ = without(graph, np.array([1], np.int32))
        assert kept.captions.entity.tolist() == [0, 1]
        assert list(kept.captions.texts) == ["a", "c"]

    @given(st.text(max_size=600))
    def test_a_caption_is_one_line(self, text: str) -> None:
        line = one_line(text)
        assert len(line) <= 400
        assert all(letter.isprintable() for letter in line)
