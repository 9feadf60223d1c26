"""Memory or inference: what models are worth on a graph and on its copies with other texts (see `kgservice.perturbation`).

Where an encoder remembers what names call up, it answers worse when they say nothing, or mislead; where it reads what is
said of them, it does not mind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kgservice.evaluation.intervals import Floats, bootstrap, clusters
from kgservice.evaluation.ranking import Ranks

ORIGINAL = "original"
_WHERE = {
    "virtual-world": "names mislead",
    "anonymised": "names say nothing and descriptions are true",
    "inconsistent": "names are true and descriptions are others'",
    "fully-anonymised": "nothing says anything",
}
Runs = Mapping[str, Sequence[Ranks]]
"""A model's test ranks of each seed, by copy; the same statements in all."""


def model_figures(runs: Runs) -> dict[str, dict[str, Any]]:
    """By copy: MRR and Hits@10 over all seeds, each seed's MRR, an interval over statements, the share of the original's MRR."""
    found: dict[str, dict[str, Any]] = {}
    for copy, ranks in runs.items():
        figures = [each.figures() for each in ranks]
        found[copy] = {
            "mrr": _mean(figures, "mrr"),
            "hits@10": _mean(figures, "hits@10"),
            "mrr_of_seeds": [each["mrr"] for each in figures],
            "mrr_interval": _interval(ranks[0], _gain(ranks)),
        }
    original = found[ORIGINAL]["mrr"]
    return {copy: {**figures, "kept": figures["mrr"] / original} for copy, figures in found.items()}


def gain_figures(runs: Runs, without: Runs) -> dict[str, Any]:
    """What a pretrained encoder adds to one that has read nothing.

    Args:
        runs: of the model with the pretrained encoder.
        without: of the same model with random vectors of words.

    Returns:
        By copy the difference of MRR with its 95 % bootstrap interval over statements, and what is `left` of the original's:
        a share, or None where the encoder adds nothing there that is more than chance.
    """
    found: dict[str, dict[str, Any]] = {}
    for copy, ranks in runs.items():
        gain = _gain(ranks) - _gain(without[copy])
        found[copy] = {"difference": float(gain.mean()), "interval": _interval(ranks[0], gain)}
    original = found[ORIGINAL]
    adds = original["interval"][0] > 0
    return {
        copy: {**gain, "left": gain["difference"] / original["difference"] if adds else None}
        for copy, gain in found.items()
    }


def probe_lines(probe: Mapping[str, Any]) -> list[str]:
    """The figures in Markdown.

    Args:
        probe: what `kgservice.pipeline.probing.probe` gives.
    """
    copies = (ORIGINAL, *probe["copies"])
    lines = [
        "## Memory or inference",
        "",
        "Test MRR on the graph and on copies of it with other texts, each model trained anew on each; in brackets the share "
        "of what it is on the original. A model that reads no text is the same on all.",
        "",
        f"| model | reads | {' | '.join(copies)} |",
        f"|---|---|{'---|' * len(copies)}",
    ]
    for name, model in probe["models"].items():
        cells = [_cell(model["copies"].get(copy), copy) for copy in copies]
        lines.append(f"| `{name}` | {model['reads'] or 'no text'} | {' | '.join(cells)} |")
    for name, gain in probe["gains"].items():
        cells = [f"{gain['copies'][copy]['difference']:+.4f}" for copy in copies]
        lines.append(f"| `{name}` over `{gain['over']}` | | {' | '.join(cells)} |")
    lines += ["", *verdicts(probe), "", "Replaced: " + "; ".join(_replaced(probe["copies"])) + "."]
    return lines


def verdicts(probe: Mapping[str, Any]) -> list[str]:
    """What each model with a pretrained encoder owes to it, and how much of that each copy leaves."""
    told = []
    for name, gain in probe["gains"].items():
        original = gain["copies"][ORIGINAL]
        adds = f"What `{name}` adds to `{gain['over']}`: {_gained(original)}"
        if original["left"] is None:
            told.append(f"{adds}, no more than chance would: there is nothing to part into memory and inference.")
            continue
        parts = [f"{gain['copies'][copy]['left']:.0%} where {where} ({copy})" for copy, where in _WHERE.items()]
        told.append(f"{adds}. Of this is left: {', '.join(parts)}.")
    return told


def _gained(gain: Mapping[str, Any]) -> str:
    low, high = gain["interval"]
    return f"{gain['difference']:+.4f} (95 % interval {low:+.4f} to {high:+.4f})"


def _cell(figures: Mapping[str, Any] | None, copy: str) -> str:
    if figures is None:
        return "–"
    return f"{figures['mrr']:.4f}" + ("" if copy == ORIGINAL else f" ({figures['kept']:.0%})")


def _replaced(copies: Mapping[str, Any]) -> list[str]:
    return [
        f"{copy} " + ", ".join(f"{of['done']:,} of {of['wanted']:,} {what}" for what, of in made["replaced"].items())
        for copy, made in copies.items()
    ]


def _gain(ranks: Sequence[Ranks]) -> Floats:
    """float64 `[t]`: the reciprocal rank of every row, averaged over seeds."""
    mean: Floats = np.mean([1 / each.ranks() for each in ranks], axis=0)
    return mean


def _interval(rows: Ranks, values: Floats) -> list[float]:
    bounds: list[float] = bootstrap(values[:, None], clusters(rows.subject, rows.relation, rows.object))[0].tolist()
    return bounds


def _mean(figures: Sequence[Mapping[str, float]], key: str) -> float:
    return float(np.mean([each[key] for each in figures]))
