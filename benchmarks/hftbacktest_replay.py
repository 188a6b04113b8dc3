"""What a user of hftbacktest would write to see ten levels each 100 ms: its own convert, then a compiled loop."""

import contextlib
import io
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from hftbacktest import (
    EXCH_EVENT,
    LOCAL_EVENT,
    BacktestAsset,
    HashMapMarketDepthBacktest,
    ROIVectorMarketDepthBacktest,
)
from hftbacktest.data.utils.binancefutures import convert
from numba import njit

Floats = npt.NDArray[np.float64]
Depth = Literal["roi", "hash map"]
LEVELS = 10
STEP_NS = 100_000_000
SEARCH_TICKS = 50_000
"""How far from the best the hash map is asked for the next level."""


def converted(path: Path | str) -> Any:
    """hftbacktest's events of a raw file, as its own converter gives them. Its chatter is swallowed."""
    with contextlib.redirect_stdout(io.StringIO()):
        return convert(str(path))


def on_exchange_clock(events: Any) -> Any:
    """The same events with the exchange's time as the local one, so that both systems step by one clock."""
    found = events[(events["ev"] & EXCH_EVENT) != 0]
    found["ev"] |= LOCAL_EVENT
    found["local_ts"] = found["exch_ts"]
    return found


@njit
def _roi_rows(hbt, out, first_ns):  # type: ignore[no-untyped-def]
    n = 0
    if hbt.elapse(0) != 0 or (first_ns > 0 and hbt.elapse(first_ns - hbt.current_timestamp) != 0):
        return n
    while n < len(out) and hbt.elapse(STEP_NS) == 0:
        depth = hbt.depth(0)
        bids, asks, low = depth.bid_depth, depth.ask_depth, depth.roi_lb_tick
        level, at = 0, depth.best_bid_tick - low
        while level < LEVELS and 0 <= at < len(bids):
            if bids[at] > 0:
                out[n, 0, level] = at + low
                out[n, 1, level] = bids[at]
                level += 1
            at -= 1
        level, at = 0, depth.best_ask_tick - low
        while level < LEVELS and 0 <= at < len(asks):
            if asks[at] > 0:
                out[n, 2, level] = at + low
                out[n, 3, level] = asks[at]
                level += 1
            at += 1
        n += 1
    return n


@njit
def _hash_map_rows(hbt, out, first_ns):  # type: ignore[no-untyped-def]
    n = 0
    if hbt.elapse(0) != 0 or (first_ns > 0 and hbt.elapse(first_ns - hbt.current_timestamp) != 0):
        return n
    while n < len(out) and hbt.elapse(STEP_NS) == 0:
        depth = hbt.depth(0)
        best = depth.best_bid_tick
        level, at = 0, best
        while level < LEVELS and best - at < SEARCH_TICKS:
            size = depth.bid_qty_at_tick(at)
            if size > 0:
                out[n, 0, level] = at
                out[n, 1, level] = size
                level += 1
            at -= 1
        best = depth.best_ask_tick
        level, at = 0, best
        while level < LEVELS and at - best < SEARCH_TICKS:
            size = depth.ask_qty_at_tick(at)
            if size > 0:
                out[n, 2, level] = at
                out[n, 3, level] = size
                level += 1
            at += 1
        n += 1
    return n


def ten_levels(events: Any, depth: Depth, tick: float, lot: float, most_rows: int, first_ns: int = 0) -> Floats:
    """(rows, 4, 10): bid ticks, bid sizes, ask ticks, ask sizes after each step of 100 ms of local time; 0 = none.

    first_ns: where the first step begins; 0 = at the first event.
    """
    asset = (
        BacktestAsset()
        .data(events)
        .linear_asset(1.0)
        .constant_order_latency(0, 0)
        .risk_adverse_queue_model()
        .no_partial_fill_exchange()
        .trading_value_fee_model(0, 0)
        .tick_size(tick)
        .lot_size(lot)
        .last_trades_capacity(0)
    )
    out = np.zeros((most_rows, 4, LEVELS))
    if depth == "hash map":
        backtest, rows = HashMapMarketDepthBacktest([asset]), _hash_map_rows
    else:
        # A range of a fifth about the first price: what its documentation asks the user to know beforehand.
        price = float(np.median(events["px"][:1000]))
        asset = asset.roi_lb(round(0.8 * price)).roi_ub(round(1.2 * price))
        backtest, rows = ROIVectorMarketDepthBacktest([asset]), _roi_rows
    n = rows(backtest, out, first_ns)
    backtest.close()
    return out[:n]
