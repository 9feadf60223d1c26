"""An explanation in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from kgservice.answers import Named, Value, Verdict
from kgservice.answers.explanations import AlikeLink, Deletion, EvidencePath, Link, Rule, Test


def call(one: Named | Value) -> str:
    """What people call it."""
    return one.label or one.id or "?"


def told(link: Link) -> str:
    """A link in words."""
    return f"{call(link.subject)} – {call(link.relation)} – {call(link.object)}"


def sentence(
    verdict: Verdict,
    paths: Sequence[EvidencePath],
    rules: Sequence[Rule],
    alike: Sequence[AlikeLink],
    deletions: Sequence[Deletion],
    test: Test | None = "vector",
) -> str:
    """The statement, how sure the model is, and the first of each kind of evidence."""
    head = told(Link(verdict.subject, verdict.relation, verdict.object))
    sure = (
        f"is {verdict.probability:.0%} probable"
        if verdict.probability is not None
        else f"has a score of {verdict.score:.3g}"
    )
    reasons = []
    if paths:
        walk = ", and ".join(told(step.link) for step in paths[0].steps)
        rule = rules[paths[0].rule] if paths[0].rule is not None else None
        often = f" (so are {rule.support:,} of {rule.pairs:,} other pairs linked in this way)" if rule else ""
        reasons.append(f"{walk}{often}")
    if alike:
        first = alike[0]
        one, other = (
            (first.link.subject, verdict.subject) if first.end == "subject" else (first.link.object, verdict.object)
        )
        reasons.append(f"{told(first.link)} is stated, and {call(one)} is like {call(other)} ({first.similarity:.2f})")
    if deletions and deletions[0].fall > 0:
        fact, fall = deletions[0].fact, deletions[0].fall
        said = f"{call(fact.subject)} – {call(fact.relation)} – {call(fact.object)}"
        falls = f"the score of {verdict.score:.3g} falls by {fall:.2g}"
        reasons.append(
            f"without {said} {falls}" if test == "vector" else f"of all facts tested, {said} teaches it the most"
        )
    stated = ", and is stated" if verdict.known else ""
    if not reasons:
        return f"{head} {sure}{stated}; no path of three statements, like entity or fact of its ends supports it."
    return f"{head} {sure}{stated}: {'; '.join(reasons)}."
