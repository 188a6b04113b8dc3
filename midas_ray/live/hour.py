"""The hour that is being collected: its clean rows in memory, as the arrays that reading its clean files would give."""

from dataclasses import replace

import numpy as np
import polars as pl
import pyarrow as pa

from midas_ray.features.clean_hour import (
    Surroundings,
    forced_orders,
    make_hour,
    mark_rows,
    prints_of,
)
from midas_ray.features.cost import CostStatistics, cost_of_hour
from midas_ray.features.hour_rows import HOUR_US, GridRows, Hour, Prints, TopRow
from midas_ray.live.replay import LiveReplay
from midas_ray.live.rows import joined, later
from midas_ray.reconstruct.tables import decimals_of

_NO_GAPS = Surroundings(trade_gaps=[], has_book=True, opens=False, closes=False)
"""Gaps are laid over an hour's statistics, since they may be found, or turn out to be none, long after it."""


class LiveHour:
    """One hour of a symbol: give it rows as they are written, take its input of the heavy pass at any moment."""

    def __init__(self, start_us: int, bucket_us: int) -> None:
        self.start_us = start_us
        self.bucket_us = bucket_us
        self._certain: GridRows | None = None
        self._rows: GridRows | None = None
        self._cost: tuple[float, int, CostStatistics] | None = None
        self.prints: Prints | None = None
        self.marks: pa.Table | None = None

    @property
    def number(self) -> int:
        """Hours since the epoch."""
        return self.start_us // HOUR_US

    @property
    def exists(self) -> bool:
        """There is a grid row or a trade: reconstruction would write a file."""
        return self._rows is not None or self.prints is not None

    def add_rows(self, rows: GridRows) -> None:
        """Grid rows that are final."""
        self._certain = joined(self._certain, rows)

    def hour(
        self, replay: LiveReplay, unlive: GridRows | None, before: TopRow | None, marks_before: pa.Table | None
    ) -> Hour:
        """The input of the heavy pass, without any gap of trades. unlive: rows of a gap of the book that goes on."""
        self._rows = self._certain if unlive is None else joined(self._certain, unlive)
        trades = replay.trades(self.number)
        self.prints = None
        if trades is not None:
            table = _named(trades[0], decimals_of(trades[0], replay.scale))
            self.prints = prints_of(table, "live trades", self.start_us)
        small = replay.small_tables(self.number)
        self.marks = small["mark"].to_arrow() if "mark" in small else None
        return make_hour(
            self.start_us,
            self.bucket_us,
            _NO_GAPS,
            declared=replay.streams.get(self.number, set()),
            book=self._rows,
            before=before,
            prints=self.prints,
            marks=mark_rows([table for table in (marks_before, self.marks) if table is not None]),
            forced=forced_orders(small["liquidations"].to_arrow()) if "liquidations" in small else None,
        )

    def closing_row(self) -> TopRow | None:
        """The row at the hour's end: the state at the start of the next one; None where it is missing."""
        rows = self._rows
        if rows is None or int(rows.ts_us[-1]) != self.start_us + HOUR_US:
            return None
        bid, ask = (float(px[-1, 0]) for px in rows.px)
        return TopRow(bool(rows.live[-1]), bid, ask, rows.px_scale)

    def cost(self, quote: float) -> CostStatistics:
        """What taking `quote` costs, per bucket. Only buckets with rows that are new are computed anew."""
        rows = self._certain
        if rows is None:
            return CostStatistics.absent(HOUR_US // self.bucket_us)
        n_rows = len(rows.ts_us)
        kept = self._cost if self._cost is not None and self._cost[0] == quote else None
        if kept is not None and kept[1] == n_rows:
            return kept[2]
        bucket = 0 if kept is None else (int(rows.ts_us[kept[1]]) - self.start_us - 1) // self.bucket_us
        first = int(np.searchsorted(rows.ts_us, self.start_us + bucket * self.bucket_us, side="right"))
        book_only = make_hour(
            self.start_us, self.bucket_us, _NO_GAPS, declared=set(), book=later(rows, first), before=None,
            prints=None, marks=None, forced=None,
        )  # fmt: skip
        cost = cost_of_hour(book_only, quote)
        if kept is not None:
            cost.rows[:bucket], cost.sum_bps[:bucket] = kept[2].rows[:bucket], kept[2].sum_bps[:bucket]
        self._cost = quote, n_rows, cost
        return cost

    def volume_prints(self) -> Prints | None:
        """The prints without what the volume clock does not need."""
        none = np.zeros(0)
        return None if self.prints is None else replace(self.prints, px=none, count=none.astype(np.int64))


def _named(frame: pl.DataFrame, metadata: dict[str, str]) -> pa.Table:
    return frame.to_arrow().replace_schema_metadata(metadata)
