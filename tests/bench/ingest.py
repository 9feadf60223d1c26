"""Ingestion to a finished graph on disk beside what others need to parse, and beside decompression alone.

Run it with `make bench-ingest`; README.md beside this file says what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import collections
import functools
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import psutil

# Workers import nothing heavy, torch least of all: it would be in the peak memory of every peer.
ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).resolve().parent / "results"
MODULE = "tests.bench.ingest"
DISTRIBUTIONS = (
    *("rdflib", "pyoxigraph", "polars", "pyarrow", "numpy", "orjson", "msgspec", "rapidgzip", "qwikidata", "psutil"),
)
INTERVAL_S = 0.05
MEMORY = "2GiB"
BUDGET_MIB = 2048

Task = dict[str, Any]
Measured = dict[str, Any]


def main() -> None:
    """Measure the parts asked for, write `results/ingest.json`, print tables."""
    if sys.argv[1:2] == ["--worker"]:
        task = json.loads(sys.argv[2])
        found = WORKERS[task["what"]](task)
        high_water = _fields(Path("/proc/self/status")).get("VmHWM")
        if high_water is not None:
            found["main_high_water_mib"] = high_water / 1024
        Path(sys.argv[3]).write_text(json.dumps(found), encoding="utf-8")
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(PARTS), action="append", help="this part; repeatable")
    parser.add_argument("--quick", action="store_true", help="50,000 lines and 300 entities: does it still work?")
    parser.add_argument("--full", action="store_true", help="also N-Triples of 1 and 10 million lines")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; the median by time is reported")
    parser.add_argument("--out", type=Path, default=RESULTS / "ingest.json")
    options = parser.parse_args()
    from tests.bench import machine

    machine.warn_if_busy()
    result: dict[str, Any] = {
        "benchmark": "ingest",
        "quick": options.quick,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.machine(),
        "code": machine.code(),
        "versions": machine.versions(*DISTRIBUTIONS),
        "sampled_every_s": INTERVAL_S,
    }
    for name in options.only or PARTS:
        result[name] = PARTS[name](options)
        result[name]["ours_over"] = {size: _all_ratios(runs) for size, runs in result[name]["runs"].items()}
        result["bars"] = bars(result)
        machine.write_result(options.out, result)
    print(tables(result))


# Parts: each generates its input, runs one process at a time and gives what they measured.


def measure_nt(options: argparse.Namespace) -> dict[str, Any]:
    """N-Triples: peers on the main size, ours and the two parsers on the others too."""
    from tests.bench import generate

    main_size = 50_000 if options.quick else 2_000_000
    sizes = sorted({main_size, *((1_000_000, 10_000_000) if options.full and not options.quick else ())})
    measured: dict[str, Any] = {"main": main_size, "inputs": {}, "runs": {}}
    for size in sizes:
        path, about = generate.ntriples(size)
        warm(path)
        run = functools.partial(_run, options, path, size)
        runs = {"pyoxigraph strict": run("oxigraph", format="nt", lenient=False)}
        runs["pyoxigraph lenient"] = run("oxigraph", format="nt", lenient=True)
        if size == main_size:
            runs["polars split"] = run("polars_split")
            count = min(10_000 if options.quick else 200_000, size)
            part = generate.first_lines(path, count)
            runs["rdflib"] = _run(options, part, count, "rdflib", format="nt", part=True)
        runs["ours"] = run("ours")
        measured["inputs"][str(size)] = about
        measured["runs"][str(size)] = runs
    return measured


def measure_turtle(options: argparse.Namespace) -> dict[str, Any]:
    """Turtle of the same statements."""
    from tests.bench import generate

    size = 50_000 if options.quick else 2_000_000
    path, about = generate.turtle(size)
    warm(path)
    run = functools.partial(_run, options, path, size)
    runs = {"pyoxigraph strict": run("oxigraph", format="ttl", lenient=False)}
    runs["pyoxigraph lenient"] = run("oxigraph", format="ttl", lenient=True)
    few = 10_000 if options.quick else 50_000
    part, _ = generate.turtle(few)
    runs["rdflib"] = _run(options, part, few, "rdflib", format="turtle", part=True)
    runs["ours"] = run("ours")
    return {"main": size, "inputs": {str(size): about}, "runs": {str(size): runs}}


def measure_wikidata(options: argparse.Namespace) -> dict[str, Any]:
    """A gzipped dump: decompression, decompression with parsing, qwikidata, ours."""
    from tests.bench import generate

    size = 300 if options.quick else 50_000
    path, about = generate.wikidata(size)
    warm(path)
    run = functools.partial(_run, options, path, size, out_bytes=about["bytes_uncompressed"])
    runs = {"gzip": run("decompress", how="gzip"), "rapidgzip": run("decompress", how="rapidgzip")}
    for how, parser in itertools.product(("gzip", "rapidgzip"), ("msgspec", "orjson")):
        runs[f"{how} + {parser}"] = run("parse_json", how=how, parser=parser)
    few = min(100 if options.quick else 2_000, size)
    share = about["bytes_uncompressed"] * few // size
    for name, deep in (("qwikidata items", False), ("qwikidata claims", True)):
        runs[name] = _run(options, path, few, "qwikidata", deep=deep, entities=few, part=True, out_bytes=share)
    runs["ours"] = run("ours")
    return {"main": size, "inputs": {str(size): about}, "runs": {str(size): runs}}


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "nt": measure_nt,
    "turtle": measure_turtle,
    "wikidata": measure_wikidata,
}


def _run(
    options: argparse.Namespace, path: Path, items: int, what: str, *, out_bytes: int | None = None, **task: Any
) -> Measured:
    """The median run by time, with the times of all of them; an error is a result too.

    Args:
        options: of the command.
        path: the input.
        items: statements or entities in it, or in the part of it that is read.
        what: ours, or a key of `WORKERS`.
        out_bytes: bytes read once decompressed; the size of the file by default.
        task: for the worker.
    """
    runs = []
    for _ in range(options.repeat):
        try:
            one = run_ours(path) if what == "ours" else run_worker({"what": what, "path": str(path), **task})
        except RuntimeError as error:
            print(f"{path.name} {what}: {error}", file=sys.stderr, flush=True)
            return {"error": str(error)}
        runs.append(one)
    measured = sorted(runs, key=lambda run: run["seconds"])[(len(runs) - 1) // 2]
    size = path.stat().st_size if out_bytes is None else out_bytes
    measured |= {
        "items": items,
        "items_per_s": items / measured["seconds"],
        "mb_per_s": size / measured["seconds"] / 1e6,
    }
    if what in ("ours", "oxigraph") and measured["read"] != items and out_bytes is None:
        return {**measured, "error": f"read {measured['read']} of {items} statements"}
    measured |= {"all_seconds": [run["seconds"] for run in runs], "part": bool(task.get("part"))}
    print(
        f"{path.name} {what} {task or ''}: {measured['seconds']:.2f} s, {measured['items_per_s']:,.0f}/s, "
        f"peak {measured['peak_mib']:,.0f} MiB",
        file=sys.stderr,
        flush=True,
    )
    return measured


def warm(path: Path) -> None:
    """Have the file in the page cache, for everybody."""
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass


# Processes and their memory


class MemorySampler(threading.Thread):
    """Watches a process and its descendants until it is stopped.

    Attributes:
        peak_mib: the most that all of them had together: proportional set size where the system tells it (every shared
            page counts once), unique set size elsewhere. Pages of files that they mapped are in it.
        peak_anonymous_mib: the same without pages of files; None where the system does not tell.
        main_high_water_mib: VmHWM of the process itself.
        samples: how many there were.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.process = psutil.Process(pid)
        self.peak_mib = 0.0
        self.peak_anonymous_mib: float | None = None
        self.main_high_water_mib: float | None = None
        self.processes = self.samples = 0
        self._stopped = threading.Event()

    def run(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            started = time.perf_counter()
            self._sample()
            # Walking the pages of a process holds its lock: a tenth of the time at most.
            pause = max(INTERVAL_S, 10 * (time.perf_counter() - started))

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def _sample(self) -> None:
        try:
            tree = [self.process, *self.process.children(recursive=True)]
        except psutil.Error:
            return
        found = [memory for memory in map(_memory_kib, tree) if memory is not None]
        if not found:
            return
        self.samples += 1
        self.processes = max(self.processes, len(found))
        self.peak_mib = max(self.peak_mib, sum(memory for memory, _ in found) / 1024)
        anonymous = [memory for _, memory in found if memory is not None]
        if anonymous:
            self.peak_anonymous_mib = max(self.peak_anonymous_mib or 0.0, sum(anonymous) / 1024)
        fields = _fields(Path(f"/proc/{self.process.pid}/status"))
        if "VmHWM" in fields:
            self.main_high_water_mib = fields["VmHWM"] / 1024


def _memory_kib(process: psutil.Process) -> tuple[float, float | None] | None:
    """Set size of one process, and of its anonymous pages; None when it is gone."""
    fields = _fields(Path(f"/proc/{process.pid}/smaps_rollup"))
    if "Pss" in fields:
        return fields["Pss"], fields.get("Pss_Anon")
    if sys.platform == "linux" and Path("/proc/self/smaps_rollup").exists():
        return None
    try:
        return process.memory_full_info().uss / 1024, None
    except psutil.Error:
        return None


def _fields(path: Path) -> dict[str, int]:
    """Lines `Name: N kB` of a file in /proc; empty when there is none."""
    try:
        text = path.read_text()
    except OSError:
        return {}
    lines = (line.split() for line in text.splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) == 3 and words[2] == "kB"}


def run_measured(command: list[str]) -> Measured:
    """Run a command to its end.

    Returns:
        `wall_s` from start to end of the process, `cpu_s` of it and its descendants, peak memory, `output`.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    os.sync()  # what was written before is not to be paid for here
    with tempfile.TemporaryFile() as said:
        started, before = time.perf_counter(), os.times()
        process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT)
        sampler = MemorySampler(process.pid)
        sampler.start()
        code = process.wait()
        wall, after = time.perf_counter() - started, os.times()
        sampler.stop()
        said.seek(0)
        output = said.read().decode("utf-8", "replace").strip()
    if code:
        raise RuntimeError(f"ended with {code}: {output[-600:]}")
    return {
        "wall_s": wall,
        "cpu_s": after.children_user + after.children_system - before.children_user - before.children_system,
        "peak_mib": sampler.peak_mib,
        "peak_anonymous_mib": sampler.peak_anonymous_mib,
        "main_high_water_mib": sampler.main_high_water_mib,
        "processes": sampler.processes,
        "samples": sampler.samples,
        "output": output,
    }


def run_ours(path: Path) -> Measured:
    """`kgservice ingest` from the command line to a graph on disk: `seconds` is the whole process, imports included."""
    command = [str(Path(sys.executable).with_name("kgservice")), "ingest"]
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        out = Path(folder) / "graph"
        measured = run_measured([*command, str(path), "--out", str(out), "--memory", MEMORY])
        disk = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    said = re.findall(r"([\d,]+) read$", measured["output"], re.MULTILINE)
    measured["read"] = int(said[-1].replace(",", "")) if said else None
    return {**measured, "seconds": measured["wall_s"], "graph_mib": disk / 2**20, "memory_setting": MEMORY}


def run_worker(task: Task) -> Measured:
    """One peer in a process of its own; `seconds` is what it measured itself, imports left out."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", MODULE, "--worker", json.dumps(task), str(result)]
        measured = run_measured(command)
        return {**measured, **json.loads(result.read_text(encoding="utf-8"))}


# Workers: each is one process. Each gives the `seconds` of its work alone, and what it counted.


def oxigraph(task: Task) -> Measured:
    """Parse and merely iterate."""
    import pyoxigraph

    kind = {"nt": pyoxigraph.RdfFormat.N_TRIPLES, "ttl": pyoxigraph.RdfFormat.TURTLE}[task["format"]]
    started = time.perf_counter()
    count = _length(pyoxigraph.parse(path=task["path"], format=kind, lenient=task["lenient"]))
    return {"seconds": time.perf_counter() - started, "read": count}


def rdflib_parse(task: Task) -> Measured:
    """Parse into rdflib's graph in memory."""
    import rdflib

    graph = rdflib.Graph()
    started = time.perf_counter()
    graph.parse(task["path"], format=task["format"])
    return {"seconds": time.perf_counter() - started, "counted": {"distinct": len(graph)}}


def polars_split(task: Task) -> Measured:
    """Cut lines at blanks and encode each column, without looking whether it is N-Triples: a reference, not a parser."""
    import polars as pl

    started = time.perf_counter()
    lines = pl.read_csv(
        task["path"],
        has_header=False,
        separator="\x01",
        quote_char=None,
        new_columns=["line"],
        schema={"line": pl.String},
    )
    parts = lines.select(pl.col("line").str.strip_suffix(" .").str.splitn(" ", 3).alias("part")).unnest("part")
    encoded = parts.select(pl.all().cast(pl.Categorical))
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "counted": {"rows": len(encoded), "distinct_objects": encoded.to_series(2).n_unique()}}


def decompress(task: Task) -> Measured:
    """Read a gzipped file to its end, a mebibyte at a time."""
    started = time.perf_counter()
    size = 0
    with _opened(task) as file:
        while block := file.read(1 << 20):
            size += len(block)
    return {"seconds": time.perf_counter() - started, "counted": {"bytes": size}}


def parse_json(task: Task) -> Measured:
    """Read a gzipped dump and make every entity: a typed struct in full with msgspec, dicts with orjson."""
    decode = _entity_decoder() if task["parser"] == "msgspec" else __import__("orjson").loads
    started = time.perf_counter()
    with _opened(task) as file:
        count = _length(decode(line.rstrip(b",\n")) for line in file if len(line) > 2)
    return {"seconds": time.perf_counter() - started, "counted": {"entities": count}}


def qwikidata(task: Task) -> Measured:
    """Make qwikidata's objects of the first entities; `deep`: their claims with qualifiers and references too."""
    from qwikidata.entity import WikidataItem, WikidataProperty
    from qwikidata.json_dump import WikidataJsonDump

    claims = 0
    kinds = {"item": WikidataItem, "property": WikidataProperty}
    started = time.perf_counter()
    for entity in itertools.islice(WikidataJsonDump(task["path"]), task["entities"]):
        made = kinds[entity["type"]](entity)
        if task["deep"]:
            claims += sum(len(group) for group in made.get_claim_groups().values())
    return {"seconds": time.perf_counter() - started, "counted": {"claims": claims}}


WORKERS: dict[str, Callable[[Task], Measured]] = {
    "oxigraph": oxigraph,
    "rdflib": rdflib_parse,
    "polars_split": polars_split,
    "decompress": decompress,
    "parse_json": parse_json,
    "qwikidata": qwikidata,
}


def _length(items: Iterator[Any]) -> int:
    """How many there are, looking at none: nothing in Python goes round a loop faster."""
    numbered: collections.deque[tuple[int, Any]] = collections.deque(enumerate(items, 1), maxlen=1)
    return numbered[0][0] if numbered else 0


def _opened(task: Task) -> IO[bytes]:
    if task["how"] == "gzip":
        import gzip

        return gzip.open(task["path"])
    import io

    import rapidgzip

    return io.BufferedReader(rapidgzip.open(task["path"], parallelization=0), 1 << 20)


def _entity_decoder() -> Callable[[bytes], Any]:
    """All of an entity that ingestion needs, as structs that the cycle collector need not follow."""
    import msgspec

    class EntityId(msgspec.Struct, gc=False):
        id: str

    class Quantity(msgspec.Struct, gc=False):
        amount: str
        unit: str
        upperBound: str | None = None
        lowerBound: str | None = None

    class Time(msgspec.Struct, gc=False):
        time: str
        precision: int
        calendarmodel: str

    class Monolingual(msgspec.Struct, gc=False):
        text: str
        language: str

    class Coordinate(msgspec.Struct, gc=False):
        latitude: float
        longitude: float
        globe: str
        precision: float | None = None

    def tagged(tag: str, value: type) -> type:
        return msgspec.defstruct(f"Value_{value.__name__}", [("value", value)], tag_field="type", tag=tag, gc=False)

    value_type = functools.reduce(
        lambda left, right: left | right,
        [
            tagged("wikibase-entityid", EntityId),
            tagged("string", str),
            tagged("quantity", Quantity),
            tagged("time", Time),
            tagged("monolingualtext", Monolingual),
            tagged("globecoordinate", Coordinate),
        ],
    )
    snak = msgspec.defstruct(
        "Snak",
        [("snaktype", str), ("property", str), ("datatype", str), ("datavalue", value_type | None, None)],
        gc=False,
    )
    reference = msgspec.defstruct("Reference", [("snaks", dict[str, list[snak]])], gc=False)
    claim = msgspec.defstruct(
        "Claim",
        [
            ("mainsnak", snak),
            ("id", str),
            ("rank", str),
            ("qualifiers", dict[str, list[snak]], msgspec.field(default_factory=dict)),
            ("references", list[reference], msgspec.field(default_factory=list)),
        ],
        gc=False,
    )

    class Text(msgspec.Struct, gc=False):
        language: str
        value: str

    class Sitelink(msgspec.Struct, gc=False):
        site: str
        title: str

    entity = msgspec.defstruct(
        "Entity",
        [
            ("type", str),
            ("id", str),
            ("labels", dict[str, Text]),
            ("descriptions", dict[str, Text]),
            ("aliases", dict[str, list[Text]]),
            ("claims", dict[str, list[claim]]),
            ("sitelinks", dict[str, Sitelink], msgspec.field(default_factory=dict)),
            ("datatype", str | None, None),
        ],
        gc=False,
    )
    decoder: Callable[[bytes], Any] = msgspec.json.Decoder(entity).decode
    return decoder


# What came out


def bars(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What was asked for beside what was measured; `met` is None where either was not measured."""
    found: list[dict[str, Any]] = []

    def bar(name: str, required: str, value: float | None, holds: Callable[[float], bool]) -> None:
        found.append(
            {"bar": name, "required": required, "measured": value, "met": None if value is None else holds(value)}
        )

    def bounded(name: str, run: Measured) -> None:
        bar(f"{name}: peak MiB", f"≤ {BUDGET_MIB}", _peak_mib(run), lambda mib: mib <= BUDGET_MIB)

    def at_least(name: str, least: float, value: float | None) -> None:
        bar(name, f"≥ {least:g}", value, lambda measured: measured >= least)

    if "nt" in result:
        sizes = list(result["nt"]["runs"])
        runs = {size: result["nt"]["runs"][size] for size in sizes}
        main = runs[str(result["nt"]["main"])]
        for size in sizes:
            ratio = _ratio(runs[size], "ours", "pyoxigraph strict")
            at_least(f"N-Triples, {int(size):,} lines: of pyoxigraph strict", 0.4, ratio)
        ratio = _ratio(runs[sizes[-1]], "ours", "pyoxigraph strict")
        at_least(f"N-Triples, {int(sizes[-1]):,} lines: of pyoxigraph strict (goal)", 0.7, ratio)
        at_least("N-Triples: times rdflib", 10, _ratio(main, "ours", "rdflib"))
        for size in sizes:
            bounded(f"N-Triples, {int(size):,} lines", runs[size]["ours"])
        if "1000000" in runs and "10000000" in runs:
            few, many = (_peak_mib(runs[size]["ours"]) for size in ("1000000", "10000000"))
            growth = many / few if few and many else None
            flat = "N-Triples: peak at 10 million over peak at 1 million"
            bar(f"{flat}, pages of mapped files too", "≤ 1.25", growth, lambda grown: grown <= 1.25)
            own = [runs[size]["ours"].get("peak_anonymous_mib") for size in ("1000000", "10000000")]
            growth = own[1] / own[0] if all(own) else None
            bar(f"{flat}, without them", "≤ 1.25", growth, lambda grown: grown <= 1.25)
    if "turtle" in result:
        runs = result["turtle"]["runs"][str(result["turtle"]["main"])]
        at_least("Turtle: of pyoxigraph strict", 0.25, _ratio(runs, "ours", "pyoxigraph strict"))
        at_least("Turtle: times rdflib", 10, _ratio(runs, "ours", "rdflib"))
        bounded("Turtle", runs["ours"])
    if "wikidata" in result:
        runs = result["wikidata"]["runs"][str(result["wikidata"]["main"])]
        typed = _fastest(runs, "gzip + msgspec", "rapidgzip + msgspec")
        at_least("Wikidata: of decompression and msgspec, the faster one", 0.3, _ratio(runs, "ours", typed))
        peer = _fastest(runs, "qwikidata items", "qwikidata claims")
        at_least("Wikidata: times qwikidata, which visits all claims", 2, _ratio(runs, "ours", "qwikidata claims"))
        at_least("Wikidata: times qwikidata, the faster one, which visits none", 2, _ratio(runs, "ours", peer))
        bounded("Wikidata", runs["ours"])
    return found


def _peak_mib(run: Measured) -> float | None:
    """The larger of what was sampled over all processes and what the system noted of the first, which misses nothing."""
    return None if "error" in run else max(run["peak_mib"], run["main_high_water_mib"] or 0.0)


def _all_ratios(runs: dict[str, Measured]) -> dict[str, float | None]:
    """Our rate over everybody's; over decompression it is the share of that limit."""
    return {name: _ratio(runs, "ours", name) for name in runs if name != "ours"}


def _ratio(runs: dict[str, Measured], ours: str, theirs: str | None) -> float | None:
    """Rate over rate."""
    if theirs is None or "error" in runs[ours] or "error" in runs[theirs]:
        return None
    ratio: float = runs[ours]["items_per_s"] / runs[theirs]["items_per_s"]
    return ratio


def _fastest(runs: dict[str, Measured], *names: str) -> str | None:
    able = [name for name in names if "error" not in runs[name]]
    return max(able, key=lambda name: runs[name]["items_per_s"], default=None)


def tables(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines: list[str] = []
    for part, unit in (("nt", "lines"), ("turtle", "statements"), ("wikidata", "entities")):
        for size, runs in result.get(part, {}).get("runs", {}).items():
            limit = _fastest(runs, "gzip", "rapidgzip") if part == "wikidata" else "pyoxigraph strict"
            versus = "decompression" if part == "wikidata" else "pyoxigraph strict"
            about = result[part]["inputs"][size]
            lines += [
                f"\n### {part}: {int(size):,} {unit}, {about['bytes'] / 1e6:,.0f} MB ({about['name']})\n",
                f"| who | {unit} read | s | {unit}/s | MB/s | × {versus} | CPU s | processes "
                "| peak MiB, sampled | of it anonymous | VmHWM |",
                "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
            ]
            for name, run in runs.items():
                if "error" in run:
                    lines.append(f"| {name} | failed: {' '.join(run['error'].split())[-160:]} |")
                    continue
                ratio = _ratio(runs, name, limit)
                memory = " | ".join(
                    "–" if value is None else f"{value:,.0f}"
                    for value in (run["peak_mib"], run["peak_anonymous_mib"], run["main_high_water_mib"])
                )
                lines.append(
                    f"| {name} | {run['items']:,} | {run['seconds']:.2f} | {run['items_per_s']:,.0f} "
                    f"| {run['mb_per_s']:,.0f} | {'–' if ratio is None else f'{ratio:.3f}'} | {run['cpu_s']:.1f} "
                    f"| {run['processes']} | {memory} |"
                )
    lines += ["\n### Bars\n", "| bar | required | measured | met |", "|---|--:|--:|---|"]
    for bar in result["bars"]:
        value = "–" if bar["measured"] is None else f"{bar['measured']:,.2f}"
        met = {True: "yes", False: "no", None: "not measured"}[bar["met"]]
        lines.append(f"| {bar['bar']} | {bar['required']} | {value} | {met} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
