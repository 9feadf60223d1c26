"""Plain arrays: `.npz`, `.safetensors`, or a folder of `.npy` files, with tables `entity`, `relation` and maybe `inverse`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kgservice.errors import DataError
from kgservice.imports import names
from kgservice.imports.embeddings import PAIRED, Embeddings, angles, halves, transposed, with_inverses
from kgservice.recipe import WeightsSettings


def read(settings: WeightsSettings, scorer: str, path: Path, base: Path) -> Embeddings:
    """Tables in the layout that the settings tell.

    Raises:
        DataError: a table is missing, has an odd shape, or would have to be unpickled.
    """
    tables = _tables(path)
    if missing := {"entity", "relation"} - tables.keys():
        raise DataError(
            f"{path}: expected the arrays entity and relation, and maybe inverse; {' and '.join(sorted(missing))} missing, "
            f"found {', '.join(sorted(tables)) or 'none'}"
        )
    folder = path if path.is_dir() else path.parent
    files = [names.find(settings.entities, base, [folder], ["entities"])]
    files.append(names.find(settings.relations, base, [folder], ["relations"]))
    entities, relations = names.read(files[0]), names.read(files[1])
    entity = _rows(tables["entity"], settings, scorer)
    made = [
        _relation(tables[key], entity.shape[1], settings, scorer, path)
        for key in ("relation", "inverse")
        if key in tables
    ]
    direct, inverse = (
        (made[0], made[1]) if len(made) == 2 else with_inverses(made[0], len(relations), settings.inverses, path)
    )
    weights = sorted(path.glob("*.npy")) if path.is_dir() else [path]
    return Embeddings(entity, direct, inverse, entities, relations, [*weights, *files])


def _tables(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as held:
                arrays = {name: held[name] for name in held.files}
        elif path.is_dir():
            arrays = {file.stem: np.load(file, allow_pickle=False) for file in sorted(path.glob("*.npy"))}
        else:
            raise DataError(
                f"{path}: expected an .npz or .safetensors file, or a folder with entity.npy and relation.npy"
            )
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise DataError(f"{path}: cannot be read as arrays: {error}") from error
    except Exception as error:
        if type(error).__name__ == "SafetensorError":  # its class is private to the library
            raise DataError(f"{path}: cannot be read as safetensors: {error}") from error
        raise


def _rows(table: Tensor, settings: WeightsSettings, scorer: str) -> Tensor:
    """float32 `[m, w]`, real parts first."""
    if table.is_complex():
        return torch.cat([table.real, table.imag], dim=-1).flatten(1).to(torch.float32)
    rows = table.flatten(1).to(torch.float32)
    return halves(rows) if settings.complex == "interleaved" and scorer in PAIRED and rows.shape[1] % 2 == 0 else rows


def _relation(table: Tensor, width: int, settings: WeightsSettings, scorer: str, path: Path) -> Tensor:
    if scorer == "rotate" and not table.is_complex() and 2 * table.shape[1] == width:
        return table.to(torch.float32)  # angles already
    rows = _rows(table, settings, scorer)
    if scorer == "rotate":
        return angles(rows, path)
    return transposed(rows) if scorer == "rescal" and settings.transposed else rows
