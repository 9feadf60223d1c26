from pathlib import Path

import pytest

from kgservice.errors import DataError
from kgservice.store.database import FILE, open_database


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
