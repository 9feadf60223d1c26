"""What enriching graphs gives and costs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pages.results import decimal, result, table


def enriched() -> Iterator[str]:
    """What `make bench-enrich` found."""
    record = result("enrich")
    for name, found in record["data"].items():
        if "links" in found:
            yield from recovered(name, found["links"])
    for name, found in record["data"].items():
        if "errors" in found:
            wrong = found["errors"]
            yield (
                f"\n{name}, {wrong['wrong']:,} of {wrong['statements']:,} training statements with one end exchanged for another "
                f"that their relation has elsewhere: AUC {wrong['auc']:.3f}, precision among the first twentieth "
                f"{wrong['precision_at_5_percent']:.3f}; by raw score AUC {wrong['raw_score_auc']:.3f}."
            )
    yield from speeds(record)


def recovered(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    """A graph whose removed statements were looked for."""
    models = ", ".join(
        f"{kind['scorer']} of {kind['width']} reals, {kind['epochs']} epochs" for kind in found["models"].values()
    )
    yield f"\n{name}, {found['removed']:,} of {found['statements']:,} statements removed ({models}):"
    rows = {}
    for one in found["targets"]:
        groups = [row for row in one["groups"] if row["links"] >= LARGE]
        told = "; ".join(
            f"{row['group'].rpartition('/')[2]} {row['links']:,}: {row['precision']:.2f}" for row in groups
        )
        off = [abs(row["precision"] - max(one["asked"], row["expected"])) for row in groups]
        luck = [1.96 * math.sqrt(row["expected"] * (1 - row["expected"]) / row["links"]) for row in groups]
        rows[f"{one['asked']}"] = (
            f"{one['links']:,}", decimal(one["precision"]), decimal(one["recall"]), decimal(one["raw_score_precision"]),
            str(one["relations_abstained"]), f"{sum(miss <= TOLERANCE for miss in off)} of {len(off)}",
            f"{sum(miss <= TOLERANCE + by for miss, by in zip(off, luck, strict=True))} of {len(off)}", told or "none",
        )  # fmt: skip
    columns = (
        "links",
        "precision found",
        "recall",
        "by raw score",
        "relations that abstain",
        "within 0.03",
        "and luck",
    )
    yield from table((*columns, "groups of 400 or more, and their precision"), rows)


def speeds(record: Mapping[str, Any]) -> Iterator[str]:
    """How fast, beside the product of matrices and PyKEEN."""
    yield "\nSpeed on one thread, a relation at a time (`products in`: what scores are first taken in):"
    rows = {}
    parts = [(name, found["links"]) for name, found in record["data"].items() if "links" in found]
    parts += [("made, 1,000,000 entities × 50 relations", record["million"])] if "million" in record else []
    for name, found in parts:
        speed = found["speed"]
        if "products_in" not in speed:
            continue
        run = speed if "links_per_s_of_the_run" in speed else found
        shares = ", ".join(f"{share:.2f} of {kind}'s" for kind, share in speed["share_of_gemm"].items())
        rows[name] = (
            speed["products_in"], f"{speed['pairs_per_s'] / 1e6:.0f}", shares, f"{run['pairs_per_s_of_the_run'] / 1e6:.1f}",
            f"{run['links_per_s_of_the_run']:,.0f}", f"{run['peak_mib']:,.0f}",
        )  # fmt: skip
    columns = ("products in", "million pairs/s", "share of the product of matrices", "million pairs/s of a whole run")
    yield from table((*columns, "links kept/s", "peak MiB"), rows)
    if "peer" in record:
        peer = record["peer"]
        batch, best = min(peer["pykeen_s"].items(), key=lambda pair: pair[1])
        yield (
            f"\nThe {peer['k']:,} best of all {peer['pairs']:,} links of {peer['dataset']} that there could be, from the same "
            f"weights of {peer['width']} reals, threads: {peer['threads']}, nothing pruned: `strongest` "
            f"{min(peer['ours_s'].values()):.2f} s, PyKEEN {peer['pykeen']}'s `predict_all` {best:.2f} s at its best batch size, "
            f"{batch}: {peer['times_faster']:.1f} times faster. Scores differ by at most "
            f"{peer['largest_difference_of_scores']:.1g}."
        )


LARGE, TOLERANCE = 400, 0.03
