"""Long work that survives whoever does it: what was asked, how far it is, and who is at it.

A worker holds a job by a lease that it renews. One that dies stops renewing, and another takes the job over; its work is
resumable, so nothing is lost or done twice.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Column, Float, Integer, String, Table, Text, and_, insert, or_, select, update
from sqlalchemy.engine import Engine, Row
from sqlalchemy.exc import IntegrityError

from kgservice.errors import InputError
from kgservice.store.database import METADATA

State = Literal["queued", "running", "done", "failed", "cancelled"]
LEASE_S = 20.0
"""How long a worker is believed to be at it after it was last heard of."""

JOBS = Table(
    "jobs",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("request", Text, nullable=False),
    Column("idempotency_key", String(200), unique=True),
    Column("state", String(16), nullable=False, index=True),
    Column("stage", String(32), nullable=False),
    Column("done", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("created", Float, nullable=False, index=True),
    Column("started", Float),
    Column("finished", Float),
    Column("owner", String(32)),
    Column("heard", Float, nullable=False),
    Column("error", Text),
)


class KeyReused(InputError):
    """An idempotency key that came before with another request."""

    slug = "key-reused"


class UnknownJob(InputError):
    """There is no such job."""

    slug = "unknown-job"


class WrongState(InputError):
    """The job is in a state in which that makes no sense."""

    slug = "wrong-state"


@dataclass(frozen=True)
class Job:
    """One piece of long work.

    Attributes:
        id: 32 hexadecimal digits.
        kind: what is to be done.
        request: what was asked, plain values.
        state: queued, running, done, failed or cancelled.
        stage, done, total: how far it is.
        created, started, finished: seconds since 1970, UTC.
        error: why it failed.
    """

    id: str
    kind: str
    request: Mapping[str, Any]
    state: State
    stage: str
    done: int
    total: int
    created: float
    started: float | None
    finished: float | None
    error: str | None


class Jobs:
    """The jobs of one database; safe from many threads, processes and machines.

    Args:
        engine: of `open_database`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def submit(self, kind: str, request: Mapping[str, Any], key: str | None = None) -> tuple[Job, bool]:
        """Have something done; the same key gives the same job, however often it is sent.

        Returns:
            The job, and whether it is new.

        Raises:
            KeyReused: the key came before with another request.
        """
        written = json.dumps(request, sort_keys=True, ensure_ascii=False)
        now = time.time()
        values = {
            "id": uuid.uuid4().hex, "kind": kind, "request": written, "idempotency_key": key, "state": "queued",
            "stage": "", "done": 0, "total": 0, "created": now, "heard": now,
        }  # fmt: skip
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(JOBS).values(values))
        except IntegrityError:
            with self._engine.connect() as connection:
                row = connection.execute(select(JOBS).where(JOBS.c.idempotency_key == key)).one()
            if (row.kind, row.request) != (kind, written):
                raise KeyReused(f"the key {key!r} came before with another request; use a new one") from None
            return _job(row), False
        return self.get(str(values["id"])), True

    def get(self, id: str) -> Job:
        """One job.

        Raises:
            UnknownJob: there is none of this id.
        """
        with self._engine.connect() as connection:
            row = connection.execute(select(JOBS).where(JOBS.c.id == id)).one_or_none()
        if row is None:
            raise UnknownJob(f"{id[:64]!r} is not a job of this service")
        return _job(row)

    def list(self, kind: str, limit: int, start: int = 0) -> list[Job]:
        """The jobs of a kind, the newest first."""
        newest = select(JOBS).where(JOBS.c.kind == kind).order_by(JOBS.c.created.desc(), JOBS.c.id)
        with self._engine.connect() as connection:
            return [_job(row) for row in connection.execute(newest.limit(limit).offset(start))]

    def waiting(self, kind: str) -> int:
        """How many jobs of a kind are neither done nor given up."""
        open_ones = select(JOBS.c.id).where(JOBS.c.kind == kind, JOBS.c.state.in_(("queued", "running")))
        with self._engine.connect() as connection:
            return len(connection.execute(open_ones).all())

    def claim(self, kind: str, owner: str) -> Job | None:
        """Take the oldest job that nobody is at; None where there is none."""
        now = time.time()
        lost = and_(JOBS.c.state == "running", JOBS.c.heard < now - LEASE_S)
        free = and_(JOBS.c.kind == kind, or_(JOBS.c.state == "queued", lost))
        with self._engine.connect() as connection:
            ids = connection.execute(select(JOBS.c.id).where(free).order_by(JOBS.c.created).limit(8)).scalars().all()
        for id in ids:
            taken = {"state": "running", "owner": owner, "heard": now, "started": now, "error": None}
            if self._change(and_(JOBS.c.id == id, free), taken):
                return self.get(id)
        return None

    def beat(self, id: str, owner: str, stage: str, done: int, total: int) -> bool:
        """Say how far it is; False where the job is no longer this worker's, which then stops."""
        return self._change(_of(id, owner), {"stage": stage, "done": done, "total": total, "heard": time.time()})

    def renew(self, id: str, owner: str) -> bool:
        """Say that the worker is there still."""
        return self._change(_of(id, owner), {"heard": time.time()})

    def finish(self, id: str, owner: str, error: str | None = None) -> bool:
        """The worker is done, or could not do it."""
        state = "done" if error is None else "failed"
        return self._change(_of(id, owner), {"state": state, "error": error, "finished": time.time(), "owner": None})

    def give_back(self, id: str, owner: str) -> bool:
        """The worker has to stop; another goes on."""
        return self._change(_of(id, owner), {"state": "queued", "owner": None})

    def cancel(self, id: str) -> Job:
        """Stop a job; what it has done is kept.

        Raises:
            UnknownJob: there is none of this id.
            WrongState: it is over.
        """
        values = {"state": "cancelled", "finished": time.time(), "owner": None}
        if not self._change(and_(JOBS.c.id == id, JOBS.c.state.in_(("queued", "running"))), values):
            raise WrongState(f"job {id} is {self.get(id).state}; only one that is queued or running can be cancelled")
        return self.get(id)

    def resume(self, id: str) -> Job:
        """Go on with a job that was cancelled or failed.

        Raises:
            UnknownJob: there is none of this id.
            WrongState: it is under way, or done.
        """
        values = {"state": "queued", "finished": None, "error": None, "owner": None}
        if not self._change(and_(JOBS.c.id == id, JOBS.c.state.in_(("cancelled", "failed"))), values):
            raise WrongState(f"job {id} is {self.get(id).state}; only one that was cancelled or failed can be resumed")
        return self.get(id)

    def _change(self, where: Any, values: Mapping[str, Any]) -> bool:
        with self._engine.begin() as connection:
            return connection.execute(update(JOBS).where(where).values(**values)).rowcount == 1


def _of(id: str, owner: str) -> Any:
    return and_(JOBS.c.id == id, JOBS.c.owner == owner, JOBS.c.state == "running")


def _job(row: Row[Any]) -> Job:
    return Job(
        row.id, row.kind, json.loads(row.request), row.state, row.stage, row.done, row.total,
        row.created, row.started, row.finished, row.error,
    )  # fmt: skip
