"""HyNT's benchmarks: statements of YAGO whose objects and qualifiers may be numbers and dates with units."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from kgservice.graph.literals import QUANTITY, XSD
from kgservice.readers.assembly import BatchBuilder
from kgservice.readers.facts import FactFile, add_facts
from kgservice.readers.hyper import STATED
from kgservice.readers.report import FileReport
from kgservice.readers.sources import Source

_fields = pl.col("fields")
_EMPTY = r"(?:^|\t)( *)(?:\t|$)"
_LITERAL = r'^"(?<lexical>[^"\\]*)"\^\^(?:xsd:(?<xsd>[A-Za-z]+)|<(?<unit>[^<>"\s]+)>)$'
_BROKEN = r'\t("(?![^"\\]*"\^\^(?:xsd:[A-Za-z]+|<[^<>"\s]+>)(?:\t|$)))'


def read_hynt(
    sources: Sequence[Source], builder: BatchBuilder, *, skip_malformed: bool
) -> tuple[list[FileReport], dict[str, str]]:
    """Lines `subject<TAB>relation<TAB>object[<TAB>qualifier relation<TAB>qualifier value]*` after a count, as in HN-YG.

    `"73.32"^^<km2>` becomes a quantity with its unit after a space, `"73.32 km2"^^<http://wikiba.se/ontology#Quantity>`,
    whose amount the graph knows as a number; years of fewer than four digits are filled up with zeros.

    Raises:
        MalformedStatement: a line has an even number of fields, fewer than three, an empty one or a broken literal; the
            first line is not the number of those that follow.
        DataError: a file cannot be read to its end.
    """
    files = []
    for source in sources:
        file = FactFile.open(source, "HyNT", skip_malformed)
        file.take_count()
        file.facts = file.facts.with_columns(pl.col("text").str.split("\t").alias("fields"))
        count = _fields.list.len()
        expected = "expected subject, relation, object and pairs of qualifiers divided by tabs, found "
        file.keep((count >= 3) & (count % 2 == 1), pl.format(expected + "{} fields", count), at="$")
        file.keep(~pl.col("text").str.contains(_EMPTY), expected + "an empty field", at=_EMPTY)
        file.keep(~pl.col("text").str.starts_with('"'), "expected an entity as subject, found a literal", at="^")
        values = file.facts["fields"].explode().unique()
        values = values.filter(values.str.starts_with('"'))
        literals = _literals(values)
        broken = values.filter(literals.is_null())
        has_broken = _fields.list.eval(pl.element().is_in(broken.implode())).list.any()
        file.keep(~has_broken, 'expected literals like "73.32"^^<km2> or "1949-12-25"^^xsd:date', at=_BROKEN)
        terms = _fields.list.eval(pl.element().replace(values, literals))
        file.facts = file.facts.with_columns(terms).select("line", *STATED)
        files.append(file)
    return add_facts(files, builder)


def _literals(values: pl.Series) -> pl.Series:
    """In N-Triples form; null where a value is not a literal."""
    parts = values.str.extract_groups(_LITERAL).struct.unnest()
    lexical = pl.col("lexical").str.replace(r"^(\d{3})-", "0${1}-")
    literal = (
        pl.when(pl.col("xsd").is_not_null())
        .then(pl.format('"{}"^^<' + XSD + "{}>", lexical, "xsd"))
        .when(pl.col("unit").is_not_null())
        .then(pl.format('"{} {}"^^<' + QUANTITY + ">", "lexical", "unit"))
    )
    return parts.select(literal.alias("literal")).to_series()
