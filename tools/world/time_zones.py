"""Zones of the IANA time zone database, the common times that they keep, and the places in them."""

from __future__ import annotations

from collections.abc import Mapping

import pycountry
from babel.core import get_global

from world.cities import Gazetteer
from world.facts import geonames_admin1
from world.graph import World, local_name
from world.names import standard_time_names, zone_city_names, zone_labels


def add_time_zones(world: World, gazetteer: Gazetteer) -> None:
    """Zones of countries, cities and subdivisions."""
    current: Mapping[str, str] = get_global("zone_aliases")
    zones_of = {
        territory: sorted({current.get(zone, zone) for zone in zones})
        for territory, zones in get_global("territory_zones").items()
        if ("country", territory) in world.codes
    }
    earlier: dict[str, list[str]] = {}
    for old, new in sorted(current.items()):
        earlier.setdefault(new, []).append(old)
    common: Mapping[str, str] = get_global("meta_zones")
    home: dict[str, str] = {}
    for territory, zones in sorted(zones_of.items()):
        for zone in zones:
            home.setdefault(zone, territory)
    for metazone in sorted(
        {common[name] for zone in home for name in (zone, *earlier.get(zone, ())) if name in common}
    ):
        names = standard_time_names(metazone)
        if names.get("en"):
            world.add(
                names["en"], "StandardTime", "time_zones", "time kept in common by several zones or by a country",
                labels=names, code=("metazone", metazone),
            )  # fmt: skip
    for zone, territory in sorted(home.items()):
        known = (zone, *earlier.get(zone, ()))
        city = zone.rsplit("/", 1)[-1].replace("_", " ")
        names = zone_city_names(known)
        labels = {**zone_labels(city, names), "en": zone}
        entity = world.add(
            zone.replace("/", "-"), "TimeZone", "time_zones", f"zone of the IANA time zone database, named after {city}",
            labels=labels, code=("zone", zone),
        )  # fmt: skip
        entity.alias(f"{city} time", "en")
        metazone = next((common[name] for name in known if name in common), "")
        if ("metazone", metazone) in world.codes:
            world.say(entity.id, "standardTime", world.of("metazone", metazone))
        place = gazetteer.find(city, territory)
        key = local_name(place.name) if place else ""
        if place and key in world.entities and gazetteer.is_kept(place):
            world.say(entity.id, "exemplarCity", gazetteer.id_of(place))
            for language, name in names.items():
                world.entities[gazetteer.id_of(place)].labels.setdefault(language, name)
    for territory, zones in sorted(zones_of.items()):
        for zone in zones:
            world.say(world.of("country", territory), "timeZone", world.of("zone", zone))
    _add_zones_of_places(world, gazetteer, zones_of, current)


def _add_zones_of_places(
    world: World, gazetteer: Gazetteer, zones_of: dict[str, list[str]], current: Mapping[str, str]
) -> None:
    iso_of = geonames_admin1()
    seen: dict[str, set[str]] = {}
    for place in gazetteer.kept:
        zone = current.get(place.zone, place.zone)
        if ("zone", zone) in world.codes:
            world.say(gazetteer.id_of(place), "timeZone", world.of("zone", zone))
            seen.setdefault(iso_of.get(place.subdivision, ""), set()).add(zone)
    for entry in pycountry.subdivisions:
        if ("subdivision", entry.code) not in world.codes:
            continue
        alone = zones_of.get(entry.country_code, [])
        for zone in sorted(alone if len(alone) == 1 else seen.get(entry.code, ())):
            world.say(world.of("subdivision", entry.code), "timeZone", world.of("zone", zone))


def add_decades(world: World) -> None:
    """The decades that dated statements name, each following the one before, in its century."""
    first, last = min(world.decades), max(world.decades)
    modern = [decade for decade in range(1690, last + 10, 10)]
    wanted = sorted({first, *world.decades, *modern})
    for century in sorted({decade // 100 for decade in wanted}):
        number = century + 1
        suffix = "st" if number == 21 else "th"
        world.add(
            f"{number}{suffix} century", "Century", "concepts", f"the years {century * 100} to {century * 100 + 99}"
        )
    for decade in wanted:
        what = f"decade of the years {decade} to {decade + 9}"
        world.add(f"{decade}s", "Decade", "concepts", what)
    for decade in wanted:
        number = decade // 100 + 1
        world.say(f"{decade}s", "partOf", f"{number}{'st' if number == 21 else 'th'}_century")
        if f"{decade - 10}s" in world.entities:
            world.say(f"{decade}s", "follows", f"{decade - 10}s")
