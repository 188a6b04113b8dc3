"""The clean tables: columns and types, once. Times are UTC microseconds; px is in quote, sz and qty in base units."""

from typing import TypeVar

import polars as pl

AnyFrame = TypeVar("AnyFrame", pl.DataFrame, pl.LazyFrame)

SCHEMA_VERSION = 1
"""Version of the clean tables; in the Parquet metadata as `schema_version`."""

ORIGIN = "archive_file"
"""Key in the Parquet metadata of a table made of an archive's file, whose name it gives, not of raw journals."""

TIMESTAMP = pl.Datetime("us", "UTC")
MIN_LEVELS = 10

BOOK_STATES = ("live", "syncing", "gap")
GAP_CAUSES = ("venue", "network", "both-missed", "overrun", "disk", "down")
GAP_FAULTS = ("venue", "network", "collector")
FAULT_OF: dict[str, str] = {
    "venue": "venue",
    "network": "network",
    "both-missed": "network",
    "overrun": "collector",
    "disk": "collector",
    "down": "collector",
}
"""Whose doing a gap of each cause is."""


def level_columns(kind: str, depth: int) -> list[str]:
    """Column names such as bid_px_01 ... bid_px_10 for kind `bid_px`."""
    return [f"{kind}_{level:02d}" for level in range(1, depth + 1)]


def book_schema(depth: int = MIN_LEVELS) -> pl.Schema:
    """Columns of clean/book: one row per grid step, `ts` = its end (the state after every event with time < ts).

    Prices and sizes are null beyond the known depth and while `state` is not live; `ofi_m` is the order flow imbalance
    at level m summed over the interval (base units), null in the first live row after a gap.
    """
    columns: dict[str, pl.DataType] = {"ts": TIMESTAMP, "symbol": pl.String()}
    for kind in ("bid_px", "bid_sz", "ask_px", "ask_sz"):
        columns |= {name: pl.Float64() for name in level_columns(kind, depth)}
    columns |= {"last_update_id": pl.Int64(), "n_updates": pl.Int32()}
    columns |= {name: pl.Float64() for name in level_columns("ofi", MIN_LEVELS)}
    columns |= {"state": pl.Enum(BOOK_STATES)}
    return pl.Schema(columns)


TRADES: pl.Schema = pl.Schema(
    {
        "ts": TIMESTAMP,
        "symbol": pl.String(),
        "trade_id": pl.Int64(),
        "px": pl.Float64(),
        "qty": pl.Float64(),
        "side": pl.Enum(("buy", "sell")),
        "count": pl.Int32(),
        "recv_ns": pl.Int64(),
    }
)
"""clean/trades: every print once, ordered by (ts, trade_id). `side` is the taker's. `count` is 1, or l - f + 1 where
only aggTrade was collected. `recv_ns` is null where an archive has none. Metadata: `trade_source` is `trade` or
`aggTrade`; `no_print_ids` names the other rows."""

GAPS: pl.Schema = pl.Schema(
    {
        "symbol": pl.String(),
        "stream": pl.String(),
        "start": TIMESTAMP,
        "end": TIMESTAMP,
        "cause": pl.Enum(GAP_CAUSES),
        "fault": pl.Enum(GAP_FAULTS),
        "expected_id": pl.Int64(),
        "found_id": pl.Int64(),
        "first_recv_ns": pl.Int64(),
        "recovered": pl.Boolean(),
    }
)
"""clean/gaps: the gap ledger; `stream` is `depth` or `trade`, the gap is (start, end] in exchange time; `fault` says
whose doing its cause is. Where it was not `recovered`, the stream was not whole again when the data ended, at `end`."""


def with_fault(gaps: AnyFrame) -> AnyFrame:
    """`gaps` with its `fault`, which ledgers written before there was one lack."""
    fault = pl.col("cause").cast(pl.String).replace_strict(FAULT_OF, return_dtype=pl.Enum(GAP_FAULTS))
    return gaps.with_columns(fault=fault).select(list(GAPS))


def hour_in_name(path: str) -> int | None:
    """UTC hour of a clean file, `07.parquet`; None for any other name."""
    stem, _, suffix = path.rpartition("/")[2].partition(".")
    return int(stem) if suffix == "parquet" and len(stem) == 2 and stem.isdecimal() and int(stem) < 24 else None


def is_own(table: str, path: str) -> bool:
    """Whether a file in a day of `clean/...` or `features` is named as MIDAS names it; others are left alone."""
    if table == "features":
        return path.endswith("/features.parquet")
    return hour_in_name(path) is not None


MARK: pl.Schema = pl.Schema(
    {
        "ts": TIMESTAMP,
        "symbol": pl.String(),
        "mark_px": pl.Float64(),
        "index_px": pl.Float64(),
        "funding_rate": pl.Float64(),
        "next_funding_ts": TIMESTAMP,
    }
)
"""clean/mark, ordered by ts."""

LIQUIDATIONS: pl.Schema = pl.Schema(
    {
        "ts": TIMESTAMP,
        "symbol": pl.String(),
        "side": pl.Enum(("buy", "sell")),
        "px": pl.Float64(),
        "qty": pl.Float64(),
    }
)
"""clean/liquidations: forced orders; `side` is the order's, `px` its average price, `qty` its filled quantity."""

BARS: pl.Schema = pl.Schema(
    {
        "ts": TIMESTAMP,
        "symbol": pl.String(),
        "open": pl.Float64(),
        "high": pl.Float64(),
        "low": pl.Float64(),
        "close": pl.Float64(),
        "volume": pl.Float64(),
        "quote_volume": pl.Float64(),
        "number_of_trades": pl.Int64(),
        "taker_buy_volume": pl.Float64(),
        "taker_buy_quote_volume": pl.Float64(),
    }
)
"""clean/bars: the exchange's own closed 1-minute klines; `ts` = the END of the bar (open time + 60 s).
The last four are nullable."""
