"""An entity as Wikibase writes it in JSON, decoded as far as a graph needs it."""

from __future__ import annotations

from typing import Any

import msgspec

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What `decode` and `decode_tolerantly` raise."""

_FIELDS = {"entity_type": "entity-type", "numeric_id": "numeric-id", "upper": "upperBound", "lower": "lowerBound"}


class Text(msgspec.Struct, gc=False):
    """A label, a description or an alias, in one language."""

    value: str = ""


class Counted(msgspec.Struct, gc=False):
    """Decoded for its presence alone."""


class Value(msgspec.Struct, gc=False, rename=_FIELDS.get):
    """A value of any type but string; the fields tell which."""

    entity_type: str = ""
    numeric_id: int | None = None
    id: str | None = None
    time: str | None = None
    precision: int | float | None = None  # of a time or, in degrees, of a coordinate
    calendarmodel: str = ""
    amount: str | None = None
    unit: str = "1"
    upper: str | None = None
    lower: str | None = None
    text: str | None = None
    language: str = ""
    latitude: float | None = None
    longitude: float | None = None
    globe: str | None = None


class DataValue(msgspec.Struct, gc=False):
    """A value and the kind of it."""

    value: str | Value | int | float | bool | list[Any] | None = None
    type: str = ""


class Snak(msgspec.Struct, gc=False):
    """A property with a value, an unknown value or none."""

    snaktype: str = ""
    datavalue: DataValue | None = None
    datatype: str = ""


class Claim(msgspec.Struct, gc=False):
    """A statement about an entity: its main snak, its qualifiers, its rank."""

    mainsnak: Snak | None = None
    rank: str = "normal"
    qualifiers: dict[str, list[Snak]] | list[Snak] | None = None
    references: list[Counted] | None = None


class Redirect(msgspec.Struct, gc=False, rename={"source": "from", "target": "to"}):
    """From one entity to the one that has taken its place."""

    source: str = ""
    target: str = ""


class Entity(msgspec.Struct, gc=False):
    """An entity, the record of a redirect, or a document that holds entities. Empty maps may be lists."""

    type: str = ""
    id: str = ""
    labels: dict[str, Text] | list[Text] | None = None
    descriptions: dict[str, Text] | list[Text] | None = None
    aliases: dict[str, list[Text] | dict[str, Text]] | list[Text] | None = None
    claims: dict[str, list[Claim]] | list[Claim] | None = None
    sitelinks: dict[str, Counted] | list[Counted] | None = None
    entity: str = ""
    redirect: str = ""
    redirects: Redirect | list[Redirect] | None = None
    missing: str | None = None
    entities: dict[str, Entity] | list[Entity] | None = None


_decoder = msgspec.json.Decoder(Entity)


def decode(block: bytes, start: int, end: int) -> Entity | None:
    """None for an empty line and for a bracket alone."""
    if end - start <= 1 and block[start:end] in (b"", b"[", b"]"):
        return None
    try:
        return _decoder.decode(memoryview(block)[start:end])
    except UNREADABLE:
        # Dumps on few lines have brackets beside entities.
        line = block[start:end].strip().removeprefix(b"[").removesuffix(b"]")
        return decode_tolerantly(line) if line else None


def decode_tolerantly(content: bytes) -> Entity:
    """As typed; if that fails, without the values that have another form than Wikibase gives them."""
    try:
        return _decoder.decode(content)
    except msgspec.ValidationError:
        plain = msgspec.json.decode(content)
        _drop_strange_values(plain)
        return msgspec.convert(plain, Entity)


def _drop_strange_values(node: Any) -> None:
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        if isinstance(child, dict) and "datavalue" in child:
            try:
                msgspec.convert(child["datavalue"], DataValue)
            except msgspec.ValidationError:
                child["datavalue"] = None
        _drop_strange_values(child)
