"""The truth behind simulated history, kept for tests and never read by the pipeline.

`truth/book/venue=V/symbol=S/date=D/HH.parquet`: each 100 ms of the venue's grid the ten best levels a side after every
event before `ts`, with `update_id` of the last one and `changed_at` its time. `truth/trades/...`: every print.
Prices and sizes are integers at the file's decimals (metadata px_decimals, sz_decimals); times are microseconds, UTC.
"""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from midas_ray.simulate import market_kernel as kernel
from midas_ray.simulate.market import EventLog
from midas_ray.simulate.symbols import SymbolSpec
from midas_ray.storage import Partition, Storage
from midas_ray.tables import level_columns

HOUR_US = 3600 * 10**6
TIMESTAMP = pa.timestamp("us", "UTC")


class TruthWriter:
    """Collects a symbol's log and gives whole hours as tables to write. Rows at or after `end_us` are left out."""

    def __init__(self, venue: str, spec: SymbolSpec, start_us: int, end_us: int) -> None:
        self._venue, self._spec = venue, spec
        self._hour_us = start_us // HOUR_US * HOUR_US
        self._end_us = end_us
        self._steps: list[kernel.Ints] = []
        self._trades: list[kernel.Ints] = []

    def add(self, log: EventLog) -> None:
        """Take over what happened (copied)."""
        self._steps.append(log.steps.copy())
        prints = log.trades[:, kernel.T_KIND] == kernel.MARKET
        self._trades.append(log.trades[prints])

    def take_hour(self, now_us: int) -> list[tuple[str, pa.Table]]:
        """(path, table) of the current hour, if it is over at `now_us` (or the history is); else nothing."""
        stop_us = min(self._hour_us + HOUR_US, self._end_us)
        if now_us < stop_us or self._hour_us >= self._end_us:
            return []
        steps, self._steps = _split(self._steps, kernel.S_US, stop_us)
        trades, self._trades = _split(self._trades, kernel.T_US, stop_us)
        start = datetime.fromtimestamp(self._hour_us / 1e6, UTC)
        self._hour_us += HOUR_US
        found = []
        for name, table in (("book", self._book_table(steps)), ("trades", self._trade_table(trades))):
            folder = Partition(f"truth/{name}", self._venue, self._spec.symbol, start.date()).path
            found.append((f"{folder}/{start:%H}.parquet", table))
        return found

    def _book_table(self, steps: kernel.Ints) -> pa.Table:
        spec, n = self._spec, kernel.TOP_LEVELS
        columns = {
            "ts": pa.array(steps[:, kernel.S_US], TIMESTAMP),
            "update_id": pa.array(steps[:, kernel.S_LAST_ID]),
            "changed_at": pa.array(steps[:, kernel.S_LAST_CHANGE_US], TIMESTAMP),
        }
        for block, (kind, unit) in enumerate(
            (("bid_px", spec.px_unit), ("bid_sz", spec.sz_unit), ("ask_px", spec.px_unit), ("ask_sz", spec.sz_unit))
        ):
            for level, name in enumerate(level_columns(kind, n)):
                columns[name] = pa.array(steps[:, kernel.S_TOP + block * n + level] * unit)
        return self._with_decimals(pa.table(columns))

    def _trade_table(self, trades: kernel.Ints) -> pa.Table:
        spec = self._spec
        columns = {
            "ts": pa.array(trades[:, kernel.T_US], TIMESTAMP),
            "trade_id": pa.array(trades[:, kernel.T_ID]),
            "px": pa.array(trades[:, kernel.T_TICK] * spec.px_unit),
            "qty": pa.array(trades[:, kernel.T_LOTS] * spec.sz_unit),
            "side": pa.array(np.where(trades[:, kernel.T_SIDE] == 1, "sell", "buy")),
        }
        return self._with_decimals(pa.table(columns))

    def _with_decimals(self, table: pa.Table) -> pa.Table:
        decimals = {"px_decimals": str(self._spec.px_decimals), "sz_decimals": str(self._spec.sz_decimals)}
        return table.replace_schema_metadata(decimals)


def _split(parts: list[kernel.Ints], column: int, stop_us: int) -> tuple[kernel.Ints, list[kernel.Ints]]:
    """Rows before `stop_us`, and the rest."""
    rows = np.concatenate(parts)
    cut = int(np.searchsorted(rows[:, column], stop_us))
    return rows[:cut], [rows[cut:]]


def write_truth(storage: Storage, tables: list[tuple[str, pa.Table]]) -> None:
    """Write the tables of `take_hour`."""
    for path, table in tables:
        storage.write_parquet(path, table)
