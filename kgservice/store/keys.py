"""API keys: what each may do; of the key itself only a hash is kept.

A key is `kgs_<id>_<secret>`. The secret has 256 random bits, so that one round of sha256 keeps it: a slow hash protects what can
be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import Column, DateTime, Engine, Integer, String, Table, insert, select, update

from kgservice.errors import InputError, UnknownName
from kgservice.store.database import FILE, METADATA, open_database

_FORM = re.compile(r"kgs_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")

KEYS = Table(
    "keys",
    METADATA,
    Column("id", String(12), primary_key=True),
    Column("hash", String(64), nullable=False),
    Column("name", String(200), nullable=False),
    Column("scope", String(10), nullable=False),
    Column("rate_per_minute", Integer),
    Column("created", DateTime(timezone=True), nullable=False),
    Column("revoked", DateTime(timezone=True)),
)


class Scope(StrEnum):
    """What a key may do; each may do what those before it may."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def covers(self, needed: Scope) -> bool:
        """Whether this scope is enough."""
        order = list(Scope)
        return order.index(self) >= order.index(needed)


class UnknownKey(UnknownName):
    """No key has this id."""

    kind = "a key"


@dataclass(frozen=True)
class Key:
    """A key, without its secret.

    Attributes:
        id: its public part, which logs may name.
        hash: sha256 of the whole key, in hex.
        name: whose it is.
        scope: what it may do.
        rate_per_minute: its own limit of requests; None for the server's.
        created, revoked: when, UTC; None while it is valid.
    """

    id: str
    hash: str
    name: str
    scope: Scope
    rate_per_minute: int | None
    created: datetime
    revoked: datetime | None


class Keys:
    """The keys of a service.

    Args:
        database: as `open_database` gives it.
    """

    def __init__(self, database: Engine) -> None:
        self._database = database

    @classmethod
    def open(cls, home: Path, url: str | None = None, *, make: bool = False) -> Keys | None:
        """The keys beside the releases in `home`, or in the database at `url`.

        Returns:
            None where there is no database yet, and it is not to be made: then there is no key either.
        """
        if not (make or url or (home / FILE).exists()):
            return None
        return cls(open_database(home, url))

    def add(self, name: str, scope: Scope, rate_per_minute: int | None = None) -> tuple[Key, str]:
        """A new key, and the text that its owner sends; that is kept nowhere.

        Raises:
            InputError: an empty or too long name, or a rate below 1.
        """
        if not 0 < len(name) <= 200:
            raise InputError(f"a key needs a name of 1 to 200 letters, found {len(name)}")
        if rate_per_minute is not None and rate_per_minute < 1:
            raise InputError(f"a key's rate must be at least 1 request per minute, found {rate_per_minute}")
        id = secrets.token_hex(6)
        text = f"kgs_{id}_{secrets.token_urlsafe(32)}"
        key = Key(id, _hash(text), name, scope, rate_per_minute, datetime.now(UTC), None)
        with self._database.begin() as connection:
            connection.execute(insert(KEYS).values({**vars(key), "scope": scope.value}))
        return key, text

    def all(self) -> list[Key]:
        """Every key, revoked ones too, the oldest first."""
        with self._database.connect() as connection:
            rows = connection.execute(select(KEYS).order_by(KEYS.c.created, KEYS.c.id)).mappings()
            return [Key(**{**row, "scope": Scope(row["scope"]), **_aware(dict(row))}) for row in rows]

    def revoke(self, id: str) -> None:
        """Have a key be refused from now on.

        Raises:
            UnknownKey: no valid key has this id.
        """
        change = update(KEYS).where(KEYS.c.id == id, KEYS.c.revoked.is_(None)).values(revoked=datetime.now(UTC))
        with self._database.begin() as connection:
            done = connection.execute(change).rowcount
        if not done:
            raise UnknownKey(id, "that is valid here", [key.id for key in self.all() if key.revoked is None][:3])

    def close(self) -> None:
        """Close the connections."""
        self._database.dispose()


def verify(text: str, valid: Mapping[str, Key]) -> Key | None:
    """The key that a client sent, if it is one of `valid`, which are by id; compared in constant time."""
    form = _FORM.fullmatch(text)
    key = valid.get(form[1]) if form else None
    return key if key is not None and hmac.compare_digest(key.hash, _hash(text)) else None


def _aware(row: Mapping[str, Any]) -> dict[str, datetime | None]:
    """SQLite forgets that times are UTC."""
    return {name: row[name] and row[name].replace(tzinfo=UTC) for name in ("created", "revoked")}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
