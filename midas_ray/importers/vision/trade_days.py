"""Trades and aggregate trades of the archive into clean/trades, an hour at a time."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

import numpy as np
import polars as pl

from midas_ray import tables
from midas_ray.book import kernels as k
from midas_ray.book.events import IntArray
from midas_ray.book.scale import Scale
from midas_ray.errors import DataError
from midas_ray.importers.vision.decimals import Decimals
from midas_ray.importers.vision.hours import HOUR_US, day_of
from midas_ray.importers.vision.notes import LostTrades, TradeDay, TradeEdge
from midas_ray.importers.vision.source import Source
from midas_ray.importers.vision.table import Block
from midas_ray.reconstruct.trade_ledger import LastTrade, Stretch, TradeBreaks, jumps

MOST_BACK_US = 60 * 10**6
"""How far times may go back along the ids before a file is refused: hours are written while it is read."""

StageHour = Callable[[int, pl.DataFrame, dict[str, str]], None]
"""Takes (hour since 1970, clean/trades, metadata)."""


@dataclass(slots=True)
class _Day:
    rows: int = 0
    hours: set[int] = field(default_factory=set)
    first: TradeEdge | None = None
    last: TradeEdge | None = None
    lost: list[LostTrades] = field(default_factory=list)


class TradeDays:
    """Feed the blocks of one file, then `finish`. Only `days` are written."""

    def __init__(self, source: Source, days: set[date], key: str, stage: StageHour) -> None:
        self._source, self._key, self._stage = source, key, stage
        self._wanted = days
        self._days: dict[date, _Day] = {}
        self._open: dict[int, list[Block]] = {}
        self._seen_us = 0

    def feed(self, block: Block) -> None:
        """More rows. Raises DataError where their times go back too far."""
        us = block.ints["us"]
        reach = np.maximum.accumulate(np.concatenate([[self._seen_us], us]))
        back = us < reach[:-1] - MOST_BACK_US
        if back.any():
            row = int(np.flatnonzero(back)[0])
            raise DataError(
                f"{self._source.path}: expected times that go back by {MOST_BACK_US // 10**6} s at most along the ids, "
                f"found {(reach[row] - us[row]) / 1e6:.1f} s in row {block.first_row + row:,}; fetch it again"
            )
        self._seen_us = int(reach[-1])
        hours = us // HOUR_US
        edges = [0, *(np.flatnonzero(np.diff(hours)) + 1).tolist(), len(hours)]
        for start, stop in itertools.pairwise(edges):
            self._take(int(hours[start]), block.rows(start, stop))
        for hour in [hour for hour in self._open if (hour + 1) * HOUR_US + MOST_BACK_US < self._seen_us]:
            self._close(hour)

    def finish(self) -> dict[date, TradeDay]:
        """Write what is left; gives the note of each day. Hours between prints of a day have a file without rows."""
        for hour in sorted(self._open):
            self._close(hour)
        notes = {}
        for day, found in sorted(self._days.items()):
            assert found.first is not None
            assert found.last is not None
            hours = range(min(found.hours), max(found.hours) + 1)
            for hour in sorted(set(hours) - found.hours):
                self._stage(hour, pl.DataFrame(schema=tables.TRADES), self._metadata(Scale()))
            notes[day] = TradeDay(
                file=self._source.file, sha256=self._source.sha256, key=self._key, rows=found.rows,
                hours=list(hours), first=found.first, last=found.last, lost=found.lost,
            )  # fmt: skip
        return notes

    def _take(self, hour: int, rows: Block) -> None:
        day = day_of(hour)
        if day not in self._wanted:
            return
        self._open.setdefault(hour, []).append(rows)
        found = self._days.setdefault(day, _Day())
        ids = rows.ints["id"]
        if found.last is not None and (int(ids[0]) > found.last.id + 1 or _skips(ids)):
            found.lost += lost_between(found.last, rows, self._source.name.kind)
        elif found.last is None and _skips(ids):
            found.lost += lost_between(None, rows, self._source.name.kind)
        found.rows += len(rows)
        found.hours.add(hour)
        found.first = found.first or _edge(rows, 0)
        found.last = _edge(rows, len(rows) - 1)

    def _close(self, hour: int) -> None:
        parts = self._open.pop(hour)
        try:
            frame, scale = trades_frame(parts, self._source.name.symbol)
        except OverflowError:
            raise DataError(
                f"{self._source.path}: expected numbers of at most 18 digits within an hour, found more; check the file"
            ) from None
        self._stage(hour, frame, self._metadata(scale))

    def _metadata(self, scale: Scale) -> dict[str, str]:
        return trade_metadata(self._source.file, self._source.sha256, self._source.name.kind, scale)


class _Singles(NamedTuple):
    """Single trades that each row stands for, (n,) each."""

    first: IntArray
    last: IntArray


def _singles(rows: Block) -> _Singles:
    ints = rows.ints
    return _Singles(ints["first"], ints["last"]) if "first" in ints else _Singles(ints["id"], ints["id"])


def _skips(ids: IntArray) -> bool:
    return int(ids[-1]) - int(ids[0]) != len(ids) - 1


def _edge(rows: Block, at: int) -> TradeEdge:
    singles = _singles(rows)
    return TradeEdge(int(rows.ints["us"][at]), int(rows.ints["id"][at]), int(singles.first[at]), int(singles.last[at]))


def ledger_rows(us: IntArray, ids: IntArray, first: IntArray, last: IntArray) -> IntArray:
    """(n, TRADE_COLUMNS) as the ledger of trades reads them: times, ids, single trades first to last."""
    rows = np.zeros((len(ids), k.TRADE_COLUMNS), np.int64)
    rows[:, k.TRADE_MS] = us // 1000
    rows[:, k.TRADE_ID] = ids
    rows[:, k.TRADE_COUNT] = last - first + 1
    rows[:, k.TRADE_LAST_ID] = last
    return rows


def ledger_source(kind: str) -> str:
    """The stream whose ids a kind of file has."""
    return "trade" if kind == "trades" else "aggTrade"


def before_of(edge: TradeEdge, kind: str) -> LastTrade:
    """An edge as what comes before other trades."""
    return LastTrade(0, edge.us // 1000, edge.id, edge.last, ledger_source(kind))


def lost_between(before: TradeEdge | None, rows: Block, kind: str) -> list[LostTrades]:
    """Jumps of the ids from `before` through `rows`."""
    stretch = Stretch(ledger_source(kind), ledger_rows(rows.ints["us"], rows.ints["id"], *_singles(rows)))
    gaps = jumps([stretch], None if before is None else before_of(before, kind), TradeBreaks())
    return [
        LostTrades(gap.start_ms, gap.end_ms, gap.expected_id, gap.found_id)
        for gap in gaps
        if gap.end_ms is not None and gap.expected_id is not None and gap.found_id is not None
    ]


def trades_frame(parts: list[Block], symbol: str) -> tuple[pl.DataFrame, Scale]:
    """(clean/trades of one hour ordered by (ts, trade_id), the fewest decimals that hold it). Raises OverflowError."""
    us, ids = (np.concatenate([part.ints[name] for part in parts]) for name in ("us", "id"))
    px, qty = (Decimals.joined([part.decimals[name] for part in parts]) for name in ("px", "qty"))
    singles = [_singles(part) for part in parts]
    count = np.concatenate([each.last - each.first + 1 for each in singles])
    sell = np.concatenate([part.ints["sell"] for part in parts])
    scale = Scale(px.decimals, qty.decimals)
    frame = pl.DataFrame(
        {
            "ts": pl.Series(us, dtype=pl.Int64).cast(tables.TIMESTAMP),
            "symbol": pl.repeat(symbol, len(us), eager=True),
            "trade_id": ids,
            "px": scale.px_float(px.ints),
            "qty": scale.sz_float(qty.ints),
            "side": pl.Series(sell.astype(np.uint8)).cat.to(tables.TRADES["side"]),  # 0 buy, 1 sell
            "count": count,
            "recv_ns": pl.repeat(None, len(us), dtype=pl.Int64, eager=True),
        }
    ).cast(tables.TRADES)
    if (np.diff(us) < 0).any():
        frame = frame.sort("ts", "trade_id", maintain_order=True)
    return frame, scale


def trade_metadata(file: str, sha256: str, kind: str, scale: Scale) -> dict[str, str]:
    """Metadata as reconstruct writes it, and the file it was made of. The archive has prints alone."""
    return {
        "trade_source": ledger_source(kind),
        "no_print_ids": "[]",
        "px_decimals": str(scale.px_decimals),
        "sz_decimals": str(scale.sz_decimals),
        tables.ORIGIN: file,
        "archive_sha256": sha256,
    }
