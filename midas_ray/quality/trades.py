"""clean/trades of one symbol, file by file: its hard checks, latency, and minute bars."""

import json
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import numpy.typing as npt

from midas_ray.quality.findings import FileFindings, Findings, utc_text
from midas_ray.quality.klines import MinuteBars, bars_of_prints
from midas_ray.quality.latency import LatencySketch
from midas_ray.quality.ledger import Ledger
from midas_ray.quality.shared_rules import check_not_nan, check_span, times_of
from midas_ray.quality.source import Rows
from midas_ray.quality.tick import DayPrices, off_grid

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class MissingIds:
    """Ids [first, stop) that no print has, between two prints."""

    first: int
    stop: int
    before_us: int
    after_us: int
    path: str


@dataclass
class TradeScan:
    """What was seen of a symbol's trades so far. Feed files in order of time, then `finish`."""

    symbol: str
    ledger: Ledger
    findings: Findings
    days: dict[date, DayPrices]
    rows: int = 0
    latency: LatencySketch = field(default_factory=LatencySketch)
    sources: set[str] = field(default_factory=set)
    minutes: list[MinuteBars] = field(default_factory=list)
    _last: tuple[int, int] | None = None
    _source: str | None = None
    _missing: list[MissingIds] = field(default_factory=list)
    _no_prints: set[int] = field(default_factory=set)

    def feed(self, rows: Rows) -> None:
        """Check a file and remember what the report needs of it."""
        frame = rows.frame
        self._no_prints |= set(json.loads(rows.metadata.get("no_print_ids", "[]")))
        if not len(frame):
            return
        at, ids = FileFindings(self.findings, self.symbol, rows.path, times_of(rows)), frame["trade_id"].to_numpy()
        if rows.metadata["trade_source"] != self._source:  # ids of trade and aggTrade count apart
            self._source, self._last = rows.metadata["trade_source"], None
        self._check_order(at, ids)
        check_span(at, rows.file, closed="left")
        check_not_nan(rows, self.findings)
        _check_number(at, rows, "px", rows.px_decimals)
        _check_number(at, rows, "qty", rows.sz_decimals)
        count = frame["count"].to_numpy()
        at.rows("registry_bounds", count < 1, lambda row: f"count {count[row]}", "1 or more")
        self._note_missing(at, ids)
        self._remember(rows, at.ts_us)

    def finish(self) -> None:
        """Every jump of the ids must be in the ledger, or be of rows that are no prints."""
        lost = [gap for gap in self.ledger.gaps if gap.stream == "trade"]
        for missing in self._missing:
            rest = [(missing.first, missing.stop)]
            for gap in lost:
                if gap.expected_id is not None and gap.found_id is not None:
                    rest = _without(rest, gap.expected_id, gap.found_id)
                elif gap.start_us < missing.after_us and gap.end_us > missing.before_us:
                    rest = []
            unknown = sum(stop - first for first, stop in rest)
            unknown -= sum(first <= each < stop for first, stop in rest for each in self._no_prints)
            if unknown:
                self.findings.add(
                    "ledger_ids",
                    self.symbol,
                    missing.path,
                    f"trade_id jumps from {missing.first - 1} to {missing.stop} ({unknown} ids that no gap names)",
                    "a trade gap in the ledger",
                    missing.after_us,
                )

    def _remember(self, rows: Rows, ts_us: IntArray) -> None:
        frame = rows.frame
        self.rows += len(frame)
        self.sources.add(rows.metadata["trade_source"])
        received = frame["recv_ns"].is_not_null().to_numpy()
        self.latency.add(frame["recv_ns"].drop_nulls().to_numpy() // 1000 - ts_us[received])
        self.minutes.append(bars_of_prints(frame.sort("ts", "trade_id"), rows.px_decimals, rows.sz_decimals))
        day = self.days.setdefault(rows.file.partition.date, DayPrices())
        day.add(frame["px"].to_numpy(), ts_us, rows.px_decimals, rows.path)

    def _check_order(self, at: FileFindings, ids: IntArray) -> None:
        ts_us = at.ts_us
        last_us, last_id = self._last or (int(ts_us[0]), int(ids[0]) - 1)
        before_us, before_id = np.concatenate([[last_us], ts_us[:-1]]), np.concatenate([[last_id], ids[:-1]])
        at.look("ts_order", len(ts_us))
        at.rows(
            "ts_order",
            (ts_us < before_us) | ((ts_us == before_us) & (ids <= before_id)),
            lambda row: f"trade {ids[row]} after trade {before_id[row]} of {utc_text(before_us[row])}",
            "rows ordered by (ts, trade_id), each trade once",
        )

    def _note_missing(self, at: FileFindings, ids: IntArray) -> None:
        """Remember the ids that are skipped; forget those that turn up late."""
        at.look("ledger_ids", len(ids))
        order = np.argsort(ids, kind="stable")
        ids, times = ids[order], at.ts_us[order]
        high_us, high = self._last or (int(times[0]), int(ids[0]) - 1)
        for late in ids[ids <= high].tolist():
            self._missing = [part for each in self._missing for part in _split(each, late)]
        ids, times = ids[ids > high], times[ids > high]
        if not len(ids):
            return
        before, before_us = np.concatenate([[high], ids[:-1]]), np.concatenate([[high_us], times[:-1]])
        for row in np.flatnonzero(ids > before + 1).tolist():
            self._missing.append(
                MissingIds(int(before[row]) + 1, int(ids[row]), int(before_us[row]), int(times[row]), at.path)
            )
        self._last = int(times[-1]), int(ids[-1])


def _check_number(at: FileFindings, rows: Rows, name: str, decimals: int) -> None:
    """Finite, positive and on the decimal grid."""
    values = rows.frame[name].to_numpy()
    at.look("registry_bounds", len(values))
    at.look("price_tick", len(values))
    at.rows(
        "registry_bounds",
        ~(np.isfinite(values) & (values > 0)),
        lambda row: f"{name} {values[row]:g}",
        "a finite positive number",
    )
    at.rows(
        "price_tick",
        off_grid(values, decimals),
        lambda row: f"{name} {values[row]}",
        f"a whole number / 10^{decimals}",
    )


def _split(missing: MissingIds, found: int) -> list[MissingIds]:
    """`missing` without an id that was found after all."""
    if not missing.first <= found < missing.stop:
        return [missing]
    parts = ((missing.first, found), (found + 1, missing.stop))
    return [
        MissingIds(first, stop, missing.before_us, missing.after_us, missing.path)
        for first, stop in parts
        if first < stop
    ]


def _without(ranges: list[tuple[int, int]], first: int, stop: int) -> list[tuple[int, int]]:
    """Ranges [a, b) without [first, stop)."""
    kept: list[tuple[int, int]] = []
    for begin, end in ranges:
        kept += [(a, b) for a, b in ((begin, min(end, first)), (max(begin, stop), end)) if a < b]
    return kept
