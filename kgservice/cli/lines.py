"""Answers as lines of a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from kgservice.answers import Answer, Estimate, Named, QualifierView, StatementView, Verdict
    from kgservice.answers.entities import EntityPage, LikeAnswer, TypesAnswer
    from kgservice.answers.matches import SearchResult


def print_answer(answer: Any, lines: Callable[[Any], Iterable[str]], as_json: bool) -> None:
    """Lines, or the exact JSON of REST."""
    if as_json:
        import orjson

        click.echo(orjson.dumps(answer))
        return
    for line in lines(answer):
        click.echo(line.rstrip())


def answer_lines(answer: Answer) -> Iterable[str]:
    yield "  ".join(_call(part) if part else "?" for part in (answer.subject, answer.relation, answer.object))
    yield from _with_lines(answer.qualifiers)
    yield _origin(answer.release, answer.model)
    if answer.estimate:
        yield from _estimate_lines(answer.estimate)
        return
    if not answer.candidates:
        yield "no candidate"
        return
    rows = [
        (
            str(one.rank),
            one.id,
            one.label or "",
            f"{one.score:.3f}",
            _percent(one.probability),
            "known" if one.known else "",
            one.description or "",
        )
        for one in answer.candidates
    ]
    yield from table(("rank", "id", "label", "score", "probability", "", ""), rows, right=(0, 3, 4))
    if answer.population:
        yield f"probability: among {answer.population}"


def _estimate_lines(estimate: Estimate) -> Iterable[str]:
    def shown(value: float) -> str:
        return f"{value:.1f}" if estimate.kind == "year" else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"

    value, low, high = (shown(bound) for bound in (estimate.value, estimate.low, estimate.high))
    basis = "the vectors of" if estimate.basis == "model" else "the median of"
    yield f"{value}, from {basis} {estimate.known:,} entities that have one"
    yield f"between {low} and {high} for {estimate.coverage:.0%} of such"
    if estimate.stated:
        yield "stated: " + ", ".join(one.label or "" for one in estimate.stated)
    rows = [
        (f"{one.similarity:.3f}", one.entity.id, one.entity.label or "", shown(one.value), one.entity.description or "")
        for one in estimate.evidence
    ]
    yield from table(("similarity", "id", "label", "stated", ""), rows, right=(0, 3))


def verdict_lines(verdict: Verdict) -> Iterable[str]:
    yield "  ".join(_call(part) for part in (verdict.subject, verdict.relation, verdict.object))
    yield from _with_lines(verdict.qualifiers)
    yield _origin(verdict.release, verdict.model)
    yield (verdict.decision or "undecided: the model is not calibrated") + (
        ", and the graph states it" if verdict.known else ""
    )
    yield f"score {verdict.score:.3f}"
    if verdict.probability is not None:
        reject = f"reject up to {_percent(verdict.reject_to)}" if verdict.reject_to else "never reject"
        accept = f"accept from {_percent(verdict.accept_from)} on" if verdict.accept_from != 1 else "never accept"
        yield f"probability {_percent(verdict.probability)}: {reject}, {accept}"
        yield f"probability: among {verdict.population}"


def types_lines(answer: TypesAnswer) -> Iterable[str]:
    yield _call(answer.entity)
    yield _origin(answer.release, answer.model)
    rows = [
        (
            str(one.rank),
            one.id,
            one.label or "",
            _percent(one.probability),
            "by its text" if one.basis == "text" else "",
            "known" if one.known else "",
        )
        for one in answer.candidates
    ]
    yield from table(("rank", "id", "label", "probability", "", ""), rows, right=(0, 3))
    yield f"probability: among {answer.population}"


def similar_lines(answer: LikeAnswer) -> Iterable[str]:
    yield _call(answer.entity)
    yield _origin(answer.release, answer.model)
    rows = [
        (str(one.rank), one.id, one.label or "", f"{one.similarity:.3f}", one.description or "")
        for one in answer.similar
    ]
    yield from table(("rank", "id", "label", "similarity", ""), rows, right=(0, 3))


def search_lines(found: SearchResult) -> Iterable[str]:
    yield f"release {found.release}, {'names, descriptions and meaning' if found.dense else 'names and descriptions'}"
    if not found.matches:
        yield "no match"
        return
    rows = [
        (
            str(rank),
            one.id,
            one.label or "",
            one.kind,
            f"{one.score:.3f}",
            ", ".join(type.label or type.id for type in one.types[:2]),
            one.description or "",
        )
        for rank, one in enumerate(found.matches, start=1)
    ]
    yield from table(("rank", "id", "label", "match", "score", "types", ""), rows, right=(0, 4))


def page_lines(page: EntityPage) -> Iterable[str]:
    yield f"{page.id}  {page.label or ''}"
    yield page.iri
    if page.description:
        yield page.description
    yield f"release {page.release}"
    if page.types:
        yield "types: " + ", ".join(type.label or type.id for type in page.types)
    for code, aliases in page.aliases.items():
        yield f"also ({code or 'any'}): " + ", ".join(aliases)
    yield f"{page.statement_count:,} statements" + (
        f", the first {len(page.statements):,}" if len(page.statements) < page.statement_count else ""
    )
    yield from table(("subject", "relation", "object", "qualifiers"), [_statement(one) for one in page.statements])


def _statement(one: StatementView) -> tuple[str, ...]:
    object = one.object.label or one.object.id or ""
    if one.object.language:
        object += f" ({one.object.language})"
    return one.subject.label or one.subject.id, _call(one.relation), object, "; ".join(map(_pair, one.qualifiers))


def _with_lines(qualifiers: Sequence[QualifierView]) -> Iterable[str]:
    if qualifiers:
        yield "  with " + "; ".join(map(_pair, qualifiers))


def _pair(pair: QualifierView) -> str:
    return f"{_call(pair.relation)} {pair.value.label or pair.value.id or '?'}"


def _call(named: Named) -> str:
    return named.label or named.id


def _origin(release: str, model: str) -> str:
    return f"release {release}, model {model}"


def _percent(probability: float | None) -> str:
    return "" if probability is None else f"{probability:.1%}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> Iterable[str]:
    """Aligned columns; those that are empty throughout are left out, and the last is cut by nobody."""
    used = [place for place in range(len(head)) if any(row[place] for row in rows)]
    widths = {place: max(_width(row[place]) for row in (head, *rows)) for place in used}
    for row in (head, *rows) if rows else ():
        cells = []
        for place in used:
            padding = " " * (widths[place] - _width(row[place]))
            cells.append(padding + row[place] if place in right else row[place] + padding)
        yield "  ".join(cells)


def _width(text: str) -> int:
    """Columns that a terminal gives the text: two for wide letters, none for marks."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )
