"""One HTML file that shows a release to people: figures, curves, reliability, and a map of what was learnt.

The file loads nothing and runs nothing. Charts are inline SVG whose colours are CSS variables, so that they follow the
reader's light or dark theme; bars and the map are written by the template, so that their labels stay text. Labels are
data: the template escapes all of them. The same input gives the same bytes.
"""

from __future__ import annotations

import io
import math
import platform
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kgservice import __version__
from kgservice.evaluation.calibration import Calibration
from kgservice.evaluation.ranking import HITS, SIDES, Ranks
from kgservice.graph import KnowledgeGraph
from kgservice.names import Names
from kgservice.recipe import ModelSettings
from kgservice.statements import Split
from kgservice.texts import Texts
from kgservice.vocabulary import Vocabulary

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

MAP_POINTS = 2500
MAP_PCA = 50
MAP_WIDTH = 1000
MAP_FONT = 15
COLOURED_TYPES = 9
"""As many hues as the page's palette tells apart; further types share the grey."""
_REST = ("other types", "no type stated")
LABELS_PER_TYPE = 4
BARS = 24
"""Relations or types drawn; the rest goes into a table that unfolds."""
FEW = 5
"""Test questions below which a relation's MRR is chance rather than a finding."""
RANK_EDGES = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000, 1_000_000)
LIBRARIES = ("numpy", "torch", "faiss-cpu", "faiss-gpu", "pyarrow", "polars", "scikit-learn", "matplotlib", "jinja2")

# Placeholders that matplotlib draws with, exchanged for CSS afterwards.
_INK, _MUTED, _LINE = "#020202", "#030303", "#040404"
_SERIES = tuple(f"#0101{number:02x}" for number in range(10, 18))
_CSS = {
    _INK: "currentColor",
    _MUTED: "var(--muted)",
    _LINE: "var(--line)",
    **{colour: f"var(--c{place})" for place, colour in enumerate(_SERIES)},
}
_MARKERS = "osD^vP*X"
_STYLE: Any = {  # matplotlib types its settings as literals
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # comes with matplotlib; only measures the text, the page's font draws it
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "text.parse_math": False,
}


@dataclass(frozen=True)
class ModelReport:
    """The measured parts of one model.

    Attributes:
        name, settings: as in the recipe.
        history: one row per epoch: `epoch`, `loss`, `duration_s`, `validation` (None where none was made).
        ranks: of the test split.
        metrics: everything measured, as in `metrics.json`.
        calibrations: by "classification" and by slot.
        entity_vectors: float32 `[n, d]`.
    """

    name: str
    settings: ModelSettings
    history: Sequence[Mapping[str, float | None]]
    ranks: Ranks
    metrics: Mapping[str, Any]
    calibrations: Mapping[str, Calibration]
    entity_vectors: npt.NDArray[np.float32]


def write_report(
    path: Path, *, title: str, graph: KnowledgeGraph, models: Sequence[ModelReport], details: Mapping[str, str]
) -> None:
    """Write one self-contained HTML file.

    Args:
        path: the file.
        title: what the page is called.
        graph: what was learnt.
        models: the best first: the map and the order of relations are the first one's.
        details: facts to state beside it, such as recipe, graph hash, commit, licence.
    """
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        page = (
            _environment()
            .get_template("report.html.j2")
            .render(
                title=title,
                facts={**_provenance(graph), **details},
                versions=_versions(),
                counts=graph.counts(),
                models=[_model_view(model, _series(number)) for number, model in enumerate(models)],
                learning=_learning_charts(models),
                rank_chart=_rank_chart(models, graph.n),
                relations=_relation_rows(graph, models),
                few=FEW,
                bars=BARS,
                degrees=_degree_chart(graph),
                statements=_statement_rows(graph),
                types=_type_rows(graph),
                typed=int(np.count_nonzero(graph.types.of_entity.lengths)),
                map=_map(graph, models[0]) if models else None,
                settings=_settings_table(models),
            )
        )
    path.write_bytes(page.encode("utf-8", "replace"))  # a lone surrogate in a label must not lose the report


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = _figure_text
    environment.filters["count"] = lambda value: f"{value:,}"
    return environment


def _figure_text(value: float | None, places: int = 3) -> str:
    """A number as a table shows it; a dash where nothing was measured."""
    return "–" if value is None or not math.isfinite(value) else f"{value:,.{places}f}"


# Names and tables


def _labels(texts: Texts, vocabulary: Vocabulary, ids: npt.ArrayLike, graph: KnowledgeGraph) -> list[str]:
    """A label for each id, else its name, shortened by a prefix where one fits."""
    short = Names.entities(vocabulary, graph.prefixes, "").short
    ids = np.asarray(ids, dtype=np.int64)
    named = zip(texts.labels(ids), vocabulary.names_of(ids), strict=True)
    return [_cut(label or short(name), 160) for label, name in named]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _provenance(graph: KnowledgeGraph) -> dict[str, str]:
    facts = {name: value for name, value in graph.provenance.items() if isinstance(value, str)}
    return {**facts, "graph content": graph.content_hash[:12]}


def _versions() -> dict[str, str]:
    found = {"kgservice": __version__, "Python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _model_view(model: ModelReport, colour: str) -> dict[str, Any]:
    ranks = model.ranks
    rows = [("both sides", ranks.figures(), "main")]
    if len(ranks):
        rows += [(kind, ranks.figures(kind), "tie") for kind in ("optimistic", "pessimistic")]
        rows += [(f"{side} missing", ranks.where(ranks.side == side).figures(), "side") for side in SIDES.values()]
    unseen = int(ranks.unseen.sum())
    if unseen:
        rows.append(("seen entities only", ranks.where(~ranks.unseen).figures(), "side"))
    validation: Any = model.metrics
    for key in ("valid", "filtered", "realistic", "mrr"):
        validation = validation.get(key, {}) if isinstance(validation, Mapping) else {}
    return {
        "name": model.name,
        "scorer": model.settings.scorer,
        "rows": rows,
        "unseen": unseen,
        "validation": validation if isinstance(validation, float) else None,
        "epochs": len(model.history),
        "duration_s": sum(epoch.get("duration_s") or 0.0 for epoch in model.history),
        "reals": model.entity_vectors.shape[1],
        "calibrations": [
            {"what": what, "made": made, "chart": chart}
            for what, made in model.calibrations.items()
            if (chart := _reliability_chart(model.name, what, made, colour)) is not None
        ],
    }


def _settings_table(models: Sequence[ModelReport]) -> list[tuple[str, list[str]]]:
    columns = [dict(_flat(model.settings.model_dump(mode="json"))) for model in models]
    return [(key, [str(column.get(key, "–")) for column in columns]) for key in (columns[0] if columns else {})]


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, ", ".join(map(str, value)) if isinstance(value, list) else value


def _relation_rows(graph: KnowledgeGraph, models: Sequence[ModelReport]) -> dict[str, Any]:
    """MRR of each relation and model, best first by the first model; `shown` are those to draw."""
    tested = [model for model in models if len(model.ranks)]
    if not tested:
        return {"all": [], "shown": [], "middle": 0}
    ids = np.unique(np.concatenate([model.ranks.relation for model in tested]))
    columns = []
    for model in models:
        counts = np.bincount(model.ranks.relation, minlength=graph.r)[ids]
        totals = np.bincount(model.ranks.relation, weights=1.0 / model.ranks.ranks(), minlength=graph.r)[ids]
        columns.append(np.where(counts > 0, totals / np.maximum(counts, 1), np.nan))
    mrr = np.stack(columns, axis=1)
    first = models.index(tested[0])
    counts = np.bincount(tested[0].ranks.relation, minlength=graph.r)[ids]
    labels = _labels(graph.relation_texts, graph.relations, ids, graph)
    order = np.lexsort((ids, -counts, -mrr[:, first]))
    rows = [{"label": labels[i], "count": int(counts[i]), "mrr": mrr[i].tolist()} for i in order]
    shown = [row for row in rows if row["count"] >= FEW] or rows
    half = BARS // 2 if len(shown) > BARS else len(shown)
    return {"all": rows, "shown": shown[:half] + shown[max(half, len(shown) - half) :], "middle": half}


def _statement_rows(graph: KnowledgeGraph) -> list[dict[str, Any]]:
    """Statements of each relation and split, most first; a relation without any is left out."""
    table = graph.statements
    counts = np.zeros((graph.r, len(Split)), np.int64)
    np.add.at(counts, (table.relation, table.split), 1)
    total = counts.sum(axis=1)
    ids = np.lexsort((np.arange(graph.r), -total))[: np.count_nonzero(total)]
    labels = _labels(graph.relation_texts, graph.relations, ids, graph)
    splits = [split for split in Split if counts[:, split].any()]
    return [
        {
            "label": label,
            "count": int(total[i]),
            "note": ", ".join(f"{counts[i, split]:,} {split.name.lower()}" for split in splits),
        }
        for label, i in zip(labels, ids.tolist(), strict=True)
    ]


def _type_rows(graph: KnowledgeGraph) -> list[dict[str, Any]]:
    sizes = graph.types.members.lengths if len(graph.types) else np.zeros(0, np.int64)
    ids = np.lexsort((np.arange(len(sizes)), -sizes))
    labels = _labels(graph.types.texts, graph.types.vocabulary, ids, graph) if len(ids) else []
    return [{"label": label, "count": int(sizes[i]), "note": ""} for label, i in zip(labels, ids.tolist(), strict=True)]


# Charts


def _chart(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure in inches with one pair of axes, apart from pyplot and its global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Figure, name: str, alt: str) -> Markup:
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


def _learning_charts(models: Sequence[ModelReport]) -> list[Markup]:
    """Validation MRR and loss by epoch, one line per model."""
    charts = []
    for key, caption in (("validation", "validation MRR"), ("loss", "training loss")):
        figure, axes = _chart(5, 3)
        told = []
        for number, model in enumerate(models):
            points = [(epoch["epoch"], value) for epoch in model.history if (value := epoch.get(key)) is not None]
            if not points:
                continue
            x, y = np.array(points, dtype=np.float64).T
            sparse = len(points) <= 40
            axes.plot(x, y, color=_series(number), marker=_MARKERS[number % 8] if sparse else None, ms=4, lw=1.6)
            told.append(f"{model.name} from {y[0]:.3g} to {y[-1]:.3g} in {len(model.history)} epochs")
        if not told:
            continue
        axes.set_xlabel("epoch")
        axes.set_ylabel(caption)
        axes.locator_params(axis="x", integer=True)
        if key == "validation":
            axes.set_ylim(0, 1.04 * axes.get_ylim()[1])
        charts.append(_svg(figure, key, f"Line chart of {caption} by epoch: {'; '.join(told)}."))
    return charts


def _series(number: int) -> str:
    return _SERIES[number % len(_SERIES)]


def _rank_chart(models: Sequence[ModelReport], n: int) -> Markup | None:
    """Share of test questions by rank, in bins of about a third of a decade that end where Hits@k count."""
    tested = [(number, model) for number, model in enumerate(models) if len(model.ranks)]
    if not tested:
        return None
    edges = [edge for edge in RANK_EDGES if edge < n] + [next((edge for edge in RANK_EDGES if edge >= n), n)]
    names = ["1", *(f"{low + 1:,}–{high:,}" for low, high in pairwise(edges))]
    figure, axes = _chart(5, 0.6 + 0.32 * len(names) * max(1.0, 0.45 * len(tested)))
    thickness, told = 0.8 / len(tested), []
    for place, (number, model) in enumerate(tested):
        ranks = model.ranks.ranks()
        counts = np.bincount(np.searchsorted(edges, ranks), minlength=len(names))[: len(names)]
        position = np.arange(len(names)) + (place - (len(tested) - 1) / 2) * thickness
        axes.barh(position, 100 * counts / len(ranks), height=thickness * 0.9, color=_series(number))
        hits = " and ".join(f"{(ranks <= k).mean():.0%} within {k}" for k in HITS[::2])
        told.append(f"{model.name}: {hits}")
    axes.set_yticks(np.arange(len(names)), names)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("% of test questions")
    axes.set_ylabel("rank of the true answer")
    return _svg(figure, "ranks", f"Bar chart of the rank of the true answer. {'; '.join(told)}.")


def _degree_chart(graph: KnowledgeGraph) -> Markup | None:
    """How many entities have at least so many statements, both axes logarithmic."""
    degree = graph.degree[graph.degree > 0]
    if not len(degree):
        return None
    value, counts = np.unique(degree, return_counts=True)
    at_least = counts[::-1].cumsum()[::-1]
    kept = np.unique(np.geomspace(1, len(value), 150).astype(int)) - 1
    figure, axes = _chart(5, 3.2)
    axes.plot(value[kept], at_least[kept], "o", color=_series(0), ms=3.5, alpha=0.85)
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
    return _svg(figure, "degrees", alt)


def _plain_number() -> Callable[[float, float], str]:
    return lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _reliability_chart(model: str, what: str, made: Calibration, colour: str) -> Markup | None:
    """What was said against what was true, with 95 % intervals; the axes end where the data end."""
    curve = np.array(made.figures.get("reliability", ()), dtype=np.float64).reshape(-1, 3)
    if not len(curve):
        return None
    said, was, size = curve.T
    low, high = _wilson(was, size)
    reach = max(said.max(), was.max())
    limit = next(limit for limit in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if limit >= min(reach * 1.05, 1.0))
    figure, axes = _chart(2.9, 2.7)
    axes.plot([0, limit], [0, limit], color=_MUTED, lw=1, ls=(0, (4, 3)))
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
    return _svg(figure, f"{model}-{what}", f"Reliability plot of {model}, {what}: {pairs}.")


def _wilson(share: Floats, size: Floats, z: float = 1.96) -> tuple[Floats, Floats]:
    """The interval of a share by Wilson's score, which stays inside [0, 1]."""
    centre = (share + z * z / (2 * size)) / (1 + z * z / size)
    spread = z * np.sqrt(share * (1 - share) / size + z * z / (4 * size * size)) / (1 + z * z / size)
    return np.clip(centre - spread, 0, 1), np.clip(centre + spread, 0, 1)


# Map


def _map(graph: KnowledgeGraph, model: ModelReport) -> dict[str, Any] | None:
    """The entities of highest degree as points of a plane, grouped by type, with labels where they fit."""
    entities = np.lexsort((np.arange(graph.n), -graph.degree))[:MAP_POINTS]
    vectors = np.asarray(model.entity_vectors, dtype=np.float64)[entities]
    if not np.isfinite(vectors).all() or len(entities) < 3:
        return None
    plane = _project(vectors)
    if plane is None:
        return None
    span = np.ptp(plane, axis=0)
    height = int(np.clip(MAP_WIDTH * span[1] / max(span[0], 1e-12), 600, 1000))
    scale = min((MAP_WIDTH - 40) / max(span[0], 1e-12), (height - 40) / max(span[1], 1e-12))
    xy = (plane - plane.min(axis=0) - span / 2) * scale + [MAP_WIDTH / 2, height / 2]

    names = _labels(graph.texts, graph.entities, entities, graph)
    has_label = np.array([label is not None for label in graph.texts.labels(entities)])
    group, captions = _map_groups(graph, entities)
    points: list[list[dict[str, Any]]] = [[] for _ in captions]
    for place, (x, y) in enumerate(xy.tolist()):
        point = {"x": f"{x:.1f}", "y": f"{y:.1f}", "label": names[place], "degree": int(graph.degree[entities[place]])}
        points[group[place]].append(point)
    hues = len(captions) - len(_REST) if len(captions) > 1 else 1
    groups = [
        {"label": label, "points": part, "hue": number < hues}
        for number, (label, part) in enumerate(zip(captions, points, strict=True))
    ]
    worth_naming = has_label if has_label.any() else ~has_label
    labels = _map_labels(xy, names, np.where(worth_naming, group, -1), len(captions))
    return {"model": model.name, "height": height, "groups": groups, "labels": labels, "shown": len(entities)}


def _project(vectors: Floats) -> Floats | None:
    """float64 `[m, 2]`: principal components, then t-SNE; None where all vectors are alike."""
    centred = vectors - vectors.mean(axis=0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    if not size[0] > 1e-9:
        return None
    components = left[:, :MAP_PCA] * size[:MAP_PCA]
    plane = np.zeros((len(vectors), 2))
    plane[:, : components.shape[1]] = components[:, :2]
    if len(vectors) < 10:  # too few neighbours for t-SNE to say more than the components do
        return plane
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1):  # sums in one order: the same picture every time
        model = TSNE(
            init=(plane / plane[:, 0].std() * 1e-4).astype(np.float32),
            perplexity=min(30.0, (len(vectors) - 1) / 3),
            learning_rate="auto",
            random_state=0,
            n_jobs=1,
        )
        return np.asarray(model.fit_transform(components.astype(np.float32)), dtype=np.float64)


def _map_groups(graph: KnowledgeGraph, entities: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """The group of each entity and the captions: the commonest types, then other types, then none.

    An entity of many types takes the commonest that not most entities share: a class of everything tells nothing.
    """
    if not len(graph.types):
        return np.zeros(len(entities), np.int64), ["entity"]
    held = graph.types.of_entity.take(entities)
    row, kind = held.rows(), held.values
    size = np.bincount(kind, minlength=len(graph.types))
    worth = np.where(size > 0.5 * len(entities), -1 / np.maximum(size, 1), size)
    best_last = np.lexsort((-kind, worth[kind], row))
    main = np.full(len(entities), -1, np.int64)
    main[row[best_last]] = kind[best_last]
    count = np.bincount(main[main >= 0], minlength=len(graph.types))
    top = np.lexsort((np.arange(len(count)), -count))[:COLOURED_TYPES]
    top = top[count[top] > 0]
    place = np.full(len(graph.types) + 1, len(top), np.int64)  # other types
    place[top], place[-1] = np.arange(len(top)), len(top) + 1  # -1 is no type
    captions = [*_labels(graph.types.texts, graph.types.vocabulary, top, graph), *_REST]
    return place[main], captions


def _map_labels(xy: Floats, names: Sequence[str], group: npt.NDArray[np.int64], groups: int) -> list[dict[str, Any]]:
    """Names of the best-connected entities of each group, in turns, where they cover no other name.

    Args:
        xy: float64 `[m, 2]`, best-connected first.
        names, group: of each point; one of group -1 gets no label.
        groups: how many there are.
    """
    turns = [np.flatnonzero(group == number)[: 3 * LABELS_PER_TYPE] for number in range(groups)]
    boxes: list[tuple[float, float, float, float]] = []
    labels: list[dict[str, Any]] = []
    placed = [0] * groups
    for turn in range(3 * LABELS_PER_TYPE):
        for number, members in enumerate(turns):
            if turn >= len(members) or placed[number] >= LABELS_PER_TYPE:
                continue
            x, y = xy[members[turn]]
            text = _cut(names[members[turn]], 28)
            width = sum(1.0 if unicodedata.east_asian_width(sign) in "WF" else 0.56 for sign in text) * MAP_FONT
            left = x + 7 if x + 7 + width < MAP_WIDTH else x - 7 - width
            box = (left - 3, y - MAP_FONT * 0.7, left + width + 3, y + MAP_FONT * 0.5)
            if left < 0 or any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in boxes):
                continue
            boxes.append(box)
            placed[number] += 1
            labels.append({"x": f"{left:.1f}", "y": f"{y + MAP_FONT * 0.33:.1f}", "text": text, "group": number})
    return labels
