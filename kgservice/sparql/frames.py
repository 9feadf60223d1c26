"""Messages between a server and its processes.

A length of four bytes, big-endian, a JSON document of that length, then as many bytes as its field `bytes` says.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Mapping
from typing import IO, Any

_HEAD = struct.Struct(">I")

Frame = tuple[dict[str, Any], bytes]


def frame(document: Mapping[str, Any], content: bytes = b"") -> bytes:
    """A message as bytes."""
    head = json.dumps({**document, "bytes": len(content)}).encode()
    return _HEAD.pack(len(head)) + head + content


def read(source: IO[bytes]) -> Frame | None:
    """One message; None at the end."""
    head = source.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    document: dict[str, Any] = json.loads(source.read(_HEAD.unpack(head)[0]))
    return document, source.read(document["bytes"])


async def receive(source: asyncio.StreamReader) -> Frame:
    """The same without blocking.

    Raises:
        asyncio.IncompleteReadError: the other side has ended.
    """
    head = await source.readexactly(_HEAD.size)
    document: dict[str, Any] = json.loads(await source.readexactly(_HEAD.unpack(head)[0]))
    return document, await source.readexactly(document["bytes"])
