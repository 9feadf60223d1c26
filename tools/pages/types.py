"""Types and names: what is told of entities beside links."""

from __future__ import annotations

from collections.abc import Iterator

from pages.results import result, table


def typed() -> Iterator[str]:
    """Types told by graph, text and both."""
    yield (
        "\nWhich types entities have, told by a regression over frozen vectors, on entities that it was not fitted to; text is "
        "label, description and aliases, and half of the entities of CoDEx-M and WD50K have none; `make bench-types`, more in "
        "[types.md](types.md):"
    )
    yield from told("all")


def told(which: str) -> Iterator[str]:
    """Figures of the heads on `all` measured entities, or on those `with text`."""
    keys = ("micro_f1", "macro_f1", "accuracy", "balanced_accuracy", "expected_calibration_error")
    columns = "micro F1", "macro F1", "accuracy of the first", "balanced", "ECE"
    yield from table(
        columns,
        {
            f"{name}, {who}": tuple(f"{figures[which][key]:.3f}" for key in keys)
            for name, found in result("types")["data"].items()
            for who, figures in found["figures"].items()
        },
    )


def named() -> Iterator[str]:
    """Names in many languages: means, then languages."""
    record = result("names-wikikge")
    coverage, precision = (record["means"][task] for task in ("coverage", "precision"))
    rows = {
        name: tuple(f"{task[name]:.1f}" if name in task else "" for task in (coverage, precision))
        for name in precision
        if name != "met"
    }
    yield from table(("coverage F1", "precision-task F1"), rows)
    languages = record["languages"].items()
    rows = {
        f"combiner, {language}": tuple(
            f"{task['combiner'][figure]:{form}}"
            for task in (tasks["coverage"], tasks["precision"])
            for figure, form in (("p", ".1f"), ("r", ".1f"), ("f1", ".1f"), ("ece", ".3f"))
        )
        for language, tasks in languages
    }
    yield f"\nThe combiner by language, means of {len(record['seeds'])} seeds of the folds; in the precision task P is accuracy:"
    yield from table([f"{task} {one}" for task in ("coverage", "precision") for one in ("P", "R", "F1", "ECE")], rows)
    told = record["published"]
    yield (
        f"\nOur scorer gives {told['within_0.1']} of the {told['rows']} published rows (precision, recall, F1) to ±0.1. The "
        f"others, {', '.join(told['others'])}, do not follow from the predictions that are published with them."
    )


def types_measured() -> Iterator[str]:
    """Heads, how they differ, and types told by their texts."""
    record = result("types")
    sizes = (f"{name} {found['measured']:,}" for name, found in record["data"].items())
    yield (
        f"All by `make bench-types` (`tests/bench/results/types.json`). Entities measured: {', '.join(sizes)}. Graph vectors are "
        "those of a ComplEx trained in minutes on the training statements, text vectors what "
        f'{record["encoder"]} and {record["words"]} directions of words read of labels; "most frequent" names that type always.'
    )
    yield from told("all")
    yield "\nOn the entities that have a text:"
    yield from told("with text")
    yield (
        "\nDifferences on the same entities, with 95 % bootstrap intervals over entities, and the p-value of exchanging the two "
        "at random:"
    )
    rows = {}
    for name, found in record["data"].items():
        for pair, figures in found["differences"].items():
            rows[f"{name}, {pair}"] = tuple(
                f"{one['difference']:+.3f} [{one['interval'][0]:+.3f}, {one['interval'][1]:+.3f}], p {one['p']:.3f}"
                for one in (figures[key] for key in ("accuracy", "micro_f1", "macro_f1"))
            )
    yield from table(("accuracy", "micro F1", "macro F1"), rows)
    yield (
        "\nTypes that were not learnt, told by their texts, means over types: MRR and hits@1 among the types of a fold, a fifth "
        "of all; ROC-AUC among entities. The map is from these vectors:"
    )
    rows = {}
    for name, found in record["data"].items():
        for who, unseen in found.get("unseen", {}).items():
            scores = {"both": f"map of {who}, and cosine", "map": f"map of {who}"}
            if who == "graph":
                scores |= {"cosine": "cosine alone", "random": "random"}
            for score, title in scores.items():
                ece = f"{unseen['expected_calibration_error']:.3f}" if score == "both" else "–"
                figures = tuple(f"{unseen[score][key]:.3f}" for key in ("mrr", "hits@1", "roc_auc"))
                rows[f"{name}, {title}"] = (str(unseen["types_measured"]), *figures, ece)
    yield from table(("types", "MRR", "hits@1", "ROC-AUC", "ECE"), rows)
