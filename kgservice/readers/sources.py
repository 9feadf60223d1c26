"""Files to read: found from names, folders and globs; decompressed as they stream; fingerprinted on the way."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

import numpy as np
import zstandard
from isal import igzip, isal_zlib

from kgservice.errors import DataError, InputError

BLOCK_BYTES = 8 << 20
PARALLEL_FROM_BYTES = 8 << 20
"""Bzip2 files of this size are decompressed on all cores."""
MAX_LINE_BYTES = 16 << 20
"""Longer lines are malformed: they fit neither into memory nor into the RDF parser's buffer."""
CUT = b"\xff\n"
"""Ends what is kept of a longer line. No UTF-8 text holds such a byte, so that no reader takes a part for the whole."""
_MAGIC = {"gzip": b"\x1f\x8b", "bzip2": b"BZh", "xz": b"\xfd7zXZ\x00", "zstandard": b"\x28\xb5\x2f\xfd"}
_COMPRESSION_OF_SUFFIX = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstandard"}


@dataclass
class Source:
    """One file.

    Attributes:
        path: where it lies.
        name: what reports and messages call it; never an absolute path.
        size_bytes, sha256: of the file as it lies, known once it has been read.
        on_bytes: called with how many more bytes of the file have been read.
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
        with ExitStack() as stack:
            stream, tap = self._begin(stack)
            yield stream
            # What the parser left unread is still part of the fingerprint.
            with _about(self.name):
                while tap.read(BLOCK_BYTES):
                    pass
            self.size_bytes, self.sha256 = tap.size_bytes, tap.digest.hexdigest()

    def head(self, size_bytes: int = 4096) -> bytes:
        """The first decompressed bytes.

        Raises:
            DataError: as `open`.
        """
        with ExitStack() as stack:
            stream, _ = Source(self.path, self.name)._begin(stack)
            return stream.read(size_bytes)

    def _begin(self, stack: ExitStack) -> tuple[BinaryIO, _Tap]:
        with _about(self.name):
            tap = _Tap(stack.enter_context(self.path.open("rb")), self.on_bytes)
            stream = stack.enter_context(_decompressed(self, cast(BinaryIO, io.BufferedReader(tap, 1 << 20))))
        return cast(BinaryIO, io.BufferedReader(_Named(stream, self.name), 1 << 16)), tap

    def fingerprint(self) -> dict[str, str | int]:
        """For provenance."""
        return {"name": self.name, "size_bytes": self.size_bytes, "sha256": self.sha256}


def blocks(stream: BinaryIO, size_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, bytes]]:
    """Cut a stream of lines into blocks of whole lines, each with the number of its first line, from 1.

    Of a line longer than `MAX_LINE_BYTES` only so many bytes are kept, and `CUT` after them: a block of its own.
    """
    size_bytes = min(size_bytes, MAX_LINE_BYTES)
    line, held, rest = 1, 0, list[bytes]()  # the line that has not ended yet: its bytes so far, and those kept of it
    while chunk := stream.read(size_bytes - held if held < size_bytes else size_bytes):
        first, end = chunk.find(b"\n"), chunk.rfind(b"\n") + 1
        if not end:
            if held <= MAX_LINE_BYTES:
                rest.append(chunk)
            held += len(chunk)
            continue
        if held + first > MAX_LINE_BYTES:
            yield line, _cut(rest, chunk[:first])
            line, rest = line + 1, []
            chunk, end = chunk[first + 1 :], end - first - 1
        if end:
            block = b"".join([*rest, chunk[:end]])
            yield line, block
            line += int(np.count_nonzero(np.frombuffer(block, np.uint8) == 10))  # faster than bytes.count
        rest = [chunk[end:]]
        held = len(rest[0])
    if held:
        yield line, b"".join(rest) if held <= MAX_LINE_BYTES else _cut(rest, b"")


def _cut(rest: list[bytes], last: bytes) -> bytes:
    return b"".join([*rest, last])[:MAX_LINE_BYTES] + CUT


def find(sources: Sequence[Path | str], is_readable: Callable[[Source], bool]) -> list[Source]:
    """The files meant by paths, folders and globs, each once, in the order of their names.

    Args:
        sources: files are taken as they are; of a folder, the files that `is_readable` accepts, hidden ones left out.

    Raises:
        InputError: a path does not exist, a glob matches nothing, a folder holds nothing readable.
    """
    found: dict[Path, Source] = {}
    for given in sources:
        try:
            for source in _meant(given, is_readable):
                found.setdefault(source.path.resolve(strict=True), source)
        except OSError as error:
            where = "" if error.filename in (None, str(given)) else f": {error.filename}"
            problem = f"{given}{where}: cannot be read: {error.strerror or error}"
            raise InputError(f"{problem}. Check the path and its permissions.") from error
    return sorted(found.values(), key=lambda source: (source.name, str(source.path)))


def _meant(given: Path | str, is_readable: Callable[[Source], bool]) -> list[Source]:
    path = Path(given)
    if path.is_dir():
        files = [Source(file, str(file.relative_to(path))) for file in _visible_in(path)]
        readable = [file for file in files if is_readable(file)]
        if not readable:
            suffixes = sorted({file.suffix or "no suffix" for file in files})
            held = f"only files with {', '.join(suffixes)}" if suffixes else "no files"
            raise InputError(f"{given}: the folder holds {held}. Expected a format of `kgservice ingest --help`.")
        return readable
    if path.is_file():
        return [Source(path, path.name)]
    readable = [Source(file, file.name) for file in _glob(path) if file.is_file()]
    if not readable:
        is_glob = any(sign in str(given) for sign in "*?[")
        what = "the glob matches no file" if is_glob else "no such file or folder"
        raise InputError(f"{given}: {what}. Check the path; it is taken from the working folder.")
    return readable


def _visible_in(folder: Path) -> list[Path]:
    """The files in a folder at any depth, in order. One that cannot be listed is an error, not an empty one."""

    def fail(error: OSError) -> NoReturn:
        raise error

    found = []
    for inner, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(inner, name) for name in names if not name.startswith(".")]
    # A link to nothing stays in, so that it is missed.
    return sorted(file for file in found if file.is_file() or (file.is_symlink() and not file.exists()))


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
        return cast(BinaryIO, igzip.IGzipFile(fileobj=raw))  # type: ignore[no-untyped-call]
    if actual == "bzip2":
        if source.path.stat().st_size < PARALLEL_FROM_BYTES:
            return cast(BinaryIO, bz2.BZ2File(raw))
        # Several blocks at a time. Gzip has no such road here: igzip is faster on one core than the parallel library on two,
        # which reads a truncated file without a word.
        return cast(BinaryIO, io.BufferedReader(_ParallelBzip2(source.path), 1 << 20))
    if actual == "xz":
        return cast(BinaryIO, lzma.LZMAFile(raw))
    if actual == "zstandard":
        return cast(BinaryIO, io.BufferedReader(_Zstandard(raw), 1 << 20))
    return raw


@contextmanager
def _about(name: str) -> Iterator[None]:
    """Say of which file an error is."""
    try:
        yield
    except EOFError as error:
        raise DataError(
            f"{name}: the compressed stream ends too early, the file is truncated. Fetch it again."
        ) from error
    except (gzip.BadGzipFile, isal_zlib.error, zlib.error, lzma.LZMAError) as error:  # type: ignore[misc]
        raise DataError(f"{name}: the compressed stream is damaged: {error}. Fetch it again.") from error
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror or error}. Check the file.") from error


class _Named(io.RawIOBase):
    """A stream whose errors name its file; what goes wrong while its bytes are used is no concern of it."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream, self._name = stream, name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _about(self._name):
            data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Tap(io.RawIOBase):
    """Hash and count what flows through."""

    def __init__(self, raw: BinaryIO, on_bytes: Callable[[int], Any] | None) -> None:
        self._raw, self._on_bytes = raw, on_bytes
        self.digest, self.size_bytes = hashlib.sha256(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = int(self._raw.readinto(buffer) or 0)  # type: ignore[attr-defined]
        self.digest.update(memoryview(buffer)[:count])
        self.size_bytes += count
        if self._on_bytes is not None:
            self._on_bytes(count)
        return count


class _ParallelBzip2(io.RawIOBase):
    """Bzip2 blocks decompressed on all cores."""

    def __init__(self, path: Path) -> None:
        import rapidgzip

        try:
            self._file = rapidgzip.IndexedBzip2File(str(path), parallelization=0)
        except (RuntimeError, ValueError) as error:
            raise OSError(f"damaged bzip2 header: {error}") from error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read(len(buffer))
        except (RuntimeError, ValueError) as error:
            if "End of file" in str(error) or "Truncated" in str(error):
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
