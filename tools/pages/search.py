"""How entities are found: speed, known items, judged collections, and what is not there."""

from __future__ import annotations

from collections.abc import Iterator

from pages.results import RESULTS, result, table


def searched() -> Iterator[str]:
    """What the benchmarks of search found, those of them whose results are there."""
    if (RESULTS / "entity.json").exists():
        yield from judged()
    if (RESULTS / "known-items.json").exists():
        yield from known_items()
    if (RESULTS / "nil.json").exists():
        yield from absent()
    if (RESULTS / "search.json").exists():
        yield from million_names()


def judged() -> Iterator[str]:
    """DBpedia-Entity v2."""
    record = result("entity")
    anew = record["ranked anew"]
    yield f"NDCG@10 on DBpedia-Entity v2, the first {anew['depth']} of the given run ranked anew by names; `make bench-entity`:"
    rows = {
        kind.replace("all_queries", "all"): (
            str(found["queries"]), f"{found['run']:.3f}", f"{found['ranked anew']:.3f}", f"{found['p']:.2g}"
        )
        for kind, found in anew["ndcg"].items()
    }  # fmt: skip
    yield from table(("queries", "the run", "ranked anew", "p"), rows)
    if "collection" in record:
        found = record["collection"]
        yield f"\nThe collection of {found['entities']:,} entities, {found['queries']} queries, NDCG@10:"
        yield from table(("NDCG@10",), {who: (f"{value:.3f}",) for who, value in found["ndcg"].items()})
        yield "\n" + "; ".join(f"{pair}: p = {p:.2g}" for pair, p in found["p"].items()) + "."


def known_items() -> Iterator[str]:
    """Names typed wrongly."""
    record = result("known-items")
    for name, found in record["graphs"].items():
        yield (
            f"\nNames of {name} ({found['names']:,}, {found['questions']:,} asked), share found first / among the first five; "
            "`make bench-known-items`:"
        )
        systems = list(next(iter(found["success"].values())))
        rows = {
            typos: tuple(f"{shares[who]['at_1']:.3f} / {shares[who]['at_5']:.3f}" for who in systems)
            for typos, shares in found["success"].items()
        }
        yield from table(systems, rows)


def absent() -> Iterator[str]:
    """Telling what is not there."""
    record = result("nil")
    yield (
        f"\nIs it there? {record['entities']:,} entities held in; balanced accuracy on the half not learnt from, and "
        "how often each kind is judged wrongly by the thresholds that are served; `make bench-nil`:"
    )
    kinds = list(record["questions"])
    rows = {
        {"lexical": "by words", "auto": "by both"}[mode]: (
            f"{found['balanced_accuracy_served']:.3f}",
            f"{found['auc_of_score_for_names']:.3f}",
            *(f"{found['wrong_served'][kind]:.3f}" for kind in kinds),
        )
        for mode, found in record["modes"].items()
    }
    columns = "balanced accuracy", "AUC of names", *(f"{kind} ({record['questions'][kind]:,})" for kind in kinds)
    yield from table(columns, rows)


def million_names() -> Iterator[str]:
    """Speed over many names."""
    record = result("search")
    built, task = record["build"], record["task"]
    yield (
        f"\n{task['entities']:,} made names, {record['machine']['cores']} cores ({record['machine']['cpu']}); built in "
        f"{built['lexical_s']:,.0f} s by words and {built['vectors_s']:,.0f} s by meaning, peak {built['peak_mib']:,.0f} MiB; "
        f"searching peaks at {record['in process']['peak_mib']:,.0f} MiB; `make bench-search`:"
    )
    rows = {}
    systems = {
        "kgservice": record["in process"]["kinds"],
        **{who: peer["kinds"] for who, peer in record["peers"].items()},
    }
    for who, kinds in systems.items():
        for kind, took in kinds.items():
            rows[f"{who}, {kind}"] = f"{took['p50_ms']:.1f}", f"{took['p99_ms']:.1f}", f"{took['per_s']:,.0f}"
    yield from table(("p50 ms", "p99 ms", "questions/s"), rows)
    rates = {
        f"{how}, {kind}": (f"{found['per_s']:,.0f}",)
        for how in ("one at a time", "at the same time", "many at once")
        for kind, found in record["over HTTP"][how].items()
    }
    yield "\nOver HTTP, clients on the same cores:"
    yield from table(("questions/s",), rates)
    bars = {
        bar.replace("_", " "): (f"{found['asked']:g}", f"{found['measured']:,.1f}", "yes" if found["met"] else "no")
        for bar, found in record["bars"].items()
    }
    yield from table(("asked", "measured", "met"), bars)
