"""Vectors on disk, found by the sha256 of what they were made from.

A cache is a folder of `.npy` files, each an array of records (key, vector) that is written beside, synced and renamed.
A process that is killed leaves at most a file that nobody reads; readers map whole files and never wait for writers.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kgservice.files import replacing

log = logging.getLogger(__name__)

_KEY_BYTES = 32


class VectorCache:
    """The vectors of one encoder.

    Args:
        folder: shared by all encoders; made when first written to.
        fingerprint: all that a vector depends on besides its text; another fingerprint sees none of these vectors.
        width: `d`.
    """

    def __init__(self, folder: Path, fingerprint: str, width: int) -> None:
        self._folder = folder / hashlib.sha256(fingerprint.encode()).hexdigest()[:16]
        self._fingerprint = fingerprint.encode()
        self._record = np.dtype([("key", "u1", (_KEY_BYTES,)), ("vector", "<f4", (width,))])
        self._width = width
        self._lock = threading.Lock()
        self._files: list[npt.NDArray[np.void]] = []
        self._opened: set[str] = set()
        self._prefix = np.empty(0, dtype=np.uint64)  # the first 8 bytes of every key, sorted
        self._place = np.empty((0, 2), dtype=np.int64)  # its file and row

    def __len__(self) -> int:
        with self._lock:
            self._refresh()
            return len(self._prefix)

    def get(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """float32 `[b, d]` and bool `[b]`: the vectors, and which of them are held; the others are undefined."""
        vectors = np.zeros((len(texts), self._width), dtype=np.float32)
        held = np.zeros(len(texts), dtype=bool)
        with self._lock:
            self._refresh()
            files, prefix, place = list(self._files), self._prefix, self._place
        if not len(prefix) or not len(texts):
            return vectors, held
        keys = self._keys(texts)
        asked = _prefixes(keys)
        found = np.minimum(np.searchsorted(prefix, asked), len(prefix) - 1)
        for row in np.flatnonzero(prefix[found] == asked):
            file, at = place[found[row]]
            record = files[file][at]
            # The whole key decides: equal prefixes of different keys (odds of 10^-6 in 10^7) are a miss.
            if np.array_equal(record["key"], keys[row]):
                vectors[row], held[row] = record["vector"], True
        return vectors, held

    def put(self, texts: Sequence[str], vectors: npt.NDArray[np.float32]) -> None:
        """Keep vectors `[b, d]`; what two processes both write is there twice and does no harm."""
        if not len(texts):
            return
        records = np.empty(len(texts), dtype=self._record)
        records["key"], records["vector"] = self._keys(texts), vectors
        self._folder.mkdir(parents=True, exist_ok=True)
        with replacing(self._folder / f"{uuid.uuid4().hex}.npy") as staging, staging.open("xb") as file:
            np.save(file, records, allow_pickle=False)

    def _keys(self, texts: Sequence[str]) -> npt.NDArray[np.uint8]:
        """uint8 `[b, 32]`."""
        digests = b"".join(hashlib.sha256(self._fingerprint + b"\0" + text.encode()).digest() for text in texts)
        return np.frombuffer(digests, dtype=np.uint8).reshape(len(texts), _KEY_BYTES)

    def _refresh(self) -> None:
        """Map the files that came since the last look."""
        names = {path.name for path in self._folder.glob("*.npy")} if self._folder.is_dir() else set()
        fresh = sorted(names - self._opened)
        if not fresh:
            return
        prefixes, places = [self._prefix], [self._place]
        for name in fresh:
            self._opened.add(name)
            try:
                records = np.load(self._folder / name, mmap_mode="r", allow_pickle=False)
                if records.dtype != self._record or records.ndim != 1:
                    raise ValueError(f"expected records of {self._record}, found {records.dtype}")
            except (OSError, ValueError) as error:
                log.warning("%s is no part of this cache and is passed over: %s", self._folder / name, error)
                continue
            prefixes.append(_prefixes(records["key"]))
            places.append(np.stack([np.full(len(records), len(self._files)), np.arange(len(records))], axis=1))
            self._files.append(records)
        prefix, place = np.concatenate(prefixes), np.concatenate(places)
        order = np.argsort(prefix, kind="stable")
        self._prefix, self._place = prefix[order], place[order]


def _prefixes(keys: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """uint64 `[b]`: the first 8 of 32 bytes."""
    return np.ascontiguousarray(keys[:, :8]).view(np.uint64).reshape(-1)
