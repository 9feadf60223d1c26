"""Which model of a release answers which question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from kgservice.errors import InvalidQuestion, UnknownModel
from kgservice.query import Slot
from kgservice.release.served import ServedModel

Ids = npt.NDArray[np.int32]
Rows = npt.NDArray[np.int64]


class Routing:
    """Chooses among models.

    Args:
        release: named by messages.
        models: the best first, by validation.
        typing: how well each tells types; those that tell none have no figure.
        seen: bool `[n]`: which entities a training statement has.
    """

    def __init__(
        self,
        release: str,
        models: Mapping[str, ServedModel],
        typing: Mapping[str, float],
        seen: npt.NDArray[np.bool_],
    ) -> None:
        self._release, self._models, self._typing, self._seen = release, models, typing, seen

    def named(self, name: str | None) -> ServedModel:
        """A model by name; the best by validation where none is named.

        Raises:
            UnknownModel: the release has no such model.
        """
        if name is None:
            return next(iter(self._models.values()))
        if name not in self._models:
            raise UnknownModel(name, f"in release {self._release}", self._models)
        return self._models[name]

    def able(self, slot: Slot, qualified: bool, name: str | None = None) -> list[ServedModel]:
        """The models that answer such questions, the best first; the named one alone.

        Args:
            slot: what is asked for.
            qualified: whether the question has qualifiers.
            name: of a model, if one is wanted.

        Raises:
            UnknownModel: the release has no such model.
            InvalidQuestion: the named model, or all of them, cannot answer it; says which can.
        """
        able = [
            model
            for model in self._models.values()
            if slot in model.scorer.slots and (model.scorer.reads is not None or not qualified)
        ]
        what = (
            f"questions for a {'qualifier' if slot is Slot.QUALIFIER else slot.value}{' with qualifiers' * qualified}"
        )
        if name is None:
            if not able:
                raise InvalidQuestion(f"release {self._release} has no model that answers {what}")
            return able
        chosen = self.named(name)
        if chosen not in able:
            others = ", ".join(model.name for model in able) or "no model of this release"
            raise InvalidQuestion(f"model {name!r} does not answer {what}; {others} does")
        return [chosen]

    def reading(self, slot: Slot, name: str | None = None) -> ServedModel:
        """The model that answers such questions about entities of which nothing but a text is known.

        Raises:
            UnknownModel, InvalidQuestion: as by `able`; or the model, or all of them, read no texts.
        """
        able = self.able(slot, False, name)
        found = next((model for model in able if model.scorer.inductive), None)
        if found is None:
            others = ", ".join(one.name for one in self._models.values() if one.scorer.inductive)
            raise InvalidQuestion(
                f"model {able[0].name!r} knows entities by their rows; {others or 'no model of this release'} reads what "
                "describes one"
            )
        return found

    def typing(self, name: str | None = None) -> list[ServedModel]:
        """The models that tell types, those that tell them best first; the named one alone.

        Raises:
            UnknownModel: the release has no such model.
            InvalidQuestion: the named model, or all of them, tell none; says which do.
        """
        able = [self._models[one] for one in sorted(self._typing, key=lambda one: -self._typing[one])]
        if not able:
            raise InvalidQuestion(
                f"release {self._release} tells no types: its graph has no type of enough entities, or it was built by a "
                "version that learnt none. Build it anew"
            )
        if name is None:
            return able
        chosen = self.named(name)
        if chosen not in able:
            raise InvalidQuestion(f"model {name!r} tells no types; {', '.join(one.name for one in able)} does")
        return [chosen]

    def parted(
        self, able: Sequence[ServedModel], *entities: Ids, beside: Sequence[Ids] = ()
    ) -> list[tuple[ServedModel, Rows]]:
        """Questions by the model that answers them; about an entity of no training statement, one that reads texts is better.

        Args:
            able: models that answer such questions, the best first.
            entities: int32 `[b]` each, what the questions are about.
            beside: the same of what they name in qualifiers; below 0 is none.

        Returns:
            Models, and int64 the questions of each.

        Raises:
            InvalidQuestion: none of them knows an entity that was put with too little.
        """
        unseen = ~np.logical_and.reduce([self._seen[ids] for ids in entities])
        if len(unseen) and not unseen.any() and all(able[0].knows(ids).all() for ids in (*entities, *beside)):
            return [(able[0], np.arange(len(unseen)))]  # as nearly always
        chosen = np.full(len(unseen), -1)
        places = {model.name: place for place, model in enumerate(able)}
        for new, order in ((False, able), (True, sorted(able, key=lambda model: not model.scorer.inductive))):
            rows = np.flatnonzero(unseen == new)
            knows = np.array(
                [np.logical_and.reduce([model.knows(ids[rows]) for ids in (*entities, *beside)]) for model in order]
            )
            place_of = np.array([places[model.name] for model in order])
            chosen[rows] = np.where(knows.any(axis=0), place_of[knows.argmax(axis=0)], -1)
        if (lost := np.flatnonzero(chosen < 0)).size:
            raise InvalidQuestion(
                f"question {lost[0]} names an entity that was put after {', '.join(places)} learnt: put it with a text, "
                "where a model reads texts, or with statements that link it"
            )
        return [(model, rows) for place, model in enumerate(able) if (rows := np.flatnonzero(chosen == place)).size]
