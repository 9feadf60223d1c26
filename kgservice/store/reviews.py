"""What people said of what was proposed: a queue, and the verdicts on it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import Boolean, Column, Float, Integer, String, Table, Text, delete, insert, or_, select, text, update
from sqlalchemy.engine import Engine, Row

from kgservice.errors import InputError
from kgservice.store.database import METADATA

_AT_ONCE = 1000
"""Names of one command: databases take no more than some thousands."""
VerdictWord = Literal["accept", "reject", "unsure"]
VERDICTS: tuple[str, ...] = get_args(VerdictWord)

REVIEWS = Table(
    "reviews",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("run", String(64), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("place", Integer, nullable=False),
    Column("audit", Boolean, nullable=False),
    Column("subject", Text, nullable=False),
    Column("relation", Text, nullable=False),
    Column("object", Text, nullable=False),
    Column("probability", Float, nullable=False),
    Column("verdict", String(8)),
    Column("reason", Text),
    Column("reviewer", String(200)),
    Column("reviewed", Float),
)


class UnknownReview(InputError):
    """Nothing of this id is to be reviewed."""

    slug = "unknown-review"


@dataclass(frozen=True)
class Review:
    """One proposal that is to be reviewed, or was.

    Attributes:
        id: 32 hexadecimal digits.
        run: the run that proposed it.
        kind: "links" or "errors": whether it is proposed to be true, or doubted.
        audit: whether it was drawn at random; only these tell how precise the run is.
        subject, relation, object: full names.
        probability: what the run said.
        verdict: accept: the proposal is right; reject: it is not; unsure; None while nobody has said.
        reason, reviewer: in the reviewer's words.
        reviewed: seconds since 1970, UTC.
    """

    id: str
    run: str
    kind: str
    audit: bool
    subject: str
    relation: str
    object: str
    probability: float
    verdict: VerdictWord | None
    reason: str | None
    reviewer: str | None
    reviewed: float | None


class Reviews:
    """The reviews of one database; safe from many threads, processes and machines.

    Args:
        engine: of `open_database`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def queue(self, run: str, kind: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Queue proposals of a run, in this order; those that are queued already keep their place.

        Args:
            rows: subject, relation, object, probability, audit.

        Returns:
            How many are new.
        """
        named = {review_id(run, row["subject"], row["relation"], row["object"]): row for row in rows}
        with self._engine.begin() as connection:
            held = connection.execute(select(REVIEWS.c.id, REVIEWS.c.place).where(REVIEWS.c.run == run)).all()
            known, last = {row.id for row in held}, max((row.place for row in held), default=-1)
            fresh = [{"id": id, "run": run, "kind": kind, **row} for id, row in named.items() if id not in known]
            for number, row in enumerate(fresh, start=last + 1):
                row["place"] = number
            if fresh:
                connection.execute(insert(REVIEWS), fresh)
        return len(fresh)

    def next(self, run: str | None, limit: int) -> list[Review]:
        """What nobody has said anything of yet, in the queue's order; of one run, or of all."""
        return self._found(run, REVIEWS.c.verdict.is_(None), limit)

    def decided(self, run: str | None = None) -> list[Review]:
        """All verdicts, of one run or of all."""
        return self._found(run, REVIEWS.c.verdict.is_not(None), None)

    def decide(self, id: str, verdict: str, reason: str = "", reviewer: str = "") -> Review:
        """Say what one is; a later word takes the place of an earlier one.

        Raises:
            UnknownReview: nothing of this id is queued.
            InputError: the verdict is not one.
        """
        self.decide_all([(id, verdict, reason, reviewer)])
        with self._engine.connect() as connection:
            return _review(connection.execute(select(REVIEWS).where(REVIEWS.c.id == id)).one())

    def decide_all(self, verdicts: Sequence[tuple[str, str, str, str]]) -> None:
        """Many at once, or none: id, verdict, reason, reviewer.

        Raises:
            UnknownReview, InputError: as for `decide`; names the place.
        """
        now = time.time()
        with self._engine.begin() as connection:
            for place, (id, verdict, reason, reviewer) in enumerate(verdicts):
                if verdict not in VERDICTS:
                    raise InputError(f"verdict {place}: {verdict[:40]!r} is none of {', '.join(VERDICTS)}")
                said = {"verdict": verdict, "reason": reason, "reviewer": reviewer, "reviewed": now}
                if not connection.execute(update(REVIEWS).where(REVIEWS.c.id == id).values(**said)).rowcount:
                    raise UnknownReview(f"verdict {place}: nothing of id {id[:64]!r} is to be reviewed")

    def forget(self, names: Sequence[str]) -> int:
        """Delete what names one of these entities, verdicts included; returns how many there were."""
        gone = 0
        with self._engine.begin() as connection:
            for start in range(0, len(names), _AT_ONCE):
                some = names[start : start + _AT_ONCE]
                where = or_(REVIEWS.c.subject.in_(some), REVIEWS.c.object.in_(some))
                gone += connection.execute(delete(REVIEWS).where(where)).rowcount
        if gone and self._engine.dialect.name == "sqlite":
            # What was deleted still stands in the pages under way until they are written back.
            with self._engine.connect() as connection:
                connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
        return gone

    def _found(self, run: str | None, where: Any, limit: int | None) -> list[Review]:
        wanted = select(REVIEWS).where(where).order_by(REVIEWS.c.place, REVIEWS.c.id).limit(limit)
        if run is not None:
            wanted = wanted.where(REVIEWS.c.run == run)
        with self._engine.connect() as connection:
            return [_review(row) for row in connection.execute(wanted)]


def review_id(run: str, *statement: str) -> str:
    """32 hexadecimal digits: the same for the same proposal of the same run."""
    return hashlib.blake2b("\0".join((run, *statement)).encode(), digest_size=16).hexdigest()


def _review(row: Row[Any]) -> Review:
    return Review(
        row.id, row.run, row.kind, row.audit, row.subject, row.relation, row.object, row.probability,
        row.verdict, row.reason, row.reviewer, row.reviewed,
    )  # fmt: skip
