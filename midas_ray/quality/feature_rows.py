"""The feature table of one symbol, file by file: its hard checks, and nulls per feature and kind."""

from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from midas_ray.errors import SchemaError
from midas_ray.features.nulls import NullKind
from midas_ray.features.registry import FEATURE_NAMES, FEATURES, POSITION, Feature
from midas_ray.quality.bars import check_ohlc
from midas_ray.quality.findings import FileFindings, Findings
from midas_ray.quality.intervals import Intervals
from midas_ray.quality.klines import COLUMNS, MINUTE_US, PRICES, MinuteBars
from midas_ray.quality.shared_rules import check_not_nan, check_rising, check_span, check_step, times_of
from midas_ray.quality.source import Rows

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
KindArray = npt.NDArray[np.uint8]

N = len(FEATURES)
KINDS = {kind: kind.name.lower() for kind in NullKind}


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the features were made from: times with a live book, losses of the ledger, days that still have a book."""

    live: Intervals
    lost_depth: Intervals
    lost_trades: Intervals
    book_days: frozenset[date]


@dataclass
class FeatureScan:
    """What was seen of a symbol's features so far. F = 72 features, in registry order."""

    symbol: str
    findings: Findings
    inputs: Inputs
    rows: int = 0
    bucket_us: int | None = None
    price_source: str = ""
    kinds: IntArray = field(default_factory=lambda: np.zeros((N, len(NullKind)), dtype=np.int64))
    """(F, 4) values, and nulls of each kind."""
    out_of_bounds: IntArray = field(default_factory=lambda: np.zeros(N, dtype=np.int64))
    lowest: FloatArray = field(default_factory=lambda: np.full(N, np.nan))
    highest: FloatArray = field(default_factory=lambda: np.full(N, np.nan))
    coverage_sum: float = 0.0
    trades_coverage_sum: float = 0.0
    minutes: list[MinuteBars] = field(default_factory=list)
    _last_us: int | None = None

    def feed(self, rows: Rows) -> None:
        """Check a file and remember what the report needs of it. Raises SchemaError where bucket lengths are mixed."""
        self._adopt_bucket(rows)
        if not len(rows.frame):
            return
        at = FileFindings(self.findings, self.symbol, rows.path, times_of(rows))
        check_rising(at, self._last_us, strictly=True)
        check_step(at, self.bucket_us or 1)
        check_span(at, rows.file, closed="right")
        check_not_nan(rows, self.findings)
        values = np.column_stack([rows.frame[name].to_numpy() for name in FEATURE_NAMES])
        check_ohlc(at, values[:, [POSITION[name] for name in PRICES]])
        kinds = _kinds_of(rows, self.findings)
        lost = self._lost_inputs(rows.file.partition.date, at.ts_us)
        at.look("number_in_gap", len(values))
        for position, feature in enumerate(FEATURES):
            column = values[:, position]
            self._check_bounds(at, feature, column)
            self._check_input(at, feature, column, lost)
            if kinds is not None:
                self._check_kinds(at, feature, column, kinds[:, position])
        self._remember(rows, at.ts_us, values)

    def _adopt_bucket(self, rows: Rows) -> None:
        bucket_us = int(rows.metadata["time_bucket_ms"]) * 1000
        if self.bucket_us not in (None, bucket_us):
            raise SchemaError(
                f"{rows.path}: expected buckets of {(self.bucket_us or 0) // 1000} ms as in the files before, found "
                f"{bucket_us // 1000} ms; rerun midas features"
            )
        self.bucket_us = bucket_us
        self.price_source = rows.metadata["price_source"]

    def _check_bounds(self, at: FileFindings, feature: Feature, column: FloatArray) -> None:
        outside = np.isinf(column) | (column < feature.lower) | (column > feature.upper)
        self.out_of_bounds[POSITION[feature.name]] += int(outside.sum())
        at.look("registry_bounds", int((~np.isnan(column)).sum()))
        at.rows(
            "registry_bounds",
            outside,
            lambda row: f"{feature.name} {column[row]:g}",
            f"within [{feature.lower:g}, {feature.upper:g}]",
        )

    def _check_input(self, at: FileFindings, feature: Feature, column: FloatArray, lost: dict[str, BoolArray]) -> None:
        """A feature whose input was lost in its bucket is null."""
        need = need_of(feature, self.price_source)
        at.rows(
            "number_in_gap",
            lost[need] & ~np.isnan(column),
            lambda row: f"{feature.name} {column[row]:g}",
            f"null: {_WORDS[need]}",
        )

    def _check_kinds(self, at: FileFindings, feature: Feature, column: FloatArray, kinds: KindArray) -> None:
        at.look("null_kinds", len(column))
        at.rows(
            "null_kinds",
            (np.isnan(column) != (kinds != NullKind.VALUE)) | (kinds > max(NullKind)),
            lambda row: (
                f"{feature.name} {'null' if np.isnan(column[row]) else f'{column[row]:g}'} with null kind {kinds[row]}"
            ),
            "a null exactly where the kind is gap, warm-up or undefined",
        )
        self.kinds[POSITION[feature.name]] += np.bincount(kinds, minlength=len(NullKind))[: len(NullKind)]

    def _lost_inputs(self, day: date, ts_us: IntArray) -> dict[str, BoolArray]:
        """(n,) for each need, buckets in which it is not met. Days whose clean/book was deleted are left alone."""
        bucket_us, inputs = self.bucket_us or 1, self.inputs
        start_us = ts_us - bucket_us
        never = np.zeros(len(ts_us), dtype=np.bool_)
        lost = {"": never, "trades": inputs.lost_trades.meets(start_us - 1, ts_us - 1)}
        if day not in inputs.book_days:
            return lost | dict.fromkeys(("end", "both ends", "six ends", "some", "all"), never)
        live_us = inputs.live.overlap_us(start_us, ts_us)
        ends = [~inputs.live.contains(ts_us - bucket_us * back) for back in range(6)]
        if day - timedelta(days=1) not in inputs.book_days:
            midnight = int(ts_us[0] - 1) // (24 * 60 * MINUTE_US) * (24 * 60 * MINUTE_US)
            ends = [end & (ts_us - bucket_us * back > midnight) for back, end in enumerate(ends)]
        return lost | {
            "end": ends[0],
            "both ends": ends[0] | ends[1],
            "six ends": np.logical_or.reduce(ends),
            "some": live_us == 0,
            "all": (live_us < bucket_us) | inputs.lost_depth.meets(start_us, ts_us),
        }

    def _remember(self, rows: Rows, ts_us: IntArray, values: FloatArray) -> None:
        self.rows += len(ts_us)
        known = ~np.isnan(values)
        self.lowest = np.fmin(self.lowest, np.where(known, values, np.inf).min(axis=0))
        self.highest = np.fmax(self.highest, np.where(known, values, -np.inf).max(axis=0))
        self.coverage_sum += float(rows.frame["coverage"].fill_null(0.0).sum())
        self.trades_coverage_sum += float(rows.frame["trades_coverage"].fill_null(0.0).sum())
        if self.bucket_us == MINUTE_US:
            self.minutes.append(MinuteBars(ts_us, values[:, [POSITION[name] for name in COLUMNS]]))
        self._last_us = int(ts_us[-1])


_WORDS = {
    "": "",
    "trades": "trades were lost in the bucket",
    "end": "the book at its end is not live",
    "both ends": "the book at its start or end is not live",
    "six ends": "the book at an end of its five buckets is not live",
    "some": "no row of the bucket is live",
    "all": "the book was lost in a part of the bucket",
}


def need_of(feature: Feature, price_source: str) -> str:
    """What of its own bucket's input a feature cannot do without: a key of _WORDS, "" where the ledger cannot tell."""
    if "trade" in feature.inputs:
        return "trades"
    if feature.family == "order_flow":
        return "all"
    if "book" in feature.inputs:
        is_mean = feature.family == "liquidity" or feature.name.endswith("_mean") or feature.name.startswith("cost_")
        return "some" if is_mean else "end"
    if "price" in feature.inputs:
        if price_source == "close":
            return "trades"
        return {"returns": "both ends", "returns_5": "six ends"}.get(feature.name, "end")
    return ""


def _kinds_of(rows: Rows, findings: Findings) -> KindArray | None:
    """(n, F) null kinds; None, and a finding, where a row has not one byte a feature."""
    raw = rows.frame["null_kinds"].to_list()
    short = [len(each) for each in raw if len(each) != N]
    if short:
        findings.add("schema", rows.symbol, rows.path, f"{short[0]} bytes of null_kinds", f"{N}, one a feature")
        return None
    return np.frombuffer(b"".join(raw), dtype=np.uint8).reshape(len(raw), N)
