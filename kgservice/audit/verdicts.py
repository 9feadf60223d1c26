"""What the figures of an audit mean: flags with a severity, the figures, and what to do.

The limits stand between benchmarks whose faults are known and those that pass. Of the test, in percent (`Leakage`):

| data set  | direct | reversed | inverse | symmetric | same pair | duplicate |
|-----------|-------:|---------:|--------:|----------:|----------:|----------:|
| WN18      |    0.0 |     94.0 |    72.1 |      21.7 |       0.5 |       0.0 |
| JF17K     |   44.6 |      4.5 |     0.0 |       0.0 |       2.9 |       0.0 |
| Nations   |    0.0 |    100.0 |     4.5 |      52.7 |     100.0 |      25.9 |
| Kinship   |    0.0 |     81.5 |     0.0 |      23.6 |       0.0 |       0.0 |
| UMLS      |    0.0 |     40.8 |     0.0 |      14.7 |      52.2 |       0.0 |
| WN18RR    |    0.0 |     34.9 |     0.0 |      34.7 |       0.3 |       0.0 |
| CoDEx-S   |    0.0 |     14.1 |     0.0 |      13.9 |       1.6 |       0.0 |
| WD50K     |    0.0 |      5.5 |     0.0 |       3.1 |       7.7 |       0.0 |
| FB15k-237 |    0.0 |      0.0 |     0.0 |       0.0 |       0.0 |       0.0 |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal as OneOf

from kgservice.audit.leakage import Leakage
from kgservice.audit.relations import RelationPair, RelationProfile
from kgservice.audit.structure import Components, Degrees, Hierarchy

Severity = OneOf["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")

DIRECT = (0.0, 0.01)
"""Shares above which direct leakage is a warning, and an error. A sound split has none."""
INVERSE = (0.01, 0.1)
"""The same for leakage by an inverse or duplicate relation. One of the two relations can be dropped, so little is borne."""
SYMMETRIC = 0.05
"""Share from which leakage by a symmetric relation is a warning; never an error: the relation is sound, the split is not."""
REVERSED = (0.1, 0.5)
"""Shares of held-out statements whose reversed pair is known, by whatever relation, from which it is a warning, an error."""
SAME_PAIR = 0.1
UNSEEN = 0.01
"""Share of held-out statements with unseen entities from which it is a warning."""
INDUCTIVE = 0.9
"""Share of held-out statements with unseen entities from which they are what the split is for."""
SCATTERED = 0.9
"""Share of the entities in the largest component below which the rest is worth a word."""
NAMED = 3
"""Relations named in a message."""
SPLITS = {"valid": "validation", "test": "test"}


@dataclass(frozen=True)
class Flag:
    """One finding.

    Attributes:
        code: short and stable; those of leakage start with "leakage-".
        severity: "error" makes figures on the test meaningless, "warning" misleading, "info" is to know. Errors
            rest on the test, or on validation where there is no test; warnings on either.
        message: what was found, with figures, and what to do.
    """

    code: str
    severity: Severity
    message: str


def judge(
    *,
    leaks: Sequence[Leakage],
    shared: tuple[int, int],
    false_and_true: int,
    density: float,
    relations: Sequence[RelationProfile],
    overlaps: Sequence[RelationPair],
    symmetric: Sequence[RelationProfile],
    hierarchies: Sequence[Hierarchy],
    degrees: Degrees,
    components: Components,
) -> tuple[Flag, ...]:
    """All flags, the most severe first."""
    found = [
        *_leakage(leaks, symmetric, density),
        *_held_out(leaks, shared),
        *_relations(overlaps, symmetric),
        *_structure(hierarchies, degrees, components),
    ]
    if false_and_true:
        found.append(
            Flag(
                "contradiction",
                "error",
                f"{false_and_true:,} statements known to be false are also stated as true. Correct the source.",
            )
        )
    if not relations:
        found.append(
            Flag("no-statements", "error", "No statement links two entities. See what was dropped when it was read.")
        )
    return tuple(sorted(found, key=lambda flag: SEVERITIES.index(flag.severity)))


def _leakage(leaks: Sequence[Leakage], symmetric: Sequence[RelationProfile], density: float) -> Iterator[Flag]:
    if _worst(leaks, "direct") > DIRECT[0]:
        yield Flag(
            "leakage-direct",
            _severity(leaks, "direct", DIRECT[1]),
            f"{_told(leaks, 'direct')} have their subject, relation and object in training, with the same or other "
            "qualifiers. Split anew with kgservice split, which keeps a triple in one split.",
        )
    for code, what, how in (
        ("inverse", "their reversed pair in training by an inverse relation", "inverse"),
        ("duplicate", "their pair in training by a relation that says the same", "duplicate"),
    ):
        if _worst(leaks, code) >= INVERSE[0]:
            yield Flag(
                f"leakage-{code}",
                _severity(leaks, code, INVERSE[1]),
                f"{_told(leaks, code)} have {what}: a lookup answers them. "
                f"Keep one relation of each {how} pair, then split anew.",
            )
    if _worst(leaks, "symmetric") >= SYMMETRIC:
        names = f", such as {_list([profile.label for profile in symmetric])}" if symmetric else ""
        yield Flag(
            "leakage-symmetric",
            "warning",
            f"{_told(leaks, 'symmetric')} have their reversed pair in training by the same relation{names}. "
            "Report these relations apart, or split anew with kgservice split, which keeps both directions together.",
        )
    if (share := _worst(leaks, "reversed")) >= REVERSED[0] and (
        share >= REVERSED[1] or share - _worst(leaks, "symmetric") - _worst(leaks, "inverse") >= REVERSED[0]
    ):
        yield Flag(
            "leakage-reversed",
            _severity(leaks, "reversed", REVERSED[1]),
            f"{_told(leaks, 'reversed')} have their reversed pair in training by some relation.{_dense(density)} "
            "Say so beside any figure, or hold both directions of a pair out together.",
        )
    if _worst(leaks, "same_pair") >= SAME_PAIR:
        yield Flag(
            "leakage-pair",
            "warning",
            f"{_told(leaks, 'same_pair')} have their pair in training by another relation.{_dense(density)} "
            "That two entities are linked is known then; only the relation is asked.",
        )


def _held_out(leaks: Sequence[Leakage], shared: tuple[int, int]) -> Iterator[Flag]:
    if not leaks:
        yield Flag("no-held-out", "info", "Nothing is held out for validation or test. Use kgservice split.")
        return
    inductive = _worst(leaks, "unseen_entities") >= INDUCTIVE
    if inductive:
        without = (
            f"; {_told(leaks, 'without_context')} not in the context either" if _worst(leaks, "without_context") else ""
        )
        new = ", ".join(f"{leak.new_entities:,} in {SPLITS[leak.split]}" for leak in leaks)
        yield Flag(
            "inductive",
            "info",
            f"{_told(leaks, 'unseen_entities')} hold an entity that training has not ({new}){without}. "
            "Use a scorer that reads texts or neighbours.",
        )
    elif share := _worst(leaks, "unseen_entities"):
        yield Flag(
            "unseen-entities",
            "warning" if share >= UNSEEN else "info",
            f"{_told(leaks, 'unseen_entities')} hold an entity that training has not. A transductive model can only guess "
            "there: count them apart rather than drop them.",
        )
    if _worst(leaks, "unseen_relations"):
        yield Flag(
            "unseen-relations",
            "warning",
            f"{_told(leaks, 'unseen_relations')} have a relation that training has not. Split anew with kgservice split.",
        )
    triples, shown = shared
    if triples:
        words = _count(triples, "triple is", "triples are")
        yield Flag(
            "valid-in-test", "warning", f"{words} both in validation and in test. Split anew with kgservice split."
        )
    if inductive and shown and len(leaks) > 1:
        yield Flag(
            "inductive-overlap",
            "info",
            f"{percent(leaks[-1].share(shown))} of the test statements ({shown:,} of {leaks[-1].statements:,}) have no "
            "entity that training and validation have not: settings chosen on validation have met their entities.",
        )


def _relations(overlaps: Sequence[RelationPair], symmetric: Sequence[RelationProfile]) -> Iterator[Flag]:
    for kind, words in (("inverse", "are each other's inverse"), ("duplicate", "link the same pairs")):
        mutual = [pair for pair in overlaps if pair.kind == kind and pair.mutual]
        if mutual:
            names = _list(
                [
                    f"{pair.first} and {pair.second} ({percent(min(pair.first_share, pair.second_share))})"
                    for pair in mutual
                ]
            )
            yield Flag(
                f"{kind}-relations",
                "info",
                f"{_count(len(mutual), 'pair', 'pairs')} of relations {words}: {names}. One of each can be left out.",
            )
    if symmetric:
        names = _list([f"{profile.label} ({percent(profile.symmetric)})" for profile in symmetric])
        yield Flag(
            "symmetric-relations",
            "info",
            f"{_count(len(symmetric), 'relation is', 'relations are')} symmetric: {names}.",
        )


def _structure(hierarchies: Sequence[Hierarchy], degrees: Degrees, components: Components) -> Iterator[Flag]:
    for hierarchy in hierarchies:
        if hierarchy.cycles or hierarchy.loops:
            parts = []
            if hierarchy.cycles:
                parts.append(
                    f"{_count(hierarchy.cycles, 'cycle', 'cycles')} over {hierarchy.in_cycles:,} classes, the largest "
                    f"over {hierarchy.largest:,}: {', '.join(hierarchy.examples)}"
                )
            if hierarchy.loops:
                parts.append(_count(hierarchy.loops, "class below itself", "classes below themselves"))
            yield Flag(
                "cyclic-hierarchy",
                "warning",
                f"{hierarchy.relation} has {'; '.join(parts)}. Each class is below the others: correct the source, or "
                "take each cycle as one class.",
            )
    if degrees.isolated:
        where = f", {degrees.in_qualifiers:,} of them in qualifiers alone" if degrees.in_qualifiers else ""
        yield Flag(
            "isolated-entities",
            "info",
            f"{_count(degrees.isolated, 'entity has', 'entities have')} no statement{where}. "
            "A scorer of triples cannot place them.",
        )
    if components.count > 1 and components.share < SCATTERED:
        yield Flag(
            "scattered",
            "info",
            f"The graph falls into {components.count:,} parts; the largest holds {percent(components.share)} of the "
            "linked entities.",
        )


def _worst(leaks: Sequence[Leakage], what: str) -> float:
    return max((leak.share(getattr(leak, what)) for leak in leaks), default=0.0)


def _severity(leaks: Sequence[Leakage], what: str, limit: float) -> Severity:
    """By the last split, which is the test where there is one."""
    return "error" if leaks[-1].share(getattr(leaks[-1], what)) >= limit else "warning"


def _told(leaks: Sequence[Leakage], what: str) -> str:
    """ "44.6 % of the test statements (10,954 of 24,568)", for every split that has some."""
    told = [
        f"{percent(leak.share(count))} of the {SPLITS[leak.split]} statements ({count:,} of {leak.statements:,})"
        for leak in leaks
        if (count := getattr(leak, what))
    ]
    return " and ".join(told[::-1])


def _dense(density: float) -> str:
    return (
        f" The graph is dense: of all pairs of entities {percent(density)} are linked, so much is to be expected."
        if density >= 0.1
        else ""
    )


def _list(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _count(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def percent(share: float) -> str:
    """ "44.6 %"; what is there but little is not told as nothing."""
    return "< 0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"
