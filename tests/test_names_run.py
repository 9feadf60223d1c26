"""`kgservice names`: proposals, doubts, files in every format, sources by name, and an endpoint that fails."""

from __future__ import annotations

import json
import logging
import re
import shlex
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyoxigraph as ox
import pytest
from click.testing import CliRunner

from kgservice.chat import BudgetSpent, Chat, ChatFailed, ChatSettings
from kgservice.cli.names import names
from kgservice.errors import InputError
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import StatementTable
from kgservice.graph.texts import TextKind, Texts
from kgservice.graph.vocabulary import Vocabulary
from kgservice.naming.candidates import wanted
from kgservice.naming.models import ChatSource, TranslationModel, names_in
from kgservice.naming.proposing import Naming, Settings
from kgservice.naming.registry import SOURCES, build
from kgservice.naming.sources import OtherLanguages
from kgservice.naming.writing import KG, RDF

ENTITIES, NAMED = 300, 240
LABEL = "http://www.w3.org/2000/01/rdf-schema#label"


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wikidata-like items: Spanish names are right for Italian, English ones are not; the first has a wrong Italian name."""
    rows: list[tuple[int, TextKind, str, str]] = []
    drawn = np.random.default_rng(0)
    for entity in range(ENTITIES):
        name = "".join(drawn.choice(list("abcdefghilmnoprstu"), 9))
        rows += [(entity, TextKind.LABEL, "es", f"{name}o"), (entity, TextKind.LABEL, "en", f"The {name}")]
        rows += [(entity, TextKind.DESCRIPTION, "en", f"thing {entity}")]
        if entity < NAMED:
            rows.append((entity, TextKind.LABEL, "it", "tutt'altro nome" if entity == 0 else f"{name}o"))
    vocabulary = Vocabulary.build(f"http://www.wikidata.org/entity/Q{1000 + entity}" for entity in range(ENTITIES))
    made = KnowledgeGraph(
        vocabulary,
        Vocabulary.build([]),
        StatementTable.empty(),
        Texts.build(*(list(one) for one in zip(*rows, strict=True))),
    )
    folder = tmp_path_factory.mktemp("names") / "graph"
    made.save(folder)
    return folder


def run(*arguments: str | Path) -> Any:
    done = CliRunner().invoke(names, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def test_missing_names_are_proposed_with_probabilities(graph: Path, tmp_path: Path) -> None:
    out, report = tmp_path / "it.parquet", tmp_path / "report.json"
    run(graph, "--language", "it", "--source", "languages", "--out", out, "--report", report)
    found = pl.read_parquet(out)
    opened = KnowledgeGraph.open(graph)
    spanish = {iri: opened.texts.label(opened.entities.id(iri), "es") for iri in found["entity"].unique()}
    assert len(spanish) == ENTITIES - NAMED
    labels = found.filter(pl.col("kind") == "label")
    assert labels["text"].to_list() == [spanish[iri] for iri in labels["entity"]]
    assert labels["probability"].min() > 0.8
    told = json.loads(report.read_text())
    assert told["learnt"]["combiner"]["f1"] > 0.95
    assert told["proposals"] == {"written": found.height, "left_out": 0}


def test_entities_with_a_label_get_aliases(graph: Path, tmp_path: Path) -> None:
    options = ("--language", "it", "--source", "languages", "--votes", "1", "--most", "5")
    run(graph, *options, "--aliases", "--out", tmp_path / "all.csv")
    run(graph, *options, "--out", tmp_path / "some.csv")
    every, some = pl.read_csv(tmp_path / "all.csv"), pl.read_csv(tmp_path / "some.csv")
    assert every.filter(pl.col("kind") == "label").rows() == some.filter(pl.col("kind") == "label").rows()
    assert every["entity"].n_unique() == ENTITIES
    assert some["entity"].n_unique() == ENTITIES - NAMED


def test_batches_give_what_the_whole_gives(graph: Path, tmp_path: Path) -> None:
    kept = tmp_path / "combiner.json"
    run(graph, "--language", "it", "--source", "languages", "--out", tmp_path / "a.csv", "--save-combiner", kept)
    same = ("--language", "it", "--source", "languages", "--combiner", kept)
    run(graph, *same, "--out", tmp_path / "b.csv", "--batch", "7")
    assert (tmp_path / "b.csv").read_bytes() == (tmp_path / "a.csv").read_bytes()
    table = tmp_path / "some.tsv"
    iris = [f"http://www.wikidata.org/entity/Q{1000 + entity}" for entity in range(0, ENTITIES, 3)]
    pl.DataFrame({"entity": iris, "name": [f"nome {iri[-4:]}" for iri in iris]}).write_csv(table, separator="\t")
    for name, batch in (("c", "7"), ("d", "5000")):
        options = ("--source", f"file:{table}", "--votes", "1", "--out", tmp_path / f"{name}.csv", "--batch", batch)
        run(graph, "--language", "it", *options)
    assert (tmp_path / "c.csv").read_bytes() == (tmp_path / "d.csv").read_bytes()
    assert pl.read_csv(tmp_path / "c.csv").height == len(range(NAMED, ENTITIES, 3))


def test_wrong_names_are_doubted(graph: Path, tmp_path: Path) -> None:
    errors = tmp_path / "errors.csv"
    run(graph, "--language", "it", "--source", "languages", "--out", tmp_path / "a.csv", "--errors", errors)
    found = pl.read_csv(errors)
    assert found["text"][0] == "tutt'altro nome"
    assert found.height < 5
    verdicts = tmp_path / "verdicts.tsv"
    opened = KnowledgeGraph.open(graph)
    lines = [f"{opened.entities.name(one)}\t{opened.texts.label(one, 'it')}\ttrue" for one in range(1, 150)]
    lines += [f"{opened.entities.name(one)}\tfalso {one}\tfalse" for one in range(150)]
    verdicts.write_text("entity\tname\tcorrect\n" + "\n".join(lines) + "\n")
    options = ("--errors", errors, "--verdicts", verdicts, "--report", tmp_path / "r.json")
    run(graph, "--language", "it", "--source", "languages", "--out", tmp_path / "a.csv", *options)
    assert json.loads((tmp_path / "r.json").read_text())["doubts"]["learnt_from"] == "verdicts"
    assert pl.read_csv(errors)["text"][0] == "tutt'altro nome"


def test_rdf_says_where_a_name_comes_from(graph: Path, tmp_path: Path) -> None:
    out = tmp_path / "it.nq"
    run(graph, "--language", "it", "--source", "languages", "--out", out, "--votes", "1", "--most", "1")
    quads = list(ox.parse(path=str(out)))
    links = [quad for quad in quads if quad.predicate.value == RDF + "reifies"]
    stated = {(quad.subject, quad.object) for quad in quads if quad.predicate.value == LABEL}
    assert {(link.object.subject, link.object.object) for link in links} == stated
    assert len(stated) == ENTITIES - NAMED
    assert all(text.language == "it" for _, text in stated)
    assert {quad.object.value for quad in quads if quad.predicate.value == KG + "source"} == {"languages"}
    assert not [quad for quad in quads if quad.predicate.value == KG + "probability"]  # votes are no probability


def test_quickstatements(graph: Path, tmp_path: Path) -> None:
    table = tmp_path / "some.csv"
    pl.DataFrame(
        {"entity": ["http://www.wikidata.org/entity/Q1299"], "name": ['il "vero" nome'], "votes": [9]}
    ).write_csv(table)
    run(graph, "--language", "it", "--source", f"file:{table}", "--out", tmp_path / "it.qs", "--votes", "2")
    assert (tmp_path / "it.qs").read_text() == 'Q1299\tLit\t"il “vero” nome"\n'
    with pytest.raises(InputError, match="cannot take names back"):
        run(
            graph, "--language", "it", "--source", "languages", "--out", tmp_path / "a.csv", "--errors", tmp_path / "e.qs"
        )  # fmt: skip
    assert not (tmp_path / "e.qs").exists()


def test_what_cannot_be_done_is_said(graph: Path, tmp_path: Path) -> None:
    for arguments, told in (
        (("--out", tmp_path / "a.xml"), "its name tells no format"),
        (("--source", "langauges"), "Did you mean languages"),
        (("--source", "file"), "needs something after a colon"),
        (("--source", "endpoint:model"), "is not endpoint:MODEL@URL"),
        (("--source", "languages", "--source", "languages"), "several sources are called languages"),
        (("--kind", "descriptions"), "Descriptions come of files"),
        (("--source", "languages", "--language", "eo"), "0 entities have names in 'eo', 100 are needed"),
    ):
        given = ["--out", tmp_path / "a.csv", "--language", "it", *arguments]
        with pytest.raises(InputError, match=told):
            run(graph, *given)


class _Answers(BaseHTTPRequestHandler):
    """Answers in turn what the server holds: a status, or a text."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.seen.append((self.headers.get("authorization"), body))  # type: ignore[attr-defined]
        answers = self.server.answers  # type: ignore[attr-defined]
        one = answers.pop(0) if len(answers) > 1 else answers[0]
        status, text = (one, "denied") if isinstance(one, int) else (200, one)
        content = {"choices": [{"message": {"content": text}}], "usage": {"total_tokens": 30}}
        sent = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Any]:
    """A real HTTP server on a free port."""
    made: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    made.seen, made.answers, made.url = [], ['["Roma"]'], f"http://127.0.0.1:{made.server_address[1]}/v1"
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def test_endpoints_are_asked_again_kept_and_never_show_the_key(
    server: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    waits: list[float] = []
    settings = ChatSettings(server.url, "small", "secret-key", cache=tmp_path / "answers.db", at_once=1)
    server.answers = [503, 'Here: ["Roma", "Urbe", 3]']
    texts = Texts.build([0, 0, 1], [0, 2, 2], ["en", "en", "en"], ["Rome", "capital", "no name"])
    asked = wanted(texts, ["ex:a", "ex:b"], np.arange(2, dtype=np.int32), "it")
    for calls, kept in ((2, 0), (0, 1)):
        with Chat(settings, waits.append) as chat:
            got = ChatSource(chat).candidates(asked)
            assert got.select("entity", "name", "primary").rows() == [(0, "Roma", True), (0, "Urbe", False)]
            assert chat.spent() == {"calls": calls, "retries": calls // 2, "kept": kept, "tokens": 15 * calls}
    assert len(waits) == 1
    assert server.seen[0][0] == "Bearer secret-key"
    assert json.loads(server.seen[0][1]["messages"][1]["content"])["language"] == "it"
    assert "secret-key" not in caplog.text + repr(settings)


def test_endpoints_that_refuse_or_cost_too_much(server: Any, caplog: pytest.LogCaptureFixture) -> None:
    server.answers = [401]
    with Chat(ChatSettings(server.url, "small", "secret-key")) as chat:
        with pytest.raises(ChatFailed, match="refuses to answer: status 401"):
            chat.answer("x", "y")
        assert chat.ask("x", ["y"]) == [None]
    server.answers = ["[]"]
    with Chat(ChatSettings(server.url, "small", budget_tokens=50, at_once=1)) as chat:
        assert chat.ask("x", ["1", "2", "3"]) == ["[]", "[]", None]
        with pytest.raises(BudgetSpent, match="the budget of 50 tokens is spent: 60 were used"):
            chat.answer("x", "4")
    assert "secret-key" not in caplog.text


def test_answers_are_data() -> None:
    assert names_in("[1, 2") == names_in(None) == names_in("no") == names_in('{"a": 1}') == []
    assert names_in('["a", " ", null, "b"]') == ["a", "b"]


def test_descriptions_come_of_what_can_say_them(server: Any, graph: Path, tmp_path: Path) -> None:
    server.answers = ['["cosa"]']
    source = f"endpoint:small@{server.url}"
    run(
        graph,
        "--language",
        "it",
        "--kind",
        "descriptions",
        "--source",
        source,
        "--votes",
        "1",
        "--out",
        tmp_path / "d.csv",
    )
    found = pl.read_csv(tmp_path / "d.csv")
    assert set(found["kind"]) == {"description"}
    assert found.height == ENTITIES
    assert found["probability"].null_count() == found.height


def test_a_translation_model_is_loaded_from_a_folder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    with pytest.raises(InputError, match="holds no translation model"):
        TranslationModel(tmp_path / "none")
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<pad>", "</s>", "<unk>", *(f"w{at}" for at in range(13))]
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    config = transformers.T5Config(
        vocab_size=16, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path / "tiny")
    fast.save_pretrained(tmp_path / "tiny")
    model = TranslationModel(tmp_path / "tiny", beams=2)
    assert [len(some) for some in model.translate(["w1 w2", "w3"], "it")] == [2, 2]
    texts = Texts.build([0, 0], [0, 0], ["en", "fr"], ["w1", "w2"])
    got = model.candidates(wanted(texts, ["ex:a"], np.arange(1, dtype=np.int32), "it"))
    assert set(got["source"]) <= {"translation:tiny"}


def test_every_source_is_documented() -> None:
    page = (Path(__file__).parent.parent / "docs" / "names.md").read_text(encoding="utf-8")
    assert all(f"`{name}" in page for name in SOURCES)
    assert [one.name for one in build(["languages", "transliteration"])] == ["languages", "transliteration"]


def test_the_page_runs(graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parent.parent / "docs" / "names.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    [command] = re.findall(r"^kgservice names (.*)$", page, flags=re.MULTILINE)
    run(*(str(graph) if word == "var/mygraph" else word for word in shlex.split(command)), "--source", "languages")
    assert (tmp_path / "it.nq").exists()
    for code in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(compile(code, "docs/names.md", "exec"), {"graph": KnowledgeGraph.open(graph)})


def test_who_has_a_name_and_who_lacks_one(graph: Path) -> None:
    opened = KnowledgeGraph.open(graph)
    naming = Naming(opened, [OtherLanguages()], Settings("it"))
    assert len(naming.named) == NAMED
    assert len(naming.lacking) == ENTITIES - NAMED
