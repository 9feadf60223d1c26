"""Benchmark folders and plain tables: a line holds `head<TAB>relation<TAB>tail`, a file's name tells the split."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from kgservice.errors import MalformedStatement
from kgservice.graph.statements import Split
from kgservice.readers.assembly import BatchBuilder
from kgservice.readers.columns import Coded
from kgservice.readers.report import FileReport
from kgservice.readers.sources import Source, blocks

_log = logging.getLogger(__name__)

ROLE_OF_STEM: Mapping[str, tuple[Split, bool]] = {
    "train": (Split.TRAIN, False),
    "valid": (Split.VALID, False),
    "dev": (Split.VALID, False),
    "test": (Split.TEST, False),
    "valid_negatives": (Split.VALID, True),
    "test_negatives": (Split.TEST, True),
}
"""What a file of this name holds: its split, and whether its statements are known to be false."""

_FIELDS = ("subject", "relation", "object")


def is_tsv(source: Source) -> bool:
    """Whether a file's name says that it holds triples: any `.tsv`, and the splits of a benchmark as `.txt`."""
    return source.suffix == ".tsv" or (source.suffix == ".txt" and source.stem in ROLE_OF_STEM)


def read_tsv(
    sources: Sequence[Source], builder: BatchBuilder, *, skip_malformed: bool
) -> tuple[list[FileReport], dict[str, str]]:
    """Read files into the builder: `train`, `valid`, `test`, verified negatives; any other name means training.

    Returns:
        One account per file, and no prefixes.

    Raises:
        MalformedStatement: a line that has not exactly three non-empty fields, or is not UTF-8.
        DataError: a file that cannot be read to its end.
    """
    reports, parts, roles, file_of = [], [], [], []
    for number, source in enumerate(sources):
        report = FileReport(source.name, "TSV")
        with source.open() as stream:
            for frame in _frames(stream, source, skip_malformed, report):
                parts.append([Coded.of(frame[name].to_arrow()) for name in _FIELDS])
                file_of.append(np.full(len(frame), number, np.int32))
                report.read += len(frame)
        roles.append(ROLE_OF_STEM.get(source.stem, (Split.TRAIN, False)))
        reports.append(report)
    columns = [Coded.concat([part[place] for part in parts]) for place in range(3)]
    file = np.concatenate([np.empty(0, np.int32), *file_of])
    split = np.array([role[0] for role in roles], np.int8)[file]
    is_negative = np.array([role[1] for role in roles], bool)[file]
    keys = pl.DataFrame([column.codes for column in columns], schema=["s", "r", "o"])
    keys = keys.with_columns(split=pl.Series(split), negative=pl.Series(is_negative))
    fresh = keys.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()

    for number, report in enumerate(reports):
        kept = int(np.count_nonzero(fresh & (file == number)))
        report.kept["negatives" if roles[number][1] else "statements"] = kept
        if report.read > kept:
            report.dropped["duplicate"] = report.read - kept
    for part in Split:
        rows = fresh & (split == part)
        builder.add_statements(*(column.take(rows & ~is_negative) for column in columns), split=part)
        builder.add_negatives(*(column.take(rows & is_negative) for column in columns), split=part)
    return reports, {}


def _frames(stream: BinaryIO, source: Source, skip_malformed: bool, report: FileReport) -> Iterator[pl.DataFrame]:
    """Blocks of well-formed rows."""
    for first_line, block in blocks(stream):
        lines = pl.Series("line", _decode(block, source, first_line, skip_malformed), dtype=pl.String)
        lines = lines.str.strip_suffix("\r")
        fields = lines.str.split_exact("\t", 2).struct.rename_fields(list(_FIELDS)).struct.unnest()
        is_good = (lines.str.count_matches("\t", literal=True) == 2) & fields.select(
            pl.all_horizontal(pl.all().str.len_bytes() > 0)
        ).to_series().fill_null(False)
        if not is_good.all():
            for place in (~is_good).arg_true().to_list():
                _malformed(source, first_line + place, lines[place], skip_malformed, report)
        yield fields.filter(is_good)


def _decode(block: bytes, source: Source, first_line: int, skip_malformed: bool) -> pa.Array:
    """The lines of a block; one that is not UTF-8 becomes empty, which is malformed, under `skip_malformed`."""
    if first_line == 1:
        block = block.removeprefix(b"\xef\xbb\xbf")
    block = block.removesuffix(b"\n")
    try:
        text = pa.array([block], pa.large_binary()).cast(pa.large_string())
        return pc.split_pattern(text, "\n").flatten()
    except pa.ArrowInvalid:
        lines = []
        for number, line in enumerate(block.split(b"\n"), first_line):
            try:
                lines.append(line.decode())
            except UnicodeDecodeError as error:
                if not skip_malformed:
                    raise MalformedStatement(source.name, number, error.start + 1, "not UTF-8") from error
                lines.append("")
        return pa.array(lines, pa.large_string())


def _malformed(source: Source, line: int, text: str, skip_malformed: bool, report: FileReport) -> None:
    fields = text.split("\t")
    found = f"found {len(fields)}" if len(fields) != 3 else "found an empty one"
    error = MalformedStatement(source.name, line, None, f"expected 3 non-empty fields divided by tabs, {found}")
    if not skip_malformed:
        raise error
    report.malformed += 1
    _log.warning("skipped: %s", error)
