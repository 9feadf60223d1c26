"""Missing links of a whole graph: the laws of pruning, scoring, choosing, resuming and writing."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from kgservice import ingestion
from kgservice.cli import cli
from kgservice.engine import Engine
from kgservice.enrichment import selecting
from kgservice.enrichment.calibrating import Examples, RunCalibration
from kgservice.enrichment.companions import PRIOR, Companions
from kgservice.enrichment.links import MissingLinks, among, ranks
from kgservice.enrichment.plan import Plan
from kgservice.enrichment.running import PROPOSALS, Cancelled, enrich, read_proposals
from kgservice.enrichment.scoring import Candidates
from kgservice.enrichment.selecting import Limits, select
from kgservice.enrichment.shapes import Shapes
from kgservice.enrichment.table import SCHEMA, column, named, proposals
from kgservice.enrichment.writers import format_of, write_proposals
from kgservice.errors import DataError, InputError, InvalidQuestion, UnknownRelation
from kgservice.evaluation.evidence import LEARNT
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split, StatementTable
from kgservice.graph.types import Types
from kgservice.graph.vocabulary import Vocabulary
from kgservice.query import QueryBatch
from kgservice.release import ReleaseStore

RELATIONS = ("world:borders", "world:officialLanguage")


@pytest.fixture(scope="module")
def plan(engine: Engine) -> Plan:
    return Plan(engine.release_name, models=("complex",), relations=RELATIONS, threshold=0.02, block=64)


@pytest.fixture(scope="module")
def done(engine: Engine, plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    enrich(engine, plan, folder)
    return folder


def _tiny(subject: list[int], relation: list[int], object: list[int], types: list[tuple[int, int]]) -> KnowledgeGraph:
    n = 60
    entities = Vocabulary.build([f"e{number:02d}" for number in range(n)])
    kinds = Vocabulary.build(["city", "country"])
    entity, kind = zip(*types, strict=True)
    return KnowledgeGraph(
        entities,
        Vocabulary.build(["capital", "near"]),
        StatementTable.build(subject, relation, object),
        types=Types.build(kinds, entity, kind, n=n),
    )


def test_shapes_are_what_the_statements_show() -> None:
    # 0..24 are countries with a capital each in 25..49; 50 and 51 are a country and a city that no statement has.
    countries, cities = list(range(25)), list(range(25, 50))
    types = [(e, 1) for e in [*countries, 50]] + [(e, 0) for e in [*cities, 51]]
    near = [(a, b) for a in countries for b in countries if abs(a - b) == 1]
    graph = _tiny(countries + [a for a, _ in near], [0] * 25 + [1] * len(near), cities + [b for _, b in near], types)
    shapes = Shapes.learn(graph)
    assert shapes.functional.tolist() == [True, False]
    assert shapes.inverse_functional.tolist() == [True, False]
    assert shapes.asymmetric.tolist() == [True, False]
    assert shapes.plausible_subjects(0).tolist() == [*countries, 50]
    assert shapes.plausible_objects(0).tolist() == [*cities, 51]
    assert shapes.plausible_objects(1).tolist() == [*countries, 50]


def test_who_is_looked_at_for_the_calibration_does_not_tell_the_answer(
    engine: Engine, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only validation says that an entity stands at a relation's end, it would be looked at because it is the answer."""
    learnt, seen = Shapes.learn(engine.graph, LEARNT), []

    def told(self: MissingLinks, relation: int, found: Candidates, *_: object) -> None:
        assert np.isin(found.subject, learnt.plausible_subjects(relation)).all()
        assert np.isin(found.object, learnt.plausible_objects(relation)).all()
        seen.append(len(found.subject))

    monkeypatch.setattr(MissingLinks, "_told", told)
    list(MissingLinks(engine, plan)._examples(lambda _: None))
    assert sum(seen) > 0
    graph = _tiny([0, 1, 2], [0, 0, 0], [30, 31, 32], [(0, 0)])
    table = graph.statements.with_split(np.array([Split.TRAIN, Split.VALID, Split.TEST]))
    shapes = Shapes.learn(KnowledgeGraph(graph.entities, graph.relations, table), (Split.TRAIN,))
    assert (shapes.plausible_subjects(0).tolist(), shapes.plausible_objects(0).tolist()) == ([0], [30])


@pytest.mark.parametrize(("rounded", "off"), [(False, 1e-4), (True, 2e-2)])
def test_the_best_are_those_of_all_scores(engine: Engine, plan: Plan, rounded: bool, off: float) -> None:
    """Tiles, masks and shares against scoring every pair at once; rounding changes the shares a little, and nothing else."""
    relation = engine.relations.resolve("world:borders")
    small = MissingLinks(engine, Plan(plan.release, models=("complex",), tile=500))
    small.rounded = rounded
    field = small.field(relation)
    asked = field.subjects[:40]
    found = field.best(asked, 5)
    scorer = engine.model("complex").scorer
    queries = QueryBatch.objects(asked, np.full(len(asked), relation, np.int32))
    whole = scorer.scores(queries).detach().numpy()[:, field.objects].astype(np.float64)
    known = engine.graph.known(queries, splits=LEARNT).union(engine.graph.loops(queries))
    for row, subject in enumerate(asked):
        scores = whole[row].copy()
        scores[np.isin(field.objects, known[row])] = -np.inf
        best = np.sort(field.objects[np.argsort(-scores, kind="stable")[:5]])
        mine = found.subject == subject
        assert found.object[mine].tolist() == best.tolist()
        place = np.searchsorted(field.objects, best)
        mass = np.log(np.exp(scores[np.isfinite(scores)]).sum())
        expected = np.stack([scores[place], scores[place] - mass, scores[place] - scores.max()], axis=1)
        np.testing.assert_allclose(found.views[mine][:, [0, 2]], expected[:, [0, 2]], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found.views[mine, 1], expected[:, 1], rtol=1e-4, atol=off)
        backward = QueryBatch.subjects(np.full(5, relation, np.int32), best)
        back = scorer.scores(backward).detach().numpy()[:, field.subjects].astype(np.float64)
        hidden = engine.graph.known(backward, splits=LEARNT).union(engine.graph.loops(backward))
        own = back[np.arange(5), np.searchsorted(field.subjects, subject)]
        for place, column_ in enumerate(hidden):
            back[place, np.isin(field.subjects, column_)] = -np.inf
        np.testing.assert_allclose(found.views[mine, 3], own - np.log(np.exp(back).sum(axis=1)), rtol=1e-4, atol=off)


def test_nothing_known_and_nothing_refused_is_proposed(engine: Engine, done: Path) -> None:
    table = read_proposals(done)
    graph = engine.graph
    subject, object = (graph.entities.ids(table[name].combine_chunks()) for name in ("subject", "object"))
    relation = graph.relations.ids(table["relation"].combine_chunks())
    assert len(table) > 0
    stated = graph.known(QueryBatch.objects(subject, relation))
    assert not any(np.isin(one, known).any() for one, known in zip(object, stated, strict=True))
    probability = column(table, "probability")
    assert (probability >= 0.02).all()
    assert (np.diff(probability) <= 0).all()
    assert {engine.relations.short(name) for name in table["relation"].to_pylist()} <= set(RELATIONS)
    report = json.loads((done / "report.json").read_text())
    assert report["expected"]["links"] == len(table)
    assert report["expected"]["low"] <= report["expected"]["precision"] <= report["expected"]["high"]
    counts, dropped = report["counts"], report["dropped"]
    kept = counts["candidates"] - sum(
        counts.get(name, 0) for name in counts if name.startswith(("refused", "stated", "less"))
    )
    assert kept - sum(dropped.values()) == len(table)


def test_blocks_of_any_size_give_the_same_links(engine: Engine, plan: Plan, done: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    enrich(engine, replace(plan, block=1000, tile=2000), tmp_path / "large")
    ours, theirs = read_proposals(done), read_proposals(tmp_path / "large")
    links = [
        {tuple(row.values())[:3] for row in table.select(SCHEMA.names[:3]).to_pylist()} for table in (ours, theirs)
    ]
    # Products of other shapes differ in their last bits, so a link at the border may fall on either side.
    assert len(links[0] ^ links[1]) <= 0.01 * len(links[0])


def _killed(engine: Engine, plan: Plan, folder: Path, steps: int, wait_s: float) -> bool:
    """Start the run in a child, kill it after some steps; whether it was killed before its end."""
    reads, writes = os.pipe()
    child = os.fork()
    if not child:  # a copy of this process: nothing has to be imported and opened anew
        try:
            enrich(engine, plan, folder, lambda *_: os.write(writes, b".") and None)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writes)
    while steps and os.read(reads, 1):
        steps -= 1
    time.sleep(wait_s)
    os.kill(child, signal.SIGKILL)
    os.close(reads)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_run_killed_ten_times_ends_with_the_same_bytes(
    engine: Engine, plan: Plan, done: Path, tmp_path: Path
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    try:
        kills = [
            _killed(engine, plan, tmp_path, int(random.integers(0, 15)), random.random() * 0.02) for _ in range(10)
        ]
    finally:
        torch.set_num_threads(threads)
    assert sum(kills) >= 5
    enrich(engine, plan, tmp_path)
    blocks = sorted(path.name for path in (done / "blocks").iterdir())
    assert sorted(path.name for path in (tmp_path / "blocks").glob("[0-9]*")) == blocks
    for name in (PROPOSALS, "calibration.json", *(f"blocks/{block}" for block in blocks)):
        assert (tmp_path / name).read_bytes() == (done / name).read_bytes(), name


def test_a_cancelled_run_goes_on_and_another_plan_is_refused(
    engine: Engine, plan: Plan, done: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "score" and done == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        enrich(engine, plan, tmp_path, stop)
    assert not (tmp_path / PROPOSALS).exists()
    enrich(engine, plan, tmp_path)
    assert (tmp_path / PROPOSALS).read_bytes() == (done / PROPOSALS).read_bytes()
    with pytest.raises(DataError, match="holds a run of another plan"):
        enrich(engine, replace(plan, k=3), tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"threshold": 1.5}, "threshold must lie between 0 and 1, found 1.5"),
        ({"threshold": 0.5, "precision": 0.9}, "give a threshold or a precision"),
        ({"k": 0}, r"k must be in \[1, 1,000\], found 0"),
        ({"total": 0}, "total must be at least 1"),
        ({"kind": "guesses"}, "kind must be links or errors"),
    ],
)
def test_a_plan_that_means_nothing_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidQuestion, match=message):
        Plan("r@0", **wrong)  # type: ignore[arg-type]


def test_unknown_names_are_told(engine: Engine) -> None:
    with pytest.raises(UnknownRelation, match="'world:border' is not a relation.*world:borders"):
        MissingLinks(engine, Plan(engine.release_name, relations=("world:border",)))
    number = engine.graph.relations.name(int(np.flatnonzero(~engine.graph.linking)[0]))
    with pytest.raises(InvalidQuestion, match="links no entities"):
        MissingLinks(engine, Plan(engine.release_name, relations=(number,)))


def test_only_new_entities(engine: Engine, release_store: ReleaseStore) -> None:
    work = MissingLinks(engine, Plan(engine.release_name, models=("complex",), since=release_store.current_id()))
    assert work.blocks == 0  # nothing is new since the release itself


_links = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 4), st.integers(1, 99)), min_size=1, max_size=60
)


def _table(rows: list[tuple[int, int, int, int]]) -> pa.Table:
    subject, relation, object, hundredths = np.array(rows, dtype=np.int32).T
    m = len(rows)
    zero, one = np.zeros(m, np.float32), np.ones(m, np.int32)
    return proposals(subject, relation, object, hundredths / 100, zero, one, kept=np.ones(m, bool))


@settings(max_examples=60, deadline=None)
@given(rows=_links, functional=st.lists(st.booleans(), min_size=9, max_size=9), most=st.integers(1, 3))
def test_what_is_chosen_keeps_every_limit(
    rows: list[tuple[int, int, int, int]], functional: list[bool], most: int
) -> None:
    flags = np.array(functional).reshape(3, 3)
    plan = Plan("r@0", threshold=0.2, per_entity=most, per_relation=most + 1, total=5)
    whole = select(_table(rows), plan, Limits(*flags))
    chosen = [tuple(row.values())[:4] for row in whole.table.to_pylist()]
    assert len(chosen) + sum(whole.dropped.values()) == len(rows)
    assert len(chosen) <= 5
    assert all(probability >= 0.2 for *_, probability in chosen)
    for keys, limit, on in (
        ((0,), most, np.ones(3, bool)),
        ((1,), most + 1, np.ones(3, bool)),
        ((0, 1), 1, flags[0]),
        ((1, 2), 1, flags[1]),
        ((0, 1, 2), 1, np.ones(3, bool)),
    ):
        groups = [tuple(row[key] for key in keys) for row in chosen if on[row[1]]]
        assert all(groups.count(group) <= limit for group in groups)
    for s, r, o, _ in chosen:
        assert not (flags[2][r] and s != o and any((o, r, s) == other[:3] for other in chosen))
    shuffled = select(_table(rows[::-1]), plan, Limits(*flags))
    assert shuffled.table.equals(whole.table)


@settings(max_examples=30, deadline=None)
@given(rows=_links, precision=st.sampled_from([0.5, 0.7, 0.9]))
def test_the_lowest_threshold_reaches_the_precision(rows: list[tuple[int, int, int, int]], precision: float) -> None:
    distinct = [(place // 5 % 5, 0, place % 5, row[3]) for place, row in enumerate(rows[:25])]
    no = np.zeros(1, bool)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selecting, "POOLED", 1)  # few links are as good as many
        chosen = select(_table(distinct), Plan("r@0", precision=precision), Limits(no, no, no))
    probability = column(chosen.table, "probability")
    if len(probability):
        assert probability.mean() >= precision - 1e-9
    rest = sorted((row[3] / 100 for row in distinct), reverse=True)
    lower = [value for value in rest if not len(probability) or value < probability.min()]
    assert all(np.mean([v for v in rest if v >= value]) < precision + 1e-9 for value in lower)


def test_ranks_start_at_one_in_every_group() -> None:
    assert ranks(np.array([5, 3, 5, 3, 5], np.int32), np.array([0.1, 0.2, 0.3, 0.9, 0.2])).tolist() == [3, 2, 1, 1, 2]


@pytest.mark.parametrize("ending", ["nq", "trig"])
def test_rdf_comes_back_through_the_reader(done: Path, tmp_path: Path, ending: str) -> None:
    table, report = read_proposals(done), json.loads((done / "report.json").read_text())
    path = tmp_path / f"links.{ending}"
    assert write_proposals(table, report, path, format_of(path), base="urn:x:") == 0
    read = ingestion.ingest([path], tmp_path / "graph")
    ours = {(row["subject"], row["relation"], row["object"]): row for row in table.to_pylist()}
    found = read.statements
    links = [row for row in range(len(found)) if len(found.qualifiers(row))]
    assert len(links) == len(ours)
    probability, rank = (read.relations.id(f"https://kgservice.example/ns#{name}") for name in ("probability", "rank"))
    by = read.relations.id("http://www.w3.org/ns/prov#wasGeneratedBy")
    for row in links:
        key = (
            read.entities.name(int(found.subject[row])),
            read.relations.name(int(found.relation[row])),
            read.entities.name(int(found.object[row])),
        )
        pairs = dict(found.qualifiers(row))
        assert read.literals.number[-1 - pairs[probability]] == pytest.approx(ours[key]["probability"], rel=1e-5)
        assert read.literals.number[-1 - pairs[rank]] == ours[key]["rank"]
        assert read.entities.name(pairs[by]).startswith("urn:kgservice:enrichment:")


def test_wikidata_formats_say_what_they_can(tmp_path: Path) -> None:
    entities = Vocabulary.build(["Q1", "http://www.wikidata.org/entity/Q2", "elsewhere"])
    graph = KnowledgeGraph(entities, Vocabulary.build(["P3"]), StatementTable.empty())
    ids = [entities.id(name) for name in ("Q1", "http://www.wikidata.org/entity/Q2", "elsewhere")]
    table = named(_table([(ids[0], 0, ids[1], 90), (ids[0], 0, ids[2], 80)]), graph)
    report = {"release": "r@0", "models": ["m"], "plan": Plan("r@0").to_json()}
    quick, mismatches = tmp_path / "a.qs", tmp_path / "a.mismatches.csv"
    assert write_proposals(table, report, quick, format_of(quick), base="urn:x:") == 1
    assert quick.read_text() == "Q1\tP3\tQ2 /* kgservice r@0 m probability 0.900 rank 1 */\n"
    assert write_proposals(table, report, mismatches, format_of(mismatches), base="urn:x:") == 1
    assert mismatches.read_text().splitlines()[1] == "Q1,,P3,,,Q2,"
    doubted = {**report, "plan": Plan("r@0", kind="errors").to_json()}
    assert write_proposals(table, doubted, quick, "quickstatements", base="urn:x:") == 1
    assert quick.read_text().startswith("-Q1\tP3\tQ2 ")
    with pytest.raises(InputError, match="need statement ids"):
        format_of(mismatches, kind="errors")
    with pytest.raises(InputError, match="its name tells no format. Known: nq"):
        format_of(tmp_path / "links.doc")


def test_the_command(release_store: ReleaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KGSERVICE_HOME", str(release_store.folder.parent))
    words = ["enrich", "--out", str(tmp_path / "links.parquet"), "--relation", "world:borders", "--model", "complex"]
    words += [
        "--precision",
        "0.6",
        "--total",
        "7",
        "--work",
        str(tmp_path / "run"),
        "--report",
        str(tmp_path / "report.json"),
    ]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    table = pa.parquet.read_table(tmp_path / "links.parquet")
    assert table.num_rows <= 7
    assert table.schema.metadata[b"release"].decode().startswith(str(release_store.current_id()))
    assert "expected precision" in result.output or table.num_rows == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["expected"]["links"] == table.num_rows
    again = CliRunner().invoke(cli, [*words[:2], str(tmp_path / "links.csv"), *words[3:]])
    assert again.exit_code == 0, again.output
    assert len((tmp_path / "links.csv").read_text().splitlines()) == table.num_rows + 1


def test_doubtful_statements_are_stated_and_the_made_ones_stand_first(engine: Engine, tmp_path: Path) -> None:
    plan = Plan(
        engine.release_name, kind="errors", models=("complex",), relations=("world:borders",), threshold=0.001, total=50
    )
    report = enrich(engine, plan, tmp_path)
    table = read_proposals(tmp_path)
    graph = engine.graph
    subject, object = (graph.entities.ids(table[name].combine_chunks()) for name in ("subject", "object"))
    relation = graph.relations.ids(table["relation"].combine_chunks())
    assert 0 < len(table) <= 50
    assert among(graph.known(QueryBatch.objects(subject, relation)), object).all()
    assert (np.diff(table["probability"].to_numpy()) <= 0).all()
    assert report["counts"]["statements"] == sum(
        report["counts"].get(name, 0) for name in ("less doubtful than the floor",)
    ) + len(table) + sum(report["dropped"].values())


def test_a_statement_is_judged_as_if_it_were_not_stated(engine: Engine) -> None:
    """Of learnt statements, the share is that of the pair among its rivals and itself alone."""
    relation = engine.relations.resolve("world:borders")
    work = MissingLinks(engine, Plan(engine.release_name, models=("complex",), tile=700))
    work.rounded = False
    field = work.field(relation)
    table = engine.graph.statements
    rows = np.flatnonzero((table.relation == relation) & (table.split == Split.TRAIN))[:30]
    judged = field.judge(table.subject[rows], table.object[rows])
    queries = QueryBatch.objects(table.subject[rows], table.relation[rows])
    scores = engine.model("complex").scorer.scores(queries).detach().numpy()[:, field.objects].astype(np.float64)
    known = engine.graph.known(queries, splits=LEARNT).union(engine.graph.loops(queries))
    for row, object in enumerate(table.object[rows]):
        own = scores[row, np.searchsorted(field.objects, object)]
        rivals = scores[row, ~np.isin(field.objects, known[row])]
        share = own - np.log(np.exp(rivals).sum() + np.exp(own))
        np.testing.assert_allclose(judged.views[row, :3], [own, share, own - rivals.max()], rtol=1e-4, atol=1e-4)


def test_support_is_counted_without_the_statement_itself() -> None:
    """Against a count by hand over all entities."""
    random = np.random.default_rng(3)
    subject, relation, object = random.integers(0, 20, 120), random.integers(0, 2, 120), random.integers(20, 32, 120)
    graph = _tiny(subject.tolist(), relation.tolist(), object.tolist(), [(e, e % 2) for e in range(60)])
    table = graph.statements
    facets: dict[int, set[tuple[object, ...]]] = {e: {("type", e % 2)} for e in range(60)}
    for s, r, o in zip(table.subject.tolist(), table.relation.tolist(), table.object.tolist(), strict=True):
        facets[s].add(("out", r, o))
        facets[o].add(("in", r, s))
    companions = Companions.learn(graph)
    one = table.take(table.relation == 0)
    found = companions.support(0, one.subject, one.object, np.ones(len(one), bool))
    for row, (s, o) in enumerate(zip(one.subject.tolist(), one.object.tolist(), strict=True)):
        for side, (entity, facet) in enumerate(((s, ("out", 0, o)), (o, ("in", 0, s)))):
            lifts = []
            for witness in facets[entity] - {facet}:
                share = sum(witness in held for held in facets.values())
                if share < 2:
                    continue
                others = sum(facet in held and witness in held for held in facets.values()) - 1
                having = sum(facet in held for held in facets.values()) - 1
                lifts.append(np.log((others + PRIOR * share / 60) / (having + PRIOR)) - np.log(share / 60))
            assert found[row, side] == pytest.approx(np.mean(lifts) if lifts else 0.0)


def test_without_validation_nothing_is_called_probable() -> None:
    m = 40
    examples = Examples(np.zeros((m, 2)), np.zeros(m, np.int32), np.arange(m), np.zeros(m, bool), np.ones(m))
    with pytest.raises(DataError, match="of the candidates looked at, the validation split states none"):
        RunCalibration.fit(examples, ("a", "b"), population="none", label_share=0.5, seed=0)


def test_a_calibration_finds_the_probabilities_of_what_is_not_held() -> None:
    """True ones are held half of the time: what is left over is true as often as is said."""
    random = np.random.default_rng(0)
    m = 40_000
    column = random.normal(size=(m, 1))
    chance = 1 / (1 + np.exp(3 - 2.5 * column[:, 0]))
    true = random.random(m) < chance
    held = true & (random.random(m) < 0.5)
    of = np.zeros(m, np.int32)
    made = RunCalibration.fit(
        Examples(column, of, np.arange(m), held, np.ones(m)), ("a",), population="made", label_share=0.5, seed=0
    )
    rest = ~held
    said = made.probability(column[rest], of[rest])
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        inside = (said >= low) & (said < low + 0.2)
        assert true[rest][inside].mean() == pytest.approx(said[inside].mean(), abs=0.05)
    again = RunCalibration.from_json(json.loads(json.dumps(made.to_json())))
    np.testing.assert_array_equal(again.probability(column, of), made.probability(column, of))
    complete = RunCalibration.fit(
        Examples(column, of, np.arange(m), true, np.ones(m)), ("a",), population="made", label_share=0.1, seed=0
    )
    assert complete.label_share is not None
    assert complete.label_share > 0.9  # all that is true is held: the candidates show it, whatever was assumed
