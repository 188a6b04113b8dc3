"""A made-up half hour of one symbol's clean and feature tables, sound in every respect, to plant defects in."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from midas_ray import tables
from midas_ray.features.nulls import NullKind
from midas_ray.features.registry import FEATURES
from midas_ray.storage import Storage

VENUE, SYMBOL, DAY = "binance-futures", "btcusdt", "2026-01-05"
START_US = 1_767_571_200_000_000  # 2026-01-05 00:00 UTC
SECOND_US, MINUTE_US = 1_000_000, 60_000_000
MINUTES = 30
GAP_US = (START_US + 10 * MINUTE_US, START_US + 10 * MINUTE_US + 20 * SECOND_US)
"""The depth gap and, in ids [700, 710), the trade gap: in the bucket that ends at 00:11."""
TICK, PX_DECIMALS, SZ_DECIMALS = 10, 2, 3
"""Tick 0.10 at two decimals: a price of x.x5 is on the decimal grid but off the tick."""

METADATA = {
    "book": {"px_decimals": "2", "sz_decimals": "3", "snapshot_interval_ms": "1000", "streams": "depth,trade,kline"},
    "trades": {"px_decimals": "2", "sz_decimals": "3", "trade_source": "trade"},
    "features": {"time_bucket_ms": "60000", "price_source": "midprice"},
}


@dataclass
class MadeUp:
    """Tables by name; change them, then `write`."""

    frames: dict[str, pl.DataFrame]
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)

    def write(self, data_dir: Path, symbol: str = SYMBOL) -> None:
        storage = Storage(str(data_dir))
        for name, frame in self.frames.items():
            if "symbol" in frame.columns and symbol != SYMBOL:
                frame = frame.with_columns(pl.lit(symbol).alias("symbol"))
            folder = name if name == "features" else f"clean/{name}"
            file = "features" if name == "features" else "00"
            path = f"{folder}/venue={VENUE}/symbol={symbol}/date={DAY}/{file}.parquet"
            storage.write_parquet(path, frame.to_arrow(), {"schema_version": "1"} | self.metadata.get(name, {}))

    def set(self, table: str, row: int, **values: object) -> None:
        """Change cells of one row."""
        frame = self.frames[table]
        at = pl.int_range(pl.len()) == row
        for name, value in values.items():
            new = pl.when(at).then(pl.lit(value, dtype=frame.schema[name])).otherwise(pl.col(name))
            frame = frame.with_columns(new.alias(name))
        self.frames[table] = frame

    def drop_rows(self, table: str, *rows: int) -> None:
        self.frames[table] = self.frames[table].filter(~pl.int_range(pl.len()).is_in(rows))


def made_up() -> MadeUp:
    """A sound data set."""
    rng = np.random.default_rng(5)
    frames = {"book": _book(rng), "trades": _trades(rng), "gaps": _gaps(), "mark": _mark()}
    frames["bars"] = _bars(frames["trades"])
    frames["features"] = _features(rng, frames["bars"])
    return MadeUp(frames, {name: dict(values) for name, values in METADATA.items()})


def _times(us: np.ndarray) -> pl.Series:
    return pl.Series(us.astype(np.int64)).cast(tables.TIMESTAMP)


def _book(rng: np.random.Generator) -> pl.DataFrame:
    n = MINUTES * 60
    ts_us = START_US + SECOND_US * np.arange(1, n + 1)
    lost = (ts_us > GAP_US[0]) & (ts_us <= GAP_US[1])
    best_bid = 500_000 + TICK * np.cumsum(rng.integers(-8, 9, n))
    columns: dict[str, pl.Series] = {"ts": _times(ts_us), "symbol": pl.Series([SYMBOL] * n)}
    for name, sign, best in (("bid", -1, best_bid), ("ask", 1, best_bid + TICK)):
        for level in range(10):
            px = (best + sign * TICK * level) / 10**PX_DECIMALS
            columns[f"{name}_px_{level + 1:02d}"] = _without(px, lost)
        for level in range(10):
            size = rng.integers(1, 5000, n) / 10**SZ_DECIMALS
            columns[f"{name}_sz_{level + 1:02d}"] = _without(size, lost)
    columns["last_update_id"] = pl.Series(1000 + 7 * np.arange(n))
    columns["n_updates"] = pl.Series(np.full(n, 10))
    first_live = np.zeros(n, dtype=bool)
    first_live[np.flatnonzero(lost)[-1] + 1] = True
    for level in range(10):
        columns[f"ofi_{level + 1:02d}"] = _without(rng.integers(-500, 500, n) / 10**SZ_DECIMALS, lost | first_live)
    columns["state"] = pl.Series(np.where(lost, "gap", "live"))
    schema = tables.book_schema()
    return pl.DataFrame({name: columns[name] for name in schema}).cast(schema)


def _without(values: np.ndarray, absent: np.ndarray) -> pl.Series:
    return pl.Series([None if gone else value for value, gone in zip(values.tolist(), absent.tolist(), strict=True)])


def _trades(rng: np.random.Generator) -> pl.DataFrame:
    """One print a second in the middle of the second, ids 101...; ten are lost in the gap."""
    n = MINUTES * 60
    ids = 101 + np.arange(n)
    ts_us = START_US + SECOND_US * np.arange(n) + 500_000
    kept = (ids < 702) | (ids >= 712)
    px = (500_000 + TICK * np.cumsum(rng.integers(-8, 9, n))) / 10**PX_DECIMALS
    frame = pl.DataFrame(
        {
            "ts": _times(ts_us),
            "symbol": [SYMBOL] * n,
            "trade_id": ids,
            "px": px,
            "qty": rng.integers(1, 900, n) / 10**SZ_DECIMALS,
            "side": rng.choice(["buy", "sell"], n),
            "count": np.ones(n, dtype=np.int64),
            "recv_ns": (ts_us + 20_000 + rng.integers(0, 30_000, n)) * 1000,
        }
    )
    return frame.filter(kept).cast(tables.TRADES)


def _gaps() -> pl.DataFrame:
    start, end = (_times(np.array([us, us + shift])) for us, shift in zip(GAP_US, (500_000, -500_000), strict=True))
    return pl.DataFrame(
        {
            "symbol": [SYMBOL] * 2,
            "stream": ["depth", "trade"],
            "start": start,
            "end": end,
            "cause": ["venue", "network"],
            "fault": ["venue", "network"],
            "expected_id": [5200, 702],
            "found_id": [5300, 712],
            "first_recv_ns": [GAP_US[1] * 1000] * 2,
            "recovered": [True, True],
        }
    ).cast(tables.GAPS)


def _mark() -> pl.DataFrame:
    n = MINUTES * 60
    ts_us = START_US + SECOND_US * np.arange(n)
    return pl.DataFrame(
        {
            "ts": _times(ts_us),
            "symbol": [SYMBOL] * n,
            "mark_px": np.full(n, 5000.0),
            "index_px": np.full(n, 5001.0),
            "funding_rate": np.full(n, 1e-4),
            "next_funding_ts": _times(np.full(n, START_US + 8 * 60 * MINUTE_US)),
        }
    ).cast(tables.MARK)


def _bars(trades: pl.DataFrame) -> pl.DataFrame:
    """Bars of the prints, by plain arithmetic on whole lots."""
    rows = []
    for minute in range(MINUTES):
        start = START_US + minute * MINUTE_US
        us = pl.col("ts").to_physical()
        inside = trades.filter((us >= start) & (us < start + MINUTE_US))
        px, lots = inside["px"].to_list(), [round(1000 * qty) for qty in inside["qty"].to_list()]
        quote = sum(round(100 * p) * lot for p, lot in zip(px, lots, strict=True)) / 1e5
        rows.append((start + MINUTE_US, px[0], max(px), min(px), px[-1], sum(lots) / 1000, quote, len(px)))
    frame = pl.DataFrame(
        rows,
        schema=["ts", "open", "high", "low", "close", "volume", "quote_volume", "number_of_trades"],
        orient="row",
    ).with_columns(
        pl.col("ts").cast(tables.TIMESTAMP),
        pl.lit(SYMBOL).alias("symbol"),
        pl.lit(None, pl.Float64).alias("taker_buy_volume"),
        pl.lit(None, pl.Float64).alias("taker_buy_quote_volume"),
    )
    return frame.select(list(tables.BARS)).cast(tables.BARS)


def _features(rng: np.random.Generator, bars: pl.DataFrame) -> pl.DataFrame:
    """Numbers within bounds; all that has an input is a gap in the bucket that ends at 00:11; returns warm up."""
    values = {feature.name: np.clip(rng.uniform(0, 1, MINUTES), feature.lower, feature.upper) for feature in FEATURES}
    for name in ("open", "high", "low", "close", "volume", "quote_volume", "number_of_trades"):
        values[name] = bars[name].cast(pl.Float64).to_numpy()
    kinds = np.zeros((MINUTES, len(FEATURES)), dtype=np.uint8)
    for position, feature in enumerate(FEATURES):
        if feature.inputs:
            kinds[10, position] = NullKind.GAP
        if feature.name in ("returns", "returns_5"):
            kinds[: 1 if feature.name == "returns" else 5, position] = NullKind.WARM_UP
    columns: dict[str, object] = {"ts": bars["ts"], "symbol": bars["symbol"]}
    for position, (name, column) in enumerate(values.items()):
        columns[name] = _without(column, kinds[:, position] != 0)
    columns["coverage"] = columns["trades_coverage"] = [1.0] * MINUTES
    columns["null_kinds"] = [row.tobytes() for row in kinds]
    return pl.DataFrame(columns)
