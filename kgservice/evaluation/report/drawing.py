"""Figures of matplotlib as inline SVG that takes the page's colours and font."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Placeholders that matplotlib draws with, exchanged for CSS afterwards.
INK, MUTED, LINE = "#020202", "#030303", "#040404"
SERIES = tuple(f"#0101{number:02x}" for number in range(10, 18))
_CSS = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    **{colour: f"var(--c{place})" for place, colour in enumerate(SERIES)},
}
MARKERS = "osD^vP*X"
STYLE: Any = {  # matplotlib types its settings as literals
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # comes with matplotlib; only measures the text, the page's font draws it
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.parse_math": False,
}


def chart(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure in inches with one pair of axes, apart from pyplot and its global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def svg(figure: Figure, name: str, alt: str) -> Markup:
    """The figure as inline SVG that takes the page's colours and font.

    All text drawn inside is the program's own: names that people gave stand in the legend, which the template writes.
    """
    import matplotlib
    from markupsafe import Markup, escape

    matplotlib.rcParams["svg.hashsalt"] = name  # ids inside are hashes: two charts must not share them
    sink = io.StringIO()
    plain = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(sink, format="svg", transparent=True, metadata=plain)
    text = sink.getvalue()
    box = re.search(r'viewBox="[^"]*"', text)
    body = text[text.index(">", text.index("<svg")) + 1 :]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>|<!--.*?-->", "", body, count=1, flags=re.S)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.S)
    body = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", body)
    body = re.sub(r" font-family: [^;\"]*;?", "", body)
    body = re.sub(r"(\d\.\d\d)\d+", r"\1", body)
    body = re.sub(r"\s*\n\s*", " ", body)
    for placeholder, css in _CSS.items():
        body = body.replace(placeholder, css)
    return Markup(f'<svg class="chart" {box[0] if box else ""} role="img" aria-label="{escape(alt)}">{body.strip()}')


def series(number: int) -> str:
    """The colour of the model at a place."""
    return SERIES[number % len(SERIES)]
