"""A real server over a release of the sample graph, for clients that nobody here wrote."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from kgservice.server.app import open_app
from kgservice.server.settings import ServerSettings
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


@contextmanager
def serving(home: Path) -> Iterator[str]:
    """The address of a server over the current release of a home."""
    server = uvicorn.Server(uvicorn.Config(open_app(ServerSettings(home=home)), log_config=None, access_log=False))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()
