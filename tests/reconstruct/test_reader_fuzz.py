"""Bent lines through the strict scan and through the plain decoder alone: the same tables, or the scan refused."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from midas_ray.book import kernels as k
from midas_ray.book.scale import Scale
from midas_ray.reconstruct import tables as frames
from midas_ray.reconstruct.reader import Batch, BlockReader
from midas_ray.venues import get_venue
from midas_ray.venues.base import Venue
from tests.reconstruct.bent_lines import BentLines

WIDE = Scale(k.MAX_DECIMALS, k.MAX_DECIMALS)
FUTURES, SPOT = get_venue("binance-futures"), get_venue("binance-spot")


class PlainReader(BlockReader):
    """Every line through the plain decoder."""

    def read(self, block: bytes) -> Iterator[Batch]:
        for line in block.split(b"\n")[:-1]:
            yield from self._plain(line)


@dataclass
class Told:
    """All that a block told, numbers at the widest scale. depth: events in order, with the controls between them."""

    depth: list[Any] = field(default_factory=list)
    trades: list[list[int]] = field(default_factory=list)
    marks: list[Any] = field(default_factory=list)
    forced: list[Any] = field(default_factory=list)
    klines: list[Any] = field(default_factory=list)
    undecodable: int = 0
    foreign: list[str] = field(default_factory=list)
    tickers: int = 0

    def take(self, batch: Batch) -> None:
        px, sz = 10 ** (k.MAX_DECIMALS - batch.scale.px_decimals), 10 ** (k.MAX_DECIMALS - batch.scale.sz_decimals)
        if batch.trades is not None:
            for row in batch.trades.tolist():
                row[k.TRADE_PX] *= px
                row[k.TRADE_QTY] *= sz
                self.trades.append(row)
        if batch.depth is not None:
            self._take_depth(batch, px, sz)
        self.depth += [line.recv_ns for line in batch.controls]
        self.marks += batch.marks
        self.forced += batch.forced
        self.klines += batch.klines
        self.undecodable += batch.undecodable
        self.foreign += batch.foreign
        self.tickers += batch.tickers

    def _take_depth(self, batch: Batch, px: int, sz: int) -> None:
        events, start = batch.depth, 0
        assert events is not None
        for row in events.table.tolist():
            end = row[k.DEPTH_LEVELS_END]
            changes = list(
                zip(
                    events.sides[start:end].tolist(),
                    events.keys[start:end].tolist(),
                    events.sizes[start:end].tolist(),
                    strict=True,
                )
            )
            sides = [[(key * px, size * sz) for side, key, size in changes if side == which] for which in range(2)]
            self.depth.append((row[: k.DEPTH_LEVELS_END], sides))
            start = end


def told(reader: BlockReader, block: bytes) -> Told:
    found = Told()
    for batch in reader.read(block):
        found.take(batch)
    found.trades.sort()  # they carry their order in their ids
    return found


def both(block: bytes, venue: Venue, scale: Scale) -> tuple[Told, Told]:
    return told(BlockReader(venue, "btcusdt", scale), block), told(PlainReader(venue, "btcusdt", scale), block)


@given(st.integers(0, 2**48), st.sampled_from([FUTURES, FUTURES, SPOT]), st.integers(0, 3), st.integers(0, 8))
@settings(deadline=None, max_examples=150, derandomize=True)
def test_whatever_is_read_fast_is_read_alike_by_the_plain_decoder(
    seed: int, venue: Venue, px_decimals: int, sz_decimals: int
) -> None:
    lines = BentLines(seed)
    for _ in range(20):
        line = lines.line()
        fast, plain = both(line, venue, Scale(px_decimals, sz_decimals))
        assert fast == plain, line
        frames.mark_frame(fast.marks, "btcusdt")
        frames.liquidations_frame(fast.forced, "btcusdt")
        frames.bars_frame(fast.klines, "btcusdt")


@given(st.integers(0, 2**48), st.sampled_from([FUTURES, SPOT]))
@settings(deadline=None, max_examples=100, derandomize=True)
def test_lines_stay_in_order_whoever_reads_them(seed: int, venue: Venue) -> None:
    """At the widest scale: what has too many digits there has them for both."""
    block = BentLines(seed).block(15)
    fast, plain = both(block, venue, WIDE)
    assert fast == plain, block


def test_the_lines_are_worth_comparing() -> None:
    """Every kind of message is read, and every kind of trouble is there."""
    found = told(BlockReader(FUTURES, "btcusdt", WIDE), BentLines(1).block(3000))
    counts = [len(each) for each in (found.depth, found.trades, found.marks, found.forced, found.klines, found.foreign)]
    assert min(counts) > 10
    assert found.tickers > 100
    assert found.undecodable > 1000
