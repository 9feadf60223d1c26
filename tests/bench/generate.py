"""Inputs for the ingestion benchmark: N-Triples, Turtle and a Wikidata dump, made up, seeded, in the shape of real ones.

The same arguments give the same bytes. Files are kept under `var/bench` with a manifest beside each that says what is in
it. Run `python -m tests.bench.generate nt|turtle|wikidata COUNT` to make one by hand.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson
import polars as pl
import pyoxigraph as ox

FOLDER = Path(__file__).resolve().parents[2] / "var" / "bench"
VERSION = 1
"""Part of every file's name: count it up when a generator changes what it writes."""
SEED = 0
CHUNK = 500_000
Manifest = dict[str, Any]

XSD = "http://www.w3.org/2001/XMLSchema#"
RDFS = "http://www.w3.org/2000/01/rdf-schema#"
SKOS = "http://www.w3.org/2004/02/skos/core#"
SCHEMA = "https://schema.org/"
RDF_TYPE = "<http://www.w3.org/1999/02/22-rdf-syntax-ns#type>"
PREFIXES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "rdfs": RDFS,
    "skos": SKOS,
    "schema": SCHEMA,
    "xsd": XSD,
    "item": "https://graph.example.org/item/Q",
    "res": "http://resource.example.com/resource/",
    "person": "https://people.example.net/person/",
    "doc": "urn:example:document:",
    "p": "https://graph.example.org/prop/direct/P",
    "onto": "http://resource.example.com/ontology/",
}
ENTITY_SPACES = ("item", "item", "item", "res", "res", "person", "doc")

SHARES = {"link": 0.55, "type": 0.10, "text": 0.20, "literal": 0.14, "blank": 0.01}
"""Of the lines; a hundredth of all lines is then said a second time."""

# Words are made of syllables, by script: what costs time is bytes per character and escapes, not meaning.
_SYLLABLES = {
    "latin": "ba be ca do el fa ga hi in ka lo ma mer na no or pa qui ra san ta ul va wen zo é ü ñ ç å ø",
    "cyrillic": "ба ве го да ен жи за ик ка ло ма но ор пе ра со та ур фа хо ча ша ющ ян",
    "greek": "αλ βε γα δω ερ ζη θα ιν κα λο με νι ξα ορ πα ρα σι τα υπ φω χα",
    "arabic": "با تا جد حم خل دار رس سل شر صب طر عب غر فر قم كل لم من نو هد ون يم",
    "hebrew": "אב בר גל דן הר ול זה חי טוב ים כל לב מן נר סף עם פה צל קר רם שם תל",
    "devanagari": "अक बल चर दम गन हर जल कम लव मन नर पर रस सम तन उप वन यम",
    "han": "中 国 人 大 学 山 水 天 地 日 月 火 木 金 土 王 城 市 北 京 東 西 南 海 江 河 林 石 田 村 上 下",
    "kana": "アイ ウエ カキ クケ サシ スセ タチ ツテ ナニ ハヒ マミ ラリ ロン",
    "hangul": "가 나 다 라 마 바 사 아 자 차 카 타 파 하 강 산 서 울 한 국",
    "thai": "กา ขอ คน งาม จัน ชา ดี ตา ทอง นา บาง ปา พร มา ยา รัก ลม วัน",
}
_SCRIPTS = {
    "latin": "en de fr es it pt nl sv pl cs da nb fi hu ro tr id vi ca eu gl eo hr sk sl et lt lv ga cy af "
    "en-gb en-ca de-ch pt-br nn ast oc br sq sw",
    "cyrillic": "ru uk bg sr mk be kk",
    "greek": "el",
    "arabic": "ar fa ur arz",
    "hebrew": "he",
    "devanagari": "hi mr ne",
    "han": "zh zh-hans zh-hant",
    "kana": "ja",
    "hangul": "ko",
    "thai": "th",
}
LANGUAGES = [(language, script) for script, all_ in _SCRIPTS.items() for language in all_.split()]
"""Sixty-odd codes with the script of each."""


def words(count: int, rng: np.random.Generator) -> dict[str, list[str]]:
    """`count` made-up words of two to four syllables in each script."""
    made = {}
    for script, text in _SYLLABLES.items():
        syllables = text.split()
        sizes = rng.integers(2, 5, count)
        picked = rng.integers(0, len(syllables), (count, 4))
        made[script] = [
            "".join(syllables[i] for i in row[:size]).capitalize() for row, size in zip(picked, sizes, strict=True)
        ]
    return made


def zipf(rng: np.random.Generator, count: int, n: int, exponent: float) -> np.ndarray:
    """Ranks in `[0, n)`, rank k about in proportion to `(k + 1) ** -exponent`; int64 `[count]`."""
    power = 1.0 - exponent
    top = (n + 1.0) ** power
    ranks = ((top - 1.0) * rng.random(count) + 1.0) ** (1.0 / power)
    return np.minimum(ranks.astype(np.int64) - 1, n - 1)


# N-Triples


def write_ntriples(out: IO[bytes], lines: int, seed: int = SEED) -> Manifest:
    """Write exactly `lines` N-Triples lines.

    Seven of eight lines stand in runs about one subject, as dumps have them; degrees of subjects and objects, relations
    and classes are skewed.

    Args:
        out: where to.
        lines: at least 1.
        seed: of everything random.

    Returns:
        What was written; `drawn` counts lines by kind before `repeated` of them gave way to earlier lines.
    """
    rng = np.random.default_rng(seed)
    n = max(lines // 8, 50)
    pools = _TriplePools.make(rng, n)
    counted: Counter[str] = Counter()
    first_subject = 0
    for start in range(0, lines, CHUNK):
        size = min(CHUNK, lines - start)
        frame, first_subject = _triples(rng, pools, size, first_subject, counted, blank=start)
        buffer = io.BytesIO()
        frame.write_csv(buffer, include_header=False, quote_style="never")
        out.write(buffer.getbuffer())
    return {"lines": lines, "entities_at_most": n, "drawn": dict(counted)}


class _TriplePools:
    """What lines are put together from: series of N-Triples terms by name."""

    def __init__(self, **series: pl.Series) -> None:
        self.series = series

    def __getitem__(self, name: str) -> pl.Series:
        return self.series[name]

    @classmethod
    def make(cls, rng: np.random.Generator, n: int) -> _TriplePools:
        vocabulary = words(2000, rng)
        latin = pl.Series(vocabulary["latin"])
        number = pl.Series(np.arange(n)).cast(pl.String)
        space = pl.Series([PREFIXES[name] for name in ENTITY_SPACES]).gather(rng.integers(0, len(ENTITY_SPACES), n))
        word = latin.gather(rng.integers(0, len(latin), n))
        named = rng.random(n) < 0.5
        frame = pl.DataFrame({"space": space, "word": word, "number": number, "named": named})
        # Only the namespace of resources has names in its IRIs; the others have numbers.
        entity = frame.select(
            pl.concat_str(
                pl.lit("<"),
                "space",
                pl.when(pl.col("space") == PREFIXES["res"]).then(pl.col("word") + "_").otherwise(pl.lit("")),
                "number",
                pl.lit(">"),
            )
        ).to_series()
        relations = [f"<{PREFIXES['p']}{100 + 7 * i}>" for i in range(120)]
        relations += [f"<{PREFIXES['onto']}{vocabulary['latin'][i].lower()}{i}>" for i in range(80)]
        classes = [f"<{PREFIXES['onto']}{vocabulary['latin'][500 + i]}>" for i in range(300)]
        fields = [f"<{PREFIXES['onto']}{vocabulary['latin'][900 + i].lower()}Value{i}>" for i in range(40)]
        kinds = [f"<{RDFS}label>", f"<{SKOS}altLabel>", f"<{SCHEMA}description>"]
        return cls(
            entity=entity,
            relation=pl.Series(relations),
            type=pl.Series(classes),
            field=pl.Series(fields),
            text_kind=pl.Series(kinds),
            word=pl.Series([word for _, script in LANGUAGES[:1] + LANGUAGES for word in vocabulary[script]]),
            language=pl.Series([f'"@{language}' for language, _ in LANGUAGES[:1] + LANGUAGES]),
            escape=pl.Series([""] * 60 + [' \\"so\\"', "\\n", "\\u00E9", "\\t", " \\\\"]),
        )


def _triples(
    rng: np.random.Generator, pools: _TriplePools, size: int, first: int, counted: Counter[str], *, blank: int
) -> tuple[pl.DataFrame, int]:
    """`size` lines, the first about subject `first`; and the subject to go on with."""
    n = len(pools["entity"])
    degrees = 1 + np.minimum(rng.zipf(1.6, size), 400) + rng.integers(0, 10, size)
    subject = (first + np.repeat(np.arange(size), degrees)[:size]) % n
    following = int(subject[-1]) + 1
    scattered = rng.random(size) < 0.125
    subject[scattered] = zipf(rng, int(scattered.sum()), n, 0.9)
    kinds = list(SHARES)
    kind = np.searchsorted(np.cumsum(list(SHARES.values())[:-1]), rng.random(size), side="right")
    rows = [np.flatnonzero(kind == number) for number in range(len(kinds))]
    makers: list[Callable[..., tuple[pl.Series, pl.Series]]] = [_links, _types, _texts, _literals, _blanks]
    made = [maker(rng, pools, len(where)) for maker, where in zip(makers, rows, strict=True)]
    order = np.argsort(np.concatenate(rows), kind="stable")
    predicate = pl.concat([predicate for predicate, _ in made]).gather(order)
    object_ = pl.concat([object_ for _, object_ in made]).gather(order)
    subject_term = pools["entity"].gather(subject)
    # Every other blank line has its blank node as the subject.
    about = np.zeros(size, dtype=bool)
    about[rows[-1][::2]] = True
    node = pl.Series("node", blank // 100 + np.arange(size) // 400).cast(pl.String)
    frame = pl.DataFrame({"s": subject_term, "p": predicate, "o": object_, "about": about, "node": node})
    line = frame.select(
        pl.concat_str(
            pl.when("about").then(pl.lit("_:b") + pl.col("node")).otherwise("s"), pl.lit(" "), "p", pl.lit(" "), "o",
            pl.lit(" ."),
        ).alias("line")
    ).to_series()  # fmt: skip
    again = np.flatnonzero(rng.random(size) < 0.01)
    source = np.arange(size)
    source[again] = (again * rng.random(len(again))).astype(np.int64)  # an earlier line of the chunk
    counted.update({name: len(where) for name, where in zip(kinds, rows, strict=True)})
    counted["repeated"] += len(again)
    return line.gather(source).to_frame(), following


def _spread(ranks: np.ndarray, n: int) -> np.ndarray:
    """Put the entities of high degree anywhere, not first. 2654435761 is a prime, so nothing collides for n below it."""
    return (ranks * 2654435761) % n


def _links(rng: np.random.Generator, pools: _TriplePools, size: int) -> tuple[pl.Series, pl.Series]:
    n = len(pools["entity"])
    relation = zipf(rng, size, len(pools["relation"]), 1.05)
    object_ = _spread(zipf(rng, size, n, 0.9), n)
    return pools["relation"].gather(relation), pools["entity"].gather(object_)


def _types(rng: np.random.Generator, pools: _TriplePools, size: int) -> tuple[pl.Series, pl.Series]:
    return pl.Series([RDF_TYPE]).new_from_index(0, size), pools["type"].gather(zipf(rng, size, 300, 1.1))


def _texts(rng: np.random.Generator, pools: _TriplePools, size: int) -> tuple[pl.Series, pl.Series]:
    """Names of two words, some with a number; descriptions of eight."""
    kind = rng.choice(3, size, p=[0.5, 0.2, 0.3])
    spoken = zipf(rng, size, len(pools["language"]), 1.2)
    word = pools["word"].gather
    parts = {f"w{i}": word(spoken * 2000 + rng.integers(0, 2000, size)) for i in range(8)}
    numbered = pl.Series(rng.integers(0, 10_000, size)).cast(pl.String)
    escape = pools["escape"].gather(rng.integers(0, len(pools["escape"]), size))
    frame = pl.DataFrame(
        {**parts, "n": numbered, "escape": escape, "language": pools["language"].gather(spoken), "kind": kind}
    )
    name = pl.concat_str(
        "w0", "w1", pl.when(pl.col("n").str.ends_with("7")).then("n"), separator=" ", ignore_nulls=True
    )
    long = pl.concat_str(*parts, separator=" ")
    value = pl.when(pl.col("kind") == 2).then(long).otherwise(name)
    return pools["text_kind"].gather(kind), frame.select(
        pl.concat_str(pl.lit('"'), value, "escape", "language")
    ).to_series()


def _literals(rng: np.random.Generator, pools: _TriplePools, size: int) -> tuple[pl.Series, pl.Series]:
    field = zipf(rng, size, len(pools["field"]), 1.05)
    datatype = np.array(["integer", "date", "decimal", "gYear", "string"])[field % 5]
    value = pl.DataFrame(
        {
            "type": datatype,
            "whole": (10 ** (rng.random(size) * 7)).astype(np.int64) - 5,
            "day": rng.integers(-40_000, 20_000, size).astype(np.int32),
            "year": rng.integers(1000, 2030, size),
            "cents": rng.integers(0, 1000, size),
        }
    )
    text = (
        pl.when(pl.col("type") == "date")
        .then(pl.col("day").cast(pl.Date).cast(pl.String))
        .when(pl.col("type") == "decimal")
        .then(pl.concat_str("whole", pl.lit("."), "cents"))
        .when(pl.col("type") == "gYear")
        .then(pl.col("year").cast(pl.String))
        .when(pl.col("type") == "string")
        .then(pl.concat_str(pl.lit("id-"), "whole", pl.lit("-"), "cents"))
        .otherwise(pl.col("whole").cast(pl.String))
    )
    tail = pl.when(pl.col("type") == "string").then(pl.lit('"')).otherwise(f'"^^<{XSD}' + pl.col("type") + ">")
    return pools["field"].gather(field), value.select(pl.concat_str(pl.lit('"'), text, tail)).to_series()


def _blanks(rng: np.random.Generator, pools: _TriplePools, size: int) -> tuple[pl.Series, pl.Series]:
    relation = pools["relation"].gather(rng.integers(150, 200, size))
    return relation, pl.Series("_:b" + pl.Series(rng.integers(0, size + 1, size)).cast(pl.String))


def write_turtle(out: IO[bytes], ntriples: Path) -> Manifest:
    """The statements of an N-Triples file in Turtle, with prefixes and statements grouped as long as the subject stays."""
    ox.serialize(ox.parse(path=str(ntriples)), output=out, format=ox.RdfFormat.TURTLE, prefixes=PREFIXES)
    return {"of": ntriples.name}


# Wikidata

PROPERTY_KINDS = {
    "wikibase-item": 120, "external-id": 160, "string": 25, "quantity": 40, "time": 25, "monolingualtext": 12, "url": 12,
    "commonsMedia": 14, "globe-coordinate": 6, "wikibase-property": 4, "math": 3, "geo-shape": 2, "tabular-data": 2,
    "musical-notation": 1, "wikibase-lexeme": 2, "wikibase-form": 1, "wikibase-sense": 2,
}  # fmt: skip
"""How many properties there are of each datatype; P31 is an item property of its own."""
KIND_SHARES = {
    "wikibase-item": 0.44, "external-id": 0.27, "string": 0.05, "quantity": 0.07, "time": 0.06, "monolingualtext": 0.04,
    "url": 0.02, "commonsMedia": 0.025, "globe-coordinate": 0.015, "wikibase-property": 0.002, "math": 0.002,
    "geo-shape": 0.001, "tabular-data": 0.001, "musical-notation": 0.001, "wikibase-lexeme": 0.001,
    "wikibase-form": 0.001, "wikibase-sense": 0.001,
}  # fmt: skip
"""Of the claims."""
VALUE_TYPES = {
    "wikibase-item": "wikibase-entityid", "wikibase-property": "wikibase-entityid", "quantity": "quantity",
    "wikibase-lexeme": "wikibase-entityid", "wikibase-form": "wikibase-entityid", "wikibase-sense": "wikibase-entityid",
    "time": "time", "monolingualtext": "monolingualtext", "globe-coordinate": "globecoordinate",
}  # fmt: skip
"""Of the data value; the other datatypes are strings."""
WIKI = "http://www.wikidata.org/entity/"
MIN_BYTES, MAX_BYTES = 12_000, 60_000
BLOCKS = 20_000
"""Different blocks of qualifiers; half as many of references."""


def write_wikidata(out: IO[bytes], entities: int, seed: int = SEED, level: int = 6) -> Manifest:
    """Write a gzipped dump in the array layout: items, and one property in a hundred, of 12 to 60 kB each.

    Args:
        out: where to.
        entities: how many in all.
        seed: of everything random.
        level: of gzip.

    Returns:
        What was written: counts of entities, claims by rank, claims with qualifiers, qualifiers, references and texts,
        and `bytes_uncompressed`.
    """
    packer = zlib.compressobj(level, zlib.DEFLATED, 31)
    maker = _Entities(seed, entities)
    size, pending = 2, [b"[\n"]
    for number in range(entities):
        line = maker.entity(number)
        pending += [b",\n" if number else b"", line]
        size += len(line) + (2 if number else 0)
        if len(pending) > 200:
            out.write(packer.compress(b"".join(pending)))
            pending.clear()
    pending.append(b"\n]\n")
    out.write(packer.compress(b"".join(pending)) + packer.flush())
    return {"entities": entities, "bytes_uncompressed": size + 3, **maker.counted}


class _Entities:
    """Makes entities as bytes: blocks serialised beforehand, joined with values of the entity's own."""

    def __init__(self, seed: int, entities: int) -> None:
        rng = np.random.default_rng(seed)
        self.random = random.Random(seed)
        # Items that are only pointed at outnumber those that the dump describes, as in any part of Wikidata.
        self.items = max(4 * entities, 1000)
        self.sizes = np.clip(rng.lognormal(np.log(19_000), 0.45, entities), MIN_BYTES, MAX_BYTES - 5000).tolist()
        self.rng = rng
        vocabulary = words(4000, rng)
        self.plain = vocabulary["latin"]
        # As the dumps write them: everything beyond ASCII as \uXXXX.
        self.words = {script: [json.dumps(w)[1:-1].encode() for w in made] for script, made in vocabulary.items()}
        self.phrases = {
            language: [
                b" ".join(self.random.choice(self.words[script]).lower() for _ in range(self.random.randint(3, 7)))
                for _ in range(400)
            ]
            for language, script in LANGUAGES
        }
        self.dates = [self._date() for _ in range(30_000)]
        self.properties: dict[str, list[str]] = {}
        following = 17
        for kind, count in PROPERTY_KINDS.items():
            self.properties[kind] = [f"P{following + 6 * i}" for i in range(count)]
            following += 6 * count + 1
        self.property_ids = [(name, kind) for kind, names in self.properties.items() for name in names]
        shares = list(KIND_SHARES.values())
        self.choice = list(zip(KIND_SHARES, np.cumsum(shares).tolist(), strict=True))
        self.heads = {name: self._heads(name, kind) for name, kind in [*self.property_ids, ("P31", "wikibase-item")]}
        self.qualifier_blocks = [self._qualifiers() for _ in range(BLOCKS)]
        self.reference_blocks = [self._references() for _ in range(BLOCKS // 2)]
        self.counted: Counter[str] = Counter()

    def entity(self, number: int) -> bytes:
        """One line of the dump, without its comma."""
        roll = self.random
        target = self.sizes[number]
        is_property = number % 100 == 50 and number // 100 < len(self.property_ids)
        if is_property:
            name, datatype = self.property_ids[number // 100]
            kind = b'"type":"property","datatype":"%b"' % datatype.encode()
        else:
            name, kind = f"Q{1 + number * 3}", b'"type":"item"'
        own = name.encode()
        texts, spoken = self._texts(target)
        links = b"" if is_property else b',"sitelinks":' + self._sitelinks(spoken)
        claims, taken = self._claims(own, target - len(texts) - len(links))
        stamp = b"2026-%02d-%02dT%02d:%02d:%02dZ" % (
            roll.randint(1, 9), roll.randint(1, 28), roll.randint(0, 23), roll.randint(0, 59), roll.randint(0, 59),
        )  # fmt: skip
        self.counted["properties" if is_property else "items"] += 1
        self.counted["claims"] += taken
        head = b'{%b,"id":"%b",%b,"claims":{%b}' % (kind, own, texts, claims)
        return b'%b%b,"pageid":%d,"ns":%d,"title":"%b","lastrevid":%d,"modified":"%b"}' % (
            head,
            links,
            100 + number * 5,
            120 if is_property else 0,
            b"Property:" + own if is_property else own,
            1_500_000_000 + roll.randrange(900_000_000),
            stamp,
        )

    def _texts(self, target: float) -> tuple[bytes, list[tuple[str, bytes]]]:
        """Labels, descriptions and aliases in 5 to 60 languages; and the labels by language."""
        roll = self.random
        some = roll.sample(LANGUAGES, min(60, max(5, int(target / 700 * roll.uniform(0.6, 1.6)))))
        first, second = roll.randrange(4000), roll.randrange(4000)
        labels, descriptions, aliases, spoken = [], [], [], []
        for language, script in some:
            known = self.words[script]
            value = known[first] + b" " + known[second if roll.random() < 0.8 else roll.randrange(4000)]
            code = language.encode()
            spoken.append((language, value))
            labels.append(b'"%b":{"language":"%b","value":"%b"}' % (code, code, value))
            if roll.random() < 0.6:
                text = roll.choice(self.phrases[language])
                descriptions.append(b'"%b":{"language":"%b","value":"%b"}' % (code, code, text))
            if roll.random() < 0.35:
                names = [
                    b'{"language":"%b","value":"%b %b"}' % (code, roll.choice(known), known[first])
                    for _ in range(roll.choice((1, 1, 1, 2, 2, 3, 5)))
                ]
                self.counted["aliases"] += len(names)
                aliases.append(b'"%b":[%b]' % (code, b",".join(names)))
        self.counted["labels"] += len(labels)
        self.counted["descriptions"] += len(descriptions)
        return (
            b'"labels":{%b},"descriptions":{%b},"aliases":{%b}'
            % (b",".join(labels), b",".join(descriptions), b",".join(aliases)),
            spoken,
        )

    def _sitelinks(self, spoken: list[tuple[str, bytes]]) -> bytes:
        roll, links = self.random, []
        for language, title in spoken:
            if roll.random() < 0.6:
                site = language.replace("-", "_").encode() + b"wiki"
                badges = b'"Q17437796"' if roll.random() < 0.02 else b""
                links.append(b'"%b":{"site":"%b","title":"%b","badges":[%b]}' % (site, site, title, badges))
        self.counted["sitelinks"] += len(links)
        return b"{" + b",".join(links) + b"}"

    def _claims(self, own: bytes, budget: float) -> tuple[bytes, int]:
        """Claims until the budget is spent, by property; and how many."""
        groups: dict[str, list[bytes]] = {"P31": [self._claim("P31", "class", own)]}
        spent, taken = len(groups["P31"][0]), 1
        while spent < budget:
            share = self.random.random()
            kind = next((kind for kind, limit in self.choice if share < limit), "string")
            names = self.properties[kind]
            name = names[int(len(names) * self.random.random() ** 2.2)]
            claim = self._claim(name, kind, own)
            groups.setdefault(name, []).append(claim)
            spent += len(claim) + (1 if len(groups[name]) > 1 else len(name) + 6)
            taken += 1
        return b",".join(b'"%b":[%b]' % (name.encode(), b",".join(all_)) for name, all_ in groups.items()), taken

    def _claim(self, name: str, kind: str, own: bytes) -> bytes:
        roll = self.random.random
        value_head, value_tail, some, none = self.heads[name]
        chance = roll()
        if chance < 0.99:
            snak = value_head + self._value(kind) + value_tail
        else:
            snak = some if chance < 0.996 else none
            self.counted["without_value"] += 1
        qualifiers = references = b""
        if roll() < 0.22:
            qualifiers, count = self.qualifier_blocks[int(roll() * BLOCKS)]
            self.counted["qualified_claims"] += 1
            self.counted["qualifiers"] += count
        if roll() < 0.6:
            references, count = self.reference_blocks[int(roll() * (BLOCKS // 2))]
            self.counted["references"] += count
        chance = roll()
        rank = b"normal" if chance < 0.955 else b"preferred" if chance < 0.99 else b"deprecated"
        self.counted[rank.decode()] += 1
        u = b"%032x" % self.random.getrandbits(128)
        return b'%b%b,"id":"%b$%b-%b-%b-%b-%b","rank":"%b"%b}' % (
            snak, qualifiers, own, u[:8], u[8:12], u[12:16], u[16:20], u[20:], rank, references,
        )  # fmt: skip

    def _heads(self, name: str, kind: str) -> tuple[bytes, bytes, bytes, bytes]:
        """What stands before and after a value, and the snaks without one."""
        snak = b'{"mainsnak":{"snaktype":"%b","property":"' + name.encode() + b'"'
        datatype = b',"datatype":"%b"},"type":"statement"' % kind.encode()
        typed = b',"type":"%b"}' % VALUE_TYPES.get(kind, "string").encode()
        return (
            snak % b"value" + b',"datavalue":{"value":',
            typed + datatype,
            snak % b"somevalue" + datatype,
            snak % b"novalue" + datatype,
        )

    def _value(self, kind: str) -> bytes:
        """A value as JSON."""
        roll = self.random
        if kind in ("wikibase-item", "class"):
            # Two thousand classes, a few of them common; items by the same rule.
            number = 5 + int((2000 if kind == "class" else self.items) * roll.random() ** 3)
            return b'{"entity-type":"item","numeric-id":%d,"id":"Q%d"}' % (number, number)
        if kind == "external-id":
            chance, number = roll.random(), roll.getrandbits(34)
            if chance < 0.5:
                return b'"%d"' % number
            return b'"n%08d"' % (number % 10**8) if chance < 0.8 else b'"/m/0%x"' % number
        if kind == "time":
            return roll.choice(self.dates)
        if kind == "monolingualtext":
            language, script = roll.choice(LANGUAGES)
            known = self.words[script]
            return b'{"text":"%b %b","language":"%b"}' % (roll.choice(known), roll.choice(known), language.encode())
        return orjson.dumps(self._plain_value(kind))

    def _plain_value(self, kind: str) -> Any:
        roll = self.random
        word = roll.choice(self.plain)
        number = int(10 ** (roll.random() * 6))
        match kind:
            case "quantity":
                unit = roll.choice(("1", WIKI + "Q11573", WIKI + "Q712226", WIKI + "Q11570", WIKI + "Q4917"))
                amount = (
                    f"+{number}" if roll.random() < 0.6 else f"{roll.choice('+-')}{number}.{roll.randrange(1, 100)}"
                )
                if roll.random() < 0.7:
                    return {"amount": amount, "unit": unit}
                value = {"amount": f"+{number}", "unit": unit, "upperBound": f"+{number}.5"}
                return {**value, "lowerBound": f"+{number - 1}.5"}
            case "globe-coordinate":
                return {
                    "latitude": round(roll.uniform(-89, 89), roll.choice((2, 4, 6, 12))),
                    "longitude": round(roll.uniform(-179, 179), roll.choice((2, 4, 6, 12))),
                    "altitude": None,
                    "precision": roll.choice((0.01, 0.0001, 1e-06, 2.7777777777778e-05)),
                    "globe": WIKI + ("Q2" if roll.random() < 0.97 else "Q405"),
                }
            case "wikibase-property":
                name = self.random.choice(self.properties["external-id"])
                return {"entity-type": "property", "numeric-id": int(name[1:]), "id": name}
            case "wikibase-lexeme":
                return {"entity-type": "lexeme", "numeric-id": number, "id": f"L{number}"}
            case "wikibase-form":
                return {"entity-type": "form", "id": f"L{number}-F{roll.randint(1, 9)}"}
            case "wikibase-sense":
                return {"entity-type": "sense", "id": f"L{number}-S{roll.randint(1, 5)}"}
            case "commonsMedia":
                return f"{word} {number}.jpg"
            case "url":
                return f"https://www.{word.lower()}.example.org/{number}/{roll.choice(self.plain)}?id={number}"
            case "math":
                return f"\\frac{{{number}}}{{x^2}} + {word}"
            case "geo-shape":
                return f"Data:{word}/{number}.map"
            case "tabular-data":
                return f"Data:{word}/{number}.tab"
            case "musical-notation":
                return "\\relative c' { c d e f | g2 g }"
            case _:
                return f'{word} "{number}"' if roll.random() < 0.05 else f"{word}-{number}"

    def _date(self) -> bytes:
        """Mostly days of the last centuries; some years only, some Julian, some long before any calendar."""
        roll = self.random
        chance, calendar = roll.random(), "Q1985727"
        year, month, day, precision = roll.randint(1500, 2026), roll.randint(1, 12), roll.randint(1, 28), 11
        text = f"+{year}-{month:02}-{day:02}"
        if chance < 0.3:
            text, precision = f"+{year}-00-00", 9
        elif chance < 0.36:
            text, precision = f"+{year}-{month:02}-00", 10
        elif chance < 0.40:
            text, precision, calendar = f"+{roll.randint(300, 1582):04}-{month:02}-{day:02}", 11, "Q1985786"
        elif chance < 0.44:
            text, precision, calendar = f"-{roll.randint(1, 900):04}-00-00", roll.choice((7, 9)), "Q1985786"
        elif chance < 0.45:
            text, precision = f"-{roll.randint(1, 13_800) * 1_000_000}-00-00", 3
        value = {"time": f"{text}T00:00:00Z", "timezone": 0, "before": 0, "after": 0, "precision": precision}
        return orjson.dumps({**value, "calendarmodel": WIKI + calendar})

    def _snak(self, kind: str, name: str, *, hashed: bool) -> bytes:
        value = self._value(kind)
        snak = b'"datavalue":{"value":%b,"type":"%b"},"datatype":"%b"' % (
            value,
            VALUE_TYPES.get(kind, "string").encode(),
            kind.encode(),
        )
        digest = hashlib.sha1(snak, usedforsecurity=False).hexdigest().encode()
        mark = b'"hash":"%b",' % digest if hashed else b""
        return b'{"snaktype":"value","property":"%b",%b%b}' % (name.encode(), mark, snak)

    def _snaks(self, kinds: list[str], *, hashed: bool) -> tuple[bytes, bytes]:
        """A map of snaks by property, and the properties in order."""
        groups: dict[str, list[bytes]] = {}
        for kind in kinds:
            name = self.properties[kind][int(min(len(self.properties[kind]), 30) * self.random.random() ** 2)]
            groups.setdefault(name, []).append(self._snak(kind, name, hashed=hashed))
        body = b",".join(b'"%b":[%b]' % (name.encode(), b",".join(snaks)) for name, snaks in groups.items())
        return body, ",".join(f'"{name}"' for name in groups).encode()

    def _qualifiers(self) -> tuple[bytes, int]:
        roll = self.random
        kinds = ["time", "time", "wikibase-item", "wikibase-item", "string", "quantity", "monolingualtext", "url"]
        some = roll.choices(kinds, k=roll.choice((1, 1, 1, 2, 2, 3, 4)))
        body, order = self._snaks(some, hashed=True)
        return b',"qualifiers":{%b},"qualifiers-order":[%b]' % (body, order), len(some)

    def _references(self) -> tuple[bytes, int]:
        roll, references = self.random, []
        for _ in range(roll.choice((1, 1, 1, 1, 2, 3))):
            some = roll.choice(
                (["wikibase-item"], ["wikibase-item", "external-id", "time"], ["wikibase-item", "url", "time"])
            )
            body, order = self._snaks(some, hashed=False)
            digest = hashlib.sha1(body, usedforsecurity=False).hexdigest().encode()
            references.append(b'{"hash":"%b","snaks":{%b},"snaks-order":[%b]}' % (digest, body, order))
        return b',"references":[' + b",".join(references) + b"]", len(references)


# Kept files


def ntriples(lines: int) -> tuple[Path, Manifest]:
    """A kept N-Triples file of so many lines."""
    return _kept(f"{lines}.nt", lambda out: write_ntriples(out, lines))


def turtle(lines: int) -> tuple[Path, Manifest]:
    """The same statements in Turtle; those said twice are said twice."""
    source, about = ntriples(lines)
    path, manifest = _kept(f"{lines}.ttl", lambda out: write_turtle(out, source))
    return path, {**about, **manifest}


def wikidata(entities: int) -> tuple[Path, Manifest]:
    """A kept dump of so many entities."""
    return _kept(f"{entities}.json.gz", lambda out: write_wikidata(out, entities))


def first_lines(path: Path, lines: int) -> Path:
    """The first lines of an N-Triples file, as a file beside it."""
    part = path.with_name(f"{path.stem}.first-{lines}{path.suffix}")
    if not part.exists():
        with path.open("rb") as source:
            part.write_bytes(b"".join(line for _, line in zip(range(lines), source, strict=False)))
    return part


def _kept(name: str, write: Callable[[IO[bytes]], Manifest], folder: Path = FOLDER) -> tuple[Path, Manifest]:
    """The file and its manifest, made when they are not there; the manifest is written last."""
    path = folder / f"v{VERSION}-{name}"
    manifest = path.with_name(path.name + ".manifest.json")
    if not manifest.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as out:
            about = write(out)
        with path.open("rb") as made:
            digest = hashlib.file_digest(made, "sha256").hexdigest()
        about = {"name": path.name, "bytes": path.stat().st_size, "sha256": digest, "seed": SEED, **about}
        manifest.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return path, json.loads(manifest.read_text(encoding="utf-8"))


def lines_of(data: bytes) -> Iterator[bytes]:
    """Entities of an uncompressed dump in the array layout, one after another."""
    for line in data.splitlines():
        if line not in (b"[", b"]"):
            yield line.removesuffix(b",")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["nt", "turtle", "wikidata"])
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    make = {"nt": ntriples, "turtle": turtle, "wikidata": wikidata}[options.what]
    path, about = make(options.count)
    print(path, json.dumps(about))


if __name__ == "__main__":
    main()
