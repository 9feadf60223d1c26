"""One run: learn, propose, doubt, write, and tell how it went."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from kgservice.graph import KnowledgeGraph
from kgservice.graph.texts import TextKind
from kgservice.naming.combiner import Combiner
from kgservice.naming.models import ChatSource
from kgservice.naming.proposing import Naming, Settings
from kgservice.naming.sources import NameSource, read_table
from kgservice.naming.writing import Origin, format_of, write_names


@dataclass
class Run:
    """A graph, sources, settings.

    Attributes:
        count_only: learn nothing, count votes.
        base: before ids of entities in RDF.
    """

    graph: KnowledgeGraph
    sources: Sequence[NameSource]
    settings: Settings
    count_only: bool = False
    base: str = "https://kgservice.example/entity/"
    told: dict[str, Any] = field(default_factory=dict)

    def write(
        self,
        out: Path,
        *,
        combiner: Path | None = None,
        save: Path | None = None,
        errors: Path | None = None,
        verdicts: Path | None = None,
        report: Path | None = None,
    ) -> list[str]:
        """Write proposals, and what else is asked for.

        Args:
            out: of proposals.
            combiner: a saved one to use instead of learning.
            save: where to keep what was learnt.
            errors: of names that are probably wrong.
            verdicts: a table of entity, name and correct to learn wrong names from.
            report: of the figures, JSON.

        Returns:
            Lines that tell how it went.
        """
        for path in (out, errors):
            if path is not None:
                format_of(path)  # before the work, not after it
        clock = time.perf_counter()
        naming = Naming(self.graph, self.sources, self.settings)
        self.told = {
            "language": self.settings.language, "settings": asdict(self.settings), "lacking": len(naming.lacking),
            "named": len(naming.named), "sources": [source.name for source in naming.sources],
        }  # fmt: skip
        what = f"{self.settings.kind.name.lower()}s in {self.settings.language}"
        lines = [f"{len(naming.lacking):,} entities lack, {len(naming.named):,} have {what}"]
        chosen = self._combiner(naming, combiner, lines)
        if save is not None and chosen is not None:
            chosen.save(save)
        with _bar("proposing", len(naming.asked)) as advance:
            written = write_names(naming.propose(chosen, advance), out, self._origin(doubts=False))
        self.told["proposals"] = written
        lines.append(f"{written['written']:,} proposed, {written['left_out']:,} that the format cannot say: {out}")
        if errors is not None:
            self._doubt(naming, errors, verdicts, lines)
        chats = {source.name: source.chat for source in naming.sources if isinstance(source, ChatSource)}
        self.told["endpoints"] = {name: chat.spent() for name, chat in chats.items()}
        self.told["duration_s"] = round(time.perf_counter() - clock, 2)
        if report is not None:
            report.write_text(json.dumps(self.told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return lines

    def _combiner(self, naming: Naming, saved: Path | None, lines: list[str]) -> Combiner | None:
        if self.count_only or self.settings.kind == TextKind.DESCRIPTION:
            lines.append(f"votes are counted, {self.settings.votes:g} are needed; nothing is calibrated")
            return None
        if saved is not None:
            return Combiner.open(saved)
        with _bar("learning", min(len(naming.named), self.settings.learn_from)) as advance:
            learnt = naming.learn(advance)
        self.told["learnt"] = learnt.figures
        ours, votes = learnt.figures["combiner"], learnt.figures["votes >= 2"]
        lines.append(
            f"on entities held out: P {ours['p']:.3f} R {ours['r']:.3f} F1 {ours['f1']:.3f} from probability "
            f"{learnt.figures['threshold']:.2f} on; two votes: P {votes['p']:.3f} R {votes['r']:.3f} F1 {votes['f1']:.3f}"
        )
        return learnt.combiner

    def _doubt(self, naming: Naming, errors: Path, verdicts: Path | None, lines: list[str]) -> None:
        with _bar("doubting", len(naming.named)) as advance:
            found, figures = naming.doubts(None if verdicts is None else read_table(verdicts), advance)
        self.told["doubts"] = {**figures, **write_names(iter([found]), errors, self._origin(doubts=True))}
        got = figures["figures"]
        lines.append(
            f"{found.height:,} names doubted, learnt from {figures['learnt_from']}; on entities held out: "
            f"accuracy {got['p']:.3f}, recall of wrong ones {got['r']:.3f}: {errors}"
        )

    def _origin(self, *, doubts: bool) -> Origin:
        settings = {**asdict(self.settings), "sources": [source.name for source in self.sources], "doubts": doubts}
        mark = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        return Origin(f"urn:kgservice:names:{mark}", doubts, self.base, self.graph.prefixes)


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], object]]:
    """Advances a progress bar, on a terminal only."""
    with tqdm(total=total, desc=what, unit=" entities", disable=not sys.stderr.isatty()) as bar:
        yield bar.update
