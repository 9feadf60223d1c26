"""Scorers: a question becomes one vector, what may answer it one vector each, and a score is their inner product or
squared distance.

To add one: a file here, a line in `SCORERS`, a recipe under `models/`. The contract tests run over the registry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kgservice.errors import RecipeError

if TYPE_CHECKING:
    from kgservice.recipe import ModelSettings
    from kgservice.scorers.base import VectorScorer

SCORERS = {
    "bi-encoder": "kgservice.scorers.text:BiEncoder",
    "blp-complex": "kgservice.scorers.text:BLPComplEx",
    "blp-distmult": "kgservice.scorers.text:BLPDistMult",
    "blp-simple": "kgservice.scorers.text:BLPSimplE",
    "blp-transe": "kgservice.scorers.text:BLPTransE",
    "complex": "kgservice.scorers.bilinear:ComplEx",
    "context": "kgservice.scorers.contextual:ContextScorer",
    "distmult": "kgservice.scorers.bilinear:DistMult",
    "hyperformer": "kgservice.scorers.hyperformer:HyperFormer",
    "nfe1": "kgservice.scorers.flow:NFE1",
    "nfe1-mean": "kgservice.scorers.flow:NFE1Mean",
    "nfe1-spread": "kgservice.scorers.flow:NFE1Spread",
    "nfe2": "kgservice.scorers.flow:NFE2",
    "nfe3": "kgservice.scorers.kl_flow:NFE3",
    "nfe3-reverse": "kgservice.scorers.kl_flow:NFE3Reverse",
    "rescal": "kgservice.scorers.bilinear:RESCAL",
    "rotate": "kgservice.scorers.translation:RotatE",
    "simple": "kgservice.scorers.bilinear:SimplE",
    "stare": "kgservice.scorers.stare:StarE",
    "transe": "kgservice.scorers.translation:TransE",
}
"""Name in a recipe → where the class is."""


def build(settings: ModelSettings, *, n: int, r: int) -> VectorScorer:
    """A freshly initialised scorer for `n` entities and `r` relations; weights depend on `settings.training.seed`.

    Raises:
        RecipeError: no such scorer, or a width it cannot have.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.training.seed)
        return kind(settings).from_settings(settings, n=n, r=r)


def kind(settings: ModelSettings) -> type[VectorScorer]:
    """The class that a recipe asks for.

    Raises:
        RecipeError: no such scorer.
    """
    import importlib

    if settings.scorer not in SCORERS:
        raise RecipeError(f"{settings.scorer!r} is not a scorer. Known: {', '.join(sorted(SCORERS))}.")
    module, _, name = SCORERS[settings.scorer].partition(":")
    found: type[VectorScorer] = getattr(importlib.import_module(module), name)
    return found
