"""The card of a model: what it is, what was measured, by which command and commit. Markdown, generated, never typed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from kgservice.evaluation.calibration import Calibration
from kgservice.recipe import Recipe

_FIGURES = (("mrr", "MRR"), ("hits@1", "Hits@1"), ("hits@3", "Hits@3"), ("hits@10", "Hits@10"))


def model_card(
    recipe: Recipe,
    model: str,
    runs: Sequence[Mapping[str, Any]],
    *,
    calibrations: Mapping[str, Calibration] | None = None,
    provenance: Mapping[str, Any] | None = None,
    notes: str = "",
) -> str:
    """A card from the metrics of one or more seeds.

    Args:
        recipe: holds the model's settings.
        model: its name in the recipe.
        runs: `metrics.json` of every seed.
        calibrations: of the sealed model.
        provenance: command, commit, machine.
        notes: what a reader must know beside the numbers.
    """
    settings = recipe.models[model]
    graph = runs[0]["graph"]
    seeds = [seed for run in runs for seed in run["seeds"]]
    lines = [
        f"# {recipe.name}: {model}",
        "",
        recipe.description,
        "",
        f"`{settings.scorer}`, {settings.width} reals per entity, {runs[0]['parameters']:,} weights, on "
        f"{recipe.graph.dataset or 'files'}: {graph['entities']:,} entities, {graph['relations']:,} relations, "
        f"{graph['train']:,} / {graph['valid']:,} / {graph['test']:,} statements.",
        "",
        "## Link prediction",
        "",
        "Filtered by train, validation and test; all entities are candidates; realistic (mean) rank of ties; head and tail "
        f"averaged; {'seeds' if len(seeds) > 1 else 'seed'} {', '.join(map(str, seeds))}.",
        "",
        *_ranking_table(runs),
        "",
        f"Optimistic and pessimistic test MRR: {_spread(runs, 'test', 'optimistic')}, {_spread(runs, 'test', 'pessimistic')}. "
        f"Held-out test rows with an entity unseen in training: {runs[0]['test']['unseen']['rows']}.",
        "",
        f"Training: {_mean(run['training']['duration_s'] for run in runs):.0f} s, "
        f"best epoch {', '.join(str(run['training']['best_epoch']) for run in runs)} "
        f"of {', '.join(str(len(run['training']['epochs'])) for run in runs)}.",
    ]
    graded = [run["classification"] for run in runs if run.get("classification")]
    if graded:
        lines += ["", "## Triple classification", "", "On the test split's verified negatives.", ""]
        lines += ["| accuracy | F1 | ECE | Brier |", "|---|---|---|---|"]
        cells = [_of([grade[key] for grade in graded]) for key in ("accuracy", "f1", "ece", "brier")]
        lines += [f"| {' | '.join(cells)} |"]
    if calibrations:
        lines += ["", "## Calibration", "", "Measured out of fold.", ""]
        lines += ["| of | method | population | ECE | Brier |", "|---|---|---|---|---|"]
        for what, made in calibrations.items():
            measured = f"{made.figures['ece']:.3f} | {made.figures['brier']:.3f}"
            lines.append(f"| {what} | {made.method} | {made.population} | {measured} |")
    if notes:
        lines += ["", "## Notes", "", notes.strip()]
    if provenance:
        lines += ["", "## Where the numbers come from", ""]
        lines += [f"- {key}: {value}" for key, value in provenance.items()]
    return "\n".join(lines) + "\n"


def _ranking_table(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [f"| split | {' | '.join(title for _, title in _FIGURES)} | mean rank |", "|---|---|---|---|---|---|"]
    for split in ("valid", "test"):
        cells = [_spread(runs, split, "realistic", key) for key, _ in _FIGURES]
        rank = _mean(run[split]["filtered"]["realistic"].get("mean_rank", float("nan")) for run in runs)
        rows.append(f"| {split} | {' | '.join(cells)} | {rank:.1f} |")
    return rows


def _spread(runs: Sequence[Mapping[str, Any]], split: str, kind: str, key: str = "mrr") -> str:
    return _of([run[split]["filtered"][kind].get(key, float("nan")) for run in runs])


def _of(values: Sequence[float]) -> str:
    """Mean, and standard deviation where there are several."""
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{statistics.fmean(values):.4f} ± {statistics.stdev(values):.4f}"


def _mean(values: Any) -> float:
    return statistics.fmean(values)
