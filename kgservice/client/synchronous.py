"""The client for programs that wait. Written by `tools/unasync.py` from the one that is awaited: change that one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar, Unpack

import httpx

from kgservice.answers import Answer, Question, Statement, Verdict
from kgservice.answers.entities import EntityPage, LikeAnswer, TypesAnswer
from kgservice.answers.explanations import Explanation
from kgservice.answers.matches import Match, SearchResult
from kgservice.answers.options import (
    ClassifyOptions,
    CompleteOptions,
    ExplainOptions,
    SearchOptions,
    SimilarOptions,
    TypesOptions,
)
from kgservice.answers.records import EntityRecord
from kgservice.client import calls
from kgservice.client.calls import Call
from kgservice.client.patience import BUSY, Patience
from kgservice.client.refusals import Unreachable, error_of
from kgservice.client.sending import options_of, request_of
from kgservice.errors import KGServiceError
from kgservice.server.schemas import Put, Releases

T = TypeVar("T")
U = TypeVar("U")


class Client:
    """Asks a service; safe to use from many threads, which share its connections.

    Every method raises what the engine raises for the same question, `Refused` for other refusals, and `Unreachable` where no
    answer came.

    Args:
        address: such as `http://localhost:8000`.
        key: an API key, sent as a bearer token.
        timeout_s: of one attempt.
        patience: when to try again.
        transport: how httpx sends; for tests and proxies.
    """

    def __init__(
        self,
        address: str,
        *,
        key: str | None = None,
        timeout_s: float = 30.0,
        patience: Patience | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._patience = patience or Patience()
        self._http = httpx.Client(**options_of(address, key, timeout_s), transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def complete(self, question: Question, **options: Unpack[CompleteOptions]) -> Answer:
        """The best candidates for the hole of a question; see `Engine.complete`."""
        return self._ask(calls.complete(question, options))

    def complete_many(self, questions: Sequence[Question], **options: Unpack[CompleteOptions]) -> Iterator[Answer]:
        """The answers to many questions in their order, asked for as they are taken."""
        return self._each(calls.complete_many(questions, options), lambda part: part.answers)

    def complete_each(
        self, questions: Sequence[Question], **options: Unpack[CompleteOptions]
    ) -> Iterator[Answer | KGServiceError]:
        """The same; a question that cannot be answered gives its error in place of its answer."""
        return self._each(calls.complete_each(questions, options), lambda part: part)

    def classify(self, statement: Statement, **options: Unpack[ClassifyOptions]) -> Verdict:
        """Whether a statement is true; see `Engine.classify`."""
        return self._ask(calls.classify(statement, options))

    def classify_many(self, statements: Sequence[Statement], **options: Unpack[ClassifyOptions]) -> Iterator[Verdict]:
        """The verdicts on many statements in their order, asked for as they are taken."""
        return self._each(calls.classify_many(statements, options), lambda part: part.verdicts)

    def explain(self, statement: Statement, **options: Unpack[ExplainOptions]) -> Explanation:
        """Why a statement is thought true; see `Engine.explain`."""
        return self._ask(calls.explain(statement, options))

    def search(self, query: str, *, cursor: str | None = None, **options: Unpack[SearchOptions]) -> SearchResult:
        """Entities by what they are called and what is said of them; see `Engine.search`."""
        return self._ask(calls.search(query, cursor, options))

    def matches(self, query: str, **options: Unpack[SearchOptions]) -> Iterator[Match]:
        """All matches, page after page as they are taken; a page has `k`."""
        found = self.search(query, **options)
        yield from found.matches
        while found.next:
            found = self.search(query, cursor=found.next, **options)
            yield from found.matches

    def search_many(self, queries: Sequence[str], **options: Unpack[SearchOptions]) -> Iterator[SearchResult]:
        """The first matches of many queries in their order, asked for as they are taken."""
        return self._each(calls.search_many(queries, options), lambda part: part.answers)

    def entity(self, name: str, *, language: str = "en", limit: int = 100) -> EntityPage:
        """What the graph holds about an entity; see `Engine.entity`."""
        return self._ask(calls.entity(name, language, limit))

    def similar_to(self, name: str, **options: Unpack[SimilarOptions]) -> LikeAnswer:
        """Which entities are like one; see `Engine.similar_to`."""
        return self._ask(calls.similar_to(name, options))

    def types_of(self, entities: Sequence[str], **options: Unpack[TypesOptions]) -> Iterator[TypesAnswer]:
        """Which types entities have, in their order; see `Engine.types_of`."""
        return self._each(calls.types_of(entities, options), lambda part: part.answers)

    def put(self, record: EntityRecord) -> Put:
        """Have an entity known at once."""
        return self._ask(calls.put(record))

    def put_many(self, records: Sequence[EntityRecord]) -> Put:
        """Have many entities known at once, all or none."""
        return self._ask(calls.put_many(records))

    def erase(self, name: str) -> None:
        """Erase an entity for good."""
        self._ask(calls.erase(name))

    def releases(self) -> Releases:
        """Which releases there are, and which serves."""
        return self._ask(calls.releases())

    def _each(self, requests: Iterator[Call[T]], items: Callable[[T], Sequence[U]]) -> Iterator[U]:
        for call in requests:
            yield from items(self._ask(call))

    def _ask(self, call: Call[T]) -> T:
        request = request_of(self._http, call)
        for attempt in range(1, self._patience.attempts + 1):
            response, failure = None, None
            try:
                response = self._http.send(request)
            except httpx.TransportError as error:
                failure = error
            if response is not None and response.status_code not in BUSY:
                break
            wait_s = self._patience.wait_s(attempt, response)
            if wait_s is None:
                break
            time.sleep(wait_s)
        if response is None:
            raise Unreachable(f"{self._http.base_url} did not answer: {failure!r}") from failure
        if response.status_code >= 400:
            raise error_of(response)
        return call.read(response)
