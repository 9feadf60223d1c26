"""The context builder, the tree of names, and the model that reads and writes them."""

from __future__ import annotations

import doctest
import importlib.util
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import T5Config, T5ForConditionalGeneration

from kgservice import ingestion, pipeline
from kgservice.answers import Question
from kgservice.answers.records import EntityRecord
from kgservice.arrays.ragged import Ragged
from kgservice.contexts import ContextBuilder, Neighbourhood, Segment, Trie, train_tokenizer, unique_names
from kgservice.contexts.tokens import END, PAD, SPECIALS, encoded
from kgservice.contexts.wording import Plan, Wording, Words, tokenizer_of
from kgservice.engine import Engine
from kgservice.errors import DataError, InputError, RecipeError
from kgservice.graph import KnowledgeGraph
from kgservice.graph.captions import ANY, Captions
from kgservice.graph.splits import random_split
from kgservice.graph.statements import Split
from kgservice.query import QueryBatch, Slot
from kgservice.recipe import ModelSettings, Recipe
from kgservice.release import ReleaseStore
from kgservice.scorers import build
from kgservice.scorers.attribution import read_for
from kgservice.scorers.contextual import ContextScorer
from kgservice.scorers.generation import Generator, Memory, Names
from kgservice.scorers.t5 import Pretrained
from kgservice.seeking import seek
from kgservice.store import Changes


@pytest.fixture(scope="module")
def family(family_ttl: Path, tmp_path_factory: pytest.TempPathFactory) -> KnowledgeGraph:
    return ingestion.ingest([family_ttl], tmp_path_factory.mktemp("context") / "graph")


SMALL = {"vocabulary": 512, "tokens": 64, "neighbours": 4, "heads": 2, "dropout": 0.0}


def model(graph: KnowledgeGraph, *, width: int = 16, seed: int = 0, **context: object) -> ContextScorer:
    chosen = {"scorer": "context", "width": width, "context": {**SMALL, **context}, "training": {"seed": seed}}
    scorer = build(ModelSettings.model_validate(chosen), n=graph.n, r=graph.r)
    assert isinstance(scorer, ContextScorer)
    scorer.prepare(graph, (Split.TRAIN,))
    return scorer.eval()


def builder(graph: KnowledgeGraph, **changes: object) -> tuple[ContextBuilder, object]:
    words = Words.of(graph, "en", np.arange(len(graph.statements)))
    tokenizer = tokenizer_of(words, 700)
    given = {"segments": list(Segment), "neighbours": 4, "tokens": 80, "spread": 1.0, "seed": 0, **changes}
    wording = Wording.of(words, tokenizer, Plan(12, 8))
    around = Neighbourhood.of(graph, np.arange(len(graph.statements)), 0)
    return ContextBuilder(wording, around, graph.captions, **given), tokenizer  # type: ignore[arg-type]


def ids(graph: KnowledgeGraph, *names: str) -> np.ndarray:
    return graph.entities.ids([f"https://example.org/{name}" for name in names]).astype(np.int64)


def relation(graph: KnowledgeGraph, name: str) -> int:
    return graph.relations.id(f"https://example.org/{name}")


class TestBuilder:
    def test_a_context_says_what_is_asked_and_what_is_known(self, family: KnowledgeGraph) -> None:
        make, tokenizer = builder(family)
        parent = relation(family, "parent")
        said = make.build(ids(family, "child7"), np.array([parent])).texts(0, tokenizer)
        assert said[Segment.QUESTION] == "[question] parent [of] Child 7"
        assert said[Segment.DESCRIPTION] == "[description] child of house 7"
        assert "[neighbour] parent [is] Mother 7" in said[Segment.NEIGHBOURS]
        assert "[neighbour] lives in [is] Town 1" in said[Segment.NEIGHBOURS]

    def test_what_is_asked_for_is_left_out(self, family: KnowledgeGraph) -> None:
        make, tokenizer = builder(family)
        parent, mother = relation(family, "parent"), ids(family, "mother7").astype(np.int32)
        hidden = Ragged(np.array([0, 1]), mother)
        said = make.build(ids(family, "child7"), np.array([parent]), hidden=hidden).texts(0, tokenizer)
        assert "Mother" not in " ".join(said.values())
        assert "[neighbour] parent [is] Father 7" in said[Segment.NEIGHBOURS]

    def test_segments_are_switched_off_and_a_budget_is_kept(self, family: KnowledgeGraph) -> None:
        make, tokenizer = builder(family, tokens=24)
        spouse = np.array([relation(family, "spouse")])
        whole = make.build(ids(family, "mother3"), spouse)
        assert whole.tokens.shape[1] <= 24
        assert whole.tokens[0, -1] == END
        # No neighbour is cut in two.
        said = whole.texts(0, tokenizer).get(Segment.NEIGHBOURS, "[is] x")
        assert not said.endswith("[is]")
        bare = make.build(ids(family, "mother3"), spouse, without=set(Segment) - {Segment.QUESTION})
        assert list(bare.texts(0, tokenizer)) == [Segment.QUESTION]

    def test_the_same_question_and_draw_give_the_same_context_whatever_stands_beside(
        self, family: KnowledgeGraph
    ) -> None:
        make, _ = builder(family, neighbours=2)
        anchors, asked = np.arange(family.n), np.arange(family.n) % (2 * family.r)
        whole = make.build(anchors, asked, draw=5)
        for row in range(0, family.n, 7):
            alone = make.build(anchors[row : row + 1], asked[row : row + 1], draw=5)
            there = whole.tokens[row] != PAD
            assert np.array_equal(alone.tokens[0], whole.tokens[row, there])
        assert not np.array_equal(whole.tokens, make.build(anchors, asked, draw=6).tokens)
        assert np.array_equal(make.build(anchors, asked).tokens, make.build(anchors, asked).tokens)

    def test_visual_texts_of_an_entity_and_its_neighbours(self, family: KnowledgeGraph) -> None:
        lives = relation(family, "livesIn")
        town, mother = ids(family, "town0", "mother0")
        captions = Captions.build([town, town, mother], [ANY, lives, ANY], ["a red roof", "a gate", "a hat"])
        make, tokenizer = builder(replace(family, captions=captions))
        said = make.build(np.array([mother]), np.array([lives])).texts(0, tokenizer)
        assert said[Segment.VISUAL] == "[image] a hat"
        assert said[Segment.NEIGHBOUR_VISUAL] == "[neighbour image] Town 0 a gate"
        other = make.build(np.array([mother]), np.array([relation(family, "spouse")])).texts(0, tokenizer)
        assert other[Segment.NEIGHBOUR_VISUAL] == "[neighbour image] Town 0 a red roof"

    def test_facts_that_predict_come_first(self) -> None:
        """Two relations: one decides the answer, the other says nothing."""
        import pyarrow as pa

        from kgservice.graph.statements import StatementTable
        from kgservice.graph.vocabulary import Vocabulary

        random = np.random.default_rng(0)
        entity = np.arange(200)
        tells, noise = random.integers(0, 5, 200), random.integers(0, 5, 200)
        subject = np.concatenate([entity, entity, entity])
        relations = np.repeat([0, 1, 2], 200)
        object = np.concatenate([200 + tells, 205 + noise, 210 + tells])
        table = StatementTable.build(subject.astype(np.int32), relations.astype(np.int32), object.astype(np.int32))
        names = Vocabulary([pa.array([f"e{place:03}" for place in range(215)], pa.large_string())])
        kinds = Vocabulary([pa.array(["asked", "noise", "tells"], pa.large_string())])
        graph = KnowledgeGraph(names, kinds, table)
        around = Neighbourhood.of(graph, np.arange(len(table)), 0)
        assert around.relevance[0, 2] > 1 > abs(around.relevance[0, 1]) + 0.7
        _, fact = around.chosen(
            entity,
            np.zeros(200, np.int64),
            1,
            hidden=Ragged(np.arange(201), (200 + tells).astype(np.int32)),
            draw=0,
            spread=0.0,
        )
        assert set(around.relation[fact].tolist()) == {2}


@st.composite
def name_lists(draw: st.DrawFn) -> Ragged:
    token = st.integers(len(SPECIALS), len(SPECIALS) + 5)
    names = draw(st.sets(st.lists(token, min_size=1, max_size=6).map(tuple), min_size=1, max_size=40))
    return Ragged.of([list(name) for name in draw(st.permutations(sorted(names)))])


@pytest.fixture(scope="module")
def writer() -> T5ForConditionalGeneration:
    torch.manual_seed(0)
    config = T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_decoder_layers=2, num_heads=2)
    return T5ForConditionalGeneration(config).eval()


def by_hand(writer: T5ForConditionalGeneration, memory: Memory, names: Ragged) -> torch.Tensor:
    """Every name by itself, through the library's own model: a softmax among the tokens that continue some name."""
    whole = [(*name.tolist(), END) for name in names]
    follows: dict[tuple[int, ...], set[int]] = {}
    for name in whole:
        for place, token in enumerate(name):
            follows.setdefault(name[:place], set()).add(token)
    found = torch.zeros(len(memory.states), len(names))
    for column, name in enumerate(whole):
        logits = writer(
            encoder_outputs=(memory.states,),
            attention_mask=memory.present.long(),
            decoder_input_ids=torch.tensor([[PAD, *name[:-1]]]).expand(len(found), -1),
        ).logits
        for place, token in enumerate(name):
            allowed = sorted(follows[name[:place]])
            among = logits[:, place, allowed].log_softmax(1)
            found[:, column] += among[:, allowed.index(token)]
    return found


def remembered(b: int, s: int, noise: torch.Generator) -> Memory:
    there = torch.ones(b, s, dtype=torch.bool)
    return Memory(torch.randn(b, s, 16, generator=noise), there, there.clone())


class TestWriting:
    @given(names=name_lists(), seed=st.integers(0, 100))
    @settings(max_examples=25, deadline=None)
    def test_all_names_some_names_and_a_beam_agree_with_each_name_by_itself(
        self, writer: T5ForConditionalGeneration, names: Ragged, seed: int
    ) -> None:
        generator = Generator(writer.decoder, writer.shared, Names(Trie.of(names), torch.device("cpu")))
        noise = torch.Generator().manual_seed(seed)
        memory = remembered(3, 5, noise)
        memory.present[0, 3:] = False
        with torch.inference_mode():
            scores = generator.scores(memory)
            torch.testing.assert_close(scores, by_hand(writer, memory, names), rtol=1e-4, atol=1e-4)
            # One of them is written: their probabilities are one together.
            torch.testing.assert_close(scores.exp().sum(1), torch.ones(3), rtol=1e-4, atol=1e-4)
            chosen = torch.randint(-1, len(names), (3, 7), generator=noise)
            some = generator.of(memory, chosen)
            expected = scores.gather(1, chosen.clamp(min=0)).masked_fill(chosen < 0, -torch.inf)
            torch.testing.assert_close(some, expected, rtol=1e-4, atol=1e-4)
            beams = generator.beam(memory, 5, width=2)
            best, _ = scores.topk(min(5, len(names)), dim=1)
            for row in range(3):
                there = beams.ids[row] >= 0
                # Whatever is written is an entity's name, and what it scores is that name's.
                found = beams.ids[row][there]
                assert len(set(found.tolist())) == len(found)
                torch.testing.assert_close(beams.scores[row][there], scores[row, found], rtol=1e-4, atol=1e-4)
                assert (beams.scores[row][~there] == -torch.inf).all()
                if beams.exact[row]:
                    torch.testing.assert_close(beams.scores[row][: len(best[row])], best[row], rtol=1e-4, atol=1e-4)
            wide = generator.beam(memory, 5, width=1000)
            assert wide.exact.all()
            torch.testing.assert_close(wide.scores[:, : best.shape[1]], best, rtol=1e-4, atol=1e-4)

    def test_a_beam_that_finds_fewer_says_so(self, writer: T5ForConditionalGeneration) -> None:
        names = Ragged.of([[13, 14], [13, 15], [16]])
        generator = Generator(writer.decoder, writer.shared, Names(Trie.of(names), torch.device("cpu")))
        memory = remembered(2, 4, torch.Generator().manual_seed(0))
        with torch.inference_mode():
            beams = generator.beam(memory, 5, width=8)
        assert (beams.ids >= 0).sum(1).tolist() == [3, 3]
        assert beams.exact.all()
        assert (beams.scores[:, 3:] == -torch.inf).all()

    def test_two_entities_of_the_same_tokens_are_refused(self) -> None:
        with pytest.raises(InputError, match="entity 2 has the same name as another: names must be made unique first"):
            Trie.of(Ragged.of([[13, 14], [15], [13, 14]]))


class TestNames:
    def test_shared_names_are_told_apart_by_description_then_by_id(self) -> None:
        import pyarrow as pa

        from kgservice.graph.statements import StatementTable
        from kgservice.graph.texts import Texts
        from kgservice.graph.vocabulary import Vocabulary

        count = 10_000
        vocabulary = Vocabulary.build([f"http://x/Q{place:05}" for place in range(count + 2)])
        owner = [*range(count + 2), count, count + 1]
        kinds = [0] * (count + 2) + [2, 2]
        texts = Texts.build(
            owner, kinds, ["en"] * len(owner), ["Springfield"] * (count + 2) + ["city in Ohio", "in Maine"]
        )
        nothing = Vocabulary([pa.array([], pa.large_string())])
        graph = KnowledgeGraph(vocabulary, nothing, StatementTable.empty(), texts=texts)
        names = unique_names(graph)
        assert len(set(names)) == count + 2
        assert names[-2:] == ["Springfield (city in Ohio)", "Springfield (in Maine)"]
        assert names[7] == "Springfield (Q00007)"
        trie = Trie.of(encoded(train_tokenizer(names, 400), names))
        assert (trie.entity >= 0).sum() == count + 2

    def test_no_text_is_read_as_a_mark(self) -> None:
        tokenizer = train_tokenizer([*SPECIALS, *SPECIALS, "[ end ] [ pad ]"] * 50, 600)
        found = encoded(tokenizer, ["[ end ]", "[ pad ] x"])
        assert found.values.min() >= len(SPECIALS)
        assert tokenizer.decode(found[0].tolist()).strip() == "[ end ]"


class TestScorer:
    def test_exact_scores_equal_brute_force_on_200_questions(self, family: KnowledgeGraph) -> None:
        scorer = model(family, answers="names", decoder_layers=2)
        random = np.random.default_rng(0)
        batch = QueryBatch.objects(random.integers(0, family.n, 200), random.integers(0, family.r, 200))
        with torch.inference_mode():
            memory = scorer.memory(scorer.contexts(batch))
            scores = scorer.generator.scores(memory)
            whole = T5ForConditionalGeneration(
                T5Config(
                    vocab_size=512,
                    d_model=16,
                    d_kv=8,
                    d_ff=32,
                    num_layers=2,
                    num_decoder_layers=2,
                    num_heads=2,
                    feed_forward_proj="gated-gelu",
                )
            ).eval()
            whole.decoder.load_state_dict(
                {**scorer.decoder.state_dict(), "embed_tokens.weight": scorer.embedding.weight}
            )
            whole.shared.weight.copy_(scorer.embedding.weight)
            whole.lm_head.weight = whole.shared.weight
            expected = by_hand(whole, memory, scorer._names)
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-3)

    def test_a_question_does_not_read_its_own_answer(self, family: KnowledgeGraph) -> None:
        scorer = model(family)
        child, mother = ids(family, "child2", "mother2")
        batch = QueryBatch.objects([child], [relation(family, "parent")])
        asked = QueryBatch(Slot.OBJECT, batch.subject, batch.relation, np.array([mother], np.int32))
        assert "Mother" in str(scorer.contexts(batch).texts(0, scorer.tokenizer))
        assert "Mother" not in str(scorer.contexts(asked).texts(0, scorer.tokenizer))

    def test_parts_of_a_context_are_left_out_one_by_one(self, family: KnowledgeGraph) -> None:
        scorer = model(family)
        child, mother = ids(family, "child2", "mother2")
        batch = QueryBatch.objects([child, child], [relation(family, "parent"), relation(family, "livesIn")])
        read = read_for(scorer, batch, np.array([mother, mother]))
        assert [part.segment for part in read[0]][:2] == [Segment.QUESTION, Segment.DESCRIPTION]
        assert read[0][0].score is None
        bare = scorer.contexts(batch, [Segment.DESCRIPTION])
        with torch.inference_mode():
            goal = scorer.entity_vectors()[mother]
            expected = (scorer.query_vectors(batch) - scorer.asked_of(batch, scorer.memory(bare))) @ goal
        assert read[0][1].score == pytest.approx(float(expected[0]), abs=1e-5)
        assert read[0][1].score != 0

    def test_features_of_a_file_are_fused(self, family: KnowledgeGraph, tmp_path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = family.entities.names_of(np.arange(20))
        table = pa.table({"entity": [*names, "nobody"], "vector": np.eye(21, 5).tolist()})
        pq.write_table(table, tmp_path / "images.parquet")
        scorer = model(family, features=str(tmp_path / "images.parquet"), features_width=5, structure=6)
        vectors = scorer.entity_vectors()
        assert vectors.shape == (family.n, 16 + 6)
        assert (scorer.features[20:] == 0).all()
        with torch.no_grad():
            scorer.features[3] += 1
        changed = (scorer.entity_vectors() != vectors).any(1).nonzero().flatten().tolist()
        assert changed == [3]
        with pytest.raises(DataError, match="features_width is 4, found 5"):
            model(family, features=str(tmp_path / "images.parquet"), features_width=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("t5")
    letters = [(letter, -4.0) for letter in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789().,[]"]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0), *letters]
    pieces += [(f"\u2581{word}", -1.0) for word in ("question", "of", "description", "Town", "Child", "Mother")]
    tokenizer = Tokenizer(models.Unigram([*pieces, ("<extra_id_0>", 0.0)], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens=["<extra_id_0>"],
    ).save_pretrained(path)
    torch.manual_seed(3)
    config = T5Config(
        vocab_size=len(pieces) + 9,  # more rows than tokens, as published ones have
        d_model=16,
        d_kv=8,
        d_ff=24,
        num_layers=2,
        num_decoder_layers=1,
        num_heads=2,
        feed_forward_proj="relu",
    )
    T5ForConditionalGeneration(config).save_pretrained(path)
    return path


class TestPretrained:
    """A model that was trained elsewhere: a small one that the test writes as `transformers` does."""

    SIZES: ClassVar = {"layers": 2, "decoder_layers": 1, "heads": 2, "hidden": 24, "gated": False}

    def vocabulary(self, folder: Path) -> int:
        return len(Pretrained.open(str(folder)).row)

    def test_training_begins_with_its_weights_and_reads_by_its_tokens(
        self, family: KnowledgeGraph, folder: Path, tmp_path: Path
    ) -> None:
        size = self.vocabulary(folder)
        scorer = model(family, pretrained=str(folder), vocabulary=size, **self.SIZES)
        theirs = T5ForConditionalGeneration.from_pretrained(folder)
        child = np.flatnonzero(np.array(unique_names(family)) == "Child 7")
        said = scorer.contexts(QueryBatch.objects(child, [relation(family, "parent")])).texts(0, scorer.tokenizer)
        assert said[Segment.QUESTION] == "[question] parent [of] Child 7"
        # What it makes of words without any mark is what the published model makes of them.
        own = scorer.tokenizer.encode("Town of Child").ids
        tokens = torch.tensor([theirs_of(folder, "Town of Child")])
        with torch.inference_mode():
            expected = theirs.encoder(input_ids=tokens).last_hidden_state
            found = scorer.encoder(inputs_embeds=scorer.embedding(torch.tensor([own]))).last_hidden_state
        torch.testing.assert_close(found, expected)
        # A mark is what its words are.
        words = theirs.shared.weight[theirs_of(folder, "question")].mean(0)
        torch.testing.assert_close(scorer.embedding.weight[SPECIALS.index("[ question ]")], words)
        assert "[ pad ]" not in [scorer.tokenizer.id_to_token(id) for id in scorer.tokenizer.encode("[ pad ]").ids]
        # A release opens without the folder.
        scorer.keep(tmp_path)
        again = build(scorer_settings(scorer, str(folder / "gone"), size), n=family.n, r=family.r)
        again.load_state_dict(scorer.state_dict())
        again.reopen(tmp_path, family, (Split.TRAIN,))
        batch = QueryBatch.objects([1, 2], [0, 1])
        with torch.inference_mode():
            torch.testing.assert_close(again.eval().scores(batch), scorer.scores(batch))

    def test_names_that_its_tokens_read_alike_are_numbered(self, family: KnowledgeGraph, folder: Path) -> None:
        tokenizer = Pretrained.open(str(folder)).tokenizer
        words = Words.of(family, "en", np.arange(len(family.statements)))
        words = replace(words, names=["東京", "大阪", "Town", "京都", *words.names[4:]])
        names = Wording.of(words, tokenizer, Plan(12, 8)).names
        assert len({tuple(name.tolist()) for name in names}) == family.n
        assert tokenizer.decode(names[1].tolist()).endswith(" 2")

    @pytest.mark.parametrize(
        ("changes", "what"),
        [
            ({"layers": 3}, "set context.layers = 2$"),
            ({"vocabulary": 512, "gated": True}, r"set context\.vocabulary = \d+, context\.gated = false"),
        ],
    )
    def test_sizes_that_are_not_its_own_are_named(
        self, family: KnowledgeGraph, folder: Path, changes: dict[str, object], what: str
    ) -> None:
        given = {"vocabulary": self.vocabulary(folder), **self.SIZES, **changes}
        with pytest.raises(RecipeError, match=what):
            model(family, pretrained=str(folder), **given)

    def test_a_folder_without_a_model_is_told(self, family: KnowledgeGraph, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"config\.json is missing: expected a folder that transformers saved"):
            model(family, pretrained=str(tmp_path))
        (tmp_path / "config.json").write_text('{"model_type": "t5"}')
        with pytest.raises(DataError, match="holds no T5 model with a fast tokenizer"):
            model(family, pretrained=str(tmp_path))


def theirs_of(folder: Path, text: str) -> list[int]:
    from transformers import AutoTokenizer

    ids: list[int] = AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False).input_ids
    return ids


def scorer_settings(scorer: ContextScorer, folder: str, vocabulary: int) -> ModelSettings:
    context = {**scorer.settings.model_dump(), "pretrained": folder, "vocabulary": vocabulary}
    return ModelSettings.model_validate({"scorer": "context", "width": scorer.width, "context": context})


class TestTraining:
    RECIPE: ClassVar = {
        "scorer": "context",
        "width": 16,
        "context": {**SMALL, "tokens": 32, "rescored": 8, "dropout": 0.1},
        "training": {
            "epochs": 6,
            "batch_size": 32,
            "optimizer": "adam",
            "learning_rate": 0.01,
            "evaluate_every": 3,
            "device": "cpu",
            "precision": "float32",
        },
    }

    def test_a_resumed_training_equals_an_uninterrupted_one(self, family: KnowledgeGraph, tmp_path: Path) -> None:
        """The process dies behind an epoch's checkpoint; what is drawn anew in each epoch is drawn alike."""
        from kgservice.training import loop

        graph = random_split(family, valid=0.1, test=0.1, seed=0)
        chosen = ModelSettings.model_validate(self.RECIPE)

        def fitted(path: Path, epochs: int) -> ContextScorer:
            scorer = build(chosen, n=graph.n, r=graph.r)
            assert isinstance(scorer, ContextScorer)
            training = chosen.training.model_copy(update={"epochs": epochs})
            loop.fit(scorer, graph, training, checkpoint=path, fingerprint="x")
            return scorer

        whole = fitted(tmp_path / "whole", 4)
        fitted(tmp_path / "parts", 2)
        resumed = fitted(tmp_path / "parts", 4)
        for name, tensor in whole.state_dict().items():
            assert torch.equal(tensor, resumed.state_dict()[name]), name

    def test_a_release_answers_by_vectors_and_names(self, family_ttl: Path, tmp_path: Path) -> None:
        recipe = Recipe.parse(
            {
                "name": "family",
                "graph": {"sources": [str(family_ttl)], "split": {"valid": 0.1, "test": 0.1}},
                "models": {"context": self.RECIPE},
                "search": {"encoder": "none"},
            }
        )
        release = pipeline.build(recipe, tmp_path / "home", base=tmp_path)
        kept = {path.name for path in release.model_folder("context").iterdir()}
        assert {"recipe.toml", "weights.safetensors", "tokenizer.json"} <= kept
        engine = Engine.open(release)  # verifies, and replays canaries through both stages
        answer = engine.complete([Question("ex:child3", "ex:livesIn")], k=3, model="context", exclude_known=False)[0]
        assert len(answer.candidates) == 3
        assert answer.candidates[0].score >= answer.candidates[1].score
        metrics = release.metrics("context")
        assert "second stage alone" in (release.model_folder("context") / "README.md").read_text(encoding="utf-8")
        assert metrics["test"]["stages"]["sample"]["second"]["count"] > 0
        why = engine.explain([("ex:child3", "ex:livesIn", "ex:town0")], model="context")[0]
        assert [part.segment for part in why.read][:2] == ["question", "description"]
        assert why.read[0].fall is None
        assert isinstance(why.read[1].fall, float)
        served = engine.model("context")
        names = replace(served, scorer=served.scorer)
        names.scorer.settings = served.scorer.settings.model_copy(update={"answers": "names"})
        batch = QueryBatch.objects([3, 5], [relation(release.graph, "livesIn")] * 2)
        with torch.inference_mode():
            vectors = names.scorer.query_vectors(batch)
            found, scores = seek(names.scorer, served.index, batch, vectors, 4, Ragged.of([[7], []]))
            every = names.scorer.second.scores(batch)
        assert 7 not in found[0]
        assert np.allclose(scores[1], every[1].topk(4).values)
        few, _ = seek(names.scorer, served.index, batch, vectors, 2000)
        assert (few[:, release.graph.n :] == -1).all()


class TestAdded:
    """Entities put while a release serves: read, answered for, and written."""

    @pytest.fixture(scope="class")
    @staticmethod
    def engine(family_ttl: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
        fused = {**TestTraining.RECIPE, "context": {**TestTraining.RECIPE["context"], "structure": 4}}
        recipe = Recipe.parse(
            {
                "name": "family",
                "graph": {"sources": [str(family_ttl)], "split": {"valid": 0.1, "test": 0.1}},
                "models": {"context": TestTraining.RECIPE, "fused": fused},
                "search": {"encoder": "none"},
            }
        )
        home = tmp_path_factory.mktemp("added")
        return Engine.open(pipeline.build(recipe, home, base=home))

    def put(self, engine: Engine, *documents: dict[str, object]) -> Engine:
        records = [engine.record(EntityRecord.of_json(document)) for document in documents]
        return engine.revised(Changes(1, {one.id: one.to_json() for one in records}))

    @pytest.mark.parametrize("name", ["context", "fused"])
    def test_it_is_read_answers_and_is_written(self, engine: Engine, name: str) -> None:
        lives = "https://example.org/livesIn"
        stray = {
            "id": "https://example.org/stray",
            "labels": {"en": "Child 7"},  # a name that another has
            "descriptions": {"en": "child of house 7"},
            "statements": [
                {"relation": "ex:parent", "object": "ex:mother7"},
                {"relation": lives, "object": "ex:town1"},
            ],
        }
        hall = {"id": "https://example.org/hall", "labels": {"en": "Town Hall"}}
        grown = self.put(engine, stray, hall)
        served, before = grown.model(name), engine.model(name)
        graph = grown.graph
        new = graph.entities.id("https://example.org/stray")
        asked = QueryBatch.objects([new], [graph.relations.id("https://example.org/parent")])
        said = served.scorer.contexts(asked).texts(0, served.scorer.tokenizer)
        assert said[Segment.QUESTION] == "[question] parent [of] Child 7"
        assert said[Segment.DESCRIPTION] == "[description] child of house 7"
        assert "[neighbour] lives in [is] Town 1" in said[Segment.NEIGHBOURS]
        hidden = replace(asked, object=np.array([graph.entities.id("https://example.org/mother7")], np.int32))
        assert "Mother" not in str(served.scorer.contexts(hidden).texts(0, served.scorer.tokenizer))
        # Both ways: it is asked about, and it may answer, by its vector and its name.
        answer = grown.complete([Question(stray["id"], lives)], k=3, model=name)[0]
        assert len(answer.candidates) == 3
        found = grown.complete([Question(None, lives, "ex:town1")], k=1000, model=name, exclude_known=False)[0]
        by_id = {one.id: one for one in found.candidates}
        assert by_id["ex:stray"].known
        assert "ex:hall" in by_id
        with torch.inference_mode():
            written = served.scorer.second.scores(
                QueryBatch.subjects([0], [graph.entities.id("https://example.org/town1")])
            )
        assert written.shape[1] == graph.n
        assert float(written.exp().sum()) == pytest.approx(1, abs=1e-4)
        assert (
            served.scorer.tokenizer.decode(served.scorer._names[new].tolist()).strip() == "Child 7 (child of house 7)"
        )
        why = grown.explain([(stray["id"], lives, "ex:town0")], model=name)[0]
        assert [part.segment for part in why.read][:2] == ["question", "description"]
        # Its facts have moved its vector, and nothing of the others has changed.
        bare = self.put(engine, {**stray, "statements": []}, hall).model(name)
        place = new - engine.graph.n
        assert not torch.allclose(served.vectors.added[place], bare.vectors.added[place], atol=1e-4)
        assert torch.equal(served.vectors.base, before.vectors.base)
        old = QueryBatch.objects([1, 2], [0, 1])
        with torch.inference_mode():
            torch.testing.assert_close(served.scorer.query_vectors(old), before.scorer.query_vectors(old))

    def test_an_empty_revision_changes_nothing(self, engine: Engine) -> None:
        grown = engine.revised(Changes(1, {}, frozenset({"https://example.org/child3"})))
        question = [Question("ex:child4", "ex:livesIn")]
        ours, theirs = (one.complete(question, k=3, model="context")[0].candidates for one in (grown, engine))
        assert [one.id for one in ours] == [one.id for one in theirs]


class TestDocumentation:
    PAGE = Path(__file__).resolve().parent.parent / "docs" / "context.md"

    def test_its_code_runs(self) -> None:
        assert (
            doctest.testfile(str(self.PAGE), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE).failed
            == 0
        )

    def test_pictures_show_what_was_read_and_keep_no_image(self) -> None:
        """`tools/read.py` draws a flag from the words of its caption."""
        root = self.PAGE.parent.parent
        spec = importlib.util.spec_from_file_location("read", root / "tools" / "read.py")
        assert spec is not None
        assert spec.loader is not None
        read = importlib.util.module_from_spec(spec)
        sys.modules["read"] = read
        spec.loader.exec_module(read)
        captions = {}
        for line in (root / "data" / "world" / "flags.jsonl").read_text(encoding="utf-8").splitlines():
            one = json.loads(line)
            captions[one["entity"]] = one["text"]
        for example in read.EXAMPLES:
            drawn = ElementTree.parse(self.PAGE.parent / "context" / f"{example.file}.svg")
            assert not drawn.findall(".//{*}image")
            said = " ".join(text.text or "" for text in drawn.iter("{http://www.w3.org/2000/svg}text"))
            assert f"[image] {captions[example.subject][:40]}" in said
        stripes = [
            box.get("fill") for box in read.flag("three vertical stripes blue white light blue, wide", 0, 0)[:-1]
        ]
        assert stripes == [read.INK[colour] for colour in ("blue", "white", "light blue")]
        japan = [
            (part.tag, part.get("fill")) for part in read.flag("plain white ground, red disc in the middle", 0, 0)
        ][:-1]
        assert japan == [("rect", read.INK["white"]), ("circle", read.INK["red"])]

    def test_its_contexts_are_those_of_the_sample_graph(self, release_store: ReleaseStore) -> None:
        graph = release_store.get().graph
        rows = np.flatnonzero(graph.statements.split == Split.TRAIN)
        words = Words.of(graph, "en", rows)
        tokenizer = tokenizer_of(words, 4096)
        make = ContextBuilder(
            Wording.of(words, tokenizer, Plan(24, 16)),
            Neighbourhood.of(graph, rows, 0),
            graph.captions,
            segments=list(Segment),
            neighbours=8,
            tokens=96,
            spread=1.0,
            seed=0,
        )
        world = "https://kgservice.example/world/"
        anchor = np.array([graph.entities.id(world + "France")])
        said = make.build(anchor, np.array([graph.relations.id(world + "currency")])).texts(0, tokenizer)
        page = self.PAGE.read_text(encoding="utf-8")
        shown = dict(re.findall(r"^\| ([a-z-]+) \| .* \| `(\[.*)` \|$", page, flags=re.MULTILINE))
        for segment in (Segment.QUESTION, Segment.DESCRIPTION, Segment.HINT):
            assert said[segment] == shown[segment]
        for fact in shown["neighbours"].split(" [neighbour]"):
            assert fact.removeprefix("[neighbour]").strip() in said[Segment.NEIGHBOURS]
