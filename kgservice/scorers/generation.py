"""Writes names: a T5 decoder over the names of real entities.

The logarithm of a name's probability is the sum, over its tokens, of a softmax among the tokens that continue a real name there:
a tree of names (`contexts.Trie`) makes it a distribution over the entities. Where only one token can follow, nothing is
computed. All names are scored exactly, every shared beginning once; a few, by themselves; the best, by a beam.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kgservice.arrays.ragged import Ragged
from kgservice.contexts import PAD, Trie
from kgservice.contexts.tokens import END

BLOCK = 1 << 24
"""Numbers that are held at once while all names are scored."""


class Memory(NamedTuple):
    """What a decoder looks at.

    Attributes:
        states: float `[b, s, d]`, of an encoder.
        present: bool `[b, s]`.
        question: bool `[b, s]`: the tokens of the question itself, the first among them.
    """

    states: Tensor
    present: Tensor
    question: Tensor

    def take(self, rows: Tensor | slice) -> Memory:
        """Some of the questions."""
        return Memory(self.states[rows], self.present[rows], self.question[rows])


@dataclass(frozen=True)
class Beams:
    """What a beam found.

    Attributes:
        ids: int64 `[b, k]`, entities, the likeliest first; -1 where fewer were found.
        scores: float32 `[b, k]`, logarithms of probabilities; -inf there.
        exact: bool `[b]`: no beginning was given up that might have led to a likelier name, so that these are the best there are.
    """

    ids: Tensor
    scores: Tensor
    exact: Tensor


class Names:
    """A tree of names as tensors.

    Args:
        trie: of `n` entities.
        device: where they stay.
    """

    def __init__(self, trie: Trie, device: torch.device) -> None:
        def tensor(values: Any) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64)).to(device)

        self.trie, self.n = trie, len(trie.leaf)
        choosing = np.flatnonzero(trie.choices)
        kids = trie.children.take(choosing)
        edge_of = np.full(len(trie), len(kids.values), dtype=np.int64)
        edge_of[kids.values] = np.arange(len(kids.values))
        self.token = tensor(trie.token)
        self.choosing = tensor(choosing)
        self.place = tensor(np.where(trie.choices, np.cumsum(trie.choices) - 1, -1))
        self.offset = tensor(kids.offset)
        self.edge_child = tensor(kids.values)
        self.edge_token = tensor(trie.token[kids.values])
        self.ancestors = tensor(trie.ancestors)
        self.depth = tensor(trie.depth)
        self.onward, self.entity, self.leaf = tensor(trie.onward), tensor(trie.entity), tensor(trie.leaf)
        # The choices on the way to each entity; where there are fewer, an edge that costs nothing.
        chain = np.where(trie.ancestors[trie.leaf] >= 0, trie.ancestors[trie.leaf], 0)
        edges = np.sort(np.where(trie.ancestors[trie.leaf] >= 0, edge_of[chain], len(kids.values)), axis=1)
        # How many nodes of the way to each entity stand up to its last choice.
        on_way = trie.ancestors[trie.leaf]
        chosen = np.where(on_way >= 0, trie.choices[on_way], False)
        self.choices_end = tensor(np.where(chosen.any(1), chosen.shape[1] - chosen[:, ::-1].argmax(1), 0))
        used = int((edges < len(kids.values)).sum(1).max(initial=0))
        self.path = tensor(edges[:, : max(used, 1)])


class Generator:
    """Scores names by the weights of a T5 decoder.

    Args:
        decoder: a `T5Stack`.
        embedding: of tokens, which the outputs are compared with too.
        names: what may be written.
    """

    def __init__(self, decoder: Any, embedding: nn.Embedding, names: Names) -> None:
        self.decoder, self.embedding, self.names = decoder, embedding, names
        first = decoder.block[0].layer[0].SelfAttention
        self.heads, self.scale = first.n_heads, decoder.config.d_model**-0.5

    def scores(self, memory: Memory) -> Tensor:
        """float32 `[b, n]`: of every entity's name, exactly."""
        names, b = self.names, len(memory.states)
        every = torch.arange(len(names.token), device=names.token.device)
        # Behind the last layer only choices count, and before it only what choices stand on.
        single = len(self.decoder.block) == 1
        tree = _Tree(names.choosing if single else every, names)
        d = self.embedding.embedding_dim
        size = max(1, BLOCK // max(1, len(tree.node) * d * (1 if single else tree.ancestors.shape[1])))
        parts = []
        for start in range(0, b, size):
            states = self._over_tree(tree, memory.take(slice(start, start + size)))
            hidden = states if single else states[:, names.choosing]
            parts.append(self._paths(self._edges(hidden)))
        return torch.cat(parts) if parts else torch.empty(0, names.n, device=names.token.device)

    def of(self, memory: Memory, candidates: Tensor) -> Tensor:
        """float32 `[b, k]`: of the names of some entities each, int64 `[b, k]`; -inf where a candidate is -1."""
        names, (b, k) = self.names, candidates.shape
        ids = candidates.clamp(min=0)
        # Behind the last choice all is certain.
        wide = max(int(names.choices_end[ids].max()) if ids.numel() else 1, 1)
        path = names.ancestors[names.leaf[ids]][:, :, : wide + 1]  # [b, k, t + 1]
        beyond, path = path[:, :, 1:], path[:, :, :wide]
        tokens = names.token[path.clamp(min=0)]
        states = self._chains(tokens, memory)
        nodes = torch.where(path >= 0, path, 0)
        chosen = (names.place[nodes] >= 0) & (path >= 0)
        # A beginning that several candidates share is asked once.
        question = torch.arange(b, device=ids.device)[:, None, None].expand_as(nodes)[chosen]
        key = question * len(names.token) + nodes[chosen]
        keys, back = torch.unique(key, return_inverse=True)
        first = torch.full((len(keys),), len(key), device=ids.device).scatter_reduce(
            0, back, torch.arange(len(key), device=ids.device), "amin"
        )
        hidden = states[chosen][first]
        place = names.place[keys % len(names.token)]
        log_p, row, edge = self._choices(hidden, place)
        # The next node on each path is the edge that was taken.
        following = beyond[chosen]
        wanted = back * len(names.token) + following
        have = row * len(names.token) + names.edge_child[edge]
        found = log_p[torch.searchsorted(have, wanted)]
        total = torch.zeros(b, k, chosen.shape[2], device=log_p.device).masked_scatter(chosen, found).sum(2)
        return total.masked_fill(candidates < 0, -torch.inf)

    def beam(self, memory: Memory, k: int, width: int) -> Beams:
        """The `k` likeliest names, by a beam of `width` beginnings."""
        names, b, device = self.names, len(memory.states), memory.states.device
        live = torch.zeros(b, 1, dtype=torch.int64, device=device)  # nodes
        live[:] = names.onward[0]
        score = torch.zeros(b, 1, device=device)
        ids = torch.full((b, k), -1, dtype=torch.int64, device=device)
        best = torch.full((b, k), -torch.inf, device=device)
        exact = torch.ones(b, dtype=torch.bool, device=device)
        if (whole := names.entity[live]).min() >= 0:  # a graph of one entity
            return Beams(torch.cat([whole, ids], 1)[:, :k], torch.cat([score, best], 1)[:, :k], exact)
        while True:
            open_ = score > torch.maximum(best[:, -1:], torch.full_like(best[:, -1:], -torch.inf))
            if not open_.any():
                return Beams(ids, best, exact)
            rows, columns = open_.nonzero(as_tuple=True)
            hidden = self._at(live[rows, columns], memory, rows)
            log_p, row, edge = self._choices(hidden, names.place[live[rows, columns]])
            reached, total = names.onward[names.edge_child[edge]], score[rows, columns][row] + log_p
            of = rows[row]
            ids, best = _kept(of, names.entity[reached], total, ids, best)
            going = names.entity[reached] < 0
            live, score, exact = _best(of[going], reached[going], total[going], b, width, best[:, -1], exact)

    def _at(self, nodes: Tensor, memory: Memory, rows: Tensor) -> Tensor:
        """float `[m, d]`: behind some beginnings, each of a question."""
        path = self.names.ancestors[nodes][:, : int(self.names.depth[nodes].max()) + 1]
        tokens = self.names.token[path.clamp(min=0)].unsqueeze(1)
        states = self._chains(tokens, memory.take(rows))[:, 0]
        found: Tensor = states[torch.arange(len(nodes), device=nodes.device), self.names.depth[nodes]]
        return found

    def _edges(self, hidden: Tensor) -> Tensor:
        """float32 `[b, e]`: log-probabilities of all tokens that follow all choices, float `[b, c, d]`."""
        names = self.names
        lengths = names.offset.diff()
        of = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
        to = self.embedding.weight[names.edge_token]
        logits: Tensor = torch.stack([(one[of] * to).sum(1) for one in hidden]) * self.scale
        place = of.expand(len(hidden), -1)
        return logits - _logsumexp(logits, place, len(lengths)).gather(1, place)

    def _choices(self, hidden: Tensor, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities of the tokens that follow some choices.

        Args:
            hidden: float `[m, d]`.
            place: int64 `[m]`, which choice each is.

        Returns:
            float32 `[e]`, int64 `[e]` the row of `hidden`, int64 `[e]` the edge; sorted by both.
        """
        names = self.names
        low, lengths = names.offset[place], names.offset[place + 1] - names.offset[place]
        row = torch.repeat_interleave(torch.arange(len(place), device=place.device), lengths)
        starts = lengths.cumsum(0) - lengths
        edge = torch.arange(len(row), device=place.device) + (low - starts)[row]
        logits = (hidden[row] * self.embedding.weight[names.edge_token[edge]]).sum(1) * self.scale
        total = _logsumexp(logits[None], row[None], len(place))[0]
        return logits - total[row], row, edge

    def _paths(self, edges: Tensor) -> Tensor:
        """float32 `[b, n]`: the sums along the way to each entity."""
        padded = F.pad(edges, (0, 1))
        total: Tensor = padded[:, self.names.path[:, 0]]
        for place in range(1, self.names.path.shape[1]):
            total = total + padded[:, self.names.path[:, place]]
        return total

    def _chains(self, tokens: Tensor, memory: Memory) -> Tensor:
        """float `[b, k, t, d]`: what the decoder makes of `k` sequences, int64 `[b, k, t]`, before each question's memory."""
        b, k, t = tokens.shape
        order = torch.arange(t, device=tokens.device)
        hidden = self.embedding(tokens)
        bias = self._bias(order[None] - order[:, None]).permute(2, 0, 1)
        bias = bias.masked_fill(order[None] > order[:, None], -torch.inf)
        for block in self.decoder.block:
            attention = block.layer[0].SelfAttention
            normed = block.layer[0].layer_norm(hidden).flatten(0, 1)
            q, key, value = (self._split(part(normed)) for part in (attention.q, attention.k, attention.v))
            seen = (q @ key.transpose(-1, -2) + bias).softmax(-1) @ value
            hidden = hidden + attention.o(seen.transpose(1, 2).reshape(b, k, t, -1))
            hidden = self._across(block, hidden.view(b, k * t, -1), memory).view(b, k, t, -1)
        out: Tensor = self.decoder.final_layer_norm(hidden)
        return out

    def _over_tree(self, tree: _Tree, memory: Memory) -> Tensor:
        """float `[b, m, d]`: what the decoder makes of all nodes of a tree, each seeing those before it."""
        b = len(memory.states)
        hidden = self.embedding(self.names.token[tree.node]).unsqueeze(0)
        bias = self._bias(tree.back).masked_fill(tree.absent.unsqueeze(-1), -torch.inf)  # [m, t, heads]
        for place, block in enumerate(self.decoder.block):
            attention, norm = block.layer[0].SelfAttention, block.layer[0].layer_norm
            # What stands before the first layer knows no question: it is computed once for all.
            sources = self.embedding(self.names.token[tree.sources]).unsqueeze(0) if place == 0 else hidden
            normed = norm(hidden)
            around = norm(sources)
            q = attention.q(normed).view(*normed.shape[:-1], self.heads, -1)
            parts = (part(around) for part in (attention.k, attention.v))
            key, value = (part.view(*part.shape[:-1], self.heads, -1) for part in parts)
            ancestors = tree.ancestors if place == 0 else tree.inner
            scores = torch.einsum("bmhd,bmthd->bmth", q, key[:, ancestors]) + bias
            seen = torch.einsum("bmth,bmthd->bmhd", scores.softmax(2), value[:, ancestors]).flatten(2)
            hidden = hidden + attention.o(seen)
            hidden = self._across(block, hidden.expand(b, -1, -1), memory)
        out: Tensor = self.decoder.final_layer_norm(hidden)
        return out

    def _across(self, block: Any, hidden: Tensor, memory: Memory) -> Tensor:
        """float `[b, m, d]`: a layer's look at the memory, and its feed-forward."""
        attention = block.layer[1].EncDecAttention
        q = self._split(attention.q(block.layer[1].layer_norm(hidden)))
        key, value = (self._split(part(memory.states)) for part in (attention.k, attention.v))
        seen = F.scaled_dot_product_attention(q, key, value, memory.present[:, None, None], scale=1.0)
        hidden = hidden + attention.o(seen.transpose(1, 2).flatten(2))
        out: Tensor = block.layer[2](hidden)
        return out

    def _split(self, states: Tensor) -> Tensor:
        return states.view(*states.shape[:-1], self.heads, -1).transpose(1, 2)

    def _bias(self, back: Tensor) -> Tensor:
        """float `[..., heads]` for how many tokens away what is looked at stands, as 0 or less."""
        first = self.decoder.block[0].layer[0].SelfAttention
        bucket = first._relative_position_bucket(
            back,
            bidirectional=False,
            num_buckets=first.relative_attention_num_buckets,
            max_distance=first.relative_attention_max_distance,
        )
        bias: Tensor = first.relative_attention_bias(bucket)
        return bias


def to_be_written(
    decoder: Any, embedding: nn.Embedding, memory: Memory, names: Ragged, longest: int
) -> tuple[Tensor, Tensor]:
    """What a decoder asks wherever a token of a name is to be written, and that token; for its training.

    Args:
        decoder, embedding: as for `Generator`.
        memory: of `b` questions.
        names: ragged `[b]`, the tokens of the name that answers each.
        longest: tokens learnt of a name, its end included.

    Returns:
        float32 `[t, d]`, to be compared with the embeddings of tokens, and int64 `[t]`.
    """
    device = embedding.weight.device
    b, width = len(names), min(int(names.lengths.max()) + 1, longest)
    tokens = np.full((b, width + 1), -1, dtype=np.int64)
    place = np.arange(len(names.values)) - np.repeat(names.offset[:-1], names.lengths)
    inside = place < width
    tokens[names.rows()[inside], place[inside]] = names.values[inside]
    tokens[np.arange(b), np.minimum(names.lengths, width)] = END
    wanted = torch.from_numpy(tokens[:, :width]).to(device)
    given = F.pad(wanted[:, :-1].clamp(min=PAD), (1, 0), value=PAD)
    states = decoder(
        inputs_embeds=embedding(given),
        encoder_hidden_states=memory.states,
        encoder_attention_mask=memory.present.long(),
        use_cache=False,
    ).last_hidden_state
    there = wanted >= 0
    return states[there].float() * embedding.embedding_dim**-0.5, wanted[there]


class _Tree:
    """The nodes that are computed, and what each of them looks back at.

    Args:
        node: int64 `[m]`, some nodes, or all.
        names: whose tree.
    """

    def __init__(self, node: Tensor, names: Names) -> None:
        self.node = node
        width = int(names.depth[node].max()) + 1
        ancestors = names.ancestors[node][:, :width]
        self.absent = ancestors < 0
        self.ancestors = self.inner = ancestors.clamp(min=0)
        self.sources = torch.arange(len(names.token), device=node.device)
        self.back = torch.arange(width, device=node.device) - names.depth[node][:, None]


def _logsumexp(logits: Tensor, group: Tensor, groups: int) -> Tensor:
    """float `[b, groups]` over the columns of float `[b, e]` of the same group."""
    top = logits.new_full((len(logits), groups), -math.inf).scatter_reduce(1, group, logits, "amax")
    shifted = (logits - top.gather(1, group)).exp()
    return top + logits.new_zeros(len(logits), groups).scatter_add(1, group, shifted).log()


def _kept(of: Tensor, entity: Tensor, total: Tensor, ids: Tensor, best: Tensor) -> tuple[Tensor, Tensor]:
    """The best `k` of whole names found before and now."""
    done = entity >= 0
    if not done.any():
        return ids, best
    found, scores, _ = _ranked(of[done], entity[done], total[done], len(ids))
    ids, scores = torch.cat([ids, found], 1), torch.cat([best, scores], 1)
    best, place = scores.topk(best.shape[1], dim=1)
    return ids.gather(1, place), best


def _best(
    of: Tensor, node: Tensor, total: Tensor, b: int, width: int, bar: Tensor, exact: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The best `width` beginnings of each question; where another one above its bar is given up, it is exact no more."""
    nodes, scores, _ = _ranked(of, node, total, b)
    given_up = (scores[:, width:] > bar[:, None]).any(1)
    return nodes[:, :width], scores[:, :width], exact & ~given_up


def _ranked(of: Tensor, what: Tensor, total: Tensor, b: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of a list by question, the best first: int64 and float32 `[b, most]`, padded with 0 and -inf, and their counts."""
    order = torch.argsort(total, descending=True, stable=True)
    order = order[torch.argsort(of[order], stable=True)]
    of, what, total = of[order], what[order], total[order]
    counts = torch.bincount(of, minlength=b)
    column = torch.arange(len(of), device=of.device) - (counts.cumsum(0) - counts)[of]
    wide = int(counts.max()) if len(of) else 0
    whats = what.new_zeros(b, wide)
    totals = total.new_full((b, wide), -math.inf)
    whats[of, column], totals[of, column] = what, total
    return whats, totals, counts
