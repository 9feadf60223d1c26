"""Visual texts: what images of entities show, in words, prompted by the relation asked about.

A captioner turns an image into a short text; `job.caption` runs one over a graph, resumable.

| kind | what |
|---|---|
| `describer` | built in, no weights: colours, stripes, crosses, discs |
| `file` | captions made elsewhere: JSON lines or Parquet |
| `endpoint` | any OpenAI-compatible server with a vision model |
| `model` | any vision-language model that transformers loads from a folder |
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kgservice.errors import KGServiceError


class CaptioningFailed(KGServiceError):
    """An image could not be captioned, or no more may be: the budget is spent, the server refuses the key."""


@dataclass(frozen=True)
class Picture:
    """An image of an entity, and what is asked of it.

    Attributes:
        entity: its id in the graph's own words.
        name: what it is called.
        relation: the phrase of the relation that prompts, or "" for what it shows at all.
        path: where the image lies.
        sha256: of its bytes.
    """

    entity: str
    name: str
    relation: str
    path: Path
    sha256: str


class Captioner(Protocol):
    """Says what images show.

    Attributes:
        fingerprint: what a caption depends on besides the image and the relation; part of the cache's key. Never a secret.
        prompted: whether the relation changes what it says; a captioner that is not is asked once for an image.
        at_once: how many calls may be under way.
    """

    fingerprint: str
    prompted: bool
    at_once: int

    def caption(self, picture: Picture) -> str:
        """A short text on one line; "" where there is nothing to say.

        Raises:
            CaptioningFailed: this image cannot be captioned.
        """
        ...


PROMPT = (
    "In at most {words} words, say what this image of {name} shows that may tell its {relation}. Name what is seen: objects, "
    "colours, text, people, place. No introduction."
)
PLAIN_PROMPT = "In at most {words} words, say what this image of {name} shows. Name what is seen. No introduction."


def prompt(picture: Picture, words: int) -> str:
    """What a model that reads is asked."""
    return (PROMPT if picture.relation else PLAIN_PROMPT).format(
        words=words, name=picture.name, relation=picture.relation
    )


def one_line(text: str, letters: int = 400) -> str:
    """A caption as it is kept: one line, no marks of control, cut at a word."""
    words = "".join(letter if letter.isprintable() else " " for letter in text).split()
    kept = " ".join(words)
    return kept if len(kept) <= letters else kept[:letters].rsplit(" ", 1)[0]
