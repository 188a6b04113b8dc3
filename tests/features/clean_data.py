"""A small seeded market written as clean tables, in the format of midas_ray/tables.py: inputs of the feature tests."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
import polars as pl

from midas_ray.storage import Partition, Storage
from midas_ray.tables import BARS, GAPS, LIQUIDATIONS, MARK, TIMESTAMP, TRADES, book_schema, level_columns

HOUR_US = 3_600_000_000
MINUTE_US = 60_000_000
START_US = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp()) * 10**6
PX_DECIMALS, SZ_DECIMALS = 1, 3
STREAMS = "aggTrade,depth,forceOrder,markPrice,trade"


@dataclass
class Market:
    """Clean tables of one symbol, unsplit."""

    book: pl.DataFrame
    trades: pl.DataFrame
    mark: pl.DataFrame
    liquidations: pl.DataFrame
    gaps: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=GAPS))
    grid_ms: int = 100

    def until(self, ts_us: int) -> "Market":
        """What was known at `ts_us`: grid rows up to it, events before it."""
        end = pl.lit(ts_us).cast(TIMESTAMP)
        return Market(
            self.book.filter(pl.col("ts") <= end),
            self.trades.filter(pl.col("ts") < end),
            self.mark.filter(pl.col("ts") < end),
            self.liquidations.filter(pl.col("ts") < end),
            self.gaps.filter(pl.col("end") <= end),
            self.grid_ms,
        )


def with_another_future(market: Market, ts_us: int) -> Market:
    """The same up to `ts_us`, all else after it: prices double, sizes a thousandfold, sides and flows turned round."""
    after, known = pl.col("ts").cast(pl.Int64) > ts_us, pl.col("ts").cast(pl.Int64) < ts_us

    def changed(frame: pl.DataFrame, unchanged: pl.Expr, factors: dict[str, float]) -> pl.DataFrame:
        columns = [pl.when(unchanged).then(pl.col(name)).otherwise(pl.col(name) * by) for name, by in factors.items()]
        frame = frame.with_columns(columns)
        if "side" not in frame.columns:
            return frame
        turned = pl.col("side").cast(pl.String).replace({"buy": "sell", "sell": "buy"}).cast(frame.schema["side"])
        return frame.with_columns(pl.when(unchanged).then(pl.col("side")).otherwise(turned))

    by_kind = {"bid_px": 2, "ask_px": 2, "bid_sz": 900, "ask_sz": 7}
    ladder = {name: float(by) for kind, by in by_kind.items() for name in level_columns(kind, 10)}
    return Market(
        changed(market.book, ~after, ladder | dict.fromkeys(OFI, -1000.0)),
        changed(market.trades, known, {"px": 2.0, "qty": 1000.0}),
        changed(market.mark, known, {"mark_px": 3.0, "index_px": 2.0, "funding_rate": -2.0}),
        changed(market.liquidations, known, {"qty": 1000.0}),
        market.gaps.filter(pl.col("end").cast(pl.Int64) <= ts_us),
        market.grid_ms,
    )


LADDER = [name for kind in ("bid_px", "bid_sz", "ask_px", "ask_sz") for name in level_columns(kind, 10)]
OFI = level_columns("ofi", 10)


def with_book_gap(market: Market, start_us: int, end_us: int) -> Market:
    """The book lost in (start, end): rows there hold nothing, the first live row after it has no flow."""
    ts = pl.col("ts").cast(pl.Int64)
    lost = (ts > start_us) & (ts <= end_us)
    grid_us = market.grid_ms * 1000
    first_live = (ts > end_us) & (ts <= end_us + grid_us)
    book = market.book.with_columns(
        *[pl.when(lost).then(None).otherwise(pl.col(name)).alias(name) for name in LADDER],
        *[pl.when(lost | first_live).then(None).otherwise(pl.col(name)).alias(name) for name in OFI],
        pl.when(lost).then(pl.lit("gap")).otherwise(pl.col("state").cast(pl.String)).alias("state"),
    )
    return replace(market, book=book.cast(book_schema()))


def with_trade_gap(market: Market, start_us: int, end_us: int) -> Market:
    """Prints lost in (start, end), and the ledger says so."""
    ts = pl.col("ts").cast(pl.Int64)
    gap = pl.DataFrame(
        {
            "symbol": ["testusdt"],
            "stream": ["trade"],
            "start": timestamps(np.array([start_us])),
            "end": timestamps(np.array([end_us])),
            "cause": ["venue"],
            "fault": ["venue"],
            "expected_id": [1],
            "found_id": [2],
            "first_recv_ns": [0],
            "recovered": [True],
        }
    ).cast(GAPS)
    trades = market.trades.filter((ts <= start_us) | (ts >= end_us))
    return replace(market, trades=trades, gaps=pl.concat([market.gaps, gap]))


def without_collector(market: Market, start_us: int, end_us: int) -> Market:
    """Nothing at all was received in (start, end)."""
    ts = pl.col("ts").cast(pl.Int64)
    outside = (ts <= start_us) | (ts > end_us)
    tables = {name: getattr(market, name).filter(outside) for name in ("book", "trades", "mark", "liquidations")}
    return replace(market, **tables)


def timestamps(us: np.ndarray) -> pl.Series:
    return pl.Series(np.asarray(us, dtype=np.int64)).cast(TIMESTAMP)


def book_frame(
    ts_us: np.ndarray,
    bid: np.ndarray,
    ask: np.ndarray,
    bid_lots: np.ndarray,
    ask_lots: np.ndarray,
    ofi_lots: np.ndarray,
) -> pl.DataFrame:
    """Grid rows. bid, ask: (r,) best prices in ticks; levels one tick apart. bid_lots, ask_lots, ofi_lots: (r, 10)."""
    columns: dict[str, object] = {"ts": timestamps(ts_us), "symbol": ["testusdt"] * len(ts_us)}
    for side, best, step, lots in (("bid", bid, -1, bid_lots), ("ask", ask, 1, ask_lots)):
        for level, name in enumerate(level_columns(f"{side}_px", 10)):
            columns[name] = (best + step * level) / 10**PX_DECIMALS
        for level, name in enumerate(level_columns(f"{side}_sz", 10)):
            columns[name] = lots[:, level] / 10**SZ_DECIMALS
    columns |= {"last_update_id": np.arange(len(ts_us)), "n_updates": np.ones(len(ts_us), dtype=np.int32)}
    for level, name in enumerate(level_columns("ofi", 10)):
        columns[name] = ofi_lots[:, level] / 10**SZ_DECIMALS
    columns["state"] = ["live"] * len(ts_us)
    frame = pl.DataFrame({name: columns[name] for name in book_schema()})
    return frame.cast(book_schema())


def make_market(
    hours: float, seed: int = 1, start_us: int = START_US, trades_an_hour: int = 600, grid_ms: int = 100
) -> Market:
    """A random walk of one-tick steps with trades at the touch, funding and forced orders."""
    rng = np.random.default_rng(seed)
    rows = int(hours * 3_600_000 / grid_ms)
    ts_us = start_us + 1000 * grid_ms * np.arange(1, rows + 1)
    bid = 1_000_000 + np.cumsum(rng.choice([-1, 0, 0, 0, 1], rows))
    ask = bid + rng.integers(1, 4, rows)
    lots = rng.integers(1, 5000, (2, rows, 10))
    book = book_frame(ts_us, bid, ask, lots[0], lots[1], rng.integers(-300, 300, (rows, 10)))
    count = int(hours * trades_an_hour)
    trade_us = np.sort(start_us + 1000 * rng.integers(0, int(hours * 3_600_000), count))
    at = np.maximum((trade_us - start_us) // (1000 * grid_ms) - 1, 0)
    buy = rng.random(count) < 0.5 + 0.1 * np.sin(np.arange(count) / 50)
    trades = pl.DataFrame(
        {
            "ts": timestamps(trade_us),
            "symbol": ["testusdt"] * count,
            "trade_id": np.arange(count),
            "px": np.where(buy, ask[at], bid[at]) / 10**PX_DECIMALS,
            "qty": np.ceil(rng.lognormal(3, 1.5, count)) / 10**SZ_DECIMALS,
            "side": np.where(buy, "buy", "sell"),
            "count": np.ones(count, dtype=np.int32),
            "recv_ns": trade_us * 1000,
        }
    ).cast(TRADES)
    seconds = start_us + 1_000_000 * np.arange(int(hours * 3600))
    index = 1e5 + rng.normal(0, 5, len(seconds)).round(1)
    mark = pl.DataFrame(
        {
            "ts": timestamps(seconds),
            "symbol": ["testusdt"] * len(seconds),
            "mark_px": index + 1.5,
            "index_px": index,
            "funding_rate": np.full(len(seconds), 1e-4),
            "next_funding_ts": timestamps(seconds + 8 * HOUR_US),
        }
    ).cast(MARK)
    forced_us = np.sort(start_us + 1000 * rng.integers(0, int(hours * 3_600_000), int(hours * 60)))
    liquidations = pl.DataFrame(
        {
            "ts": timestamps(forced_us),
            "symbol": ["testusdt"] * len(forced_us),
            "side": np.where(rng.random(len(forced_us)) < 0.5, "buy", "sell"),
            "px": np.full(len(forced_us), 1e5),
            "qty": rng.integers(1, 100, len(forced_us)) / 10**SZ_DECIMALS,
        }
    ).cast(LIQUIDATIONS)
    return Market(book, trades, mark, liquidations, grid_ms=grid_ms)


def _write(
    storage: Storage, table: str, symbol: str, frame: pl.DataFrame, metadata: dict[str, str], ends: bool
) -> None:
    """Split by UTC hour: by the end of the row's interval, or by its time."""
    us = frame["ts" if "ts" in frame.columns else "end"].cast(pl.Int64).to_numpy()
    hours = (us - (1 if ends else 0)) // HOUR_US
    if "symbol" in frame.columns:
        frame = frame.with_columns(pl.lit(symbol).alias("symbol"))
    for hour in np.unique(hours).tolist():
        moment = datetime.fromtimestamp(hour * 3600, UTC)
        path = f"{Partition(f'clean/{table}', 'binance-futures', symbol, moment.date()).path}/{moment:%H}.parquet"
        storage.write_parquet(path, frame.filter(pl.Series(hours == hour)).to_arrow(), metadata)


def write_clean(storage: Storage, market: Market, symbol: str = "testusdt", trade_source: str = "trade") -> None:
    """All tables of the market, hour by hour, as reconstruct lays them out."""
    common = {"schema_version": "1", "px_decimals": str(PX_DECIMALS), "sz_decimals": str(SZ_DECIMALS)}
    book = common | {"snapshot_interval_ms": str(market.grid_ms), "streams": STREAMS}
    _write(storage, "book", symbol, market.book, book, ends=True)
    _write(storage, "trades", symbol, market.trades, common | {"trade_source": trade_source}, ends=False)
    _write(storage, "mark", symbol, market.mark, common, ends=False)
    _write(storage, "liquidations", symbol, market.liquidations, common, ends=False)
    _write(storage, "gaps", symbol, market.gaps, common, ends=True)


def make_bars(minutes: int, seed: int = 2, start_us: int = START_US, taker: bool = False) -> pl.DataFrame:
    """1-minute klines; without `taker` only open, high, low, close and volume, as most archives have them."""
    rng = np.random.default_rng(seed)
    close = 2000 * np.exp(np.cumsum(rng.normal(0, 1e-4, minutes))).round(6)
    open_px = np.concatenate([[2000.0], close[:-1]])
    volume = rng.integers(0, 1000, minutes) / 10
    return pl.DataFrame(
        {
            "ts": timestamps(start_us + MINUTE_US * np.arange(1, minutes + 1)),
            "symbol": ["testusdt"] * minutes,
            "open": open_px,
            "high": np.maximum(open_px, close) + 0.5,
            "low": np.minimum(open_px, close) - 0.5,
            "close": close,
            "volume": volume,
            "quote_volume": volume * close if taker else [None] * minutes,
            "number_of_trades": rng.integers(1, 100, minutes) if taker else [None] * minutes,
            "taker_buy_volume": volume * 0.25 if taker else [None] * minutes,
            "taker_buy_quote_volume": volume * close * 0.25 if taker else [None] * minutes,
        }
    ).cast(BARS)


def write_bars(storage: Storage, bars: pl.DataFrame, symbol: str = "testusdt") -> None:
    _write(storage, "bars", symbol, bars, {"schema_version": "1"}, ends=True)
