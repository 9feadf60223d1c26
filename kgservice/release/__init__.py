"""Releases: what is served. Immutable, self-contained, named by the hash of the manifest, never half-written.

::

    releases/<id>/   release.json   sha256 and size of every file, versions
                     graph/ search/ models/<name>/ canary.json report.html
    releases/CURRENT                the id that is served; replaced in one step
    releases/HISTORY                every activation, for rollback
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from kgservice import __version__
from kgservice.errors import CorruptRelease, DataError, UnknownRelease
from kgservice.files import replacing, sha256_of, sync, sync_tree
from kgservice.graph import KnowledgeGraph

FORMAT_VERSION = 1
ID_LENGTH = 12
SHARE_FROM_BYTES = 1 << 16
"""Files at least this large are linked, not kept twice, where another release has the same content."""
_LIBRARIES = ("faiss-cpu", "faiss-gpu", "numpy", "pyarrow", "sentence-transformers", "tantivy", "torch")


@dataclass(frozen=True)
class Release:
    """An opened release folder.

    Attributes:
        folder: where it lies.
        manifest: the content of `release.json`.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The first twelve digits of the manifest's sha256."""
        return self.folder.name

    @cached_property
    def graph(self) -> KnowledgeGraph:
        """The graph, memory-mapped."""
        return KnowledgeGraph.open(self.folder / "graph")

    @property
    def models(self) -> list[str]:
        """Names of the models, the best first by validation MRR."""
        return list(self.manifest["models"])

    def model_folder(self, name: str) -> Path:
        """Where a model lies."""
        return self.folder / "models" / name

    def metrics(self, model: str) -> dict[str, Any]:
        """What was measured of a model when it was built."""
        loaded: dict[str, Any] = json.loads((self.model_folder(model) / "metrics.json").read_text(encoding="utf-8"))
        return loaded

    def canaries(self) -> list[dict[str, Any]]:
        """Questions with the answers they had when the release was made."""
        path = self.folder / "canary.json"
        loaded: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        return loaded

    def verify(self, *, content: bool = True) -> None:
        """Compare every file with the manifest.

        Args:
            content: hash the files; else look at names and sizes alone.

        Raises:
            CorruptRelease: names the file and the difference.
        """
        if _manifest_id(self.manifest) != self.id:
            raise CorruptRelease(
                f"{self.folder / 'release.json'} was changed: its hash is {_manifest_id(self.manifest)}"
            )
        files: Mapping[str, Mapping[str, Any]] = self.manifest["files"]
        for name, expected in files.items():
            path = self.folder / name
            if not path.is_file():
                raise CorruptRelease(f"{path} is missing. Build the release anew, or activate another one.")
            size = path.stat().st_size
            if size != expected["size"]:
                raise CorruptRelease(f"{path} has {size} bytes, {expected['size']} were sealed. {_MEND}")
            if content and (found := sha256_of(path)) != expected["sha256"]:
                raise CorruptRelease(f"{path} has sha256 {found[:12]}…, {expected['sha256'][:12]}… was sealed. {_MEND}")


_MEND = "Restore it from a copy, build the release anew, or activate another one."


@dataclass(frozen=True)
class ReleaseStore:
    """The folder of all releases.

    Attributes:
        folder: usually `var/releases`.
    """

    folder: Path

    def ids(self) -> list[str]:
        """All releases, the oldest first."""
        found = [path for path in self.folder.glob("*/release.json") if not path.parent.name.startswith(".")]
        return [
            path.parent.name for path in sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.parent.name))
        ]

    def current_id(self) -> str | None:
        """The id that is served, or None."""
        try:
            return (self.folder / "CURRENT").read_text(encoding="ascii").strip() or None
        except FileNotFoundError:
            return None

    def get(self, id: str | None = None) -> Release:
        """A release by its id or the beginning of one; the current one by default.

        Raises:
            UnknownRelease: there is none of this id, or no current one.
        """
        wanted = id or self.current_id()
        ids = self.ids()
        if wanted is None:
            raise UnknownRelease("CURRENT", f"in {self.folder}. Build one first: kgservice demo --no-serve")
        matches = [known for known in ids if known == wanted] or [known for known in ids if known.startswith(wanted)]
        if len(matches) != 1:
            raise UnknownRelease(wanted, f"in {self.folder}", matches or ids[-3:])
        folder = self.folder / matches[0]
        try:
            manifest = json.loads((folder / "release.json").read_text(encoding="utf-8"))
        except ValueError as error:
            raise CorruptRelease(f"{folder / 'release.json'} is not JSON: {error}. {_MEND}") from error
        if manifest.get("format_version") != FORMAT_VERSION:
            raise CorruptRelease(
                f"{folder}: release format {manifest.get('format_version')}, this kgservice reads {FORMAT_VERSION}"
            )
        return Release(folder, manifest)

    def write(self, fill: Callable[[Path], None], details: Mapping[str, Any]) -> Release:
        """Make a release: `fill` writes files into a staging folder, which is sealed and renamed into place.

        Args:
            fill: writes everything but `release.json`.
            details: goes into the manifest; must hold "models", the best first.

        Returns:
            The release; not yet current.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        staging = self.folder / f".staging-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        staging.mkdir()
        try:
            fill(staging)
            files = {
                path.relative_to(staging).as_posix(): {"sha256": sha256_of(path), "size": path.stat().st_size}
                for path in sorted(staging.rglob("*"))
                if path.is_file()
            }
            manifest = {
                "format_version": FORMAT_VERSION,
                **provenance(),
                **details,
                "files": files,
            }
            self._link_same_files(staging, files)
            (staging / "release.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
            sync_tree(staging)
            final = self.folder / _manifest_id(manifest)
            if final.exists():  # the same content, built again
                shutil.rmtree(staging)
            else:
                staging.rename(final)
            sync(self.folder)
            return Release(final, manifest)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def activate(self, id: str) -> Release:
        """Make a release the current one, in one step, after verifying it."""
        release = self.get(id)
        release.verify()
        with (self.folder / "HISTORY").open("a", encoding="ascii") as history:
            history.write(release.id + "\n")
            history.flush()
            os.fsync(history.fileno())
        with replacing(self.folder / "CURRENT") as staging:
            staging.write_text(release.id + "\n", encoding="ascii")
        return release

    def rollback(self) -> Release:
        """Activate the release that was current before the current one.

        Raises:
            UnknownRelease: there was none, or it is gone.
        """
        path = self.folder / "HISTORY"
        history = path.read_text(encoding="ascii").split() if path.exists() else []
        current, known = self.current_id(), set(self.ids())
        # Walk back over the last run of the current id.
        while history and history[-1] == current:
            history.pop()
        earlier = [id for id in history if id in known and id != current]
        if not earlier:
            raise UnknownRelease("the previous one", f"in {self.folder}: nothing to roll back to")
        return self.activate(earlier[-1])

    def supersede(self, id: str, by: Release) -> None:
        """Put a release in the place of another, which is removed; where that was current or was once, this one is."""
        current = self.current_id() == id
        history = self.folder / "HISTORY"
        if history.exists():
            lines = [by.id if line == id else line for line in history.read_text(encoding="ascii").split()]
            with replacing(history) as staging:
                staging.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
        if current:
            self.activate(by.id)
        if by.id != id:
            shutil.rmtree(self.folder / id)
            sync(self.folder)

    def _sweep(self) -> None:
        """Remove what killed builds left behind; a staging folder names its process."""
        for path in self.folder.glob(".staging-*"):
            process = path.name.split("-")[1]
            if not (process.isdigit() and _alive(int(process))):
                shutil.rmtree(path, ignore_errors=True)

    def _link_same_files(self, staging: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
        held: dict[str, Path] = {}
        for id in self.ids():
            try:
                other = self.get(id)
            except DataError:
                continue
            for name, entry in other.manifest["files"].items():
                held[entry["sha256"]] = other.folder / name
        for name, entry in files.items():
            twin = held.get(entry["sha256"])
            if (
                twin is None
                or entry["size"] < SHARE_FROM_BYTES
                or not twin.is_file()
                or sha256_of(twin) != entry["sha256"]
            ):
                continue
            link = staging / f"{name}.link"
            try:
                os.link(twin, link)
                link.replace(staging / name)
            except OSError:
                link.unlink(missing_ok=True)  # a file system without links keeps two copies


def provenance() -> dict[str, Any]:
    """Which code made something: versions and, in a checkout, the commit."""
    return {
        "kgservice": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "libraries": dict(_versions()),
    }


def _manifest_id(manifest: Mapping[str, Any]) -> str:
    canonical = json.dumps(manifest, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:ID_LENGTH]


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()


def _versions() -> Iterator[tuple[str, str]]:
    for name in _LIBRARIES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def _commit() -> str | None:
    """The commit of the code where it runs from a checkout."""
    root = Path(__file__).resolve().parent.parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
