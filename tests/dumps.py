"""Small dumps, made here: lines of N-Triples, and entities as Wikidata writes them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from kgservice import ingestion


def line(s: object, o: object) -> bytes:
    return f"<http://x/{s}> <http://x/p> <http://x/{o}> .\n".encode()


def links(count: int, seed: int = 0) -> bytes:
    """Lines that do not compress well."""
    rng = random.Random(seed)
    return b"".join(line(rng.randbytes(12).hex(), rng.randrange(count)) for _ in range(count))


def item(number: int, label: str = "x", **claims: list[int]) -> dict[str, Any]:
    """An entity of a Wikidata dump whose claims name items."""

    def claim(other: int) -> dict[str, Any]:
        value = {"value": {"entity-type": "item", "id": f"Q{other}"}, "type": "wikibase-entityid"}
        return {"mainsnak": {"snaktype": "value", "datavalue": value}, "rank": "normal"}

    return {
        "type": "item",
        "id": f"Q{number}",
        "labels": {"en": {"language": "en", "value": label}},
        "claims": {name: [claim(other) for other in others] for name, others in claims.items()},
    }


def dump(*entities: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(entity).encode() + b"\n" for entity in entities)


def graph_in(folder: Path) -> Path:
    """A folder that holds a whole graph, alone in its own."""
    (folder / "former.nt").write_bytes(line("former", "graph"))
    ingestion.ingest([folder / "former.nt"], folder / "graphs" / "graph")
    return folder / "graphs" / "graph"
