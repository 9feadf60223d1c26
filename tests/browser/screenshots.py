"""Pictures of the console into `docs/console/`: `python -m tests.browser.screenshots [HOME]`.

HOME holds `releases/` with a release of the sample graph, by default what `kgservice demo` made.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from kgservice.resources import home as default_home
from tests.browser.chromium import browsing, serving
from tests.browser.page import Page

OUT = Path(__file__).resolve().parent.parent.parent / "docs" / "console"
LARGEST = 300_000  # bytes of one picture
SETTLED_S = 1.0  # for bars that grow, and for fonts

PHONE = {"width": 390, "height": 844, "phone": True}
WHY = "#/why?subject=world:Croatia&relation=world:memberOf&object=world:European_Union"
SHOTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("home", "#/", {}),
    ("search", "#/search?q=frnace", {}),
    ("entity", "#/entity/world:Croatia", {"height": 1100}),
    ("complete", "#/complete?subject=world:France&relation=world:currency&with=world:startTime=1960&known=yes", {}),
    ("estimate", "#/complete?subject=world:Czechoslovakia&relation=world:population", {"height": 820}),
    ("classify", "#/classify?subject=world:Peru&relation=world:memberOf&object=world:European_Union", {"height": 760}),
    ("why", WHY, {"height": 1000}),
    ("why-dark", WHY, {"dark": True, "height": 1000}),
    ("map", "#/map", {}),
    ("map-dark", "#/map", {"dark": True}),
    ("jobs", "#/jobs/{job}", {"height": 760}),
    ("review", "#/review?of={job}", {"height": 640}),
    ("releases", "#/releases", {"height": 760}),
    ("phone-entity", "#/entity/world:Croatia", PHONE),
    ("phone-complete", "#/complete?relation=world:memberOf&object=world:European_Union", PHONE),
)  # fmt: skip


def main() -> None:
    """Take all of them."""
    home = Path(sys.argv[1]) if len(sys.argv) > 1 else default_home()
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as own:
        shutil.copytree(home / "releases", Path(own) / "releases")
        with serving(Path(own)) as address:
            job = _job(address)
            for name, hash, options in SHOTS:
                with browsing(**options) as driver:
                    page = Page(driver, address)
                    page.open(hash.replace("{job}", job))
                    page.see("main :is(h1, .results li)")
                    page.settle()
                    if name == "home":
                        page.one(".view canvas")
                    time.sleep(SETTLED_S)
                    _save(name, driver.get_screenshot_as_png())


def _job(address: str) -> str:
    """The id of an enrichment that is done, some of its proposals in the queue."""
    with httpx.Client(base_url=address, timeout=60) as client:
        body = {"relations": ["world:memberOf"], "threshold": 0.3, "total": 200}
        id = str(client.post("/v1/enrichments", json=body).raise_for_status().json()["id"])
        while client.get(f"/v1/enrichments/{id}").json()["state"] in ("queued", "running"):
            time.sleep(0.5)
        client.post("/v1/reviews", json={"enrichment": id, "count": 50}).raise_for_status()
    return id


def _save(name: str, png: bytes) -> None:
    """As small as it gets without loss."""
    path = OUT / f"{name}.png"
    Image.open(io.BytesIO(png)).convert("RGB").save(path, optimize=True)
    size = path.stat().st_size
    print(f"{path.relative_to(OUT.parent.parent)} {size:,} bytes")
    if size > LARGEST:
        raise SystemExit(f"{path} is larger than {LARGEST:,} bytes")


if __name__ == "__main__":
    main()
