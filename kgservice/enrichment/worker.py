"""One job in a process of its own, so that neither the answers nor the event loop of a server wait for it.

`python -m kgservice.enrichment.worker HOME JOB OWNER`, the database's address in KGSERVICE_DATABASE_URL.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from kgservice.enrichment.plan import Plan
from kgservice.enrichment.running import Cancelled, enrich, read_plan
from kgservice.errors import KGServiceError
from kgservice.store.database import open_database
from kgservice.store.jobs import LEASE_S, Jobs

logger = logging.getLogger(__name__)

EVERY_S = 0.5
"""Between two words on how far it is."""


def folder_of(home: Path, id: str) -> Path:
    """Where a job's files lie."""
    return home / "enrichments" / id


def work(home: Path, jobs: Jobs, id: str, owner: str) -> None:
    """Do a job that `owner` has claimed, and say how it ended."""
    import torch

    from kgservice.engine import open_engine

    torch.set_num_threads(1)
    last = 0.0

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > EVERY_S or done == total:
            last = time.monotonic()
            if not jobs.beat(id, owner, stage, done, total):
                raise Cancelled

    over = threading.Event()
    # A block may take longer than a lease.
    keeper = threading.Thread(target=_keep, args=(jobs, id, owner, over), daemon=True)
    keeper.start()
    try:
        plan = Plan.from_json(jobs.get(id).request)
        engine = open_engine(home / "releases", plan.release.partition("@")[0])
        folder, plan = folder_of(home, id), replace(plan, release=engine.release_name)
        begun = read_plan(folder)
        if begun is not None and begun.release != plan.release:
            # Blocks hold ids of their revision, which nobody can open any more.
            logger.warning("job %s starts anew: entities were put or erased since its start at %s", id, begun.release)
            shutil.rmtree(folder)
        enrich(engine, plan, folder, progress)
        jobs.finish(id, owner)
    except Cancelled:
        logger.info("job %s is no longer wanted", id)
    except KGServiceError as error:
        logger.warning("job %s failed: %s: %s", id, type(error).__name__, error)
        jobs.finish(id, owner, str(error))
    except Exception as error:  # of whatever kind: the job must not be tried for ever
        logger.exception("job %s failed", id)
        jobs.finish(id, owner, f"{type(error).__name__}; the server's log tells more")
    finally:
        over.set()


def _keep(jobs: Jobs, id: str, owner: str, over: threading.Event) -> None:
    while not over.wait(LEASE_S / 4):
        if not jobs.renew(id, owner):
            return


def main() -> None:
    """The process."""
    home, id, owner = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    os.nice(10)  # answers come first
    work(Path(home), Jobs(open_database(Path(home), os.environ.get("KGSERVICE_DATABASE_URL") or None)), id, owner)


if __name__ == "__main__":
    main()
