"""The page: everything gathered and handed to the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kgservice import pages
from kgservice.evaluation.report.charts import degree_chart, learning_charts, rank_chart
from kgservice.evaluation.report.drawing import STYLE, series
from kgservice.evaluation.report.labels import figure_text
from kgservice.evaluation.report.map import entity_map
from kgservice.evaluation.report.models import ModelReport
from kgservice.evaluation.report.parts import baseline_rows, class_rows, frequency_rows, leak_rows
from kgservice.evaluation.report.tables import (
    BARS,
    FEW,
    model_view,
    number_rows,
    provenance,
    relation_rows,
    settings_table,
    statement_rows,
    type_rows,
    versions,
)
from kgservice.graph import KnowledgeGraph

if TYPE_CHECKING:
    from jinja2 import Environment


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

    with matplotlib.rc_context(STYLE):
        page = (
            environment()
            .get_template("report.html.j2")
            .render(
                title=title,
                facts={**provenance(graph), **details},
                versions=versions(),
                counts=graph.counts(),
                models=[model_view(model, series(number)) for number, model in enumerate(models)],
                learning=learning_charts(models),
                rank_chart=rank_chart(models, graph.n),
                relations=relation_rows(graph, models),
                baselines=baseline_rows(models),
                leaks=leak_rows(models),
                classes=class_rows(models),
                frequencies=frequency_rows(models),
                numbers=number_rows(graph, models),
                few=FEW,
                bars=BARS,
                degrees=degree_chart(graph),
                statements=statement_rows(graph),
                types=type_rows(graph),
                typed=int(np.count_nonzero(graph.types.of_entity.lengths)),
                map=entity_map(graph, models[0]) if models else None,
                settings=settings_table(models),
            )
        )
    path.write_bytes(page.encode("utf-8", "replace"))  # a lone surrogate in a label must not lose the report


def environment() -> Environment:
    """The template's, which escapes whatever it is given."""
    return pages.environment(Path(__file__).parent, figure=figure_text)
