"""The describer and given captions as captioners: no network, no weights."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from kgservice.captioning import CaptioningFailed, Picture, one_line
from kgservice.errors import InputError
from kgservice.graph import KnowledgeGraph
from kgservice.graph.captions import ANY, Captions
from kgservice.graph.vocabulary import Vocabulary, local_name

logger = logging.getLogger(__name__)

MAX_PIXELS = 64_000_000
"""Of an image that is opened; a larger one is more likely an attack than a picture."""


class Describer:
    """See `describer`."""

    fingerprint = "describer-1"
    prompted = False
    at_once = 1

    def caption(self, picture: Picture) -> str:
        """See `Captioner.caption`."""
        from PIL import Image, UnidentifiedImageError

        from kgservice.captioning.describer import describe

        try:
            with Image.open(picture.path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise CaptioningFailed(
                        f"{picture.path}: {image.width} × {image.height} pixels, {MAX_PIXELS:,} are the most"
                    )
                return describe(image)
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
            raise CaptioningFailed(f"{picture.path} is no image that Pillow reads: {error}") from error


class Given:
    """Captions from a file of JSON lines or Parquet, with `entity`, `text` and perhaps `relation`.

    Args:
        path: of the file.
        relations: the phrase of each relation, by the name that the file gives it.

    Raises:
        InputError: a line is no JSON object with these fields.
    """

    prompted = True
    at_once = 1

    def __init__(self, path: Path, relations: Mapping[str, str]) -> None:
        import hashlib

        self.path = path
        self.fingerprint = f"file-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
        self._texts: dict[tuple[str, str], str] = {}
        for entity, relation, text in _rows(path):
            self._texts[entity, relations.get(relation, relation)] = one_line(text)

    def caption(self, picture: Picture) -> str:
        """See `Captioner.caption`."""
        found = self._texts.get((picture.entity, picture.relation), self._texts.get((picture.entity, "")))
        return found or ""

    @property
    def entities(self) -> set[str]:
        """Those that the file speaks of."""
        return {entity for entity, _ in self._texts}


def captions_of(path: Path, graph: KnowledgeGraph) -> Captions:
    """The captions of a file, for the entities and relations that a graph holds; each named by its id or the end of it.

    Raises:
        InputError: as by `Given`, or the file names no entity of the graph.
    """
    entity_of, relation_of = (_numbers(names) for names in (graph.entities, graph.relations))
    rows = [
        (entity_of(entity), relation_of(relation) if relation else ANY, text) for entity, relation, text in _rows(path)
    ]
    known = [row for row in rows if row[0] is not None and row[1] is not None]
    if not known:
        raise InputError(f"{path} names no entity of the graph, whose first is {graph.entities.name(0)!r}")
    if len(known) < len(rows):
        logger.warning("%s: %d captions of entities or relations that the graph lacks", path, len(rows) - len(known))
    columns = np.array([row[:2] for row in known], dtype=np.int32)
    return Captions.build(columns[:, 0], columns[:, 1], [one_line(text) for _, _, text in known])


def _numbers(names: Vocabulary) -> Callable[[str], int | None]:
    """The id of a name, or of the end of one."""
    short = {local_name(name): place for place, name in enumerate(names.names_of(np.arange(len(names))))}

    def number(name: str) -> int | None:
        found = names.id(name)
        return found if found >= 0 else short.get(name)

    return number


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        if not {"entity", "text"} <= set(table.column_names):
            raise InputError(
                f"{path} has the columns {table.column_names}, expected 'entity', 'text' and perhaps 'relation'"
            )
        for row in table.to_pylist():
            yield str(row["entity"]), str(row.get("relation") or ""), str(row["text"])
        return
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                yield str(row["entity"]), str(row.get("relation") or ""), str(row["text"])
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise InputError(
                    f'{path}:{number}: expected an object such as {{"entity": "Q142", "text": "three stripes"}}, found '
                    f"{line.strip()[:80]!r}"
                ) from error
