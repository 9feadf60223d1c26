"""Reading the hand-written tables beside this module."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


@functools.cache
def table(name: str) -> dict[str, Any]:
    """A TOML file of facts, such as `table("countries")`."""
    return tomllib.loads((_HERE / f"{name}.toml").read_text(encoding="utf-8"))


def rows(name: str, part: str) -> list[list[str]]:
    """The lines of one table in a file, each cut at `|`, without empty lines.

    >>> rows("currencies", "pegs")[0]
    ['DKK', 'EUR']
    """
    return split_rows(table(name)[part])


def split_rows(text: str) -> list[list[str]]:
    """Cut lines at `|`."""
    return [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.strip()]


@functools.cache
def geonames_admin1() -> dict[str, str]:
    """GeoNames code of a first-level subdivision ("FR.11") → ISO 3166-2 code ("FR-IDF")."""
    lines = (_HERE / "admin1.tsv").read_text(encoding="utf-8").splitlines()
    return {line.split("\t")[0]: line.split("\t")[1] for line in lines if line and not line.startswith("#")}
