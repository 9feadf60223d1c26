"""One literal for one value of Wikibase, from JSON and from the RDF export."""

from __future__ import annotations

import json
import tarfile
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pyoxigraph as ox
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kgservice.graph.literals import QUANTITY, TIME, XSD, Literal
from kgservice.readers import wikibase
from kgservice.readers.wikibase import ENTITY

GREGORIAN, JULIAN = ENTITY + "Q1985727", ENTITY + "Q1985786"


@pytest.mark.parametrize(
    ("time", "precision", "lexical", "datatype"),
    [
        ("+1952-03-11T00:00:00Z", 11, "1952-03-11", XSD + "date"),
        ("+00000001952-03-11T00:00:00Z", 11, "1952-03-11", XSD + "date"),
        ("+1952-03-00T00:00:00Z", 10, "1952-03", XSD + "gYearMonth"),
        ("+1952-03-11T00:00:00Z", 10, "1952-03", XSD + "gYearMonth"),
        ("+1952-00-00T00:00:00Z", 9, "1952", XSD + "gYear"),
        ("+0079-08-24T00:00:00Z", 11, "0079-08-24", XSD + "date"),
        ("-0044-03-15T00:00:00Z", 11, "-0043-03-15", XSD + "date"),
        ("-0001-00-00T00:00:00Z", 9, "0000", XSD + "gYear"),
        ("+12345-01-01T00:00:00Z", 11, "12345-01-01", XSD + "date"),
        ("+1950-00-00T00:00:00Z", 8, "+1950-00-00T00:00:00Z/8", TIME),
        ("+1952-03-11T00:00:00Z", 8, "+1952-00-00T00:00:00Z/8", TIME),
        ("-13798000000-00-00T00:00:00Z", 3, "-13798000000-00-00T00:00:00Z/3", TIME),
        ("+2013-01-01T12:34:56Z", 14, "+2013-01-01T12:34:56Z/14", TIME),
        ("+2014-02-29T00:00:00Z", 11, "+2014-02-29T00:00:00Z/11", TIME),
        ("+2014-00-00T00:00:00Z", 11, "+2014-00-00T00:00:00Z/11", TIME),
        ("+2014-04-00T00:00:00Z", 11, "+2014-04-00T00:00:00Z/11", TIME),
        ("+2014-13-00T00:00:00Z", 10, "+2014-13-00T00:00:00Z/10", TIME),
        ("+0000-00-00T00:00:00Z", 9, "+0000-00-00T00:00:00Z/9", TIME),
        ("no time", 11, "no time/11", TIME),
    ],
)
def test_a_gregorian_time(time: str, precision: int, lexical: str, datatype: str) -> None:
    assert wikibase.time(time, precision, GREGORIAN) == str(Literal(lexical, datatype))


@pytest.mark.parametrize(
    ("time", "precision", "lexical"),
    [
        ("+1582-10-04T00:00:00Z", 11, "+1582-10-14T00:00:00Z/11/J"),
        ("+1616-04-23T00:00:00Z", 11, "+1616-05-03T00:00:00Z/11/J"),  # Shakespeare's death
        ("-0044-03-15T00:00:00Z", 11, "-0044-03-13T00:00:00Z/11/J"),  # Caesar's
        ("-0001-12-31T00:00:00Z", 11, "-0001-12-29T00:00:00Z/11/J"),
        ("-4713-01-01T00:00:00Z", 11, "-4714-11-24T00:00:00Z/11/J"),  # day 0 of the Julian day number
        ("-4714-01-01T00:00:00Z", 11, "-4714-01-01T00:00:00Z/11/J"),  # the export converts no earlier year
        ("+1500-02-29T00:00:00Z", 11, "+1500-03-10T00:00:00Z/11/J"),
        ("+1501-02-29T00:00:00Z", 11, "+1501-02-29T00:00:00Z/11/J"),
        ("+1500-02-00T00:00:00Z", 10, "+1500-02-00T00:00:00Z/10/J"),
        ("-0200-00-00T00:00:00Z", 9, "-0200-00-00T00:00:00Z/9/J"),
    ],
)
def test_a_julian_time(time: str, precision: int, lexical: str) -> None:
    assert wikibase.time(time, precision, JULIAN) == str(Literal(lexical, TIME))


@given(st.dates(date(1, 3, 10), date(9900, 1, 1)))
def test_a_julian_day_keeps_its_place_in_time(day: date) -> None:
    """From March of a century's first year on, the calendars are one more day apart, except every 400 years."""
    text = Literal.parse(wikibase.time(f"+{day}T00:00:00Z", 11, JULIAN)).lexical
    year = day.year if day.month > 2 else day.year - 1
    assert text.endswith("T00:00:00Z/11/J")
    assert (date.fromisoformat(text[1:11]) - day).days == year // 100 - year // 400 - 2


def test_which_dates_exist() -> None:
    assert wikibase.is_no_date(wikibase.time("+1900-02-29T00:00:00Z", 11, GREGORIAN))
    assert not wikibase.is_no_date(wikibase.time("+2000-02-29T00:00:00Z", 11, GREGORIAN))
    assert not wikibase.is_no_date(wikibase.time("-0005-02-29T00:00:00Z", 11, GREGORIAN))  # astronomical year -4
    assert not wikibase.is_no_date(wikibase.time("+1900-02-28T00:00:00Z", 8, GREGORIAN))
    assert not wikibase.is_no_date(wikibase.time("+1900-02-28T00:00:00Z", 11, JULIAN))


def test_quantities() -> None:
    assert wikibase.quantity("+8.10", "1", None, None) == f'"8.10"^^<{XSD}decimal>'
    assert wikibase.quantity("-8", ENTITY + "Q199", None, None) == f'"-8"^^<{XSD}decimal>'
    metres = wikibase.quantity("+5", ENTITY + "Q11573", "+4.5", "+5.5")
    assert metres == f'"5[4.5,5.5]U11573"^^<{QUANTITY}>'
    assert Literal.parse(metres).number == 5.0
    assert wikibase.quantity("-0.5", ENTITY + "Q11573", None, None) == f'"-0.5U11573"^^<{QUANTITY}>'
    assert wikibase.quantity("+5", "1", "-1", "+6") == f'"5[-1,6]"^^<{QUANTITY}>'


def test_coordinates() -> None:
    point = wikibase.coordinate(51.56652777777778, -0.14544444444444443, ENTITY + "Q2")
    assert point == f'"Point(-0.14544444444444 51.566527777778)"^^<{wikibase.WKT}>'
    moon = wikibase.coordinate(1e-5, 57.0, ENTITY + "Q405")
    assert moon == f'"<{ENTITY}Q405> Point(57 1.0E-5)"^^<{wikibase.WKT}>'


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_strings_are_canonical_n_triples(text: str) -> None:
    assert wikibase.string(text) == str(Literal(text))
    assert wikibase.monolingual(text, "zh-Hant") == str(Literal(text, language="zh-hant"))
    assert wikibase.string_value(text, "url") == str(Literal(text, XSD + "anyURI"))
    assert wikibase.string_value(text, "external-id") == str(Literal(text))


def test_files_on_commons() -> None:
    iris = pl.Series(
        "object",
        [
            "http://commons.wikimedia.org/wiki/Special:FilePath/Douglas%20Adams%27%20gravestone.jpg",
            "http://www.wikidata.org/entity/Q2",
            "http://commons.wikimedia.org/data/main/Data:Berlin_Mitte.map",
            "http://commons.wikimedia.org/data/main/Data:Ncei.noaa.gov/weather.tab",
        ],
    )
    assert wikibase.media_literals(iris).to_list() == [
        wikibase.string_value("Douglas Adams' gravestone.jpg", "commonsMedia"),
        None,
        wikibase.string_value("Data:Berlin Mitte.map", "geo-shape"),
        wikibase.string_value("Data:Ncei.noaa.gov/weather.tab", "tabular-data"),
    ]
    assert wikibase.media_literals(iris[:0]).to_list() == []
    assert wikibase.url_literals(iris[:0]).to_list() == []
    assert wikibase.url_literals(iris[1:2]).to_list() == [wikibase.string_value(ENTITY + "Q2", "url")]


def test_simple_literals() -> None:
    literals = [f'"+8.1"^^<{XSD}decimal>', f'"-8.1"^^<{XSD}decimal>', '"+8.1"', '"+49"@en', f'"+1"^^<{XSD}integer>']
    plain = wikibase.simple_literals(pl.Series(literals)).to_list()
    assert plain == [f'"8.1"^^<{XSD}decimal>', *literals[1:]]


def nodes(**values: dict[str, str]) -> pl.DataFrame:
    rows = [
        (node, wikibase.WIKIBASE + predicate, object_)
        for node, parts in values.items()
        for predicate, object_ in parts.items()
    ]
    return pl.DataFrame(rows, schema={"node": pl.String, "predicate": pl.String, "object": pl.String}, orient="row")


def exported_time(value: str, precision: int, calendar: str) -> dict[str, str]:
    return {
        "timeValue": f'"{value}"^^<{XSD}dateTime>',
        "timePrecision": f'"{precision}"^^<{XSD}integer>',
        "timeTimezone": f'"0"^^<{XSD}integer>',
        "timeCalendarModel": calendar,
    }


def test_value_nodes() -> None:
    rows = nodes(
        day=exported_time("1952-03-11T00:00:00Z", 11, GREGORIAN),
        first=exported_time("0000-01-01T00:00:00Z", 9, GREGORIAN),
        ides=exported_time("-0043-03-13T00:00:00Z", 11, JULIAN),
        second=exported_time("2013-01-01T12:34:56Z", 14, GREGORIAN),
        other={"timeValue": '"+2012-02-31T00:00:00Z"'}
        | {"timePrecision": f'"11"^^<{XSD}integer>', "timeCalendarModel": "http://acme.test/calendar"},
        metres={
            "quantityAmount": f'"+5"^^<{XSD}decimal>',
            "quantityUnit": ENTITY + "Q11573",
            "quantityLowerBound": f'"+4.5"^^<{XSD}decimal>',
            "quantityUpperBound": f'"+5.5"^^<{XSD}decimal>',
        },
        bare={"quantityAmount": f'"+8.10"^^<{XSD}decimal>', "quantityUnit": ENTITY + "Q199"},
        place={
            "geoLatitude": f'"1.0E-5"^^<{XSD}double>',
            "geoLongitude": f'"5.7E1"^^<{XSD}double>',
            "geoGlobe": ENTITY + "Q405",
        },
        half={"timeValue": f'"1952-03-11T00:00:00Z"^^<{XSD}dateTime>'},
    )
    assert dict(wikibase.value_literals(rows).iter_rows()) == {
        "day": wikibase.time("+1952-03-11T00:00:00Z", 11, GREGORIAN),
        "first": wikibase.time("-0001-00-00T00:00:00Z", 9, GREGORIAN),
        "ides": wikibase.time("-0044-03-15T00:00:00Z", 11, JULIAN),
        "second": wikibase.time("+2013-01-01T12:34:56Z", 14, GREGORIAN),
        "other": wikibase.time("+2012-02-31T00:00:00Z", 11, "http://acme.test/calendar"),
        "metres": wikibase.quantity("+5", ENTITY + "Q11573", "+4.5", "+5.5"),
        "bare": wikibase.quantity("+8.10", "1", None, None),
        "place": wikibase.coordinate(1e-5, 57.0, ENTITY + "Q405"),
    }
    assert wikibase.value_literals(rows[:0]).is_empty()
    assert wikibase.value_literals(rows[:0]).columns == ["node", "literal"]


def test_wikibase_exports_the_same_bad_dates(mirror: Path) -> None:
    """Wikibase's own fixture of dates; those of no calendar day cannot be told from what the export made of them."""
    folder = "repo/tests/phpunit/data/rdf/"
    with tarfile.open(mirror / "wikidata" / "wikibase-rdf-fixtures.tar.xz") as tar:
        entity = json.load(tar.extractfile(folder + "entities/Q8.json"))  # type: ignore[arg-type]
        turtle = tar.extractfile(folder + "RdfBuilder/Q8_baddates.nt").read()  # type: ignore[union-attr]
    quads = list(ox.parse(turtle, format=ox.RdfFormat.N_TRIPLES))
    rows = [
        (q.subject.value, q.predicate.value, q.object.value if isinstance(q.object, ox.NamedNode) else str(q.object))
        for q in quads
    ]
    literals = wikibase.value_literals(pl.DataFrame(rows, schema=["node", "predicate", "object"], orient="row"))
    of_node = dict(literals.iter_rows())
    node_of = {s.rpartition("/")[2]: o for s, p, o in rows if p.endswith("prop/statement/value/P8")}
    different = set()
    for claim in entity["claims"]["P8"]:
        value = claim["mainsnak"]["datavalue"]["value"]
        literal = wikibase.time(value["time"], value["precision"], value["calendarmodel"])
        if literal != of_node[node_of[claim["id"]]]:
            assert wikibase.is_no_date(literal)
            different.add(value["time"][:11])
    assert len(node_of) == 13
    assert different == {"+0200-10-00", "-200000200-", "+0200-02-30", "+2014-02-29"}


years = st.integers(-20_000_000_000, 20_000_000_000).filter(bool) | st.integers(-300, 3000).filter(bool)
times = st.tuples(st.just("time"), years, st.integers(1, 12), st.integers(1, 28), st.integers(0, 14))
decimals = st.decimals(-1000, 1000, places=3).map(lambda number: f"{number:+f}")
bounds = st.none() | st.tuples(decimals, decimals)
units = st.sampled_from(["Q199", "Q11573", "Q1"])
quantities = st.tuples(st.just("quantity"), decimals, bounds, units)
degrees = st.floats(-180, 180).map(lambda number: float(f"{number:.14g}"))
places = st.tuples(st.just("place"), degrees, degrees, st.sampled_from(["Q2", "Q405"]))


@given(st.lists(times | quantities | places, max_size=40))
def test_any_mixture_of_value_nodes(values: list[tuple[Any, ...]]) -> None:
    exported: dict[str, dict[str, str]] = {}
    expected = {}
    for number, (kind, *parts) in enumerate(values):
        if kind == "time":
            year, month, day, precision = parts
            text = f"{'-' if year < 0 else '+'}{abs(year):04}-{month:02}-{day:02}T00:00:00Z"
            shown = year + (year < 0 and precision >= 9)
            export = f"{'-' if shown < 0 else ''}{abs(shown):04}-{month:02}-{day:02}T00:00:00Z"
            node, literal = exported_time(export, precision, GREGORIAN), wikibase.time(text, precision, GREGORIAN)
        elif kind == "quantity":
            amount, limits, unit = parts
            node = {"quantityAmount": f'"{amount}"^^<{XSD}decimal>', "quantityUnit": ENTITY + unit}
            for name, limit in zip(("Lower", "Upper"), limits or (), strict=False):
                node[f"quantity{name}Bound"] = f'"{limit}"^^<{XSD}decimal>'
            literal = wikibase.quantity(amount, ENTITY + unit, *(limits or (None, None)))
        else:
            latitude, longitude, globe = parts
            node = {"geoLatitude": f'"{latitude}"^^<{XSD}double>', "geoLongitude": f'"{longitude}"^^<{XSD}double>'}
            node["geoGlobe"] = ENTITY + globe
            literal = wikibase.coordinate(latitude, longitude, ENTITY + globe)
        exported[f"v{number}"], expected[f"v{number}"] = node, literal
    assert dict(wikibase.value_literals(nodes(**exported)).iter_rows()) == expected
