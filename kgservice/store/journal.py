"""The write-ahead log beside the releases: which entities were put since, and which were erased for good.

One SQLite file, shared by every process that serves or adds. A change is on the disk before it is answered for. Each name has
its last change alone, so that nothing of what was replaced or erased stays in the file.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kgservice.errors import DataError, Erased

FILE = "journal.sqlite"
FORMAT_VERSION = 1
WAIT_S = 30.0
"""How long one process waits for another that is writing."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS change (
    revision INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    document TEXT,
    at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
)
"""


@dataclass(frozen=True)
class Changes:
    """What was put and erased, up to a revision.

    Attributes:
        revision: number of the last change; 0 before the first.
        put: the document of every entity that was put, by name, in the order of their last change.
        erased: the names that must never be shown again.
    """

    revision: int = 0
    put: Mapping[str, str] = field(default_factory=dict)
    erased: frozenset[str] = frozenset()


class Journal:
    """The log of one folder of releases; safe from many threads and processes.

    Args:
        folder: the releases'; the file is made at the first change.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def put(self, documents: Mapping[str, str]) -> int:
        """Keep documents by name, in place of former ones; all of them or none.

        Returns:
            The revision after it.

        Raises:
            Erased: one of the names was erased.
        """
        with self._writing() as connection:
            names = list(documents)
            if gone := self._erased_of(connection, names):
                raise Erased(f"{gone[0]!r} was erased from this service, and stays so. Put it under another name")
            connection.executemany(
                "INSERT OR REPLACE INTO change (name, document) VALUES (?, ?)", list(documents.items())
            )
            return _revision(connection)

    def erase(self, names: Sequence[str]) -> int:
        """Never show these names again; their documents leave the file. Returns the revision after it."""
        with self._writing() as connection:
            fresh = set(names) - set(self._erased_of(connection, names))
            connection.executemany(
                "INSERT OR REPLACE INTO change (name, document) VALUES (?, NULL)", [(name,) for name in sorted(fresh)]
            )
            revision = _revision(connection)
        # What was overwritten still stands in the file of pages under way until they are written back.
        with self._reading() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return revision

    def revision(self) -> int:
        """The number of the last change, of whichever process.

        Raises:
            DataError: the file is damaged.
        """
        if not self.path.exists():
            return 0
        with self._reading() as connection:
            return _revision(connection)

    def changes(self, since: Changes | None = None) -> Changes:
        """Everything up to now, as of one moment; what `since` holds already is not read again.

        Raises:
            DataError: the file is damaged: nothing is told in part, since what was erased would come back.
        """
        before = since or Changes()
        if not self.path.exists():
            return before
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT revision, name, document FROM change WHERE revision > ? ORDER BY revision", (before.revision,)
            )
            found = rows.fetchall()
        if not found:
            return before
        touched = {name for _, name, _ in found}
        put = {name: document for name, document in before.put.items() if name not in touched}
        put.update({name: document for _, name, document in found if document is not None})
        erased = before.erased.union(name for _, name, document in found if document is None)
        return Changes(found[-1][0], put, erased)

    def close(self) -> None:
        """Close the file; it opens again when it is needed."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @staticmethod
    def _erased_of(connection: sqlite3.Connection, names: Sequence[str]) -> list[str]:
        found = []
        with closing(connection.cursor()) as cursor:
            for name in names:
                row = cursor.execute("SELECT document IS NULL FROM change WHERE name = ?", (name,)).fetchone()
                if row and row[0]:
                    found.append(name)
        return found

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._open()
            except sqlite3.Error as error:
                raise self._unreadable(error) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = self._open()
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._undo(connection)
                raise DataError(f"{self.path} cannot be written: {error}. Nothing was changed.") from error
            except BaseException:
                self._undo(connection)
                raise

    @staticmethod
    def _undo(connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = None
            try:
                connection = sqlite3.connect(self.path, WAIT_S, isolation_level=None, check_same_thread=False)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")  # a change survives the machine's sudden end
                connection.execute("PRAGMA secure_delete = ON")  # what is erased is overwritten
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version not in (0, FORMAT_VERSION):
                    raise DataError(f"{self.path}: journal format {version}, this kgservice reads {FORMAT_VERSION}")
                connection.execute(_SCHEMA)
                connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
            except BaseException as error:
                if connection is not None:
                    connection.close()  # it may hold a lock
                if isinstance(error, sqlite3.Error):
                    raise self._unreadable(error) from error
                raise
            self._connection = connection
        return self._connection

    def _unreadable(self, error: sqlite3.Error) -> DataError:
        return DataError(
            f"{self.path} cannot be read as a journal: {error}. Restore it from a copy, or what is left of it with "
            "sqlite3's .recover; without it, what was erased would be shown again."
        )


def _revision(connection: sqlite3.Connection) -> int:
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'change'").fetchone()
    return int(found[0]) if found else 0
