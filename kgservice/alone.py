"""One process at a time: a lock that the system drops with the process that holds it, however that ends."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kgservice.errors import DataError

_log = logging.getLogger(__name__)


@contextmanager
def alone(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock file, which is made and removed again.

    Args:
        path: the file; its folder is made.
        busy: what to say where another process holds it.

    Raises:
        DataError: another process holds it.
        OSError: the file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DataError(busy) from error
            except OSError as error:  # some network file systems have no locks
                _log.warning("%s cannot be locked (%s): let no other process work there", path, error)
            if not _names(path, file.fileno()):
                continue  # its former holder has removed it meanwhile
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _names(path: Path, descriptor: int) -> bool:
    """Whether the path still leads to the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
