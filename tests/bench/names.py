"""A made graph whose entities are called as real ones are: halves of real labels put together anew, seeded."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from kgservice import datasets
from kgservice.graph import KnowledgeGraph
from kgservice.graph.statements import StatementTable
from kgservice.graph.texts import TextKind, Texts
from kgservice.graph.vocabulary import Vocabulary

SOURCES = ("fb15k-237", "codex-m")
ALIASED = 0.3
"""Entities that have a second name."""
DESCRIBED = 0.5
SKEW = 1.2
"""The i-th entity is an object as often as i ** -SKEW tells: few are linked to by thousands."""

Real = tuple[list[str], list[str]]


def mirror() -> Path:
    """Where the data sets lie."""
    return Path(os.environ["KGSERVICE_DATA_MIRROR"])


def real() -> Real:
    """The distinct labels and aliases, and descriptions, of the sources."""
    names: set[str] = set()
    descriptions: set[str] = set()
    for source in SOURCES:
        for _, kind, language, text in datasets.load(source, mirror()).texts.items():
            if language in ("", "en"):
                (descriptions if kind is TextKind.DESCRIPTION else names).add(text)
    return sorted(names), sorted(descriptions)


def made(n: int, seed: int = 0) -> KnowledgeGraph:
    """`n` entities with a label each, aliases and descriptions for some, and twice as many statements."""
    random = np.random.default_rng(seed)
    names, descriptions = real()
    words = [name.split() for name in names]
    heads = [" ".join(parts[: (len(parts) + 1) // 2]) for parts in words]
    tails = [" ".join(parts[(len(parts) + 1) // 2 :]) for parts in words]

    def put_together(count: int) -> list[str]:
        first, second = random.integers(0, len(names), (2, count)).tolist()
        return [f"{heads[a]} {tails[b] or heads[b]}" for a, b in zip(first, second, strict=True)]

    label = (names + put_together(max(0, n - len(names))))[:n]
    label = [label[at] for at in random.permutation(n).tolist()]
    aliased = np.flatnonzero(random.random(n) < ALIASED)
    described = np.flatnonzero(random.random(n) < DESCRIBED)
    drawn = random.integers(0, len(descriptions), len(described)).tolist()
    texts = Texts.build(
        np.concatenate([np.arange(n), aliased, described]),
        np.repeat([TextKind.LABEL, TextKind.ALIAS, TextKind.DESCRIPTION], [n, len(aliased), len(described)]),
        ["en"] * (n + len(aliased) + len(described)),
        [*label, *put_together(len(aliased)), *(descriptions[at] for at in drawn)],
    )
    popular = np.cumsum(np.arange(1, n + 1) ** -SKEW)
    object = np.searchsorted(popular, random.random(2 * n) * popular[-1]).astype(np.int32)
    subject = random.integers(0, n, 2 * n, dtype=np.int32)
    relation = random.integers(0, 20, 2 * n, dtype=np.int32)
    table = StatementTable.build(subject, relation, object)
    entities = Vocabulary.build([f"e{number:07d}" for number in range(n)])
    return KnowledgeGraph(entities, Vocabulary.build([f"r{number:02d}" for number in range(20)]), table, texts=texts)


Asked = dict[str, tuple[list[str], list[str]]]
"""By kind: the texts to ask, and the label that each was made from, where there is one to be found."""


def asked(graph: KnowledgeGraph, count: int, seed: int = 0) -> Asked:
    """`count` distinct questions of each kind about entities drawn at random."""
    random = np.random.default_rng([seed, 1])
    drawn = random.permutation(graph.n)
    labels = [str(label) for label in graph.texts.labels(drawn[: 2 * count])]
    # A typo in a word of three letters makes another word: no search can know what was meant.
    long = [name for name in labels if max(map(len, name.split())) > 3 and len(name) > 5]
    abouts = [text for text in graph.texts.preferred(drawn[: 8 * count], TextKind.DESCRIPTION) if text]
    abouts = list(dict.fromkeys(abouts))[:count]
    words = [" ".join(random.permutation(text.split())[:4].tolist()) for text in abouts]
    names = long[:count]
    wrong = [typed_wrong(name, random) for name in names]
    begun = [name[: max(2, len(name) // 2)] for name in names]
    fused = [*begun[: count // 4], *names[: count // 4], *wrong[: count // 4], *words[: count // 4]]
    return {
        "prefix": (begun, []),
        "exact": (names, names),
        "one typo": (wrong, names),
        "full text": (words, []),
        "dense": (abouts, []),
        "fused": ([fused[at] for at in random.permutation(len(fused)).tolist()], []),
    }


def typed_wrong(name: str, random: np.random.Generator, typos: int = 1) -> str:
    """The name with letters left out, put in, replaced, or swapped, in words of more than three letters."""
    for _ in range(typos):
        words = name.split(" ")
        longer = [place for place, word in enumerate(words) if len(word) > 3] or [
            int(np.argmax([len(w) for w in words]))
        ]
        place = longer[int(random.integers(len(longer)))]
        word = words[place]
        at = int(random.integers(1, max(2, len(word) - 1)))
        letter = chr(97 + int(random.integers(26)))
        edits = (
            word[:at] + word[at + 1 :],
            word[:at] + letter + word[at:],
            word[:at] + letter + word[at + 1 :],
            word[:at] + word[at : at + 2][::-1] + word[at + 2 :],
        )
        words[place] = edits[int(random.integers(len(edits)))]
        name = " ".join(words)
    return name


def size_mib(folder: Path, glob: str) -> float:
    """Of the files that match."""
    return sum(path.stat().st_size for path in folder.glob(glob)) / 2**20
