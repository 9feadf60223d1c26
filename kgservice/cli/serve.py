"""`serve`: REST over the current release."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from socket import socket

    from kgservice.server.settings import ServerSettings


@click.command()
@click.option("--host", help="Address to listen on. [default: 127.0.0.1, or KGSERVICE_HOST]")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one. [default: 8000, or KGSERVICE_PORT]")
@click.option("--release", help="Release to serve; by default the current one, followed as it changes.")
@click.option("--threads", type=int, help="Requests answered at the same time. [default: 2, or KGSERVICE_THREADS]")
@click.option("--workers", type=int, help="Processes that answer. [default: 1, or KGSERVICE_WORKERS]")
@click.option("--log-level", help="debug, info, warning or error. [default: info, or KGSERVICE_LOG_LEVEL]")
def serve(
    host: str | None,
    port: int | None,
    release: str | None,
    threads: int | None,
    workers: int | None,
    log_level: str | None,
) -> None:
    """Serve REST until interrupted. Every setting is also a KGSERVICE_* variable; all are shown at start."""
    from kgservice.release import ReleaseStore
    from kgservice.server.settings import PREFIX, ServerSettings

    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "release": release,
        "threads": threads,
        "workers": workers,
        "log_level": log_level,
    }
    settings = ServerSettings.load(**given)
    shown = settings.shown()
    for name, value in shown.items():
        click.echo(f"  {name:<{max(map(len, shown))}}  {value}", err=True)
    found = ReleaseStore(settings.home / "releases").get(settings.release)

    import os
    from socket import IPPROTO_TCP, TCP_NODELAY

    # Workers read the environment: what was given on the command line goes there too.
    os.environ |= {f"{PREFIX}{name.upper()}": str(value) for name, value in given.items() if value is not None}
    bound = listening(settings)
    # The event loop does this for sockets of its own alone; without it every answer waits 40 ms for an acknowledgement.
    bound.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    address = f"http://{settings.host}:{bound.getsockname()[1]}"
    click.echo(f"serving release {found.id} on {address}", err=True)
    if settings.workers > 1:
        _serve_many(settings, bound)
    else:
        _serve_one(settings, bound)


def _serve_one(settings: ServerSettings, bound: socket) -> None:
    from contextlib import suppress

    import uvicorn

    from kgservice.server.app import open_worker

    server = uvicorn.Server(uvicorn.Config(open_worker, factory=True, **_options(settings)))
    with suppress(KeyboardInterrupt):  # raised again when all is shut down; to end so is no mistake
        server.run(sockets=[bound])
    if not server.started:
        raise SystemExit(3)


def _serve_many(settings: ServerSettings, bound: socket) -> None:
    """Processes that take requests from one socket; one that dies is replaced, while the others answer."""
    import os
    import tempfile
    from importlib.util import find_spec

    import uvicorn
    from uvicorn.supervisors import Multiprocess

    with tempfile.TemporaryDirectory(prefix="kgservice-metrics-") as counts:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = counts
        config = uvicorn.Config(
            "kgservice.server.app:open_worker",
            factory=True,
            workers=settings.workers,
            loop="kgservice.server.accepting:EvenLoop" if find_spec("uvloop") else "auto",
            timeout_worker_healthcheck=60,
            **_options(settings),
        )
        Multiprocess(config, sockets=[bound]).run()


def listening(settings: ServerSettings) -> socket:
    """A socket at the address of the settings.

    Raises:
        InputError: something else listens there, or it is no address of this machine.
    """
    import socket

    from kgservice.errors import InputError

    bound = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((settings.host, settings.port))
    except OSError as error:
        bound.close()
        raise InputError(
            f"cannot listen on {settings.host}, port {settings.port}: {error.strerror}. "
            "Choose another with --port or KGSERVICE_PORT, --host or KGSERVICE_HOST; port 0 takes a free one."
        ) from error
    bound.set_inheritable(True)
    return bound


def _options(settings: ServerSettings) -> dict[str, Any]:
    return {
        "host": settings.host,
        "port": settings.port,
        "log_config": None,
        "log_level": settings.log_level,
        "access_log": False,  # one line per request comes from the application, with its id and without the query
        "server_header": False,
        "timeout_graceful_shutdown": math.ceil(settings.drain_s),
    }
