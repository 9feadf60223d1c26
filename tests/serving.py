"""A real server in a thread, for clients that speak to it over a socket."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from kgservice.server.app import open_app
from kgservice.server.settings import ServerSettings


@contextmanager
def serving(home: Path) -> Iterator[str]:
    """The address of a server over the current release of a home."""
    server = uvicorn.Server(uvicorn.Config(open_app(ServerSettings(home=home)), log_config=None, access_log=False))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:  # a test that fails must not leave a thread that keeps the run from ending
            server.should_exit = True
            thread.join()
