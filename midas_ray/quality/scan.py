"""All files of one symbol, one at a time: what its part of the report is made from. Memory is that of one file."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import numpy.typing as npt

from midas_ray.quality.bars import BarScan, MomentScan
from midas_ray.quality.book import BookScan
from midas_ray.quality.feature_rows import FeatureScan, Inputs
from midas_ray.quality.findings import Findings
from midas_ray.quality.intervals import Intervals
from midas_ray.quality.klines import MINUTE_US, VOLUME, KlineComparison, MinuteBars, comparable, compare
from midas_ray.quality.ledger import Ledger, LedgerGap, read_gaps
from midas_ray.quality.source import HOUR_US, DataFile, Rows, Source
from midas_ray.quality.tick import DayPrices, check_ticks
from midas_ray.quality.trades import TradeScan

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(slots=True)
class TableExtent:
    """How much of a table there is. Times in microseconds since 1970, None without rows."""

    files: int = 0
    rows: int = 0
    first_us: int | None = None
    last_us: int | None = None

    def add(self, rows: Rows) -> None:
        self.files += 1
        self.rows += len(rows.frame)
        column = "start" if rows.file.table == "gaps" else "ts"
        ts = rows.frame[column].to_physical()
        if len(ts):
            first, last = int(ts.to_numpy().min()), int(ts.to_numpy().max())
            self.first_us = first if self.first_us is None else min(self.first_us, first)
            self.last_us = last if self.last_us is None else max(self.last_us, last)


@dataclass(frozen=True, slots=True)
class PriceLine:
    """Price and spread by 10 s of a book (the last mid), or by minute without one (the close), for the plot."""

    ts_us: IntArray
    price: FloatArray
    spread_bps: FloatArray
    """NaN without a book."""


@dataclass
class SymbolQuality:
    """Everything the report says of a symbol."""

    symbol: str
    findings: Findings
    tables: dict[str, TableExtent]
    ledger: Ledger
    book: BookScan
    trades: TradeScan
    bars: BarScan
    features: FeatureScan
    tick: float | None = None
    comparisons: list[KlineComparison] = field(default_factory=list)

    @property
    def span_us(self) -> tuple[int, int] | None:
        """First and last time of any row; None without rows."""
        extents = [each for name, each in self.tables.items() if name != "gaps" and each.rows]
        if not extents:
            return None
        return min(each.first_us or 0 for each in extents), max(each.last_us or 0 for each in extents)

    @property
    def coverage(self) -> float | None:
        """Live share of the grid rows; None without a book."""
        return self.book.live_rows / self.book.rows if self.book.rows else None

    @property
    def coverage_of_span(self) -> float | None:
        """Live share of the grid steps from the first to the last row, those without a row included."""
        extent = self.tables["book"]
        if extent.first_us is None or extent.last_us is None:
            return None
        steps = (extent.last_us - extent.first_us) // self.book.step_us + 1
        return self.book.live_rows / steps

    def price_line(self) -> PriceLine:
        """From the book, else from bars, else from trades."""
        parts = self.book.points
        if any(len(part[0]) for part in parts):
            return PriceLine(*(np.concatenate([part[i] for part in parts]) for i in range(3)))
        minutes = MinuteBars.joined(self.bars.minutes or self.trades.minutes)
        return PriceLine(minutes.ts_us, minutes.values[:, 3], np.full(len(minutes), np.nan))


def scan_symbol(source: Source, symbol: str, advance: Callable[[], None]) -> SymbolQuality:
    """Read and check every file of a symbol; `advance` is called after each.

    Raises CorruptFileError, SchemaError.
    """
    findings = Findings()
    source.name_foreign(symbol, findings)
    tables = {name: TableExtent() for name in (*source.files[symbol], "book")}
    days: dict[date, DayPrices] = {}

    def take(file: DataFile, into: Callable[[Rows], None]) -> None:
        """One file; when this returns its rows are gone from memory."""
        rows = source.load(file, findings)
        if rows is not None:
            tables[file.table].add(rows)
            into(rows)
        advance()

    def feed(table: str, into: Callable[[Rows], None]) -> None:
        for file in source.of(symbol, table):
            take(file, into)

    gaps: set[LedgerGap] = set()
    feed("gaps", lambda rows: gaps.update(read_gaps(rows, findings)))
    ledger = Ledger.of(gaps)
    book = BookScan(symbol, ledger, findings, days)
    trades = TradeScan(symbol, ledger, findings, days)
    bars = BarScan(symbol, findings)
    feed("book", book.feed)
    feed("trades", trades.feed)
    trades.finish()
    for name in ("mark", "liquidations"):
        feed(name, MomentScan(symbol, findings).feed)
    feed("bars", bars.feed)
    inputs = Inputs(
        book.live(), ledger.lost("depth"), ledger.lost("trade"),
        frozenset(file.partition.date for file in source.of(symbol, "book")),
    )  # fmt: skip
    features = FeatureScan(symbol, findings, inputs)
    feed("features", features.feed)
    quality = SymbolQuality(symbol, findings, tables, ledger, book, trades, bars, features)
    quality.tick = check_ticks(dict(sorted(days.items())), symbol, findings)
    days.clear()
    quality.comparisons = _comparisons(quality, inputs.lost_trades)
    return quality


def _collected(quality: SymbolQuality) -> Intervals:
    """Times at which prints were collected, whether or not there were any."""
    present, streams = quality.book.present(), quality.book.streams
    if not quality.book.rows:
        extent = quality.tables.get("trades", TableExtent())
        if extent.first_us is None or extent.last_us is None:
            return present
        first, last = -(-extent.first_us // MINUTE_US) * MINUTE_US, extent.last_us // MINUTE_US * MINUTE_US
        return Intervals.union(np.array([first]), np.array([last]))
    silent = np.array([hour for hour, names in streams.items() if not names & {"trade", "aggTrade"}], dtype=np.int64)
    return present.without(Intervals.union(silent, silent + HOUR_US))


def _comparisons(quality: SymbolQuality, lost: Intervals) -> list[KlineComparison]:
    """Prints and features against the exchange's klines, in minutes whose prints were all collected."""
    klines = MinuteBars.joined(quality.bars.minutes)
    if not len(klines):
        return []
    result = []
    if quality.trades.rows:
        where = comparable(klines.ts_us, _collected(quality), lost)
        result.append(compare("trades", MinuteBars.joined(quality.trades.minutes), klines, where))
    if quality.trades.rows and quality.features.minutes:  # else the features were made from these very klines
        ours = MinuteBars.joined(quality.features.minutes)
        where = np.isin(klines.ts_us, ours.ts_us[~np.isnan(ours.values[:, VOLUME])])
        result.append(compare("features", ours, klines, where))
    for comparison in result:
        quality.findings.look("kline_differences", comparison.compared)
    return result
