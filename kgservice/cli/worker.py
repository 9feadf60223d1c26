"""`worker`: does what a service was asked to do, in a process or on a machine of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from kgservice.server.jobs import JobRunner


@click.command()
@click.option("--jobs", type=click.IntRange(1), help="Jobs done at the same time. [default: 1, or KGSERVICE_MAX_JOBS]")
@click.option(
    "--heartbeat", type=click.Path(dir_okay=False, path_type=Path), help="File that is touched as long as it lives."
)
@click.option("--log-level", help="debug, info, warning or error. [default: info, or KGSERVICE_LOG_LEVEL]")
def worker(jobs: int | None, heartbeat: Path | None, log_level: str | None) -> None:
    """Do enrichments that were asked for over REST, until interrupted.

    It takes them from the database of the service (KGSERVICE_DATABASE_URL, or the file in KGSERVICE_HOME), and shares its home
    folder. A server whose KGSERVICE_MAX_JOBS is 0 leaves them all to workers.
    """
    import asyncio

    from kgservice.errors import RecipeError
    from kgservice.server import logs
    from kgservice.server.jobs import JobRunner
    from kgservice.server.settings import ServerSettings

    settings = ServerSettings.load(max_jobs=jobs, log_level=log_level)
    if not settings.max_jobs:
        raise RecipeError("KGSERVICE_MAX_JOBS is 0, so that this worker would do nothing; give --jobs 1.")
    logs.configure(settings.log_level, settings.log_format)
    click.echo(f"takes up to {settings.max_jobs} jobs at a time for {settings.home}", err=True)
    asyncio.run(_watch(JobRunner(settings, heartbeat)))


async def _watch(runner: JobRunner) -> None:
    """Until SIGTERM or SIGINT; what is under way then is given back, and goes on elsewhere."""
    import asyncio
    import contextlib
    import signal

    watching = asyncio.ensure_future(runner.watch())
    for told in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(told, watching.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await watching
