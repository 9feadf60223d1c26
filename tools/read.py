"""Draw what a context model reads of two questions, and what each part of it is worth: `docs/context/*.svg`.

The model is `flags-around` of `models/flags.toml`, trained here in about a minute of one core. Flags are drawn from the words
that were read of them: no image is kept in this repository, and a drawing shows what the words say, no more.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as xml

import numpy as np
import torch

from kgservice import pipeline
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import Split
from kgservice.query import QueryBatch, Slot
from kgservice.recipe import Recipe
from kgservice.resources import home
from kgservice.scorers.attribution import ReadSegment, read_for
from kgservice.scorers.contextual import ContextScorer

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "context"
RECIPE, MODEL = ROOT / "models" / "flags.toml", "flags-around"
BASE = "https://kgservice.example/world/"
WIDTH, LEFT, LINE, LETTERS = 900, 220, 17, 72
FLAG = (180, 120)
INK = {
    "black": "#1b1b1b", "white": "#ffffff", "grey": "#9a9a9a", "red": "#c8332f", "orange": "#e88a2a", "yellow": "#f2c935",
    "green": "#2f8a4b", "blue": "#2b4f9e", "light blue": "#7fb9e6", "purple": "#6b4a94", "brown": "#7a5230",
}  # fmt: skip
COUNTS = {
    word: count
    for count, word in enumerate(("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), 2)
}
COLOUR = "|".join(sorted(INK, key=len, reverse=True))
STYLE = (
    "text{font:13px sans-serif;fill:#222}.head{font-size:17px;font-weight:bold}.small{font-size:11px;fill:#666}"
    ".part{font-weight:bold}.helps{fill:#3b6ea8}.misleads{fill:#b5482f}.line{stroke:#ddd}.frame{fill:none;stroke:#bbb}"
)


class Example(NamedTuple):
    """A test question for an object, and the file that shows it."""

    file: str
    subject: str
    relation: str
    object: str


EXAMPLES = (
    Example("france", "France", "legalTradition", "Civil_law"),
    Example("puerto-rico", "Puerto_Rico", "dependencyOf", "United_States"),
)


def main() -> int:
    """Train, or go on where a former training ended, and draw."""
    recipe = Recipe.load(RECIPE)
    graph = pipeline.prepare_graph(recipe, home(), RECIPE.parent)
    scorer, _, _ = pipeline.learn(recipe, MODEL, graph, home())
    assert isinstance(scorer, ContextScorer)
    scorer.eval()
    for example in EXAMPLES:
        drawn = picture(example, graph, scorer)
        (FOLDER / f"{example.file}.svg").write_text(drawn + "\n", encoding="utf-8")
    return 0


def picture(example: Example, graph: KnowledgeGraph, scorer: ContextScorer) -> str:
    """An SVG document: the flag in words and drawn from them, every part that was read with its worth, and the answers."""
    subject, goal = (graph.entities.id(BASE + name) for name in (example.subject, example.object))
    relation = graph.relations.id(BASE + example.relation)
    hole, anchor, link = (np.array([id], np.int32) for id in (goal, subject, relation))
    asked = QueryBatch(Slot.OBJECT, anchor, link, hole)
    read = read_for(scorer, asked, np.array([goal]))[0]
    labels = graph.texts.labels(np.arange(graph.n), "en")
    how = graph.relation_texts.labels([relation], "en")[0] or example.relation
    title = f"{labels[subject]} · {how} · ?"
    svg = xml.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", "aria-label": title})
    xml.SubElement(svg, "title").text = title
    xml.SubElement(svg, "style").text = STYLE
    ground = xml.SubElement(svg, "rect", {"width": str(WIDTH), "fill": "#fff"})
    _text(svg, 20, 32, title, "head")
    seen = next(part.text for part in read if part.segment == "visual").removeprefix("[image] ")
    svg.append(flag(seen, 20, 52))
    _text(svg, 20, 52 + FLAG[1] + 16, "drawn from the words alone", "small")
    y = _parts(svg, read)
    _text(svg, LEFT, y + 6, "answers", "part")
    for place, (id, rank) in enumerate(best(scorer, graph, asked, goal)):
        shown = f"{rank}. {labels[id]}{' ← true' if id == goal else ''}"
        _text(svg, LEFT + 130, y + 6 + place * LINE, shown, "helps" if id == goal else "")
    height = y + 5 * LINE + 10
    svg.set("viewBox", f"0 0 {WIDTH} {height}")
    ground.set("height", str(height))
    xml.indent(svg, " ")
    return xml.tostring(svg, encoding="unicode")


def best(scorer: ContextScorer, graph: KnowledgeGraph, asked: QueryBatch, goal: int) -> list[tuple[int, int]]:
    """The three likeliest answers that training does not state, and the true one, each with its rank."""
    with torch.inference_mode():
        scores = scorer.scores(asked.asking(Slot.OBJECT))[0].clone()
        scores[torch.from_numpy(graph.known(asked, splits=(Split.TRAIN,))[0].astype(np.int64))] = -torch.inf
    order = torch.argsort(scores, descending=True, stable=True).tolist()
    shown = sorted({*range(3), order.index(goal)})
    return [(order[place], place + 1) for place in shown]


def _parts(svg: xml.Element, read: list[ReadSegment]) -> int:
    """A row for each part, and where they end."""
    y, longest = 66, max((abs(part.score) for part in read if part.score is not None), default=1.0)
    for part in read:
        lines = textwrap.wrap(part.text, LETTERS)
        _text(svg, LEFT, y, str(part.segment), "part")
        for place, line in enumerate(lines):
            _text(svg, LEFT + 130, y + place * LINE, line)
        y += len(lines) * LINE
        if part.score is not None:
            wide = abs(part.score) / longest * 240
            kind = "helps" if part.score > 0 else "misleads"
            box = {"x": str(LEFT + 130), "y": str(y - 11), "width": f"{wide:.0f}", "height": "8", "class": kind}
            xml.SubElement(svg, "rect", box)
            _text(svg, LEFT + 138 + round(wide), y - 4, f"{kind}, {part.score:+.1f}", "small")
            y += LINE
        y += 8
    return y


def flag(words: str, x: int, y: int) -> xml.Element:
    """An SVG group that shows what the words of the built-in describer say of a flag's ground and its figures."""
    wide, high = FLAG
    group = xml.Element("g", {"transform": f"translate({x} {y})"})
    for part in words.split(", "):
        if found := re.fullmatch(r"(\w+) (horizontal|vertical) stripes (.+?)(?: the .* one widest)?", part):
            colours = re.findall(COLOUR, found[3])
            count = COUNTS.get(found[1]) or int(found[1])
            for place in range(count):
                step = (wide if found[2] == "vertical" else high) / count
                box = (place * step, 0, step, high) if found[2] == "vertical" else (0, place * step, wide, step)
                _box(group, box, INK[colours[place % len(colours)]])
        elif found := re.fullmatch(rf"plain ({COLOUR}) ground", part):
            _box(group, (0, 0, wide, high), INK[found[1]])
        elif found := re.fullmatch(rf"({COLOUR}) cross left of the middle on ({COLOUR})", part):
            _box(group, (0, 0, wide, high), INK[found[2]])
            _box(group, (wide * 0.28, 0, high * 0.2, high), INK[found[1]])
            _box(group, (0, high * 0.4, wide, high * 0.2), INK[found[1]])
        elif found := re.fullmatch(rf"({COLOUR}) triangle at the left", part):
            xml.SubElement(group, "path", {"d": f"M0 0L{wide * 0.45:g} {high / 2:g}L0 {high}z", "fill": INK[found[1]]})
        elif found := re.fullmatch(rf"({COLOUR}) disc in the middle", part):
            circle = {"cx": f"{wide / 2:g}", "cy": f"{high / 2:g}", "r": f"{high * 0.3:g}", "fill": INK[found[1]]}
            xml.SubElement(group, "circle", circle)
    xml.SubElement(group, "rect", {"width": str(wide), "height": str(high), "class": "frame"})
    return group


def _box(group: xml.Element, box: tuple[float, float, float, float], colour: str) -> None:
    sizes = {name: f"{value:g}" for name, value in zip(("x", "y", "width", "height"), box, strict=True)}
    xml.SubElement(group, "rect", {**sizes, "fill": colour})


def _text(svg: xml.Element, x: float, y: float, text: str, kind: str = "") -> None:
    place = {"x": f"{x:g}", "y": f"{y:g}", **({"class": kind} if kind else {})}
    xml.SubElement(svg, "text", place).text = text


if __name__ == "__main__":
    sys.exit(main())
