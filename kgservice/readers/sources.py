"""Files to read: found from names, folders and globs; decompressed as they stream; fingerprinted on the way."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard

from kgservice.errors import DataError, InputError

BLOCK_BYTES = 8 << 20
PARALLEL_FROM_BYTES = 8 << 20
"""Bzip2 files of this size are decompressed on all cores."""
_MAGIC = {"gzip": b"\x1f\x8b", "bzip2": b"BZh", "xz": b"\xfd7zXZ\x00", "zstandard": b"\x28\xb5\x2f\xfd"}
_COMPRESSION_OF_SUFFIX = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstandard"}


@dataclass
class Source:
    """One file.

    Attributes:
        path: where it lies.
        name: what reports and messages call it; never an absolute path.
        size_bytes, sha256: of the file as it lies, known once it has been read.
    """

    path: Path
    name: str
    size_bytes: int = 0
    sha256: str = ""
    on_bytes: Callable[[int], Any] | None = field(default=None, repr=False)

    @property
    def plain_name(self) -> str:
        """The last part of the name without a compression suffix."""
        path = Path(self.name)
        return path.stem if path.suffix.lower() in _COMPRESSION_OF_SUFFIX else path.name

    @property
    def stem(self) -> str:
        """The name without suffixes: `train` of `train.txt.xz`."""
        return Path(self.plain_name).stem

    @property
    def suffix(self) -> str:
        """The suffix that tells the format, in lower case: `.nt` of `dump.nt.gz`."""
        return Path(self.plain_name).suffix.lower()

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The decompressed bytes.

        Raises:
            DataError: unreadable, empty, truncated, or damaged.
        """
        stream: BinaryIO | None = None
        try:
            with self.path.open("rb") as raw:
                tap = _Tap(raw, self.on_bytes)
                if self._is_large_bzip2():
                    # Several blocks at a time. For gzip the standard library is the faster on few cores, and the parallel
                    # one reads a truncated file without a word.
                    stream = cast(BinaryIO, io.BufferedReader(_ParallelBzip2(self.path), 1 << 20))
                    yield stream
                    self._read_rest(tap)
                    return
                stream = _decompressed(self, cast(BinaryIO, io.BufferedReader(tap, 1 << 16)))
                yield stream
                self._read_rest(tap)
        except EOFError as error:
            raise DataError(
                f"{self.name}: the compressed stream ends too early, the file is truncated. Fetch it again."
            ) from error
        except (gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
            raise DataError(f"{self.name}: the compressed stream is damaged: {error}. Fetch it again.") from error
        except OSError as error:
            raise DataError(f"{self.name}: cannot be read: {error.strerror or error}. Check the file.") from error
        finally:
            if stream is not None:
                stream.close()

    def _is_large_bzip2(self) -> bool:
        return Path(self.name).suffix.lower() == ".bz2" and self.path.stat().st_size >= PARALLEL_FROM_BYTES

    def _read_rest(self, tap: _Tap) -> None:
        """What the parser left unread is still part of the fingerprint."""
        while tap.read(BLOCK_BYTES):
            pass
        self.size_bytes, self.sha256 = tap.size_bytes, tap.digest.hexdigest()

    def head(self, size_bytes: int = 4096) -> bytes:
        """The first decompressed bytes."""
        with Source(self.path, self.name).open() as stream:
            return stream.read(size_bytes)

    def fingerprint(self) -> dict[str, str | int]:
        """For provenance."""
        return {"name": self.name, "size_bytes": self.size_bytes, "sha256": self.sha256}


def blocks(stream: BinaryIO, size_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, bytes]]:
    """Cut a stream of lines into blocks of whole lines, each with the number of its first line, from 1.

    A line that is longer than a block is a block of its own.
    """
    line, rest = 1, b""
    while chunk := stream.read(size_bytes - len(rest) if len(rest) < size_bytes else size_bytes):
        whole = rest + chunk if rest else chunk
        cut = whole.rfind(b"\n", len(rest)) + 1
        if not cut:
            rest = whole
            continue
        block, rest = whole[:cut], whole[cut:]
        yield line, block
        line += block.count(b"\n")
    if rest:
        yield line, rest


def find(sources: Sequence[Path | str], is_readable: Callable[[Source], bool]) -> list[Source]:
    """The files meant by paths, folders and globs, each once, in the order of their names.

    Args:
        sources: files are taken as they are; of a folder, the files that `is_readable` accepts, hidden ones left out.

    Raises:
        InputError: a path does not exist, a glob matches nothing, a folder holds nothing readable.
    """
    found: dict[Path, Source] = {}
    for given in sources:
        path = Path(given)
        if path.is_dir():
            chosen = [(file, str(file.relative_to(path))) for file in sorted(path.rglob("*")) if _visible(file, path)]
            readable = [Source(file, name) for file, name in chosen if is_readable(Source(file, name))]
            if not readable:
                suffixes = sorted({Source(file, name).suffix or "no suffix" for file, name in chosen})
                held = f"only files with {', '.join(suffixes)}" if suffixes else "no files"
                raise InputError(f"{given}: the folder holds {held}. Expected a format of `kgservice ingest --help`.")
        elif path.is_file():
            readable = [Source(path, path.name)]
        else:
            files = sorted(file for file in _glob(path) if file.is_file())
            readable = [Source(file, file.name) for file in files]
            if not readable:
                is_glob = any(sign in str(given) for sign in "*?[")
                what = "the glob matches no file" if is_glob else "no such file or folder"
                raise InputError(f"{given}: {what}. Check the path; it is taken from the working folder.")
        for source in readable:
            found.setdefault(source.path.resolve(), source)
    return sorted(found.values(), key=lambda source: (source.name, str(source.path)))


def _visible(file: Path, folder: Path) -> bool:
    return file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)


def _glob(path: Path) -> Iterator[Path]:
    anchor = Path(path.anchor)
    return anchor.glob(str(path.relative_to(anchor))) if path.is_absolute() else Path().glob(str(path))


def _decompressed(source: Source, raw: BinaryIO) -> BinaryIO:
    peeked = cast(io.BufferedReader, raw).peek(8)
    if not peeked:
        raise DataError(f"{source.name}: the file is empty. Expected statements; fetch or export it again.")
    promised = _COMPRESSION_OF_SUFFIX.get(Path(source.name).suffix.lower())
    actual = next((name for name, magic in _MAGIC.items() if peeked.startswith(magic)), None)
    if promised and actual != promised:
        raise DataError(
            f"{source.name}: its suffix says {promised}, its content does not. Fetch it again or rename it."
        )
    if actual == "gzip":
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    if actual == "bzip2":
        return cast(BinaryIO, bz2.BZ2File(raw))
    if actual == "xz":
        return cast(BinaryIO, lzma.LZMAFile(raw))
    if actual == "zstandard":
        return cast(BinaryIO, io.BufferedReader(_Zstandard(raw), 1 << 20))
    return raw


class _Tap(io.RawIOBase):
    """Hash and count what flows through."""

    def __init__(self, raw: BinaryIO, on_bytes: Callable[[int], Any] | None) -> None:
        self._raw, self._on_bytes = raw, on_bytes
        self.digest, self.size_bytes = hashlib.sha256(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        self.digest.update(data)
        self.size_bytes += len(data)
        if self._on_bytes is not None:
            self._on_bytes(len(data))
        return len(data)


class _ParallelBzip2(io.RawIOBase):
    """Bzip2 blocks decompressed on all cores."""

    def __init__(self, path: Path) -> None:
        import rapidgzip

        self._file = rapidgzip.IndexedBzip2File(str(path), parallelization=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read(len(buffer))
        except (RuntimeError, ValueError) as error:
            if "End of file" in str(error):
                raise EOFError("bzip2 stream ends too early") from error
            raise OSError(f"damaged bzip2 block: {error}") from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class _Zstandard(io.RawIOBase):
    """Frames one after another; unlike the library's own reader, a truncated frame is an error."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw, self._pending = raw, b""
        self._frame, self._fresh = self._new_frame(), True

    @staticmethod
    def _new_frame() -> zstandard.ZstdDecompressionObj:
        return zstandard.ZstdDecompressor().decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._pending:
            data = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame, self._fresh = self._new_frame(), True
            data = data or self._raw.read(1 << 16)
            if not data:
                if self._fresh:
                    return 0
                raise EOFError("zstandard frame ends too early")
            self._fresh = False
            try:
                self._pending = self._frame.decompress(data)
            except zstandard.ZstdError as error:
                raise OSError(f"damaged zstandard frame: {error}") from error
        taken = self._pending[: len(buffer)]
        self._pending = self._pending[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)
