"""What is drawn: learning curves, ranks, degrees, reliability, spread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kgservice.evaluation.calibration import Calibration
from kgservice.evaluation.ranking import HITS
from kgservice.evaluation.report.drawing import MARKERS, MUTED, chart, series, svg
from kgservice.evaluation.report.models import ModelReport
from kgservice.graph import KnowledgeGraph

if TYPE_CHECKING:
    from markupsafe import Markup

Floats = npt.NDArray[np.float64]

RANK_EDGES = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000, 1_000_000)


def learning_charts(models: Sequence[ModelReport]) -> list[Markup]:
    """Validation MRR and loss by epoch, one line per model."""
    charts = []
    for key, caption in (("validation", "validation MRR"), ("loss", "training loss")):
        figure, axes = chart(5, 3)
        told = []
        for number, model in enumerate(models):
            points = [(epoch["epoch"], value) for epoch in model.history if (value := epoch.get(key)) is not None]
            if not points:
                continue
            x, y = np.array(points, dtype=np.float64).T
            sparse = len(points) <= 40
            axes.plot(x, y, color=series(number), marker=MARKERS[number % 8] if sparse else None, ms=4, lw=1.6)
            told.append(f"{model.name} from {y[0]:.3g} to {y[-1]:.3g} in {len(model.history)} epochs")
        if not told:
            continue
        axes.set_xlabel("epoch")
        axes.set_ylabel(caption)
        axes.locator_params(axis="x", integer=True)
        if key == "validation":
            axes.set_ylim(0, 1.04 * axes.get_ylim()[1])
        charts.append(svg(figure, key, f"Line chart of {caption} by epoch: {'; '.join(told)}."))
    return charts


def rank_chart(models: Sequence[ModelReport], n: int) -> Markup | None:
    """Share of test questions by rank, in bins of about a third of a decade that end where Hits@k count."""
    tested = [(number, model) for number, model in enumerate(models) if len(model.ranks)]
    if not tested:
        return None
    edges = [edge for edge in RANK_EDGES if edge < n] + [next((edge for edge in RANK_EDGES if edge >= n), n)]
    names = ["1", *(f"{low + 1:,}–{high:,}" for low, high in pairwise(edges))]
    figure, axes = chart(5, 0.6 + 0.32 * len(names) * max(1.0, 0.45 * len(tested)))
    thickness, told = 0.8 / len(tested), []
    for place, (number, model) in enumerate(tested):
        ranks = model.ranks.ranks()
        counts = np.bincount(np.searchsorted(edges, ranks), minlength=len(names))[: len(names)]
        position = np.arange(len(names)) + (place - (len(tested) - 1) / 2) * thickness
        axes.barh(position, 100 * counts / len(ranks), height=thickness * 0.9, color=series(number))
        hits = " and ".join(f"{(ranks <= k).mean():.0%} within {k}" for k in HITS[::2])
        told.append(f"{model.name}: {hits}")
    axes.set_yticks(np.arange(len(names)), names)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("% of test questions")
    axes.set_ylabel("rank of the true answer")
    return svg(figure, "ranks", f"Bar chart of the rank of the true answer. {'; '.join(told)}.")


def degree_chart(graph: KnowledgeGraph) -> Markup | None:
    """How many entities have at least so many statements, both axes logarithmic."""
    degree = graph.degree[graph.degree > 0]
    if not len(degree):
        return None
    value, counts = np.unique(degree, return_counts=True)
    at_least = counts[::-1].cumsum()[::-1]
    kept = np.unique(np.geomspace(1, len(value), 150).astype(int)) - 1
    figure, axes = chart(5, 3.2)
    axes.plot(value[kept], at_least[kept], "o", color=series(0), ms=3.5, alpha=0.85)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(_plain_number())
        axis.set_minor_formatter(lambda *_: "")
    axes.set_xlabel("statements k")
    axes.set_ylabel("entities with at least k statements")
    alt = (
        f"Log-log plot of degrees: median {np.median(degree):,.0f}, at most {degree.max():,} statements on one entity."
    )
    return svg(figure, "degrees", alt)


def _plain_number() -> Callable[[float, float], str]:
    return lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"


def reliability_chart(model: str, what: str, made: Calibration, colour: str) -> Markup | None:
    """What was said against what was true, with 95 % intervals; the axes end where the data end."""
    curve = np.array(made.figures.get("reliability", ()), dtype=np.float64).reshape(-1, 3)
    if not len(curve):
        return None
    said, was, size = curve.T
    low, high = _wilson(was, size)
    reach = max(said.max(), was.max())
    limit = next(limit for limit in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if limit >= min(reach * 1.05, 1.0))
    figure, axes = chart(2.9, 2.7)
    axes.plot([0, limit], [0, limit], color=MUTED, lw=1, ls=(0, (4, 3)))
    axes.vlines(said, low, np.minimum(high, limit), color=colour, lw=1.2, alpha=0.6)
    axes.plot(said, was, "o-", color=colour, ms=4, lw=1.4, clip_on=False)
    ticks = np.linspace(0, limit, 5)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlim(0, limit)
    axes.set_ylim(0, limit)
    axes.set_box_aspect(1)
    axes.set_xlabel("probability given")
    axes.set_ylabel("share true")
    pairs = ", ".join(f"{s:.2g} was {w:.2g}" for s, w in zip(said, was, strict=True))
    return svg(figure, f"{model}-{what}", f"Reliability plot of {model}, {what}: {pairs}.")


def _wilson(share: Floats, size: Floats, z: float = 1.96) -> tuple[Floats, Floats]:
    """The interval of a share by Wilson's score, which stays inside [0, 1]."""
    centre = (share + z * z / (2 * size)) / (1 + z * z / size)
    spread = z * np.sqrt(share * (1 - share) / size + z * z / (4 * size * size)) / (1 + z * z / size)
    return np.clip(centre - spread, 0, 1), np.clip(centre + spread, 0, 1)


def spread_chart(model: ModelReport, colour: str) -> Markup | None:
    """Median and quartiles of the entities' spread, by how many training statements hold them."""
    measured = model.metrics.get("uncertainty") or {}
    bins = measured.get("by_frequency", {})
    if not bins:
        return None
    place = np.arange(len(bins))
    low, middle, high = (np.array([part[key] for part in bins.values()]) for key in ("q25", "median", "q75"))
    figure, axes = chart(3.4, 2.7)
    axes.vlines(place, low, high, color=colour, lw=5, alpha=0.35)
    axes.plot(place, middle, "o-", color=colour, ms=4, lw=1.4)
    axes.set_xticks(place, list(bins))
    axes.set_ylim(0, 1.08 * float(high.max()))
    axes.grid(axis="x", visible=False)
    axes.set_xlabel("training statements of the entity")
    axes.set_ylabel("spread")
    told = ", ".join(f"{name}: {part['median']:.3g}" for name, part in bins.items())
    return svg(figure, f"{model.name}-spread", f"Median spread of entities by training statements: {told}.")
