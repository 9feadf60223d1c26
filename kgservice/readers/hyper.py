"""Hyper-relational benchmarks: WD50K's statements with qualifiers, n-ary facts of JF17K, WikiPeople's JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import polars as pl

from kgservice.readers import wikibase
from kgservice.readers.assembly import BatchBuilder
from kgservice.readers.facts import FactFile, add_facts
from kgservice.readers.report import FileReport
from kgservice.readers.sources import Source

Read = tuple[list[FileReport], dict[str, str]]
_fields = pl.col("fields")
STATED = (
    _fields.list.get(0).alias("subject"),
    _fields.list.get(1).alias("relation"),
    _fields.list.get(2).alias("object"),
    _fields.list.slice(3).list.gather_every(2).alias("qualifier_relation"),
    _fields.list.slice(3).list.gather_every(2, 1).alias("qualifier_value"),
)
"""A statement of fields: subject, relation, object, then relation and value of each qualifier by turns."""
_EMPTY = r"(?:^|,)(\s*)(?:,|$)"
_SCHEMA: Mapping[str, pl.DataType] = {
    "line": pl.UInt32(),
    "subject": pl.String(),
    "relation": pl.String(),
    "object": pl.String(),
    "qualifier_relation": pl.List(pl.String),
    "qualifier_value": pl.List(pl.String),
}


def is_wikipeople(source: Source) -> bool:
    """Whether a file is named as WikiPeople names its files."""
    return source.suffix == ".json" and source.stem.startswith("n-ary_")


def read_wd50k(sources: Sequence[Source], builder: BatchBuilder, *, skip_malformed: bool) -> Read:
    """Lines `subject,relation,object[,qualifier relation,qualifier value]*`, as in WD50K.

    Raises:
        MalformedStatement: a line has an even number of fields, fewer than three, or an empty one.
        DataError: a file cannot be read to its end.
    """
    files = []
    for source in sources:
        file = FactFile.open(source, "WD50K", skip_malformed)
        file.facts = file.facts.with_columns(pl.col("text").str.split(",").alias("fields"))
        count = _fields.list.len()
        expected = "expected subject,relation,object and pairs of qualifiers, found "
        file.keep((count >= 3) & (count % 2 == 1), pl.format(expected + "{} fields", count), at="$")
        file.keep(~pl.col("text").str.contains(_EMPTY), expected + "an empty field", at=_EMPTY)
        file.facts = file.facts.select("line", *STATED)
        files.append(file)
    return add_facts(files, builder)


def read_nary(sources: Sequence[Source], builder: BatchBuilder, *, skip_malformed: bool) -> Read:
    """Lines `relation first second [third ...]` divided by white space, as in JF17K and WikiPeople-3.

    The first two values are subject and object; each further one is a qualifier, whose relation is named after its
    place: `<relation>_3`, `<relation>_4`, ... A field `instance<number>` before the relation, as the test files of JF17K
    have it, is left out. WikiPeople's times become literals.

    Raises:
        MalformedStatement: a line has fewer than two values.
        DataError: a file cannot be read to its end.
    """
    files = []
    for source in sources:
        file = FactFile.open(source, "n-ary facts", skip_malformed)
        text = pl.col("text").str.strip_chars().str.replace(r"^instance\d+\s+", "")
        file.facts = file.facts.with_columns(text.str.extract_all(r"\S+").alias("fields"))
        count = _fields.list.len()
        file.keep(count >= 3, pl.format("expected a relation and at least two values, found {} fields", count), at="$")
        rest = file.facts.select("line", _fields.list.get(0).alias("relation"), _fields.list.slice(3).alias("value"))
        rest = rest.filter(pl.col("value").list.len() > 0).explode("value")
        place = pl.int_range(3, pl.len() + 3).over("line")
        rest = rest.with_columns(pl.format("{}_{}", "relation", place).alias("role"), _terms(rest["value"]))
        pairs = rest.group_by("line", maintain_order=True).agg(
            pl.col("role").alias("qualifier_relation"), pl.col("value").alias("qualifier_value")
        )
        file.facts = file.facts.select(
            "line",
            _fields.list.get(1).alias("subject"),
            _fields.list.get(0).alias("relation"),
            _fields.list.get(2).alias("object"),
        )
        file.facts = file.facts.with_columns(_terms(file.facts["object"])).join(pairs, on="line", how="left")
        file.facts = file.facts.with_columns(pl.col("qualifier_relation", "qualifier_value").fill_null([]))
        files.append(file)
    return add_facts(files, builder)


def read_wikipeople(sources: Sequence[Source], builder: BatchBuilder, *, skip_malformed: bool) -> Read:
    """A JSON object a line, as in WikiPeople: `{"P166_h": "Q7186", "P166_t": "Q38104", "P1706": ["Q41269"], "N": 3}`.

    The suffixes `_h` and `_t` mark subject and object, `N` is the number of values; times become literals.

    Raises:
        MalformedStatement: a line is not such an object.
        DataError: a file cannot be read to its end.
    """
    files = []
    for source in sources:
        file = FactFile.open(source, "WikiPeople JSON", skip_malformed)
        rows = []
        for line, text in file.facts.iter_rows():
            try:
                rows.append((line, *_roles(orjson.loads(text))))
            except orjson.JSONDecodeError as error:
                file.refuse(line, f"not JSON: {error.msg}", error.colno)
            except ValueError as error:
                file.refuse(line, str(error))
        facts = pl.DataFrame(rows, schema=_SCHEMA, orient="row")
        pairs = facts["qualifier_value"].explode().drop_nulls().unique()
        terms = pl.col("qualifier_value").list.eval(pl.element().replace(pairs, _terms(pairs)))
        file.facts = facts.with_columns(_terms(facts["object"]), terms)
        files.append(file)
    return add_facts(files, builder)


def _roles(fact: Any) -> tuple[str, str, str, list[str], list[str]]:
    if not isinstance(fact, Mapping):
        raise ValueError("expected an object with roles as keys")
    subjects = [role for role in fact if role.endswith("_h")]
    if len(subjects) != 1 or (relation := subjects[0].removesuffix("_h")) + "_t" not in fact:
        raise ValueError("expected one pair of roles that end in _h and _t")
    subject, object = fact[relation + "_h"], fact[relation + "_t"]
    pairs: list[tuple[str, str]] = []
    for role, values in fact.items():
        if role not in ("N", relation + "_h", relation + "_t"):
            pairs += [(role, value) for value in (values if isinstance(values, list) else [values])]
    if not all(isinstance(value, str) and value for value in (subject, object, *(value for _, value in pairs))):
        raise ValueError("expected every value to be a string that is not empty")
    if fact.get("N") != len(pairs) + 2:
        raise ValueError(f"N says {fact.get('N')} values, found {len(pairs) + 2}")
    return subject, relation, object, [role for role, _ in pairs], [value for _, value in pairs]


def _terms(values: pl.Series) -> pl.Series:
    """Names as they are; WikiPeople's times, `time#zone#before#after#precision#calendar`, as literals."""
    times = values.filter(values.str.contains(r"^[+-]\d+-\d\d-\d\dT[^#]*(?:#\d+){4}#")).unique()
    literals = []
    for value in times.to_list():
        time, _zone, _before, _after, precision, calendar = value.split("#", 5)
        literals.append(wikibase.time(time, int(precision), calendar))
    return values.replace(times, pl.Series(literals, dtype=pl.String))
