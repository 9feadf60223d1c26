"""Names that CLDR has, in eight languages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from babel import Locale, UnknownLocaleError

LANGUAGES = ("en", "de", "es", "fr", "ru", "zh", "ar", "ja")
_LOCALES = {language: Locale.parse(language) for language in LANGUAGES}

Kind = Literal["territories", "languages", "scripts", "currencies"]


def cldr_names(kind: Kind, code: str) -> dict[str, str]:
    """The names of a territory, language, script or currency, by language; empty where CLDR has none."""
    found: dict[str, str] = {}
    for language, locale in _LOCALES.items():
        names = cast("Mapping[str, str]", getattr(locale, kind))
        if code in names:
            found[language] = names[code]
    return found


def standard_time_names(metazone: str) -> dict[str, str]:
    """The names of a common time such as "Central European Time", by language."""
    found: dict[str, str] = {}
    for language, locale in _LOCALES.items():
        long = _section(locale, "meta_zones").get(metazone, {}).get("long", {})
        name = long.get("generic") or long.get("standard")
        if name:
            found[language] = name
    return found


def zone_city_names(zones: tuple[str, ...]) -> dict[str, str]:
    """The names of a time zone's city, by language; `zones` are its present and earlier ids."""
    found: dict[str, str] = {}
    for language, locale in _LOCALES.items():
        for zone in zones:
            city = _section(locale, "time_zones").get(zone, {}).get("city")
            if city and language != "en":
                found[language] = city
                break
    return found


def zone_labels(city: str, names: Mapping[str, str]) -> dict[str, str]:
    """What CLDR calls a zone in each language ("Paris (Ortszeit)"), from the names of its city."""
    found: dict[str, str] = {}
    for language, locale in _LOCALES.items():
        name = names.get(language, city)
        # babel keeps the last of three patterns; in Russian that is the one for summer, and the general one is the bare name
        found[language] = name if language == "ru" else _section(locale, "zone_formats")["region"] % name
    return found


def first_weekday(language: str, territory: str) -> int | None:
    """The first day of the week there (0 is Monday), or None where CLDR has no such locale."""
    try:
        return int(Locale.parse(f"{language}_{territory}").first_week_day)
    except UnknownLocaleError:
        return None


def _section(locale: Locale, name: str) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", locale._data[name])
