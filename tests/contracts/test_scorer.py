"""The contract of every registered scorer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kgservice import scorers
from kgservice.errors import InvalidQuestion, RecipeError, UnknownRelation
from kgservice.query import QueryBatch, Slot
from kgservice.recipe import ModelSettings
from kgservice.scorers import SCORERS
from kgservice.scorers.base import VectorScorer
from kgservice.scorers.embedding import EmbeddingScorer

N, R, WIDTH = 23, 5, 12

pytestmark = pytest.mark.parametrize("name", sorted(SCORERS))


def make(name: str, *, reciprocal: bool = True, scale: float = 0.5, seed: int = 0, width: int = WIDTH) -> VectorScorer:
    training = {"seed": seed}
    text = {"encoder": "none", "words": 8, "hidden": 16}
    chosen = {"scorer": name, "width": width, "initial_scale": scale, "reciprocal": reciprocal, "text": text}
    chosen["training"] = training
    return scorers.build(ModelSettings.model_validate(chosen), n=N, r=R).eval()


def needs_reciprocal(name: str) -> bool:
    return name.startswith("nfe")


def questions(slot: Slot, b: int = 17, seed: int = 0) -> QueryBatch:
    random = np.random.default_rng(seed)
    subject, object = random.integers(0, N, (2, b))
    relation = random.integers(0, R, b)
    return {
        Slot.OBJECT: lambda: QueryBatch.objects(subject, relation),
        Slot.SUBJECT: lambda: QueryBatch.subjects(relation, object),
        Slot.RELATION: lambda: QueryBatch.relations(subject, object),
        Slot.QUALIFIER: lambda: QueryBatch(slot, subject, relation, object, asked=relation[::-1].copy()),
    }[slot]()


@pytest.mark.parametrize("reciprocal", [True, False])
@pytest.mark.parametrize("slot", list(Slot))
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1e-3, 0.1, 3.0]))
@settings(max_examples=10, deadline=None)
def test_law(name: str, slot: Slot, reciprocal: bool, seed: int, scale: float) -> None:
    """scores ≡ metric(query_vectors, candidate vectors) within 1e-4·Σ|qᵢeᵢ| of a float64 reference."""
    if needs_reciprocal(name) and not reciprocal:
        with pytest.raises(RecipeError, match="reciprocal must be true"):
            make(name, reciprocal=False)
        return
    scorer = make(name, reciprocal=reciprocal, scale=scale, seed=seed)
    batch = questions(slot, seed=seed)
    if slot not in scorer.slots:
        with pytest.raises(InvalidQuestion, match=rf"answers .* questions, not {slot}"):
            scorer.scores(batch)
        return
    with torch.inference_mode():
        scores = scorer.scores(batch).double().numpy()
        q = scorer.query_vectors(batch).double().numpy()
        e = scorer.candidate_vectors(slot).double().numpy()
    assert scores.shape == (len(batch), R if slot is Slot.RELATION else N)
    if scorer.metric_of(slot) == "ip":
        reference, bound = q @ e.T, np.abs(q) @ np.abs(e).T
    else:
        reference = -((q[:, None] - e[None]) ** 2).sum(-1)
        bound = (q**2).sum(1)[:, None] + (e**2).sum(1) + 2 * np.abs(q) @ np.abs(e).T
    assert np.all(np.abs(scores - reference) <= 1e-4 * bound + 1e-9)


def test_one_score_per_statement_without_reciprocals(name: str) -> None:
    """With shared inverse rows all three questions give a statement the same score."""
    if needs_reciprocal(name):
        return  # refused, see test_law
    scorer = make(name, reciprocal=False)
    if not isinstance(scorer, EmbeddingScorer):
        return  # a question is no sum over its statement
    subject, relation, object = np.array([1, 4, 7]), np.array([0, 2, 4]), np.array([3, 3, 9])
    rows = np.arange(3)
    with torch.inference_mode():
        by_object = scorer.scores(QueryBatch.objects(subject, relation))[rows, object]
        by_subject = scorer.scores(QueryBatch.subjects(relation, object))[rows, subject]
        by_relation = scorer.scores(QueryBatch.relations(subject, object))[rows, relation]
    torch.testing.assert_close(by_object, by_subject, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(by_object, by_relation, rtol=1e-4, atol=1e-4)


def test_logits_equal_scores_up_to_a_constant_per_row(name: str) -> None:
    scorer = make(name)
    batch = questions(Slot.OBJECT)
    anchor, relation = (
        torch.from_numpy(batch.subject.astype(np.int64)),
        torch.from_numpy(batch.relation.astype(np.int64)),
    )
    parts = scorer.logits(anchor, relation)
    made = parts.queries @ parts.candidates.T + (0 if parts.bias is None else parts.bias)
    difference = (made - scorer.scores(batch)).detach()
    torch.testing.assert_close(difference, difference[:, :1].expand_as(difference), rtol=1e-3, atol=1e-3)


def test_chunked_questions_equal_whole(name: str) -> None:
    scorer = make(name)
    batch = questions(Slot.OBJECT)
    whole = scorer.scores(batch)
    parts = [scorer.scores(batch.take(np.arange(i, min(i + 5, len(batch))))) for i in range(0, len(batch), 5)]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_same_seed_same_weights(name: str) -> None:
    first, second, other = make(name), make(name), make(name, seed=1)
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key])
    assert not torch.equal(first.entity_vectors(), other.entity_vectors())


def test_penalties_are_positive_and_differentiable_at_zero(name: str) -> None:
    scorer = make(name)
    with torch.no_grad():
        for parameter in scorer.parameters():
            parameter.zero_()
    ids = torch.tensor([0, 1])
    total = scorer.entity_penalty(ids).sum() + scorer.relation_penalty(ids).sum()
    total.backward()
    for parameter in scorer.parameters():
        if parameter.grad is not None:
            dense = parameter.grad.to_dense()
            assert torch.isfinite(dense).all()


def test_ids_out_of_range_are_refused(name: str) -> None:
    scorer = make(name)
    with pytest.raises(UnknownRelation, match=r"'5' is not a relation in \[0, 5\)"):
        scorer.scores(QueryBatch.objects([0], [R]))
    with pytest.raises(InvalidQuestion, match=r"entity ids must be in \[0, 23\), found \[23, 23\]"):
        scorer.scores(QueryBatch.objects([N], [0]))


def test_odd_width_is_refused_where_rows_are_pairs(name: str) -> None:
    if name in ("complex", "rotate", "simple", "blp-complex", "blp-simple"):
        with pytest.raises(RecipeError, match="width must be even, found 13"):
            make(name, width=13)
    elif name in ("hyperformer", "stare"):
        with pytest.raises(RecipeError, match="width must be .*a multiple of transformer.heads, found 13 and 4"):
            make(name, width=13)
    elif name == "context":
        with pytest.raises(RecipeError, match="width must be a multiple of context.heads, found 13 and 4"):
            make(name, width=13)
    elif needs_reciprocal(name) and name not in ("nfe1-mean", "nfe1-spread"):
        with pytest.raises(RecipeError, match=r"width must be a multiple of [23], found 13"):
            make(name, width=13)
    else:
        assert make(name, width=13).entity_vectors().shape == (N, 13)
