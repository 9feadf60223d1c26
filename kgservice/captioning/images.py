"""Which images a graph's entities have: from a table of paths and addresses, or from the graph's own media."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kgservice.captioning import CaptioningFailed
from kgservice.errors import InputError
from kgservice.files import replacing
from kgservice.graph import KnowledgeGraph
from kgservice.graph.vocabulary import local_name

logger = logging.getLogger(__name__)

TIMEOUT_S = 30.0
MAX_BYTES = 32 << 20
USER_AGENT = "kgservice (knowledge-graph completion; image captions)"


@dataclass(frozen=True)
class Image:
    """An image of an entity.

    Attributes:
        entity: its id in the graph.
        place: a path, or an http address.
    """

    entity: int
    place: str


def of_table(path: Path, graph: KnowledgeGraph) -> tuple[list[Image], int]:
    """Images of a table with the columns `entity` and `image`: TSV or CSV with a header, or Parquet.

    An entity is named by its id in the graph or by the end of it; a path is relative to the table.

    Returns:
        One image of each entity that the graph holds, and how many rows name others.

    Raises:
        InputError: the table lacks a column.
    """
    import polars as pl

    if path.suffix == ".parquet":
        table = pl.read_parquet(path)
    else:
        table = pl.read_csv(path, separator="," if path.suffix == ".csv" else "\t", infer_schema=False)
    if not {"entity", "image"} <= set(table.columns):
        raise InputError(f"{path} has the columns {', '.join(table.columns)}; expected 'entity' and 'image'")
    names = table["entity"].to_list()
    ids = graph.entities.ids([str(name) for name in names]).tolist()
    if min(ids, default=0) < 0:
        short = {local_name(name): place for place, name in enumerate(graph.entities.names_of(np.arange(graph.n)))}
        ids = [id if id >= 0 else short.get(str(name), -1) for id, name in zip(ids, names, strict=True)]
    found: dict[int, Image] = {}
    for id, place in zip(ids, table["image"].to_list(), strict=True):
        if id >= 0 and place:
            is_address = str(place).startswith(("http://", "https://"))
            found.setdefault(int(id), Image(int(id), str(place) if is_address else str(path.parent / str(place))))
    return list(found.values()), sum(id < 0 for id in ids)


def of_media(graph: KnowledgeGraph) -> list[Image]:
    """One image of each entity that literal facts name a file of, at its address on Wikimedia Commons."""
    media, found = graph.media, dict[int, Image]()
    for row in range(len(media)):
        found.setdefault(int(media.entity[row]), Image(int(media.entity[row]), media.address(row)))
    return list(found.values())


def local(image: Image, folder: Path) -> Path:
    """The file of an image, fetched once where it has an address.

    Raises:
        CaptioningFailed: there is no such file, or it cannot be had.
    """
    if not image.place.startswith(("http://", "https://")):
        path = Path(image.place)
        if not path.is_file():
            raise CaptioningFailed(f"{path} is not there")
        return path
    path = folder / hashlib.sha256(image.place.encode()).hexdigest()
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as staging:
            staging.write_bytes(b"".join(_fetched(image.place)))
    return path


def _fetched(address: str) -> Iterator[bytes]:
    import httpx

    total = 0
    try:
        with httpx.stream(
            "GET", address, timeout=TIMEOUT_S, follow_redirects=True, headers={"User-Agent": USER_AGENT}
        ) as answer:
            answer.raise_for_status()
            for part in answer.iter_bytes():
                total += len(part)
                if total > MAX_BYTES:
                    raise CaptioningFailed(f"{address} is larger than {MAX_BYTES:,} bytes")
                yield part
    except httpx.HTTPError as error:
        raise CaptioningFailed(f"{address} cannot be fetched: {error}") from error
