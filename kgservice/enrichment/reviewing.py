"""What to have reviewed first, and what verdicts say of all the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kgservice.enrichment.links import ranks
from kgservice.enrichment.writers import PROV, RDF, XSD, Origin
from kgservice.errors import InputError
from kgservice.files import replacing
from kgservice.graph.names import KG
from kgservice.store.reviews import Review

Floats = npt.NDArray[np.float64]

STRENGTH = 4.0
"""Verdicts that a relation's mean probability counts for, beside those of people."""
OFFSET_SPREAD = 1.0
"""Prior standard deviation of what verdicts add to log-odds: to all, and to each relation."""
LEVEL = 0.95


def ordered(table: pa.Table, count: int, audit: float = 0.2, seed: int = 0) -> Iterator[dict[str, Any]]:
    """What is to be reviewed, what teaches most first.

    A proposal teaches the more the less sure it is, the more others its relation has, and the fewer of its relation and subject
    stand before it. Among these stands a share that is drawn at random from all: what teaches most says nothing of how many are
    right.

    Args:
        table: of `NAMED`.
        count: how many.
        audit: share of them that is drawn at random.
        seed: of the draw.

    Yields:
        subject, relation, object, probability, audit.
    """
    m = len(table)
    count = min(count, m)
    drawn = np.random.default_rng(seed).permutation(m)[: round(audit * count)]
    probability = table["probability"].to_numpy()
    relation, subject = (np.unique(table[name].to_numpy(), return_inverse=True)[1] for name in ("relation", "subject"))
    doubt = probability * (1 - probability)
    coverage = np.log1p(np.bincount(relation))[relation]
    value = doubt * coverage
    for group in (relation, subject):
        value = value / ranks(group, doubt)
    value[drawn] = -1
    taught = np.argsort(-value, kind="stable")[: count - len(drawn)]
    # One drawn at random after every so many others, so that a review that stops early has its share of them.
    when = np.concatenate([np.arange(len(taught)) + 0.5, (np.arange(len(drawn)) + 1) * len(taught) / (len(drawn) + 1)])
    chosen, random = np.concatenate([taught, drawn]), np.arange(count) >= len(taught)
    order = np.argsort(when, kind="stable")
    rows = table.take(pa.array(chosen[order])).select(["subject", "relation", "object", "probability"]).to_pylist()
    for row, audited in zip(rows, random[order].tolist(), strict=True):
        yield {**row, "audit": audited}


@dataclass(frozen=True)
class Share:
    """A share of right ones: the mean of a Beta posterior, and the interval that holds it with `LEVEL`.

    Attributes:
        accepted, rejected: verdicts that it rests on.
        mean, low, high: of the posterior.
    """

    accepted: int
    rejected: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class RelationShare(Share):
    """The same of one relation; before any verdict, its mean probability counts for `STRENGTH` verdicts."""

    relation: str


@dataclass(frozen=True)
class ReviewSummary:
    """What verdicts say of a run.

    Attributes:
        accepted, rejected, unsure: all verdicts.
        precision: of the run, from those drawn at random alone (Jeffreys prior); None without any.
        expected: what the run's probabilities said.
        recalibrated: the mean probability after the verdicts.
        relations: of each relation with verdicts.
    """

    accepted: int
    rejected: int
    unsure: int
    precision: Share | None
    expected: float | None
    recalibrated: float | None
    relations: list[RelationShare]


def summary(table: pa.Table, verdicts: Sequence[Review]) -> ReviewSummary:
    """What verdicts say.

    Args:
        table: of `NAMED`, all that the run gave out.
        verdicts: on some of it.
    """
    told = [one for one in verdicts if one.verdict in ("accept", "reject")]
    drawn = [one for one in told if one.audit]
    probability = table["probability"].to_numpy()
    of = np.array(table["relation"].to_pylist(), dtype=object)
    relations = []
    for relation in sorted({one.relation for one in told}):
        mean = float(probability[of == relation].mean()) if (of == relation).any() else 0.5
        own = [one for one in told if one.relation == relation]
        relations.append(RelationShare(**vars(_share(own, STRENGTH * mean, STRENGTH * (1 - mean))), relation=relation))
    return ReviewSummary(
        accepted=sum(one.verdict == "accept" for one in told),
        rejected=sum(one.verdict == "reject" for one in told),
        unsure=len(verdicts) - len(told),
        precision=_share(drawn, 0.5, 0.5) if drawn else None,
        expected=float(probability.mean()) if len(probability) else None,
        recalibrated=float(recalibrated(table, verdicts).mean()) if len(probability) else None,
        relations=relations,
    )


def recalibrated(table: pa.Table, verdicts: Sequence[Review]) -> Floats:
    """float64 `[m]`: the probabilities after verdicts.

    Log-odds are moved by an amount common to all and one of each relation, the most probable ones under normal priors around 0.
    Which ones were reviewed first does not bias this, since that was chosen by probability and relation alone.

    Args:
        table: of `NAMED`.
        verdicts: accepted and rejected ones count.
    """
    from scipy.optimize import minimize

    told = [one for one in verdicts if one.verdict in ("accept", "reject")]
    odds = _logit(table["probability"].to_numpy().astype(np.float64))
    if not told:
        return _sigmoid(odds)
    names, place = np.unique(np.array([one.relation for one in told], dtype=object), return_inverse=True)
    said = _logit(np.array([one.probability for one in told]))
    right = np.array([one.verdict == "accept" for one in told], dtype=np.float64)

    def loss(moves: Floats) -> tuple[float, Floats]:
        at = said + moves[0] + moves[1:][place]
        error = _sigmoid(at) - right
        value = np.logaddexp(0, at).sum() - (right * at).sum() + (moves**2).sum() / (2 * OFFSET_SPREAD**2)
        slope = np.append(error.sum(), np.bincount(place, error, minlength=len(names))) + moves / OFFSET_SPREAD**2
        return float(value), slope

    moves = minimize(loss, np.zeros(len(names) + 1), jac=True, method="L-BFGS-B").x
    own = dict(zip(names.tolist(), moves[1:].tolist(), strict=True))
    return _sigmoid(odds + moves[0] + np.array([own.get(one, 0.0) for one in table["relation"].to_pylist()]))


def write_accepted(verdicts: Sequence[Review], path: Path, base: str) -> int:
    """Write accepted links as statements with the reviewer as source, for `kgservice ingest --into GRAPH`.

    Of doubted statements, the accepted doubts are written as bare triples, for `kgservice ingest --into GRAPH --delete`.

    Args:
        verdicts: of one kind.
        path: ends in `.nt`, `.nq` or `.trig`.
        base: what names that are no IRIs are put behind.

    Returns:
        How many.

    Raises:
        InputError: another ending, or verdicts of both kinds.
    """
    import pyoxigraph as ox

    forms = {".nt": ox.RdfFormat.N_TRIPLES, ".nq": ox.RdfFormat.N_QUADS, ".trig": ox.RdfFormat.TRIG}
    if path.suffix not in forms:
        raise InputError(f"{path}: expected a name that ends in {', '.join(forms)}")
    accepted = [one for one in verdicts if one.verdict == "accept"]
    if len({one.kind for one in accepted}) > 1:
        raise InputError("accepted links are added and accepted doubts are deleted: choose one run")
    with replacing(path) as staging:
        ox.serialize(_accepted(accepted, Origin("", "", "", "", base)), str(staging), format=forms[path.suffix])
    return len(accepted)


def _accepted(reviews: Sequence[Review], origin: Origin) -> Iterator[Any]:
    import pyoxigraph as ox

    named = ox.NamedNode
    for one in reviews:
        triple = ox.Triple(*(named(origin.iri(name)) for name in (one.subject, one.relation, one.object)))
        yield triple
        if one.kind == "errors":
            continue
        source = named(f"urn:kgservice:review:{one.id}")
        when = datetime.fromtimestamp(one.reviewed or 0, UTC).date().isoformat()
        yield ox.Triple(source, named(RDF + "reifies"), triple)
        yield ox.Triple(source, named(PROV + "wasAttributedTo"), ox.Literal(one.reviewer or "unnamed"))
        yield ox.Triple(source, named(PROV + "generatedAtTime"), ox.Literal(when, datatype=named(XSD + "date")))
        if one.reason:
            yield ox.Triple(source, named(KG + "reason"), ox.Literal(one.reason))


def _share(verdicts: Sequence[Review], alpha: float, beta: float) -> Share:
    from scipy.stats import beta as distribution

    accepted = sum(one.verdict == "accept" for one in verdicts)
    rejected = len(verdicts) - accepted
    posterior = distribution(alpha + accepted, beta + rejected)
    low, high = posterior.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Share(accepted, rejected, float(posterior.mean()), float(low), float(high))


def _logit(probability: Floats) -> Floats:
    inside = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(inside / (1 - inside)))


def _sigmoid(odds: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * odds)))
