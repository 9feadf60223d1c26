"""Seas, rivers, mountains, deserts and lakes."""

from __future__ import annotations

from world.cities import Gazetteer
from world.facts import rows
from world.graph import FactError, World, local_name
from world.names import LANGUAGES


def add_nature(world: World, gazetteer: Gazetteer) -> None:
    """All of them, with the countries they touch and the cities on rivers."""
    for name, *_ in rows("geography", "seas"):
        ocean = name.endswith("Ocean")
        world.add(name, "Ocean" if ocean else "Sea", "nature", "ocean" if ocean else "sea or part of one")
    for name, parent, codes in rows("geography", "seas"):
        if parent:
            world.say(local_name(name), "partOf", local_name(parent))
        for code in codes.split():
            world.say(world.of("country", code), "coastOn", local_name(name))
    for part, kind, what in (
        ("mountains", "MountainRange", "mountain range"),
        ("deserts", "Desert", "desert"),
        ("lakes", "Lake", "lake"),
    ):
        for name, codes in rows("geography", part):
            key = world.add(name, kind, "nature", what).id
            for code in codes.split():
                world.say(key, "country", world.of("country", code))
    _add_rivers(world, gazetteer)


def add_translations(world: World, gazetteer: Gazetteer) -> None:
    """Names of places that CLDR does not have, and other names of cities.

    Raises:
        FactError: a row names nothing in the graph.
    """
    for name, *others in rows("geography", "translations"):
        if name not in world.entities:
            raise FactError(f"geography.toml, translations: no entity is called {name!r}")
        world.entities[name].labels.update(zip(LANGUAGES[1:], others, strict=True))
    for name, listed in rows("geography", "city_names"):
        city = world.entities[gazetteer.city(name)]
        for item in listed.split(";"):
            language, _, text = item.strip().partition(":")
            city.alias(text, language)


def _add_rivers(world: World, gazetteer: Gazetteer) -> None:
    rivers = rows("geography", "rivers")
    keys = {name: _river_id(world, name) for name, *_ in rivers}
    for name, _, codes, _ in rivers:
        number = len(codes.split())
        what = f"river through {number} countries" if number > 1 else "river"
        world.add(keys[name], "River", "nature", what, label=name.split(" (")[0])
    for name, mouth, codes, cities in rivers:
        key = keys[name]
        if mouth:
            world.say(key, "flowsInto", keys.get(mouth, local_name(mouth)))
        for code in codes.split():
            world.say(key, "flowsThrough", world.of("country", code))
        for city in filter(None, (city.strip() for city in cities.split(";"))):
            world.say(gazetteer.city(city), "onRiver", key)


def _river_id(world: World, name: str) -> str:
    key = local_name(name)
    return f"{key}_River" if key in world.entities else key
