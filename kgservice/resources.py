"""Where declared things (recipes, manifests, the sample graph) and produced things (`var/`) are found."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def share() -> Path:
    """The folder that holds `models/`, `data/` and `api/`: the checkout, or `kgservice/_share` when installed."""
    checkout = _PACKAGE.parent
    return checkout if (checkout / "data" / "world.toml").is_file() else _PACKAGE / "_share"


def home() -> Path:
    """The folder for releases, downloads and run logs: `KGSERVICE_HOME`, by default `var` in the working folder."""
    return Path(os.environ.get("KGSERVICE_HOME") or "var").resolve()
