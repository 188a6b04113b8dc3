"""The judgement of a soak: clean tables of every symbol against the truth, gaps against kills and the fault log."""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import zstandard

import midas_ray
from benchmarks.soak_run import Course, Plan
from midas_ray.simulate.faults import Fault, FaultScript, Kind
from midas_ray.simulate.judge import Explanation, Verdict, judge
from midas_ray.simulate.true_market import Ints, TrueMarket, read_true_market

UNFLUSHED_MS = 2500
"""A kill may cost the last second (flushed each second), and flushing takes its time on a busy machine."""
START_MS = 45_000
"""How long after its start a collector may take to have the book again: interpreter, kernels, refused snapshots."""
SLACK_MS = 1000
"""How far a fault's log entry may be from the frames it took: what was queued goes with a connection."""
WINDOW_MS = 100
"""How old a row may be where a connection whose windows end at another phase carries the book alone."""
LOSING: dict[Kind, frozenset[str]] = {
    Kind.VENUE_GAP: frozenset({"venue", "both-missed"}),
    Kind.CUT: frozenset({"network"}),
    Kind.HALF_OPEN: frozenset({"network", "both-missed"}),
    Kind.SERVER_SHUTDOWN: frozenset({"network"}),
    Kind.ACCEPT_CLOSE: frozenset({"network"}),
    Kind.HANDSHAKE_REFUSED: frozenset({"network"}),
} | dict.fromkeys(
    (Kind.DROP, Kind.TRUNCATED, Kind.REORDER, Kind.SILENT, Kind.ACK_WITHOUT_DATA, Kind.WRONG_ROUTE),
    frozenset({"network", "both-missed", "venue"}),
)
"""Gap causes that a fault on every connection explains. A client cannot tell from a venue's own gap what every
connection missed alike."""

CUTTING = frozenset({Kind.ACK_WITHOUT_DATA, Kind.WRONG_ROUTE})
"""Kinds that begin with a cut of every stream, whichever of them stays silent afterwards."""


def judge_soak(plan: Plan, course: Course) -> list[Verdict]:
    """The verdict on each symbol of a soak that was reconstructed."""
    archive = midas_ray.open(str(plan.data_dir))
    log = _fault_log(plan.truth_dir / "faults.jsonl")
    verdicts = []
    for symbol in plan.symbols:
        truth = read_true_market(plan.truth_dir, symbol)
        spans = capture_spans(plan.data_dir, symbol)
        explanations = [*_downs(course, truth), *_faults(plan, log, symbol, course.offset_ms)]
        verdicts.append(
            judge(
                truth,
                archive.book(symbol).collect().sort("ts", maintain_order=True),
                archive.trades(symbol).collect(),
                archive.gaps(symbol).collect(),
                span_ms=spans["depthUpdate"],
                print_span_ms=spans["trade"],
                explanations=explanations,
                behind_ms=WINDOW_MS,
            )
        )
    return verdicts


def raw_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Lines of a raw file, by nothing of MIDAS's own."""
    with path.open("rb") as file:
        text = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    for line in io.BytesIO(text):
        yield msgspec.json.decode(line)


def capture_spans(data_dir: Path, symbol: str) -> dict[str, tuple[int, int]]:
    """Exchange time (T, ms) of the first and the last frame on disk of each message type."""
    spans: dict[str, tuple[int, int]] = {}
    for path in sorted(data_dir.glob(f"raw/venue=*/symbol={symbol}/date=*/*.jsonl.zst")):
        for line in raw_lines(path):
            payload = line.get("payload")
            data = payload.get("data") if line["kind"] == "ws" and isinstance(payload, dict) else None
            if isinstance(data, dict) and isinstance(data.get("T"), int):
                first, last = spans.get(str(data["e"]), (data["T"], data["T"]))
                spans[str(data["e"])] = min(first, data["T"]), max(last, data["T"])
    return spans


def _fault_log(path: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def _downs(course: Course, truth: TrueMarket) -> Iterator[Explanation]:
    """Times in which no collector ran: a gap `down` must lie in one of them, from the last event kept to the first."""
    spans: list[tuple[int, int]] = []
    for life, after in zip(course.lives, course.lives[1:], strict=False):
        start_ms = life.ended_ms + course.offset_ms - UNFLUSHED_MS
        end_ms = after.started_ms + course.offset_ms + START_MS
        if spans and start_ms <= spans[-1][1]:
            start_ms = spans.pop()[0]
        spans.append((start_ms, end_ms))
    clocks = (("depth", truth.nominal[:, 1]), ("trade", truth.prints["ts_ms"].to_numpy()))
    for start_ms, end_ms in spans:
        for stream, clock_ms in clocks:
            yield Explanation("down", *_widened(clock_ms, start_ms, end_ms), frozenset({"down"}), stream, within=True)


def _widened(clock_ms: Ints, start_ms: int, end_ms: int) -> tuple[int, int]:
    """From the last event before `start_ms` to the first after `end_ms`."""
    before = int(np.searchsorted(clock_ms, start_ms, side="right")) - 1
    after = int(np.searchsorted(clock_ms, end_ms))
    first = int(clock_ms[before]) if before >= 0 else start_ms
    return first, int(clock_ms[after]) if after < len(clock_ms) else end_ms


def _faults(plan: Plan, log: Iterable[dict[str, Any]], symbol: str, offset_ms: int) -> Iterator[Explanation]:
    """What the fault log says was lost on every connection; and where rows may be older by a connection's windows."""
    faults = plan.script().faults
    entries = [(entry, entry["at_ns"] // 10**6 + offset_ms) for entry in log]
    last_ms = max((at_ms for _, at_ms in entries), default=0) + 60_000
    ends = {entry["index"]: at_ms for entry, at_ms in entries if entry["action"] == "end"}
    for entry, at_ms in entries:
        if entry["action"] != "start":
            continue
        fault, start_ms = faults[entry["index"]], at_ms - SLACK_MS
        end_ms = ends.get(entry["index"], last_ms) + SLACK_MS
        stream = entry.get("stream")
        if fault.kind is Kind.OVERLAP:
            yield Explanation("windows of another phase", start_ms, last_ms, frozenset(), "depth")
        if entry.get("symbol") in (None, symbol) and (causes := _causes(fault)):
            yield Explanation(str(fault.kind), start_ms, end_ms, causes, stream)
            if fault.kind in CUTTING:
                yield Explanation(f"{fault.kind}: its cut", start_ms, end_ms, causes & {"network"})


def _causes(fault: Fault) -> frozenset[str]:
    if fault.kind is Kind.VENUE_GAP or fault.provoke:
        return LOSING[Kind.VENUE_GAP]
    return LOSING.get(fault.kind, frozenset()) if fault.connection == "all" else frozenset()


def faults_done(plan: Plan, script: FaultScript) -> tuple[int, int, dict[str, int]]:
    """(faults that were carried out, skipped, carried out by kind)."""
    log = _fault_log(plan.truth_dir / "faults.jsonl")
    kinds: dict[str, int] = {}
    for entry in log:
        if entry["action"] == "start":
            kinds[entry["kind"]] = kinds.get(entry["kind"], 0) + 1
    skipped = sum(entry["action"] == "skipped" for entry in log)
    return min(sum(kinds.values()), len(script.faults)), skipped, dict(sorted(kinds.items()))


def gap_table(plan: Plan) -> pl.DataFrame:
    """The ledger of all symbols."""
    archive = midas_ray.open(str(plan.data_dir))
    return pl.concat([archive.gaps(symbol).collect() for symbol in plan.symbols])
