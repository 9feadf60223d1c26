"""Reviews: what comes first, what verdicts say, what goes into the next ingest."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import sqlalchemy
from click.testing import CliRunner

from kgservice import ingestion
from kgservice.cli import cli
from kgservice.engine import Engine
from kgservice.enrichment.plan import Plan
from kgservice.enrichment.reviewing import ordered, recalibrated, summary, write_accepted
from kgservice.enrichment.running import PROPOSALS, REPORT, enrich, write
from kgservice.enrichment.table import NAMED
from kgservice.errors import InputError
from kgservice.graph import KnowledgeGraph
from kgservice.release import ReleaseStore
from kgservice.store.database import open_database
from kgservice.store.reviews import REVIEWS, Reviews, UnknownReview


def _table(probability: np.ndarray, relations: int = 4) -> pa.Table:
    m = len(probability)
    names = [f"urn:s{place % 37}" for place in range(m)], [f"urn:r{place % relations}" for place in range(m)]
    columns = [
        *names,
        [f"urn:o{place}" for place in range(m)],
        probability,
        np.zeros(m, np.float32),
        np.ones(m, np.int32),
    ]
    return pa.Table.from_arrays(
        [pa.array(column, type=kind) for column, kind in zip(columns, NAMED.types, strict=True)], schema=NAMED
    )


@pytest.fixture
def reviews(database: sqlalchemy.Engine) -> Reviews:
    with database.begin() as connection:
        connection.execute(REVIEWS.delete())
    return Reviews(database)


def _judge(reviews: Reviews, table: pa.Table, truth: dict[str, bool], count: int, audit: float, seed: int = 0) -> None:
    reviews.queue("run", "links", ordered(table, count, audit, seed))
    asked = reviews.next("run", count)
    reviews.decide_all([(one.id, "accept" if truth[one.object] else "reject", "", "Ada") for one in asked])


def test_what_teaches_most_comes_first_and_a_share_is_random() -> None:
    random = np.random.default_rng(0)
    table = _table(random.random(400))
    rows = list(ordered(table, 100, 0.2))
    assert len({row["object"] for row in rows}) == 100
    assert sum(row["audit"] for row in rows) == 20
    assert all(any(row["audit"] for row in rows[start : start + 10]) for start in range(0, 100, 10))
    taught = [row for row in rows if not row["audit"]]
    assert len({row["relation"] for row in taught[:8]}) >= 3  # not the same again and again
    doubt = [row["probability"] * (1 - row["probability"]) for row in taught[:20]]
    assert np.mean(doubt) > 0.23
    assert list(ordered(table, 100, 0.2)) == rows
    assert [row["audit"] for row in ordered(table, 30, 1.0)] == [True] * 30
    assert len(list(ordered(_table(np.empty(0)), 5))) == 0


def test_precision_is_that_of_the_random_ones_and_its_interval_holds_the_truth(tmp_path: Path) -> None:
    """Probabilities that promise too much: the review of a few finds it out, relation by relation."""
    held, closer = 0, 0
    for seed in range(10):
        random = np.random.default_rng(seed)
        said = random.uniform(0.4, 1, 1500)
        really = said * np.where(np.arange(1500) % 4 == 0, 0.4, 0.9)
        true = random.random(1500) < really
        table = _table(said)
        reviews = Reviews(open_database(tmp_path / str(seed)))
        _judge(reviews, table, dict(zip(table["object"].to_pylist(), true.tolist(), strict=True)), 200, 0.4, seed)
        found = summary(table, reviews.decided("run"))
        assert found.precision is not None
        held += found.precision.low <= true.mean() <= found.precision.high
        after = recalibrated(table, reviews.decided("run"))
        closer += np.abs(after - really).mean() < np.abs(said - really).mean()
        worst = min(found.relations, key=lambda one: one.mean)
        assert worst.relation == "urn:r0"
        assert found.accepted + found.rejected == 200
    assert held >= 8
    assert closer == 10


def test_without_verdicts_nothing_changes() -> None:
    table = _table(np.array([0.3, 0.9]))
    np.testing.assert_allclose(recalibrated(table, []), [0.3, 0.9], rtol=1e-6)
    empty = summary(table, [])
    assert empty.precision is None
    assert empty.recalibrated == pytest.approx(0.6)


def test_queueing_twice_keeps_verdicts_and_places(reviews: Reviews) -> None:
    table = _table(np.linspace(0.1, 0.9, 50))
    assert reviews.queue("run", "links", ordered(table, 20)) == 20
    first = reviews.next("run", 50)
    reviews.decide(first[0].id, "reject", "no", "Ada")
    assert reviews.queue("run", "links", ordered(table, 30)) >= 10
    assert [one.id for one in reviews.next("run", 19)] == [one.id for one in first[1:20]]
    assert reviews.decide(first[0].id, "accept").verdict == "accept"  # the last word counts
    assert [one.verdict for one in reviews.decided("run")] == ["accept"]
    assert reviews.next("other", 5) == []


def test_a_wrong_verdict_leaves_all_as_it_was(reviews: Reviews) -> None:
    reviews.queue("run", "links", ordered(_table(np.array([0.5, 0.6])), 2))
    id = reviews.next("run", 1)[0].id
    with pytest.raises(InputError, match="verdict 1: 'perhaps' is none of accept, reject, unsure"):
        reviews.decide_all([(id, "accept", "", ""), (id, "perhaps", "", "")])
    with pytest.raises(UnknownReview, match="nothing of id 'x' is to be reviewed"):
        reviews.decide_all([(id, "accept", "", ""), ("x", "accept", "", "")])
    assert reviews.decided() == []


def test_accepted_links_are_ingested_with_their_reviewer(reviews: Reviews, tmp_path: Path) -> None:
    table = _table(np.linspace(0.2, 0.8, 12))
    _judge(reviews, table, {name: place % 2 == 0 for place, name in enumerate(table["object"].to_pylist())}, 12, 0.0)
    path = tmp_path / "accepted.nq"
    assert write_accepted(reviews.decided("run"), path, "urn:x:") == 6
    graph = ingestion.ingest([path], tmp_path / "graph")
    assert len(graph.statements) == 6
    by = graph.relations.id("http://www.w3.org/ns/prov#wasAttributedTo")
    for row in range(6):
        pairs = dict(graph.statements.qualifiers(row))
        assert graph.literals.value(-1 - pairs[by]).lexical == "Ada"
    with pytest.raises(InputError, match=r"expected a name that ends in .nt, .nq, .trig"):
        write_accepted([], tmp_path / "accepted.csv", "urn:x:")


def test_accepted_doubts_are_deleted_by_the_next_ingest(reviews: Reviews, tmp_path: Path) -> None:
    source = tmp_path / "graph.nt"
    table = _table(np.linspace(0.2, 0.8, 6))
    rows = table.to_pylist()
    source.write_text("".join(f"<{row['subject']}> <{row['relation']}> <{row['object']}> .\n" for row in rows))
    ingestion.ingest([source], tmp_path / "graph")
    reviews.queue("run", "errors", ordered(table, 6, 0.0))
    reviews.decide(reviews.next("run", 1)[0].id, "accept")
    path = tmp_path / "wrong.nt"
    assert write_accepted(reviews.decided("run"), path, "urn:x:") == 1
    result = CliRunner().invoke(cli, ["ingest", str(path), "--into", str(tmp_path / "graph"), "--delete"])
    assert result.exit_code == 0, result.output
    assert len(KnowledgeGraph.open(tmp_path / "graph").statements) == 5


def test_names_that_are_no_iris_come_back(reviews: Reviews, tmp_path: Path) -> None:
    """Accepted links of a graph from TSV or a Wikidata dump are about its own entities, and doubts delete its own statements."""
    names = ["Q80", "Málaga", "a b", "50%", "x/y", "é#?&", "-", "C:\\dir", "_:node"]
    (tmp_path / "graph.tsv").write_text("".join(f"{name}\tP 1\t{names[0]}\n" for name in names[1:]), encoding="utf-8")
    former = ingestion.ingest([tmp_path / "graph.tsv"], tmp_path / "graph")
    rows = [{"subject": "Q80", "relation": "P 1", "object": name, "probability": 0.5, "audit": False} for name in names]
    reviews.queue("run", "links", rows)
    reviews.queue("doubts", "errors", [{**rows[0], "subject": names[1], "object": names[0]}])
    reviews.decide_all([(one.id, "accept", "", "Ada") for one in reviews.next(None, 100)])
    assert write_accepted(reviews.decided("run"), tmp_path / "accepted.nq", "urn:kgservice:") == len(names)
    graph = ingestion.ingest([tmp_path / "accepted.nq"], tmp_path / "graph", into=tmp_path / "graph")
    assert (graph.n, len(graph.statements)) == (former.n, 2 * len(names) - 1)
    assert set(graph.relations.names.to_pylist()) == {
        "P 1",
        "http://www.w3.org/ns/prov#wasAttributedTo",
        "http://www.w3.org/ns/prov#generatedAtTime",
    }
    assert write_accepted(reviews.decided("doubts"), tmp_path / "wrong.nt", "urn:kgservice:") == 1
    left = ingestion.ingest([tmp_path / "wrong.nt"], tmp_path / "graph", into=tmp_path / "graph", delete=True)
    assert len(left.statements) == 2 * len(names) - 2


def test_the_terminal(release_store: ReleaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine.open(release_store.get(), verify=False)
    plan = Plan(
        engine.release_name, models=("complex",), relations=("world:officialLanguage",), threshold=0.01, total=30
    )
    enrich(engine, plan, tmp_path / "enrichments" / "mine")
    monkeypatch.setenv("KGSERVICE_HOME", str(tmp_path))

    def run(*words: str) -> str:
        result = CliRunner().invoke(cli, ["review", *words], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return str(result.output)

    sheet = tmp_path / "sheet.csv"
    assert "10 queued, 10 to be judged" in run("queue", "mine", "--out", str(sheet), "--count", "10", "--audit", "0.5")
    with sheet.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    for place, row in enumerate(rows):
        row["verdict"] = ("accept", "reject", "")[place % 3]
    with sheet.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert "7 verdicts taken" in run("take", str(sheet), "--reviewer", "Ada")
    told = run("report", "mine")
    assert "4 accepted, 3 rejected, 0 unsure" in told
    assert "by those drawn at random" in told
    assert "4 accepted statements" in run("export", "--out", str(tmp_path / "accepted.nt"), "--run", "mine")
    write(sheet, b"a,b\n1,2\n")
    with pytest.raises(InputError, match="the columns id, verdict are missing"):
        run("take", str(sheet))
    with pytest.raises(InputError, match="'other' is not a run that is done .* There are: mine"):
        run("queue", "other", "--out", str(sheet))


def test_a_sheet_as_people_bring_it_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saved by a spreadsheet; with a wrong word; and queued again before its verdicts were taken."""
    monkeypatch.setenv("KGSERVICE_HOME", str(tmp_path))
    folder = tmp_path / "enrichments" / "mine"
    folder.mkdir(parents=True)
    parquet.write_table(_table(np.array([0.5, 0.6, 0.7])), folder / PROPOSALS)
    (folder / REPORT).write_text('{"plan": {"kind": "links"}}')
    sheet = tmp_path / "sheet.csv"

    def run(*words: str) -> str:
        result = CliRunner().invoke(cli, ["review", *words], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return str(result.output)

    def bring(words: Sequence[str], encoding: str = "utf-8-sig", delimiter: str = ";") -> None:
        rows = [{**row, "verdict": word, "reason": "größer"} for row, word in zip(queued, words, strict=True)]
        with sheet.open("w", encoding=encoding, newline="") as lines:
            writer = csv.DictWriter(lines, rows[0], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)

    run("queue", "mine", "--out", str(sheet))
    with sheet.open(encoding="utf-8", newline="") as lines:
        queued = list(csv.DictReader(lines))
    bring(["Accept", "yes", ""])
    with pytest.raises(InputError, match=r"sheet.csv:3: 'yes' is none of accept, reject, unsure; no verdict was taken"):
        run("take", str(sheet))
    with pytest.raises(InputError, match=r"holds 2 verdicts that were not taken .* kgservice review take .*sheet.csv"):
        run("queue", "mine", "--out", str(sheet))
    bring(["accept"] * 3, encoding="latin-1")
    with pytest.raises(InputError, match="sheet.csv is not UTF-8: .* Save it as CSV UTF-8"):
        run("take", str(sheet))
    for delimiter in ";\t,":
        bring(["Accept ", "reject", ""], delimiter=delimiter)
        assert "2 verdicts taken" in run("take", str(sheet))
    assert "0 queued, 1 to be judged" in run("queue", "mine", "--out", str(sheet))  # what was taken is not lost
