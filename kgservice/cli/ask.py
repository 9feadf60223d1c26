"""`complete`, `classify`, `search`, `similar` and `show`: the answers of REST in the terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from kgservice.answers import Answer, Estimate, Named, Pair, QualifierView, StatementView, Verdict
    from kgservice.answers.entities import EntityPage, LikeAnswer, TypesAnswer
    from kgservice.answers.matches import SearchResult
    from kgservice.engine import Engine

HOLES = ("?", "_")
"""What stands for the missing part; `_` needs no quotes in any shell."""

Command = TypeVar("Command", bound=Callable[..., Any])


def options(command: Command) -> Command:
    """What every question takes: a release, a language, and JSON or lines."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="The exact JSON of REST."),
        click.option("--language", default="en", show_default=True, help="Of labels and descriptions."),
        click.option("--release", help="Id of the release to ask; the current one by default."),
    ):
        command = option(command)
    return command


_k = click.option("-k", type=int, default=10, show_default=True, help="How many, the best first.")
_types = click.option("--type", "types", multiple=True, help="Only entities of this type; repeatable.")
qualifiers_option = click.option(
    "--with",
    "qualifiers",
    multiple=True,
    metavar="RELATION=VALUE",
    help="A qualifier, such as world:startTime=1960; repeatable. Without =VALUE, or with _, it is asked for.",
)
model_option = click.option("--model", help="By name; the release's best by default.")


@click.command()
@click.argument("subject")
@click.argument("relation")
@click.argument("object", default="_")
@_k
@_types
@qualifiers_option
@model_option
@click.option("--include-known", is_flag=True, help="Show what the graph states already too, marked.")
@click.option("--fuse", is_flag=True, help="Have all calibrated models answer together.")
@click.option(
    "--filter", "filters", multiple=True, metavar="RELATION=OBJECT", help="Only subjects of this statement; repeatable."
)
@options
def complete(
    subject: str,
    relation: str,
    object: str,
    k: int,
    types: tuple[str, ...],
    qualifiers: tuple[str, ...],
    model: str | None,
    include_known: bool,
    fuse: bool,
    filters: tuple[str, ...],
    release: str | None,
    language: str,
    as_json: bool,
) -> None:
    """Ask for what is missing: put _ in its place, such as: complete world:France world:memberOf _."""
    from kgservice.answers import Question

    s, r, o = (None if part in HOLES else part for part in (subject, relation, object))
    question = Question(s, r, o, pairs_of(qualifiers))
    answer = open_release(release).complete(
        [question],
        k=k,
        types=types,
        filters=filters,
        exclude_known=not include_known,
        model=model,
        fuse=fuse,
        language=language,
    )[0]
    print_answer(answer, _answer_lines, as_json)


@click.command()
@click.argument("subject")
@click.argument("relation")
@click.argument("object")
@qualifiers_option
@model_option
@options
def classify(
    subject: str,
    relation: str,
    object: str,
    qualifiers: tuple[str, ...],
    model: str | None,
    release: str | None,
    language: str,
    as_json: bool,
) -> None:
    """Ask whether a statement is true."""
    from kgservice.answers import Statement

    statement = Statement(subject, relation, object, pairs_of(qualifiers))
    verdict = open_release(release).classify([statement], model=model, language=language)[0]
    print_answer(verdict, _verdict_lines, as_json)


@click.command()
@click.argument("query")
@_k
@_types
@click.option(
    "--filter", "filters", multiple=True, metavar="RELATION=OBJECT", help="Only subjects of this statement; repeatable."
)
@click.option(
    "--mode", type=click.Choice(["auto", "lexical", "dense"]), default="auto", help="By words, meaning or both."
)
@options
def search(
    query: str,
    k: int,
    types: tuple[str, ...],
    filters: tuple[str, ...],
    mode: Any,
    release: str | None,
    language: str,
    as_json: bool,
) -> None:
    """Find entities by a name, the beginning of one, a misspelt one, or a description."""
    found = open_release(release).search(query, k=k, types=types, filters=filters, language=language, mode=mode)
    print_answer(found, _search_lines, as_json)


@click.command()
@click.argument("entity")
@click.option("--limit", type=click.IntRange(min=0), default=100, show_default=True, help="Statements shown.")
@options
def show(entity: str, limit: int, release: str | None, language: str, as_json: bool) -> None:
    """Show what the graph holds about an entity."""
    print_answer(open_release(release).entity(entity, language=language, limit=limit), _page_lines, as_json)


@click.command()
@click.argument("entity")
@_k
@click.option("--type", "named", multiple=True, metavar="TYPE", help="Choose among these types alone; repeatable.")
@click.option(
    "--described",
    multiple=True,
    metavar="LABEL[: DESCRIPTION]",
    help="And among types that the release need not hold; repeatable.",
)
@click.option("--model", help="A model of the release; by default the one that tells types best.")
@click.option("--exclude-known", is_flag=True, help="Leave out what the graph states.")
@options
def types(
    entity: str,
    k: int,
    named: tuple[str, ...],
    described: tuple[str, ...],
    model: str | None,
    exclude_known: bool,
    release: str | None,
    language: str,
    as_json: bool,
) -> None:
    """Tell which types an entity has, with probabilities."""
    from kgservice.answers import Described

    parts = (one.partition(": ") for one in described)
    given: list[str | Described] = [*named, *(Described(label, text) for label, _, text in parts)]
    asked = open_release(release).types_of(
        [entity], types=given, k=k, model=model, exclude_known=exclude_known, language=language
    )
    print_answer(asked[0], _types_lines, as_json)


@click.command()
@click.argument("entity")
@_k
@_types
@model_option
@options
def similar(
    entity: str,
    k: int,
    types: tuple[str, ...],
    model: str | None,
    release: str | None,
    language: str,
    as_json: bool,
) -> None:
    """List the entities whose vectors are most like those of one."""
    found = open_release(release).similar_to(entity, k=k, types=types, model=model, language=language)
    print_answer(found, _similar_lines, as_json)


def pairs_of(given: Sequence[str]) -> tuple[Pair, ...]:
    """Qualifiers given as RELATION=VALUE."""
    from kgservice.answers import Pair

    pairs = (text.partition("=") for text in given)
    return tuple(Pair(relation, None if value in ("", *HOLES) else value) for relation, _, value in pairs)


def open_release(release: str | None) -> Engine:
    """The engine over a release, the current one by default."""
    from kgservice.engine import open_engine
    from kgservice.resources import home

    return open_engine(home() / "releases", release)


def print_answer(answer: Any, lines: Callable[[Any], Iterable[str]], as_json: bool) -> None:
    """Lines, or the exact JSON of REST."""
    if as_json:
        import orjson

        click.echo(orjson.dumps(answer))
        return
    for line in lines(answer):
        click.echo(line.rstrip())


def _answer_lines(answer: Answer) -> Iterable[str]:
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
    yield from _table(("rank", "id", "label", "score", "probability", "", ""), rows, right=(0, 3, 4))
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
    yield from _table(("similarity", "id", "label", "stated", ""), rows, right=(0, 3))


def _verdict_lines(verdict: Verdict) -> Iterable[str]:
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


def _types_lines(answer: TypesAnswer) -> Iterable[str]:
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
    yield from _table(("rank", "id", "label", "probability", "", ""), rows, right=(0, 3))
    yield f"probability: among {answer.population}"


def _similar_lines(answer: LikeAnswer) -> Iterable[str]:
    yield _call(answer.entity)
    yield _origin(answer.release, answer.model)
    rows = [
        (str(one.rank), one.id, one.label or "", f"{one.similarity:.3f}", one.description or "")
        for one in answer.similar
    ]
    yield from _table(("rank", "id", "label", "similarity", ""), rows, right=(0, 3))


def _search_lines(found: SearchResult) -> Iterable[str]:
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
    yield from _table(("rank", "id", "label", "match", "score", "types", ""), rows, right=(0, 4))


def _page_lines(page: EntityPage) -> Iterable[str]:
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
    yield from _table(("subject", "relation", "object", "qualifiers"), [_statement(one) for one in page.statements])


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


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> Iterable[str]:
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
