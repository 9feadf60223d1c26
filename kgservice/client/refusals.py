"""Problems that a service answers with, as the errors that the same question raises in the engine."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
import msgspec

from kgservice import errors
from kgservice.errors import KGServiceError

_OF_SLUG: dict[str, type[KGServiceError]] = {
    "unknown-entity": errors.UnknownEntity,
    "unknown-relation": errors.UnknownRelation,
    "unknown-type": errors.UnknownType,
    "unknown-model": errors.UnknownModel,
    "unknown-release": errors.UnknownRelease,
    "erased": errors.Erased,
    "invalid-question": errors.InvalidQuestion,
    "invalid-request": errors.InvalidQuestion,
}


class Refused(KGServiceError):
    """The service did not answer, for a reason that no error of the engine stands for.

    Attributes:
        status: of HTTP.
        slug: the end of the problem's type, such as `body-too-large`; empty where the answer was no problem document.
        request_id: under which the service's log tells more.
    """

    def __init__(self, message: str, status: int, slug: str = "", request_id: str = "") -> None:
        super().__init__(message)
        self.status, self.slug, self.request_id = status, slug, request_id


class Unreachable(KGServiceError):
    """No answer came, after all attempts."""


@dataclass(frozen=True)
class _Problem:
    """What is read of RFC 9457's document; whatever else it holds is left."""

    type: str = ""
    title: str = ""
    status: int = 0
    detail: str = ""
    request_id: str = ""
    closest: list[str] | None = None


def error_of(response: httpx.Response) -> KGServiceError:
    """The error that a response with a status of 400 or more stands for."""
    error = problem_of(response.content)
    if error is None:
        where = f"{response.request.method} {response.request.url.copy_with(query=None)}"
        return Refused(f"{where} answered {response.status_code} {response.reason_phrase}", response.status_code)
    return error


def problem_of(document: bytes) -> KGServiceError | None:
    """The error that a problem document stands for; None where it is none."""
    try:
        problem = msgspec.json.decode(document, type=_Problem)
    except msgspec.MsgspecError:
        return None
    slug = problem.type.rpartition("/")[2]
    message = problem.detail or problem.title
    if not slug:
        return None
    if slug in _OF_SLUG:
        state = {"closest": problem.closest or []} if issubclass(_OF_SLUG[slug], errors.UnknownName) else {}
        return errors.restored(_OF_SLUG[slug], message, state)
    return Refused(message, problem.status, slug, problem.request_id)
