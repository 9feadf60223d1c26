"""Generated pages are what their sources give; numbers come from committed results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_cards_and_settings_are_generated() -> None:
    done = subprocess.run(
        [sys.executable, "tools/cards.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
