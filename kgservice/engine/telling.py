"""Which types entities have: of all that a model has learnt, or of some that are named or described."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kgservice.answers import Described, Named
from kgservice.answers.entities import TypeBasis, TypeCandidate, TypesAnswer
from kgservice.encoders import shared_encoder
from kgservice.encoders.describing import described, described_types
from kgservice.errors import InvalidQuestion
from kgservice.graph import KnowledgeGraph
from kgservice.graph.views import Views
from kgservice.heads.zero_shot import TEMPLATE, read
from kgservice.recipe.template import Template
from kgservice.release.served import ServedModel

Ids = npt.NDArray[np.int32]
Vectors = npt.NDArray[np.float32]

LEARNT_POPULATION = "entities that have types, those that the model did not learn them of"
GIVEN_POPULATION = f"{LEARNT_POPULATION}; by text, such entities and types that the model learnt nothing of either"


@dataclass(frozen=True)
class _Told:
    """What is told of `b` entities.

    Attributes:
        probability: float32 `[b, c]`.
        stated: bool `[b, c]`: whether the graph states it.
        basis: `c`, what each type is told by.
        named: names types, by place.
    """

    probability: Vectors
    stated: npt.NDArray[np.bool_]
    basis: Sequence[TypeBasis]
    named: Callable[[list[int]], Sequence[Named]]


class Telling:
    """Tells types of the entities of one graph.

    Args:
        graph: whose entities are asked about.
        views: how its names are shown.
        release: named by every answer.
    """

    def __init__(self, graph: KnowledgeGraph, views: Views, release: str) -> None:
        self.graph, self.views, self.release = graph, views, release

    def types(
        self,
        served: ServedModel,
        ids: Ids,
        given: Sequence[int | Described],
        k: int,
        exclude_known: bool,
        language: str,
    ) -> list[TypesAnswer]:
        """The likeliest types of entities.

        Args:
            served: the model asked.
            ids: int32 `[b]`.
            given: the types to choose among, by id or described; all that are learnt where there are none.
            k: types of each.
            exclude_known: leave out what the graph states; else it is marked `known`.
            language: of labels and descriptions.

        Raises:
            InvalidQuestion: a given type is not learnt and cannot be told by its text.
        """
        told = self._given(served, ids, given, language) if given else self._learnt(served, ids, language)
        order = np.argsort(np.where(told.stated & exclude_known, 1.0, -told.probability), axis=1, kind="stable")[:, :k]
        answers = []
        for row, entity in enumerate(self.views.entities(ids, language, describe=True)):
            chosen = [place for place in order[row].tolist() if not (exclude_known and told.stated[row, place])]
            candidates = [
                TypeCandidate(
                    one.id,
                    one.label,
                    one.description,
                    float(told.probability[row, place]),
                    bool(told.stated[row, place]),
                    rank,
                    told.basis[place],
                )
                for rank, (one, place) in enumerate(zip(told.named(chosen), chosen, strict=True), start=1)
            ]
            population = GIVEN_POPULATION if "text" in told.basis else LEARNT_POPULATION
            answers.append(TypesAnswer(self.release, served.name, entity, candidates, population))
        return answers

    def _learnt(self, served: ServedModel, ids: Ids, language: str) -> _Told:
        types = served.type_head.types
        return _Told(
            served.type_head.probabilities(served.vectors[ids]),
            self._stated(ids, types),
            ["examples"] * len(types),
            lambda places: self.views.named_types(types[places], language),
        )

    def _given(self, served: ServedModel, ids: Ids, given: Sequence[int | Described], language: str) -> _Told:
        """What is learnt by examples where there were enough, the rest by its text."""
        types = np.array([one if isinstance(one, int) else -1 for one in given], dtype=np.int32)
        named = iter(self.views.named_types(types[types >= 0], language))
        names = [
            Named("", one.label, one.description or None) if isinstance(one, Described) else next(named)
            for one in given
        ]
        learnt = np.isin(types, served.type_head.types)
        vectors = served.vectors[ids]
        probability = np.empty((len(ids), len(given)), np.float32)
        if learnt.any():
            places = np.searchsorted(served.type_head.types, types[learnt])
            probability[:, learnt] = served.type_head.probabilities(vectors)[:, places]
        if not learnt.all():
            texts = self._texts(served, [one for one, known in zip(given, learnt, strict=True) if not known])
            encoder = shared_encoder(served.zero_shot.encoder)
            entities = described(self.graph, TEMPLATE, entities=ids.astype(np.int64))
            by_text = served.zero_shot.probabilities(vectors, read(encoder, entities), read(encoder, texts))
            probability[:, ~learnt] = by_text
        basis: list[TypeBasis] = ["examples" if known else "text" for known in learnt]
        return _Told(probability, self._stated(ids, types), basis, lambda places: [names[place] for place in places])

    def _texts(self, served: ServedModel, types: Sequence[int | Described]) -> list[str]:
        """What is written of types."""
        if not served.zero_shot.encoder:
            raise InvalidQuestion(
                f"model {served.name!r} tells the types that it has learnt, no others: telling them by their texts takes a text "
                "encoder (search.encoder in the recipe) and a graph with enough types that have labels, when the release is built"
            )
        template = Template.parse(TEMPLATE)
        texts = [
            template.fill({"label": one.label, "description": one.description})
            if isinstance(one, Described)
            else described_types(self.graph, TEMPLATE, types=np.array([one]))[0]
            for one in types
        ]
        if missing := [one for one, text in zip(types, texts, strict=True) if not text]:
            what = "one that is described" if isinstance(missing[0], Described) else self._name(missing[0])
            raise InvalidQuestion(f"a type is told by its label and description, and {what} has neither")
        return texts

    def _name(self, type: int) -> str:
        return self.views.named_types(np.array([type], np.int32), "en")[0].id

    def _stated(self, ids: Ids, types: Ids) -> npt.NDArray[np.bool_]:
        of_entity = self.graph.types.of_entity
        stated: npt.NDArray[np.bool_] = np.stack([np.isin(types, of_entity[entity]) for entity in ids.tolist()])
        return stated
