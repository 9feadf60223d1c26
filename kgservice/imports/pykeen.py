"""PyKEEN: a state dict, and the names that its triples factory writes.

Complex rows are real and imaginary parts in turn; with `create_inverse_triples` relation i has row 2i and its inverse
2i + 1; the rotations of RotatE are complex numbers; RESCAL scores hᵀ R t like ours.
"""

from __future__ import annotations

from pathlib import Path

from kgservice.errors import DataError, RecipeError
from kgservice.imports import names, unpickling
from kgservice.imports.embeddings import PAIRED, Embeddings, angles, halves, require_squared_norm, with_inverses
from kgservice.recipe import WeightsSettings

MODELS = {"complex", "distmult", "rescal", "rotate", "transe"}
ADVICE = (
    "Where it was trained, save the tensors alone: "
    'torch.save(torch.load("trained_model.pkl", weights_only=False).state_dict(), "state_dict.pt")'
)


def read(settings: WeightsSettings, scorer: str, path: Path, base: Path) -> Embeddings:
    """Tables of a folder that holds `torch.save(model.state_dict())` and `to_path_binary`'s names, or of that file.

    Raises:
        DataError: a part is missing or could only be read by running code.
        RecipeError: a model or norm that has no exact search here.
    """
    if scorer not in MODELS:
        raise RecipeError(f"PyKEEN's {scorer} cannot be imported. Known: {', '.join(sorted(MODELS))}.")
    file = path if path.is_file() else _state_file(path)
    require_squared_norm(scorer, settings.norm or (2 if scorer == "rotate" else None), file)
    loaded = unpickling.load(file, ADVICE)
    state = loaded.get("model_state_dict", loaded) if isinstance(loaded, dict) else loaded
    entity, relation = (
        unpickling.table(
            state, (f"{what}_representations.0._embeddings.weight", f"{what}_embeddings._embeddings.weight"), file
        )
        for what in ("entity", "relation")
    )
    folders = [file.parent, file.parent / "training_triples"]
    files = [
        names.find(given, base, folders, [stem])
        for given, stem in ((settings.entities, "entity_to_id"), (settings.relations, "relation_to_id"))
    ]
    entities, relations = names.read(files[0]), names.read(files[1])
    if scorer in PAIRED:
        entity, relation = halves(entity), halves(relation)
    if scorer == "rotate":
        relation = angles(relation, file)
    direct, inverse = with_inverses(relation, len(relations), "odd", file)
    return Embeddings(entity, direct, inverse, entities, relations, [file, *files])


def _state_file(folder: Path) -> Path:
    found = [
        file
        for ending in ("pt", "pth", "pkl")
        for file in sorted(folder.glob(f"*.{ending}"))
        if file.name != "base.pth"
    ]
    whole = [file for file in found if file.name == "trained_model.pkl"]  # the pickled model that a pipeline saves
    found = [file for file in found if file not in whole] or whole
    if len(found) != 1:
        seen = ", ".join(file.name for file in found) or "none"
        raise DataError(f"{folder}: expected one file of a state dict (.pt, .pth or .pkl), found {seen}. {ADVICE}")
    return found[0]
