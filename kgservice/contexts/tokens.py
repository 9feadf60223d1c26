"""The tokens of a graph's own names and texts: byte-level BPE, so that every name is its tokens and no other name is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kgservice.arrays.ragged import Ragged, offsets_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids = npt.NDArray[np.int64]

SPECIALS = (
    "[ pad ]",
    "[ end ]",
    "[ unknown ]",
    "[ question ]",
    "[ of ]",
    "[ reverse ]",
    "[ description ]",
    "[ hint ]",
    "[ neighbour ]",
    "[ is ]",
    "[ image ]",
    "[ neighbour image ]",
)
"""Tokens that stand for no letters; their ids are their places. They hold spaces, which no token of a text does."""
PAD, END, UNKNOWN, QUESTION, OF, REVERSE, DESCRIPTION, HINT, NEIGHBOUR, IS, IMAGE, NEIGHBOUR_IMAGE = range(
    len(SPECIALS)
)
START = PAD
"""What a decoder begins with, as in T5."""
FEWEST = 256 + len(SPECIALS)
"""Tokens of a vocabulary without a single merge."""


def train_tokenizer(texts: Iterable[str], size: int) -> Tokenizer:
    """A byte-level BPE over texts; equal texts give an equal one.

    Args:
        texts: names, phrases of relations, descriptions; a text that comes often weighs more.
        size: tokens at most, the specials among them.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    # A space before every word, the first one too, so that a word is the same wherever it stands.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    # Marks are put by their ids: nothing that a text holds may be read as one.
    plain = {**json.loads(tokenizer.to_str()), "added_tokens": []}
    return Tokenizer.from_str(json.dumps(plain))


def marked(tokenizer: Tokenizer, ends: Sequence[int]) -> tuple[Tokenizer, Ids]:
    """A tokenizer that was made elsewhere, with the specials in front of its tokens.

    Args:
        tokenizer: whose tokens; those that it takes for marks of its own are left out.
        ends: ids of its padding, its end and its unknown token, which become the first specials.

    Returns:
        The tokenizer, and int64 `[v]`: the former id of each of its tokens, -1 for specials that it did not have.
    """
    from tokenizers import Tokenizer

    tree = json.loads(tokenizer.to_str())
    own = {entry["id"] for entry in tree["added_tokens"] if entry["special"]} | set(ends)
    model = tree["model"]
    listed = isinstance(model["vocab"], list)  # a unigram's: pairs of token and score
    tokens = [token for token, _ in model["vocab"]] if listed else sorted(model["vocab"], key=model["vocab"].get)
    former = range(len(tokens)) if listed else sorted(model["vocab"].values())
    kept = [(token, place, id) for place, (token, id) in enumerate(zip(tokens, former, strict=True)) if id not in own]
    if listed:
        model["vocab"] = [[mark, 0.0] for mark in SPECIALS] + [model["vocab"][place] for _, place, _ in kept]
        model["unk_id"] = UNKNOWN
    else:
        model["vocab"] = {token: id for id, token in enumerate([*SPECIALS, *(token for token, _, _ in kept)])}
        model["unk_token"] = SPECIALS[UNKNOWN]
    # Marks are put by their ids: nothing that a text holds may be read as one.
    tree.update(model=model, added_tokens=[], post_processor=None, truncation=None, padding=None)
    row = [*ends, *[-1] * (len(SPECIALS) - len(ends)), *(id for _, _, id in kept)]
    return Tokenizer.from_str(json.dumps(tree)), np.array(row, dtype=np.int64)


def encoded(tokenizer: Tokenizer, texts: Sequence[str], most: int | None = None, first: int | None = None) -> Ragged:
    """ragged `[b]`: tokens of each text.

    Args:
        tokenizer: whose tokens.
        texts: `b`.
        most: tokens of a text at most; the rest is cut.
        first: a token put before each text that is not empty.
    """
    lists = [found.ids[:most] for found in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]
    if first is not None:
        lists = [[first, *ids] if ids else [] for ids in lists]
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    flat = np.fromiter((id for ids in lists for id in ids), np.int32, int(lengths.sum()))
    return Ragged(offsets_of(lengths), flat)
