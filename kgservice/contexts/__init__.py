"""Link-aware contexts: what is known around an entity, written as one sequence for a question about it.

`Wording` holds the tokens of everything that can be said, `Neighbourhood` which facts matter to which relation,
`ContextBuilder` puts both together, and `Trie` holds the names that may answer. Training, serving and explanations read
the same sequences.
"""

from kgservice.contexts.builder import ContextBuilder, Contexts, Segment
from kgservice.contexts.neighbourhood import Neighbourhood
from kgservice.contexts.tokens import PAD, SPECIALS, START, train_tokenizer
from kgservice.contexts.trie import Trie
from kgservice.contexts.wording import Wording, unique_names

__all__ = [
    "PAD",
    "SPECIALS",
    "START",
    "ContextBuilder",
    "Contexts",
    "Neighbourhood",
    "Segment",
    "Trie",
    "Wording",
    "train_tokenizer",
    "unique_names",
]
