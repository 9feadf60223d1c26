"""`doctor`: what is installed, what is wrong, how to mend it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata

import click

FAISS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu11", "faiss-gpu-cu12")
LIBRARIES = ("torch", "torch-geometric", "sentence-transformers", "pyarrow", "pyoxigraph", "tantivy", "fastapi")


@click.command()
def doctor() -> None:
    """Check the installation; exit status 1 if something must be mended."""
    from kgservice import __version__
    from kgservice.resources import home, share

    click.echo(f"kgservice {__version__}, Python {platform.python_version()}, {platform.platform()}")
    for name in LIBRARIES:
        click.echo(f"  {name} {_version(name) or 'missing'}")
    click.echo(f"  declared things: {share()}")
    click.echo(f"  produced things: {home()}")
    problems = list(find_problems({name: version for name in FAISS if (version := _version(name))}))
    click.echo(f"  {_processor()}")
    for problem in problems:
        click.echo(f"problem: {problem}")
    if not problems:
        click.echo("all is well")
    sys.exit(1 if problems else 0)


def find_problems(faiss: dict[str, str]) -> Iterator[str]:
    """What is wrong, each with the command that mends it.

    Args:
        faiss: installed distributions that bring the module `faiss`, with their versions.
    """
    if not faiss:
        yield "no FAISS is installed, so only exact indexes work. Mend it with: pip install 'kgservice[cpu]'"
    if len(faiss) > 1:
        names = " and ".join(faiss)
        yield (
            f"{names} install the same module and overwrite each other. Mend it with: "
            f"pip uninstall -y {' '.join(faiss)} && pip install 'kgservice[cpu]' (or [gpu])"
        )
    for name in LIBRARIES:
        if not _version(name):
            yield f"{name} is missing. Mend it with: pip install {name}"
    from kgservice.resources import home, share

    if not (share() / "data" / "world.toml").is_file():
        yield f"the sample graph is not at {share()}. Mend it with: pip install --force-reinstall kgservice"
    folder = home()
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        yield f"{folder} cannot be written. Set KGSERVICE_HOME to a folder that can."
    elif shutil.disk_usage(folder).free < 1 << 30:
        yield f"less than 1 GiB is free at {folder}. Set KGSERVICE_HOME to a larger disk."


def _processor() -> str:
    import torch

    from kgservice.training.loop import resolve_device, resolve_precision

    device = resolve_device("auto")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    precision = str(resolve_precision("auto", device)).removeprefix("torch.")
    return f"training device: {device} ({name}), matrix products in {precision}"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
