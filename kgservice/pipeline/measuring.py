"""What a trained model is worth: index, ranks, calibration, estimates of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kgservice import index as indexes
from kgservice.encoders import open_encoder
from kgservice.encoders.describing import described, described_types
from kgservice.evaluation.breakdowns import breakdowns, uncertainty
from kgservice.evaluation.calibration import Calibration
from kgservice.evaluation.populations import calibrate_classification, calibrate_completion, grade
from kgservice.evaluation.ranking import Ranks, rank, sample
from kgservice.graph import KnowledgeGraph
from kgservice.graph.questions import Level
from kgservice.graph.statements import Split, StatementTable
from kgservice.heads.estimates import Estimates
from kgservice.heads.types import Parts, TypeHead
from kgservice.heads.zero_shot import TEMPLATE, ZeroShot, read
from kgservice.index import Index
from kgservice.pipeline.stages import stage
from kgservice.query import QueryBatch, Slot
from kgservice.recipe import ModelSettings, Recipe
from kgservice.resources import home
from kgservice.scorers.base import VectorScorer
from kgservice.scorers.stages import Staged
from kgservice.training.loop import History

RECALL_QUESTIONS = 500
STAGE_STATEMENTS = 100
"""On which a second stage scores all entities: it is made for few."""
STAGE_SCORES = 8_000_000
"""That it gives for the whole test, where they are no more."""


@dataclass(frozen=True)
class TrainedModel:
    """A model after training and measuring, before it is sealed.

    Attributes:
        name, settings: as in the recipe.
        scorer: with its best weights.
        history: of the training.
        index: over the entity vectors.
        ranks: of the test split.
        metrics: everything measured, as written to `metrics.json`.
        calibrations: by "classification" and by slot.
        estimates: of missing numbers.
        type_head: tells which types an entity has.
        zero_shot: tells types by their texts.
    """

    name: str
    settings: ModelSettings
    scorer: VectorScorer
    history: History
    index: Index
    ranks: Ranks
    metrics: Mapping[str, Any]
    calibrations: Mapping[str, Calibration]
    estimates: Estimates
    type_head: TypeHead
    zero_shot: ZeroShot

    @property
    def validation_mrr(self) -> float:
        """What models are ordered by."""
        return float(self.metrics["valid"]["filtered"]["realistic"].get("mrr", 0.0))


def measured(
    settings: ModelSettings,
    name: str,
    scorer: VectorScorer,
    history: History,
    graph: KnowledgeGraph,
    recipe: Recipe,
    origin: Mapping[str, Any],
    questions: int | None = None,
) -> TrainedModel:
    """Index, rank and calibrate.

    Args:
        settings, name, scorer, history, graph, recipe: what was trained, and on what.
        origin: goes into the metrics of the training.
        questions: of validation and test each at most, see `sample`; by default all. Filters and candidates stay the same.
    """
    level = recipe.graph.filter
    held = {split: graph.statements.in_split(split) for split in (Split.VALID, Split.TEST)}
    asked = held if questions is None else {split: sample(table, questions) for split, table in held.items()}
    scorer.to("cpu")
    with stage(f"index {name}"):
        index, index_figures = build_index(scorer, settings.index, graph)
    with stage(f"evaluate {name}"):
        staged = scorer if scorer.second is None else Staged(scorer, graph, level)
        valid, test = (rank(staged, graph, table, level=level) for table in asked.values())
        qualified = _qualified(scorer, graph, asked[Split.TEST], test, level)
        parts, spread = breakdowns(test, graph, asked[Split.TEST]), uncertainty(scorer, graph)
    with stage(f"calibrate {name}"):
        calibrated = calibrate(scorer, index, graph, settings)
    with stage(f"estimates {name}"):
        vectors = scorer.entity_vectors().detach().numpy()
        estimates, numbers = Estimates.fit(graph, vectors)
    with stage(f"types {name}"):
        types: dict[str, Any] = {}
        type_head, zero_shot = TypeHead.none(vectors.shape[1]), ZeroShot.none()
        if not scorer.reads_types:
            type_head, types = TypeHead.fit(vectors, graph.types.of_entity, len(graph.types))
            if types and recipe.search.encoder != "none":
                zero_shot, unseen = tell_by_text(graph, vectors, recipe.search.encoder)
                types = {**types, "unseen": unseen}
    metrics = {
        "valid": valid.report(graph),
        "test": {**test.report(graph), **parts, **qualified, **_stages(scorer, graph, asked[Split.TEST], level)},
        **({} if questions is None else {"sample": {"questions": len(test), "of": 2 * len(held[Split.TEST])}}),
        **({"uncertainty": spread} if spread else {}),
        "seeds": [settings.training.seed],
        "training": {**asdict(history), "duration_s": history.duration_s, **origin},
        "index": index_figures,
        "classification": grade_classification(scorer, graph, calibrated.get("classification")),
        "estimates": {graph.relations.name(relation): found for relation, found in numbers.items()},
        "types": types,
        "reals_per_entity": vectors.shape[1],
        "parameters": sum(parameter.numel() for parameter in scorer.parameters()),
        "graph": {"content_hash": graph.content_hash, **graph.counts()},
    }
    return TrainedModel(
        name, settings, scorer, history, index, test, metrics, calibrated, estimates, type_head, zero_shot
    )


def _stages(scorer: VectorScorer, graph: KnowledgeGraph, table: StatementTable, level: Level) -> dict[str, Any]:
    """Where there is a second stage: the ranks by vectors alone, and by the second stage alone on as many as it can."""
    second = scorer.second
    if second is None:
        return {}
    some = table if 2 * len(table) * graph.n <= STAGE_SCORES else sample(table, 2 * STAGE_STATEMENTS)
    return {
        "stages": {
            "vectors": rank(scorer, graph, table, level=level).figures(),
            "sample": {
                "vectors": rank(scorer, graph, some, level=level).figures(),
                "both": rank(Staged(scorer, graph, level), graph, some, level=level).figures(),
                "second": rank(second, graph, some, level=level).figures(),
            },
        }
    }


def tell_by_text(
    graph: KnowledgeGraph, vectors: npt.NDArray[np.float32], encoder: str, parts: Parts | None = None
) -> tuple[ZeroShot, dict[str, Any]]:
    """What tells types by their texts, and what it is worth; see `ZeroShot.fit`."""
    opened = open_encoder(encoder, home() / "encoded")
    classes = read(opened, described_types(graph, TEMPLATE))
    return ZeroShot.fit(
        vectors,
        graph.types.of_entity,
        classes,
        lambda entities: read(opened, described(graph, TEMPLATE, entities=entities)),
        encoder,
        parts,
    )


def _qualified(
    scorer: VectorScorer, graph: KnowledgeGraph, table: StatementTable, test: Ranks, level: Level
) -> dict[str, Any]:
    """Where statements have qualifiers: ranks by either filter, how much was cut, and the ranks of qualifiers' values."""
    if not len(graph.statements.qualifier_relation):
        return {}
    other: Level = "triple" if level == "statement" else "statement"
    figures = {level: test.figures(), other: rank(scorer, graph, table, level=other).figures()}
    pairs = np.diff(graph.statements.qualifier_offset)
    reads = scorer.reads or 0
    found: dict[str, Any] = {
        "filter": level,
        "by_filter": figures,
        "qualifiers": {
            "read": reads,
            "pairs": int(pairs.sum()),
            "cut_pairs": int(np.maximum(pairs - reads, 0).sum()),
            "cut_statements": int((pairs > reads).sum()),
        },
    }
    if Slot.QUALIFIER in scorer.slots:
        found["values"] = rank(scorer, graph, table, level=level, slots=(Slot.QUALIFIER,)).figures()
    return found


def build_index(scorer: VectorScorer, spec: str, graph: KnowledgeGraph) -> tuple[Index, dict[str, Any]]:
    """The index that a recipe asks for, and its recall against the exhaustive search on held-out questions."""
    vectors = scorer.entity_vectors().detach()
    index = indexes.build(spec, vectors, scorer.metric)
    figures: dict[str, Any] = {"spec": spec, "exact": index.exact, "recall@10": 1.0}
    if not index.exact:
        table = graph.statements.in_split(Split.VALID)
        table = table if len(table) else graph.statements
        chosen = np.random.default_rng(0).permutation(len(table))[:RECALL_QUESTIONS]
        queries = QueryBatch.objects(table.subject[chosen], table.relation[chosen])
        oracle = indexes.build("exact", vectors, scorer.metric)
        figures["recall@10"] = indexes.recall(index, oracle, scorer.query_vectors(queries).detach(), 10)
        figures["questions"] = len(chosen)
    return index, figures


def calibrate(
    scorer: VectorScorer, index: Index, graph: KnowledgeGraph, settings: ModelSettings
) -> dict[str, Calibration]:
    """Every calibration that the validation split allows, by "classification" and by slot."""
    wanted = settings.calibration
    if wanted.method == "none":
        return {}
    relations = indexes.ExactIndex(scorer.relation_vectors().detach(), scorer.relation_metric)
    made = {
        "classification": calibrate_classification(
            scorer, graph, method=wanted.method, limit=wanted.limit, precision=wanted.precision
        ),
        **{
            slot.value: calibrate_completion(
                scorer,
                relations if slot is Slot.RELATION else index,
                graph,
                slot,
                method=wanted.method,
                width=wanted.width,
                limit=wanted.limit,
                precision=wanted.precision,
            )
            for slot in Slot
        },
    }
    return {what: calibration for what, calibration in made.items() if calibration is not None}


def grade_classification(
    scorer: VectorScorer, graph: KnowledgeGraph, calibration: Calibration | None
) -> dict[str, Any] | None:
    """A calibration's figures on the test split's verified negatives, where the data set has some."""
    measured = grade(scorer, graph, calibration, Split.TEST) if calibration else None
    if measured:
        measured["relations"] = [
            {**row, "relation": graph.relations.name(row["relation"])} for row in measured["relations"]
        ]
    return measured
