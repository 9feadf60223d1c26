"""`add` and `erase`: entities put into what is served, or out of it for good, without a server."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from kgservice.answers.records import EntityRecord
    from kgservice.engine import Engine
    from kgservice.engine.reading import Reading
    from kgservice.server.submissions import NamedRecordBody
    from kgservice.store import Journal

BATCH = 1000
"""Entities that are put together."""


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def add(files: tuple[Path, ...]) -> None:
    """Put entities from JSON lines: documents as PUT /v1/entities takes them, each with its "id".

    A server over the same releases knows them within a second. Lines put before are put again without harm. Lines that are put
    together, a thousand at a time, may name each other.
    """
    from tqdm import tqdm

    engine, journal = _opened()
    lines, count = _lines(files), 0
    with tqdm(desc="put", unit="entity", disable=None) as bar:
        while batch := list(islice(lines, BATCH)):
            bodies = [(path, number, _body(path, number, line)) for path, number, line in batch]
            together = engine.together([body.id for _, _, body in bodies])
            records = [_record(engine, path, number, body, together) for path, number, body in bodies]
            journal.put({record.id: record.to_json() for record in records})
            bar.update(len(records))
            count += len(records)
    click.echo(f"{count:,} entities put, revision {journal.revision()}")


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.confirmation_option(prompt="What is erased cannot be brought back. Erase?")
def erase(names: tuple[str, ...]) -> None:
    """Erase entities for good, by id, CURIE or IRI: no answer of any release names them again.

    Files keep their bytes until: kgservice release purge.
    """
    engine, journal = _opened()
    journal.erase([engine.erasable(name) for name in names])
    click.echo(f"{len(names):,} entities erased, revision {journal.revision()}")


def _opened() -> tuple[Engine, Journal]:
    from kgservice.engine import open_engine
    from kgservice.resources import home
    from kgservice.store import Journal

    releases = home() / "releases"
    return open_engine(releases), Journal(releases)


def _lines(files: tuple[Path, ...]) -> Iterator[tuple[Path, int, str]]:
    for path in files:
        with path.open(encoding="utf-8") as file:
            yield from ((path, number, line) for number, line in enumerate(file, start=1) if line.strip())


def _body(path: Path, number: int, line: str) -> NamedRecordBody:
    from pydantic import ValidationError

    from kgservice.errors import MalformedStatement
    from kgservice.server.submissions import NamedRecordBody

    try:
        return NamedRecordBody.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise MalformedStatement(
            path, number, None, f"{where}: {first['msg']}", hint="Nothing of its batch was put."
        ) from None


def _record(engine: Engine, path: Path, number: int, body: NamedRecordBody, together: Reading) -> EntityRecord:
    from kgservice.errors import InputError, MalformedStatement

    try:
        return engine.record(body.record(body.id), together)
    except InputError as error:
        raise MalformedStatement(path, number, None, str(error), hint="Nothing of its batch was put.") from error
