"""Has jobs done, one process each, for as long as the server runs; what is left goes on after a restart."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import uuid
from functools import cached_property, partial

import anyio.to_thread
from sqlalchemy import Engine

from kgservice.server.settings import ServerSettings
from kgservice.store.database import FILE, open_database
from kgservice.store.jobs import Jobs
from kgservice.store.reviews import Reviews

logger = logging.getLogger(__name__)

ENRICHMENT = "enrichment"
GRACE_S = 5.0


class JobRunner:
    """The jobs of one server; its database is opened when it is first needed.

    Args:
        settings: home, database and limits.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings

    @cached_property
    def _database(self) -> Engine:
        url = self._settings.database_url
        return open_database(self._settings.home, url.get_secret_value() if url else None)

    @cached_property
    def jobs(self) -> Jobs:
        """What is to be done."""
        return Jobs(self._database)

    @cached_property
    def reviews(self) -> Reviews:
        """What people said of what was proposed."""
        return Reviews(self._database)

    @property
    def _there(self) -> bool:
        """Whether anything was ever asked: a server over a folder that it cannot write to has no jobs."""
        return self._settings.database_url is not None or (self._settings.home / FILE).exists()

    async def watch(self) -> None:
        """Look for jobs again and again; ends when it is cancelled, and lets others go on with what was begun."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._settings.max_jobs):
                group.create_task(self._serve())

    async def _serve(self) -> None:
        while True:
            owner = uuid.uuid4().hex
            try:
                job = None
                if self._there:
                    job = await anyio.to_thread.run_sync(partial(self.jobs.claim, ENRICHMENT, owner))
                if job is not None:
                    await self._run(job.id, owner)
                    continue
            except Exception:  # a runner that dies would leave every later job undone
                logger.exception("looking for jobs failed")
            await asyncio.sleep(self._settings.job_poll_s)

    async def _run(self, id: str, owner: str) -> None:
        url = self._settings.database_url
        environ = {**os.environ, "OMP_NUM_THREADS": "1"}
        if url:
            environ["KGSERVICE_DATABASE_URL"] = url.get_secret_value()
        command = [sys.executable, "-m", "kgservice.enrichment.worker", str(self._settings.home), id, owner]
        process = await asyncio.create_subprocess_exec(*command, env=environ)
        try:
            status = await process.wait()
            if status and self.jobs.finish(id, owner, f"its process ended with status {status}"):
                logger.error("job %s: its process ended with status %s", id, status)
        finally:
            if process.returncode is None:
                process.terminate()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(process.wait(), GRACE_S)
                if process.returncode is None:
                    process.kill()
                self.jobs.give_back(id, owner)
