"""Files that are there whole or not at all, also where the power goes out."""

from __future__ import annotations

import ctypes
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of linux/fs.h


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to; at the end it is synced and takes the place of `path`, unless an error came between."""
    # Processes of other machines may write the same file, and have the same number.
    staging = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        yield staging
        sync(staging)
        staging.replace(path)
        sync(path.parent)
    finally:
        staging.unlink(missing_ok=True)


def exchange(one: Path, other: Path) -> None:
    """Give two files or folders each other's name: at once where the system can (Linux), else by way of a third name."""
    try:
        renamed = ctypes.CDLL(None, use_errno=True).renameat2(
            _HERE, os.fsencode(one.absolute()), _HERE, os.fsencode(other.absolute()), _EXCHANGE
        )
    except (OSError, AttributeError):  # not Linux, or an old one
        renamed = -1
    if renamed:
        between = other.with_name(f".{other.name}.{secrets.token_hex(4)}")
        other.rename(between)
        try:
            one.rename(other)
        except OSError:
            between.rename(other)
            raise
        between.rename(one)


def sync(path: Path) -> None:
    """Have a file, or the names that a folder holds, on the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Have every file of a folder on the disk itself."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            sync(path)


def sha256_of(path: Path) -> str:
    """What a file holds, in 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
