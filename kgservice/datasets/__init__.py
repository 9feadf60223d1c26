"""Data sets with a manifest under `data/`: what they are, where their files come from, and what must be in them."""

from __future__ import annotations

import difflib
import logging
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kgservice.datasets.downloads import Download, fetch_file
from kgservice.errors import DataError, RecipeError, UnknownDataset
from kgservice.graph import KnowledgeGraph
from kgservice.graph.withholding import withhold
from kgservice.ingestion import GraphBuilder, load_into
from kgservice.readers.companions import COMPANION_ROLES, Companion, add_companions, type_pairs
from kgservice.readers.facts import SPLIT_OF_STEM
from kgservice.readers.sources import Source
from kgservice.readers.tsv import ROLE_OF_STEM
from kgservice.resources import home, share

_log = logging.getLogger(__name__)

SPLIT_ROLES = (*ROLE_OF_STEM, "context")
"""Statements of one split; the name of the file tells readers which."""

STATEMENT_ROLES = ("statements", "names", *SPLIT_ROLES)
"""What the reader of the statements takes; `names` are those of the numbers in the statements of OpenKE."""

WITHHOLDING_ROLES = ("kept_relations", "held_out_types_json")
"""Of a task that predicts types: the relations it may use, one a line, and the types to predict; see `withholding`."""

ROLES = (*STATEMENT_ROLES, *COMPANION_ROLES, *WITHHOLDING_ROLES, "beside")
"""What a file may hold; one that lies `beside` is fetched but not read: analogies to solve, statistics."""


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ManifestFile(_Closed):
    """One file of a data set."""

    path: str = Field(description="Name in the download folder; of a bundled file, a glob from the share folder.")
    role: str = Field(description="What the file holds: `train`, `valid`, ..., or a layout of labels or types.")
    source: Literal["download", "bundled"] = Field("download", description="Bundled files come with kgservice.")
    url: str | None = Field(None, pattern="^https://", description="Public address.")
    member: str | None = Field(None, description="The file to take, where the address is that of a tar archive.")
    mirror: str | None = Field(None, description="Path in a mirror folder, where it may be compressed.")
    sha256: str = Field("", pattern="^([0-9a-f]{64})?$", description="Of the uncompressed content.")
    size_bytes: int = Field(0, ge=0, description="Of the uncompressed content.")
    format: str | None = Field(None, description="Of these statements, where it is not the data set's.")
    language: str = Field("en", description="Of the texts in it.")
    prefix: str = Field("", description="What the graph's names have before those in this file of texts or types.")
    optional: bool = Field(False, description="The data set loads without it.")

    @model_validator(mode="after")
    def _can_be_had(self) -> ManifestFile:
        if self.role not in ROLES:
            close = difflib.get_close_matches(self.role, ROLES, n=1)
            raise ValueError(f"{self.role!r} is not a role. {_meant(close, ROLES)}")
        if self.source == "download" and not (self.sha256 and (self.url or self.mirror)):
            raise ValueError("a download needs sha256 and a url or a mirror")
        if self.role in SPLIT_ROLES and not _tells(Path(self.path).stem, self.role):
            raise ValueError(f"the file of role {self.role} must be named {self.role}.txt, its name tells the split")
        return self


class Manifest(_Closed):
    """What a data set is."""

    name: str = Field(description="Short name, that of the manifest file.")
    title: str
    description: str
    licence: str
    homepage: str = ""
    citation: str = ""
    format: str = Field(description="Format of the statements, see `kgservice.readers.FORMATS`.")
    files: tuple[ManifestFile, ...] = Field(min_length=1)
    expected: dict[str, Annotated[int, Field(ge=0)]] = Field({}, description="Counts the graph must have.")

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Read and check a manifest.

        Raises:
            RecipeError: unreadable TOML, an unknown key or role, a missing or wrong value; names file and key.
        """
        try:
            tree = tomllib.loads(path.read_text(encoding="utf-8"))
            return cls.model_validate({"name": path.stem, **tree})
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise RecipeError(f"{path.name}: cannot be read as TOML: {error}") from error
        except ValidationError as error:
            raise RecipeError("\n".join(_explain(path.name, problem) for problem in error.errors())) from error

    @property
    def is_bundled(self) -> bool:
        """Whether all files come with kgservice."""
        return all(file.source == "bundled" for file in self.files)


def names() -> list[str]:
    """Every data set that has a manifest, sorted."""
    return sorted(path.stem for path in (share() / "data").glob("*.toml"))


def manifest(name: str) -> Manifest:
    """The manifest of a data set.

    Raises:
        UnknownDataset: with the closest names.
        RecipeError: the manifest is wrong.
    """
    if name not in (known := names()):
        raise UnknownDataset(name, f"with a manifest ({len(known)} are)", difflib.get_close_matches(name, known, n=3))
    return Manifest.load(share() / "data" / f"{name}.toml")


def fetch(name: str, mirror: Path | None = None, progress: bool = False) -> Path:
    """Have all files of a data set on disk, verified; those already there and intact are not fetched again.

    Args:
        mirror: a folder to take files from instead of their addresses; by default `KGSERVICE_DATA_MIRROR`.
        progress: show a bar, if standard error is a terminal.

    Returns:
        The folder of the files: `downloads/<name>` in `kgservice.resources.home()`, or the share folder if bundled.

    Raises:
        UnknownDataset: no manifest has this name.
        DataError: a file cannot be had or is not the one that was meant.
    """
    described = manifest(name)
    if described.is_bundled:
        return share()
    folder = home() / "downloads" / name
    for file in described.files:
        if file.source == "download":
            download = Download(
                path=folder / file.path,
                sha256=file.sha256,
                size_bytes=file.size_bytes,
                url=file.url,
                member=file.member,
                mirror=file.mirror,
                optional=file.optional,
            )
            fetch_file(download, mirror=mirror, progress=progress)
    return folder


def files(name: str, mirror: Path | None = None, progress: bool = False) -> list[Path]:
    """Fetch a data set if need be; every file of it that is there, globs followed."""
    described, folder = manifest(name), fetch(name, mirror, progress)
    places = [_place(file, folder) for file in described.files]
    return sorted(path for place in places for path in place.parent.glob(place.name))


def load(name: str, mirror: Path | None = None, progress: bool = False) -> KnowledgeGraph:
    """Fetch a data set if need be, read it, and check its counts.

    Raises:
        UnknownDataset: no manifest has this name.
        DataError: a file cannot be had, or the graph has not the counts that the manifest states.
    """
    described, folder = manifest(name), fetch(name, mirror, progress)
    builder = GraphBuilder()
    statements: dict[str, list[Path]] = {}
    for file in described.files:
        if file.role in STATEMENT_ROLES:
            statements.setdefault(file.format or described.format, []).append(_place(file, folder))
    loaded = [load_into(builder, places, format=format) for format, places in statements.items()]
    companions = [
        Companion(Source(_place(file, folder), file.path), file.role, file.language, file.prefix)
        for file in described.files
        if file.role in COMPANION_ROLES and _place(file, folder).is_file()
    ]
    add_companions(builder, companions)
    provenance = {"dataset": name, "companions": [companion.source.fingerprint() for companion in companions]}
    prefixes = {name: iri for part in reversed(loaded) for name, iri in part.prefixes.items()}
    graph = builder.build(
        prefixes=prefixes, provenance=provenance, files=[file for part in loaded for file in part.files]
    )
    if kept := [_place(file, folder) for file in described.files if file.role == "kept_relations"]:
        relations = [line for path in kept for line in path.read_text(encoding="utf-8").split()]
        graph = withhold(graph, relations, [pair for part in held_out_types(name, mirror).values() for pair in part])
    _check(graph, described)
    _log.info("%s: %d entities, %d statements", name, graph.n, len(graph.statements))
    return graph


def held_out_types(name: str, mirror: Path | None = None) -> dict[str, list[tuple[str, str]]]:
    """The types that a data set asks to predict, which its graph does not hold: (entity, type) by name, by file.

    Raises:
        UnknownDataset: no manifest has this name.
        DataError: a file cannot be had or is not in its layout.
    """
    described, folder = manifest(name), fetch(name, mirror)
    return {
        file.path: type_pairs(Source(_place(file, folder), file.path))
        for file in described.files
        if file.role == "held_out_types_json"
    }


def _tells(stem: str, role: str) -> bool:
    """Whether readers know from a file's name that it has this role."""
    return stem == role or (stem in SPLIT_OF_STEM and SPLIT_OF_STEM[stem] is SPLIT_OF_STEM.get(role))


def _place(file: ManifestFile, folder: Path) -> Path:
    return (share() if file.source == "bundled" else folder) / file.path


def _check(graph: KnowledgeGraph, described: Manifest) -> None:
    counts = graph.counts()
    wrong = [
        f"{what}: expected {expected:,}, found {counts[what]:,}" if what in counts else f"{what} is not a count"
        for what, expected in described.expected.items()
        if counts.get(what) != expected
    ]
    if wrong:
        raise DataError(f"{described.name}: {'; '.join(wrong)}. Fetch it anew, or correct data/{described.name}.toml.")


def _explain(source: str, problem: Mapping[str, Any]) -> str:
    place: Sequence[Any] = problem["loc"]
    key = ".".join(map(str, place))
    if problem["type"] == "extra_forbidden":
        known = list((ManifestFile if place[0] == "files" else Manifest).model_fields)
        return f"{source}: {key} is not a key. {_meant(difflib.get_close_matches(str(place[-1]), known, n=1), known)}"
    if problem["type"] == "missing":
        return f"{source}: {key} is missing."
    return f"{source}: {key}: {problem['msg'].removeprefix('Value error, ')}"


def _meant(close: Sequence[str], known: Sequence[str]) -> str:
    return f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}."
