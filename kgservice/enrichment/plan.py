"""What is to be proposed, how surely, and how much of it: everything that a run depends on, as one value."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

from kgservice.errors import InvalidQuestion

MAX_K = 1000
Kind = Literal["links", "errors"]


@dataclass(frozen=True)
class Plan:
    """A run over a release.

    Attributes:
        release: `id@revision` that answers.
        kind: "links" that are missing, or "errors": statements that are probably wrong.
        models: names of the models that are asked; all that answer for objects where none is named.
        relations: ids, CURIEs or IRIs; all where none is named.
        types: only about subjects of one of these.
        since: a release; only about entities that it did not hold.
        threshold: the least probability; 0.5 where neither this nor `precision` is given.
        precision: the share of right ones wanted: the lowest threshold of each relation whose estimated precision reaches it.
        completeness: the share of what is true, within the questions asked, that the graph is believed to state.
        k: candidates of each question and model that are looked at.
        per_relation, per_entity, total: how many at most, the most probable first; per_entity counts subjects.
        block: questions of one block, the unit of work that is kept.
        tile: scores held at once; with `block`, what bounds the memory.
        sample: questions that the calibration looks at.
        seed: of the calibration's draw.
        shapes: SHACL as Turtle, which the graph must not break because of a link.
    """

    release: str
    kind: Kind = "links"
    models: tuple[str, ...] = ()
    relations: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    since: str | None = None
    threshold: float | None = None
    precision: float | None = None
    completeness: float = 0.9
    k: int = 10
    per_relation: int | None = None
    per_entity: int | None = None
    total: int | None = None
    block: int = 2048
    tile: int = 1 << 22
    sample: int = 100_000
    seed: int = 0
    shapes: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("links", "errors"):
            raise InvalidQuestion(f"kind must be links or errors, found {self.kind!r}")
        if self.shapes is not None and self.kind == "errors":
            raise InvalidQuestion(
                "shapes are for missing links; statements that break one are found by validating the graph"
            )
        for name in ("threshold", "precision", "completeness"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise InvalidQuestion(f"{name} must lie between 0 and 1, found {value}")
        if self.threshold is not None and self.precision is not None:
            raise InvalidQuestion("give a threshold or a precision, not both")
        for name, most in (("k", MAX_K), ("block", 1 << 20), ("tile", 1 << 30), ("sample", 1 << 30)):
            if not 1 <= getattr(self, name) <= most:
                raise InvalidQuestion(f"{name} must be in [1, {most:,}], found {getattr(self, name)}")
        for name in ("per_relation", "per_entity", "total"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidQuestion(f"{name} must be at least 1, found {value}")

    @property
    def floor(self) -> float:
        """The probability below which nothing can be given out: a set's mean reaches its target with few below a third of it."""
        if self.precision is not None:
            return self.precision / 3
        return 0.5 if self.threshold is None else self.threshold

    @property
    def kept(self) -> float:
        """The probability from which on a block keeps candidates: what validation shows of a relation may raise it later."""
        return self.floor / 2

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits: equal for equal plans."""
        whole = json.dumps(self.to_json(), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(whole.encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From plain values."""
        known = {field.name for field in fields(cls)}
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items() if name in known
        }
        return cls(**given)
