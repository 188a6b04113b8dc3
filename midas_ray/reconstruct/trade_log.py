"""The trades that a replay meets: every print once, from one source an hour. No I/O."""

import itertools
from collections.abc import Iterator

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from midas_ray.book import kernels as k
from midas_ray.book.events import IntArray
from midas_ray.book.scale import Scale
from midas_ray.book.sync import Gap, GapCause
from midas_ray.reconstruct import tables as frames
from midas_ray.reconstruct.plan import HOUR_MS, HOUR_NS
from midas_ray.reconstruct.trade_ledger import LastTrade, Loss, Stretch, TradeBreaks, jumps, last_trade, unproven_end

SOURCES = ("trade", "aggTrade")


class TradeLog:
    """Feed trades and what the journal says of their streams; then take an hour's table, and the ledger."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self._parts: list[tuple[Scale, IntArray]] = []
        self._breaks = TradeBreaks()
        self._before: LastTrade | None = None
        self._begun = False
        self._collected: frozenset[str] = frozenset(SOURCES)
        self._fallback_hours: set[int] = set()

    def add(self, scale: Scale, rows: IntArray) -> None:
        """(n, TRADE_COLUMNS) trades at `scale`."""
        self._parts.append((scale, rows))

    def begin_file(
        self, before: LastTrade | None, streams: list[str], unproven: dict[str, GapCause], recv_ns: int
    ) -> None:
        """A file's head: the last trade before it, the kinds collected, those of which nothing came since a loss."""
        self._collected = frozenset(SOURCES).intersection(streams)
        if not self._begun and not self._parts:
            self._before = before
            self._breaks.losses += [Loss(recv_ns, cause, frozenset({kind}), 0) for kind, cause in unproven.items()]
        self._begun = True

    def opened(self, recv_ns: int, data_ms: int) -> None:
        """A collector started."""
        self._begun = True
        self._breaks.opens.append(Loss(recv_ns, "down", None, data_ms))

    def missed(self, recv_ns: int, cause: GapCause, data_ms: int) -> None:
        """The journal says whose doing a loss around this moment is."""
        self._breaks.missed.append(Loss(recv_ns, cause, None, data_ms))

    def disconnected(self, recv_ns: int, streams: list[str] | None, data_ms: int) -> None:
        """No connection carries these kinds of streams any more; None: nobody said which."""
        kinds = None if streams is None else frozenset(streams)
        self._breaks.losses.append(Loss(recv_ns, "network", kinds, data_ms))

    def fell_back(self, recv_ns: int) -> None:
        """aggTrade takes the place of trade."""
        self._fallback_hours.add(recv_ns // HOUR_NS)

    def hour(self, hour: int, scale: Scale) -> tuple[pl.DataFrame, dict[str, str]] | None:
        """(clean/trades of an hour, its metadata); None where nothing was traded.

        `trade_source` is `trade` or `aggTrade`; `no_print_ids` are the ids of rows that are no prints (insurance fund,
        ADL, NA): with them the ids are complete, or the ledger has a gap.
        """
        chosen = self._chosen(self._table(scale), hour)
        if chosen is None:
            return None
        source, rows = chosen
        is_print = rows[:, k.TRADE_PRINT] == 1
        no_print_ids = np.unique(rows[~is_print, k.TRADE_ID]).tolist()
        metadata = {"trade_source": source, "no_print_ids": msgspec.json.encode(no_print_ids).decode()}
        return frames.trades_frame(_where(rows, is_print), self.symbol, scale), metadata

    def gaps(self, scale: Scale, first_ms: int, end_ms: int | None) -> Iterator[Gap]:
        """The ledger. first_ms: where the data start. end_ms: where they end; None where they go on."""
        stretches = list(self._stretches(self._table(scale)))
        yield from jumps(stretches, self._before, self._breaks)
        if end_ms is None or not self._collected:
            return
        last = last_trade(stretches[-1].source, stretches[-1].rows[-1]) if stretches else self._before
        kinds = self._collected if last is None else frozenset({last.source})
        end = unproven_end(last, first_ms, kinds, self._breaks, end_ms)
        if end is not None:
            yield end

    def forget(self, scale: Scale, before_hour: int) -> None:
        """Let go of the trades before an hour, whose tables and gaps were taken; the last of them stays known."""
        table = self._table(scale)
        old = table[:, k.TRADE_MS] < before_hour * HOUR_MS
        stretches = list(self._stretches(table[old]))
        if stretches:
            self._before = last_trade(stretches[-1].source, stretches[-1].rows[-1])
            self._parts = [(scale, table[~old])]

    def _chosen(self, table: IntArray, hour: int) -> Stretch | None:
        """The rows of an hour: single trades if any, unless aggregate ones took their place and cover more."""
        inside = _where(table, table[:, k.TRADE_MS] // HOUR_MS == hour)
        if not len(inside):
            return None
        is_agg = inside[:, k.TRADE_AGG] == 1
        single, agg = _where(inside, ~is_agg), _where(inside, is_agg)
        takes_agg = not len(single) or (hour in self._fallback_hours and _trades_in(agg) > _trades_in(single))
        return Stretch(SOURCES[1], agg) if takes_agg else Stretch(SOURCES[0], single)

    def _stretches(self, table: IntArray) -> Iterator[Stretch]:
        hours = np.unique(table[:, k.TRADE_MS] // HOUR_MS).tolist()
        chosen = [stretch for hour in hours if (stretch := self._chosen(table, hour)) is not None]
        if len({stretch.source for stretch in chosen}) == 1 and sum(len(stretch.rows) for stretch in chosen) == len(
            table
        ):
            yield Stretch(chosen[0].source, frames.each_id_once(table))
            return
        for source, group in itertools.groupby(chosen, key=lambda stretch: stretch.source):
            parts = [stretch.rows for stretch in group]
            yield Stretch(source, frames.each_id_once(parts[0] if len(parts) == 1 else np.concatenate(parts)))

    def _table(self, scale: Scale) -> IntArray:
        """All trades met, at `scale`."""
        if not self._parts:
            return np.zeros((0, k.TRADE_COLUMNS), np.int64)
        if len(self._parts) > 1 or self._parts[0][0] != scale:
            table = np.empty((sum(len(rows) for _, rows in self._parts), k.TRADE_COLUMNS), np.int64)
            end = len(table)
            while self._parts:  # each part goes as soon as it is copied: an hour may have millions of trades
                part_scale, rows = self._parts.pop()
                part = table[end - len(rows) : end]
                part[:] = rows
                part[:, k.TRADE_PX] *= 10 ** (scale.px_decimals - part_scale.px_decimals)
                part[:, k.TRADE_QTY] *= 10 ** (scale.sz_decimals - part_scale.sz_decimals)
                end -= len(rows)
            self._parts = [(scale, table)]
        return self._parts[0][1]


def _where(rows: IntArray, mask: npt.NDArray[np.bool_]) -> IntArray:
    """The rows of the mask; nearly always they stand together, and are not copied then."""
    inside = np.flatnonzero(mask)
    if len(inside) and inside[-1] - inside[0] + 1 == len(inside):
        return rows[inside[0] : inside[-1] + 1]
    return rows[mask]


def _trades_in(rows: IntArray) -> int:
    """How many single trades the rows stand for, each id counted once."""
    return int(frames.each_id_once(rows)[:, k.TRADE_COUNT].sum())
