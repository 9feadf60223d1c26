"""Templates of HTML pages: whatever is put into one is escaped, and a name that was not given is an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(folder: Path, **filters: Callable[..., Any]) -> Environment:
    """The templates of a folder, with the filter `count` (1,234) and those given."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(count=lambda value: f"{value:,}", **filters)
    return made
