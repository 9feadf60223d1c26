"""Memory or inference: the figures of a probe, its models, its command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from kgservice import datasets
from kgservice.cli import cli
from kgservice.errors import InputError, RecipeError
from kgservice.evaluation.probe import ORIGINAL, gain_figures, model_figures, verdicts
from kgservice.evaluation.ranking import Ranks
from kgservice.perturbation import Copy
from kgservice.pipeline.probing import probe, twin_overrides, twins
from kgservice.recipe import Recipe

ALL = (ORIGINAL, *map(str, Copy))


def ranked(ranks: list[int]) -> Ranks:
    """Statements 0, 1, ... asked for their object, with these ranks."""
    count = np.arange(len(ranks), dtype=np.int32)
    better = np.array(ranks, dtype=np.int64) - 1
    fixed = np.full(len(ranks), 100)
    return Ranks(np.full(len(ranks), "tail"), count, count, count, better, 0 * better, fixed, fixed > 100)


def test_figures_by_hand() -> None:
    good, bad = [ranked([1, 2] * 40), ranked([1, 1] * 40)], [ranked([4, 4] * 40)] * 2
    found = model_figures({ORIGINAL: good, "virtual-world": bad})
    assert found[ORIGINAL]["mrr_of_seeds"] == [0.75, 1.0]
    assert found[ORIGINAL]["mrr"] == 0.875
    low, high = found[ORIGINAL]["mrr_interval"]
    assert 0.84 < low < 0.875 < high < 0.91
    assert (found[ORIGINAL]["kept"], found["virtual-world"]["kept"]) == (1, 0.25 / 0.875)


def test_what_an_encoder_adds_is_parted() -> None:
    without = {copy: [ranked([4] * 50)] for copy in ALL}
    gain = gain_figures({**without, ORIGINAL: [ranked([1] * 50)], "virtual-world": [ranked([2] * 50)]}, without)
    assert gain[ORIGINAL] == {"difference": 0.75, "interval": [0.75, 0.75], "left": 1}
    assert [gain[str(copy)]["left"] for copy in Copy] == pytest.approx([0.25 / 0.75, 0, 0, 0])
    made = {"text": {"over": "random", "copies": gain}}
    assert verdicts({"gains": made}) == [
        "What `text` adds to `random`: +0.7500 (95 % interval +0.7500 to +0.7500). Of this is left: 33% where names mislead "
        "(virtual-world), 0% where names say nothing and descriptions are true (anonymised), 0% where names are true and "
        "descriptions are others' (inconsistent), 0% where nothing says anything (fully-anonymised)."
    ]
    assert gain_figures(without, without)["anonymised"]["left"] is None
    made = {"text": {"over": "random", "copies": gain_figures(without, without)}}
    assert verdicts({"gains": made}) == [
        "What `text` adds to `random`: +0.0000 (95 % interval +0.0000 to +0.0000), no more than chance would: there is "
        "nothing to part into memory and inference."
    ]


def recipe(**models: dict[str, Any]) -> Recipe:
    return Recipe.parse({"name": "p", "graph": {"dataset": "world"}, "models": models})


def test_twins_are_found_or_named() -> None:
    text = {"scorer": "bi-encoder", "width": 8}
    given = recipe(text=text, other={"like": "text", "text": {"encoder": "random"}}, graph={})
    assert twins(given, ["text", "other", "graph"]) == {"text": "other"}
    assert twin_overrides(given, {"text": "other"}) == []
    given = recipe(text=text, other={"like": "text", "width": 9, "text": {"encoder": "random"}})
    assert twins(given, ["text"]) == {"text": "text-random"}
    assert twin_overrides(given, {"text": "text-random"}) == [
        "models.text-random.like=text",
        "models.text-random.text.encoder=random",
    ]
    with pytest.raises(RecipeError, match="none of graph, words reads a pretrained encoder"):
        twins(recipe(graph={}, words={**text, "text": {"encoder": "none"}}), ["graph", "words"])


def test_without_a_test_split_there_is_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the graph has no test split"):
        probe(recipe(text={"scorer": "bi-encoder"}), ["text"], datasets.load("world"), tmp_path, seeds=[0])


RECIPE = """
[graph]
sources = ["family.ttl"]
split = {valid = 0.1, test = 0.1}
[models.text]
scorer = "bi-encoder"
width = 16
text.words = 0
text.hidden = 16
training = {epochs = 3, batch_size = 64, optimizer = "adam", learning_rate = 0.01}
[models.complex]
width = 16
training = {epochs = 3, batch_size = 64}
"""


def test_command(family_ttl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KGSERVICE_HOME", str(tmp_path / "home"))
    path = family_ttl.parent / "probe.toml"
    path.write_text(RECIPE, encoding="utf-8")
    out, page = tmp_path / "out.json", tmp_path / "page.html"
    arguments = ["evaluate", str(path), "--probe", "--out", str(out), "--page", str(page)]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["command"].endswith("--seeds 0 --probe")
    assert list(record["models"]) == ["text", "complex", "text-random"]
    found = record["probe"]
    assert list(found["copies"]) == [str(copy) for copy in Copy]
    reads = {name: model["reads"] for name, model in found["models"].items()}
    assert reads == {"text": "all-MiniLM-L6-v2", "complex": "", "text-random": "random"}
    for name, model in found["models"].items():
        assert list(model["copies"]) == (list(ALL) if model["reads"] else [ORIGINAL])
        measured = record["models"][name][0]["test"]["filtered"]["realistic"]["mrr"]
        assert model["copies"][ORIGINAL]["mrr"] == pytest.approx(measured, rel=1e-9)
        for figures in model["copies"].values():
            assert figures["mrr_interval"][0] <= figures["mrr"] <= figures["mrr_interval"][1]
    assert found["gains"]["text"]["over"] == "text-random"
    mrr = found["models"]["text"]["copies"]["anonymised"]["mrr"]
    assert f"{mrr:.4f}" in result.output
    html = page.read_text(encoding="utf-8")
    assert f"{mrr:.4f}" in html
    assert html.count("<svg") == 1


def test_a_page_is_for_a_probe() -> None:
    result = CliRunner().invoke(cli, ["evaluate", "world", "--page", "page.html"])
    assert result.exit_code == 2
    assert "--page is for --probe" in result.output
