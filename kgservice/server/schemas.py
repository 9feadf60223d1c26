"""What this server says beside the engine's answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kgservice.answers import Answer, Named, Verdict
from kgservice.answers.entities import TypesAnswer
from kgservice.answers.explanations import Explanation
from kgservice.answers.matches import SearchResult


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


@dataclass(frozen=True)
class Enrichment:
    """A whole graph enriched as a job.

    Attributes:
        id: 32 hexadecimal digits.
        state: queued, running, done, failed or cancelled.
        plan: what was asked.
        stage, done, total: how far it is: `done` of `total` steps of a stage.
        created, started, finished: seconds since 1970, UTC.
        error: why it failed.
        report: what it did, once it is done: counts, thresholds, the precision that may be expected.
    """

    id: str
    state: str
    plan: Mapping[str, Any]
    stage: str
    done: int
    total: int
    created: float
    started: float | None
    finished: float | None
    error: str | None
    report: Mapping[str, Any] | None


@dataclass(frozen=True)
class Enrichments:
    """Some enrichments, the newest first."""

    enrichments: list[Enrichment]


@dataclass(frozen=True)
class Proposal:
    """A link that is probably missing, or a statement that is probably wrong.

    Attributes:
        subject, relation, object: the link.
        probability: that the proposal is right.
        score: of the first model; None where it is not kept.
        rank: from 1, among those of the same subject and relation; None where it is not kept.
    """

    subject: Named
    relation: Named
    object: Named
    probability: float
    score: float | None
    rank: int | None


@dataclass(frozen=True)
class Proposals:
    """A page of what an enrichment found.

    Attributes:
        enrichment: its id.
        kind: links that are missing, or errors.
        total: how many it found.
        proposals: the most probable first.
        next: the cursor of the next page; None on the last.
    """

    enrichment: str
    kind: str
    total: int
    proposals: list[Proposal]
    next: str | None


@dataclass(frozen=True)
class Queued:
    """What was queued.

    Attributes:
        enrichment: what found it.
        queued: how many are new in the queue.
    """

    enrichment: str
    queued: int


@dataclass(frozen=True)
class ReviewItem:
    """A proposal that is to be reviewed, or was.

    Attributes:
        id: 32 hexadecimal digits.
        enrichment: what proposed it.
        kind: links or errors.
        audit: whether it was drawn at random.
        proposal: what is to be judged.
        verdict: accept, reject or unsure; None while nobody has said.
        reason, reviewer: in the reviewer's words.
        reviewed: seconds since 1970, UTC.
    """

    id: str
    enrichment: str
    kind: str
    audit: bool
    proposal: Proposal
    verdict: str | None
    reason: str | None
    reviewer: str | None
    reviewed: float | None


@dataclass(frozen=True)
class ReviewItems:
    """The head of the queue."""

    reviews: list[ReviewItem]
