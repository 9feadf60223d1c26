"""Files that are there whole or not at all, also where the power goes out."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
