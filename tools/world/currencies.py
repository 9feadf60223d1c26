"""Currencies with the dates of their use, the banks that issue them, and what came after them."""

from __future__ import annotations

from babel.core import get_global

from world.cities import Gazetteer
from world.facts import rows
from world.graph import World, date, local_name, string
from world.names import cldr_names

# Codes of states that changed their code, not their identity.
_SAME_STATE = {"BU": "MM", "ZR": "CD", "TP": "TL"}


def uses() -> list[tuple[str, str, str, str]]:
    """Territory, currency, from, until (days; empty where it has none): all legal tender of CLDR, with our changes."""
    changed = {(row[0], row[1]): (row[2], row[3]) for row in rows("currencies", "changes")}
    found: set[tuple[str, str, str, str]] = set()
    for territory, periods in get_global("territory_currencies").items():
        code = _SAME_STATE.get(territory, territory)
        for currency, start, end, tender in periods:
            if tender and currency != "XXX" and (code, currency) not in changed:
                found.add((code, currency, _day(start), _day(end)))
    found |= {(code, currency, start, end) for (code, currency), (start, end) in changed.items()}
    return sorted(found)


def add_currencies(world: World, gazetteer: Gazetteer) -> None:
    """Currencies and their use in countries; central banks."""
    symbols = dict(rows("currencies", "symbols"))
    used = [use for use in uses() if ("country", use[0]) in world.codes]
    for code in sorted({use[1] for use in used}):
        mine = [use for use in used if use[1] == code]
        labels = cldr_names("currencies", code)
        now = sum(1 for use in mine if not use[3])
        last = max(use[3] for use in mine)[:4]
        first = min(use[2] for use in mine if use[2])[:4]
        places = f" in {now} countries and territories" if now > 1 else ""
        what = f"currency in use since {first}{places}" if now else f"former currency, in use from {first} to {last}"
        labels["en"] = labels["en"].replace(" & ", " and ").replace("—", "–")
        name = local_name(labels["en"].replace("(", "").replace(")", ""))
        kinds = ["Currency"] if now else ["Currency", "HistoricCurrency"]
        currency = world.add(name, kinds, "currencies", what, labels=labels, code=("currency", code))
        currency.literals.append(string("isoCode", code))
        currency.alias(code)
        currency.alias(symbols.get(code, ""))
    for country, code, start, end in used:
        world.say(world.of("country", country), "currency", world.of("currency", code), start=start, end=end)
    for old, new in rows("currencies", "replaced"):
        world.say(world.of("currency", old), "replacedBy", world.of("currency", new))
    for one, anchor in rows("currencies", "pegs"):
        world.say(world.of("currency", one), "peggedTo", world.of("currency", anchor))
    for name, code, city, year, country in rows("currencies", "issuers"):
        key = local_name(name)
        if key not in world.entities:
            bank = world.add(name, ["Organisation", "CentralBank"], "organisations", f"central bank founded in {year}")
            bank.literals.append(date("inception", year))
            if city:
                world.say(key, "headquarters", gazetteer.city(city, country))
            if country:
                world.say(key, "country", world.of("country", country))
        else:
            world.entities[key].types.append("CentralBank")
        world.say(world.of("currency", code), "issuedBy", key)


def _day(parts: tuple[int, int, int] | None) -> str:
    return "{:04d}-{:02d}-{:02d}".format(*parts) if parts else ""
