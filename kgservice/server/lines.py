"""Many questions as lines, and many answers as lines or as a table: the bulk forms beside one JSON document.

NDJSON in: a line is what would be the body of a single request. NDJSON out: a line is its answer, or the problem that it met, so
that one bad line spoils no other. Arrow out: one row for each candidate, verdict or match.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import orjson
import pyarrow as pa
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from pydantic import TypeAdapter, ValidationError

from kgservice.answers import Question
from kgservice.engine import Engine
from kgservice.errors import KGServiceError
from kgservice.server import problems
from kgservice.server.batching import Terms
from kgservice.server.problems import RequestProblem
from kgservice.server.service import Service, service_of

NDJSON = "application/x-ndjson"
ARROW = "application/vnd.apache.arrow.stream"
CHUNK = 256
"""Lines answered together, while those before are on their way."""
LEAST_PART = 250
"""Questions of one request that are worth a thread of their own."""

Body = TypeVar("Body")
Row = dict[str, Any]


@dataclass(frozen=True)
class Lines(Generic[Body]):
    """How the lines of one endpoint are read and answered.

    Attributes:
        body: reads a line.
        ask: answers lines that have the same terms, in their order.
        terms: what lines must share to be answered together; hashable.
        width: candidates that a line asks for.
    """

    body: TypeAdapter[Body]
    ask: Callable[[Engine, Sequence[Body]], Sequence[object]]
    terms: Callable[[Body], object]
    width: Callable[[Body], int]


async def answer_lines(lines: Lines[Any], request: Request) -> Response:
    """Answer the lines of a body, as lines.

    Raises:
        RequestProblem: there are more lines than this server takes, or none.
    """
    service = service_of(request)
    given = [line for line in (await request.body()).split(b"\n") if line.strip()]
    if not given:
        raise RequestProblem("malformed-json", "The body has no line; each is one JSON document.")
    service.check_size("lines", len(given))
    request_id, engine = problems.request_id_of(request), service.engine
    bodies = [_read(lines, line, request_id) for line in given]
    asked = [lines.width(body) for body in bodies if not isinstance(body, bytes)]
    service.check_size("lines", len(given), -(-sum(asked) // len(given)) if asked else 1)

    async def chunks() -> Any:
        for start in range(0, len(bodies), CHUNK):
            some = bodies[start : start + CHUNK]
            yield await service.workers.run(lambda some=some: _answered(lines, engine, some, request_id))  # type: ignore[misc]

    return StreamingResponse(chunks(), media_type=NDJSON)


async def answer_many(
    rows: Callable[[Any], Iterable[Row]],
    request: Request,
    service: Service,
    ask: Callable[[], Sequence[object]],
    whole: Callable[[Any], object],
) -> Response:
    """Many answers in the form that the client asks for: `whole` makes one JSON document of them, `rows` a table's of one."""
    form = wanted(request)
    if form is None:
        return await service.answer(lambda: whole(ask()))
    write: Callable[[Sequence[object]], bytes] = partial(_table, rows) if form == ARROW else _joined
    return Response(await service.workers.run(lambda: write(ask())), media_type=form)


async def completed(service: Service, terms: Terms, questions: Sequence[Question], form: str | None) -> bytes:
    """The answers of many questions with the same terms, in the form that a client asks for.

    Raises:
        KGServiceError: one of them cannot be answered.
        RequestProblem: too many requests wait.
    """

    size = max(LEAST_PART, -(-len(questions) // service.settings.threads))

    def part(start: int) -> Any:
        some = questions[start : start + size]
        return terms.table(some, start) if form == ARROW else (b"\n" if form == NDJSON else b",").join(terms.ask(some))

    parts = [service.workers.run(partial(part, start)) for start in range(0, len(questions), size)]
    found: list[Any] = list(await asyncio.gather(*parts, return_exceptions=True))
    if error := next((one for one in found if isinstance(one, BaseException)), None):
        raise error
    if form == ARROW:
        return await service.workers.run(lambda: _stream(found))
    return b"%b\n" % b"\n".join(found) if form == NDJSON else b'{"answers":[%b]}' % b",".join(found)


def _joined(answers: Sequence[object]) -> bytes:
    return b"".join(orjson.dumps(one, option=orjson.OPT_APPEND_NEWLINE) for one in answers)


def _table(rows: Callable[[Any], Iterable[Row]], answers: Sequence[object]) -> bytes:
    """An Arrow IPC stream; `question` is the place of the question that a row answers."""
    listed = [{"question": place, **row} for place, answer in enumerate(answers) for row in rows(answer)]
    return _stream([pa.Table.from_pylist(listed)])


def _stream(tables: Sequence[pa.Table]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def wanted(request: Request) -> str | None:
    """Which of the other forms a client asks for; None for one JSON document."""
    accepted = [part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")]
    return next((form for form in accepted if form in (NDJSON, ARROW)), None)


def _read(lines: Lines[Any], line: bytes, request_id: str) -> Any:
    """A body, or the problem with it as JSON."""
    try:
        return lines.body.validate_python(orjson.loads(line))
    except orjson.JSONDecodeError as error:
        return problems.respond(
            "malformed-json", f"The line is not JSON: column {error.colno}: {error.msg}.", request_id
        ).body
    except ValidationError as error:
        return problems.respond_invalid(error.errors(), request_id).body


def _answered(lines: Lines[Any], engine: Engine, bodies: Sequence[Any], request_id: str) -> bytes:
    """The answers, or problems, of some lines as lines."""
    groups: dict[object, list[int]] = {}
    written: dict[int, bytes] = {}
    for place, body in enumerate(bodies):
        if isinstance(body, bytes):
            written[place] = body
        else:
            groups.setdefault(lines.terms(body), []).append(place)
    for places in groups.values():
        written |= _asked(lines, engine, bodies, places, request_id)
    return b"".join(written[place] + b"\n" for place in range(len(bodies)))


def _asked(
    lines: Lines[Any], engine: Engine, bodies: Sequence[Any], places: Sequence[int], request_id: str
) -> dict[int, bytes]:
    try:
        answers = lines.ask(engine, [bodies[place] for place in places])
        return dict(zip(places, map(orjson.dumps, answers), strict=True))
    except KGServiceError as error:
        if len(places) == 1:
            return {places[0]: bytes(problems.respond_error(error, request_id).body)}
    half = len(places) // 2
    return {
        **_asked(lines, engine, bodies, places[:half], request_id),
        **_asked(lines, engine, bodies, places[half:], request_id),
    }
