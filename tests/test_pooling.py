"""What validation shows of relations: probabilities that are wrong by relation are mended as far as that shows."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pytest

from kgservice.enrichment.plan import Plan
from kgservice.enrichment.pooling import Held, Moves
from kgservice.enrichment.selecting import POOLED, Limits, Selection, select
from kgservice.enrichment.table import proposals

C = 0.5
Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]


def _world(sizes: list[int], off: list[float], seed: int = 0) -> tuple[Floats, Ids, npt.NDArray[np.bool_], Held]:
    """What was said of candidates that are not held, whether they are true, and those that are held.

    Args:
        sizes: candidates of each relation.
        off: how much its log-odds are in truth above those that were said.
    """
    random = np.random.default_rng(seed)
    relation = np.repeat(np.arange(len(sizes)), sizes)
    truly = random.normal(-1, 1.5, len(relation))
    odds = truly - np.array(off)[relation]
    # Before it is known who is held: q, so that p = (1 - C) q / (1 - C q) has these log-odds.
    p = 1 / (1 + np.exp(-truly))
    true = random.random(len(p)) < p / (1 - C + C * p)
    held = true & (random.random(len(p)) < C)
    said = 1 / (1 + np.exp(-odds))
    every = np.ones(int(held.sum()), bool)
    return said[~held], relation[~held], true[~held], Held(relation[held], said[held], every, C)


def test_a_relation_with_many_is_mended_and_one_with_few_follows_the_others() -> None:
    sizes, off = [20_000, 20_000, 20_000, 20_000, 6], [1.0, -1.0, 0.5, 0.0, 0.0]
    said, relation, true, held = _world(sizes, off)
    moves = Moves.fit(said, relation, held, len(sizes))
    after = moves.moved(said, relation)
    for one in range(4):
        mine = relation == one
        assert after[mine].sum() == pytest.approx(true[mine].sum(), rel=0.05)
        high = mine & (after > 0.6)
        assert after[high].mean() == pytest.approx(true[high].mean(), abs=0.04)
    few = relation == 4
    assert after[few].mean() == pytest.approx(said[few].mean(), abs=0.25)
    assert moves.doubt[4] > 5 * moves.doubt[0]
    assert moves.pull[4] > 0.5 > moves.pull[0]


def test_the_order_within_a_relation_stays() -> None:
    said, relation, _, held = _world([3000, 500], [0.7, -0.7])
    after = Moves.fit(said, relation, held, 2).moved(said, relation)
    for one in range(2):
        order = np.argsort(said[relation == one])
        assert (np.diff(after[relation == one][order]) >= -1e-12).all()
    assert ((after > 0) & (after < 1)).all()


def test_the_deviation_is_that_of_worlds_alike() -> None:
    """Over many draws, the share of right ones is as far from what is expected as is said."""
    off, misses = [0.5, -0.5, 0.2, 0.0, -0.2, 0.4], []
    for seed in range(60):
        said, relation, true, held = _world([400] * 6, off, seed)
        moves = Moves.fit(said, relation, held, 6)
        after = moves.moved(said, relation)
        chosen = after > 0.5
        expected = after[chosen].mean()
        misses.append((true[chosen].mean() - expected) / moves.deviation(after[chosen], relation[chosen]))
    assert 0.5 < np.std(misses) < 1.4
    assert abs(np.mean(misses)) < 0.6


def test_nothing_moves_nothing() -> None:
    held = _world([200], [0.0])[3]
    empty = np.empty(0), np.empty(0, np.int64)
    moves = Moves.fit(*empty, held, 1)
    assert not len(moves.moved(*empty))
    assert moves.moved(np.array([0.3]), np.array([0])) == pytest.approx([0.3])


def test_held_ones_survive_json() -> None:
    held = _world([200], [0.0])[3]
    again = Held.from_json(json.loads(json.dumps(held.to_json())))
    for name in ("relation", "probability", "best"):
        np.testing.assert_array_equal(getattr(again, name), getattr(held, name))
    assert again.label_share == held.label_share


def _selected(
    sizes: list[int], off: list[float], precision: float, seed: int = 0
) -> tuple[Selection, npt.NDArray[np.bool_]]:
    said, relation, true, held = _world(sizes, off, seed)
    plan = Plan("r@0", precision=precision)
    kept = said >= plan.kept
    said, relation, true = said[kept], relation[kept], true[kept]
    place = np.arange(len(said), dtype=np.int32)
    columns = place, relation.astype(np.int32), place
    table = proposals(
        *columns, said, said.astype(np.float32), np.ones(len(said), np.int32), kept=np.ones(len(said), bool)
    )
    no = np.zeros(len(sizes), bool)
    found = select(table, plan, Limits(no, no, no), held)
    return found, true[found.table["subject"].to_numpy()]


@pytest.mark.parametrize("precision", [0.8, 0.7, 0.6])
def test_every_large_group_has_the_precision_asked(precision: float) -> None:
    found, right = _selected([40_000, 40_000, 40_000], [0.6, -0.6, 0.0], precision)
    relation = found.table["relation"].to_numpy()
    assert {threshold.group for threshold in found.thresholds.values()} == {"own"}
    for one in range(3):
        assert (relation == one).sum() >= POOLED
        assert right[relation == one].mean() == pytest.approx(precision, abs=0.03)


def test_small_groups_are_sure_or_abstain() -> None:
    """Of many small worlds, nine of ten reach what was asked; what cannot be shown is not given out."""
    reached = []
    for seed in range(40):
        found, right = _selected([150, 150, 100], [0.3, -0.3, 0.0], 0.6, seed)
        assert {threshold.group for threshold in found.thresholds.values()} == {"sure"}
        if len(right):
            reached.append(right.mean() >= 0.6)
    assert len(reached) > 10
    assert np.mean(reached) >= 0.8
    found, right = _selected([30], [0.0], 0.95)
    assert not len(right)
    assert found.thresholds[0].least is None
    assert any(name.startswith("abstained") for name in found.dropped)
