"""The names of rows: one a line, or a table of numbers and names in either order."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

from kgservice.errors import DataError

ENDINGS = (".txt", ".tsv", ".del", ".tsv.gz", ".txt.gz")


def find(named: str | None, base: Path, folders: Sequence[Path], stems: Sequence[str]) -> Path:
    """The file of names that a recipe gives, or the one beside the weights.

    Raises:
        DataError: there is none; names where it was looked for.
    """
    if named is not None:
        return base / named
    tried = [folder / f"{stem}{ending}" for folder in folders for stem in stems for ending in ENDINGS]
    for path in tried:
        if path.is_file():
            return path
    raise DataError(
        f"{folders[0]}: no file of names; looked for {', '.join(stems)} with {', '.join(ENDINGS)}. "
        "Name it by entities = … and relations = … in [models.NAME.weights]."
    )


def read(path: Path) -> list[str]:
    """Names in the order of their rows.

    Raises:
        DataError: no such file, a name twice, or numbers that are not 0, 1, 2, … each once.
    """
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8", newline="")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8", newline="") as file
        ):
            lines = file.read().replace("\r\n", "\n").split("\n")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as names: {error}") from error
    while lines and not lines[-1]:
        lines.pop()
    names = _of_lines(path, lines)
    if len(set(names)) < len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise DataError(f"{path}: {twice!r} names two rows")
    return names


def _of_lines(path: Path, lines: list[str]) -> list[str]:
    if lines and lines[0] == "id\tlabel":  # a PyKEEN factory, written by pandas with CSV quotes
        lines = ["\t".join(row) for row in csv.reader(lines[1:], dialect="excel-tab")]
    elif lines and lines[0].strip().isdigit() and lines[0].strip() == str(len(lines) - 1) and "\t" in lines[-1]:
        lines = lines[1:]  # OpenKE begins with the count
    if not any("\t" in line for line in lines):
        return lines
    rows = [line.split("\t") for line in lines]
    if any(len(row) != 2 for row in rows):
        line = next(number for number, row in enumerate(rows, 1) if len(row) != 2)
        raise DataError(f"{path}: row {line}: expected a number and a name with a tab between, or one name a line")
    number = {str(id): id for id in range(len(rows))}
    columns = [column for column in (0, 1) if {row[column] for row in rows} == number.keys()]
    if not columns:
        raise DataError(f"{path}: expected the numbers 0 to {len(rows) - 1}, each once, in one of its two columns")
    ids = columns[0]  # where names are numbers too, the first column counts
    ordered = [""] * len(rows)
    for row in rows:
        ordered[number[row[ids]]] = row[1 - ids]
    return ordered
