"""Languages, their families and scripts, and where they are spoken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pycountry
from babel.core import get_global

from world.facts import rows, table
from world.graph import World, string
from world.names import cldr_names
from world.prose import the

# Dead or constructed, or no language: CLDR lists them with a share of speakers all the same.
_NOT_SPOKEN = {
    "und",
    "ecy",
    "gmy",
    "kaw",
    "grc",
    "prg",
    "lzh",
    "gez",
    "cu",
    "eo",
    "ia",
    "ie",
    "io",
    "jbo",
    "cop",
    "sa",
    "la",
}
_STATUS = {
    "official": "Official_status",
    "de_facto_official": "De_facto_official_status",
    "official_regional": "Regional_official_status",
}
_WRITTEN_AS = {"Jpan": "Hani", "Kore": "Hang"}
_SCRIPT_NAMES = {"Hans": "Simplified Chinese", "Hant": "Traditional Chinese", "Hani": "Chinese"}


def spoken() -> dict[str, dict[str, tuple[float, str | None]]]:
    """Territory → language → share of the population in per cent, and official status; variants in one."""
    found: dict[str, dict[str, tuple[float, str | None]]] = {}
    for territory, languages in get_global("territory_languages").items():
        merged = found.setdefault(territory, {})
        for code, facts in sorted(languages.items()):
            base = code.split("_")[0]
            if base in _NOT_SPOKEN:
                continue
            share, status = merged.get(base, (0.0, None))
            merged[base] = (max(share, min(facts["population_percent"], 100.0)), status or facts["official_status"])
    return found


def add_languages(world: World) -> None:
    """Languages that CLDR names in English or the tables put in a family, with families and scripts."""
    _add_scripts(world)
    family_of = _add_families(world)
    where = spoken()
    codes = {code for languages in where.values() for code in languages} | set(family_of)
    scripts = _scripts_of(codes)
    for code in sorted(codes):
        labels = cldr_names("languages", code)
        name = labels.get("en") or _iso_name(code)
        if not name:
            continue
        at = [country for country in sorted(where) if code in where[country] and ("country", country) in world.codes]
        family = world.entities[family_of[code]].labels["en"] if code in family_of else ""
        kind = f"{_of_family(family)} language" if family else "language"
        spread = f" spoken in {len(at)} countries and territories" if len(at) > 1 else ""
        if len(at) == 1 and not family:
            spread = f" spoken in {the(world.entities[world.of('country', at[0])].labels['en'])}"
        title = (
            name if name.endswith((" language", "Creole", " Creole French", " Creole English")) else f"{name}_language"
        )
        language = world.add(
            title.replace("(", "").replace(")", ""), "Language", "languages", kind + spread,
            labels={"en": name, **labels}, code=("language", code),
        )  # fmt: skip
        language.literals.append(string("isoCode", code))
        entry = pycountry.languages.get(alpha_2=code) if len(code) == 2 else pycountry.languages.get(alpha_3=code)
        if entry and "(" not in entry.name and ";" not in entry.name:
            language.alias(entry.name, "en")
        if code in family_of:
            world.say(language.id, "family", family_of[code])
        for script in sorted(scripts.get(code, ())):
            if ("script", script) in world.codes:
                world.say(language.id, "writtenIn", world.of("script", script))


def add_language_use(world: World) -> None:
    """Who speaks what where, with status and share; official languages of subdivisions."""
    for name, what in (
        ("Official_status", "language named official by the law of the country"),
        ("De_facto_official_status", "language used as the official one without a law"),
        ("Regional_official_status", "language that is official in a part of the country"),
    ):
        world.add(name, "Status", "concepts", what, label=name.replace("_", " "))
    for territory, languages in sorted(spoken().items()):
        if ("country", territory) not in world.codes:
            continue
        for code, (percent, status) in sorted(languages.items()):
            if ("language", code) not in world.codes:
                continue
            qualifiers: list[tuple[str, str]] = []
            if status in _STATUS:
                qualifiers.append(("status", f"world:{_STATUS[status]}"))
            if percent >= 0.005:
                qualifiers.append(("shareOfSpeakers", _share(percent)))
            world.say(
                world.of("country", territory), "officialLanguage" if status in _STATUS else "languageSpoken",
                world.of("language", code), qualifiers=tuple(qualifiers),
            )  # fmt: skip
    for country, text in table("subdivisions")["languages"].items():
        for item in filter(None, text.split(";")):
            part, codes = item.strip().split(":")
            for code in codes.split(","):
                world.say(world.of("subdivision", f"{country}-{part}"), "officialLanguage", world.of("language", code))


def _share(percent: float) -> str:
    text = f"{percent / 100:.4f}".rstrip("0")
    return f'"{text}0"^^xsd:decimal' if text.endswith(".") else f'"{text}"^^xsd:decimal'


def _iso_name(code: str) -> str:
    entry = pycountry.languages.get(alpha_3=code)
    return entry.name if entry and "(" not in entry.name else ""


def _add_families(world: World) -> dict[str, str]:
    family_of: dict[str, str] = {}
    table_rows = rows("languages", "families")
    for name, parent, _ in table_rows:
        what = f"branch of the {parent} family of languages" if parent else "family of languages"
        title = name if name.endswith(("languages", "creoles")) else f"{name} languages"
        world.add(title, "LanguageFamily", "languages", what, code=("family", name), label=title)
    for name, parent, codes in table_rows:
        key = world.of("family", name)
        if parent:
            world.say(key, "family", world.of("family", parent))
        for code in codes.split():
            family_of[code] = key
    return family_of


def _of_family(label: str) -> str:
    return label.removesuffix(" languages").replace("creoles", "creole").replace("Creole languages", "Creole")


def _scripts_of(codes: set[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    likely: Mapping[str, Any] = get_global("likely_subtags")
    for code in codes:
        parts = likely.get(code, "").split("_")
        if len(parts) == 3:
            found.setdefault(code, set()).add(_WRITTEN_AS.get(parts[1], parts[1]))
    for code, scripts in rows("languages", "more_scripts"):
        found.setdefault(code, set()).update(scripts.split())
    return found


def _add_scripts(world: World) -> None:
    codes = {_WRITTEN_AS.get(tag.split("_")[1], tag.split("_")[1]) for tag in get_global("likely_subtags").values()
             if tag.count("_") == 2}  # fmt: skip
    for part in ("script_kinds", "script_directions", "script_parents"):
        codes |= {code for row in rows("languages", part) for cell in row for code in cell.split() if len(code) == 4}
    kind_of = {code: kind for kind, scripts in rows("languages", "script_kinds") for code in scripts.split()}
    for code in sorted(codes):
        labels = cldr_names("scripts", code)
        entry = pycountry.scripts.get(alpha_4=code)
        if not labels or not entry or code in _WRITTEN_AS:
            continue
        name = f"{_SCRIPT_NAMES.get(code, labels['en'])} script"
        plain = labels.pop("en")
        what = kind_of.get(code, "writing system")
        script = world.add(name, "Script", "languages", f"{what} of ISO 15924", labels=labels, code=("script", code))
        script.literals.append(string("isoCode", code))
        script.alias(plain, "en")
    for part, kind, relation in (
        ("script_kinds", "ScriptKind", "scriptKind"),
        ("script_directions", "WritingDirection", "writingDirection"),
    ):
        for value, scripts in rows("languages", part):
            what = "kind of script" if kind == "ScriptKind" else "way in which a script runs"
            key = world.add(value.capitalize(), kind, "concepts", what, label=value).id
            for code in scripts.split():
                if ("script", code) in world.codes:
                    world.say(world.of("script", code), relation, key)
    for child, parent in rows("languages", "script_parents"):
        if ("script", child) in world.codes and ("script", parent) in world.codes:
            world.say(world.of("script", child), "parentScript", world.of("script", parent))
