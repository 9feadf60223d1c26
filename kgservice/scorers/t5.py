"""What a context model begins with: fresh T5 stacks, or the weights of a model that was trained elsewhere, from a folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from kgservice.contexts.tokens import SPECIALS, marked
from kgservice.errors import DataError, RecipeError
from kgservice.recipe import ContextSettings

if TYPE_CHECKING:
    from tokenizers import Tokenizer

logger = logging.getLogger(__name__)

ALIKE = (
    "d_kv",
    "dense_act_fn",
    "relative_attention_num_buckets",
    "relative_attention_max_distance",
    "layer_norm_epsilon",
)
"""Of a T5 configuration: what a recipe does not set."""


@dataclass(frozen=True)
class Pretrained:
    """A T5 model in a folder.

    Attributes:
        folder: where it lies.
        config: its `T5Config`.
        tokenizer: its own, with our marks in front.
        row: int64 `[v]`, the model's row of each of our tokens; -1 for marks that it does not have.
        weights: its own, by name.
    """

    folder: Path
    config: Any
    tokenizer: Tokenizer
    row: npt.NDArray[np.int64]
    weights: Mapping[str, Tensor]

    @classmethod
    def open(cls, name: str) -> Pretrained:
        """Read a folder as `transformers` saves one: `config.json`, safetensors, a fast tokenizer.

        Raises:
            DataError: there is no such folder, or no T5 model with a tokenizer in it.
        """
        from transformers import AutoTokenizer, T5ForConditionalGeneration

        folder = Path(name)
        if not (folder / "config.json").is_file():
            raise DataError(
                f"context.pretrained: {folder / 'config.json'} is missing: expected a folder that transformers saved"
            )
        try:
            read = AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True)
            model = T5ForConditionalGeneration.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
            )
            ends = [read.pad_token_id, read.eos_token_id, read.unk_token_id]
            tokenizer, row = marked(read.backend_tokenizer, ends)
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise DataError(f"context.pretrained: {folder} holds no T5 model with a fast tokenizer: {error}") from error
        if not model.config.tie_word_embeddings:
            logger.warning(
                "%s writes by a layer of its own, which is left out: names are compared with what is read", folder
            )
        return cls(folder, model.config, tokenizer, row, model.state_dict())

    def check(self, given: Mapping[str, int | bool], like: Any) -> None:
        """Hold that a recipe has this model's sizes; they are the recipe's, so that a release opens without the folder.

        Args:
            given: what the recipe sets, by key.
            like: a `T5Config` as the recipe makes it.

        Raises:
            RecipeError: naming every setting that is to be changed.
        """
        config = self.config
        found = {
            "width": config.d_model,
            "context.vocabulary": len(self.row),
            "context.layers": config.num_layers,
            "context.decoder_layers": config.num_decoder_layers,
            "context.heads": config.num_heads,
            "context.hidden": config.d_ff,
            "context.gated": bool(config.is_gated_act),
        }
        wrong = [f"{key} = {str(value).lower()}" for key, value in found.items() if given[key] != value]
        if wrong:
            raise RecipeError(f"context.pretrained: the model in {self.folder} has other sizes; set {', '.join(wrong)}")
        other = [key for key in ALIKE if getattr(config, key) != getattr(like, key)]
        if other:
            shown = ", ".join(f"{key} {getattr(config, key)} where {getattr(like, key)} is expected" for key in other)
            raise RecipeError(f"context.pretrained: the model in {self.folder} is built otherwise: {shown}")

    def fill(self, encoder: nn.Module, decoder: nn.Module, embedding: nn.Embedding) -> None:
        """Give layers these weights, in place; a mark is the mean of the words in it."""
        for name, stack in (("encoder", encoder), ("decoder", decoder)):
            own = {
                key.removeprefix(f"{name}."): value for key, value in self.weights.items() if key.startswith(f"{name}.")
            }
            own.pop("embed_tokens.weight", None)
            stack.load_state_dict(own)
        table = self.weights["shared.weight"]
        rows = table[torch.from_numpy(self.row.clip(min=0))]
        for place in np.flatnonzero(self.row < 0).tolist():
            words = self.tokenizer.encode(SPECIALS[place].strip("[] "), add_special_tokens=False).ids
            rows[place] = rows[words].mean(0)
        with torch.no_grad():
            embedding.weight.copy_(rows)


def stacks(width: int, settings: ContextSettings) -> tuple[Any, Any]:
    """A fresh T5 encoder and decoder without embeddings of their own."""
    from transformers import T5Config
    from transformers.models.t5.modeling_t5 import T5Stack

    made = []
    for decodes, layers in ((False, settings.layers), (True, settings.decoder_layers)):
        config = T5Config(
            vocab_size=settings.vocabulary,
            d_model=width,
            d_kv=width // settings.heads,
            d_ff=settings.hidden or 2 * width,
            num_layers=layers,
            num_decoder_layers=layers,
            num_heads=settings.heads,
            dropout_rate=settings.dropout,
            feed_forward_proj="gated-gelu" if settings.gated else "relu",
            is_decoder=decodes,
            use_cache=False,
        )
        stack = T5Stack(config)
        del stack.embed_tokens
        made.append(stack)
    return made[0], made[1]
