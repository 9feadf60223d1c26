"""`serve`: REST over the current release."""

from __future__ import annotations

import click


@click.command()
@click.option("--host", help="Address to listen on. [default: 127.0.0.1, or KGSERVICE_HOST]")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one. [default: 8000, or KGSERVICE_PORT]")
@click.option("--release", help="Release to serve; by default the current one, followed as it changes.")
@click.option("--threads", type=int, help="Requests answered at the same time. [default: 2, or KGSERVICE_THREADS]")
@click.option("--log-level", help="debug, info, warning or error. [default: info, or KGSERVICE_LOG_LEVEL]")
def serve(host: str | None, port: int | None, release: str | None, threads: int | None, log_level: str | None) -> None:
    """Serve REST until interrupted. Every setting is also a KGSERVICE_* variable; all are shown at start."""
    from kgservice.release import ReleaseStore
    from kgservice.server.settings import ServerSettings

    settings = ServerSettings.load(host=host, port=port, release=release, threads=threads, log_level=log_level)
    shown = settings.shown()
    for name, value in shown.items():
        click.echo(f"  {name:<{max(map(len, shown))}}  {value}", err=True)
    found = ReleaseStore(settings.home / "releases").get(settings.release)

    import logging
    import socket

    import torch
    import uvicorn

    from kgservice.server.app import open_app

    # Where cores are shared, two threads wait for each other for longer than a product of a small graph takes.
    torch.set_num_threads(settings.compute_threads)
    logging.getLogger().setLevel(settings.log_level.upper())
    config = uvicorn.Config(
        open_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        log_level=settings.log_level,
        access_log=False,  # one line per request comes from the application, with its id and without the query
        server_header=False,
        timeout_graceful_shutdown=30,
    )
    bound = config.bind_socket()
    # The event loop does this for sockets of its own alone; without it every answer waits 40 ms for an acknowledgement.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    address = f"http://{settings.host}:{bound.getsockname()[1]}"
    click.echo(f"serving release {found.id} on {address}", err=True)
    server = uvicorn.Server(config)
    server.run(sockets=[bound])
    if not server.started:
        raise SystemExit(3)
