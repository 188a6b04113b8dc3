"""reports/data_quality.json: the whole report as plain data."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from midas_ray import __version__
from midas_ray.features.nulls import NullKind
from midas_ray.features.registry import FEATURE_NAMES
from midas_ray.quality.feature_rows import KINDS
from midas_ray.quality.findings import CHECKS, Findings, utc_text
from midas_ray.quality.latency import PERCENTILES, LatencySketch
from midas_ray.quality.scan import SymbolQuality, TableExtent
from midas_ray.quality.soft import not_collected

REPORT_VERSION = 1
MAX_LISTED = 1000
"""Gaps and kline differences listed a symbol; counts are always those of all."""


HISTOGRAM_BARS = 200


@dataclass(frozen=True, slots=True)
class Context:
    """What was validated, how and when."""

    venue: str
    data_dir: str
    strict: bool
    created: datetime


def document(qualities: list[SymbolQuality], total: Findings, context: Context) -> dict[str, Any]:
    """The report. Times are UTC text, null where there is no value."""
    latency = LatencySketch()
    for quality in qualities:
        latency.absorb(quality.trades.latency)
    rows, live = (sum(getattr(q.book, name) for q in qualities) for name in ("rows", "live_rows"))
    return {
        "report_version": REPORT_VERSION,
        "midas_version": __version__,
        "created": context.created.isoformat(timespec="seconds"),
        "venue": context.venue,
        "data_dir": context.data_dir,
        "strict": context.strict,
        "passed": not total.failed(context.strict),
        "checks": checks_of(total, context.strict),
        "overall": {
            "symbols": len(qualities),
            "span": _span([q.span_us for q in qualities]),
            "rows": _row_totals(qualities),
            "coverage": live / rows if rows else None,
            "gaps": sum(len(q.ledger.gaps) for q in qualities),
            "latency_ms": latency_of(latency),
            "nulls": nulls_of(qualities),
        },
        "symbols": {quality.symbol: _symbol(quality, context.strict) for quality in qualities},
    }


def checks_of(findings: Findings, strict: bool) -> list[dict[str, Any]]:
    """Every check with its status, figures and the first offending values."""
    return [
        {
            "name": check.name,
            "severity": check.severity,
            "status": findings.status(check.name, strict),
            "asserts": check.asserts,
            "looked_at": findings.looked_at[check.name],
            "unit": check.unit,
            "count": findings.counts[check.name],
            "examples": [
                {
                    "symbol": each.symbol,
                    "path": each.path,
                    "ts": None if each.ts_us is None else utc_text(each.ts_us),
                    "found": each.found,
                    "expected": each.expected,
                }
                for each in findings.examples[check.name]
            ],
        }
        for check in CHECKS
    ]


def latency_of(sketch: LatencySketch) -> dict[str, Any] | None:
    """Trade latency in ms: receive time minus exchange time; None without trades."""
    if not sketch.n:
        return None
    left_ms, counts, width_ms = sketch.histogram(HISTOGRAM_BARS)
    return {
        "n": sketch.n,
        "negative": sketch.n_negative,
        "min": sketch.min_us / 1e3,
        **{f"p{percent}": round(sketch.percentile_us(percent) / 1e3, 3) for percent in PERCENTILES},
        "max": sketch.max_us / 1e3,
        "histogram": {"left_ms": left_ms.tolist(), "width_ms": width_ms, "count": counts.tolist()},
    }


def nulls_of(qualities: list[SymbolQuality]) -> dict[str, dict[str, Any]]:
    """Values, nulls of each kind and values out of bounds, per feature; empty without features."""
    features = [quality.features for quality in qualities if quality.features.rows]
    if not features:
        return {}
    kinds = np.sum([each.kinds for each in features], axis=0)
    outside = np.sum([each.out_of_bounds for each in features], axis=0)
    return {
        name: {KINDS[kind]: int(kinds[position, kind]) for kind in NullKind} | {"out_of_bounds": int(outside[position])}
        for position, name in enumerate(FEATURE_NAMES)
    }


def _row_totals(qualities: list[SymbolQuality]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for quality in qualities:
        for name, extent in quality.tables.items():
            totals[name] = totals.get(name, 0) + extent.rows
    return totals


def _span(spans: list[tuple[int, int] | None]) -> dict[str, str] | None:
    known = [span for span in spans if span is not None]
    if not known:
        return None
    return {"first": utc_text(min(first for first, _ in known)), "last": utc_text(max(last for _, last in known))}


def _symbol(quality: SymbolQuality, strict: bool) -> dict[str, Any]:
    findings = quality.findings
    return {
        "span": _span([quality.span_us]),
        "tables": {name: _extent(extent) for name, extent in quality.tables.items() if extent.files},
        "tick": quality.tick,
        "checks": {
            check.name: {"status": findings.status(check.name, strict), "count": findings.counts[check.name]}
            for check in CHECKS
        },
        "coverage": _coverage(quality),
        "gaps": _gaps(quality),
        "latency_ms": latency_of(quality.trades.latency),
        "klines": _klines(quality),
        "features": _features(quality),
    }


def _extent(extent: TableExtent) -> dict[str, Any]:
    first, last = (None if us is None else utc_text(us) for us in (extent.first_us, extent.last_us))
    return {"files": extent.files, "rows": extent.rows, "first": first, "last": last}


def _coverage(quality: SymbolQuality) -> dict[str, Any] | None:
    book = quality.book
    if not book.rows:
        return None
    return {
        "rows": book.rows,
        "live_rows": book.live_rows,
        "live_share_of_rows": quality.coverage,
        "live_share_of_span": quality.coverage_of_span,
        "interval_ms": book.step_us // 1000,
        "hours": [
            {"hour": utc_text(start), "rows": hour.rows, "live_rows": hour.live}
            for start, hour in sorted(book.hours.items())
        ],
    }


def _gaps(quality: SymbolQuality) -> dict[str, Any]:
    gaps = quality.ledger.gaps
    longest = max((gap.length_s for gap in gaps), default=None)
    return {
        "count": len(gaps),
        "by_cause": quality.ledger.by("cause"),
        "by_fault": quality.ledger.by("fault"),
        "by_stream": quality.ledger.by("stream"),
        "longest_s": longest,
        "lost_s": {stream: quality.ledger.lost(stream).total_us / 1e6 for stream in quality.ledger.by("stream")},
        "listed": min(len(gaps), MAX_LISTED),
        "list": [
            {
                "stream": gap.stream,
                "cause": gap.cause,
                "fault": gap.fault,
                "start": utc_text(gap.start_us),
                "end": utc_text(gap.end_us),
                "seconds": gap.length_s,
                "expected_id": gap.expected_id,
                "found_id": gap.found_id,
                "recovered": gap.recovered,
            }
            for gap in gaps[:MAX_LISTED]
        ],
    }


def _klines(quality: SymbolQuality) -> list[dict[str, Any]]:
    return [
        {
            "origin": comparison.origin,
            "klines": comparison.klines,
            "compared": comparison.compared,
            "differences": len(comparison.differences),
            "list": [
                {"ts": utc_text(each.ts_us), "column": each.column, "ours": each.ours, "kline": each.kline}
                for each in comparison.differences[:MAX_LISTED]
            ],
        }
        for comparison in quality.comparisons
    ]


def _features(quality: SymbolQuality) -> dict[str, Any] | None:
    features = quality.features
    if not features.rows:
        return None
    nulls = nulls_of([quality])
    for position, name in enumerate(FEATURE_NAMES):
        low, high = float(features.lowest[position]), float(features.highest[position])
        known = np.isfinite([low, high]).all()
        nulls[name] |= {"min": low if known else None, "max": high if known else None}
    return {
        "rows": features.rows,
        "bucket_ms": (features.bucket_us or 0) // 1000,
        "price_source": features.price_source,
        "mean_coverage": features.coverage_sum / features.rows,
        "mean_trades_coverage": features.trades_coverage_sum / features.rows,
        "not_collected": list(not_collected(quality)),
        "columns": nulls,
    }
