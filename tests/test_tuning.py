"""The search for settings: seeded, resumable, judged by validation alone."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from kgservice import pipeline
from kgservice.cli import cli
from kgservice.errors import DataError, RecipeError, TrainingDiverged, UnknownModel
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split
from kgservice.pipeline import learning, tuning
from kgservice.pipeline.tuning import Search, Trial, tune
from kgservice.recipe import ModelSettings, Range, Recipe

SPACE = {
    "training.learning_rate": Range(low=0.01, high=1, log=True),
    "width": Range(low=4, high=16, step=4),
    "training.weighting": Range(choices=("triples", "questions")),
}
RECIPE = """
[graph]
dataset = "umls"
[models.complex]
width = 8
initial_scale = 0.1
[models.complex.training]
epochs = 4
batch_size = 512
evaluate_every = 1
validation_limit = 200
[search]
encoder = "none"
[tune.complex]
training.learning_rate = { low = 0.01, high = 1.0, log = true }
width = [4, 8]
"""


def small(**training: object) -> Recipe:
    given = {"epochs": 4, "batch_size": 32, "evaluate_every": 1, **training}
    models = {"complex": {"width": 8, "initial_scale": 0.1, "training": given}}
    return Recipe.parse({"name": "small", "graph": {"dataset": "world"}, "models": models})


@pytest.fixture(scope="module")
def graph(family_ttl: Path, tmp_path_factory: pytest.TempPathFactory) -> KnowledgeGraph:
    from conftest import family_recipe

    return pipeline.prepare_graph(family_recipe(), tmp_path_factory.mktemp("tuned"), family_ttl.parent)


def same(one: Search, other: Search) -> bool:
    def told(search: Search) -> list[Trial]:
        return [replace(trial, duration_s=0.0) for trial in search.trials]

    return told(one) == told(other)


def test_the_same_seed_gives_the_same_trials(tmp_path: Path, graph: KnowledgeGraph) -> None:
    first, second, other = (
        tune(small(), "complex", graph, tmp_path / home, trials=12, space=SPACE, seed=seed)
        for home, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert same(first, second)
    assert first.best_recipe() == second.best_recipe()
    assert first.trials[0].settings != other.trials[0].settings
    assert [trial.number for trial in first.trials] == list(range(12))
    kinds = {type(trial.settings["width"]) for trial in first.trials}
    assert kinds == {int}
    assert {trial.settings["width"] for trial in first.trials} <= {4, 8, 12, 16}


def test_a_search_goes_on_to_the_same_trials(tmp_path: Path, graph: KnowledgeGraph) -> None:
    whole = tune(small(), "complex", graph, tmp_path / "whole", trials=8, space=SPACE)
    for trials in (3, 3, 8):
        parts = tune(small(), "complex", graph, tmp_path / "parts", trials=trials, space=SPACE)
    assert same(whole, parts)


def test_an_interrupted_trial_is_trained_again(
    tmp_path: Path, graph: KnowledgeGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tune(small(), "complex", graph, tmp_path / "whole", trials=5, space=SPACE)
    fit, calls = tuning.fit, 0

    def stopped(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return fit(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(tuning, "fit", stopped)
    with pytest.raises(KeyboardInterrupt):
        tune(small(), "complex", graph, tmp_path / "parts", trials=5, space=SPACE)
    assert same(whole, tune(small(), "complex", graph, tmp_path / "parts", trials=5, space=SPACE))


def test_a_trial_that_lags_behind_is_stopped(
    tmp_path: Path, graph: KnowledgeGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of trials with a given curve, the sixth is worse than the median and ends at its first comparison."""
    curves = iter([0.5] * 6 * 4)
    made = 0

    def validation(graph: KnowledgeGraph, settings: ModelSettings, *level: str) -> object:
        nonlocal made
        made += 1
        height = 0.1 if made == 7 else next(curves)  # the first call looks whether there is a validation split
        return lambda scorer: height

    monkeypatch.setattr(tuning, "validation", validation)
    search = tune(small(), "complex", graph, tmp_path / "a", trials=6, space=SPACE)
    assert [trial.state for trial in search.trials] == ["complete"] * 5 + ["pruned"]
    assert list(search.trials[-1].validations) == [1]
    made = 0
    search = tune(small(), "complex", graph, tmp_path / "b", trials=6, space=SPACE, prune=False)
    assert [trial.state for trial in search.trials] == ["complete"] * 6


def test_a_diverged_trial_counts_and_is_never_best(
    tmp_path: Path, graph: KnowledgeGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: object, **__: object) -> None:
        raise TrainingDiverged("the loss became nan in epoch 1")

    monkeypatch.setattr(tuning, "fit", diverge)
    search = tune(small(), "complex", graph, tmp_path, trials=2, space=SPACE)
    assert [(trial.state, trial.mrr) for trial in search.trials] == [("diverged", None)] * 2
    with pytest.raises(RecipeError, match="no trial was trained to its end"):
        search.best_recipe()


def test_trials_never_see_the_test_split(tmp_path: Path, graph: KnowledgeGraph) -> None:
    """With other test statements the trials are the same, but for the filter of their ranks, which is kept here."""
    seen: list[set[int]] = []
    rank = learning.rank

    def watched(scorer: object, graph: KnowledgeGraph, table: object, *rest: object, **options: object) -> object:
        seen.append(set(np.unique(table.split).tolist()))  # type: ignore[attr-defined]
        return rank(scorer, graph, table, *rest, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "rank", watched)
        tune(small(), "complex", graph, tmp_path, trials=2, space=SPACE)
    assert seen
    assert set.union(*seen) == {int(Split.VALID)}


def test_importance_from_ten_whole_trials(tmp_path: Path, graph: KnowledgeGraph) -> None:
    few = tune(small(), "complex", graph, tmp_path, trials=9, space=SPACE, prune=False)
    many = tune(small(), "complex", graph, tmp_path, trials=11, space=SPACE, prune=False)
    assert few.importance == {}
    assert many.importance.keys() == SPACE.keys()
    assert sum(many.importance.values()) == pytest.approx(1)


def test_one_process_at_a_time(tmp_path: Path, graph: KnowledgeGraph) -> None:
    def again(trial: Trial, search: Search) -> None:
        tune(small(), "complex", graph, tmp_path, trials=2, space=SPACE)

    with pytest.raises(DataError, match="another process is at this search"):
        tune(small(), "complex", graph, tmp_path, trials=2, space=SPACE, on_trial=again)


def test_half_a_line_of_the_journal_is_dropped(tmp_path: Path, graph: KnowledgeGraph) -> None:
    first = tune(small(), "complex", graph, tmp_path, trials=2, space=SPACE)
    with (first.folder / "journal.log").open("a") as file:
        file.write('{"op_code": 4, "wor')
    assert same(
        tune(small(), "complex", graph, tmp_path, trials=3, space=SPACE),
        tune(small(), "complex", graph, tmp_path / "whole", trials=3, space=SPACE),
    )


@pytest.mark.parametrize(
    ("space", "training", "message"),
    [
        ({"width": Range(low=1, high=8)}, {}, r"models.complex.width: .*greater than or equal to 2"),
        ({"width": Range(low=2.5, high=8)}, {}, r"models.complex.width: .*valid integer"),
        ({"training.optimizer": Range(choices=("adagrad", "sgd"))}, {}, "'adagrad' or 'adam'"),
        ({"training.n3": Range(low=0, high=8, step=2)}, {}, "a step is for whole numbers"),
        (SPACE, {"splits": ["train", "valid"]}, "judged by what they learnt"),
        ({}, {}, "nothing to search"),
    ],
)
def test_what_cannot_be_searched(
    tmp_path: Path, graph: KnowledgeGraph, space: dict[str, Range], training: dict[str, object], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        tune(small(**training), "complex", graph, tmp_path, trials=1, space=space)
    with pytest.raises(UnknownModel, match="Closest: 'complex'"):
        tune(small(), "rescal", graph, tmp_path, trials=1)


def test_default_spaces_are_valid_for_every_scorer() -> None:
    from kgservice.scorers import SCORERS

    for scorer in SCORERS:
        for optimizer in ("adam", "adagrad"):
            settings = ModelSettings.model_validate({"scorer": scorer, "training": {"optimizer": optimizer}})
            recipe = Recipe.parse({"name": "x", "graph": {"dataset": "world"}, "models": {"m": settings.model_dump()}})
            space = tuning.default_space(settings)
            assert ("training.n3" in space) == (scorer in {"complex", "distmult", "rescal"})
            tuning._check(recipe, "m", space)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[tune.complex]\n"training.lr" = [1.0]', "training.lr cannot be searched; did you mean training.l"),
        ('[tune.complex]\n"training.seed" = [1, 2]', "training.seed cannot be searched"),
        ("[tune.complex]\nwidth = { low = 4, hihg = 8 }", "tune.complex.width.hihg is not a setting. Did you mean"),
        ("[tune.complex]\nwidth = { low = 8, high = 4 }", "with low < high"),
        ("[tune.complex]\nwidth = { low = 0, high = 4, log = true }", "0 < low where log = true"),
    ],
)
def test_mistakes_in_spaces(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[graph]\ndataset = "world"\n[models.complex]\n' + text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        Recipe.load(path)
    assert message in str(caught.value)


def test_spaces_survive_the_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "umls.toml"
    path.write_text(RECIPE, encoding="utf-8")
    recipe = Recipe.load(path)
    (tmp_path / "again.toml").write_text(recipe.to_toml(), encoding="utf-8")
    assert Recipe.load(tmp_path / "again.toml", ["name=umls"]) == recipe
    assert recipe.tune["complex"].ranges["training.learning_rate"] == Range(low=0.01, high=1.0, log=True)


# The command


@pytest.fixture
def folder(tmp_path: Path, family_ttl: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe beside its source, and a home of its own."""
    text = RECIPE.replace('dataset = "umls"', 'sources = ["family.ttl"]')
    (tmp_path / "family.toml").write_text(text, encoding="utf-8")
    (tmp_path / "family.ttl").write_bytes(family_ttl.read_bytes())
    monkeypatch.setenv("KGSERVICE_HOME", str(tmp_path / "home"))
    return tmp_path


def run(*arguments: str) -> str:
    done = CliRunner().invoke(cli, ["tune", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_best_settings_can_be_pasted_and_written(folder: Path) -> None:
    recipe, best, record = (str(folder / name) for name in ("family.toml", "deeper/best.toml", "record.json"))
    shown = run(recipe, "--trials", "4", "--out", best, "--record", record)
    assert "trial 3 of 4: MRR" in shown
    told = json.loads(Path(record).read_text())
    assert [trial["number"] for trial in told["trials"]] == [0, 1, 2, 3]
    assert {"commit", "command", "libraries", "seed", "space"} <= told.keys()
    pasted = shlex.split(shown.split("Best settings:\n")[1].splitlines()[0])
    assert pasted[0::2] == ["--set"] * 2
    written = Recipe.load(Path(best))
    assert Recipe.load(Path(recipe), pasted[1::2]).models == written.models
    assert written.models["complex"].width in (4, 8)
    # The written recipe finds its sources and trains to the MRR that the search told.
    graph = pipeline.prepare_graph(written, folder / "home", Path(best).parent)
    trained = pipeline.train(written, "complex", graph, folder / "home")
    assert trained.history.best_validation == max(trial["mrr"] for trial in told["trials"])


def test_spaces_on_the_command_line(folder: Path) -> None:
    recipe, record = str(folder / "family.toml"), str(folder / "record.json")
    (folder / "space.toml").write_text("[training]\nbatch_size = [16, 32]\n", encoding="utf-8")
    space = ["--search", str(folder / "space.toml"), "--search", "training.n3=1e-4..0.1:log", "--search", "width=4,6"]
    run(recipe, "--trials", "1", *space, "--record", record)
    told = json.loads(Path(record).read_text())["space"]
    assert told.keys() == {"training.batch_size", "training.n3", "width"}
    assert (told["training.n3"]["low"], told["training.n3"]["log"], told["width"]["choices"]) == (1e-4, True, [4, 6])
    for wrong, message in (
        ("width=4..8:lin", "after the colon comes log, or a step"),
        ("nothing.toml", "expected KEY=LOW..HIGH"),
    ):
        with pytest.raises(RecipeError, match=message):
            CliRunner().invoke(cli, ["tune", recipe, "--search", wrong], catch_exceptions=False)


def test_a_killed_search_goes_on(folder: Path) -> None:
    """kill -9 in the middle, then Ctrl-C, then the rest: the trials are those of an uninterrupted search."""
    record = folder / "record.json"
    arguments = ["tune", str(folder / "family.toml"), "--trials", "9", "--set", "models.complex.training.epochs=40"]
    command = [sys.executable, "-m", "kgservice", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}

    def start(home: str, *more: str) -> subprocess.Popen[str]:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            [*command, *more], env={**environment, "KGSERVICE_HOME": str(folder / home)}, **options
        )

    whole = start("whole", "--record", str(folder / "whole.json"))
    whole.communicate()
    for stop in (signal.SIGKILL, signal.SIGINT):
        with start("home") as process:
            assert process.stdout is not None
            next(line for line in process.stdout if line.startswith("trial"))
            time.sleep(0.02)
            process.send_signal(stop)
            _, told = process.communicate()
        assert process.returncode == (-signal.SIGKILL if stop == signal.SIGKILL else 130), told
    assert "run the same command to go on" in told
    start("home", "--record", str(record)).communicate()

    def trials(path: Path) -> list[dict[str, object]]:
        return [{**trial, "duration_s": 0} for trial in json.loads(path.read_text())["trials"]]

    assert trials(record) == trials(folder / "whole.json")
    assert len(trials(record)) == 9
