"""The service's own database: jobs, reviews, keys. SQLite beside the releases, or PostgreSQL where several machines share it.

A module of this room declares its tables over `METADATA`; `open_database` makes those that are missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, MetaData, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from kgservice.errors import DataError

FILE = "service.sqlite"
WAIT_S = 30.0
"""How long one process waits for another that is writing."""

METADATA = MetaData()
"""Every table of the service; what is not declared here is not made."""


def open_database(home: Path, url: str | None = None) -> Engine:
    """A database with all tables of `METADATA`; safe from many threads and processes.

    Args:
        home: the folder that holds `releases/`; SQLite's file lies there.
        url: `postgresql://user:password@host/name` or `sqlite:///path`; by default the file in `home`.

    Raises:
        DataError: an address that names no database, or one that does not answer; no password is in the message.
    """
    try:
        where = make_url(url) if url else make_url(f"sqlite:///{(home / FILE).absolute()}")
        if where.drivername == "postgresql":
            where = where.set(drivername="postgresql+psycopg")
        if where.get_backend_name() == "sqlite":
            home.mkdir(parents=True, exist_ok=True)
            engine = create_engine(where, connect_args={"timeout": WAIT_S})
            event.listen(engine, "connect", _safe)
        else:
            engine = create_engine(where, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError) as error:
        raise DataError(
            "KGSERVICE_DATABASE_URL names no database that is known here; expected postgresql://user:password@host/name"
        ) from error
    try:
        METADATA.create_all(engine)
    except SQLAlchemyError as error:
        engine.dispose()
        raise DataError(
            f"the database {where.render_as_string(hide_password=True)} does not answer: {type(error).__name__}. "
            "Is it running, and may this user make tables?"
        ) from error
    return engine


def _safe(connection: Any, _: Any) -> None:
    """Readers beside one writer; what was answered for is on the disk; what is deleted is gone."""
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")
