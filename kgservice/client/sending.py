"""What both clients do alike before anything is sent."""

from __future__ import annotations

from typing import Any

import httpx

from kgservice import __version__
from kgservice.client.calls import Call
from kgservice.errors import InvalidQuestion


def options_of(address: str, key: str | None, timeout_s: float) -> dict[str, Any]:
    """How a client of httpx is made.

    Raises:
        InvalidQuestion: the address is no URL of HTTP.
    """
    if not address.startswith(("http://", "https://")):
        raise InvalidQuestion(f"a service's address begins with http:// or https://, found {address!r}")
    headers = {"User-Agent": f"kgservice/{__version__}", "Accept": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return {"base_url": address, "headers": headers, "timeout": timeout_s}


def request_of(http: httpx.Client | httpx.AsyncClient, call: Call[Any]) -> httpx.Request:
    """A call as a request; what is None or empty is left out of its query."""
    query: dict[str, Any] = {name: value for name, value in call.query.items() if value not in (None, (), [])}
    if call.body is None:
        return http.build_request(call.method, call.path, params=query)
    content, media = call.content()
    return http.build_request(
        call.method, call.path, params=query, content=content, headers={"Content-Type": media, "Accept": media}
    )
