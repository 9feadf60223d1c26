"""A search for the settings of one model: seeded, resumable, and stopped early where a trial lags behind.

A trial is one training with the settings that the sampler suggests; it is judged by the MRR of the validation split, never
by the test split. The sampler is seeded anew for every trial from (seed, number of trials that ended), so that a search
that was killed and started again suggests what an uninterrupted one would have.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kgservice import __version__, scorers
from kgservice.alone import alone
from kgservice.errors import GraphError, RecipeError, TrainingDiverged, UnknownModel
from kgservice.graph import KnowledgeGraph
from kgservice.pipeline import validation
from kgservice.recipe import ModelSettings, Range, Recipe, SearchSpace, TrainingSettings
from kgservice.scorers.base import VectorScorer
from kgservice.training.loop import fit

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger(__name__)

Space = Mapping[str, Range]
IMPORTANCE_FROM = 10
"""Trials trained to their end before the importance of settings means anything."""


@dataclass(frozen=True)
class Trial:
    """One training of a search.

    Attributes:
        number: from 0, in the order of the search; a trial whose process died is not counted.
        state: "complete", "pruned" for one stopped early, or "diverged".
        mrr: the best validation MRR it reached; None where it reached no validation.
        settings: what was searched, by the name of the setting.
        validations: MRR by epoch.
        duration_s: seconds, validations included.
        seed: of the sampler for this trial.
    """

    number: int
    state: str
    mrr: float | None
    settings: Mapping[str, Any]
    validations: Mapping[int, float]
    duration_s: float
    seed: int


@dataclass(frozen=True)
class Search:
    """A search as far as it went.

    Attributes:
        recipe, model: what was tuned.
        space: what was allowed.
        seed: of the sampler.
        folder: where the search is kept.
        trials: all that ended.
        importance: share of the variance of the MRR that each setting explains; empty for few trials.
    """

    recipe: Recipe
    model: str
    space: Space
    seed: int
    folder: Path
    trials: tuple[Trial, ...]
    importance: Mapping[str, float]

    @property
    def ranked(self) -> list[Trial]:
        """Trials that were trained to their end, the best first."""
        complete = [trial for trial in self.trials if trial.state == "complete"]
        return sorted(complete, key=lambda trial: (-(trial.mrr or 0.0), trial.number))

    def best_recipe(self) -> Recipe:
        """The recipe with the settings of the best trial.

        Raises:
            RecipeError: no trial was trained to its end.
        """
        if not self.ranked:
            raise RecipeError(f"{self.folder}: no trial was trained to its end; raise --trials or narrow the search")
        return with_settings(self.recipe, self.model, self.ranked[0].settings)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "model": self.model,
            "objective": "filtered realistic MRR of the validation split, the best over the epochs of a trial",
            "space": {name: span.model_dump(mode="json") for name, span in self.space.items()},
            "sampler": "TPE",
            "seed": self.seed,
            "training_seed": self.recipe.models[self.model].training.seed,
            "best": self.ranked[0].number if self.ranked else None,
            "importance": dict(self.importance),
            "trials": [{**trial.__dict__} for trial in self.trials],
        }


def tune(
    recipe: Recipe,
    model: str,
    graph: KnowledgeGraph,
    home: Path,
    *,
    trials: int,
    space: Space | None = None,
    seed: int = 0,
    prune: bool = True,
    on_trial: Callable[[Trial, Search], None] | None = None,
) -> Search:
    """Search until `trials` trials have ended, going on where a former call with the same arguments stopped.

    Args:
        recipe, model: whose settings; those that are not searched stay.
        graph: what `pipeline.prepare_graph` gave.
        home: holds `tuning/`.
        trials: how many in all, former calls counted.
        space: by default the recipe's `[tune.NAME]`, or `default_space`.
        seed: of the sampler; the training's seed is the recipe's.
        prune: stop a trial whose best MRR lies below the median of the others at the same epoch.
        on_trial: called after every trial.

    Raises:
        RecipeError: settings that cannot be searched, or values that a setting cannot have.
        DataError: another process is at the same search.
    """
    import optuna
    from optuna.trial import TrialState

    if model not in recipe.models:
        raise UnknownModel(model, f"of the recipe {recipe.name}", recipe.models)
    settings = recipe.models[model]
    if space is None:
        space = recipe.tune[model].ranges if model in recipe.tune else default_space(settings)
    _check(recipe, model, space)
    if validation(graph, settings) is None:
        raise GraphError("the graph has no validation split to judge trials by; see graph.split in the recipe")
    folder = study_folder(recipe, model, graph, home, space=space, seed=seed, prune=prune)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with alone(folder / "lock", f"{folder}: another process is at this search; wait for it or stop it"):
        study = _open(folder, settings.training, prune)
        for dead in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            logger.info("the process of a trial died; it is trained again")
            study.tell(dead.number, state=TrialState.FAIL)
        search = _read(study, recipe, model, space, seed, folder)
        while len(search.trials) < trials:
            seeded = int(np.random.SeedSequence([seed, len(search.trials)]).generate_state(1)[0])
            study.sampler = optuna.samplers.TPESampler(seed=seeded)
            trial = study.ask()
            trial.set_user_attr("seed", seeded)
            _run(study, trial, recipe, model, graph, space)
            search = _read(study, recipe, model, space, seed, folder)
            if on_trial:
                on_trial(search.trials[-1], search)
        return Search(**{**search.__dict__, "importance": _importance(study, search)})


def default_space(settings: ModelSettings) -> dict[str, Range]:
    """What is worth searching for most models: step size, batch, regularisation; epochs and width stay the recipe's."""
    low, high = (0.01, 1.0) if settings.training.optimizer == "adagrad" else (1e-4, 1e-2)
    space = {
        "training.learning_rate": Range(low=low, high=high, log=True),
        "training.batch_size": Range(choices=(128, 256, 512, 1024)),
        "initial_scale": Range(low=0.003, high=0.3, log=True),
        "training.entity_dropout": Range(low=0.0, high=0.5),
        "training.relation_dropout": Range(low=0.0, high=0.5),
        "training.label_smoothing": Range(low=0.0, high=0.3),
    }
    if settings.scorer in {"complex", "distmult", "rescal"}:
        space["training.n3"] = Range(low=1e-4, high=0.1, log=True)
        space["training.relation_prediction"] = Range(low=0.0, high=1.0)
    return space


def with_settings(recipe: Recipe, model: str, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with other values of a model's settings, by names such as `training.epochs`.

    Raises:
        RecipeError: a value that a setting cannot have.
    """
    tree = recipe.model_dump(mode="json", exclude_none=True)
    for name, value in settings.items():
        *parents, leaf = name.split(".")
        table = tree["models"][model]
        for parent in parents:
            table = table[parent]
        table[leaf] = value
    return Recipe.parse(tree, source=recipe.name)


def study_folder(
    recipe: Recipe, model: str, graph: KnowledgeGraph, home: Path, *, space: Space, seed: int, prune: bool
) -> Path:
    """Where a search is kept: named by all that its trials depend on, but not by how many there shall be."""
    parts = [
        __version__,
        recipe.models[model].model_dump(mode="json"),
        {name: span.model_dump(mode="json") for name, span in space.items()},
        graph.content_hash,
        seed,
        prune,
    ]
    fingerprint = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    return home / "tuning" / f"{recipe.name}-{model}-{fingerprint}"


def _check(recipe: Recipe, model: str, space: Space) -> None:
    settings = recipe.models[model]
    if settings.weights.path is not None:
        raise RecipeError(f"models.{model} has imported weights; there is no training to tune")
    if "valid" in settings.training.splits:
        raise RecipeError(
            f"models.{model}.training.splits holds valid: trials would be judged by what they learnt. Tune with "
            "--set 'models.NAME.training.splits=[\"train\"]'."
        )
    if settings.training.objective != "answers":
        raise RecipeError(f"models.{model} learns from a teacher; tune it with training.objective = 'answers'")
    if not space:
        raise RecipeError(f"nothing to search: [tune.{model}] is empty")
    SearchSpace.model_validate({name: span.model_dump(exclude_none=True) for name, span in space.items()})
    for name, span in space.items():
        if span.step > 1 and _is_real(name):
            raise RecipeError(f"tune.{model}.{name}: a step is for whole numbers")
        for value in span.choices or (span.low, span.high):
            with_settings(
                recipe, model, {name: value}
            )  # so that a range out of bounds is told before hours of training


def _open(folder: Path, training: TrainingSettings, prune: bool) -> optuna.Study:
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    journal = folder / "journal.log"
    if journal.exists() and (content := journal.read_bytes()) and not content.endswith(b"\n"):
        journal.write_bytes(content[: content.rfind(b"\n") + 1])  # a kill within a write left half a line
    storage = JournalStorage(JournalFileBackend(str(journal), lock_obj=_Unlocked()))  # type: ignore[arg-type]
    # A trial is compared after a quarter of its epochs, when five others have gone the whole way.
    median = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=training.epochs // 4, n_min_trials=3)
    pruner = median if prune else optuna.pruners.NopPruner()
    return optuna.create_study(
        storage=storage, study_name="tune", direction="maximize", pruner=pruner, load_if_exists=True
    )


class _Unlocked:
    """A journal's own lock may outlive a killed process; the whole folder is held by one process `alone`, which cannot."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return None


def _run(
    study: optuna.Study, trial: optuna.Trial, recipe: Recipe, model: str, graph: KnowledgeGraph, space: Space
) -> None:
    """Train one trial and tell its end; one that raises is told as failed, and suggested again by the next call."""
    import optuna
    from optuna.trial import TrialState

    try:
        suggested = {name: _suggest(trial, name, span) for name, span in space.items()}
        settings = with_settings(recipe, model, suggested).models[model]
        scorer = scorers.build(settings, n=graph.n, r=graph.r)
        judge, training = validation(graph, settings, recipe.graph.filter), settings.training
        assert judge is not None
        made = 0

        def watched(scorer: VectorScorer) -> float:
            nonlocal made
            made += 1
            figure = judge(scorer)
            trial.report(figure, min(made * training.evaluate_every, training.epochs))
            if trial.should_prune():
                raise optuna.TrialPruned
            return figure

        history = fit(scorer, graph, training, validate=watched, title=f"trial {len(_ended(study))}")
        study.tell(trial, history.best_validation)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except TrainingDiverged as error:
        trial.set_user_attr("diverged", str(error))
        study.tell(trial, state=TrialState.PRUNED)
    except BaseException:  # Ctrl-C too
        study.tell(trial, state=TrialState.FAIL)
        raise


def _suggest(trial: optuna.Trial, name: str, span: Range) -> Any:
    if span.choices:
        return trial.suggest_categorical(name, span.choices)
    assert span.low is not None
    assert span.high is not None
    if _is_real(name):
        return trial.suggest_float(name, span.low, span.high, log=span.log)
    return trial.suggest_int(name, int(span.low), int(span.high), step=span.step, log=span.log)


def _is_real(name: str) -> bool:
    prefix, _, leaf = name.rpartition(".")
    table = TrainingSettings if prefix else ModelSettings
    return table.model_fields[leaf].annotation is float


def _ended(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def _read(study: optuna.Study, recipe: Recipe, model: str, space: Space, seed: int, folder: Path) -> Search:
    trials = tuple(_trial(number, told) for number, told in enumerate(_ended(study)))
    return Search(recipe, model, space, seed, folder, trials, {})


def _trial(number: int, told: optuna.trial.FrozenTrial) -> Trial:
    state = "diverged" if "diverged" in told.user_attrs else told.state.name.lower()
    reached = told.intermediate_values
    return Trial(
        number=number,
        state=state,
        mrr=max(reached.values(), default=None),
        settings=dict(told.params),
        validations=dict(reached),
        duration_s=told.duration.total_seconds() if told.duration else 0.0,
        seed=told.user_attrs["seed"],
    )


def _importance(study: optuna.Study, search: Search) -> dict[str, float]:
    import optuna

    if len(search.ranked) < IMPORTANCE_FROM:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=search.seed)
    try:
        return optuna.importance.get_param_importances(study, evaluator=evaluator)
    except RuntimeError as error:  # all trials are equally good
        logger.info("no importance of settings: %s", error)
        return {}
