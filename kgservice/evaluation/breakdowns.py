"""One figure taken apart: by what training gives away, by kind of relation, by how often the answer was seen.

Every part has an interval and what the baselines reach on the same rows, so that a high figure on easy questions shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kgservice.arrays.ordering import first_of_equal, order_of
from kgservice.audit import THRESHOLD
from kgservice.audit.leakage import given_away
from kgservice.audit.relations import PairTable, cardinalities, partners
from kgservice.evaluation.baselines import MostFrequent, random_figures
from kgservice.evaluation.ranking import SIDES, Ranks, rank
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split, StatementTable
from kgservice.scorers.base import VectorScorer

Mask = npt.NDArray[np.bool_]
Parts = dict[str, Mask]

CLASSES = ("1-1", "1-N", "N-1", "N-N")
UNTRAINED = "untrained"
FREQUENCIES = (0, 1, 4, 11, 31, 101)
"""Where each bin of training statements per entity begins."""


def breakdowns(ranks: Ranks, graph: KnowledgeGraph, split: Split | StatementTable) -> dict[str, Any]:
    """Everything that stands beside `Ranks.report` of the same split, as plain values.

    Args:
        ranks: of a model.
        graph: what it was trained on.
        split: what was ranked; the baseline is ranked on the same.

    Returns:
        `baselines`, `by_relation`, `leakage` (with and without leaking statements, by kind of leak), `by_class` (of
        relations, and side) and `by_frequency` (of the answer in training).
    """
    common = rank(MostFrequent(graph), graph, split)

    def figures(mask: Mask) -> dict[str, Any]:
        chosen = ranks.where(mask)
        found: dict[str, Any] = chosen.figures()
        if len(chosen):
            found["mrr_interval"] = chosen.intervals()["mrr"]
            other = {"random": random_figures(chosen), "most_frequent": common.where(mask).figures()}
            found["baseline_mrr"] = {name: values["mrr"] for name, values in other.items()}
        return found

    names = np.array(graph.relations.names_of(np.arange(graph.r)), dtype=object)
    return {
        "baselines": {"random": random_figures(ranks), "most_frequent": common.figures()},
        "by_relation": {names[id]: figures(ranks.relation == id) for id in np.unique(ranks.relation).tolist()},
        "leakage": {
            kind: {
                "statements": _statements(ranks.where(mask)),
                "of": _statements(ranks),
                "leaking": figures(mask),
                "without": figures(~mask),
            }
            for kind, mask in leaks(ranks, graph).items()
        },
        "by_class": {
            name: {"both": figures(mask), **{side: figures(mask & (ranks.side == side)) for side in SIDES.values()}}
            for name, mask in relation_classes(ranks, graph).items()
            if mask.any()
        },
        "by_frequency": {name: figures(mask) for name, mask in answer_frequencies(ranks, graph).items()},
    }


def leaks(ranks: Ranks, graph: KnowledgeGraph) -> Parts:
    """bool `[t]` each: what TRAIN or CONTEXT give away.

    `pair`: the two entities are linked there, in either direction and by any relation. Of these, `triple`: by the relation
    itself, with other qualifiers; `relation`: by a relation that the audit finds to be the inverse or the duplicate of the
    asked one; `symmetric`: reversed, by the relation itself.
    """
    masks = given_away(ranks, graph, PairTable(graph, THRESHOLD))
    return {
        "pair": masks["linked"],
        "triple": masks["direct"],
        "relation": masks["inverse"] | masks["duplicate"],
        "symmetric": masks["symmetric"],
    }


def relation_classes(ranks: Ranks, graph: KnowledgeGraph) -> Parts:
    """bool `[t]` each: by how many subjects and objects a relation joins in TRAIN (Bordes et al. 2013)."""
    table = graph.statements.in_split(Split.TRAIN)
    columns = table.subject, table.relation, table.object
    order = order_of(columns)
    columns = columns[0][order], columns[1][order], columns[2][order]
    fresh = first_of_equal(columns)
    subject, relation, object = (column[fresh] for column in columns)
    classes = cardinalities(*partners(subject, relation, object, graph.r)).astype("O")
    classes[np.bincount(relation, minlength=graph.r) == 0] = UNTRAINED
    return {name: classes[ranks.relation] == name for name in (*CLASSES, UNTRAINED)}


def answer_frequencies(ranks: Ranks, graph: KnowledgeGraph) -> Parts:
    """bool `[t]` each: by the number of TRAIN statements that hold the answer."""
    answer = np.where(ranks.side == "tail", ranks.object, ranks.subject)
    place = np.searchsorted(FREQUENCIES, frequency(graph)[answer], side="right") - 1
    return {name: place == number for number, name in enumerate(frequency_names())}


def frequency(graph: KnowledgeGraph) -> npt.NDArray[np.int64]:
    """int64 `[n]`: the TRAIN statements that hold each entity as subject or object."""
    table = graph.statements.in_split(Split.TRAIN)
    apart = table.subject != table.object
    return np.bincount(np.concatenate([table.subject, table.object[apart]]), minlength=graph.n)


def frequency_names() -> list[str]:
    """What the bins are called: "0", "1–3", …, "101+"."""
    ends = [start - 1 for start in FREQUENCIES[1:]]
    spans = [f"{low}" if low == high else f"{low}–{high}" for low, high in zip(FREQUENCIES, ends, strict=False)]
    return [*spans, f"{FREQUENCIES[-1]}+"]


def uncertainty(scorer: VectorScorer, graph: KnowledgeGraph) -> dict[str, Any] | None:
    """Whether a scorer's spread follows rarity; None where it keeps none.

    Args:
        scorer: its `spread()`.
        graph: counts how often each entity was seen.

    Returns:
        `spearman` of spread and frequency over entities seen in training (below 0: the rarer, the wider; None where one of
        them never varies), `entities` it rests on, and `by_frequency`: count, mean and quartiles of the spread.
    """
    from scipy.stats import spearmanr

    spread = scorer.spread()
    if spread is None:
        return None
    values = spread.detach().cpu().double().numpy()
    seen = frequency(graph)
    place = np.searchsorted(FREQUENCIES, seen, side="right") - 1
    bins = {}
    for number, name in enumerate(frequency_names()):
        part = values[place == number]
        if len(part):
            low, middle, high = np.quantile(part, [0.25, 0.5, 0.75]).tolist()
            bins[name] = {"count": len(part), "mean": float(part.mean()), "q25": low, "median": middle, "q75": high}
    known = seen > 0
    varies = np.ptp(values[known]) > 0 and np.ptp(seen[known]) > 0 if known.any() else False
    rho = float(spearmanr(values[known], seen[known]).statistic) if varies else None
    return {"spearman": rho, "entities": int(known.sum()), "by_frequency": bins}


def _statements(ranks: Ranks) -> int:
    """Each has a row on every side asked for; those of one triple with other qualifiers are several."""
    return int(np.unique(ranks.side, return_counts=True)[1].max(initial=0))
