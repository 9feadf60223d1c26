"""The engine that serves, and its replacement under way when another release becomes current."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from kgservice.engine import Engine
from kgservice.engine.warming import warm_up
from kgservice.errors import DataError, KGServiceError
from kgservice.release import Release, ReleaseStore
from kgservice.store import Journal

logger = logging.getLogger(__name__)

Stamp = tuple[str, int, int]


class NoRelease(DataError):
    """No release is open yet."""

    slug = "no-release"


@dataclass
class _Waiting:
    """A change that a request wants, and what became of it."""

    puts: Mapping[str, str]
    erased: Sequence[str]
    done: bool = False
    error: Exception | None = None


class EngineHolder:
    """Holds one engine and swaps it in one step; requests under way finish on the one they took.

    Args:
        store: where releases lie, and the journal of what is put and erased beside them.
        pinned: a release id to serve whatever CURRENT says.
        open_engine: verifies and opens a release.
        opened: called when another release serves, and before anything else is done.

    Attributes:
        follows: whether another process that looks at the store finds the same engine there.
    """

    def __init__(
        self,
        store: ReleaseStore,
        pinned: str | None = None,
        *,
        open_engine: Callable[[Release], Engine] | None = None,
        opened: Callable[[], object] | None = None,
    ) -> None:
        self.store, self.pinned, self._opened = store, pinned, opened
        self._open = open_engine or _open
        self._engine: Engine | None = None
        self.follows = True
        self._tried: Stamp | None = None
        self._lock = threading.Lock()
        self.journal = Journal(store.folder)
        self._waiting: deque[_Waiting] = deque()

    @classmethod
    def of(cls, engine: Engine) -> Self:
        """Around an engine that is open already, which is never replaced."""
        holder = cls(ReleaseStore(engine.release.folder.parent), engine.release.id)
        holder._engine, holder.follows = engine, False
        return holder

    @property
    def engine(self) -> Engine:
        """The engine that serves; take it once per request.

        Raises:
            NoRelease: none could be opened so far.
        """
        if self._engine is None:
            raise NoRelease(
                "No release is open. Build one with `kgservice demo --no-serve`, or see the server's log for why it "
                "was refused."
            )
        return self._engine

    @property
    def serving(self) -> str | None:
        """The id of the release that serves."""
        return self._engine.release.id if self._engine else None

    def open(self, id: str) -> Engine:
        """The engine over a release: the one that serves, or another opened beside it, with what was put.

        Raises:
            UnknownRelease: there is none of this id.
            CorruptRelease: it is damaged.
        """
        if id == self.serving:
            return self.engine
        changes = self.journal.changes()
        engine = Engine.open(self.store.get(id))
        return engine.revised(changes) if changes.revision else engine

    def change(self, puts: Mapping[str, str], erased: Sequence[str] = ()) -> Engine:
        """Write changes to the journal, and serve them.

        Those that wait while another is written are written together.

        Args:
            puts: documents by full name, as `EntityRecord.to_json` gives them.
            erased: full names.

        Returns:
            An engine that has them.

        Raises:
            Erased: one of the names was erased.
            DataError: the journal cannot be written; nothing was changed.
        """
        own = _Waiting(puts, erased)
        self._waiting.append(own)
        with self._lock:
            if not own.done:
                self._write([self._waiting.popleft() for _ in range(len(self._waiting))])
                engine = self.engine
                self._engine = engine.revised(self.journal.changes(engine.changes)).grow()
            if own.error is not None:
                raise own.error
            return self.engine

    def _write(self, batch: Sequence[_Waiting]) -> None:
        """All at once; where that is refused, each on its own, so that the others are kept."""
        try:
            if puts := {name: document for one in batch for name, document in one.puts.items()}:
                self.journal.put(puts)
            if gone := [name for one in batch for name in one.erased]:
                self.journal.erase(gone)
        except Exception as error:  # of whatever kind: nobody may take it for written
            if len(batch) > 1:
                for one in batch:
                    self._write([one])
                return
            batch[0].error = error
        for one in batch:
            one.done = True

    def refresh(self) -> bool:
        """Open what is current and what others have put, if that has changed since the last look; may take long.

        A release that cannot be opened is logged, and the one before serves on; it is tried again when CURRENT is
        written again.

        Returns:
            Whether another engine serves now.
        """
        with self._lock:
            stamp = self._stamp()
            if stamp is None or stamp == self._tried or stamp[0] == self.serving:
                self._tried = stamp or self._tried
                return self._revise()
            self._tried = stamp
            try:
                engine = self._open(self.store.get(stamp[0]))
                changes = self.journal.changes()
                engine = engine.revised(changes).grow() if changes.revision else engine
            except (KGServiceError, OSError, ValueError) as error:
                keeps = f"{self.serving} serves on" if self.serving else "nothing is served"
                logger.error("release %s is refused, %s: %s: %s", stamp[0], keeps, type(error).__name__, error)
                return False
            former, self._engine = self.serving, engine
            logger.info("release %s serves, models %s; before: %s", engine.release.id, engine.release.models, former)
            if self._opened is not None:
                self._opened()
            return True

    def _revise(self) -> bool:
        """Read what other processes wrote to the journal."""
        if self._engine is None or self.journal.revision() == self._engine.revision:
            return False
        self._engine = self._engine.revised(self.journal.changes(self._engine.changes)).grow()
        logger.info("release %s serves", self._engine.release_name)
        return True

    def _stamp(self) -> Stamp | None:
        """What is to be served, and when that was last said; None where nothing is."""
        if self.pinned is not None:
            return (self.pinned, 0, 0)
        try:
            written = (self.store.folder / "CURRENT").stat()
            current = self.store.current_id()
        except (OSError, ValueError):
            return None
        return (current, written.st_mtime_ns, written.st_ino) if current else None


def _open(release: Release) -> Engine:
    """Verify, replay the canaries, and warm up, so that no request waits for what is opened at first use."""
    engine = Engine.open(release)
    warm_up(engine)
    return engine
