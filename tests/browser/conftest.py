"""One server for all walks, over a copy of a release of the sample graph; skipped where no browser is installed.

`KGSERVICE_BROWSER_HOME` names another home to copy, `KGSERVICE_BROWSER_ADDRESS` a server that runs already.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kgservice import pipeline
from kgservice.recipe import Recipe

pytest.importorskip("selenium", reason="needs selenium: pip install 'kgservice[browser]'")

from tests.browser.chromium import BROWSER, DRIVER, serving

if not (BROWSER and DRIVER):
    pytest.skip("needs Debian's chromium and chromium-driver, or CHROMIUM and CHROMEDRIVER", allow_module_level=True)


@pytest.fixture(scope="session")
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the server is; its home is one's own, since walks put and decide."""
    if running := os.environ.get("KGSERVICE_BROWSER_ADDRESS"):
        yield running
        return
    home = os.environ.get("KGSERVICE_BROWSER_HOME") or request.getfixturevalue("world_home")
    own = tmp_path_factory.mktemp("home")
    # The releases alone: what was put and erased there is no part of the walks.
    shutil.copytree(Path(home) / "releases", own / "releases", ignore=shutil.ignore_patterns("journal.sqlite*"))
    with serving(own) as address:
        yield address


TRAINING = {"batch_size": 64, "optimizer": "adam", "learning_rate": 0.01, "device": "cpu", "precision": "float32"}
CONTEXT = {"vocabulary": 512, "tokens": 32, "neighbours": 4, "layers": 1, "heads": 2, "rescored": 8}


@pytest.fixture(scope="module")
def two_releases(family_ttl: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A home of two releases of a small graph, learnt for another time each by a model that reads; the second is current."""
    home = tmp_path_factory.mktemp("two")
    made = []
    for epochs in (1, 3):
        tree = {
            "name": f"family-{epochs}",
            "graph": {"sources": [str(family_ttl)], "split": {"valid": 0.1, "test": 0.1}},
            "models": {
                "context": {
                    "scorer": "context",
                    "width": 16,
                    "context": CONTEXT,
                    "training": {**TRAINING, "epochs": epochs},
                }
            },
            "search": {"encoder": "none"},
        }
        made.append(pipeline.build(Recipe.parse(tree), home, base=home).id)
    return home, made
