"""`key add|list|revoke`: who may use the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from kgservice.store.keys import Keys


@click.group()
def key() -> None:
    """Add, list and revoke API keys."""


@key.command()
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice(["read", "write", "admin"]),
    default="read",
    show_default=True,
    help="read: ask; write: also put, erase and enrich; admin: also activate releases.",
)
@click.option("--rate", type=int, help="Requests per minute; by default KGSERVICE_RATE_PER_MINUTE.")
def add(name: str, scope: str, rate: int | None) -> None:
    """Make a key for NAME; it is shown once."""
    from kgservice.store.keys import Scope

    made, text = _keys().add(name, Scope(scope), rate)
    click.echo(text)
    click.echo(
        f"key {made.id} for {name}, scope {scope}. It is shown this once; send it as Authorization: Bearer.", err=True
    )


@key.command("list")
def list_keys() -> None:
    """All keys, the oldest first, without their secrets."""
    for one in _keys().all():
        rate = f"{one.rate_per_minute}/min" if one.rate_per_minute else ""
        state = f"revoked {one.revoked:%Y-%m-%d %H:%M}Z" if one.revoked else ""
        click.echo(
            "  ".join(
                [one.id, f"{one.scope.value:<5}", f"{one.created:%Y-%m-%d %H:%M}Z", one.name, rate, state]
            ).rstrip()
        )


@key.command()
@click.argument("id")
def revoke(id: str) -> None:
    """Refuse a key from now on; servers follow within KGSERVICE_RELEASE_POLL_S."""
    _keys().revoke(id)
    click.echo(f"revoked {id}")


def _keys() -> Keys:
    from kgservice.server.settings import ServerSettings
    from kgservice.store.keys import Keys

    settings = ServerSettings.load()
    url = settings.database_url
    found = Keys.open(settings.home, url.get_secret_value() if url else None, make=True)
    assert found is not None
    return found
