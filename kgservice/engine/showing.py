"""What a graph holds about one entity, as people read it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from kgservice.answers.entities import EntityPage
from kgservice.graph import KnowledgeGraph
from kgservice.graph.texts import TextKind
from kgservice.graph.views import Views
from kgservice.release.served import ServedModel


def entity_page(
    graph: KnowledgeGraph,
    views: Views,
    models: Mapping[str, ServedModel],
    entity: int,
    *,
    limit: int,
    language: str,
    release: str,
) -> EntityPage:
    """Labels, types and statements of an entity.

    Args:
        graph: whose entity it is.
        views: how names are shown.
        models: what each keeps of its uncertainty is told.
        entity: its id.
        limit: statements at most, literals first.
        language: of labels.
        release: named by the page.
    """
    texts: dict[TextKind, dict[str, list[str]]] = {kind: defaultdict(list) for kind in TextKind}
    for kind, code, text in graph.texts.rows(entity):
        texts[kind][code].append(text)
    rows = graph.rows_of(entity)
    facts = graph.literals.rows_of(entity)
    named = views.entities(np.array([entity], np.int32), language, describe=True)[0]
    shown = views.facts(facts[:limit], language)
    shown += views.statements(rows[: limit - len(shown)], language)
    return EntityPage(
        release=release,
        id=named.id,
        iri=graph.entities.name(entity),
        label=named.label,
        description=named.description,
        labels={code: found[0] for code, found in texts[TextKind.LABEL].items()},
        descriptions={code: found[0] for code, found in texts[TextKind.DESCRIPTION].items()},
        aliases=dict(texts[TextKind.ALIAS]),
        types=views.types(entity, language),
        statements=shown,
        statement_count=len(rows) + len(facts),
        uncertainty={
            name: spread for name, model in models.items() if (spread := model.uncertainty(entity)) is not None
        },
    )
