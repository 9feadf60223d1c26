"""Sources by the names that users give them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kgservice.chat import Chat, ChatSettings
from kgservice.errors import InputError
from kgservice.naming.models import ChatSource, TranslationModel
from kgservice.naming.sources import CandidateFile, NameSource, OtherLanguages, SitelinkTitles, Transliteration


@dataclass(frozen=True)
class Spending:
    """What endpoints may cost.

    Attributes:
        key: sent as a bearer token; shown nowhere.
        budget_tokens: of every endpoint at most; None for no bound.
        cache: a file of answers kept.
    """

    key: str = field(default="", repr=False)
    budget_tokens: int | None = None
    cache: Path | None = None


def _endpoint(argument: str, spending: Spending) -> NameSource:
    model, _, url = argument.partition("@")
    if not model or not url.startswith(("http://", "https://")):
        raise InputError(
            f"endpoint:{argument} is not endpoint:MODEL@URL, such as endpoint:qwen@http://localhost:8000/v1"
        )
    settings = ChatSettings(url, model, spending.key, budget_tokens=spending.budget_tokens, cache=spending.cache)
    return ChatSource(Chat(settings))


SOURCES: Final[Mapping[str, tuple[bool, Callable[[str, Spending], NameSource]]]] = {
    "languages": (False, lambda _, __: OtherLanguages()),
    "transliteration": (False, lambda _, __: Transliteration()),
    "sitelinks": (True, lambda argument, _: SitelinkTitles(Path(argument))),
    "file": (True, lambda argument, _: CandidateFile(Path(argument))),
    "endpoint": (True, _endpoint),
    "translation": (True, lambda argument, _: TranslationModel(Path(argument))),
}
"""Name → (whether something stands after a colon: a file, a folder, a model and its address; what makes the source of it)."""


def build(wanted: Sequence[str], spending: Spending | None = None) -> list[NameSource]:
    """Sources as they are named: `languages`, `transliteration`, `file:PATH`, `endpoint:MODEL@URL`, …

    Raises:
        InputError: a name is unknown, lacks what it needs, or two sources have the same name.
    """
    made: list[NameSource] = []
    for one in wanted:
        name, colon, argument = one.partition(":")
        if name not in SOURCES:
            close = difflib.get_close_matches(name, SOURCES, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise InputError(f"{name!r} is not a source of names. Known: {', '.join(SOURCES)}.{hint}")
        needs, factory = SOURCES[name]
        if needs != bool(argument) or (colon and not argument):
            raise InputError(
                f"{one!r}: {name} {'needs something after a colon' if needs else 'takes nothing after a colon'}"
            )
        made.append(factory(argument, spending or Spending()))
    names = [source.name for source in made]
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise InputError(f"several sources are called {', '.join(doubles)}: rename a file, or leave one out")
    return made
