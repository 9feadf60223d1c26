"""The page of `kgservice evaluate --probe`: models on a graph and on copies of it with other texts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kgservice import pages
from kgservice.evaluation.probe import ORIGINAL, verdicts
from kgservice.evaluation.report.drawing import INK, STYLE, chart, series, svg

if TYPE_CHECKING:
    from markupsafe import Markup


def write_probe(path: Path, *, title: str, probe: Mapping[str, Any]) -> None:
    """Write one self-contained HTML file.

    Args:
        path: the file.
        title: what the page is called.
        probe: what `kgservice.pipeline.probing.probe` gives.
    """
    import matplotlib

    from kgservice import __version__

    copies = (ORIGINAL, *probe["copies"])
    with matplotlib.rc_context(STYLE):
        page = (
            pages.environment(Path(__file__).parent)
            .get_template("probe.html.j2")
            .render(
                title=title,
                probe=probe,
                copies=copies,
                original=ORIGINAL,
                verdicts=verdicts(probe),
                chart=_chart(probe, copies),
                version=__version__,
            )
        )
    path.write_bytes(page.encode("utf-8", "replace"))


def _chart(probe: Mapping[str, Any], copies: tuple[str, ...]) -> Markup:
    """Test MRR by copy, a bar with its interval per model; a line across for a model that reads no text."""
    models = probe["models"]
    reading = [number for number, model in enumerate(models.values()) if model["reads"]]
    figure, axes = chart(7, 3.2)
    width = 0.8 / len(reading)
    told = []
    for number, (name, model) in enumerate(models.items()):
        found = model["copies"]
        if number not in reading:
            axes.axhline(found[ORIGINAL]["mrr"], color=series(number), lw=1.6, ls=(0, (4, 3)))
            told.append(f"{name}: {found[ORIGINAL]['mrr']:.3f} on all")
            continue
        mrr = np.array([found[copy]["mrr"] for copy in copies])
        low, high = np.array([found[copy]["mrr_interval"] for copy in copies]).T
        place = np.arange(len(copies)) + (reading.index(number) - (len(reading) - 1) / 2) * width
        axes.bar(place, mrr, width * 0.9, color=series(number))
        axes.vlines(place, low, high, color=INK, lw=1)
        told.append(f"{name}: " + ", ".join(f"{value:.3f} {copy}" for copy, value in zip(copies, mrr, strict=True)))
    axes.set_xticks(np.arange(len(copies)), copies)
    axes.grid(axis="x", visible=False)
    axes.set_ylabel("test MRR")
    return svg(figure, "probe", f"Bar chart of test MRR by copy. {'; '.join(told)}.")
