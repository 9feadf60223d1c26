"""An explanation as a picture: the two ends, the paths between them, and entities alike, in SVG."""

from __future__ import annotations

import re
import textwrap
from xml.etree import ElementTree as xml

from kgservice.answers import Named
from kgservice.answers.explanations import Explanation
from kgservice.explain.sentence import call

WIDTH = 960
ROW = 84
NODE_WIDTH, NODE_HEIGHT = 150, 40
LETTERS = 22
_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")
_STYLE = (
    "text{font:13px sans-serif;fill:#222}.small{font-size:11px;fill:#555}rect{fill:#eef3fb;stroke:#3b6ea8;rx:8px}"
    ".end rect{fill:#3b6ea8}.end text{fill:#fff}path{fill:none;stroke:#888;stroke-width:1.5}"
    ".asked{stroke:#3b6ea8;stroke-width:2.5;stroke-dasharray:6 4}.alike{stroke:#b07a2a;stroke-dasharray:2 3}"
)
"""In the file itself; what is drawn refers to nothing outside it."""


def picture(explanation: Explanation) -> str:
    """The picture as an SVG document; labels are escaped, and what XML forbids is left out."""
    verdict = explanation.verdict
    lanes = [path for path in explanation.paths if len(path.steps) > 1]
    directs = [path for path in explanation.paths if len(path.steps) == 1]
    height = ROW * (2 + len(lanes) + len(explanation.alike))
    left, right, middle = (120, ROW), (WIDTH - 120, ROW), ROW
    svg = xml.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {WIDTH} {height}",
            "role": "img",
            "aria-label": _clean(explanation.sentence),
        },
    )
    xml.SubElement(svg, "title").text = _clean(explanation.sentence)
    xml.SubElement(svg, "style").text = _STYLE
    edges, nodes = xml.SubElement(svg, "g"), xml.SubElement(svg, "g")
    _edge(edges, left, right, call(verdict.relation) + (" (stated)" if verdict.known else " ?"), "asked")
    for place, path in enumerate(directs):
        label = " / ".join(_arrow(step.link.relation, step.forward) for step in path.steps)
        _edge(edges, (left[0], middle + 18 + 16 * place), (right[0], middle + 18 + 16 * place), label, "")
    y = 2 * ROW
    for path in lanes:
        inner = [step.link.object if step.forward else step.link.subject for step in path.steps[:-1]]
        places = [
            left,
            *((120 + (WIDTH - 240) * (turn + 1) // (len(inner) + 1), y) for turn in range(len(inner))),
            right,
        ]
        for step, start, end in zip(path.steps, places[:-1], places[1:], strict=True):
            _edge(edges, start, end, _arrow(step.link.relation, step.forward), "")
        for node, where in zip(inner, places[1:-1], strict=True):
            _node(nodes, node, where, "node")
        y += ROW
    for one in explanation.alike:
        at_subject = one.end == "subject"
        node, near, far = (one.link.subject, left, right) if at_subject else (one.link.object, right, left)
        where = (near[0] + (60 if at_subject else -60), y)
        _edge(edges, near, where, f"like {one.similarity:.2f}", "alike")
        _edge(edges, where, far, call(one.link.relation), "")
        _node(nodes, node, where, "node")
        y += ROW
    _node(nodes, verdict.subject, left, "end")
    _node(nodes, verdict.object, right, "end")
    return xml.tostring(svg, encoding="unicode")


def _arrow(relation: Named, forward: bool) -> str:
    return f"{call(relation)} →" if forward else f"← {call(relation)}"


def _edge(parent: xml.Element, start: tuple[int, int], end: tuple[int, int], label: str, kind: str) -> None:
    line = xml.SubElement(parent, "path", {"d": f"M{start[0]} {start[1]}L{end[0]} {end[1]}"})
    if kind:
        line.set("class", kind)
    _text(parent, label, ((start[0] + end[0]) // 2, (start[1] + end[1]) // 2 - 5), "small")


def _node(parent: xml.Element, named: Named, where: tuple[int, int], kind: str) -> None:
    group = xml.SubElement(parent, "g", {"class": kind, "data-id": _clean(named.id)})
    xml.SubElement(group, "title").text = _clean(call(named))
    corner = {"x": str(where[0] - NODE_WIDTH // 2), "y": str(where[1] - NODE_HEIGHT // 2)}
    xml.SubElement(group, "rect", {**corner, "width": str(NODE_WIDTH), "height": str(NODE_HEIGHT)})
    _text(group, call(named), (where[0], where[1] + 4), "")


def _text(parent: xml.Element, text: str, where: tuple[int, int], kind: str) -> None:
    element = xml.SubElement(parent, "text", {"x": str(where[0]), "y": str(where[1]), "text-anchor": "middle"})
    if kind:
        element.set("class", kind)
    element.text = textwrap.shorten(_clean(text), LETTERS * (2 if kind else 1), placeholder="…") or "…"


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("", text)
