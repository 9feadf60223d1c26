"""The two figures of names: are an entity's names found, and are its wrong names told?

Both compare names by `normalising.key` and count over all entities of a language (micro).
Source: Conia et al. 2023, "Increasing Coverage and Precision of Textual Information in Multilingual Knowledge Graphs".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl


@dataclass(frozen=True)
class Figures:
    """Precision, recall and their harmonic mean, in [0, 1].

    In the precision task `precision` is the accuracy over all names, as published, and `recall` that of wrong names.
    """

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """The harmonic mean; 0 where both are."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def coverage(proposed: pl.DataFrame, valid: pl.DataFrame) -> Figures:
    """Are the valid names found?

    Args:
        proposed, valid: columns entity and key; an equal row counts once. What is proposed of entities without a valid name
            is not counted.
    """
    valid = valid.select("entity", "key").unique()
    proposed = proposed.select("entity", "key").unique().join(valid.select("entity").unique(), on="entity", how="semi")
    found = proposed.join(valid, on=["entity", "key"], how="semi").height
    return Figures(found / max(proposed.height, 1), found / max(valid.height, 1))


def precision_task(kept: pl.DataFrame, judged: pl.DataFrame) -> Figures:
    """Are the wrong names told? A name that is not kept is called wrong.

    Args:
        kept: columns entity and key.
        judged: columns entity, key and correct (bool); every row counts, equal ones too.
    """
    keeps = kept.select("entity", "key").unique().with_columns(kept=pl.lit(True))
    told = judged.join(keeps, on=["entity", "key"], how="left").with_columns(pl.col("kept").fill_null(False))
    wrong = told.filter(~pl.col("correct"))
    right = told.select((pl.col("kept") == pl.col("correct")).sum()).item()
    return Figures(right / max(told.height, 1), wrong.filter(~pl.col("kept")).height / max(wrong.height, 1))


def best_coverage_threshold(probability: npt.NDArray[np.float64], correct: npt.NDArray[np.bool_], valid: int) -> float:
    """The probability from which on names are proposed, for the best F1 on these candidates `[c]`; `valid` names exist."""
    if not len(probability):
        return 1.0
    order = np.argsort(-probability, kind="stable")
    f1 = 2 * np.cumsum(correct[order]) / (np.arange(1, len(order) + 1) + valid)
    return float(probability[order[np.argmax(f1)]])


def best_error_threshold(probability: npt.NDArray[np.float64], correct: npt.NDArray[np.bool_]) -> float:
    """The probability below which a name is called wrong, for the best F1 of the precision task on these names `[c]`."""
    if correct.all():
        return 0.0
    order = np.argsort(probability, kind="stable")
    # After the first k of the order are called wrong:
    told = np.concatenate([[0], np.cumsum(~correct[order])])
    lost = np.concatenate([[0], np.cumsum(correct[order])])
    accuracy = (correct.sum() - lost + told) / len(order)
    recall = told / told[-1]
    f1 = 2 * accuracy * recall / np.maximum(accuracy + recall, 1e-12)
    best = int(np.argmax(f1))
    return float(probability[order[best]]) if best < len(order) else np.inf


def expected_calibration_error(
    probability: npt.NDArray[np.float64], correct: npt.NDArray[np.bool_], bins: int = 15
) -> float:
    """The mean distance of probability and share of correct names, over bins of equal numbers of candidates."""
    if not len(probability):
        return 0.0
    order = np.argsort(probability, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    return float(sum(abs(probability[part].sum() - correct[part].sum()) for part in parts) / len(order))
