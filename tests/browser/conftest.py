"""One server for all walks, over a copy of a release of the sample graph; skipped where no browser is installed.

`KGSERVICE_BROWSER_HOME` names another home to copy, `KGSERVICE_BROWSER_ADDRESS` a server that runs already.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

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
