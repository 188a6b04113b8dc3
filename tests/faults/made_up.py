"""A short market, its truth, and the clean tables of a capture that lost nothing: what defects are planted in."""

from typing import NamedTuple

import numpy as np
import polars as pl

from midas_ray import tables
from midas_ray.simulate import market_kernel as kernel
from midas_ray.simulate.market import Market
from midas_ray.simulate.symbols import spec_of
from midas_ray.simulate.true_market import TrueMarket, exact_floats

START_US = 1_767_571_200_000_000
SECONDS = 20


class Clean(NamedTuple):
    """Clean tables of one symbol."""

    book: pl.DataFrame
    trades: pl.DataFrame
    gaps: pl.DataFrame


def true_market(seed: int = 3, symbol: str = "btcusdt") -> TrueMarket:
    """20 s of a market."""
    spec = spec_of(symbol)
    market = Market(spec, seed, START_US)
    book = market.snapshot(1 << 20)
    sides = [
        np.concatenate([np.full((len(levels), 1), side), levels], axis=1)
        for side, levels in enumerate((book.bids, book.asks))
    ]
    logs, done = [], False
    while not done:
        log, done = market.advance(START_US + SECONDS * 10**6)
        logs.append((log.changes.copy(), log.steps.copy(), log.trades.copy()))
    changes, steps, trades = (np.concatenate(parts) for parts in zip(*logs, strict=True))
    trades = trades[trades[:, kernel.T_KIND] == kernel.MARKET]
    moved = np.diff(steps[:, kernel.S_LAST_ID], prepend=0) > 0
    nominal = np.stack([steps[moved, kernel.S_LAST_ID], steps[moved, kernel.S_LAST_CHANGE_US] // 1000], axis=1)
    columns = [kernel.C_ID, kernel.C_US, kernel.C_SIDE, kernel.C_TICK, kernel.C_LOTS]
    prints = pl.DataFrame(
        {
            "trade_id": trades[:, kernel.T_ID],
            "ts_ms": trades[:, kernel.T_US] // 1000,
            "px": exact_floats(trades[:, kernel.T_TICK], spec.tick),
            "qty": exact_floats(trades[:, kernel.T_LOTS], spec.lot),
            "side": np.where(trades[:, kernel.T_SIDE] == 1, "sell", "buy"),
        }
    )
    return TrueMarket(symbol, spec.tick, spec.lot, np.concatenate(sides), changes[:, columns], nominal, prints)


def stamps(ms: np.ndarray | list[int]) -> pl.Series:
    """UTC timestamps."""
    return pl.Series(np.asarray(ms, np.int64) * 1000, dtype=pl.Int64).cast(tables.TIMESTAMP)


def faultless(truth: TrueMarket) -> Clean:
    """What a collector that was always there makes of it, from 1 s on."""
    ts_ms = np.arange(START_US // 1000 + 1000, int(truth.nominal[-1, 1]) + 1, 100)
    ids = truth.fresh_ids(ts_ms)
    tops = truth.tops(ids)
    columns: dict[str, object] = {"ts": stamps(ts_ms), "symbol": [truth.symbol] * len(ts_ms)}
    for block, (kind, step) in enumerate(
        (("bid_px", truth.tick), ("bid_sz", truth.lot), ("ask_px", truth.tick), ("ask_sz", truth.lot))
    ):
        for level, name in enumerate(tables.level_columns(kind, 10)):
            columns[name] = exact_floats(tops[:, block, level], step)
    columns |= {"last_update_id": ids, "n_updates": [1] * len(ids)}
    columns |= {name: [0.0] * len(ids) for name in tables.level_columns("ofi", 10)}
    book = pl.DataFrame(columns | {"state": ["live"] * len(ids)}).cast(tables.book_schema(10))  # type: ignore[arg-type]
    prints = truth.prints.filter(pl.col("ts_ms") > ts_ms[0])
    trades = prints.select(
        stamps(prints["ts_ms"].to_numpy()).alias("ts"),
        pl.lit(truth.symbol).alias("symbol"),
        *("trade_id", "px", "qty", "side"),
        pl.lit(1).alias("count"),
        pl.lit(0).alias("recv_ns"),
    )
    return Clean(book, trades.cast(tables.TRADES), pl.DataFrame(schema=tables.GAPS))  # type: ignore[arg-type]


def ledger(*gaps: tuple[str, int, int, str, int, int]) -> pl.DataFrame:
    """clean/gaps of (stream, start_ms, end_ms, cause, expected_id, found_id)."""
    stream, start, end, cause, expected, found = zip(*gaps, strict=True)
    return pl.DataFrame(
        {
            "symbol": ["btcusdt"] * len(gaps),
            "stream": stream,
            "start": stamps(list(start)),
            "end": stamps(list(end)),
            "cause": cause,
            "fault": [tables.FAULT_OF[each] for each in cause],
            "expected_id": expected,
            "found_id": found,
            "first_recv_ns": [0] * len(gaps),
            "recovered": [True] * len(gaps),
        }
    ).cast(tables.GAPS)  # type: ignore[arg-type]
