"""Get a file from a mirror folder or its public address, whole and verified, or not at all."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import sys
import tarfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from kgservice.errors import DataError
from kgservice.files import replacing, sha256_of
from kgservice.readers.sources import Source

_log = logging.getLogger(__name__)

MIRROR_VARIABLE = "KGSERVICE_DATA_MIRROR"
TIMEOUT_S = 30
ATTEMPTS = 3
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Download:
    """A file that is wanted.

    Attributes:
        path: where it shall lie.
        sha256, size_bytes: of its content.
        url, member: its address, and what to take out of it if it is a tar archive.
        mirror: its path in a mirror folder; there it may be compressed.
        optional: that it cannot be had is no error.
    """

    path: Path
    sha256: str
    size_bytes: int
    url: str | None = None
    member: str | None = None
    mirror: str | None = None
    optional: bool = False

    @property
    def name(self) -> str:
        """As messages call it."""
        return f"{self.path.parent.name}/{self.path.name}"


def fetch_file(download: Download, *, mirror: Path | None = None, progress: bool = False) -> bool:
    """Put a file into place; one that lies there intact is left alone.

    Returns:
        Whether it is there; false only for an optional file.

    Raises:
        DataError: it cannot be had, or is not the one that was meant.
    """
    if download.path.is_file() and sha256_of(download.path) == download.sha256:
        return True
    given = mirror or os.environ.get(MIRROR_VARIABLE)
    mirrored = Path(given) / download.mirror if given and download.mirror else None
    if mirrored is not None and mirrored.is_file():
        with Source(mirrored, mirrored.name).open() as stream:
            _put(stream, download, f"the mirror's {download.mirror}")
    elif download.url is not None:
        _from_url(download, progress)
    elif download.optional:
        _log.info("%s: optional and not in a mirror; left out", download.name)
        return False
    else:
        raise DataError(
            f"{download.name}: has no public address and is not in a mirror. "
            f"Name a folder that holds {download.mirror} with --mirror or {MIRROR_VARIABLE}."
        )
    return True


def _from_url(download: Download, progress: bool) -> None:
    assert download.url is not None
    archive = download.path.with_name(f".{download.path.name}.{uuid.uuid4().hex[:8]}.download")
    archive.parent.mkdir(parents=True, exist_ok=True)
    try:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                _save(download.url, archive, download.name if progress and sys.stderr.isatty() else None)
                break
            except (OSError, http.client.HTTPException) as error:
                permanent = isinstance(error, urllib.error.HTTPError) and 400 <= error.code < 500 and error.code != 429
                if permanent or attempt == ATTEMPTS:
                    raise DataError(
                        f"{download.name}: {download.url} cannot be fetched: {error}. Try again later, or name a "
                        f"folder that holds {download.mirror} with --mirror or {MIRROR_VARIABLE}."
                    ) from error
                _log.warning("%s: attempt %d failed: %s", download.name, attempt, error)
                time.sleep(2**attempt)
        with _content(archive, download) as stream:
            _put(stream, download, download.url)
    finally:
        archive.unlink(missing_ok=True)


def _save(url: str, path: Path, title: str | None) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "kgservice"})
    with closing(urllib.request.urlopen(request, timeout=TIMEOUT_S)) as response, path.open("wb") as file:
        bar = None
        if title is not None:
            from tqdm import tqdm

            bar = tqdm(total=response.length, unit="B", unit_scale=True, desc=title)
        while chunk := response.read(_CHUNK_BYTES):
            file.write(chunk)
            if bar is not None:
                bar.update(len(chunk))
        if bar is not None:
            bar.close()


@contextmanager
def _content(archive: Path, download: Download) -> Iterator[BinaryIO]:
    """The downloaded file itself, or the wanted member of the archive."""
    if download.member is None:
        with archive.open("rb") as file:
            yield file
        return
    try:
        with tarfile.open(archive) as tar:
            for info in tar:
                hidden = PurePosixPath(info.name).name.startswith("._")
                if info.isfile() and not hidden and PurePosixPath(info.name).match(download.member):
                    yield cast(BinaryIO, tar.extractfile(info))
                    return
    except tarfile.TarError as error:
        raise DataError(f"{download.name}: {download.url} is not a tar archive: {error}. Fetch it again.") from error
    raise DataError(f"{download.name}: {download.url} holds no {download.member}. Correct `member` in the manifest.")


def _put(stream: BinaryIO, download: Download, origin: str) -> None:
    """Copy, verify, and only then rename into place."""
    download.path.parent.mkdir(parents=True, exist_ok=True)
    digest, size_bytes = hashlib.sha256(), 0
    with replacing(download.path) as staging:
        with staging.open("wb") as file:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
                size_bytes += len(chunk)
                file.write(chunk)
        if digest.hexdigest() != download.sha256:
            raise DataError(
                f"{download.name}: {origin} is not the file that was meant: expected sha256 {download.sha256} "
                f"({download.size_bytes:,} bytes), found {digest.hexdigest()} ({size_bytes:,} bytes). Fetch it again; "
                "if it differs again, its source has changed."
            )
    _log.info("%s: %d bytes from %s", download.name, size_bytes, origin)
