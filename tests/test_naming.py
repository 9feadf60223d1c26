"""Names in many languages: when names are equal, what sources propose, how a combiner learns, and the figures."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kgservice.errors import DataError, InputError
from kgservice.graph.texts import TextKind, Texts
from kgservice.naming import scoring
from kgservice.naming.candidates import CANDIDATES, Wanted, tidy, wanted
from kgservice.naming.combiner import Combiner, cross_validated, folds
from kgservice.naming.features import features
from kgservice.naming.forms import forms
from kgservice.naming.normalising import form, in_script, key
from kgservice.naming.sources import CandidateFile, OtherLanguages, SitelinkTitles, Transliteration

ROWS = (
    (0, TextKind.LABEL, "en", "Moscow"),
    (0, TextKind.LABEL, "de", "Moskau"),
    (0, TextKind.LABEL, "fr", "Moscou"),
    (0, TextKind.LABEL, "ru", "Москва"),
    (0, TextKind.ALIAS, "nl", "Moskau"),
    (0, TextKind.DESCRIPTION, "en", "capital of Russia"),
    (2, TextKind.LABEL, "en", "Vent'anni"),
    (2, TextKind.LABEL, "it", "Vent'anni"),
)


def of(texts: pl.Series | list[str], expression: pl.Expr) -> list[object]:
    return pl.DataFrame({"name": texts}, schema={"name": pl.String}).select(expression).to_series().to_list()


@pytest.fixture
def texts() -> Texts:
    owner, kind, language, text = zip(*ROWS, strict=True)
    return Texts.build(owner, kind, language, text)


def asked(texts: Texts, language: str) -> Wanted:
    return wanted(texts, ["ex:a", "ex:b", "ex:c"], np.arange(3, dtype=np.int32), language)


def rows(*given: tuple[int, str, str, float]) -> pl.DataFrame:
    return pl.DataFrame([(*one, False) for one in given], schema=CANDIDATES, orient="row")


@given(st.lists(st.text(max_size=20), max_size=20))
def test_keys_are_lower_case_letters_digits_and_spaces(names: list[str]) -> None:
    names = [name.encode("utf-8", "ignore").decode() for name in names]
    plain = ["".join(one for one in name.lower() if one.isalnum() or one == " ") for name in names]
    # The two libraries may know different versions of Unicode: compare where both call a character the same.
    got = of(names, key(pl.col("name")))
    assert [one for one, name in zip(got, names, strict=True) if name.isascii()] == [
        one for one, name in zip(plain, names, strict=True) if name.isascii()
    ]
    assert of(got, key(pl.col("name"))) == got


def test_keys_agree_with_python_on_assigned_letters() -> None:
    characters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    plain = ["".join(one for one in c.lower() if one.isalnum() or one == " ") for c in characters]
    differ = [
        c
        for c, ours, theirs in zip(characters, of(characters, key(pl.col("name"))), plain, strict=True)
        if ours != theirs
    ]
    # Letters that a newer Unicode added; none of them is in the benchmark's languages.
    assert all(ord(one) > 0x0870 for one in differ), [hex(ord(one)) for one in differ][:9]
    assert len(differ) < 20_000


def test_scripts_and_forms() -> None:
    assert of(["Москва", "Moscow", "東京タワー", "123"], in_script(pl.col("name"), "ru")) == [1.0, 0.0, 0.0, 1.0]
    assert of(["東京タワー"], in_script(pl.col("name"), "ja")) == [1.0]
    assert of(["Norfolk (Virginia)", "2001年宇宙の旅"], form(pl.col("name"))) == ["Aa (Aa)", "0漢か漢"]


def test_the_target_language_is_never_shown_to_sources(texts: Texts) -> None:
    assert asked(texts, "it").texts.filter(pl.col("language") == "it").is_empty()
    assert asked(texts, "it").texts.height == len(ROWS) - 1


def test_other_languages_vote_within_a_script(texts: Texts) -> None:
    got = OtherLanguages().candidates(asked(texts, "it")).sort("entity", "name")
    assert got.select("entity", "name", "votes").rows() == [
        (0, "Moscou", 1.0), (0, "Moscow", 1.0), (0, "Moskau", 2.0), (2, "Vent'anni", 1.0),
    ]  # fmt: skip
    assert OtherLanguages().candidates(asked(texts, "uk"))["name"].to_list() == ["Москва"]


def test_transliteration_writes_other_scripts(texts: Texts) -> None:
    pytest.importorskip("icu")
    assert Transliteration().candidates(asked(texts, "it"))["name"].to_list() == ["Moskva"]
    written = Transliteration().candidates(asked(texts, "ru")).sort("name")
    # "Moscow" and "Moscou" are written alike, "Moskau" is said in two languages.
    assert written.select("name", "votes").rows() == [("Вент'анни", 2.0), ("Москау", 2.0), ("Мосцоу", 2.0)]
    assert Transliteration().candidates(asked(texts, "zh")).is_empty()


@pytest.mark.parametrize("ending", ["jsonl", "tsv", "csv", "parquet"])
def test_files_of_candidates(texts: Texts, tmp_path: Path, ending: str) -> None:
    table = pl.DataFrame(
        {"entity": ["ex:c", "ex:x"], "name": ["Vent’anni", "nobody"], "votes": [3.0, 1.0], "language": ["it", "it"]}
    )
    path = tmp_path / f"some.{ending}"
    write = {
        "jsonl": table.write_ndjson, "csv": table.write_csv, "parquet": table.write_parquet,
        "tsv": lambda to: table.write_csv(to, separator="\t"),
    }  # fmt: skip
    write[ending](path)
    got = CandidateFile(path).candidates(asked(texts, "it"))
    assert got.rows() == [(2, "Vent’anni", "file:some", 3.0, False)]
    assert got.schema == CANDIDATES
    assert CandidateFile(path).candidates(asked(texts, "fr")).is_empty()


def test_files_of_the_benchmark_and_bad_files(texts: Texts, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text('{"wikidata_id": "ex:a", "values": [[4, "Mosca", true], [1, "Moscova", false]]}\n')
    got = CandidateFile(tmp_path / "m.json").candidates(asked(texts, "it"))
    assert got.select("name", "votes", "primary").rows() == [("Mosca", 4.0, True), ("Moscova", 1.0, False)]
    (tmp_path / "bad.csv").write_text("id,name\nx,y\n")
    with pytest.raises(InputError, match="no column entity; found id, name"):
        CandidateFile(tmp_path / "bad.csv")
    with pytest.raises(InputError, match=r"a table ends in \.jsonl"):
        CandidateFile(tmp_path / "bad.xml")
    with pytest.raises(InputError, match="cannot be read as"):
        CandidateFile(tmp_path / "none.csv")


def test_sitelinks_lose_what_tells_namesakes_apart(texts: Texts, tmp_path: Path) -> None:
    (tmp_path / "s.tsv").write_text("entity\tsite\ttitle\nex:a\titwiki\tMosca_(Russia)\nex:a\tfrwiki\tMoscou\n")
    assert SitelinkTitles(tmp_path / "s.tsv").candidates(asked(texts, "it"))["name"].to_list() == ["Mosca"]


def test_forms_of_names() -> None:
    def made(language: str, *names: str) -> set[str]:
        return set(forms(tidy(rows(*((0, name, "a", 1.0) for name in names))), language)["name"])

    assert made("it", "Norfolk (Virginia)", "Norfolk, Virginia", "Roma") == {"Norfolk"}
    assert made("ru", "Фёдор Иванов") == {"Иванов, Фёдор", "Федор Иванов"}
    assert "우주상수" in made("ko", "우주 상수")
    pytest.importorskip("icu")
    assert made("zh", "威爾斯親王醫院") == {"威尔斯亲王医院"}


def known_truth(entities: int = 200, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Two sources: `good` names rightly nine times of ten, `bad` one time of ten."""
    drawn = np.random.default_rng(seed)
    some, valid = [], []
    for entity in range(entities):
        valid.append((entity, f"right {entity}"))
        for source, share in (("good", 0.9), ("bad", 0.1)):
            right = drawn.random() < share
            some.append((entity, f"right {entity}" if right else f"wrong {entity} {source}", source, 1.0))
    return tidy(rows(*some)), pl.DataFrame(valid, schema=["entity", "key"], orient="row").cast({"entity": pl.Int32})


def learnt(candidates: pl.DataFrame, valid: pl.DataFrame) -> tuple[object, np.ndarray]:
    table = features(candidates, "en")
    truth = table.names.join(valid.with_columns(yes=True), on=["entity", "key"], how="left", maintain_order="left")
    return table, truth["yes"].fill_null(False).to_numpy()


def test_a_combiner_learns_whom_to_trust(tmp_path: Path) -> None:
    table, right = learnt(*known_truth())
    fold = folds(table.names["entity"])
    probability = cross_validated(table, right, fold)
    by_good = table.names["sources"].list.contains("good").to_numpy()
    assert probability[by_good].mean() > 0.8
    assert probability[~by_good].mean() < 0.2
    assert scoring.expected_calibration_error(probability, right) < 0.1
    combiner = Combiner.fit(table, right)
    combiner.save(tmp_path / "c.json")
    assert Combiner.open(tmp_path / "c.json") == combiner
    np.testing.assert_array_equal(Combiner.open(tmp_path / "c.json").probability(table), combiner.probability(table))
    (tmp_path / "c.json").write_text("[]")
    with pytest.raises(DataError, match="is not a combiner"):
        Combiner.open(tmp_path / "c.json")
    with pytest.raises(DataError, match="both kinds are needed"):
        Combiner.fit(table, np.ones(len(right), dtype=bool))


def test_cross_validation_has_not_seen_what_it_judges() -> None:
    candidates, valid = known_truth()
    table, right = learnt(candidates, valid)
    fold = folds(table.names["entity"])
    before = cross_validated(table, right, fold)
    here = fold == 2
    # Other truths of a fold do not move its own probabilities.
    other = np.where(here, ~right, right)
    np.testing.assert_allclose(cross_validated(table, other, fold)[here], before[here])
    entity = table.names["entity"].to_numpy()
    assert all(len(set(fold[entity == one])) == 1 for one in range(20))


def test_features_are_of_the_entity_alone_and_of_no_order() -> None:
    candidates, _ = known_truth(30)
    whole = features(candidates, "en")
    first = features(candidates.filter(pl.col("entity") < 10).sample(fraction=1.0, shuffle=True, seed=3), "en")
    np.testing.assert_allclose(whole.of(first.columns)[: len(first.values)], first.values, atol=1e-12)
    assert not whole.of(["votes nobody"]).any()


def test_names_that_are_only_asked_about_support_nobody() -> None:
    candidates, _ = known_truth(20)
    asking = tidy(pl.concat([candidates.drop("key"), rows((0, "right 00", "asked", 0.0), (0, "zzz", "asked", 0.0))]))
    plain, more = features(candidates, "en"), features(asking, "en")
    joined = more.names.with_row_index().join(plain.names.select("entity", "key"), on=["entity", "key"], how="semi")
    np.testing.assert_allclose(more.of(plain.columns)[joined["index"].to_numpy()], plain.values)
    assert more.names.filter("asked")["support"].to_list() == [0.0, 0.0]


def test_figures_by_hand() -> None:
    valid = pl.DataFrame({"entity": [0, 0, 1], "key": ["a", "b", "c"]})
    proposed = pl.DataFrame({"entity": [0, 0, 0, 9], "key": ["a", "a", "x", "y"]})
    got = scoring.coverage(proposed, valid)
    assert (got.precision, got.recall) == (1 / 2, 1 / 3)
    judged = pl.DataFrame({"entity": [0, 0, 1, 1], "key": ["a", "b", "c", "d"], "correct": [True, False, True, False]})
    got = scoring.precision_task(pl.DataFrame({"entity": [0, 1], "key": ["a", "d"]}), judged)
    assert (got.precision, got.recall) == (2 / 4, 1 / 2)  # a kept, b told; c lost, d kept
    assert scoring.Figures(0.0, 0.0).f1 == 0.0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30), st.integers(0, 10))
def test_thresholds_are_the_best_there_are(pairs: list[tuple[float, bool]], missing: int) -> None:
    probability, right = np.array([one for one, _ in pairs]), np.array([one for _, one in pairs])
    owed = int(right.sum()) + missing

    def f1(threshold: float) -> float:
        kept = probability >= threshold
        return 2 * right[kept].sum() / max(kept.sum() + owed, 1)

    best = max(f1(one) for one in probability)
    # Of equal probabilities all are kept or none, so a tie may cost a little; without ties nothing.
    got = f1(scoring.best_coverage_threshold(probability, right, owed))
    assert got == pytest.approx(best) or len(set(probability.tolist())) < len(probability)


def test_published_rows_are_reproduced(mirror: Path) -> None:
    from tests.bench import names_wikikge as bench

    judged = bench.gold(mirror / "wikikge-10", "it")
    for name in ("gpt-4", "m-nta.gpt-4"):
        found = bench.system(mirror / "wikikge-10", name, "it", judged)
        assert found is not None
        _, covering, keeping = bench.SYSTEMS[name]
        figures = {
            "coverage": scoring.coverage(found.filter(pl.col("votes") >= covering), judged.filter("correct")),
            "precision": scoring.precision_task(found.filter(pl.col("votes") >= keeping), judged),
        }
        for task, one in figures.items():
            printed = bench.published(mirror / "wikikge-10", task, name, "it")
            assert printed is not None
            assert [100 * one.precision, 100 * one.recall, 100 * one.f1] == pytest.approx(printed, abs=0.06)


def test_the_committed_figures_meet_the_bars() -> None:
    path = Path(__file__).parent / "bench" / "results" / "names-wikikge.json"
    held = json.loads(path.read_text(encoding="utf-8"))
    assert all(held["means"][task]["combiner"] >= bar for task, bar in held["bars"].items())
    assert held["published"]["rows"] - held["published"]["within_0.1"] == len(held["published"]["others"])
