"""One literal for one value of Wikibase, whether it was read from JSON or from the value nodes of the RDF export.

Where the RDF export loses something, the form is what both can tell: the Gregorian date of a Julian day, 14 digits of
a coordinate, no time zone. Dates of the Gregorian calendar to the year, month or day, and numbers without unit and
bounds, are plain XSD; other dates and quantities are in the notation of QuickStatements (`+1950-00-00T00:00:00Z/8`,
`5[4.5,5.5]U11573`).

Entities and properties are named by their ids: Q42, P31, L99, L99-F1, L99-S1.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote

import polars as pl

from kgservice.graph.literals import QUANTITY, TIME, WIKIBASE, XSD, Literal

ENTITY = "http://www.wikidata.org/entity/"
WKT = "http://www.opengis.net/ont/geosparql#wktLiteral"
SOME_VALUE = f'"somevalue"^^<{WIKIBASE}SomeValue>'
NO_VALUE = f'"novalue"^^<{WIKIBASE}NoValue>'
COMMONS_MEDIA, GEO_SHAPE, TABULAR_DATA = (WIKIBASE + name for name in ("CommonsMedia", "GeoShape", "TabularData"))

STRING_DATATYPES = {
    "url": XSD + "anyURI",
    "commonsMedia": COMMONS_MEDIA,
    "geo-shape": GEO_SHAPE,
    "tabular-data": TABULAR_DATA,
}
"""Datatypes of properties whose values are strings with a datatype of their own; the others are plain strings."""

VALUE_PREDICATES = frozenset(
    WIKIBASE + name
    for name in (
        *("timeValue", "timePrecision", "timeCalendarModel"),
        *("quantityAmount", "quantityUnit", "quantityUpperBound", "quantityLowerBound"),
        *("geoLatitude", "geoLongitude", "geoGlobe"),
    )
)
"""What `value_literals` reads; what else is said about a value node (time zone, precision of a place) it ignores."""

_GREGORIAN, _JULIAN, _EARTH, _ONE = "Q1985727", "Q1985786", "Q2", "Q199"
_YEAR, _MONTH, _DAY = 9, 10, 11
_JSON_TIME = re.compile(r"([+-]\d+)-(\d\d)-(\d\d)T(.*)")
_MIDNIGHT = "00:00:00Z"
# Years of Julian days that the RDF export converts; beyond, it leaves the date as it is.
_CONVERTED = range(-4713, 1465073)
_XSD_NAMES = {_YEAR: "gYear", _MONTH: "gYearMonth", _DAY: "date"}


def string(value: str) -> str:
    """A plain string."""
    if value.isprintable() and '"' not in value and "\\" not in value:
        return f'"{value}"'
    return str(Literal(value))


def typed(value: str, datatype: str) -> str:
    """A string with a datatype other than xsd:string."""
    return f"{string(value)}^^<{datatype}>"


def string_value(value: str, datatype: str) -> str:
    """The value of a property whose datatype is url, commonsMedia, external-id, math, ..."""
    iri = STRING_DATATYPES.get(datatype)
    return string(value) if iri is None else f"{string(value)}^^<{iri}>"


def monolingual(text: str, language: str) -> str:
    """A text in one language."""
    return f"{string(text)}@{language.lower()}" if language else string(text)


@lru_cache(maxsize=1 << 16)
def time(time: str, precision: int, calendar: str) -> str:
    """A point in time.

    Args:
        time: as in JSON, where the year 1 BCE is -0001: `+1952-03-11T00:00:00Z`; years may have any number of digits.
        precision: 0 (billions of years) to 14 (seconds); 9 a year, 10 a month, 11 a day.
        calendar: IRI of the proleptic Gregorian (Q1985727) or the Julian (Q1985786) calendar.

    Returns:
        xsd:gYear, xsd:gYearMonth or xsd:date of the Gregorian calendar, where 1 BCE is 0000 as XSD 1.1 and the RDF
        export have it. Everything else is a wikibase:Time, of which only the part is kept that the precision covers:
        `+1950-00-00T00:00:00Z/8`. `/J` marks the Julian calendar; days of it are written as Gregorian ones, as the RDF
        export does. A date that no calendar has is kept as it is (`+2014-02-29T00:00:00Z/11`, see `is_no_date`).
    """
    mark = _mark(calendar)
    match = _JSON_TIME.fullmatch(time)
    if match is None or (precision >= _DAY and len(mark) > 2):
        return typed(f"{time}/{precision}{mark}", TIME)
    year, month, day, clock = int(match[1]), int(match[2]), int(match[3]), match[4]
    if precision < _MONTH:
        month = 0
    if precision < _DAY:
        day = 0
    if mark == "/J" and precision >= _DAY and year in _CONVERTED and _exists(year, month, day, leap_centuries=True):
        year, month, day = _gregorian(year, month, day)
    if (
        not mark
        and precision in _XSD_NAMES
        and _exists(year, month if precision >= _MONTH else 1, day if precision == _DAY else 1)
    ):
        astronomical = year + (year < 0)
        lexical = f"{'-' if astronomical < 0 else ''}{abs(astronomical):04}"
        if precision >= _MONTH:
            lexical += f"-{month:02}"
        if precision == _DAY:
            lexical += f"-{day:02}"
        return f'"{lexical}"^^<{XSD}{_XSD_NAMES[precision]}>'
    if precision <= _DAY:
        clock = _MIDNIGHT
    return typed(f"{'-' if year < 0 else '+'}{abs(year):04}-{month:02}-{day:02}T{clock}/{precision}{mark}", TIME)


def is_no_date(literal: str) -> bool:
    """Whether what `time` gave is a Gregorian year, month or day that does not exist, like 29 February 2014."""
    return literal.endswith(_NO_DATE)


_NO_DATE = tuple(f'/{precision}"^^<{TIME}>' for precision in _XSD_NAMES)


@lru_cache(maxsize=1 << 14)
def quantity(amount: str, unit: str, lower: str | None, upper: str | None) -> str:
    """An amount with its unit and bounds.

    Args:
        amount, lower, upper: decimals, positive ones with a sign: `+8.1`.
        unit: IRI of an entity; "1", or the IRI of Q199, for none.
    """
    unit = unit.rpartition("/")[2]
    amount = amount.removeprefix("+")
    if unit in ("1", _ONE) and lower is None and upper is None:
        return typed(amount, XSD + "decimal")
    bounds = (
        ""
        if lower is None and upper is None
        else f"[{(lower or '').removeprefix('+')},{(upper or '').removeprefix('+')}]"
    )
    unit = "" if unit in ("1", _ONE) else "U" + unit.removeprefix("Q")
    return typed(amount + bounds + unit, QUANTITY)


def coordinate(latitude: float, longitude: float, globe: str) -> str:
    """A place in degrees, on the Earth or on another globe named by its IRI."""
    return _point(_degrees(latitude), _degrees(longitude), globe)


def value_literals(rows: pl.DataFrame) -> pl.DataFrame:
    """The literals that value nodes of the RDF export stand for.

    Args:
        rows: columns node, predicate, object: all triples about the nodes; IRIs without brackets, literals in
            N-Triples form. Predicates other than `VALUE_PREDICATES` are ignored.

    Returns:
        Columns node, literal: one row per node, in any order. A node without its value, or without the precision and
        the calendar of a date, is left out.
    """
    rows = rows.filter(pl.col("predicate").is_in(sorted(VALUE_PREDICATES)))
    rows = rows.with_columns(pl.col("predicate").str.slice(len(WIKIBASE)))
    nodes = rows.pivot(on="predicate", index="node", values="object", aggregate_function="min")
    missing = [predicate[len(WIKIBASE) :] for predicate in sorted(VALUE_PREDICATES)]
    nodes = nodes.with_columns(pl.lit(None, pl.String).alias(name) for name in missing if name not in nodes.columns)
    found = [pl.DataFrame(schema={"node": pl.String, "literal": pl.String})]
    for needed, literals_of in (
        (["timeValue", "timePrecision", "timeCalendarModel"], _time_literals),
        (["quantityAmount"], _quantity_literals),
        (["geoLatitude", "geoLongitude"], _place_literals),
    ):
        # In one piece: polars 2.1 panics where strings of several chunks, or of none, are put together.
        part = nodes.drop_nulls(needed).rechunk()
        if len(part):
            found.append(part.select("node", literals_of(part).alias("literal")))
    return pl.concat(found).unique("node", keep="any")


def simple_literals(literals: pl.Series) -> pl.Series:
    """Literals without a value node, in N-Triples form, as JSON gives them: numbers without a leading plus."""
    return literals.str.replace(rf'^"\+([0-9.]+"\^\^<{re.escape(XSD)}decimal>)$', '"${1}')


def media_literals(iris: pl.Series) -> pl.Series:
    """File names as literals, from the IRIs of files, maps and tables on Wikimedia Commons; null for other IRIs."""
    parts = iris.str.extract_groups(
        r"^https?://commons\.wikimedia\.org/(?:wiki/Special:FilePath/(?P<file>.+)|data/main/(?P<data>Data:.+))$"
    ).struct.unnest()
    rows = (parts["file"].is_not_null() | parts["data"].is_not_null()).arg_true()
    found = []
    for file, data in parts[rows].iter_rows() if len(rows) else ():
        if file is not None:
            found.append(typed(unquote(file), COMMONS_MEDIA))
        else:
            # Titles of pages: blanks are underscores in their addresses.
            name = unquote(data).replace("_", " ")
            found.append(typed(name, TABULAR_DATA if name.endswith(".tab") else GEO_SHAPE))
    return pl.Series(iris.name, [None], pl.String).new_from_index(0, len(iris)).scatter(rows, found)


def url_literals(iris: pl.Series) -> pl.Series:
    """IRIs as values of properties of datatype url."""
    return '"' + iris.rechunk() + f'"^^<{XSD}anyURI>'


def _mark(calendar: str) -> str:
    name = calendar.rpartition("/")[2]
    return "" if name == _GREGORIAN else "/J" if name == _JULIAN else f"/{calendar}"


def _exists(year: int, month: int, day: int, *, leap_centuries: bool = False) -> bool:
    if not year or not 1 <= month <= 12:
        return False
    astronomical = year + (year < 0)
    is_leap = astronomical % 4 == 0 and (leap_centuries or astronomical % 100 != 0 or astronomical % 400 == 0)
    days = 30 + (month in (1, 3, 5, 7, 8, 10, 12)) if month != 2 else 28 + is_leap
    return 1 <= day <= days


def _gregorian(year: int, month: int, day: int) -> tuple[int, int, int]:
    """The Gregorian date of a Julian one, by way of the Julian day number; no year is 0.

    Source: the integer formulas of the Explanatory Supplement to the Astronomical Almanac, chapter 15.11, for years
    that begin in March.
    """
    late = (14 - month) // 12
    years = year + (year < 0) + 4800 - late
    number = day + (153 * (month + 12 * late - 3) + 2) // 5 + 365 * years + years // 4 - 32083
    centuries, rest = divmod(4 * (number + 32044) + 3, 146097)
    years, rest = divmod(4 * (rest // 4) + 3, 1461)
    months, rest = divmod(5 * (rest // 4) + 2, 153)
    astronomical = 100 * centuries + years - 4800 + months // 10
    return astronomical - (astronomical <= 0), months + 3 - 12 * (months // 10), rest // 5 + 1


def _degrees(number: float) -> str:
    """As PHP writes it, which writes the RDF export: 14 digits, `1.0E-5`."""
    mantissa, exponent, power = f"{number:.14G}".partition("E")
    return mantissa if not exponent else f"{mantissa}{'' if '.' in mantissa else '.0'}E{int(power):+d}"


def _point(latitude: str, longitude: str, globe: str) -> str:
    prefix = "" if not globe or globe.rpartition("/")[2] == _EARTH else f"<{globe}> "
    return f'"{prefix}Point({longitude} {latitude})"^^<{WKT}>'


def _time_literals(nodes: pl.DataFrame) -> pl.Series:
    date = pl.col("timeValue").str.extract_groups(
        rf'^"(?P<year>-?\d+)-(?P<month>\d\d)-(?P<day>\d\d)T(?P<clock>[^"]*)"\^\^<{XSD}dateTime>$'
    )
    calendar = pl.col("timeCalendarModel")
    name = calendar.str.extract(r"([^/]*)$")
    table = nodes.select(
        date.struct.field("month", "day", "clock"),
        date.struct.field("year").cast(pl.Int64, strict=False),
        pl.col("timePrecision").str.extract(r'^"(\d+)"').cast(pl.Int64).alias("precision"),
        pl.when(name == _GREGORIAN)
        .then(pl.lit(""))
        .when(name == _JULIAN)
        .then(pl.lit("/J"))
        .otherwise("/" + calendar)
        .alias("mark"),
    )
    precision, mark, year = pl.col("precision"), pl.col("mark"), pl.col("year")
    # The export counts years as XSD 1.1 does where a year is known, JSON without a year 0.
    counted = year - ((year <= 0) & (precision >= _YEAR)).cast(pl.Int64)
    notation = pl.format(
        '"{}{}-{}-{}T{}/{}{}"^^<' + TIME + ">",
        pl.when(counted < 0).then(pl.lit("-")).otherwise(pl.lit("+")),
        counted.abs().cast(pl.String).str.zfill(4),
        pl.when(precision < _MONTH).then(pl.lit("00")).otherwise("month"),
        pl.when(precision < _DAY).then(pl.lit("00")).otherwise("day"),
        pl.when(precision <= _DAY).then(pl.lit(_MIDNIGHT)).otherwise("clock"),
        precision,
        mark,
    )
    sign = pl.when(year < 0).then(pl.lit("-")).otherwise(pl.lit(""))
    xsd_year = pl.concat_str(pl.lit('"'), sign, year.abs().cast(pl.String).str.zfill(4))
    literal = notation
    for exact, parts in ((_YEAR, []), (_MONTH, ["month"]), (_DAY, ["month", "day"])):
        date_of = pl.concat_str(xsd_year, *parts, separator="-")
        written = pl.concat_str(date_of, pl.lit(f'"^^<{XSD}{_XSD_NAMES[exact]}>'))
        literal = pl.when((mark == "") & (precision == exact)).then(written).otherwise(literal)
    literals = table.select(literal).to_series()
    # What the export could not make a date of, it gives as it is in JSON.
    raw = literals.is_null().arg_true()
    lexical = nodes["timeValue"].gather(raw).str.extract(r'(?s)^"(.*)"').fill_null("")
    known = table["precision"].gather(raw).fill_null(0)
    calendars = nodes["timeCalendarModel"].gather(raw)
    return literals.scatter(raw, [time(*parts) for parts in zip(lexical, known, calendars, strict=True)])


def _quantity_literals(nodes: pl.DataFrame) -> pl.Series:
    parts = {"amount": "quantityAmount", "lower": "quantityLowerBound", "upper": "quantityUpperBound"}
    table = nodes.select(
        pl.col("quantityUnit").fill_null(_ONE).str.extract(r"([^/]*)$").alias("unit"),
        *(pl.col(name).str.extract(r'^"\+?([^"]*)"').alias(part) for part, name in parts.items()),
    )
    is_bare = table["unit"] == _ONE
    is_bounded = table["lower"].is_not_null() | table["upper"].is_not_null()
    table = table.with_columns(
        pl.concat_str(pl.lit("U"), pl.col("unit").str.strip_prefix("Q")).alias("unit"),
        pl.concat_str(
            pl.lit("["), pl.col("lower").fill_null(""), pl.lit(","), pl.col("upper").fill_null(""), pl.lit("]")
        ).alias("bounds"),
    )
    none = pl.lit("")
    return table.select(
        pl.concat_str(
            pl.lit('"'),
            "amount",
            pl.when(is_bounded).then("bounds").otherwise(none),
            pl.when(is_bare).then(none).otherwise("unit"),
            pl.when(is_bare & ~is_bounded).then(pl.lit(f'"^^<{XSD}decimal>')).otherwise(pl.lit(f'"^^<{QUANTITY}>')),
        )
    ).to_series()


def _place_literals(nodes: pl.DataFrame) -> pl.Series:
    globe = pl.col("geoGlobe").fill_null("")
    is_earth = (globe == "") | (globe.str.extract(r"([^/]*)$") == _EARTH)
    prefix = pl.when(is_earth).then(pl.lit("")).otherwise("<" + globe + "> ")
    latitude, longitude = _written(nodes["geoLatitude"]), _written(nodes["geoLongitude"])
    return nodes.select(pl.format('"{}Point({} {})"^^<' + WKT + ">", prefix, longitude, latitude)).to_series()


def _written(degrees: pl.Series) -> pl.Series:
    """Degrees as `_degrees` writes them; most are written so already."""
    lexical = degrees.str.extract(r'^"([^"]*)"')
    others = (~lexical.str.contains(r"^-?(?:[1-9]\d?\.\d{0,11}|[1-9]\d\d\.\d{0,10})[1-9]$")).arg_true()
    return lexical.scatter(others, [_degrees(float(number)) for number in lexical.gather(others)])
