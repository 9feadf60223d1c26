"""LibKGE: a checkpoint, and the data set's `entity_ids.del` and `relation_ids.del`.

Complex rows have real parts first; the reciprocal model keeps its inverse relations in the second half; rotations are
angles; RESCAL scores sᵀ R o: all like ours. A packaged model brings its names with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kgservice.errors import DataError, RecipeError
from kgservice.imports import names, unpickling
from kgservice.imports.embeddings import Embeddings, require_squared_norm, with_inverses
from kgservice.recipe import WeightsSettings

MODELS = {"complex", "distmult", "rescal", "rotate", "transe"}
ADVICE = (
    "Where LibKGE is installed, save the tensors alone: "
    'torch.save({"model": torch.load("checkpoint_best.pt", weights_only=False)["model"]}, "model.pt")'
)


class _Config:
    """Takes the attributes of LibKGE's configuration, whose code is not run."""

    options: Mapping[str, Any]


def read(settings: WeightsSettings, scorer: str, path: Path, base: Path) -> Embeddings:
    """Tables of a checkpoint, or of `checkpoint_best.pt` in a folder.

    Raises:
        DataError: a part is missing or could only be read by running code.
        RecipeError: not the model of the recipe, or a norm that has no exact search here.
    """
    if scorer not in MODELS:
        raise RecipeError(f"LibKGE's {scorer} cannot be imported. Known: {', '.join(sorted(MODELS))}.")
    file = path if path.is_file() else path / "checkpoint_best.pt"
    loaded = unpickling.load(file, ADVICE, {"kge.config.Config": _Config})
    if not isinstance(loaded, Mapping) or "model" not in loaded:
        raise DataError(f"{file}: expected a LibKGE checkpoint with the key model")
    trained, norm = _described(loaded.get("config"))
    if trained and trained != scorer:
        raise RecipeError(f"{file}: a model {trained}, the recipe says scorer = {scorer!r}")
    require_squared_norm(scorer, norm or settings.norm, file)
    state = loaded["model"][0] if isinstance(loaded["model"], (tuple, list)) else loaded["model"]
    entity, relation = (
        unpickling.table(
            state,
            tuple(
                f"{where}_{what}_embedder.{name}.weight"
                for where in ("", "_base_model.")
                for name in ("_embeddings", "embeddings")
            ),
            file,
        )
        for what in ("entity", "relation")
    )
    packaged = loaded.get("dataset", {})
    packaged = packaged.get("meta") or {} if isinstance(packaged, Mapping) else {}
    named, files = [], [file]
    for given, what in ((settings.entities, "entity_ids"), (settings.relations, "relation_ids")):
        if given is None and isinstance(packaged.get(what), list):
            named.append([str(name) for name in packaged[what]])
        else:
            files.append(names.find(given, base, [file.parent], [what]))
            named.append(names.read(files[-1]))
    direct, inverse = with_inverses(relation, len(named[1]), "last", file)
    return Embeddings(entity, direct, inverse, named[0], named[1], files)


def _described(config: Any) -> tuple[str | None, float | None]:
    """The model and norm that a checkpoint's configuration tells."""
    options = getattr(config, "options", None)
    if not isinstance(options, Mapping):
        return None, None
    model, special = options.get("model"), {}
    if model == "reciprocal_relations_model":
        special = options.get(model, {}).get("base_model", {})
        model = special.get("type")
    norm = special.get(
        "l_norm", options.get(model, {}).get("l_norm") if isinstance(options.get(model), Mapping) else None
    )
    return model, None if norm is None else float(norm)
