"""Single questions answered in a process of its own, beside the one that speaks HTTP.

A process has one interpreter. Where the event loop shares it with a thread that answers, the two wait for each other for as long
as they work. So under load batches go over a socket to a process that has the same release open. It follows CURRENT and the
journal by itself. What it has not opened yet, cannot answer, or loses by ending is answered where it would have been without it.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, cast

import msgspec

from kgservice.answers import Question
from kgservice.sparql.frames import frame, read

if TYPE_CHECKING:
    from kgservice.server.holder import EngineHolder
    from kgservice.server.settings import ServerSettings

logger = logging.getLogger(__name__)

BUSY = 8
"""Questions in one batch from which on the other process is worth its memory; it is started at the first such batch."""
PATIENCE_S = 30.0
"""For one batch; past it the other process is killed."""
RETRY_S = 30.0
"""From the end of one to the start of the next."""
POLL_S = 0.25
"""Between its looks at CURRENT and the journal."""


class Asked(msgspec.Struct, array_like=True):
    """A batch on its way: `release` is the engine that is to answer, as `Engine.release_name` has it."""

    release: str
    k: int
    types: tuple[str, ...]
    filters: tuple[str | tuple[str, str], ...]
    exclude_known: bool
    model: str | None
    fuse: bool
    language: str
    questions: list[Question]


Answers = list[bytes | None]
"""As JSON; None where a question has to be asked elsewhere."""

_write = msgspec.msgpack.Encoder().encode
_asked = msgspec.msgpack.Decoder(Asked).decode
_answers = msgspec.msgpack.Decoder(Answers).decode


@dataclass(frozen=True)
class Opened:
    """What the process opens."""

    home: str
    release: str | None
    compute_threads: int
    log_level: str
    log_format: Literal["text", "json"]

    @classmethod
    def of(cls, settings: ServerSettings) -> Opened:
        """As the server does."""
        home = str(settings.home.absolute())
        return cls(home, settings.release, settings.compute_threads, settings.log_level, settings.log_format)


class Apart:
    """The process, which is started when there is load, and again a while after it has ended. One thread asks it at a time."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._process: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None
        self._lock = threading.Lock()
        self._rest_until = 0.0

    def ask(self, asked: Asked) -> Answers:
        """What it answers; nothing where it is not there yet or no more, or has another release open."""
        nothing: Answers = [None] * len(asked.questions)
        link = self._link
        if link is None:
            if len(asked.questions) >= BUSY and time.monotonic() >= self._rest_until:
                self._begin()
            return nothing
        try:
            link.sendall(frame({}, _write(asked)))
            return _answers(_received(link)) or nothing
        except (
            OSError,
            ValueError,
            msgspec.MsgspecError,
        ) as error:  # it has ended, perhaps in the middle of its answer
            self._lose(error)
            return nothing

    def close(self) -> None:
        """End it, for good."""
        with self._lock:
            self._rest_until = float("inf")
            self._end()

    def _begin(self) -> None:
        with self._lock:
            if time.monotonic() < self._rest_until:
                return
            self._rest_until = float("inf")  # until this one has ended
            ours, theirs = socket.socketpair()
            command = [sys.executable, "-m", "kgservice.server.apart", str(theirs.fileno())]
            # A group of its own: Ctrl-C is for the server, which ends it.
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], process_group=0)
            theirs.close()
            threading.Thread(target=self._await, args=(ours, self._process), name="apart", daemon=True).start()

    def _await(self, link: socket.socket, process: subprocess.Popen[bytes]) -> None:
        """Until it has opened the release."""
        try:
            link.sendall(frame(asdict(self._opened)))
            _received(link)
        except (OSError, ValueError) as error:
            link.close()
            self._lose(error)
            return
        link.settimeout(PATIENCE_S)
        with self._lock:
            if self._process is not process:  # closed meanwhile
                link.close()
                return
            self._link = link
        logger.info("process %d answers single questions from now on", process.pid)

    def _lose(self, error: Exception) -> None:
        with self._lock:
            if self._process is None:
                return
            logger.warning(
                "the process that answers single questions ended or did not answer (%s); they are answered here, and another one "
                "is tried in %.0f s",
                error, RETRY_S,
            )  # fmt: skip
            self._end()
            self._rest_until = time.monotonic() + RETRY_S

    def _end(self) -> None:
        process, link = self._process, self._link
        self._process = self._link = None
        if link is not None:
            link.close()
        if process is not None:
            process.kill()  # it holds nothing that could be lost
            process.wait()


def _received(link: socket.socket) -> bytes:
    """One message's content.

    Raises:
        OSError: the other side has ended, or takes too long.
    """
    with link.makefile("rb") as source:
        found = read(cast("IO[bytes]", source))
    if found is None:
        raise ConnectionError("its end of the socket is closed")
    return found[1]


def _serve(link: socket.socket) -> None:
    """Answer until the other side ends."""
    source = cast("IO[bytes]", link.makefile("rb"))
    given = read(source)
    if given is None:
        return
    import torch

    from kgservice.release import ReleaseStore
    from kgservice.server import logs
    from kgservice.server.holder import EngineHolder

    document = given[0]
    opened = Opened(**{name: document[name] for name in Opened.__dataclass_fields__})
    logs.configure(opened.log_level, opened.log_format)
    torch.set_num_threads(opened.compute_threads)
    holder = EngineHolder(ReleaseStore(Path(opened.home) / "releases"), opened.release)
    holder.refresh()
    threading.Thread(target=_follow, args=(holder,), daemon=True).start()
    link.sendall(frame({}))
    while (message := read(source)) is not None:
        asked = _asked(message[1])
        link.sendall(frame({}, _write(_answered(holder, asked))))


def _answered(holder: EngineHolder, asked: Asked) -> Answers:
    from kgservice.server.batching import Terms, complete

    if holder.serving is None or (engine := holder.engine).release_name != asked.release:
        return []
    options = (asked.k, asked.types, asked.filters, asked.exclude_known, asked.model, asked.fuse, asked.language)
    try:
        outcomes = complete(Terms(engine, *options), asked.questions)
    except Exception:  # the server meets it too, and says so to whom it concerns
        logger.exception("a batch of %d failed", len(asked.questions))
        return []
    return [None if isinstance(one, Exception) else one for one in outcomes]


def _follow(holder: EngineHolder) -> None:
    while True:
        time.sleep(POLL_S)
        try:
            holder.refresh()
        except Exception:  # it would answer nothing from then on, without a word
            logger.exception("looking for a new release failed")


def spare_cores(workers: int) -> bool:
    """Whether each worker's process can have a core for another one; a container's share counts, not its machine."""
    from joblib import cpu_count  # type: ignore[import-untyped]

    cores: int = cpu_count()
    return cores > workers


if __name__ == "__main__":
    try:
        _serve(socket.socket(fileno=int(sys.argv[1])))
    except (BrokenPipeError, ConnectionResetError):  # the server has gone
        sys.exit(0)
