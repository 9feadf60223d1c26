"""Why a query is not answered."""

from __future__ import annotations

from kgservice.errors import InputError


class QueryRefused(InputError):
    """A query that cannot or must not be answered.

    Attributes:
        slug: names the kind of problem, see `server.problems`.
    """

    def __init__(self, slug: str, message: str) -> None:
        super().__init__(message)
        self.slug = slug
