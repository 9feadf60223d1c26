"""Generated pages are what their sources give; what pages name is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("models/*.md"))
]
PACKAGE = ROOT / "kgservice"


def test_cards_and_settings_are_generated() -> None:
    done = subprocess.run(
        [sys.executable, "tools/cards.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_links_and_paths_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text) if not re.match(r"[a-z]+:", link)]
    paths = re.findall(r"`((?:kgservice|tests|tools|models|data|api|docs)/[\w./-]+\.\w+)`", text)
    gone = [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]
    gone += [path for path in paths if not (ROOT / path).exists()]
    assert not gone


def test_what_the_rooms_name_is_there_and_all_of_it() -> None:
    """Every package and root module has a row; where rows below it name modules, they name all."""
    rows = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("```text\n")[2].partition("```")[0]
    rooms: dict[str, set[str]] = {}
    room = ""
    for row in filter(None, rows.splitlines()):
        for name in re.split(r" {2,}", row.strip())[0].split(" · "):
            if row.startswith("  "):
                rooms[room].add(name)
            else:
                room = name
                rooms[room] = set()
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert set(rooms) == found - {"__init__", "__main__"}
    for room, modules in rooms.items():
        if modules:
            assert modules == {path.stem for path in (PACKAGE / room).iterdir() if not path.stem.startswith("__")}, room
