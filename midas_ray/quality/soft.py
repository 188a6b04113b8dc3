"""The soft checks: how good the data of a symbol are."""

import numpy as np

from midas_ray.features.nulls import NullKind
from midas_ray.features.registry import FEATURES, Feature
from midas_ray.quality.scan import SymbolQuality, TableExtent

MIN_COVERAGE = 0.99
MAX_GAP_SHARE = 0.01
MAX_UNDEFINED_SHARE = 0.5
MIN_ROWS = 100
"""Feature rows from which null shares say something: the first and the last bucket of a capture are parts."""

MAX_P99_US = 1_000_000
MAX_NEGATIVE_SHARE = 0.01


def check_soft(quality: SymbolQuality) -> None:
    """Note in the symbol's findings what falls short."""
    _check_coverage(quality)
    _check_nulls(quality)
    _check_latency(quality)
    _check_klines(quality)


def not_collected(quality: SymbolQuality) -> tuple[str, ...]:
    """Features that are a gap throughout because a stream they need was not collected."""
    features = quality.features
    if not features.rows:
        return ()
    all_gap = features.kinds[:, NullKind.GAP] == features.rows
    return tuple(
        feature.name
        for feature, gap in zip(FEATURES, all_gap, strict=True)
        if gap and not _has_inputs(feature, quality)
    )


def _has_inputs(feature: Feature, quality: SymbolQuality) -> bool:
    def rows(table: str) -> int:
        return quality.tables.get(table, TableExtent()).rows

    streams = frozenset().union(*quality.book.streams.values())
    present = {
        "book": quality.book.live_rows > 0,
        "trade": quality.trades.rows > 0,
        "mark": rows("mark") > 0,
        "liquidation": rows("liquidations") > 0 or "forceOrder" in streams,
        "price": True,
    }
    return all(present[stream] for stream in feature.inputs)


def _check_coverage(quality: SymbolQuality) -> None:
    share = quality.coverage
    if share is None:
        return
    findings, symbol = quality.findings, quality.symbol
    findings.look("coverage", 1)
    if share < MIN_COVERAGE:
        findings.add("coverage", symbol, f"clean/book of {symbol}", f"{_percent(share)} of the rows live", "99 %")
    present = quality.book.present()
    lost = quality.ledger.lost("trade")
    kept = 1 - int(lost.overlap_us(present.start, present.end).sum()) / present.total_us
    if quality.trades.rows and kept < MIN_COVERAGE:
        findings.add("coverage", symbol, f"clean/trades of {symbol}", f"{_percent(kept)} of the time complete", "99 %")


def _check_nulls(quality: SymbolQuality) -> None:
    features, findings = quality.features, quality.findings
    if features.rows < MIN_ROWS:
        return
    absent = set(not_collected(quality))
    path = f"features of {quality.symbol}"
    for feature, kinds in zip(FEATURES, features.kinds, strict=True):
        if feature.name in absent:
            continue
        findings.look("null_shares", 1)
        gap, undefined = (kinds[kind] / features.rows for kind in (NullKind.GAP, NullKind.UNDEFINED))
        if gap > MAX_GAP_SHARE:
            findings.add("null_shares", quality.symbol, path, f"{feature.name} {_percent(gap)} gap", "at most 1 %")
        if undefined > MAX_UNDEFINED_SHARE:
            found = f"{feature.name} {_percent(undefined)} undefined"
            findings.add("null_shares", quality.symbol, path, found, "at most half: training drops it otherwise")


def _check_latency(quality: SymbolQuality) -> None:
    latency, findings = quality.trades.latency, quality.findings
    if not latency.n:
        return
    path = f"clean/trades of {quality.symbol}"
    findings.look("latency", 1)
    p99_us = latency.percentile_us(99)
    if p99_us > MAX_P99_US:
        findings.add("latency", quality.symbol, path, f"p99 {p99_us / 1e3:,.0f} ms", "under 1,000 ms")
    share = latency.n_negative / latency.n
    if share > MAX_NEGATIVE_SHARE:
        findings.add(
            "latency",
            quality.symbol,
            path,
            f"{_percent(share)} of the latencies are negative (median {latency.percentile_us(50) / 1e3:,.0f} ms): "
            "the local clock was behind the exchange's",
            "a clock set by NTP",
        )


def _check_klines(quality: SymbolQuality) -> None:
    for comparison in quality.comparisons:
        for each in comparison.differences:
            quality.findings.add(
                "kline_differences",
                quality.symbol,
                f"clean/bars of {quality.symbol}",
                f"{each.column} {each.kline!r}, from {each.origin} {each.ours!r}",
                "the same",
                each.ts_us,
            )


def _percent(share: float) -> str:
    return f"{100 * np.floor(1e4 * share) / 1e4:.2f} %"
