"""Has jobs done, one process each, for as long as a server or worker runs; what is left goes on after a restart, or elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import uuid
from functools import cached_property, partial
from pathlib import Path

import anyio.to_thread
from sqlalchemy import Engine

from kgservice.server.settings import ServerSettings
from kgservice.store.database import FILE, open_database
from kgservice.store.jobs import Jobs
from kgservice.store.reviews import Reviews

logger = logging.getLogger(__name__)

ENRICHMENT = "enrichment"
GRACE_S = 5.0
BEAT_S = 5.0


class JobRunner:
    """Who does the jobs of one service; its database is opened when it is first needed.

    Args:
        settings: home, database and limits.
        heartbeat: a file that is touched every few seconds.
    """

    def __init__(self, settings: ServerSettings, heartbeat: Path | None = None) -> None:
        self._settings, self._heartbeat = settings, heartbeat

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
            if self._heartbeat is not None:
                group.create_task(self._beat(self._heartbeat))

    async def _beat(self, heartbeat: Path) -> None:
        while True:
            heartbeat.touch()
            await asyncio.sleep(BEAT_S)

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
        logger.info("job %s is taken", id)
        process = await asyncio.create_subprocess_exec(*command, env=environ)
        try:
            status = await process.wait()
            if status and self.jobs.finish(id, owner, f"its process ended with status {status}"):
                logger.error("job %s: its process ended with status %s", id, status)
            else:
                logger.info("job %s is %s", id, self.jobs.get(id).state)
        finally:
            if process.returncode is None:
                process.terminate()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(process.wait(), GRACE_S)
                if process.returncode is None:
                    process.kill()
                if self.jobs.give_back(id, owner):
                    logger.info("job %s is given back", id)
