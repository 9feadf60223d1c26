"""The transformer over statements with qualifiers: what it must not see, and what it must."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from kgservice import scorers
from kgservice.arrays.ragged import Ragged
from kgservice.evaluation.ranking import rank
from kgservice.graph import KnowledgeGraph
from kgservice.graph.literals import XSD, Literal, Literals
from kgservice.graph.statements import Split, StatementTable
from kgservice.graph.vocabulary import Vocabulary
from kgservice.query import QueryBatch, Slot
from kgservice.recipe import ModelSettings
from kgservice.scorers.composition import compose
from kgservice.scorers.context import MASKED, NOTHING, NUMBER, OTHER, Context
from kgservice.scorers.hyperformer import HyperFormer, Interaction
from kgservice.scorers.scales import KNOTS, Scales
from kgservice.scorers.stare import Edges, Messages
from kgservice.scorers.transformer import Experts, Transformer, dropout, taken
from kgservice.training.loop import fit
from kgservice.training.objectives import Workspace
from kgservice.training.questions import Questions
from kgservice.training.sharding import Shards
from kgservice.training.step import BatchLoss, steps_of

N, R = 30, 6
Pairs = list[list[tuple[int, int]]]


def make(training: dict[str, Any] | None = None, **parts: Any) -> HyperFormer:
    """Small, with large weights, so that what differs shows."""
    values = {
        "scorer": "hyperformer",
        "width": 16,
        "initial_scale": 0.5,
        "transformer": parts,
        "training": training or {},
    }
    scorer = scorers.build(ModelSettings.model_validate(values), n=N, r=R).eval()
    assert isinstance(scorer, HyperFormer)
    return scorer


def asked(pairs: Pairs, numbers: list[float] | None = None, slot: Slot = Slot.OBJECT) -> QueryBatch:
    """As many questions as lists of pairs, all of entity 1 and relation 2."""
    b = len(pairs)
    whole = np.full(b, 1, np.int32), np.full(b, 2, np.int32), np.full(b, 3, np.int32)
    relations, values = (Ragged.of([[pair[place] for pair in row] for row in pairs]) for place in (0, 1))
    number = None if numbers is None else np.array(numbers)
    more = {} if number is None else {"qualifier_number": number}
    return QueryBatch(slot, *whole, relations, values, asked=np.full(b, 4, np.int32), **more)


@pytest.mark.parametrize("roles", [True, False])
@pytest.mark.parametrize("slot", [Slot.OBJECT, Slot.SUBJECT, Slot.QUALIFIER])
def test_the_order_of_pairs_does_not_matter_but_their_values_places_do(roles: bool, slot: Slot) -> None:
    scorer = make(roles=roles)
    rows: Pairs = [[(0, 5), (1, 6), (3, 7)], [(3, 7), (0, 5), (1, 6)], [(0, 6), (1, 5), (3, 7)]]
    same, permuted, swapped = scorer.scores(asked(rows, slot=slot)).detach()
    torch.testing.assert_close(permuted, same, rtol=1e-4, atol=1e-4)
    if roles:  # as published, a value does not know its relation
        assert (swapped - same).abs().max() > 1e-2
    else:
        torch.testing.assert_close(swapped, same, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("roles", [True, False])
def test_padding_does_not_change_scores(roles: bool) -> None:
    """A question alone, beside one without pairs and beside one with the most."""
    scorer = make(roles=roles, experts=4)
    few: Pairs = [[(0, 5)]]
    alone = scorer.scores(asked(few))
    beside = scorer.scores(asked([*few, [], [(r, e) for r in range(R) for e in range(10)]]))
    torch.testing.assert_close(beside[:1], alone, rtol=1e-4, atol=1e-4)
    bare = scorer.scores(asked([[]]))
    torch.testing.assert_close(beside[1:2], bare, rtol=1e-4, atol=1e-4)
    assert (bare - alone).abs().max() > 1e-2


def test_no_one_and_sixty_pairs_are_read_up_to_the_most() -> None:
    many = [(r, e) for r in range(R) for e in range(10)]
    context = Context.of(asked([[], [(0, 5)], many]), 6)
    assert (context.relation >= 0).sum(1).tolist() == [0, 1, 6]
    scorer = make()
    torch.testing.assert_close(scorer.scores(asked([many])), scorer.scores(asked([many[:6]])))
    assert scorer.scores(asked([[], [(0, 5)], many])).isfinite().all()


def test_context_by_hand() -> None:
    """Entities, a number, another literal; the asked pair first, room for the widest question."""
    rows: Pairs = [[(0, 5), (1, -1), (1, -2)], []]
    context = Context.of(asked(rows, [np.nan, 1952.5, np.nan], Slot.QUALIFIER), 6)
    assert context.filler.tolist() == [3, 3]
    assert context.relation.tolist() == [[4, 0, 1, 1], [4, -1, -1, -1]]
    assert context.value.tolist() == [[MASKED, 5, NUMBER, OTHER], [MASKED, NOTHING, NOTHING, NOTHING]]
    assert context.number.tolist() == [[0, 0, 1952.5, 0], [0, 0, 0, 0]]
    assert Context.of(asked(rows), 6).filler.tolist() == [-1, -1]
    taken = context.take(torch.tensor([1]))
    assert taken.relation.tolist() == [[4]]


def test_without_qualifiers_it_is_blind() -> None:
    scorer = make(qualifiers=0)
    assert scorer.reads is None
    scores = scorer.scores(asked([[(0, 5)], []]))
    torch.testing.assert_close(scores[0], scores[1])
    assert Slot.QUALIFIER not in scorer.slots


def test_packed_equals_padded() -> None:
    """One row of tokens at a time gives what many rows of other lengths give together."""
    torch.manual_seed(0)
    encoder = Transformer(8, layers=2, heads=2, hidden=16, experts=0, dropout=0.0).eval()
    tokens, lengths = torch.randn(5, 7, 8), torch.tensor([1, 7, 3, 4, 2])
    present = torch.arange(7) < lengths[:, None]
    together = torch.split(encoder(tokens, present), lengths.tolist())
    for row, length in enumerate(lengths.tolist()):
        alone = encoder(tokens[row : row + 1, :length], torch.ones(1, length, dtype=torch.bool))
        torch.testing.assert_close(together[row], alone)


def test_dropout_keeps_the_mean_and_drops_the_share() -> None:
    torch.manual_seed(0)
    x = torch.ones(503, 199, requires_grad=True)
    out = dropout(x, 0.3)
    out.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, out.detach())
    assert abs(float((out == 0).float().mean()) - 0.3) < 0.01
    assert abs(float(out.detach().mean()) - 1) < 0.01
    assert len(out.unique()) == 2
    assert dropout(x, 0.0) is x


def test_taken_rows_are_indexed_ones() -> None:
    x = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    rows = torch.tensor([5, 0, 3])
    assert torch.autograd.gradcheck(lambda x: taken(x, rows), x)
    torch.testing.assert_close(taken(x, rows), x[rows])


@pytest.mark.parametrize(
    "parts", [{"scorer": "hyperformer"}, {"scorer": "hyperformer", "all": True}, {"scorer": "stare"}], ids=str
)
def test_mixed_precision_has_the_gradients_of_float32(parts: dict[str, Any]) -> None:
    graph = graph_of()
    transformer = {"dropout": 0.0, "input_dropout": 0.0, **(ALL_PARTS | {"experts": 0} if "all" in parts else {})}
    settings = ModelSettings.model_validate(
        {"scorer": parts["scorer"], "width": 16, "initial_scale": 0.3, "transformer": transformer}
    )
    found = {}
    for precision in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        scorer = scorers.build(settings, n=N, r=R)
        scorer.prepare(graph, (Split.TRAIN,))
        questions = Questions.of(graph, (Split.TRAIN,), torch.device("cpu"), reads=scorer.reads)
        loss = BatchLoss(scorer.train(), settings.training, Workspace(precision))
        step = steps_of(loss, questions, Shards.of(N)).of(1)
        batch = next(iter(questions.batches(64, torch.Generator().manual_seed(0), "triples")))
        value = step(batch, torch.Generator())
        found[precision] = value, {name: p.grad for name, p in scorer.named_parameters() if p.grad is not None}
    (exact, whole), (close, half) = found.values()
    torch.testing.assert_close(close, exact, rtol=1e-2, atol=0)
    assert whole.keys() == half.keys()
    together = [torch.cat([gradient[name].flatten() for name in whole]) for gradient in (whole, half)]
    assert torch.cosine_similarity(*together, dim=0) > 0.999
    assert all(gradient.dtype == torch.float32 for gradient in half.values())


def test_experts_equal_a_sum_over_the_best_two() -> None:
    torch.manual_seed(0)
    part, x = Experts(6, 12, 5), torch.randn(40, 6)
    gates = part.gate(x)
    expected = torch.zeros_like(x)
    for row in range(len(x)):
        best = gates[row].topk(2)
        for share, expert in zip(best.values.softmax(0), best.indices.tolist(), strict=True):
            expected[row] += share * part.parts[expert](x[row])
    torch.testing.assert_close(part(x), expected)


@pytest.mark.parametrize("how", ["distmult", "transe", "complex", "rotate"])
def test_compositions(how: str) -> None:
    relation, value = torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 2.0]])
    expected = {
        "distmult": [[3.0, 8.0]],
        "transe": [[-2.0, -2.0]],
        "complex": [[-5.0, 10.0]],  # (3 + 4i)(1 + 2i)
        "rotate": [[-1.0, 2.0]],  # with a relation of length one
    }
    torch.testing.assert_close(compose(relation, value, how), torch.tensor(expected[how]))
    torch.manual_seed(0)
    ends = (
        torch.randn(3, 6, dtype=torch.float64, requires_grad=True),
        torch.randn(3, 6, dtype=torch.float64, requires_grad=True),
    )
    assert torch.autograd.gradcheck(lambda a, b: compose(a, b, how), ends)


def test_interaction_mixes_both_and_learns() -> None:
    torch.manual_seed(0)
    part, a, b = Interaction(16), torch.randn(4, 16, requires_grad=True), torch.randn(4, 16)
    first, second = part(a, b)
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    for mixed in (first, second):
        assert ((low <= mixed + 1e-6) & (mixed <= high + 1e-6)).all()
    first.sum().backward()
    assert a.grad is not None
    assert part.convolve.weight.grad is not None


def graph_of(count: int = 300, seed: int = 0) -> KnowledgeGraph:
    """(s, r, ?) is answered by the qualifier's value alone: v for (0, v), and v + 1 for (1, v)."""
    random = np.random.default_rng(seed)
    subject, relation = random.integers(0, N, count), random.integers(0, 2, count)
    q_relation, q_value = random.integers(0, 2, count), random.integers(0, N - 1, count)
    table = StatementTable.build(
        subject,
        relation,
        q_value + q_relation,
        split=(np.arange(count) % 5 == 0) * int(Split.VALID),
        qualifier_offset=np.arange(count + 1),
        qualifier_relation=q_relation,
        qualifier_value=q_value,
    )
    return KnowledgeGraph(
        entities=Vocabulary.build([f"e{i:02}" for i in range(N)]),
        relations=Vocabulary.build([f"r{i}" for i in range(R)]),
        statements=table,
    )


ALL_PARTS = {"neighbours": 3, "aggregation": "rotate", "interaction": True, "experts": 4}


@pytest.mark.parametrize("parts", [{}, {"roles": False}, ALL_PARTS], ids=["ours", "flat", "all-parts"])
def test_it_learns_what_only_qualifiers_say(parts: dict[str, Any]) -> None:
    graph = graph_of()
    epochs = 20 if parts == ALL_PARTS else 40
    training = {"epochs": epochs, "batch_size": 64, "optimizer": "adam", "learning_rate": 3e-3, "device": "cpu"}
    scorer = make(training, **parts, dropout=0.0)
    settings = ModelSettings.model_validate({"training": training}).training
    fit(scorer, graph, settings)
    scorer.eval()
    objects = rank(scorer, graph, Split.VALID, level="statement", slots=(Slot.OBJECT,)).figures()["mrr"]
    assert objects > (0.25 if parts.get("roles") is False else 0.7)
    if not parts:
        assert rank(scorer, graph, Split.VALID, level="statement", slots=(Slot.QUALIFIER,)).figures()["mrr"] > 0.5
        blind = make(training, qualifiers=0, dropout=0.0)
        fit(blind, graph, settings)
        assert rank(blind.eval(), graph, Split.VALID, level="statement", slots=(Slot.OBJECT,)).figures()["mrr"] < 0.2


def test_stare_hears_qualifiers_along_edges_and_serves_without_them() -> None:
    graph = graph_of()
    training = {"epochs": 40, "batch_size": 64, "optimizer": "adam", "learning_rate": 5e-3, "device": "cpu"}
    values = {"scorer": "stare", "width": 16, "initial_scale": 0.3, "training": training}
    settings = ModelSettings.model_validate({**values, "transformer": {"dropout": 0.0}})
    scorer = scorers.build(settings, n=N, r=R)
    fit(scorer, graph, settings.training)
    found = rank(scorer.eval(), graph, Split.VALID, level="statement", slots=(Slot.OBJECT,)).figures()["mrr"]
    assert found > 0.25
    served = scorers.build(settings, n=N, r=R)
    served.load_state_dict(scorer.state_dict())
    queries = graph.questions(Slot.OBJECT, graph.statements)[0]
    torch.testing.assert_close(served.eval().scores(queries), scorer.scores(queries))


def test_stare_messages_by_hand() -> None:
    """One statement with one pair: the object hears its subject, turned by .8 of the relation and .2 of the pair."""
    table = StatementTable.build([0], [0], [1], qualifier_offset=[0, 1], qualifier_relation=[1], qualifier_value=[2])
    graph = KnowledgeGraph(Vocabulary.build("abc"), Vocabulary.build("pq"), table)
    layer, edges = Messages(4), Edges.of(graph, (Split.TRAIN,), 6, torch.device("cpu"))
    assert edges.ends.tolist() == [[0, 1], [1, 0]]
    assert edges.relation.tolist() == [0, 2]
    torch.manual_seed(0)
    x, h = torch.randn(3, 4), torch.randn(4, 4)
    pair = compose(h[1], x[2], "rotate")
    carried = 0.8 * h[0] + 0.2 * layer.of_pairs(pair)
    heard = layer.along(compose(carried, x[0], "rotate"))
    expected = layer.norm(torch.tanh(heard + layer.own(x[1])) + x[1])
    torch.testing.assert_close(layer(x, h, edges)[0][1], expected)


def test_questions_of_all_slots_by_hand() -> None:
    table = StatementTable.build(
        [0, 0, 0],
        [0, 0, 0],
        [1, 2, 3],
        qualifier_offset=[0, 2, 4, 5],
        qualifier_relation=[1, 2, 1, 2, 1],
        qualifier_value=[7, 8, 7, 8, 9],
    )
    graph = KnowledgeGraph(
        Vocabulary.build([f"e{i:02}" for i in range(N)]), Vocabulary.build([f"r{i}" for i in range(R)]), table
    )
    cpu = torch.device("cpu")
    assert len(Questions.of(graph, (Split.TRAIN,), cpu)) == 1 + 3
    read = Questions.of(graph, (Split.TRAIN,), cpu, reads=6)
    assert len(read) == 2 + 3  # objects 1 and 2 have equal qualifiers
    assert sorted((read.offset[1:] - read.offset[:-1]).tolist()) == [1, 1, 1, 1, 2]
    with_values = Questions.of(graph, (Split.TRAIN,), cpu, reads=6, values=True)
    assert len(with_values) == 5 + 5
    assert with_values.context is not None
    assert int((with_values.context.filler >= 0).sum()) == 5
    queries, values, row = graph.questions(Slot.QUALIFIER, table)
    assert values.tolist() == [7, 8, 7, 8, 9]
    assert row.tolist() == [0, 0, 1, 1, 2]
    assert queries.asked.tolist() == [1, 2, 1, 2, 1]
    assert [list(pairs) for pairs in queries.qualifier_value] == [[8], [7], [8], [7], []]
    assert [list(known) for known in graph.known(queries, "statement")] == [[7], [8], [7], [8], [9]]


def test_scales_have_their_quantiles_and_dates_one_in_common() -> None:
    years = [Literal(f"{year}-01-01", XSD + "date") for year in (1900, 1950, 2000)]
    amounts = [Literal(str(amount), XSD + "integer") for amount in (1, 100)]
    vocabulary = Vocabulary.build([str(literal) for literal in (*years, *amounts)])
    ids = [-1 - vocabulary.id(str(literal)) for literal in (*years, *amounts)]
    table = StatementTable.build(
        [0, 1, 2, 3, 4],
        [0] * 5,
        [5] * 5,
        qualifier_offset=[0, 1, 2, 3, 4, 5],
        qualifier_relation=[1, 1, 2, 3, 3],
        qualifier_value=ids,
    )
    graph = KnowledgeGraph(
        Vocabulary.build([f"e{i:02}" for i in range(N)]),
        Vocabulary.build([f"r{i}" for i in range(R)]),
        table,
        literals=Literals.build(vocabulary, StatementTable.empty()),
    )
    scales = Scales(R)
    scales.fit(graph, (Split.TRAIN,))
    assert scales.dated.tolist() == [False, True, True, False, False, False]
    relation, number = torch.tensor([1, 2, 3, 3, 1, 5]), torch.tensor([1950.0, 1950.0, 1.0, 1000.0, 1500.0, 7.0])
    low, share = scales(relation, number)
    place = (low % KNOTS + share).tolist()
    assert place[0] == place[1] == pytest.approx((KNOTS - 1) / 2, abs=0.6)
    assert place[2:] == [0.0, KNOTS - 1, 0.0, 0.0]
    assert (low >= KNOTS).tolist() == [True, True, False, False, True, False]
    scorer = make()
    scorer.prepare(graph, (Split.TRAIN,))
    queries = graph.questions(Slot.OBJECT, table)[0]
    scores = scorer.scores(queries.take([0, 1, 2]))
    assert not torch.allclose(scores[0], scores[1])
