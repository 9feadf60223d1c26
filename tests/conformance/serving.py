"""A real server over a release of the sample graph, for clients that nobody here wrote."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import _build_world


@contextmanager
def sample_release() -> Iterator[Path]:
    """A home of its own: a copy of the releases in `KGSERVICE_HOME`, or one of the sample graph that is made for it."""
    with tempfile.TemporaryDirectory() as folder:
        home, given = Path(folder), os.environ.get("KGSERVICE_HOME")
        if given:
            shutil.copytree(Path(given) / "releases", home / "releases")
        else:
            _build_world(home)
        yield home
