"""An audit as one HTML file that loads nothing and runs nothing; plots are SVG and bars that the template writes.

Names are data: the template escapes all of them. The same audit gives the same bytes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kgservice import __version__, pages
from kgservice.audit import Audit
from kgservice.audit.relations import MANY, RelationProfile
from kgservice.audit.structure import Bin
from kgservice.audit.verdicts import SEVERITIES, percent

MEASURES = (
    ("direct", "the triple itself is in training"),
    ("inverse", "reversed under an inverse relation"),
    ("duplicate", "under a duplicate relation"),
    ("symmetric", "reversed under the same relation"),
    ("reversed", "reversed under any relation"),
    ("same_pair", "the pair under another relation"),
    ("implied", "implied by another relation"),
    ("unseen_entities", "an entity is not in training"),
    ("unseen_relations", "the relation is not in training"),
)
"""Fields of `Leakage` that the page draws, in its order."""
ROWS = 500
"""Relations and overlaps listed; all are in the JSON."""
WIDTH, HEIGHT, MARGIN = 640.0, 420.0, 46.0


def render(audit: Audit, title: str) -> str:
    """The page.

    Args:
        title: how the graph is called.
    """
    template = pages.environment(Path(__file__).parent, percent=percent).get_template("audit.html.j2")
    text = template.render(
        title=title,
        audit=audit,
        severities=Counter(flag.severity for flag in audit.flags),
        levels=SEVERITIES,
        measures=MEASURES,
        cardinalities=_cardinalities(audit.relations),
        scatter=_scatter(audit.relations),
        degrees=_bars(audit.degrees.histogram),
        components=_bars(audit.components.histogram),
        rows=ROWS,
        many=MANY,
        version=__version__,
    )
    return text.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate in a name must not lose the page


def _bars(histogram: Sequence[Bin]) -> list[dict[str, Any]]:
    """Bars on a scale of logarithms, so that one of a million is still seen."""
    most = max((bin.count for bin in histogram), default=1)
    return [
        {
            "label": f"{bin.low:,}" if bin.low == bin.high else f"{bin.low:,}–{bin.high:,}",
            "count": bin.count,
            "width": f"{100 * math.log1p(bin.count) / math.log1p(most):.2f}",
        }
        for bin in histogram
        if bin.count
    ]


def _cardinalities(relations: Sequence[RelationProfile]) -> list[tuple[str, int, float]]:
    """(kind, relations, share of all statements)."""
    total = max(sum(relation.statements for relation in relations), 1)
    kinds: dict[str, list[int]] = {kind: [] for kind in ("1-1", "1-N", "N-1", "N-N")}
    for relation in relations:
        kinds[relation.cardinality].append(relation.statements)
    return [(kind, len(members), sum(members) / total) for kind, members in kinds.items()]


def _scatter(relations: Sequence[RelationProfile]) -> dict[str, Any] | None:
    """A point per relation, objects per subject to the right, subjects per object upwards, both logarithmic."""
    if not relations:
        return None
    shown = relations[:ROWS]
    reach = [
        max(2.0, *(getattr(relation, side) for relation in shown)) * 1.15
        for side in ("tails_per_head", "heads_per_tail")
    ]
    span = (WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN)
    low = 1 / 1.15  # so that points at 1 do not lie on the axes

    def place(value: float, axis: int) -> float:
        at = MARGIN + span[axis] * math.log(max(value, 1.0) / low) / math.log(reach[axis] / low)
        return at if axis == 0 else HEIGHT - at

    most = max(relation.statements for relation in shown)
    points = [
        {
            "x": f"{place(relation.tails_per_head, 0):.1f}",
            "y": f"{place(relation.heads_per_tail, 1):.1f}",
            "radius": f"{3 + 9 * math.sqrt(relation.statements / most):.1f}",
            "relation": relation,
        }
        for relation in shown
    ]
    return {
        "points": points,
        "ticks": [
            [{"at": f"{place(tick, axis):.1f}", "label": f"{tick:,}"} for tick in _ticks(reach[axis])]
            for axis in (0, 1)
        ],
        "many": [f"{place(MANY, axis):.1f}" for axis in (0, 1)],
        "box": (f"{MARGIN:g}", f"{WIDTH - MARGIN:g}", f"{MARGIN:g}", f"{HEIGHT - MARGIN:g}"),
        "width": f"{WIDTH:g}",
        "height": f"{HEIGHT:g}",
    }


def _ticks(reach: float) -> list[int]:
    """1, 3, 10, 30, ... up to `reach`; every decade alone where there are many."""
    decades = range(math.floor(math.log10(reach)) + 1)
    ticks = [tick for decade in decades for tick in (10**decade, 3 * 10**decade) if tick <= reach]
    return ticks if len(ticks) <= 8 else [tick for tick in ticks if str(tick)[0] == "1"]
