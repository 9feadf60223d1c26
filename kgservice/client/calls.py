"""What each method of a client sends, and what it reads: the one place that knows paths and bodies."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from kgservice.answers import Answer, Described, Question, Statement, Verdict
from kgservice.answers.entities import EntityPage, LikeAnswer
from kgservice.answers.explanations import Explanation
from kgservice.answers.matches import SearchResult
from kgservice.answers.options import (
    ClassifyOptions,
    CompleteOptions,
    ExplainOptions,
    SearchOptions,
    SimilarOptions,
    TypesOptions,
)
from kgservice.answers.records import EntityRecord
from kgservice.client.refusals import problem_of
from kgservice.errors import DataError, KGServiceError
from kgservice.server.schemas import Answers, Put, Releases, SearchResults, TypesAnswers, Verdicts

T = TypeVar("T")
_BULK = 1000
"""Questions in one request; what a server takes by default."""
_BULK_CANDIDATES = 100_000


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and the class of its answer.

    Attributes:
        path: below the service's address, percent-encoded.
        query: parameters; a list gives one of each.
        body: what becomes JSON; None where there is none.
        answer: a dataclass, or None where the answer is empty.
    """

    method: str
    path: str
    answer: type[T] | None
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None

    def read(self, response: httpx.Response) -> T:
        """The answer; fields that a newer service adds are left.

        Raises:
            DataError: it is not what such a service answers.
        """
        return self._decoded(response.content)

    def content(self) -> tuple[bytes, str]:
        """The body as it is sent, and its media type."""
        return msgspec.json.encode(self.body), "application/json"

    def _decoded(self, content: bytes) -> T:
        if self.answer is None:
            return None  # type: ignore[return-value]
        try:
            return msgspec.json.decode(content, type=self.answer)
        except msgspec.MsgspecError as error:
            raise DataError(
                f"{self.method} {self.path} gave no {self.answer.__name__}: {error}. Is this address a kgservice?"
            ) from error


@dataclass(frozen=True)
class LinesCall(Call[Any]):
    """A request of lines (NDJSON), whose answer has one for each: of the class `answer`, or the problem that it met."""

    def content(self) -> tuple[bytes, str]:
        """See `Call.content`."""
        return b"\n".join(msgspec.json.encode(line) for line in self.body), "application/x-ndjson"

    def read(self, response: httpx.Response) -> list[Any]:
        """See `Call.read`."""
        lines = [line for line in response.content.split(b"\n") if line.strip()]
        return [problem_of(line) or self._decoded(line) for line in lines]


def complete(question: Question, options: CompleteOptions) -> Call[Answer]:
    """`POST /v1/complete`."""
    return Call("POST", "/v1/complete", Answer, body={**_plain(question), **_named(options)})


def complete_many(questions: Sequence[Question], options: CompleteOptions) -> Iterator[Call[Answers]]:
    """The same for many, as few requests as a server takes."""
    for part in _parts(questions, _size(options.get("k", 10))):
        yield Call(
            "POST", "/v1/complete", Answers, body={"questions": [_plain(one) for one in part], **_named(options)}
        )


def complete_each(
    questions: Sequence[Question], options: CompleteOptions
) -> Iterator[Call[list[Answer | KGServiceError]]]:
    """The same as lines, where one that cannot be answered spoils no other."""
    for part in _parts(questions, _size(options.get("k", 10))):
        yield LinesCall("POST", "/v1/complete", Answer, body=[{**_plain(one), **_named(options)} for one in part])


def classify(statement: Statement, options: ClassifyOptions) -> Call[Verdict]:
    """`POST /v1/classify`."""
    return Call("POST", "/v1/classify", Verdict, body={**_plain(statement), **options})


def classify_many(statements: Sequence[Statement], options: ClassifyOptions) -> Iterator[Call[Verdicts]]:
    """The same for many."""
    for part in _parts(statements, _BULK):
        yield Call("POST", "/v1/classify", Verdicts, body={"statements": [_plain(one) for one in part], **options})


def explain(statement: Statement, options: ExplainOptions) -> Call[Explanation]:
    """`POST /v1/explain`."""
    return Call("POST", "/v1/explain", Explanation, body={**_plain(statement), **options})


def search(query: str, cursor: str | None, options: SearchOptions) -> Call[SearchResult]:
    """`GET /v1/search`, whose result may be a page behind another."""
    given: dict[str, Any] = dict(options)
    renamed = {"type": given.pop("types", ()), "facet": given.pop("facet_by", ())}
    renamed["filter"] = [one if isinstance(one, str) else "=".join(one) for one in given.pop("filters", ())]
    return Call("GET", "/v1/search", SearchResult, query={"q": query, "cursor": cursor, **given, **renamed})


def search_many(queries: Sequence[str], options: SearchOptions) -> Iterator[Call[SearchResults]]:
    """`POST /v1/search`."""
    given = _named(options)
    for part in _parts(queries, _size(options.get("k", 10))):
        yield Call("POST", "/v1/search", SearchResults, body={"queries": part, **given})


def entity(name: str, language: str, limit: int) -> Call[EntityPage]:
    """`GET /v1/entities/{id}`."""
    return Call("GET", _entity(name), EntityPage, query={"language": language, "limit": limit})


def similar_to(name: str, options: SimilarOptions) -> Call[LikeAnswer]:
    """`GET /v1/entities/{id}/similar`."""
    given: dict[str, Any] = dict(options)
    return Call("GET", f"{_entity(name)}/similar", LikeAnswer, query={"type": given.pop("types", ()), **given})


def types_of(entities: Sequence[str], options: TypesOptions) -> Iterator[Call[TypesAnswers]]:
    """`POST /v1/types`."""
    given: dict[str, Any] = dict(options)
    if "types" in given:
        given["types"] = [
            {"label": one.label, "description": one.description} if isinstance(one, Described) else one
            for one in given["types"]
        ]
    for part in _parts(entities, _BULK):
        yield Call("POST", "/v1/types", TypesAnswers, body={"entities": list(part), **given})


def put(record: EntityRecord) -> Call[Put]:
    """`PUT /v1/entities/{id}`."""
    document = json.loads(record.to_json())
    return Call("PUT", _entity(document.pop("id")), Put, body=document)


def put_many(records: Sequence[EntityRecord]) -> Call[Put]:
    """`POST /v1/entities`: all or none, so in one request."""
    return Call("POST", "/v1/entities", Put, body={"entities": [json.loads(one.to_json()) for one in records]})


def erase(name: str) -> Call[None]:
    """`DELETE /v1/entities/{id}`."""
    return Call("DELETE", _entity(name), None)


def releases() -> Call[Releases]:
    """`GET /v1/releases`."""
    return Call("GET", "/v1/releases", Releases)


def _named(options: CompleteOptions | SearchOptions) -> dict[str, Any]:
    """Options as bodies have them: a filter names its parts."""
    given: dict[str, Any] = dict(options)
    if "filters" in given:
        given["filters"] = [
            one if isinstance(one, str) else dict(zip(("relation", "object"), one, strict=True))
            for one in given["filters"]
        ]
    return given


def _size(k: int) -> int:
    """Questions of `k` candidates in one request."""
    return max(1, min(_BULK, _BULK_CANDIDATES // max(1, k)))


def _parts(whole: Sequence[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(whole), size):
        yield list(whole[start : start + size])


def _entity(name: str) -> str:
    return f"/v1/entities/{quote(name, safe=':')}"


def _plain(one: Question | Statement) -> dict[str, Any]:
    """As JSON says it, without what is left out."""
    plain: dict[str, Any] = {name: value for name, value in asdict(one).items() if value is not None}
    plain["qualifiers"] = [{name: value for name, value in pair.items() if value} for pair in plain["qualifiers"]]
    return plain
