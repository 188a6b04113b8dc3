"""The simulated exchange's symbols: tick, lot, decimals on the wire, and what their market looks like."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class SymbolSpec:
    """One symbol. Prices are integers of ticks, sizes integers of lots inside the simulation.

    tick, lot: price and quantity step, quote and base units; px_decimals, sz_decimals: digits on the futures wire.
    start_ticks: price at which every run starts.
    best_lots: mean size of a best queue, level_lots of a level behind; scale of the book: `near_ticks` mean distance of
    the busy orders from the best price, `depth_ticks` distance at which the book has thinned out to half, `occupancy`
    share of price levels in use near the best. events_per_change: events drawn behind the best prices for each
    distinct level change of a 100 ms message, as measured: some find nothing to do, some hit a level twice.
    """

    symbol: str
    tick: Decimal
    lot: Decimal
    px_decimals: int
    sz_decimals: int
    start_ticks: int
    best_lots: float
    level_lots: float
    near_ticks: float
    depth_ticks: float
    occupancy: float
    events_per_change: float

    @property
    def px_unit(self) -> int:
        """One tick in units of the last decimal on the wire."""
        return int(self.tick.scaleb(self.px_decimals))

    @property
    def sz_unit(self) -> int:
        """One lot in units of the last decimal on the wire."""
        return int(self.lot.scaleb(self.sz_decimals))


def spec_of(symbol: str) -> SymbolSpec:
    """What is simulated for `symbol` (lower case).

    btcusdt: 95,000.00 in ticks of 0.10 and lots of 0.001; ethusdt: 3,400.00 in 0.01 and 0.001, both with sparse books
    as of small-tick markets; nexousdt: 1.200 in 0.001 and 0.01, the full book of a large-tick one. Any other symbol:
    25.000 in ticks of 0.001 and lots of 0.1.
    """
    if symbol == "btcusdt":
        return SymbolSpec(
            symbol=symbol, tick=Decimal("0.10"), lot=Decimal("0.001"), px_decimals=2, sz_decimals=3,
            start_ticks=950_000, best_lots=3600.0, level_lots=500.0, near_ticks=200.0, depth_ticks=2500.0,
            occupancy=0.25, events_per_change=0.92,
        )  # fmt: skip
    if symbol == "ethusdt":
        return SymbolSpec(
            symbol=symbol, tick=Decimal("0.01"), lot=Decimal("0.001"), px_decimals=2, sz_decimals=3,
            start_ticks=340_000, best_lots=20_000.0, level_lots=2200.0, near_ticks=100.0, depth_ticks=1000.0,
            occupancy=0.4, events_per_change=0.92,
        )  # fmt: skip
    if symbol == "nexousdt":
        return SymbolSpec(
            symbol=symbol, tick=Decimal("0.001"), lot=Decimal("0.01"), px_decimals=3, sz_decimals=2,
            start_ticks=1200, best_lots=45_000.0, level_lots=120_000.0, near_ticks=8.0, depth_ticks=150.0,
            occupancy=0.7, events_per_change=1.2,
        )  # fmt: skip
    return SymbolSpec(
        symbol=symbol, tick=Decimal("0.001"), lot=Decimal("0.1"), px_decimals=3, sz_decimals=1,
        start_ticks=25_000, best_lots=3000.0, level_lots=900.0, near_ticks=8.0, depth_ticks=400.0,
        occupancy=0.7, events_per_change=1.2,
    )  # fmt: skip
