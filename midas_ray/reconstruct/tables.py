"""From integer rows and typed messages to the clean tables: the one place where integers become floats."""

import numpy as np
import numpy.typing as npt
import polars as pl

from midas_ray import tables
from midas_ray.book import kernels as k
from midas_ray.book.ladder import ASK, BID
from midas_ray.book.rows import RowChunk
from midas_ray.book.scale import Scale
from midas_ray.book.sync import Gap
from midas_ray.venues.messages import ForceOrder, Kline, MarkPrice

_STATES = {k.LIVE: "live", k.SYNCING: "syncing", k.IN_GAP: "gap"}
_STATE_CODES = np.array([tables.BOOK_STATES.index(_STATES[state]) for state in range(len(_STATES))], np.uint8)
"""Code in the column's Enum of each state of the kernels."""
_BAR_MS = 60_000
_FEW_ROWS = 100


def _timestamps(ms: npt.NDArray[np.int64] | list[int]) -> pl.Series:
    return pl.Series(np.asarray(ms, np.int64) * 1000, dtype=pl.Int64).cast(tables.TIMESTAMP)


def _masked(values: npt.NDArray[np.float64], absent: npt.NDArray[np.bool_]) -> pl.Series:
    series = pl.Series(values)
    if absent.any():
        series = series.scatter(np.flatnonzero(absent), None)
    return series


def book_frame(chunk: RowChunk, symbol: str, scale: Scale) -> pl.DataFrame:
    """clean/book rows of a chunk."""
    depth = chunk.keys.shape[2]
    columns: dict[str, pl.Series] = {
        "ts": _timestamps(chunk.ints[:, 0]),
        "symbol": pl.repeat(symbol, len(chunk.ints), eager=True),
    }
    for side, name in ((BID, "bid"), (ASK, "ask")):
        keys, sizes = chunk.keys[:, side], chunk.sizes[:, side]
        for level, (px_name, sz_name) in enumerate(
            zip(tables.level_columns(f"{name}_px", depth), tables.level_columns(f"{name}_sz", depth), strict=True)
        ):
            absent = (chunk.known[:, side] <= level) | (keys[:, level] == k.LOWEST_KEY)
            columns[px_name] = _masked(scale.px_float(np.abs(np.where(absent, 0, keys[:, level]))), absent)
            columns[sz_name] = _masked(scale.sz_float(sizes[:, level]), absent)
    for level, name in enumerate(tables.level_columns("ofi", k.OFI_LEVELS)):
        columns[name] = _masked(scale.sz_float(chunk.ofi[:, level]), chunk.known[:, 2] <= level)
    # Copies: a Series may share a contiguous array's memory, and the chunk's buffers are written again.
    columns["last_update_id"] = pl.Series(chunk.ints[:, 1].copy())
    columns["n_updates"] = pl.Series(chunk.ints[:, 2].copy())
    columns["state"] = pl.Series(_STATE_CODES[chunk.ints[:, 3]]).cat.to(pl.Enum(tables.BOOK_STATES))
    return pl.DataFrame({name: columns[name] for name in tables.book_schema(depth)}).cast(tables.book_schema(depth))


def decimals_of(frame: pl.DataFrame, scale: Scale) -> dict[str, str]:
    """Metadata of clean/book or clean/trades: the fewest decimals that hold its prices (`px_decimals`), its sizes.

    A file's own: the scale of a replay depends on what other hours it went through, the rows do not.
    """
    px = [name for name in frame.columns if name == "px" or "_px_" in name]
    sz = [name for name in frame.columns if name == "qty" or "_sz_" in name or name.startswith("ofi_")]
    return {
        "px_decimals": str(_fewest_decimals(frame.select(px), scale.px_decimals)),
        "sz_decimals": str(_fewest_decimals(frame.select(sz), scale.sz_decimals)),
    }


def _fewest_decimals(frame: pl.DataFrame, most: int) -> int:
    decimals = 0
    for head in (frame.head(_FEW_ROWS), frame):  # nearly always, a few tell
        for column in head:
            values = column.drop_nulls().to_numpy()
            while decimals < most and (np.rint(values * 10**decimals) / 10**decimals != values).any():
                decimals += 1
            if decimals == most:
                return decimals
    return decimals


def each_id_once(trades: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Trades in order of id, of each the one that was received first, in whatever order they were read."""
    ids = trades[:, k.TRADE_ID]
    if (np.diff(ids) > 0).all():  # nearly always: skip the sort
        return trades
    ordered = trades[np.lexsort((trades[:, k.TRADE_MS], trades[:, k.TRADE_RECV_NS], ids))]
    _, first = np.unique(ordered[:, k.TRADE_ID], return_index=True)
    return ordered[first]


def trades_frame(trades: npt.NDArray[np.int64], symbol: str, scale: Scale) -> pl.DataFrame:
    """clean/trades of (n, TRADE_COLUMNS) prints, each once, ordered by (ts, trade_id)."""
    trades = each_id_once(trades)
    if (np.diff(trades[:, k.TRADE_MS]) < 0).any():
        trades = trades[np.argsort(trades[:, k.TRADE_MS], kind="stable")]
    return pl.DataFrame(
        {
            "ts": _timestamps(trades[:, k.TRADE_MS]),
            "symbol": pl.repeat(symbol, len(trades), eager=True),
            "trade_id": trades[:, k.TRADE_ID],
            "px": scale.px_float(trades[:, k.TRADE_PX]),
            "qty": scale.sz_float(trades[:, k.TRADE_QTY]),
            "side": pl.Series((trades[:, k.TRADE_SELL] == 1).astype(np.uint8)).cat.to(tables.TRADES["side"]),
            "count": trades[:, k.TRADE_COUNT],
            "recv_ns": trades[:, k.TRADE_RECV_NS],
        }
    ).cast(tables.TRADES)


def gaps_frame(gaps: list[tuple[str, Gap]], symbol: str, end_ms: int) -> pl.DataFrame:
    """clean/gaps of (stream, gap); a gap that was not recovered ends at `end_ms`, where the data end."""
    frame = pl.DataFrame(
        {
            "symbol": [symbol] * len(gaps),
            "stream": [stream for stream, _ in gaps],
            "start": _timestamps([gap.start_ms for _, gap in gaps]),
            "end": _timestamps([end_ms if gap.end_ms is None else gap.end_ms for _, gap in gaps]),
            "cause": [gap.cause for _, gap in gaps],
            "expected_id": [gap.expected_id for _, gap in gaps],
            "found_id": [gap.found_id for _, gap in gaps],
            "first_recv_ns": [gap.first_recv_ns for _, gap in gaps],
            "recovered": [gap.end_ms is not None for _, gap in gaps],
        },
        schema_overrides={"expected_id": pl.Int64, "found_id": pl.Int64, "first_recv_ns": pl.Int64},
    )
    return tables.with_fault(frame).cast(tables.GAPS)


def mark_frame(marks: list[MarkPrice], symbol: str) -> pl.DataFrame:
    """clean/mark, ordered by event time, each once."""
    return (
        pl.DataFrame(
            {
                "ts": _timestamps([mark.E for mark in marks]),
                "symbol": [symbol] * len(marks),
                "mark_px": [float(mark.p) for mark in marks],
                "index_px": [float(mark.i) for mark in marks],
                "funding_rate": [float(mark.r) if mark.r else None for mark in marks],
                "next_funding_ts": _timestamps([mark.T for mark in marks]),
            }
        )
        .cast(tables.MARK)
        .unique("ts", keep="first", maintain_order=True)
        .sort("ts", maintain_order=True)
    )


def liquidations_frame(forced: list[ForceOrder], symbol: str) -> pl.DataFrame:
    """clean/liquidations: average price and filled quantity of forced orders."""
    return (
        pl.DataFrame(
            {
                "ts": _timestamps([order.o.T for order in forced]),
                "symbol": [symbol] * len(forced),
                "side": [order.o.S.lower() for order in forced],
                "px": [float(order.o.ap) or float(order.o.p) for order in forced],
                "qty": [float(order.o.z) for order in forced],
            }
        )
        .cast(tables.LIQUIDATIONS)
        .unique(maintain_order=True)
        .sort("ts", maintain_order=True)
    )


def bars_frame(klines: list[Kline], symbol: str) -> pl.DataFrame:
    """clean/bars of closed 1-minute klines; `ts` is the bar's end."""
    bars = [kline.k for kline in klines]
    return (
        pl.DataFrame(
            {
                "ts": _timestamps([bar.t + _BAR_MS for bar in bars]),
                "symbol": [symbol] * len(bars),
                "open": [float(bar.o) for bar in bars],
                "high": [float(bar.h) for bar in bars],
                "low": [float(bar.l) for bar in bars],
                "close": [float(bar.c) for bar in bars],
                "volume": [float(bar.v) for bar in bars],
                "quote_volume": [float(bar.q) for bar in bars],
                "number_of_trades": [bar.n for bar in bars],
                "taker_buy_volume": [float(bar.V) for bar in bars],
                "taker_buy_quote_volume": [float(bar.Q) for bar in bars],
            }
        )
        .cast(tables.BARS)
        .unique("ts", keep="first", maintain_order=True)
        .sort("ts", maintain_order=True)
    )
