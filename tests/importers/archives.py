"""Small archives of columns for tests, and the slow dict book that imports of them are checked against."""

import io
import random
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import polars as pl

from midas_ray.reconstruct.plan import hour_keys, plan_tasks, raw_files
from midas_ray.reconstruct.task import reconstruct_hours
from midas_ray.settings import BookSettings
from midas_ray.storage import Storage

START_US = 1_767_225_605_000_000  # 2026-01-01 00:00:05 UTC
STEP_MS = 100

Row = tuple[str, str, str]
"""(side: bid or ask, price, size)."""


class Change(NamedTuple):
    """A message about the book; times in us."""

    recv_us: int
    exch_us: int
    rows: list[Row]
    is_whole: bool = False


Book = tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]]
Top = list[tuple[float, float]]


def market(seed: int = 1, changes: int = 200, wholes: Iterable[int] = (0,)) -> list[Change]:
    """A random market that never crosses; before the changes of these numbers there is the whole book."""
    rng = random.Random(seed)
    bids = {990 - level: 1 + rng.randrange(90) for level in range(30)}
    asks = {1010 + level: 1 + rng.randrange(90) for level in range(30)}
    found: list[Change] = []
    recv_us, exch_us = START_US, START_US - 3000

    def text(side: str, px: int, size: int) -> Row:
        return side, f"{px / 10:.1f}", f"{size / 1000:.3f}"

    for number in range(changes):
        recv_us += 20_000 + rng.randrange(60_000)
        exch_us = recv_us - 3000 - rng.randrange(5000) * 1000 // 1000
        if number in wholes:
            levels = [text("bid", px, size) for px, size in bids.items()] + [
                text("ask", px, size) for px, size in asks.items()
            ]
            found.append(Change(recv_us, exch_us, levels, is_whole=True))
            recv_us += 15_000
            exch_us += 15_000
        rows = []
        for _ in range(rng.randrange(1, 6)):
            is_bid = rng.random() < 0.5
            side = bids if is_bid else asks
            px = rng.choice(list(side)) if rng.random() < 0.6 else _new_price(rng, bids, asks, is_bid=is_bid)
            size = 0 if len(side) > 12 and rng.random() < 0.4 else 1 + rng.randrange(9000)
            side[px] = size
            if size == 0:
                del side[px]
            rows.append(text("bid" if is_bid else "ask", px, size))
        found.append(Change(recv_us, exch_us, rows))
    return found


def _new_price(rng: random.Random, bids: dict[int, int], asks: dict[int, int], *, is_bid: bool) -> int:
    if is_bid:
        return min(min(asks) - 1, max(bids) + 3 - rng.randrange(40))
    return max(max(bids) + 1, min(asks) - 3 + rng.randrange(40))


def live_tops(changes: Iterable[Change], depth: int = 10) -> dict[int, tuple[Top, Top]]:
    """The grid rows (ts in ms) that are live, and their best levels: a dict book, obviously right and slow.

    A row is live between the first and the last change of a stretch behind a whole book; it holds every change before
    its ts. A change that crosses the book ends the stretch.
    """
    bids: dict[Decimal, Decimal] = {}
    asks: dict[Decimal, Decimal] = {}
    found: dict[int, tuple[Top, Top]] = {}
    clock_ms, state = 0, "unknown"
    for change in changes:
        if change.is_whole:
            bids, asks, state = {}, {}, "anchored"
            if not change.rows:
                state = "unknown"
            _apply(bids, asks, change.rows)
            continue
        if state == "unknown":
            continue
        now_ms = max(clock_ms, change.exch_us // 1000)
        if state == "live":
            for ts in range((clock_ms // STEP_MS + 1) * STEP_MS, now_ms + 1, STEP_MS):
                found[ts] = (_top(bids, depth, best=max), _top(asks, depth, best=min))
        clock_ms, state = now_ms, "live"
        _apply(bids, asks, change.rows)
        if bids and asks and max(bids) >= min(asks):
            state = "unknown"
    return found


def _apply(bids: dict[Decimal, Decimal], asks: dict[Decimal, Decimal], rows: Iterable[Row]) -> None:
    for side, px, size in rows:
        book = bids if side == "bid" else asks
        if Decimal(size) == 0:
            book.pop(Decimal(px), None)
        else:
            book[Decimal(px)] = Decimal(size)


def _top(side: dict[Decimal, Decimal], depth: int, best: object) -> Top:
    prices = sorted(side, reverse=best is max)[:depth]
    return [(float(px), float(side[px])) for px in prices]


def clean(root: Path, symbol: str = "btcusdt", venue: str = "binance-futures") -> None:
    """Reconstruct without Ray."""
    data = str(root / "data")
    files = raw_files(Storage(data), venue, symbol)
    settings = BookSettings(snapshot_interval_ms=STEP_MS)
    for task in plan_tasks(venue, symbol, files, hour_keys(files, settings), {}):
        reconstruct_hours(data, task, settings)


def table(root: Path, name: str, symbol: str = "btcusdt", venue: str = "binance-futures") -> pl.DataFrame:
    """All rows of a clean table; empty where there is none."""
    paths = sorted((root / "data").glob(f"clean/{name}/venue={venue}/symbol={symbol}/date=*/*.parquet"))
    return pl.concat([pl.read_parquet(path) for path in paths]) if paths else pl.DataFrame()


def written_tops(root: Path, symbol: str = "btcusdt", venue: str = "binance-futures") -> dict[int, tuple[Top, Top]]:
    """As `live_tops`, of clean/book."""
    book = table(root, "book", symbol, venue)
    found = {}
    for row in book.filter(pl.col("state") == "live").iter_rows(named=True) if len(book) else ():
        sides = []
        for side in ("bid", "ask"):
            levels = ((row[f"{side}_px_{at:02d}"], row[f"{side}_sz_{at:02d}"]) for at in range(1, 11))
            sides.append([level for level in levels if level[0] is not None])
        found[round(row["ts"].timestamp() * 1000)] = (sides[0], sides[1])
    return found


BOOK_HEADER = "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount"
TRADE_HEADER = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount"


def tardis_book(changes: Iterable[Change], symbol: str = "BTCUSDT", exchange: str = "binance-futures") -> str:
    """incremental_book_L2 CSV."""
    lines = [BOOK_HEADER]
    for change in changes:
        head = f"{exchange},{symbol},{change.exch_us},{change.recv_us},{'true' if change.is_whole else 'false'}"
        lines += [f"{head},{side},{px},{size}" for side, px, size in change.rows]
    return "\n".join(lines) + "\n"


def tardis_trades(
    count: int = 50, symbol: str = "BTCUSDT", exchange: str = "binance-futures", first_us: int = 0
) -> str:
    """trades CSV: one each 100 ms, ids from 1000."""
    lines = [TRADE_HEADER]
    for at in range(count):
        us = (first_us or START_US) + at * 100_000
        side = "buy" if at % 2 else "sell"
        lines.append(f"{exchange},{symbol},{us - 4000},{us},{1000 + at},{side},{99.5 + at % 7},{0.001 * (at + 1):.3f}")
    return "\n".join(lines) + "\n"


def tardis_changes(text: str) -> Iterator[Change]:
    """The changes that incremental_book_L2 CSV holds, row by row."""
    held: Change | None = None
    key: object = None
    for line in io.StringIO(text).read().splitlines()[1:]:
        _, symbol, exch_us, recv_us, is_whole, side, px, size = line.split(",")
        whole = is_whole == "true"
        mine = (symbol, True) if whole else (symbol, False, exch_us, recv_us)
        if held is not None and mine == key:
            held = Change(int(recv_us), int(exch_us), [*held.rows, (side, px, size)], whole)
            continue
        if held is not None:
            yield held
        held, key = Change(int(recv_us), int(exch_us), [(side, px, size)], whole), mine
    if held is not None:
        yield held
