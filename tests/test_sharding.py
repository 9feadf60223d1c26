"""Two real processes that hold half of the entities each, against one process that holds them all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kgservice import scorers
from kgservice.errors import RecipeError
from kgservice.evaluation.ranking import rank
from kgservice.graph.statements import Split
from kgservice.training.checkpoint import Checkpoint
from kgservice.training.loop import fit
from kgservice.training.sharding import Shards
from tests.conftest import family_recipe
from tests.test_training import _environment, ring, settings

ROOT = Path(__file__).resolve().parent.parent

WORKER = """
import json, sys
from pathlib import Path
from kgservice import scorers
from kgservice.evaluation.ranking import rank
from kgservice.recipe import ModelSettings
from kgservice.graph.statements import Split
from kgservice.training import loop, sharding
from tests.test_training import ring

loop.CHECKPOINT_EVERY_S, loop.CHECKPOINT_SHARE = 0.0, 1e9
out, chosen = Path(sys.argv[1]), ModelSettings.model_validate(json.loads(sys.argv[2]))
graph = ring(31)  # an odd number: the shards are unequal
with sharding.joined() as rank_here:
    scorer = scorers.build(chosen, n=graph.n, r=graph.r)
    validate = lambda scorer: rank(scorer, graph, Split.VALID).figures()["mrr"]
    history = loop.fit(scorer, graph, chosen.training, validate=validate, checkpoint=out / "run.safetensors")
    rows = len(scorer.entity)
    relation = scorer.relation.detach().tolist()
    held = {"losses": [e.loss for e in history.epochs], "best": history.best_epoch, "rows": rows, "relation": relation}
    (out / f"{rank_here}.json").write_text(json.dumps(held))
    if rank_here == 0:
        from safetensors.torch import save_file
        save_file(dict(scorer.state_dict()), out / "final.safetensors")
"""


def torchrun(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Two processes by torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d"]
    command += ["--rdzv-endpoint=localhost:0", "--redirects=0", *arguments]
    environment = {**_environment(ROOT), "KGSERVICE_HOME": str(home), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)


def two_processes(folder: Path, chosen: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What each of the two has in the end."""
    script = folder / "worker.py"
    script.write_text(WORKER)
    done = torchrun(str(script), str(folder), chosen.model_dump_json(), home=folder)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((folder / f"{number}.json").read_text()) for number in (0, 1))
    return first, second


@pytest.mark.parametrize(
    "training",
    [
        {"n3": 0.001, "relation_prediction": 0.1, "averaging": 0.5},
        {"optimizer": "adam", "learning_rate": 0.02, "dura": 0.01},
        {"negatives": 1000},
        {"entity_dropout": 0.2, "relation_dropout": 0.2},
    ],
    ids=["adagrad", "adam", "sampled", "dropout"],
)
def test_two_processes_learn_what_one_learns(training: dict[str, Any], tmp_path: Path) -> None:
    """Losses of every epoch and all weights; the entities' rows stay apart, the relations' are the same."""
    graph = ring(31)
    chosen = settings(**{"epochs": 6, "evaluate_every": 2, **training})
    one = scorers.build(chosen, n=graph.n, r=graph.r)
    history = fit(one, graph, chosen.training, validate=lambda s: rank(s, graph, Split.VALID).figures()["mrr"])
    first, second = two_processes(tmp_path, chosen)
    assert first["losses"] == pytest.approx([epoch.loss for epoch in history.epochs], rel=1e-5)
    assert second["losses"] == first["losses"]
    assert first["best"] == second["best"] == history.best_epoch
    assert (first["rows"], second["rows"]) == (31, 15)
    assert first["relation"] == second["relation"]
    weights = load_file(tmp_path / "final.safetensors")
    for name, value in one.state_dict().items():
        torch.testing.assert_close(weights[name], value, atol=1e-4, rtol=1e-4)


def test_two_processes_go_on_from_a_checkpoint_of_two_or_of_one(tmp_path: Path) -> None:
    """The file holds whole tables: whoever wrote it, one process and two go on from it to the same weights."""
    chosen = settings(epochs=7, averaging=0.5, evaluate_every=1, patience=99)
    half = settings(epochs=3, averaging=0.5, evaluate_every=1, patience=99)
    two_processes(tmp_path, half)
    saved = Checkpoint.load(tmp_path / "run.safetensors")
    assert saved is not None
    assert {len(saved.tensors[f"{what}/entity"]) for what in ("model", "mean")} == {31}
    first, _ = two_processes(tmp_path, chosen)
    graph = ring(31)
    one = scorers.build(chosen, n=graph.n, r=graph.r)
    validate = lambda scorer: rank(scorer, graph, Split.VALID).figures()["mrr"]  # noqa: E731
    whole = fit(one, graph, chosen.training, validate=validate)
    assert first["losses"] == pytest.approx([epoch.loss for epoch in whole.epochs], rel=1e-4)
    # Now a single process, from the file that two have written.
    Checkpoint(saved.tensors, saved.state).save(tmp_path / "one.safetensors")
    resumed = scorers.build(chosen, n=graph.n, r=graph.r)
    fit(resumed, graph, chosen.training, validate=validate, checkpoint=tmp_path / "one.safetensors")
    torch.testing.assert_close(resumed.entity, one.entity, atol=1e-4, rtol=1e-4)


def test_torchrun_trains_a_recipe_and_one_process_measures_it(tmp_path: Path, family_ttl: Path) -> None:
    """The command line; `train` alone then finds the finished checkpoint and gives the same figures."""
    path = family_ttl.parent / "sharded.toml"
    path.write_text(family_recipe(training={"epochs": 2, "evaluate_every": 1}).to_toml(), encoding="utf-8")
    recipe = ["train", str(path), "--model=complex"]
    done = torchrun("-m", "kgservice", *recipe, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("complex: validation MRR") == 1
    assert len(list((tmp_path / "builds").glob("*.safetensors"))) == 1
    command = [sys.executable, "-m", "kgservice", *recipe]
    environment = {**_environment(ROOT), "KGSERVICE_HOME": str(tmp_path)}
    alone = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout == done.stdout


@pytest.mark.parametrize(("n", "world"), [(10, 1), (10, 3), (7, 4), (3, 4)])
def test_every_row_has_one_holder(n: int, world: int) -> None:
    shards = [Shards(n, rank, world) for rank in range(world)]
    ids = torch.arange(n)
    assert torch.stack([shard.mine(ids) for shard in shards]).sum(0).tolist() == [1] * n
    assert [i for shard in shards for i in range(shard.start, shard.stop)] == list(range(n))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss": "bce"}, r"several processes need training.loss = 'softmax'.*found 'bce'"),
        ({"candidate_dropout": 0.1}, "several processes need training.candidate_dropout = 0"),
    ],
)
def test_what_several_processes_cannot_do_is_said(
    wrong: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, chosen = ring(), settings(**wrong)
    monkeypatch.setattr(Shards, "of", classmethod(lambda cls, n: cls(n, 0, 2)))
    with pytest.raises(RecipeError, match=message):
        fit(scorers.build(chosen, n=graph.n, r=graph.r), graph, chosen.training)
