"""Tables of ranks and their comparison: with oneself, with another tool, and with what is wrong in a file."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from kgservice import datasets
from kgservice.cli import cli
from kgservice.errors import DataError, InputError, UnknownEntity, UnknownRelation
from kgservice.evaluation.baselines import MostFrequent
from kgservice.evaluation.comparison import SHOWN, compare
from kgservice.evaluation.rank_table import COLUMNS, RankTable
from kgservice.evaluation.ranking import rank
from kgservice.graph import KnowledgeGraph
from kgservice.graph.splits import random_split
from kgservice.graph.statements import Split, StatementTable
from kgservice.graph.vocabulary import Vocabulary
from kgservice.scorers.bilinear import ComplEx
from tests.conftest import family_recipe

HEADER = "\t".join(COLUMNS)


@pytest.fixture(scope="module")
def world() -> KnowledgeGraph:
    return random_split(datasets.load("world"), valid=0.1, test=0.1, seed=0)


@pytest.fixture(scope="module")
def ours(world: KnowledgeGraph) -> RankTable:
    return RankTable.of(rank(MostFrequent(world), world, Split.TEST))


def with_rank(table: RankTable, values: np.ndarray) -> RankTable:
    return RankTable(table.side, table.subject, table.relation, table.object, values)


def test_with_oneself_nothing_differs(ours: RankTable, world: KnowledgeGraph, tmp_path: Path) -> None:
    path = tmp_path / "ranks.tsv"
    ours.write(path, world)
    assert path.read_text(encoding="utf-8").startswith(HEADER + "\n")
    found = compare(ours, RankTable.read(path, world), world)
    assert found.rows == found.equal == len(ours)
    test = world.statements.in_split(Split.TEST)
    triples = set(zip(test.subject.tolist(), test.relation.tolist(), test.object.tolist(), strict=True))
    assert found.statements == len(triples) == len(ours) / 2
    assert (found.better, found.worse, found.missing, found.biggest) == (0, 0, 0, ())
    assert (found.difference, found.interval) == (0.0, (0.0, 0.0))
    assert (found.sign_p, found.wilcoxon_p) == (1.0, 1.0)
    assert found.ours == found.theirs
    json.dumps(found.as_dict(), allow_nan=False)


def test_rows_in_any_order_and_with_windows_line_ends(ours: RankTable, world: KnowledgeGraph, tmp_path: Path) -> None:
    path = tmp_path / "ranks.tsv"
    ours.write(path, world)
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    path.write_bytes("\r\n".join([head, *sorted(rows)]).encode())
    assert compare(ours, RankTable.read(path, world), world).equal == len(ours)


def test_what_differs_is_counted_and_shown(ours: RankTable, world: KnowledgeGraph) -> None:
    values = ours.rank.copy()
    random = np.random.default_rng(0)
    worse = random.choice(np.flatnonzero(values < 20), 40, replace=False)
    values[worse] += 1
    values[worse[0]] = world.n
    found = compare(ours, with_rank(ours, values), world)
    assert (found.equal, found.better, found.worse) == (len(ours) - 40, 40, 0)
    expected = (1 / ours.rank - 1 / values).mean()
    assert found.difference == pytest.approx(expected)
    assert found.ours["mrr"] - found.theirs["mrr"] == pytest.approx(expected)
    assert 0 < found.interval[0] < expected < found.interval[1]
    assert max(found.sign_p, found.wilcoxon_p) < 1e-5
    assert len(found.biggest) == SHOWN
    gains = [1 / row.ours - 1 / row.theirs for row in found.biggest]
    assert gains == sorted(gains, reverse=True)
    labels = set(world.texts.labels(np.arange(world.n)))
    assert all(row.subject in labels for row in found.biggest)
    assert sum(part.contribution for part in found.parts) == pytest.approx(expected)
    assert sum(part.rows for part in found.parts) == len(ours)
    assert [part.contribution for part in found.parts] == sorted(
        (part.contribution for part in found.parts), reverse=True
    )
    back = compare(with_rank(ours, values), ours, world)
    assert back.difference == pytest.approx(-expected)
    assert (back.better, back.worse) == (0, 40)
    text = found.to_markdown("ours", "theirs.tsv")
    assert f"{len(ours):,} rows of {found.statements:,} statements" in text
    assert "40 better, 0 worse" in text


def test_noise_is_no_difference(ours: RankTable, world: KnowledgeGraph) -> None:
    random = np.random.default_rng(5)
    noisy = with_rank(ours, 1 + np.floor(ours.rank * random.lognormal(0, 0.2, len(ours))).clip(0, world.n - 1))
    again = with_rank(ours, 1 + np.floor(ours.rank * random.lognormal(0, 0.2, len(ours))).clip(0, world.n - 1))
    found = compare(noisy, again, world)
    assert found.interval[0] < 0 < found.interval[1]
    assert min(found.sign_p, found.wilcoxon_p) > 0.01
    assert found.equal < len(ours)


def test_missing_rows_need_consent(ours: RankTable, world: KnowledgeGraph) -> None:
    part = RankTable(*(getattr(ours, name)[5:] for name in RankTable.__dataclass_fields__))
    with pytest.raises(InputError, match=rf"5 of {len(ours):,} rows have no rank in the other table, such as \("):
        compare(ours, part, world)
    found = compare(ours, part, world, partial=True)
    assert (found.missing, found.rows) == (5, len(ours) - 5)
    nothing = RankTable(*(getattr(ours, name)[:0] for name in RankTable.__dataclass_fields__))
    with pytest.raises(InputError, match="have no rank in the other table"):
        compare(ours, nothing, world, partial=True)


def test_rows_of_another_split_are_refused(ours: RankTable, world: KnowledgeGraph) -> None:
    other = RankTable.of(rank(MostFrequent(world), world, Split.VALID))
    with pytest.raises(InputError, match="are not among the .* Was another split ranked"):
        compare(ours, other, world)


@pytest.fixture(scope="module")
def small() -> KnowledgeGraph:
    table = StatementTable.build([1, 2], [0, 0], [2, 0], split=[0, 2])
    return KnowledgeGraph(Vocabulary.build(['"c"', "a", "b"]), Vocabulary.build(["r"]), table)


@pytest.mark.parametrize(
    ("lines", "error", "message"),
    [
        (["subject\trelation\tobject\trank"], InputError, r"ranks.tsv:1: expected the header 'subject"),
        ([HEADER, "a\tr\tb\ttail\t1", "a\tr\tb\thead"], InputError, r"ranks.tsv:3: expected 5 fields .* found 4"),
        ([HEADER, "a\tr\tb\ttail\t1", ""], UnknownEntity, r"'' is not an entity of the graph .*:3\)"),
        ([HEADER, "a\tr\tb\ttail\t1", "a\tr\tz\thead\t1"], UnknownEntity, r"'z' is not an entity of the graph .*:3\)"),
        ([HEADER, "a\tq\tb\ttail\t1"], UnknownRelation, r"'q' is not a relation of the graph .*:2\)"),
        ([HEADER, "a\tr\tb\tobject\t1"], InputError, r"ranks.tsv:2: expected head or tail as the side, found 'object'"),
        (
            [HEADER, "a\tr\tb\ttail\t1", "a\tr\tb\thead\t0"],
            InputError,
            r"ranks.tsv:3: expected a rank from 1 to 3.*'0'",
        ),
        ([HEADER, "a\tr\tb\ttail\t4"], InputError, r"ranks.tsv:2: expected a rank from 1 to 3.* found '4'"),
        ([HEADER, "a\tr\tb\ttail\tnan"], InputError, r"ranks.tsv:2: expected a rank from 1 to 3.* found 'nan'"),
        ([HEADER, "a\tr\tb\ttail\t"], InputError, r"ranks.tsv:2: expected a rank from 1 to 3.* found ''"),
        ([HEADER, "a\tr\tb\ttail\t1", "a\tr\tb\thead\t1", "a\tr\tb\ttail\t2"], InputError, r":4: .* of line 2 again"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    lines: list[str], error: type[Exception], message: str, small: KnowledgeGraph, tmp_path: Path
) -> None:
    path = tmp_path / "ranks.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(error, match=message):
        RankTable.read(path, small)


def test_names_stay_as_they_are(small: KnowledgeGraph, tmp_path: Path) -> None:
    path = tmp_path / "ranks.tsv"
    table = RankTable.of(rank(MostFrequent(small), small, Split.TEST))
    table.write(path, small)
    assert 'b\tr\t"c"\ttail' in path.read_text(encoding="utf-8")
    assert compare(table, RankTable.read(path, small), small).equal == 2


def test_no_table_at_all(small: KnowledgeGraph, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as a table of ranks"):
        RankTable.read(tmp_path / "none.tsv", small)
    (tmp_path / "bytes.tsv").write_bytes(HEADER.encode() + b"\n\xff\xfe\n")
    with pytest.raises(DataError, match="cannot be read as a table of ranks"):
        RankTable.read(tmp_path / "bytes.tsv", small)


def test_names_that_the_format_cannot_hold(tmp_path: Path) -> None:
    table = StatementTable.build([0, 0], [0, 0], [0, 1], split=[0, 2])
    graph = KnowledgeGraph(Vocabulary.build(["a\tb", "c"]), Vocabulary.build(["r"]), table)
    ranks = RankTable.of(rank(MostFrequent(graph), graph, Split.TEST))
    with pytest.raises(InputError, match="holds a tab or a line break"):
        ranks.write(tmp_path / "ranks.tsv", graph)


def test_evaluate_writes_ranks_and_compares(family_ttl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = family_ttl.parent / "compared.toml"
    recipe.write_text(family_recipe().to_toml(), encoding="utf-8")
    monkeypatch.setenv("KGSERVICE_HOME", str(tmp_path / "home"))
    ranks, out = tmp_path / "ranks.tsv", tmp_path / "out.json"

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(cli, ["evaluate", str(recipe), *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    assert "against" not in run("--ranks", str(ranks))
    told = run("--against", str(ranks), "--out", str(out))
    assert "0 better, 0 worse" in told
    measured = json.loads(out.read_text(encoding="utf-8"))["models"]["complex"][0]
    assert measured["against"]["difference"] == 0
    assert measured["against"]["rows"] == measured["test"]["filtered"]["realistic"]["count"]
    again = run("--against", str(ranks), "--seeds", "1", "--ranks", str(tmp_path / "other.tsv"))
    assert "0 better, 0 worse" not in again
    assert (tmp_path / "other.tsv").read_text(encoding="utf-8") != ranks.read_text(encoding="utf-8")
    part, few = tmp_path / "few.tsv", tmp_path / "few.json"
    assert "a fixed sample of 10 of its" in run("--sample", "10", "--ranks", str(part), "--out", str(few))
    _, *rows = part.read_text(encoding="utf-8").splitlines()
    assert len(rows) == 10
    assert set(rows) < set(ranks.read_text(encoding="utf-8").splitlines()), "a rank of the sample is one of the whole"
    sampled = json.loads(few.read_text(encoding="utf-8"))["models"]["complex"][0]
    assert sampled["sample"] == {"questions": 10, "of": measured["test"]["filtered"]["realistic"]["count"]}
    refused = CliRunner().invoke(cli, ["evaluate", str(recipe), "--ranks", str(ranks), "--seeds", "0,1"])
    assert refused.exit_code
    assert "holds the ranks of one training, not of 1 models by 2 seeds" in refused.output + str(refused.exception)


def test_the_same_weights_have_the_ranks_of_pykeen(world: KnowledgeGraph) -> None:
    pytest.importorskip("pykeen", reason="PyKEEN is installed for the benchmarks alone: .venv-bench/bin/pytest")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pykeen.evaluation import RankBasedEvaluator
        from pykeen.models import ComplEx as Theirs
        from pykeen.triples import CoreTriplesFactory

        def triples(split: Split) -> torch.Tensor:
            table = world.statements.in_split(split)
            return torch.from_numpy(np.stack([table.subject, table.relation, table.object], axis=1).astype(np.int64))

        factory = CoreTriplesFactory(triples(Split.TRAIN), num_entities=world.n, num_relations=world.r)
        # In float64, where rounding makes no ties and breaks none.
        model = Theirs(triples_factory=factory, embedding_dim=8, random_seed=0).double()
        scorer = ComplEx(world.n, world.r, width=16, reciprocal=False).double()
        with torch.no_grad():
            for mine, theirs in (
                (scorer.entity, model.entity_representations[0]()),
                (scorer.relation, model.relation_representations[0]()),
            ):
                mine.copy_(torch.cat([theirs.real, theirs.imag], dim=1))
        evaluator = RankBasedEvaluator(filtered=True, clear_on_finalize=False)
        evaluator.evaluate(
            model=model,
            mapped_triples=triples(Split.TEST),
            additional_filter_triples=[triples(split) for split in Split],
            batch_size=32,
            use_tqdm=False,
        )
    ranks = rank(scorer.eval(), world, Split.TEST)
    for side in ("head", "tail"):
        found = np.concatenate([np.ravel(part) for part in evaluator.ranks[side, "realistic"]])
        assert np.array_equal(ranks.where(ranks.side == side).ranks(), found)
