"""Several models' probabilities as one: a logistic regression over their log-odds, learnt on validation questions.

Wolpert 1992, Stacked generalization. A candidate that a model does not have among its best is given that model's floor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch

from kgservice.arrays.ragged import Ragged
from kgservice.evaluation.calibration import Calibration
from kgservice.evaluation.populations import completion_feature
from kgservice.graph import KnowledgeGraph
from kgservice.graph.questions import keys_of
from kgservice.graph.statements import Split
from kgservice.index import Searcher
from kgservice.query import QueryBatch, Slot
from kgservice.recipe import ModelSettings
from kgservice.scorers.base import VectorScorer
from kgservice.seeking import seek

FLOOR = 1e-4
"""Probability of what a model does not name."""
QUESTIONS = 1000
"""Of each slot that it is learnt on, and as many that it is measured on."""
BLOCK = 256
"""Questions asked at once."""
FILE = "fusion.json"
SLOTS = (Slot.OBJECT, Slot.SUBJECT)

Ids = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


class Voice(Protocol):
    """A calibrated model that has a say."""

    @property
    def name(self) -> str:
        """Of the model."""
        ...

    @property
    def settings(self) -> ModelSettings:
        """Of the recipe."""
        ...

    @property
    def scorer(self) -> VectorScorer:
        """What answers."""
        ...

    @property
    def index(self) -> Searcher:
        """Over its entities."""
        ...

    @property
    def calibrations(self) -> Mapping[str, Calibration]:
        """By slot."""
        ...


class Said(NamedTuple):
    """What a model says of its best candidates.

    Attributes:
        ids: int32 `[b, w]`, −1 where there are no more.
        probability: float64 `[b, w]`.
    """

    ids: Ids
    probability: Floats


class Joint(NamedTuple):
    """All candidates that some model names.

    Attributes:
        question: int64 `[c]`, rising.
        candidate: int32 `[c]`, rising within a question.
        columns: float64 `[c, models]`, log-odds.
    """

    question: npt.NDArray[np.int64]
    candidate: Ids
    columns: Floats


def log_odds(probability: Floats) -> Floats:
    """float64, finite: probabilities below `FLOOR` and above its complement count as these."""
    clipped = np.clip(probability, FLOOR, 1 - FLOOR)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def able(voices: Sequence[Voice], slot: Slot) -> list[Voice]:
    """Those that answer such questions with probabilities."""
    return [voice for voice in voices if slot in voice.scorer.slots and slot.value in voice.calibrations]


def say(voice: Voice, queries: QueryBatch, hidden: Ragged, allow: npt.NDArray[np.bool_] | None) -> Said:
    """What a model says of the candidates it was calibrated for.

    Args:
        voice: the model.
        queries: for subjects or objects, without qualifiers.
        hidden: ragged `[b]`, what is stated already.
        allow: bool `[n]`, which entities may answer; None for all.
    """
    calibration = voice.calibrations[queries.slot.value]
    width = voice.settings.calibration.width
    ids, said = [np.empty((0, width), np.int32)], [np.empty((0, width))]
    for start in range(0, len(queries), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(queries)))
        some = queries.take(rows)
        with torch.inference_mode():
            vectors = voice.scorer.query_vectors(some)
        found, scores = seek(voice.scorer, voice.index, some, vectors, width, hidden.take(rows), allow)
        ids.append(found)
        said.append(calibration.probability(completion_feature(scores), some.relation[:, None]))
    return Said(np.concatenate(ids), np.concatenate(said))


def join(said: Sequence[Said]) -> Joint:
    """The candidates of all models, beside each other."""
    keys = []
    for ids, _ in said:
        row = np.arange(len(ids), dtype=np.int64)[:, None]
        keys.append((row << 32 | ids.astype(np.int64))[ids >= 0])
    union = np.unique(np.concatenate(keys)) if keys else np.empty(0, np.int64)
    columns = np.full((len(union), len(said)), FLOOR)
    for place, (key, (ids, probability)) in enumerate(zip(keys, said, strict=True)):
        columns[np.searchsorted(union, key), place] = probability[ids >= 0]
    return Joint(union >> 32, (union & 0xFFFFFFFF).astype(np.int32), log_odds(columns))


@dataclass(frozen=True)
class Stacker:
    """What makes one probability of several.

    Attributes:
        models: by slot, whose probabilities it takes, in the order of its columns.
        maps: by slot.
        figures: by slot, what it and each model alone are worth on test questions.
    """

    models: Mapping[str, tuple[str, ...]]
    maps: Mapping[str, Calibration]
    figures: Mapping[str, Any]

    def probability(self, slot: Slot, columns: Floats, relation: Ids) -> Floats:
        """float64 `[c]`: that each candidate is a true answer."""
        return self.maps[slot.value].probability(columns, relation)

    @classmethod
    def fit(cls, voices: Sequence[Voice], graph: KnowledgeGraph) -> Self:
        """Learn on validation questions, measure on test questions; slots that fewer than two models answer are left out."""
        models, maps, figures = {}, {}, {}
        for slot in SLOTS:
            heard = able(voices, slot)
            if len(heard) < 2:
                continue
            queries, joint, true = _asked(heard, graph, slot, Split.VALID)
            if not true.any() or true.all():
                continue
            most = max(voice.settings.calibration.width for voice in heard)
            made = Calibration.fit(
                joint.columns,
                true,
                population=f"the candidates that some model has among its best {most}, which training does not state",
                method="relations",
                relation=queries.relation[joint.question],
                group=joint.question.astype(np.int32),
                names=tuple(voice.name for voice in heard),
            )
            models[slot.value], maps[slot.value] = tuple(voice.name for voice in heard), made
            figures[slot.value] = _figures(made, heard, graph, slot)
        return cls(models, maps, figures)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        values = {
            slot: {"models": list(names), "map": self.maps[slot].to_json(), "test": self.figures[slot]}
            for slot, names in self.models.items()
        }
        path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def open(cls, path: Path) -> Self:
        """What was written; nothing where the release has none."""
        values = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return cls(
            {slot: tuple(one["models"]) for slot, one in values.items()},
            {slot: Calibration.from_json(one["map"]) for slot, one in values.items()},
            {slot: one["test"] for slot, one in values.items()},
        )


def _asked(
    voices: Sequence[Voice], graph: KnowledgeGraph, slot: Slot, split: Split
) -> tuple[QueryBatch, Joint, npt.NDArray[np.bool_]]:
    """Distinct questions of a split, the candidates of all models, and which are answers of that split.

    Answers of the other held-out split are no candidates: they are true, and must not be learnt to be false.
    """
    table = graph.statements.in_split(split)
    if slot is Slot.OBJECT:
        queries = QueryBatch.objects(table.subject, table.relation)
    else:
        queries = QueryBatch.subjects(table.relation, table.object)
    queries = queries.take(np.sort(np.unique(keys_of(queries, "triple"), return_index=True)[1]))
    if len(queries) > QUESTIONS:
        queries = queries.take(np.sort(np.random.default_rng(0).choice(len(queries), QUESTIONS, replace=False)))
    others = tuple(one for one in Split if one is not split)
    truth = graph.known(queries, splits=(split,))
    hidden = _without(graph.known(queries, splits=others).union(graph.loops(queries)), truth)
    joint = join([say(voice, queries, hidden, None) for voice in voices])
    true = np.isin(joint.question << 32 | joint.candidate, truth.rows() << 32 | truth.values)
    return queries, joint, true


def _without(lists: Ragged, others: Ragged) -> Ragged:
    """List by list, what the others do not hold."""
    kept = ~np.isin(lists.rows() << 32 | lists.values, others.rows() << 32 | others.values)
    counts = np.bincount(lists.rows()[kept], minlength=len(lists))
    return Ragged(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), lists.values[kept])


def _figures(made: Calibration, voices: Sequence[Voice], graph: KnowledgeGraph, slot: Slot) -> dict[str, Any]:
    """Filtered ranks of test answers, fused and by each model, all among the candidates that models name.

    An answer that a ranking does not name counts as rank infinity, so that figures are a little below those over all entities.
    """
    queries, joint, true = _asked(voices, graph, slot, Split.TEST)
    answers = int(graph.known(queries, splits=(Split.TEST,)).lengths.sum())
    if not answers:
        return {}
    relation = queries.relation[joint.question]
    fused = made.probability(joint.columns, relation)
    scores = {"fused": fused, **{voice.name: joint.columns[:, place] for place, voice in enumerate(voices)}}
    ranks = {name: _ranks(joint.question, score, true) for name, score in scores.items()}
    named = {name: np.ones(true.sum(), bool) for name in scores}
    for place, voice in enumerate(voices):
        named[voice.name] = joint.columns[true, place] > log_odds(np.array(FLOOR))
    clipped = np.clip(fused, 1e-9, 1 - 1e-9)
    return {
        "answers": answers,
        "mrr": {name: float((named[name] / rank).sum() / answers) for name, rank in ranks.items()},
        "hits@10": {name: float((named[name] & (rank <= 10)).sum() / answers) for name, rank in ranks.items()},
        "log_loss": float(-np.where(true, np.log(clipped), np.log1p(-clipped)).mean()),
        "mean_probability": float(fused.mean()),
        "true_share": float(true.mean()),
    }


def _ranks(question: npt.NDArray[np.int64], score: Floats, true: npt.NDArray[np.bool_]) -> Floats:
    """float64: realistic filtered rank of each true candidate among those of its question that are not."""
    found = np.empty(int(true.sum()))
    bounds = np.searchsorted(question, question[true], "left"), np.searchsorted(question, question[true], "right")
    for place, (low, high, own) in enumerate(zip(*bounds, score[true], strict=True)):
        rivals = score[low:high][~true[low:high]]
        found[place] = 1 + (rivals > own).sum() + (rivals == own).sum() / 2
    return found
