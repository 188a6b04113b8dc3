"""The served exchange's record of the truth, for a judge in another process: every level change, step and trade.

    DIR/symbol=btcusdt/first.parquet            the whole book before the first change
    DIR/symbol=btcusdt/changes-000001.parquet   every level change, in the order of ids
    DIR/symbol=btcusdt/steps-000001.parquet     the ten best levels at each 100 ms of the symbol's own grid
    DIR/symbol=btcusdt/trades-000001.parquet    every trade row with its id

Parts are renamed into place, one each FLUSH_S and at the end; their names are in the order of what they hold. Prices
are ticks, sizes lots, times microseconds UTC, all int64 but for sides. Metadata of each file: `symbol`, `venue`,
`tick`, `lot` (exact decimal text); of the first also `last_update_id`, `at_us`.
- first: side (0 bid, 1 ask), tick, lots.
- changes: id, at_us, side, tick, lots (absolute; 0 removes). The book at any id is the first and all changes up to it.
- steps: ts_us (the state before it), update_id, changed_us, bid_tick_01..10, bid_lots_.., ask_tick_.., ask_lots_.. .
- trades: trade_id, at_us, tick, lots, side (buy, sell of the taker), kind (MARKET; the others are no prints).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from midas_ray.simulate import market_kernel as kernel
from midas_ray.simulate.market import BookSnapshot, EventLog
from midas_ray.simulate.symbols import SymbolSpec
from midas_ray.storage import Storage
from midas_ray.tables import level_columns

FLUSH_S = 2.0
KINDS = np.array(["MARKET", "NA", "INSURANCE_FUND"])
"""Names of the kernel's kinds of trade rows."""


class SymbolTruth:
    """One symbol's record: `record` keeps what happened, `take` gives the parts to write since the last call."""

    def __init__(self, venue: str, spec: SymbolSpec, first: BookSnapshot, at_us: int) -> None:
        self._folder = f"symbol={spec.symbol}"
        self._metadata = {"symbol": spec.symbol, "venue": venue, "tick": f"{spec.tick:f}", "lot": f"{spec.lot:f}"}
        self._logs: list[EventLog] = []
        self._part = 0
        self._first: pa.Table | None = _first_table(first).replace_schema_metadata(
            self._metadata | {"last_update_id": str(first.last_update_id), "at_us": str(at_us)}
        )

    def record(self, log: EventLog) -> None:
        """Keep what happened; `log` must not change afterwards."""
        self._logs.append(log)

    def take(self) -> list[tuple[str, pa.Table]]:
        """(path, table) of what has not been given yet."""
        logs, self._logs = self._logs, []
        found: list[tuple[str, pa.Table]] = []
        if self._first is not None:
            found.append((f"{self._folder}/first.parquet", self._first))
            self._first = None
        self._part += 1
        rows = {
            "changes": _changes_table(np.concatenate([log.changes for log in logs])) if logs else None,
            "steps": _steps_table(np.concatenate([log.steps for log in logs])) if logs else None,
            "trades": _trades_table(np.concatenate([log.trades for log in logs])) if logs else None,
        }
        for name, table in rows.items():
            if table is not None and len(table):
                path = f"{self._folder}/{name}-{self._part:06d}.parquet"
                found.append((path, table.replace_schema_metadata(self._metadata)))
        return found


class TruthFolder:
    """The records of all symbols on disk. Raises StorageError where the folder cannot be written."""

    def __init__(self, folder: Path, truths: Mapping[str, SymbolTruth]) -> None:
        self._truths = truths
        self._storage = Storage(str(folder))
        self._storage.check_writable()

    def take(self) -> list[tuple[str, pa.Table]]:
        """What is to be written."""
        return [part for truth in self._truths.values() for part in truth.take()]

    def write(self, parts: list[tuple[str, pa.Table]]) -> None:
        """Write the parts of `take`, each whole or not at all."""
        for path, table in parts:
            self._storage.write_parquet(path, table)


def _first_table(book: BookSnapshot) -> pa.Table:
    sides = np.repeat(np.array([kernel.BID, kernel.ASK], np.int8), [len(book.bids), len(book.asks)])
    levels = np.concatenate([book.bids, book.asks])
    return pa.table({"side": sides, "tick": levels[:, 0].copy(), "lots": levels[:, 1].copy()})


def _changes_table(rows: kernel.Ints) -> pa.Table:
    columns = {"id": kernel.C_ID, "at_us": kernel.C_US, "side": kernel.C_SIDE, "tick": kernel.C_TICK}
    columns["lots"] = kernel.C_LOTS
    arrays = {name: rows[:, at].copy() for name, at in columns.items()}
    return pa.table(arrays | {"side": arrays["side"].astype(np.int8)})


def _steps_table(rows: kernel.Ints) -> pa.Table:
    n = kernel.TOP_LEVELS
    columns = {"ts_us": kernel.S_US, "update_id": kernel.S_LAST_ID, "changed_us": kernel.S_LAST_CHANGE_US}
    for block, kind in enumerate(("bid_tick", "bid_lots", "ask_tick", "ask_lots")):
        names = level_columns(kind, n)
        columns |= {name: kernel.S_TOP + block * n + level for level, name in enumerate(names)}
    return pa.table({name: rows[:, at].copy() for name, at in columns.items()})


def _trades_table(rows: kernel.Ints) -> pa.Table:
    return pa.table(
        {
            "trade_id": rows[:, kernel.T_ID].copy(),
            "at_us": rows[:, kernel.T_US].copy(),
            "tick": rows[:, kernel.T_TICK].copy(),
            "lots": rows[:, kernel.T_LOTS].copy(),
            "side": pa.array(np.where(rows[:, kernel.T_SIDE] == 1, "sell", "buy")),
            "kind": pa.array(KINDS[rows[:, kernel.T_KIND]]),
        }
    )
