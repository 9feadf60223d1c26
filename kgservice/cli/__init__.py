"""The `kgservice` command: arguments only. Every command lives in a module that is imported when it is called."""

from __future__ import annotations

import errno
import importlib
import logging
import sys

import click

from kgservice import __version__

COMMANDS = {
    "demo": ("kgservice.cli.build:demo", "Build the sample graph's release and serve it."),
    "data": ("kgservice.cli.data:data", "List, fetch and show data sets."),
    "ingest": ("kgservice.cli.ingest:ingest", "Read RDF or TSV into a graph."),
    "split": ("kgservice.cli.split:split", "Hold statements out for validation and test."),
    "caption": ("kgservice.cli.caption:caption", "Say what images of a graph's entities show."),
    "perturb": ("kgservice.cli.perturb:perturb", "Copy a graph with other texts, to tell memory from inference."),
    "audit": ("kgservice.cli.audit:audit", "Check a graph and its splits for leakage and other faults."),
    "build": ("kgservice.cli.build:build", "Ingest, train, evaluate, calibrate, index and write a release."),
    "train": ("kgservice.cli.build:train", "Train a recipe's models."),
    "evaluate": ("kgservice.cli.build:evaluate", "Train over seeds and measure."),
    "tune": ("kgservice.cli.tune:tune", "Search for better settings of a model."),
    "index": ("kgservice.cli.release:index", "Give a release's model another index, as a child release."),
    "complete": ("kgservice.cli.ask:complete", "Ask for missing links."),
    "classify": ("kgservice.cli.ask:classify", "Ask whether a statement is true."),
    "explain": ("kgservice.cli.explain:explain", "Ask why a statement is thought true."),
    "search": ("kgservice.cli.ask:search", "Find entities by name or meaning."),
    "similar": ("kgservice.cli.ask:similar", "List the entities that are most like one."),
    "types": ("kgservice.cli.ask:types", "Tell which types an entity has."),
    "show": ("kgservice.cli.ask:show", "Show what the graph holds about an entity."),
    "enrich": ("kgservice.cli.enrich:enrich", "Write all confident missing links, or doubtful statements, to a file."),
    "review": ("kgservice.cli.review:review", "Judge what was proposed, and export what was accepted."),
    "add": ("kgservice.cli.changes:add", "Put entities into what is served, without training."),
    "erase": ("kgservice.cli.changes:erase", "Erase entities from what is served, for good."),
    "names": ("kgservice.cli.names:names", "Propose what entities are called in a language; doubt names they have."),
    "release": ("kgservice.cli.release:release", "List, verify, activate, roll back and purge releases."),
    "serve": ("kgservice.cli.serve:serve", "Serve the current release over REST."),
    "worker": ("kgservice.cli.worker:worker", "Do the enrichments that a service was asked for, beside it."),
    "mcp": ("kgservice.cli.mcp:mcp", "Answer an agent over stdin and stdout (MCP)."),
    "key": ("kgservice.cli.key:key", "Add, list and revoke API keys."),
    "doctor": ("kgservice.cli.doctor:doctor", "Check the installation and say how to mend it."),
}
"""Name → (where the command is, one line for the overview)."""


class _Lazy(click.Group):
    """Shows help without importing any command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            ctx.fail(f"{args[0]!r} is not a command.{hint}")
        return super().resolve_command(ctx, args)


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kgservice")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens.")
def cli(verbose: bool) -> None:
    """Knowledge-graph completion and search: from a graph to trained, calibrated, indexed and served answers."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


def main() -> None:
    """Run the command; an error made on purpose is one message and status 2 (the input) or 1 (anything else).

    So is what the system refuses: a full disk, a place that may not be written, a file that is gone. With `-v` it comes with
    where it happened.
    """
    from kgservice.errors import InputError, KGServiceError

    try:
        cli()
    except KGServiceError as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(2 if isinstance(error, InputError) else 1)
    except OSError as error:
        logging.getLogger(__name__).info("refused by the system", exc_info=error)
        click.echo(f"{type(error).__name__}: {_refused(error)}", err=True)
        sys.exit(1)
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        logging.getLogger(__name__).info("out of memory", exc_info=error)
        click.echo(
            f"OutOfMemory: {error}. Take a smaller width, batch or graph, or a machine with more memory.", err=True
        )
        sys.exit(1)


def _out_of_memory(error: Exception) -> bool:
    """Whether memory was refused: PyTorch says so on the CPU in words alone."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error)


def _refused(error: OSError) -> str:
    """What the system said, of which file, and what to do."""
    place = error.filename2 or error.filename
    what = f"{place}: {error.strerror}" if place and error.strerror else str(error)
    mending = {
        errno.ENOSPC: "Free some space",
        errno.EDQUOT: "Free some space",
        errno.EACCES: "Give this user the right to it, or another place",
        errno.EPERM: "Give this user the right to it, or another place",
        errno.EROFS: "Give a place that can be written; KGSERVICE_HOME moves what is produced",
    }.get(error.errno or 0)
    return f"{what}. {mending}, then run the same command again." if mending else f"{what}."
