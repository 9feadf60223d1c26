"""Fixtures: real releases of the sample graph and of a small one, built once per run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from filelock import FileLock

from kgservice import pipeline
from kgservice.engine import Engine
from kgservice.recipe import Recipe
from kgservice.release import ReleaseStore
from kgservice.resources import share

MIRROR = os.environ.get("KGSERVICE_DATA_MIRROR")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One file that needs the sample graph's release, then those that do not, then the rest: none waits while it is built."""
    needs = {item.path for item in items if "world_home" in getattr(item, "fixturenames", ())}
    first = min(needs, default=None)
    items.sort(key=lambda item: 0 if item.path == first else 2 if item.path in needs else 1)


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The local copy of public benchmark data; tests that need it skip elsewhere."""
    if not MIRROR or not Path(MIRROR).is_dir():
        pytest.skip("KGSERVICE_DATA_MIRROR names no folder with benchmark data")
    return Path(MIRROR)


@pytest.fixture(scope="session")
def world_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose current release is the sample graph's, trained briefly; one for all workers of a run."""
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "world-home"
    with FileLock(f"{home}.lock"):
        if not (home / "releases" / "CURRENT").exists():
            _build_world(home)
    return home


def _build_world(home: Path) -> None:
    tiny = ["models.complex.training.epochs=7", "models.complex.width=64", "search.encoder=none"]
    tiny += [f"models.text.{small}" for small in ("width=64", "training.epochs=2")]
    tiny += [f"models.text.text.{small}" for small in ("encoder=none", "words=64", "hidden=32")]
    path = share() / "models" / "world.toml"
    recipe = Recipe.load(path, tiny)
    # The context model is tested on a small graph of its own.
    models = {name: model for name, model in recipe.models.items() if name != "context"}
    pipeline.build(recipe.model_copy(update={"models": models}), home, base=path.parent)


@pytest.fixture(scope="session")
def release_store(world_home: Path) -> ReleaseStore:
    """The releases of `world_home`; treat them as read-only."""
    return ReleaseStore(world_home / "releases")


@pytest.fixture(scope="session")
def engine(release_store: ReleaseStore) -> Engine:
    """What answers from the sample graph's release; what is put makes another one."""
    return Engine.open(release_store.get())


FAMILY = """@prefix ex: <https://example.org/> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix schema: <https://schema.org/> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
"""


@pytest.fixture(scope="session")
def family_ttl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty families in three towns as Turtle: parents, spouses, towns, with qualifiers, labels and numbers."""
    lines = [FAMILY]
    for town in range(3):
        lines.append(f'ex:town{town} a ex:Town ; rdfs:label "Town {town}"@en , "Stadt {town}"@de .')
    for house in range(30):
        mother, father, child = (f"ex:{role}{house}" for role in ("mother", "father", "child"))
        for person, word in ((mother, "Mother"), (father, "Father"), (child, "Child")):
            label = f'rdfs:label "{word} {house}"@en ; schema:description "{word.lower()} of house {house}"@en'
            lines.append(f"{person} a ex:Person ; {label} ; ex:livesIn ex:town{house % 3} ; ex:age {20 + house} .")
        lines.append(f'{mother} ex:spouse {father} {{| ex:since "{1950 + house}-06-01"^^xsd:date |}} .')
        lines.append(f"{child} ex:parent {mother} , {father} .")
    lines.append('ex:livesIn rdfs:label "lives in"@en .')
    path = tmp_path_factory.mktemp("family") / "family.ttl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def family_recipe(**model: object) -> Recipe:
    """A recipe over `family.ttl` in its base folder."""
    training = {"epochs": 20, "batch_size": 32, "learning_rate": 0.3, "evaluate_every": 5}
    settings = {"width": 32, "initial_scale": 0.1, "training": training, **model}
    tree = {
        "name": "family",
        "graph": {"sources": ["family.ttl"], "split": {"valid": 0.1, "test": 0.1}},
        "models": {"complex": settings},
        "search": {"encoder": "none"},
    }
    return Recipe.parse(tree)


@pytest.fixture(scope="session")
def family_engine(tmp_path_factory: pytest.TempPathFactory, family_ttl: Path) -> Engine:
    """What answers from a release of `family_recipe`."""
    home = tmp_path_factory.mktemp("family-home")
    pipeline.build(family_recipe(), home, base=family_ttl.parent)
    return Engine.open(ReleaseStore(home / "releases").get())


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sqlalchemy.Engine]:
    """SQLite, and PostgreSQL where an address of one is given."""
    from kgservice.store.database import open_database

    url = os.environ.get("KGSERVICE_TEST_DATABASE_URL")
    if request.param == "postgresql" and not url:
        pytest.skip("KGSERVICE_TEST_DATABASE_URL names no PostgreSQL database")
    engine = open_database(tmp_path, url if request.param == "postgresql" else None)
    yield engine
    engine.dispose()
