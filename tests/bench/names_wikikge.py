"""WikiKGE-10: published systems scored anew, then single sources, votes and a combiner, for coverage and for wrong names.

The sources are the predictions that the benchmark publishes: three language models, and M-NTA with each of them (its votes),
which also holds machine translation and web search. Names of the target language in Wikidata are never a source. In the
precision task the names judged are an input: which are Wikidata's labels is known there (and once not), which are in Wikidata
at all is not used, since all wrong ones are; once those in Wikidata alone are judged. The combiner is supervised, M-NTA is
not: five folds by entity, thresholds chosen in the others.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import re
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from kgservice.naming import scoring
from kgservice.naming.candidates import tidied, tidy
from kgservice.naming.combiner import Combiner, cross_validated, folds
from kgservice.naming.features import Features, features
from kgservice.naming.forms import forms
from kgservice.naming.normalising import key
from kgservice.naming.sources import wikikge
from tests.bench import machine

LANGUAGES = ("ar", "de", "en", "es", "fr", "it", "ja", "ko", "ru", "zh")
NON_ENGLISH = tuple(language for language in LANGUAGES if language != "en")
MODELS = ("gpt-3", "gpt-3.5", "gpt-4")
SYSTEMS = {
    **{model: (f"gpt/{{language}}.{model}", 0, 0) for model in MODELS},
    **{f"m-nta.{model}": (f"m-nta/with_{model}/{{language}}.m-nta", 2, 1) for model in MODELS},
}
"""Name → its file, votes it needs for coverage, and for precision."""
FOLDS = 5
SEEDS = (0, 1, 2)
BARS = {"coverage": 52.0, "precision": 75.0}


def main() -> None:
    """Score everything, write `results/names-wikikge.json`, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("KGSERVICE_DATA_MIRROR", ".")) / "wikikge-10")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--out", type=Path, default=machine.RESULTS / "names-wikikge.json")
    options = parser.parse_args()
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    code = machine.code()
    languages = {language: measure(options.data, language, options.seeds) for language in LANGUAGES}
    result: dict[str, Any] = {
        "benchmark": "names-wikikge", "command": "python -m tests.bench.names_wikikge", "started": started,
        "machine": machine.machine(), "code": code, "versions": machine.versions("polars", "scikit-learn", "rapidfuzz"),
        "seeds": options.seeds, "folds": FOLDS, "bars": BARS, "means": means(languages), "languages": languages,
        "published": reproduced(languages),
        "duration_s": round(time.perf_counter() - clock, 1),
    }  # fmt: skip
    machine.write_result(options.out, result)
    print(json.dumps({"means": result["means"], "published": result["published"]}, indent=1))


def measure(data: Path, language: str, seeds: list[int]) -> dict[str, Any]:
    """All figures of one language."""
    judged = gold(data, language)
    valid = judged.filter("correct")
    systems = {name: system(data, name, language, judged) for name in SYSTEMS}
    found = {name: rows for name, rows in systems.items() if rows is not None}
    out: dict[str, Any] = {"coverage": {}, "precision": {}}
    for name, rows in found.items():
        _, covering, keeping = SYSTEMS[name]
        figures = {
            "coverage": scoring.coverage(rows.filter(pl.col("votes") >= covering), valid),
            "precision": scoring.precision_task(rows.filter(pl.col("votes") >= keeping), judged),
        }
        for task, one in figures.items():
            out[task][name] = shown(one)
            if printed := published(data, task, name, language):
                out[task][name]["published"] = printed
    votes = pl.concat(found.values()).group_by("entity", "key").agg(pl.col("source").n_unique().alias("votes"))
    for least in (1, 2, 3, 4):
        kept = votes.filter(pl.col("votes") >= least)
        out["coverage"][f"systems >= {least}"] = shown(scoring.coverage(kept, valid))
        out["precision"][f"systems >= {least}"] = shown(scoring.precision_task(kept, judged))
    blind = judged.with_columns(label=pl.lit(False))
    held = judged.filter("held")
    for name, rows in found.items():
        kept = rows.filter(pl.col("votes") >= SYSTEMS[name][2])
        out["precision"][f"{name}, names in Wikidata"] = shown(scoring.precision_task(kept, held))
    tries = (
        ("coverage", "combiner", covered, judged),
        ("precision", "combiner", told, judged),
        ("precision", "combiner, labels unknown", told, blind),
        ("precision", "combiner, names in Wikidata", told, held),
    )
    for task, name, run, names in tries:
        runs = [run(pl.concat(found.values()), names, language, seed) for seed in seeds]
        out[task][name] = {figure: round(float(np.mean([one[figure] for one in runs])), 2) for figure in runs[0]}
        out[task][name]["f1_seeds"] = [one["f1"] for one in runs]
    return out


def covered(candidates: pl.DataFrame, judged: pl.DataFrame, language: str, seed: int) -> dict[str, float]:
    """The combiner's coverage: names of an entity are proposed by a regression and a threshold that never saw it."""
    valid = judged.filter("correct").select("entity", "key").unique()
    table = features(tidy(pl.concat([candidates, forms(candidates, language)], how="diagonal")), language)
    names = table.names.select("entity", "key")
    correct = names.join(valid.with_columns(yes=True), on=["entity", "key"], how="left", maintain_order="left")["yes"]
    right = correct.fill_null(False).to_numpy()
    # All entities with valid names, also those without candidates, belong to a fold.
    entities = valid["entity"].unique().sort()
    place = dict(zip(entities.to_list(), folds(entities, FOLDS, seed).tolist(), strict=True))
    fold = names["entity"].replace_strict(place, default=-1).to_numpy()
    owed = np.bincount(valid["entity"].replace_strict(place).to_numpy(), minlength=FOLDS)
    kept, probability = np.zeros(len(right), dtype=bool), np.zeros(len(right))
    for one in range(FOLDS):
        others, here = np.flatnonzero((fold != one) & (fold >= 0)), np.flatnonzero(fold == one)
        chosen, probability[here] = learn(table, right, others, here, fold, int(owed.sum() - owed[one]))
        kept[here] = probability[here] >= chosen
    figures = scoring.coverage(names.filter(kept), valid)
    inside = fold >= 0
    return {**shown(figures), "ece": round(scoring.expected_calibration_error(probability[inside], right[inside]), 4)}


def told(candidates: pl.DataFrame, judged: pl.DataFrame, language: str, seed: int) -> dict[str, float]:
    """The combiner's wrong names: what it keeps, by a regression and a threshold that never saw the entity."""
    asked = judged.select("entity", "name", source=pl.lit("judged"), votes=pl.lit(0.0), primary=pl.col("label"))
    derived = forms(candidates, language)
    everything = tidy(pl.concat([candidates.select(asked.columns), derived, asked], how="diagonal_relaxed"))
    table = features(everything, language)
    rows = np.flatnonzero(table.names["asked"].to_numpy())
    table = table.part(rows)
    names = judged.with_columns(tidied=key(tidied(pl.col("name"))))
    truth = names.group_by("entity", key="tidied").agg(pl.col("correct").all())
    right = table.names.join(truth, on=["entity", "key"], how="left", maintain_order="left")["correct"].to_numpy()
    fold = folds(table.names["entity"], FOLDS, seed)
    kept, probability = np.zeros(len(right), dtype=bool), np.zeros(len(right))
    for one in range(FOLDS):
        others, here = np.flatnonzero(fold != one), np.flatnonzero(fold == one)
        chosen, probability[here] = learn(table, right, others, here, fold, None)
        kept[here] = probability[here] >= chosen
    keeps = names.join(table.names.filter(kept).select("entity", tidied="key"), on=["entity", "tidied"], how="semi")
    figures = scoring.precision_task(keeps.select("entity", "key"), judged)
    return {**shown(figures), "ece": round(scoring.expected_calibration_error(probability, right), 4)}


def learn(
    table: Features,
    right: np.ndarray[Any, Any],
    others: np.ndarray[Any, Any],
    here: np.ndarray[Any, Any],
    fold: np.ndarray[Any, Any],
    owed: int | None,
) -> tuple[float, np.ndarray[Any, Any]]:
    """A threshold, chosen on `others` by cross-validation among themselves, and the probabilities of `here`."""
    inner = cross_validated(table.part(others), right[others], fold[others])
    threshold = (
        scoring.best_error_threshold(inner, right[others])
        if owed is None
        else scoring.best_coverage_threshold(inner, right[others], owed)
    )
    fitted = Combiner.fit(table, right, others)
    return threshold, fitted.probability(table.part(here))


def gold(data: Path, language: str) -> pl.DataFrame:
    """Columns entity, name, key, correct, label (it is Wikidata's label) and held (it is a name in Wikidata)."""
    rows = [
        (line["wikidata_id"], name, kind == "correct_values")
        for line in lines(data / f"gold/{language}.json.xz")
        for kind in ("correct_values", "incorrect_values")
        for name in line[kind]
    ]
    labels = [
        (line["wikidata_id"], name, primary)
        for line in lines(data / f"wikidata/{language}.json.xz")
        for name, primary in zip(line["values"], line["primary"], strict=True)
    ]
    judged = pl.DataFrame(rows, schema=["iri", "name", "correct"], orient="row").with_columns(key=key(pl.col("name")))
    known = (
        pl.DataFrame(labels, schema=["iri", "name", "label"], orient="row")
        .group_by("iri", "name")
        .agg(pl.col("label").any())
    )
    number = judged["iri"].unique().sort()
    ids = pl.DataFrame({"iri": number, "entity": np.arange(len(number), dtype=np.int32)})
    return (
        judged.join(known, on=["iri", "name"], how="left", maintain_order="left")
        .with_columns(held=pl.col("label").is_not_null(), label=pl.col("label").fill_null(False))
        .join(ids, on="iri", maintain_order="left")
    )


def system(data: Path, name: str, language: str, judged: pl.DataFrame) -> pl.DataFrame | None:
    """A system's candidates with their keys, of entities that are judged; None where it has no file for the language."""
    path = data / (SYSTEMS[name][0].format(language=language) + ".json.xz")
    if not path.exists():
        return None
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as plain:
        plain.write(lzma.decompress(path.read_bytes()))
        plain.flush()
        rows = wikikge(pl.read_ndjson(plain.name))
    return (
        rows.rename({"entity": "iri"})
        .join(judged.select("iri", "entity").unique(), on="iri")
        .select("entity", "name", source=pl.lit(name), votes="votes", primary="primary", key=key(pl.col("name")))
    )


def published(data: Path, task: str, name: str, language: str) -> tuple[float, float, float] | None:
    """Precision, recall and F1 as printed for a system, in percent; None where they are not."""
    text = lzma.decompress((data / f"results/{task}/{name}.out.xz").read_bytes()).decode()
    for block in text.split("Starting evaluation"):
        if f"gold/{language}.json" in block:
            got = [re.search(rf" - {figure} += ([0-9.]+)", block) for figure in ("P", "R", "F1")]
            if all(got):
                first, second, third = (float(one[1]) for one in got if one)
                return first, second, third
    return None


def reproduced(languages: dict[str, Any]) -> dict[str, Any]:
    """How many of the published rows our scorer gives to ±0.1, all three figures, and which it does not."""
    rows = [
        (f"{language} {task} {name}", [one["p"], one["r"], one["f1"]], one["published"])
        for language, tasks in languages.items()
        for task, systems in tasks.items()
        for name, one in systems.items()
        if "published" in one
    ]
    off = {
        row: {"ours": ours, "published": theirs}
        for row, ours, theirs in rows
        if np.abs(np.subtract(ours, theirs)).max() > 0.1
    }
    return {"rows": len(rows), "within_0.1": len(rows) - len(off), "others": off}


def means(languages: dict[str, Any]) -> dict[str, Any]:
    """Mean F1 over the nine languages beside English, of what all of them have."""
    out: dict[str, Any] = {}
    for task in ("coverage", "precision"):
        every = [languages[language][task] for language in NON_ENGLISH]
        shared = [name for name in every[0] if all(name in one for one in every)]
        out[task] = {name: round(float(np.mean([one[name]["f1"] for one in every])), 2) for name in shared}
        out[task]["met"] = out[task]["combiner"] >= BARS[task]
    return out


def lines(path: Path) -> list[dict[str, Any]]:
    """A compressed file of JSON lines."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def shown(figures: scoring.Figures) -> dict[str, float]:
    """In percent."""
    named = (("p", figures.precision), ("r", figures.recall), ("f1", figures.f1))
    return {name: round(100 * value, 2) for name, value in named}


if __name__ == "__main__":
    sys.exit(main())
