"""Collections of a Milvus server, for vectors that several machines search; the only module that imports pymilvus.

A collection is named by the content of its vectors and by how they are indexed: releases with equal vectors share one, and
building a release anew fills nothing twice.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from kgservice.errors import DataError, MissingDependency, RecipeError
from kgservice.index.approximate import Floats
from kgservice.similarity import Metric

PREFIX = "milvus:"
URL, TOKEN = "KGSERVICE_MILVUS_URL", "KGSERVICE_MILVUS_TOKEN"
REACH = 16_384
"""Milvus gives no more to one question."""
INSERTED_AT_ONCE_BYTES = 16 << 20
"""Of one insertion: a server takes messages of 64 MB."""
TIMEOUT_S = 60.0


class MilvusNearest:
    """A collection, loaded.

    Args:
        client: of the server.
        collection: its name.
        count: vectors in it.
        metric: "ip" or "l2".
        parameters: of every search.
    """

    def __init__(self, client: Any, collection: str, count: int, metric: Metric, parameters: dict[str, Any]) -> None:
        self._client, self.collection, self.count, self.reach = client, collection, count, REACH
        self._sign, self._parameters = 1 if metric == "ip" else -1, parameters

    @classmethod
    def build(cls, spec: str, vectors: Floats, metric: Metric) -> Self:
        """Fill a collection, unless the server has it: `milvus:HNSW,M=16,efConstruction=200;ef=64`, build parameters behind
        commas, those of searches behind the semicolon.

        Raises:
            RecipeError: Milvus does not know the index or its parameters.
            DataError: the server does not answer.
        """
        kind, built, searched = _parsed(spec)
        digest = hashlib.sha256(f"{metric} {kind} {sorted(built.items())} {vectors.shape}".encode())
        digest.update(vectors.data)
        made = cls(_client(), f"kgservice_{digest.hexdigest()[:24]}", len(vectors), metric, searched)
        if made._rows() != len(vectors):
            made._fill(kind, built, vectors, metric, spec)
        made._client.load_collection(made.collection)
        return made

    @classmethod
    def load(cls, path: Path, spec: str, shape: tuple[int, int], metric: Metric) -> Self:
        """The collection that the file names.

        Raises:
            DataError: the server has no such collection, or one of another size.
        """
        name = json.loads(path.read_text(encoding="utf-8"))["collection"]
        made = cls(_client(), name, shape[0], metric, _parsed(spec)[2])
        held = made._rows()
        if held != shape[0]:
            raise DataError(
                f"{path}: the Milvus server at {os.environ[URL]} holds {held or 'no'} vectors in {name}, {shape[0]:,} were "
                "expected. Fill it again: kgservice index"
            )
        made._client.load_collection(name)
        return made

    def save(self, path: Path) -> None:
        """Write the collection's name."""
        path.write_text(json.dumps({"collection": self.collection}), encoding="utf-8")

    def search(self, vectors: Floats, width: int) -> tuple[Floats, npt.NDArray[np.int64]]:
        """See `Nearest.search`."""
        ids = np.full((len(vectors), width), -1, dtype=np.int64)
        scores = np.full((len(vectors), width), -np.inf, dtype=np.float32)
        found = self._client.search(
            self.collection,
            data=list(vectors),
            anns_field="vector",
            limit=width,
            search_params={"params": self._parameters},
            timeout=TIMEOUT_S,
        )
        for row, hits in enumerate(found):
            ids[row, : len(hits)] = [hit["id"] for hit in hits]
            scores[row, : len(hits)] = [hit["distance"] for hit in hits]
        return scores * np.float32(self._sign), ids

    def _rows(self) -> int:
        if not self._client.has_collection(self.collection):
            return 0
        return int(self._client.get_collection_stats(self.collection)["row_count"])

    def _fill(self, kind: str, built: dict[str, Any], vectors: Floats, metric: Metric, spec: str) -> None:
        from pymilvus import DataType, MilvusClient, MilvusException

        client, name = self._client, self.collection
        schema = MilvusClient.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=vectors.shape[1])
        indexes = client.prepare_index_params()
        indexes.add_index(field_name="vector", index_type=kind, metric_type=metric.upper(), params=built)
        try:
            if client.has_collection(name):  # a filling that was cut short
                client.drop_collection(name)
            client.create_collection(name, schema=schema, index_params=indexes, consistency_level="Strong")
            step = max(1, INSERTED_AT_ONCE_BYTES // vectors[:1].nbytes)
            for start in range(0, len(vectors), step):
                rows = [{"id": start + place, "vector": one} for place, one in enumerate(vectors[start : start + step])]
                client.insert(name, rows)
            client.flush(name)
        except MilvusException as error:
            raise RecipeError(f"index = {spec!r}: Milvus refuses it over {vectors.shape} vectors: {error}") from error


def _parsed(spec: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    head, _, tail = spec.removeprefix(PREFIX).partition(";")
    kind, *built = head.split(",")
    return kind, _numbers(built, spec), _numbers([part for part in tail.split(",") if part], spec)


def _numbers(parts: list[str], spec: str) -> dict[str, Any]:
    values = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals or not value.isdigit():
            raise RecipeError(
                f"index = {spec!r}: {part!r} is not NAME=NUMBER, as in milvus:HNSW,M=16,efConstruction=200;ef=64"
            )
        values[name] = int(value)
    return values


def _client() -> Any:
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise MissingDependency("pymilvus is not installed. Run: pip install 'kgservice[milvus]'") from error
    url = os.environ.get(URL)
    if not url:
        raise DataError(f"an index of Milvus needs {URL}, such as http://localhost:19530")
    try:
        return MilvusClient(uri=url, token=os.environ.get(TOKEN, ""), timeout=TIMEOUT_S)
    except Exception as error:  # of pymilvus, grpc or the address itself: all say that nothing answers
        raise DataError(f"no Milvus server answers at {url}: {type(error).__name__}") from error
