"""The service's own database, and what is kept in it, over SQLite and PostgreSQL alike.

`make test-postgresql` starts a server; elsewhere KGSERVICE_TEST_DATABASE_URL may name an empty database.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from kgservice.errors import DataError
from kgservice.store.database import FILE, METADATA, open_database
from kgservice.store.keys import Keys, Scope, UnknownKey, verify

POSTGRESQL = os.environ.get("KGSERVICE_TEST_DATABASE_URL")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "postgresql" and not POSTGRESQL:
        pytest.skip("KGSERVICE_TEST_DATABASE_URL names no PostgreSQL database")
    engine = open_database(tmp_path, POSTGRESQL if request.param == "postgresql" else None)
    yield engine
    METADATA.drop_all(engine)
    engine.dispose()


def test_sqlite_lies_beside_the_releases(tmp_path: Path) -> None:
    with open_database(tmp_path).connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    assert (tmp_path / FILE).exists()


@pytest.mark.parametrize("url", ["not an address", "oracle8://x", "mysterious://host/name"])
def test_an_address_of_nothing_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(DataError, match="KGSERVICE_DATABASE_URL names no database"):
        open_database(tmp_path, url)


def test_a_silent_database_is_named_without_its_password(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(DataError, match="does not answer") as caught:
        open_database(tmp_path, "postgresql://someone:secret@127.0.0.1:1/nothing")
    assert "secret" not in str(caught.value)


def test_keys_are_kept_without_their_secret(database: Engine) -> None:
    keys = Keys(database)
    key, text = keys.add("an importer", Scope.WRITE, 60)
    other, _ = keys.add("a reader", Scope.READ)
    assert keys.all() == [key, other]
    assert verify(text, {one.id: one for one in keys.all()}) == key
    keys.revoke(key.id)
    assert [one.revoked is None for one in keys.all()] == [False, True]
    with pytest.raises(UnknownKey, match=key.id):
        keys.revoke(key.id)
    with database.connect() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM keys").all()
    assert text.rpartition("_")[2] not in str(rows)


def test_what_many_write_at_once_is_all_there(database: Engine) -> None:
    keys = Keys(database)
    threads = [threading.Thread(target=keys.add, args=(f"key {number}", Scope.READ)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key.name for key in keys.all()) == sorted(f"key {number}" for number in range(12))
