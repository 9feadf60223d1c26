"""Caption the images of a graph: resumable, many at once, with an estimate before and a report after.

Every caption is kept as soon as it is made, by the image's bytes, the relation and what made it; a job that was killed, or whose
budget was spent, goes on where it was, and the same image is never paid for twice.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO

import numpy as np
from tqdm import tqdm

from kgservice.captioning import Captioner, CaptioningFailed, Picture
from kgservice.captioning.endpoint import BudgetSpent, Endpoint
from kgservice.captioning.images import Image, local
from kgservice.graph import KnowledgeGraph
from kgservice.graph.captions import ANY, Captions
from kgservice.graph.vocabulary import local_name

logger = logging.getLogger(__name__)

SHOWN_FAILURES = 20


@dataclass
class Report:
    """What became of a job.

    Attributes:
        images: that entities have.
        wanted: captions asked for, images by relations.
        made, kept: captions made now, and those made before.
        empty: captions that say nothing.
        failed: by reason, without names of files.
        failures: the first ones, in full.
        spent_tokens, calls, retries: of an endpoint.
        duration_s: seconds.
        finished: whether nothing is left to do but what failed.
    """

    images: int = 0
    wanted: int = 0
    made: int = 0
    kept: int = 0
    empty: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    spent_tokens: int = 0
    calls: int = 0
    retries: int = 0
    duration_s: float = 0.0
    finished: bool = True

    def to_json(self) -> dict[str, object]:
        """For a file."""
        return asdict(self)


class Kept:
    """Captions made before, in a file that only grows; a line that a kill has torn is left out.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.texts: dict[tuple[str, str], str] = {}
        self._file: IO[str] | None = None
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                    self.texts[row["sha256"], row["relation"]] = row["text"]
                except (ValueError, KeyError, TypeError):
                    logger.warning("%s: a torn line is left out", path)

    def put(self, sha256: str, relation: str, text: str) -> None:
        """Keep one, on the disk before this returns."""
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torn = self.path.exists() and not self.path.read_bytes().endswith(b"\n")
            self._file = self.path.open("a", encoding="utf-8")
            if torn:
                self._file.write("\n")
        self.texts[sha256, relation] = text
        line = {"sha256": sha256, "relation": relation, "text": text}
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def caption(
    graph: KnowledgeGraph,
    images: Sequence[Image],
    captioner: Captioner,
    folder: Path,
    *,
    relations: Sequence[int] = (ANY,),
    progress: bool = False,
) -> tuple[Captions, Report]:
    """Caption images of entities.

    Args:
        graph: whose entities.
        images: one of each.
        captioner: says what they show.
        folder: where captions and fetched images are kept; many jobs may share it, one at a time.
        relations: that prompt; `ANY` for what an image shows at all. A captioner that is not prompted is asked for that alone.
        progress: show a bar on a terminal.

    Returns:
        The captions, those of former runs among them, and what became of the job. It does not raise where images fail.
    """
    started, report = time.monotonic(), Report(images=len(images))
    mark = hashlib.sha256(captioner.fingerprint.encode()).hexdigest()[:16]
    kept = Kept(folder / f"{mark}.jsonl")
    asked = list(relations) if captioner.prompted else [ANY]
    rows: list[tuple[int, int, str]] = []
    failed: Counter[str] = Counter()
    try:
        work = _pictures(graph, images, asked, folder / "images", report, failed)
        report.wanted = len(images) * len(asked)
        with tqdm(total=report.wanted, desc="captions", unit="caption", disable=None if progress else True) as bar:
            for entity, relation, result in _done(work, captioner, kept, report):
                bar.update()
                if isinstance(result, CaptioningFailed):
                    _fail(report, failed, result)
                    report.finished &= not isinstance(result, BudgetSpent)
                elif result:
                    rows.append((entity, relation, result))
                else:
                    report.empty += 1
    finally:
        kept.close()
    if isinstance(captioner, Endpoint):
        report.spent_tokens, report.calls, report.retries = captioner.spent_tokens, captioner.calls, captioner.retries
    report.failed, report.duration_s = dict(failed), time.monotonic() - started
    columns = np.array([row[:2] for row in rows], dtype=np.int32).reshape(-1, 2)
    return Captions.build(columns[:, 0], columns[:, 1], [text for _, _, text in rows]), report


def with_captions(graph: KnowledgeGraph, captions: Captions) -> KnowledgeGraph:
    """The graph with these captions over those it has."""
    before = graph.captions
    merged = Captions.build(
        np.concatenate([before.entity, captions.entity]),
        np.concatenate([before.relation, captions.relation]),
        [*before.texts, *captions.texts],
    )
    return replace(graph, captions=merged)


def phrases(graph: KnowledgeGraph) -> list[str]:
    """`[r]`: each relation in words, as a captioner is prompted."""
    every = np.arange(graph.r)
    labels = graph.relation_texts.labels(every)
    return [
        label or local_name(name).replace("_", " ")
        for label, name in zip(labels, graph.relations.names_of(every), strict=True)
    ]


def _pictures(
    graph: KnowledgeGraph,
    images: Sequence[Image],
    relations: Sequence[int],
    folder: Path,
    report: Report,
    failed: Counter[str],
) -> Iterator[tuple[int, int, Picture]]:
    said = phrases(graph)
    labels = graph.texts.labels([image.entity for image in images])
    for image, label in zip(images, labels, strict=True):
        name = graph.entities.name(image.entity)
        try:
            path = local(image, folder)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except (CaptioningFailed, OSError) as error:
            for _ in relations:
                _fail(report, failed, error)
            continue
        for relation in relations:
            phrase = "" if relation == ANY else said[relation]
            yield image.entity, relation, Picture(name, label or local_name(name), phrase, path, digest)


def _done(
    work: Iterator[tuple[int, int, Picture]], captioner: Captioner, kept: Kept, report: Report
) -> Iterator[tuple[int, int, str | CaptioningFailed]]:
    """Every caption, as it is made; no more calls than the captioner takes at once, and none after its budget."""
    pending: dict[Future[str], tuple[int, int, Picture]] = {}
    spent: BudgetSpent | None = None
    with ThreadPoolExecutor(captioner.at_once) as pool:
        for entity, relation, picture in work:
            key = (picture.sha256, picture.relation)
            if key in kept.texts:
                report.kept += 1
                yield entity, relation, kept.texts[key]
                continue
            if spent is not None:
                yield entity, relation, spent
                continue
            pending[pool.submit(captioner.caption, picture)] = (entity, relation, picture)
            while len(pending) >= captioner.at_once:
                for made in _finished(pending, kept, report):
                    spent = made[2] if isinstance(made[2], BudgetSpent) else spent
                    yield made
        while pending:
            yield from _finished(pending, kept, report)


def _finished(
    pending: dict[Future[str], tuple[int, int, Picture]], kept: Kept, report: Report
) -> Iterator[tuple[int, int, str | CaptioningFailed]]:
    done, _ = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        entity, relation, picture = pending.pop(future)
        try:
            text = future.result()
        except CaptioningFailed as error:
            yield entity, relation, error
            continue
        kept.put(picture.sha256, picture.relation, text)
        report.made += 1
        yield entity, relation, text


def _fail(report: Report, failed: Counter[str], error: Exception) -> None:
    failed[type(error).__name__] += 1
    if len(report.failures) < SHOWN_FAILURES:
        report.failures.append(str(error))
