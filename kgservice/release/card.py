"""The card of a model: what it is, what was measured, by which command and commit. Markdown, generated, never typed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from kgservice.evaluation.calibration import Calibration
from kgservice.evaluation.comparison import part_lines
from kgservice.recipe import Recipe

NUMBERS = 20
"""Relations of the table of missing numbers."""
_FIGURES = (("mrr", "MRR"), ("hits@1", "Hits@1"), ("hits@3", "Hits@3"), ("hits@10", "Hits@10"))
_BASELINES = {"most_frequent": "most frequent answer", "random": "guessing"}
_LEAKS = {
    "pair": "pair linked in training, in either direction",
    "triple": "of these, the same triple, with other qualifiers",
    "relation": "of these, by an inverse or duplicate relation",
    "symmetric": "of these, reversed by the same relation",
}


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
        *_sampled(runs[0]),
        *_interval_lines(runs),
        f"Optimistic and pessimistic test MRR: {_spread(runs, 'test', 'optimistic')}, {_spread(runs, 'test', 'pessimistic')}. "
        f"Held-out test rows with an entity unseen in training: {runs[0]['test']['unseen']['rows']}.",
        "",
        f"Training: {_mean(run['training']['duration_s'] for run in runs):.0f} s, "
        f"best epoch {', '.join(str(run['training']['best_epoch']) for run in runs)} "
        f"of {', '.join(str(len(run['training']['epochs'])) for run in runs)}.",
        *_stages(runs),
        *_parts(runs),
    ]
    lines += _against(runs[0].get("against"))
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
    lines += _numbers(runs[0].get("estimates", {}))
    lines += _types(runs[0].get("types", {}))
    if notes:
        lines += ["", "## Notes", "", notes.strip()]
    if provenance:
        lines += ["", "## Where the numbers come from", ""]
        lines += [f"- {key}: {value}" for key, value in provenance.items()]
    return "\n".join(lines) + "\n"


def _numbers(estimates: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The relations whose numbers are known of most entities."""
    if not estimates:
        return []
    most = sorted(estimates.items(), key=lambda item: (-item[1]["known"], item[0]))[:NUMBERS]
    left = sum(not row["learnt"] for row in estimates.values())
    median = f" At {left} the median is as good, and answers." if left else ""
    lines = [
        "",
        "## Missing numbers",
        "",
        "Mean leave-one-out error of estimates and of the median, a factor where logarithms are fitted; coverage of the "
        f"90 % intervals over five folds; {len(most)} of {len(estimates)} relations, those known of most entities.{median}",
        "",
        "| relation | known | error | of the median | coverage |",
        "|---|---|---|---|---|",
    ]
    for name, row in most:
        errors = [_error(row[key], row["log"]) for key in ("error", "median_error")]
        answers = "" if row["learnt"] else ", by the median"
        lines.append(f"| {name}{answers} | {row['known']:,} | {' | '.join(errors)} | {row['coverage']:.1%} |")
    return lines


def _types(found: Mapping[str, Any]) -> list[str]:
    """How well types are told."""
    if not found:
        return []
    shown = {
        "micro F1": "micro_f1", "macro F1": "macro_f1", "accuracy of the first": "accuracy",
        "balanced accuracy": "balanced_accuracy", "of the most frequent type": "most_frequent_accuracy",
        "ECE": "expected_calibration_error",
    }  # fmt: skip
    return [
        "",
        "## Types of entities",
        "",
        f"A logistic regression per type over entity vectors: {found['types']:,} types, {found['types_left_out']:,} too rare. "
        f"Fitted to {found['fitted']:,} entities with types, measured on {found['measured']:,} others at a probability of 0.5.",
        "",
        f"| {' | '.join(shown)} |",
        f"|{'---|' * len(shown)}",
        f"| {' | '.join(f'{found[key]:.3f}' for key in shown.values())} |",
    ]


def _stages(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What each of two stages is worth by itself."""
    if "stages" not in runs[0]["test"]:
        return []
    found = [run["test"]["stages"]["sample"] for run in runs]
    captions = {"vectors": "vectors alone", "both": "as it answers", "second": "second stage alone, over all entities"}
    lines = [
        "",
        "### By stage",
        "",
        f"On {found[0]['second']['count']:,} questions of the test; a context model's second stage scores names.",
        "",
        f"| | {' | '.join(title for _, title in _FIGURES)} |",
        "|---|---|---|---|---|",
    ]
    for key, caption in captions.items():
        cells = [_of([one[key][figure] for one in found]) for figure, _ in _FIGURES]
        lines.append(f"| {caption} | {' | '.join(cells)} |")
    return lines


def _error(error: float, log: bool) -> str:
    return f"× {math.exp(min(error, 700.0)):.3g}" if log else f"{error:.4g}"


def _ranking_table(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [f"| split | {' | '.join(title for _, title in _FIGURES)} | mean rank |", "|---|---|---|---|---|---|"]
    for split in ("valid", "test"):
        cells = [_spread(runs, split, "realistic", key) for key, _ in _FIGURES]
        rank = _mean(run[split]["filtered"]["realistic"].get("mean_rank", float("nan")) for run in runs)
        rows.append(f"| {split} | {' | '.join(cells)} | {rank:.1f} |")
    for name, caption in _BASELINES.items():
        found = runs[0]["test"].get("baselines", {}).get(name)
        if found and found["count"]:
            cells = [f"{found[key]:.4f}" for key, _ in _FIGURES]
            rows.append(f"| test, {caption} | {' | '.join(cells)} | {found['mean_rank']:.1f} |")
    return rows


def _sampled(run: Mapping[str, Any]) -> list[str]:
    """What stands for the whole test split, where only a part was asked."""
    found = run.get("sample")
    if not found or found["questions"] == found["of"]:
        return []
    return [
        f"**Not the whole test:** a fixed sample of {found['questions']:,} of its {found['of']:,} questions (`--sample`), and as "
        "many of the validation's; filters and candidates are those of the whole.",
        "",
    ]


def _interval_lines(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The test's 95 % intervals by seed; nothing where a former version measured."""
    told = [
        f"{'seed ' + ', '.join(map(str, run['seeds'])) + ': ' if len(runs) > 1 else ''}"
        + ", ".join(f"{title} {_between(run['test']['intervals'][key])}" for key, title in _FIGURES[::3])
        for run in runs
        if run["test"].get("intervals")
    ]
    return [f"95 % bootstrap intervals over test statements: {'; '.join(told)}.", ""] if told else []


def _parts(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Tables of the test taken apart: leaks, classes of relations, frequency of the answer, and spread."""
    lines: list[str] = []
    leakage = runs[0]["test"].get("leakage", {})
    told = [(caption, kind) for kind, caption in _LEAKS.items() if leakage.get(kind, {}).get("statements")]
    if leakage:
        lines += ["", "### What training gives away", ""]
        if not told:
            lines.append("No test statement joins two entities that training links.")
        else:
            lines += ["| leak | statements | MRR of these | MRR without | most frequent answer, without |"]
            lines += ["|---|---|---|---|---|"]
        for caption, kind in told:
            count = f"{leakage[kind]['statements']:,} of {leakage[kind]['of']:,}"
            those, others = (_part(runs, "leakage", kind, part) for part in ("leaking", "without"))
            lines.append(f"| {caption} | {count} | {those[1]} | {others[1]} | {others[2]} |")
    classes = runs[0]["test"].get("by_class", {})
    if classes:
        lines += [
            "",
            "### By relation class",
            "",
            "Heads and tails per relation in training, many from 1.5 on average.",
            "",
        ]
        lines += [
            "| class | questions | MRR | head missing | tail missing | most frequent answer |",
            "|---|---|---|---|---|---|",
        ]
        for name in classes:
            both, head, tail = (_part(runs, "by_class", name, side) for side in ("both", "head", "tail"))
            lines.append(f"| {name} | {both[0]} | {both[1]} | {head[1]} | {tail[1]} | {both[2]} |")
    bins = {name: part for name, part in runs[0]["test"].get("by_frequency", {}).items() if part["count"]}
    if bins:
        lines += ["", "### By frequency of the answer", "", "Training statements that hold the entity asked for.", ""]
        lines += ["| statements | questions | MRR | most frequent answer |", "|---|---|---|---|"]
        lines += [f"| {name} | {' | '.join(_part(runs, 'by_frequency', name))} |" for name in bins]
    spreads = [run["uncertainty"] for run in runs if run.get("uncertainty")]
    if spreads:
        rho = [spread["spearman"] for spread in spreads if spread["spearman"] is not None]
        shown = f"{_of(rho)} over {spreads[0]['entities']:,} entities" if rho else "none, as one of them never varies"
        lines += [
            "",
            "### Uncertainty",
            "",
            f"Spearman correlation of an entity's spread and its frequency: {shown}.",
            "",
        ]
        lines += ["| statements | entities | mean spread |", "|---|---|---|"]
        for name, part in spreads[0]["by_frequency"].items():
            means = [spread["by_frequency"][name]["mean"] for spread in spreads]
            lines.append(f"| {name} | {part['count']:,} | {_of(means)} |")
    return lines


def _against(found: Mapping[str, Any] | None) -> list[str]:
    """Where the first seed's ranks are better than other ranks of the same statements, and where worse."""
    if not found:
        return []
    low, high = found["interval"]
    return [
        "",
        f"### Beside {found['name']}",
        "",
        f"First seed: MRR {found['ours']['mrr']:.4f}, theirs {found['theirs']['mrr']:.4f}; difference "
        f"{found['difference']:+.4f} ({low:+.4f} to {high:+.4f}); of {found['rows']:,} ranks {found['better']:,} better, "
        f"{found['worse']:,} worse. Where most is won and lost:",
        "",
        *part_lines(found["parts"]),
    ]


def _part(runs: Sequence[Mapping[str, Any]], *path: str) -> tuple[str, str, str]:
    """How many questions, MRR, and MRR of the most frequent answer, of one part of the test."""
    parts = []
    for run in runs:
        part = run["test"]
        for key in path:
            part = part.get(key, {})
        parts.append(part)
    if not parts[0].get("count"):
        return "0", "–", "–"
    mrr = _of([part["mrr"] for part in parts])
    if len(parts) == 1:
        mrr += f" ({_between(parts[0]['mrr_interval'])})"
    return f"{parts[0]['count']:,}", mrr, f"{parts[0]['baseline_mrr']['most_frequent']:.4f}"


def _between(interval: Sequence[float]) -> str:
    return f"{interval[0]:.4f}–{interval[1]:.4f}"


def _spread(runs: Sequence[Mapping[str, Any]], split: str, kind: str, key: str = "mrr") -> str:
    return _of([run[split]["filtered"][kind].get(key, float("nan")) for run in runs])


def _of(values: Sequence[float]) -> str:
    """Mean, and standard deviation where there are several."""
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{statistics.fmean(values):.4f} ± {statistics.stdev(values):.4f}"


def _mean(values: Any) -> float:
    return statistics.fmean(values)
