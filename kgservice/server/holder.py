"""The engine that serves, and its replacement under way when another release becomes current."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Self

import anyio
import anyio.to_thread

from kgservice.engine import Engine
from kgservice.errors import DataError, KGServiceError
from kgservice.release import Release, ReleaseStore

logger = logging.getLogger(__name__)

Stamp = tuple[str, int, int]


class NoRelease(DataError):
    """No release is open yet."""

    slug = "no-release"


class EngineHolder:
    """Holds one engine and swaps it in one step; requests under way finish on the one they took.

    Args:
        store: where releases lie.
        pinned: a release id to serve whatever CURRENT says.
        open_engine: verifies and opens a release.
    """

    def __init__(
        self, store: ReleaseStore, pinned: str | None = None, *, open_engine: Callable[[Release], Engine] | None = None
    ) -> None:
        self.store, self.pinned = store, pinned
        self._open = open_engine or _open
        self._engine: Engine | None = None
        self._tried: Stamp | None = None
        self._lock = threading.Lock()

    @classmethod
    def of(cls, engine: Engine) -> Self:
        """Around an engine that is open already, which is never replaced."""
        holder = cls(ReleaseStore(engine.release.folder.parent), engine.release.id)
        holder._engine = engine
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

    def refresh(self) -> bool:
        """Open what is current, if that has changed since the last look; may take long.

        A release that cannot be opened is logged, and the one before serves on; it is tried again when CURRENT is
        written again.

        Returns:
            Whether another engine serves now.
        """
        with self._lock:
            stamp = self._stamp()
            if stamp is None or stamp == self._tried:
                return False
            self._tried = stamp
            if stamp[0] == self.serving:
                return False
            try:
                engine = self._open(self.store.get(stamp[0]))
            except (KGServiceError, OSError, ValueError) as error:
                keeps = f"{self.serving} serves on" if self.serving else "nothing is served"
                logger.error("release %s is refused, %s: %s: %s", stamp[0], keeps, type(error).__name__, error)
                return False
            former, self._engine = self.serving, engine
            logger.info("release %s serves, models %s; before: %s", engine.release.id, engine.release.models, former)
            return True

    async def watch(self, poll_s: float) -> None:
        """Look at CURRENT again and again, off the event loop; ends when it is cancelled."""
        while True:
            await anyio.sleep(poll_s)
            try:
                await anyio.to_thread.run_sync(self.refresh)
            except Exception:  # a watch that dies would leave the server on an old release for ever
                logger.exception("looking for a new release failed")

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
    engine.warm_up()
    return engine
