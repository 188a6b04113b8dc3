"""One symbol's truth, as the simulated exchange left it on disk (`midas simulate --truth DIR`), read for judgement.

Written apart from the pipeline on purpose: it shares no code with the book that it judges.
"""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from midas_ray.errors import DataError

Ints = npt.NDArray[np.int64]
BID, ASK = 0, 1
WINDOW = 256
"""Price levels looked at first for the ten best; doubled as long as they do not suffice."""


@dataclass(frozen=True, slots=True)
class TrueMarket:
    """Everything that happened to one symbol.

    first: (n, 3) side, tick, lots before the first change. changes: (n, 5) id, at_us, side, tick, lots, in the order of
    ids. nominal: (n, 2) update id and T in ms of each depth message of the 100 ms stream. prints: trade_id, ts (ms),
    px, qty, side of every print. tick, lot: exact steps.
    """

    symbol: str
    tick: Decimal
    lot: Decimal
    first: Ints
    changes: Ints
    nominal: Ints
    prints: pl.DataFrame

    def change_ms(self, update_ids: Ints) -> Ints:
        """Exchange time in ms of the last change with an id up to each of `update_ids`; 0 before the first change."""
        at = np.searchsorted(self.changes[:, 0], update_ids, side="right")
        stamps = np.concatenate([np.zeros(1, np.int64), self.changes[:, 1] // 1000])
        return stamps[at]

    def fresh_ids(self, ts_ms: Ints) -> Ints:
        """Update id that a row at each of `ts_ms` must have reached: that of the last nominal message with T < ts."""
        clock_ms = np.maximum.accumulate(self.nominal[:, 1])
        at = np.searchsorted(clock_ms, ts_ms, side="left")
        ids = np.concatenate([np.zeros(1, np.int64), self.nominal[:, 0]])
        return ids[at]

    def tops(self, update_ids: Ints, depth: int = 10) -> Ints:
        """(n, 4, depth): bid ticks, bid lots, ask ticks, ask lots after every change with an id up to each of
        `update_ids` (ascending); 0 lots where there is no such level."""
        prices = np.unique(np.concatenate([self.first[:, 1], self.changes[:, 3]]))
        sides = [_Side(prices, depth), _Side(prices, depth)]
        for side in (BID, ASK):
            rows = self.first[self.first[:, 0] == side]
            sides[side].set(rows[:, 1], rows[:, 2])
        tops = np.zeros((len(update_ids), 4, depth), np.int64)
        reached = 0
        stops = np.searchsorted(self.changes[:, 0], update_ids, side="right")
        for row, stop in enumerate(stops.tolist()):
            if stop > reached:
                part = self.changes[reached:stop]
                for side in (BID, ASK):
                    mine = part[part[:, 2] == side]
                    sides[side].set(mine[:, 3], mine[:, 4])
                reached = stop
            tops[row, 0], tops[row, 1] = sides[BID].best(highest=True)
            tops[row, 2], tops[row, 3] = sides[ASK].best(highest=False)
        return tops


class _Side:
    """Lots by price of one side, dense over every price that ever occurs."""

    def __init__(self, prices: Ints, depth: int) -> None:
        self._prices, self._depth = prices, depth
        self._lots = np.zeros(len(prices), np.int64)
        self._low, self._high = len(prices), -1

    def set(self, ticks: Ints, lots: Ints) -> None:
        """Absolute lots of prices, in order: of a price that comes twice, the later holds."""
        if not len(ticks):
            return
        at = np.searchsorted(self._prices, ticks)
        self._lots[at] = lots
        used = at[lots > 0]
        if len(used):
            self._low, self._high = min(self._low, int(used.min())), max(self._high, int(used.max()))

    def best(self, *, highest: bool) -> tuple[Ints, Ints]:
        """(ticks, lots) of the `depth` best levels, best first."""
        ticks, lots = np.zeros(self._depth, np.int64), np.zeros(self._depth, np.int64)
        window = WINDOW
        while True:
            start = max(self._high + 1 - window, 0) if highest else self._low
            stop = self._high + 1 if highest else min(self._low + window, len(self._prices))
            used = np.flatnonzero(self._lots[start:stop]) + start
            if len(used) >= self._depth or (start == 0 if highest else stop == len(self._prices)):
                break
            window *= 2
        if highest:
            used = used[::-1]
            self._high = int(used[0]) if len(used) else -1
        else:
            self._low = int(used[0]) if len(used) else len(self._prices)
        used = used[: self._depth]
        ticks[: len(used)], lots[: len(used)] = self._prices[used], self._lots[used]
        return ticks, lots


def read_true_market(folder: Path, symbol: str) -> TrueMarket:
    """The truth of `symbol` under `folder`. Raises DataError where there is none."""
    place = folder / f"symbol={symbol}"
    if not (place / "first.parquet").is_file():
        raise DataError(
            f"{place}: expected the truth of {symbol}, found none; run midas simulate with --truth {folder}"
        )
    first = pq.read_table(place / "first.parquet")
    changes, steps, trades = (_parts(place, name) for name in ("changes", "steps", "trades"))
    metadata = {key.decode(): value.decode() for key, value in first.schema.metadata.items()}
    tick, lot = Decimal(metadata["tick"]), Decimal(metadata["lot"])
    step_ids, step_ms = steps["update_id"].to_numpy(), steps["changed_us"].to_numpy() // 1000
    moved = np.flatnonzero(np.diff(step_ids, prepend=0) > 0)
    return TrueMarket(
        symbol=symbol,
        tick=tick,
        lot=lot,
        first=_matrix(pl.DataFrame(pl.from_arrow(first)), ("side", "tick", "lots")),
        changes=_matrix(changes, ("id", "at_us", "side", "tick", "lots")),
        nominal=np.stack([step_ids[moved], step_ms[moved]], axis=1),
        prints=_prints(trades, tick, lot),
    )


def _parts(place: Path, name: str) -> pl.DataFrame:
    """All parts of a table, in order of name. Raises DataError where there are none."""
    paths = sorted(place.glob(f"{name}-*.parquet"))
    if not paths:
        raise DataError(f"{place}: expected {name}-*.parquet, found none; did the exchange end by SIGKILL at once?")
    return pl.DataFrame(pl.from_arrow(pa.concat_tables([pq.read_table(path) for path in paths])))


def _matrix(frame: pl.DataFrame, names: tuple[str, ...]) -> Ints:
    return np.stack([frame[name].to_numpy().astype(np.int64) for name in names], axis=1)


def _prints(trades: pl.DataFrame, tick: Decimal, lot: Decimal) -> pl.DataFrame:
    market = trades.filter(pl.col("kind") == "MARKET")
    return pl.DataFrame(
        {
            "trade_id": market["trade_id"],
            "ts_ms": market["at_us"] // 1000,
            "px": exact_floats(market["tick"].to_numpy(), tick),
            "qty": exact_floats(market["lots"].to_numpy(), lot),
            "side": market["side"].cast(pl.String),
        }
    )


def exact_floats(counts: Ints, step: Decimal) -> npt.NDArray[np.float64]:
    """`counts` steps as the float nearest to the exact decimal: integer / 10^k, as the clean tables define it."""
    exponent = step.as_tuple().exponent
    decimals = max(-int(exponent), 0)
    return np.asarray(counts * int(step.scaleb(decimals)) / 10**decimals, np.float64)
