"""`release list|verify|activate|rollback|diff|purge` and `index`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from kgservice.release import ReleaseStore


@click.group()
def release() -> None:
    """List, verify, activate, roll back, compare and purge releases."""


@release.command("list")
def list_releases() -> None:
    """All releases, the oldest first; the current one is marked."""
    store = _store()
    current = store.current_id()
    for id in store.ids():
        one = store.get(id)
        made = datetime.fromtimestamp((one.folder / "release.json").stat().st_mtime, UTC)
        figures = ", ".join(
            f"{name} {model['test']['mrr']:.3f}" if "mrr" in model["test"] else name
            for name, model in one.manifest["models"].items()
        )
        mark = "*" if id == current else " "
        click.echo(f"{mark} {id}  {made:%Y-%m-%d %H:%M}Z  {one.manifest['recipe']['name']}  test MRR: {figures}")


@release.command()
@click.argument("id", required=False)
def verify(id: str | None) -> None:
    """Hash every file of a release (the current one by default) and replay its canaries."""
    from kgservice.engine import Engine

    one = _store().get(id)
    Engine.open(one)
    click.echo(
        f"{one.id}: {len(one.manifest['files'])} files and {len(one.canaries())} canaries are as they were sealed"
    )


@release.command()
@click.argument("id")
def activate(id: str) -> None:
    """Make a release the current one."""
    click.echo(f"current: {_store().activate(id).id}")


@release.command()
@click.argument("before")
@click.argument("after")
@click.option("-k", type=int, default=10, show_default=True, help="Answers compared of each question.")
@click.option("--questions", type=int, default=200, show_default=True, help="How many are asked.")
def diff(before: str, after: str, k: int, questions: int) -> None:
    """Ask two releases the same questions, and tell what AFTER answers differently from BEFORE."""
    from kgservice.engine import Engine
    from kgservice.engine.differences import difference

    found = difference(*(Engine.open(_store().get(id)) for id in (before, after)), k=k, count=questions)
    click.echo(
        f"{found.before} → {found.after}: {found.asked:,} questions, {found.unanswered:,} that one cannot answer"
    )
    shift = "" if found.probability_shift is None else f", probabilities move by {found.probability_shift:.3f}"
    click.echo(
        f"{found.changed:,} with other answers, {found.first_changed:,} with another first one; "
        f"{found.overlap:.1%} of the best {k} are the same{shift}"
    )
    for one in found.examples:
        click.echo("  ".join(part.id if part else "?" for part in (one.subject, one.relation, one.object)))
        for place in one.places:
            ranks = " → ".join("–" if rank is None else str(rank) for rank in (place.before, place.after))
            click.echo(f"  {ranks:<9} {place.answer.label or place.answer.id}")


@release.command()
def purge() -> None:
    """Rewrite every release that holds what was erased, so that no file does; the former ones are removed.

    Proposals of enrichments and reviews that name it go too.
    """
    import os

    from kgservice.pipeline import purge
    from kgservice.resources import home
    from kgservice.store.database import FILE, open_database
    from kgservice.store.reviews import Reviews

    url = os.environ.get("KGSERVICE_DATABASE_URL") or None
    reviews = Reviews(open_database(home(), url)) if url or (home() / FILE).exists() else None
    done = 0
    for former, made in purge(_store(), home(), reviews):
        click.echo(f"{former} is now {made}")
        done += 1
    if not done:
        click.echo("no release holds anything that was erased")


@release.command()
def rollback() -> None:
    """Go back to the release that was current before."""
    click.echo(f"current: {_store().rollback().id}")


@click.command()
@click.argument("spec")
@click.option("--release", "id", help="Release to start from; the current one by default.")
@click.option("--model", help="Model; the release's best by default.")
def index(spec: str, id: str | None, model: str | None) -> None:
    """Make a child release in which a model is searched by SPEC: `exact`, or a FAISS factory string such as IVF64,SQ8."""
    from kgservice import pipeline

    child, figures = pipeline.reindex(_store(), id, model, spec)
    click.echo(
        f"release {child.id}: recall@10 {figures['recall@10']:.4f} against the exhaustive search. Activate it with:"
    )
    click.echo(f"  kgservice release activate {child.id}")


def _store() -> ReleaseStore:
    from kgservice.release import ReleaseStore
    from kgservice.resources import home

    return ReleaseStore(home() / "releases")
