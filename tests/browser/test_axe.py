"""axe-core over every page, in light and dark: no serious fault."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.browser.chromium import browsing
from tests.browser.page import Page

ROOT = Path(__file__).resolve().parent.parent.parent
AXE = Path(os.environ.get("AXE") or ROOT / "var" / "browser" / "node_modules" / "axe-core" / "axe.min.js")
PAGES = {
    "home": "#/",
    "search": "#/search?q=paris",
    "nothing found": "#/search?q=qqqqqqqqq",
    "entity": "#/entity/world:France",
    "unknown": "#/entity/world:Frnace",
    "complete": "#/complete?subject=world:France&relation=world:currency&with=world:startTime=1960&known=yes",
    "estimate": "#/complete?subject=world:Czechoslovakia&relation=world:population",
    "classify": "#/classify?subject=world:Japan&relation=world:currency&object=world:Japanese_Yen",
    "why": "#/why?subject=world:France&relation=world:memberOf&object=world:European_Union",
    "map": "#/map",
    "jobs": "#/jobs",
    "review": "#/review",
    "narrowed": "#/complete?relation=world:memberOf&object=world:European_Union&type=world:Country&fuse=yes",
    "releases": "#/releases",
    "diff": "#/diff?before=0&after=1",
    "missing": "#/nowhere",
}


@pytest.mark.skipif(not AXE.is_file(), reason=f"needs axe-core at {AXE}: `make test-browser` installs it with npm")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_no_serious_fault(address: str, dark: bool) -> None:
    script = AXE.read_text(encoding="utf-8")
    found: list[str] = []
    with browsing(dark=dark) as driver:
        driver.set_script_timeout(60)
        page = Page(driver, address)
        for name, hash in PAGES.items():
            page.open(hash)
            page.see("main :is(h1, .empty, .problem, .results li)")
            page.settle()
            driver.execute_script(script)
            result: dict[str, Any] = driver.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
            assert len(result["passes"]) > 10, name
            found += [
                f"{name}: {fault['id']}: {fault['help']}: {node['target']} {node.get('failureSummary', '')[:200]}"
                for fault in result["violations"]
                if fault["impact"] in ("serious", "critical")
                for node in fault["nodes"][:3]
            ]
    assert not found, "\n".join(found)
