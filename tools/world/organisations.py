"""Organisations, their members over time, and their seats."""

from __future__ import annotations

from typing import Any

from world.cities import Gazetteer
from world.facts import split_rows, table
from world.graph import World, date

Membership = tuple[str, str, str]  # member, from, until


def add_organisations(world: World, gazetteer: Gazetteer) -> None:
    """All organisations of the table."""
    facts: dict[str, Any] = {name: value for name, value in table("organisations").items() if name != "seats"}
    for name, value in facts.items():
        year, end = str(value.get("since", "")), str(value.get("until", ""))
        when = f" founded in {year}" if year else ""
        entity = world.add(
            name, ["Organisation", "InternationalOrganisation"], "organisations", value["kind"] + when,
            label=value["label"], labels=value.get("translations"),
        )  # fmt: skip
        for other in value.get("alias", ()):
            entity.alias(other, "en")
        entity.literals += [
            date(relation, text) for relation, text in (("inception", year), ("dissolved", end)) if text
        ]
        if "seat" in value:
            world.say(entity.id, "headquarters", gazetteer.city(value["seat"]))
    for name, label, kind, seat, year, parent in split_rows(table("organisations")["seats"]["rows"]):
        entity = world.add(
            name, "Organisation", "organisations", f"{kind} founded in {year}", label=label.split(" (")[0]
        )
        if " (" in label:
            entity.alias(label.split(" (")[1].rstrip(")"), "en")
        entity.alias(name.replace("_", " "), "en")
        entity.literals.append(date("inception", year))
        world.say(entity.id, "headquarters", gazetteer.city(seat))
        if parent:
            world.say(entity.id, "parentOrganisation", parent)
    for name, value in facts.items():
        if "in" in value:
            world.say(name, "parentOrganisation", value["in"])
        for member, start, end in memberships(facts, name):
            world.say(world.party(member), "memberOf", name, start=start, end=end)


def memberships(facts: dict[str, Any], name: str) -> list[Membership]:
    """Who was a member from when until when, as codes."""
    found: list[Membership] = []
    for line in facts[name]["members"].strip().splitlines():
        start, _, codes = line.partition(":")
        start = "" if start == "-" else start
        for item in codes.split():
            if item.startswith("@"):
                found += [(code, "", "") for code, _, end in memberships(facts, item[1:]) if not end]
            elif item.startswith("-"):
                found = [member for member in found if member[0] != item[1:]]
            else:
                code, _, end = item.partition("/")
                found.append((code, start, end))
    return found
