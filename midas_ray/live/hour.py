"""The hour that is being collected: its clean rows in memory, as the arrays that reading its clean files would give."""

from dataclasses import replace

import numpy as np
import polars as pl
import pyarrow as pa

from midas_ray.book.scale import Scale
from midas_ray.features.clean_hour import (
    Surroundings,
    forced_orders,
    grid_rows,
    make_hour,
    mark_rows,
    prints_of,
)
from midas_ray.features.cost import CostStatistics, cost_of_hour
from midas_ray.features.hour_rows import HOUR_US, GridRows, Hour, Prints, TopRow
from midas_ray.live.replay import LiveReplay
from midas_ray.reconstruct.tables import decimals_of

_NO_GAPS = Surroundings(trade_gaps=[], has_book=True, opens=False, closes=False)
"""Gaps are laid over an hour's statistics, since they may be found, or turn out to be none, long after it."""


class LiveHour:
    """One hour of a symbol: give it rows as they are written, take its input of the heavy pass at any moment."""

    def __init__(self, start_us: int, bucket_us: int, grid_ms: int) -> None:
        self.start_us = start_us
        self.bucket_us = bucket_us
        self._grid_ms = grid_ms
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

    def add_rows(self, frame: pl.DataFrame, scale: Scale) -> None:
        """clean/book rows that are final."""
        self._certain = _joined(self._certain, self._grid(frame, scale))

    def hour(
        self, replay: LiveReplay, unlive: pl.DataFrame | None, before: TopRow | None, marks_before: pa.Table | None
    ) -> Hour:
        """The input of the heavy pass, without any gap of trades. unlive: rows of a gap of the book that goes on."""
        self._rows = self._certain if unlive is None else _joined(self._certain, self._grid(unlive, replay.scale))
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
        """What taking `quote` costs, per bucket."""
        n_rows = 0 if self._certain is None else len(self._certain.ts_us)
        if self._cost is None or self._cost[:2] != (quote, n_rows):
            book_only = make_hour(
                self.start_us, self.bucket_us, _NO_GAPS, declared=set(), book=self._certain, before=None,
                prints=None, marks=None, forced=None,
            )  # fmt: skip
            self._cost = quote, n_rows, cost_of_hour(book_only, quote)
        return self._cost[2]

    def volume_prints(self) -> Prints | None:
        """The prints without what the volume clock does not need."""
        none = np.zeros(0)
        return None if self.prints is None else replace(self.prints, px=none, count=none.astype(np.int64))

    def _grid(self, frame: pl.DataFrame, scale: Scale) -> GridRows:
        metadata = decimals_of(frame, scale) | {"snapshot_interval_ms": str(self._grid_ms)}
        return grid_rows(_named(frame, metadata), "live book", self.start_us, self.bucket_us)


def _named(frame: pl.DataFrame, metadata: dict[str, str]) -> pa.Table:
    return frame.to_arrow().replace_schema_metadata(metadata)


def _joined(rows: GridRows | None, more: GridRows) -> GridRows:
    """Rows and those that follow; the decimals are those that all of them need."""
    if rows is None:
        return more
    return GridRows(
        ts_us=np.concatenate([rows.ts_us, more.ts_us]),
        live=np.concatenate([rows.live, more.live]),
        px=(_below(rows.px[0], more.px[0]), _below(rows.px[1], more.px[1])),
        sz=(_below(rows.sz[0], more.sz[0]), _below(rows.sz[1], more.sz[1])),
        ofi=_below(rows.ofi, more.ofi),
        px_scale=max(rows.px_scale, more.px_scale),
        sz_scale=max(rows.sz_scale, more.sz_scale),
        grid_us=rows.grid_us,
    )


def _below(rows: np.ndarray, more: np.ndarray) -> np.ndarray:
    """Stacked, one column after the other in memory."""
    return np.asfortranarray(np.concatenate([rows, more]))
