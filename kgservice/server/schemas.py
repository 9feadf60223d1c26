"""What this server says beside the engine's answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kgservice.answers import Answer, SearchResult, TypesAnswer, Verdict
from kgservice.explanations import Explanation


@dataclass(frozen=True)
class Answers:
    """The answers to many questions, in their order."""

    answers: list[Answer]


@dataclass(frozen=True)
class Verdicts:
    """The verdicts on many statements, in their order."""

    verdicts: list[Verdict]


@dataclass(frozen=True)
class Explanations:
    """Why many statements are thought true, in their order."""

    explanations: list[Explanation]


@dataclass(frozen=True)
class TypesAnswers:
    """The types of many entities, in their order."""

    answers: list[TypesAnswer]


@dataclass(frozen=True)
class Put:
    """Entities that were put; they are on the disk, and every later answer knows them.

    Attributes:
        release: `id@revision` of the first answer that does.
        created: how many are new.
        replaced: how many were put before.
    """

    release: str
    created: int
    replaced: int


@dataclass(frozen=True)
class SearchResults:
    """What many queries found, in their order."""

    answers: list[SearchResult]


@dataclass(frozen=True)
class ModelSummary:
    """A model of a release and its measured quality.

    Attributes:
        name: for `model` in questions.
        scorer: the kind of model.
        index: `exact`, or the FAISS index that candidates are found with.
        validation: filtered ranking figures on the validation split.
        test: the same on the test split.
    """

    name: str
    scorer: str | None
    index: str | None
    validation: Mapping[str, float | None]
    test: Mapping[str, float | None]


@dataclass(frozen=True)
class ReleaseSummary:
    """One release.

    Attributes:
        id: the first digits of its manifest's sha256.
        current: whether CURRENT names it.
        serving: whether this server answers from it now.
        created: when it was sealed, UTC.
        title: what was built.
        kgservice: version of the code that built it.
        commit: commit of that code, where it ran from a checkout.
        models: the best first.
        counts: of entities, relations, statements and splits.
        problem: why it cannot be read, if so.
    """

    id: str
    current: bool
    serving: bool
    created: str
    title: str | None = None
    kgservice: str | None = None
    commit: str | None = None
    models: list[ModelSummary] = field(default_factory=list)
    counts: Mapping[str, int] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True)
class Releases:
    """All releases of this server.

    Attributes:
        current: the id that CURRENT names.
        serving: the id this server answers from.
        releases: the newest first.
    """

    current: str | None
    serving: str | None
    releases: list[ReleaseSummary]


@dataclass(frozen=True)
class Activated:
    """What is current now.

    Attributes:
        current: the id that CURRENT names.
        serving: the id this server answers from; another one where the current one was refused.
    """

    current: str
    serving: str | None


@dataclass(frozen=True)
class Health:
    """Whether the server works.

    Attributes:
        status: `alive` or `ready`.
        release: what answers, where one does.
    """

    status: str
    release: str | None = None
