"""`review`: what people say of what a run proposed, as CSV files."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kgservice.cli.outputs import OutFile

if TYPE_CHECKING:
    from kgservice.store.reviews import Reviews

COLUMNS = ("id", "subject", "relation", "object", "probability", "verdict", "reason", "reviewer")


@click.group()
def review() -> None:
    """Queue proposals, take verdicts on them, see what they say, and export what was accepted."""


@review.command()
@click.argument("run")
@click.option("--out", type=OutFile(), required=True, help="CSV to fill in.")
@click.option("--count", type=click.IntRange(1), default=100, show_default=True, help="How many proposals.")
@click.option(
    "--audit",
    type=click.FloatRange(0, 1),
    default=0.2,
    show_default=True,
    help="Share of them that is drawn at random.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draw.")
def queue(run: str, out: Path, count: int, audit: float, seed: int) -> None:
    """Queue proposals of RUN, a name of `enrichments/`, and write those that nobody has judged yet."""
    from kgservice.enrichment.reviewing import ordered
    from kgservice.enrichment.running import read_proposals, read_report
    from kgservice.errors import InputError

    folder = _folder(run)
    reviews = _reviews()
    if lost := _untaken(out, reviews):
        raise InputError(
            f"{out} holds {lost:,} verdicts that were not taken and would be lost. Take them first, with: "
            f"kgservice review take {out}; or give another --out"
        )
    kind = str(read_report(folder)["plan"]["kind"])
    new = reviews.queue(run, kind, ordered(read_proposals(folder), count, audit, seed))
    waiting = reviews.next(run, count)
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for one in waiting:
            writer.writerow([one.id, one.subject, one.relation, one.object, f"{one.probability:.4f}", "", "", ""])
    click.echo(f"{new:,} queued, {len(waiting):,} to be judged in {out}: accept, reject or unsure under verdict")


@review.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--reviewer", default="", help="Who says so, where the file's column is empty.")
def take(file: Path, reviewer: str) -> None:
    """Take the verdicts of FILE, all or none; rows without one are left alone.

    FILE is CSV in UTF-8, with commas, semicolons or tabs, as spreadsheets save it.
    """
    from kgservice.errors import InputError
    from kgservice.store.reviews import VERDICTS

    said = []
    for line, row in _judged(file):
        word = _word(row)
        if word not in VERDICTS:
            raise InputError(f"{file}:{line}: {word[:40]!r} is none of {', '.join(VERDICTS)}; no verdict was taken")
        said.append((row["id"] or "", word, row.get("reason") or "", row.get("reviewer") or reviewer))
    _reviews().decide_all(said)
    click.echo(f"{len(said):,} verdicts taken")


@review.command()
@click.argument("run")
def report(run: str) -> None:
    """What the verdicts say of RUN: its precision, and that of each relation."""
    from kgservice.enrichment.reviewing import summary
    from kgservice.enrichment.running import read_proposals

    found = summary(read_proposals(_folder(run)), _reviews().decided(run))
    click.echo(f"{found.accepted:,} accepted, {found.rejected:,} rejected, {found.unsure:,} unsure")
    if found.precision:
        share = found.precision
        click.echo(
            f"precision {share.mean:.3f}, between {share.low:.3f} and {share.high:.3f}, by those drawn at random"
        )
    if found.expected is not None and found.recalibrated is not None:
        click.echo(f"the run said {found.expected:.3f}, after the verdicts {found.recalibrated:.3f}")
    for one in found.relations:
        click.echo(
            f"  {one.mean:.3f} [{one.low:.3f}, {one.high:.3f}]  {one.accepted}/{one.accepted + one.rejected}  {one.relation}"
        )


@review.command()
@click.option("--out", type=OutFile(), required=True, help="Ends in .nt, .nq or .trig.")
@click.option("--run", help="Of this run; of all by default.")
@click.option("--base", default="urn:kgservice:", show_default=True, help="IRIs of names that are none.")
def export(out: Path, run: str | None, base: str) -> None:
    """Write what was accepted: links with the reviewer as source, for `ingest --into`; doubts for `ingest --delete`."""
    from kgservice.enrichment.reviewing import write_accepted

    click.echo(f"{write_accepted(_reviews().decided(run), out, base):,} accepted statements in {out}")


def _judged(file: Path) -> Iterator[tuple[int, dict[str, str | None]]]:
    """The rows of a sheet that have a verdict, with their lines.

    Raises:
        InputError: it is no such sheet.
    """
    from kgservice.errors import InputError

    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            head = lines.readline()
            lines.seek(0)
            rows = csv.DictReader(lines, delimiter=max(",;\t", key=head.count))
            if missing := {"id", "verdict"} - set(rows.fieldnames or ()):
                raise InputError(
                    f"{file}: the columns {', '.join(sorted(missing))} are missing; expected {', '.join(COLUMNS)}"
                )
            yield from ((rows.line_num, row) for row in rows if _word(row))
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8: {error.reason} at byte {error.start}. Save it as CSV UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{file} is not CSV: {error}") from error


def _word(row: dict[str, str | None]) -> str:
    return (row["verdict"] or "").strip().lower()


def _untaken(sheet: Path, reviews: Reviews) -> int:
    """How many verdicts of a sheet that is there already were not taken yet."""
    from kgservice.errors import InputError

    if not sheet.exists():
        return 0
    taken = {one.id: one.verdict for one in reviews.decided()}
    try:
        return sum(taken.get(row["id"] or "") != _word(row) for _, row in _judged(sheet))
    except InputError:
        return 0  # another file


def _folder(run: str) -> Path:
    from kgservice.enrichment.running import PROPOSALS
    from kgservice.errors import InputError
    from kgservice.resources import home

    folder = home() / "enrichments" / run
    if not (folder / PROPOSALS).exists():
        done = sorted(path.parent.name for path in (home() / "enrichments").glob(f"*/{PROPOSALS}"))
        raise InputError(
            f"{run!r} is not a run that is done in {home() / 'enrichments'}. There are: {', '.join(done) or 'none'}"
        )
    return folder


def _reviews() -> Reviews:
    import os

    from kgservice.resources import home
    from kgservice.store.database import open_database
    from kgservice.store.reviews import Reviews

    return Reviews(open_database(home(), os.environ.get("KGSERVICE_DATABASE_URL") or None))
