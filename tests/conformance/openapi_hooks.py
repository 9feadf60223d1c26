"""How schemathesis sends bodies that it does not know."""

from __future__ import annotations

import schemathesis


@schemathesis.serializer("application/sparql-query", "application/sparql-update")
def query(context: schemathesis.SerializationContext, value: object) -> bytes:
    """A query is sent as it is."""
    return str(value).encode("utf-8", "replace")
