"""Small rules of English for descriptions."""

from __future__ import annotations

_WITH_ARTICLE = (
    "United ", "Netherlands", "Philippines", "Bahamas", "Gambia", "Maldives", "Comoros", "Seychelles", "Central African",
    "Democratic Rep", "Republic of the", "Dominican Republic", "Marshall", "Solomon", "Cayman", "Cook", "Falkland",
    "Faroe", "Isle of", "British", "U.S.", "US ", "Northern Mariana", "Soviet", "Åland", "Turks", "French Southern",
    "South Georgia", "Cocos", "Vatican",
)  # fmt: skip


def the(name: str) -> str:
    """Put the article where English has one: "the Netherlands", "France"."""
    return f"the {name}" if name.startswith(_WITH_ARTICLE) and name != "Vatican City" else name


def people(number: int) -> str:
    """A rounded number of inhabitants: "2.1 million", "340,000"."""
    if number >= 950_000_000:
        return f"{number / 1e9:.1f} billion"
    if number >= 950_000:
        millions = number / 1e6
        return f"{millions:.1f} million" if millions < 10 else f"{millions:.0f} million"
    digits = len(str(number))
    rounded = round(number, -max(digits - 2, 0))
    return f"{rounded:,}"
