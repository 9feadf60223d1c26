"""Every error a user can meet, as one tree.

::

    KGServiceError
    ├── InputError                  what was given is wrong; HTTP 4xx, exit status 2
    │   ├── MalformedStatement      a line of a file does not parse
    │   ├── InvalidQuestion         not exactly one hole, k out of range, ...
    │   ├── Erased                  a name that must not be used again
    │   ├── UnknownName
    │   │   ├── UnknownEntity
    │   │   ├── UnknownRelation
    │   │   ├── UnknownType
    │   │   ├── UnknownModel
    │   │   ├── UnknownDataset
    │   │   └── UnknownRelease
    │   ├── RecipeError             a recipe or a setting is wrong
    │   └── GraphError              a graph's parts contradict each other
    ├── DataError                   a file is missing, truncated or not what its checksum says
    │   └── CorruptRelease
    ├── MissingDependency           something must be installed
    └── TrainingDiverged            the loss is not a number

A message says what, where, what was expected, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any


class KGServiceError(Exception):
    """Base of all errors raised on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors come back from other processes as they were raised, whatever their constructors take.
        return restored, (type(self), str(self), self.__dict__)


def restored(kind: type[KGServiceError], message: str, state: dict[str, Any]) -> KGServiceError:
    """An error as it was raised elsewhere, from its message and what else it holds."""
    error = kind.__new__(kind, message)
    error.args = (message,)
    error.__dict__.update(state)
    return error


class InputError(KGServiceError):
    """What the user gave is wrong; trying again unchanged will not help."""


class MalformedStatement(InputError):
    """A line that is not a statement in its format."""

    def __init__(
        self, source: str | Path, line: int | None, column: int | None, problem: str, *, hint: str | None = None
    ) -> None:
        where = ":".join(str(part) for part in (source, line, column) if part is not None)
        super().__init__(f"{where}: {problem}. {hint or 'Use --on-error=skip to count and skip such lines.'}")
        self.source, self.line, self.column, self.problem = str(source), line, column, problem


class InvalidQuestion(InputError):
    """A question or a request that has no meaning."""


class Erased(InputError):
    """The name was erased, and stays so."""


class UnknownName(InputError):
    """A name that nothing bears; the message offers the closest ones."""

    kind = "name"

    def __init__(self, name: str, where: str, closest: Iterable[str] = ()) -> None:
        self.name, self.closest = name, list(closest)
        shown = name if len(name) <= 200 else name[:200] + "…"
        hint = f" Closest: {', '.join(repr(other) for other in self.closest)}." if self.closest else ""
        super().__init__(f"{shown!r} is not {self.kind} {where}.{hint}")


class UnknownEntity(UnknownName):
    """No entity of the graph has this id, CURIE or IRI."""

    kind = "an entity"


class UnknownRelation(UnknownName):
    """No relation of the graph has this id, CURIE or IRI."""

    kind = "a relation"


class UnknownType(UnknownName):
    """No type of the graph has this id, CURIE or IRI."""

    kind = "a type"


class UnknownModel(UnknownName):
    """There is no model of this name; `closest` are those there are, the likeliest first."""

    kind = "a model"

    def __init__(self, name: str, where: str, models: Iterable[str]) -> None:
        super().__init__(name, where, sorted(models, key=lambda one: -SequenceMatcher(None, name, one).ratio()))


class UnknownDataset(UnknownName):
    """No manifest under `data/` has this name."""

    kind = "a dataset"


class UnknownRelease(UnknownName):
    """No release has this id."""

    kind = "a release"


class RecipeError(InputError):
    """A recipe or a setting that cannot be read."""


class GraphError(InputError):
    """The parts of a graph contradict each other."""


class DataError(KGServiceError):
    """A file is missing, truncated, or not the one that was meant."""


class CorruptRelease(DataError):
    """A release whose files are not those it was sealed with; it is never served."""


class MissingDependency(KGServiceError):
    """Something must be installed first; the message says how."""


class TrainingDiverged(KGServiceError):
    """The loss stopped being a number."""
