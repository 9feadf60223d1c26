"""`mcp`: the tools of the Model Context Protocol over stdin and stdout."""

from __future__ import annotations

import click


@click.command()
@click.option("--release", help="Release to answer from; by default the current one.")
def mcp(release: str | None) -> None:
    """Answer an agent over stdin and stdout until it hangs up; what is logged goes to stderr."""
    import logging

    import anyio
    import torch

    from kgservice.release import ReleaseStore
    from kgservice.server import tools
    from kgservice.server.holder import EngineHolder
    from kgservice.server.service import Service
    from kgservice.server.settings import ServerSettings

    settings = ServerSettings.load(release=release)
    store = ReleaseStore(settings.home / "releases")
    store.get(settings.release)  # says at once, and in words, that there is none
    torch.set_num_threads(settings.compute_threads)
    logging.getLogger().setLevel(settings.log_level.upper())
    anyio.run(tools.serve_stdio, Service.over(EngineHolder(store, settings.release), settings))
