"""Small inputs for hand-computed tests: buckets of 10 s on a 1 s grid, in an hour that begins at 2026-01-05 00:00 UTC.

Row s is the state at second s (1 ... 3600), so that bucket b has the rows 10 b + 1 ... 10 b + 10. Prices have one
decimal, sizes two.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from midas_ray.features.buckets import Buckets, with_trades
from midas_ray.features.column import Column
from midas_ray.features.cost import CostStatistics, cost_of_hour
from midas_ray.features.coverage import NOTHING
from midas_ray.features.hour import hour_statistics
from midas_ray.features.hour_rows import ForcedOrders, GridRows, Hour, MarkRows, Prints, TopRow
from midas_ray.features.registry import FEATURE_NAMES
from midas_ray.features.table import FUNCTIONS
from midas_ray.features.vpin import VolumeBuckets
from tests.features.clean_data import START_US

SECOND = 1_000_000
BUCKET = 10 * SECOND


@dataclass
class Row:
    """A grid row: (px, size) per level."""

    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]
    ofi: list[float | None] = field(default_factory=lambda: [0.0] * 10)
    live: bool = True


def ladder(best: float, sizes: list[float], step: float) -> list[tuple[float, float]]:
    return [(round(best + step * level, 6), size) for level, size in enumerate(sizes)]


def ten_levels(bid: float = 99.9, ask: float = 100.1, bid_size: float = 1.0, ask_size: float = 1.0) -> Row:
    return Row(ladder(bid, [bid_size] * 10, -0.1), ladder(ask, [ask_size] * 10, 0.1))


def _block(rows: list[Row], side: str, part: int) -> np.ndarray:
    block = np.full((len(rows), 10), np.nan)
    for at, row in enumerate(rows):
        if row.live:
            for level, pair in enumerate(getattr(row, side)):
                block[at, level] = pair[part]
    return block


def grid(rows: dict[int, Row]) -> GridRows:
    """Rows by second."""
    seconds = sorted(rows)
    chosen = [rows[second] for second in seconds]
    return GridRows(
        ts_us=START_US + SECOND * np.array(seconds, dtype=np.int64),
        live=np.array([row.live for row in chosen]),
        px=(_block(chosen, "bids", 0), _block(chosen, "asks", 0)),
        sz=(_block(chosen, "bids", 1), _block(chosen, "asks", 1)),
        ofi=np.array([[np.nan if flow is None else flow for flow in row.ofi] for row in chosen], dtype=np.float64),
        px_scale=10.0,
        sz_scale=100.0,
        grid_us=SECOND,
    )


def prints(*rows: tuple[float, float, float, str] | tuple[float, float, float, str, int]) -> Prints:
    """(second, px, qty, side[, count]) each."""
    return Prints(
        START_US + (np.array([row[0] for row in rows]) * SECOND).round().astype(np.int64),
        np.array([row[1] for row in rows], dtype=np.float64),
        np.array([row[2] for row in rows], dtype=np.float64),
        np.array([row[3] == "buy" for row in rows], dtype=np.bool_),
        np.array([row[4] if len(row) == 5 else 1 for row in rows], dtype=np.int64),
        10.0,
        100.0,
    )


def marks(*rows: tuple[float, float, float, float]) -> MarkRows:
    """(second, mark, index, funding rate) each."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return MarkRows(START_US + (table[:, 0] * SECOND).astype(np.int64), table[:, 1], table[:, 2], table[:, 3])


def forced(*rows: tuple[float, str, float]) -> ForcedOrders:
    """(second, side, qty) each."""
    return ForcedOrders(
        START_US + (np.array([row[0] for row in rows]) * SECOND).astype(np.int64),
        np.array([row[1] == "buy" for row in rows], dtype=np.bool_),
        np.array([row[2] for row in rows], dtype=np.float64),
    )


def seconds(*pairs: tuple[float, float]) -> np.ndarray:
    """Times [start, end) in seconds as uncovered intervals."""
    return (START_US + np.array(pairs, dtype=np.float64).reshape(-1, 2) * SECOND).astype(np.int64)


def buckets(
    rows: dict[int, Row] | None = None,
    trades: Prints | None = None,
    *,
    uncovered: np.ndarray = NOTHING,
    before: TopRow | None = None,
    mark: MarkRows | None = None,
    liquidations: ForcedOrders | None = None,
    notional: float | None = None,
    volume_buckets: VolumeBuckets | None = None,
    start_us: int = START_US,
) -> Buckets:
    """The 360 buckets of the hour. Without `rows` the reference price is the close."""
    hour = Hour(
        START_US, BUCKET, None if rows is None else grid(rows), before, trades if trades is not None else prints(),
        mark, liquidations, uncovered,
    )  # fmt: skip
    return with_trades(
        hour_statistics(hour),
        bucket_us=BUCKET,
        first=0,
        start_us=start_us,
        price_source="close" if rows is None else "midprice",
        cost=CostStatistics.absent(360) if notional is None else cost_of_hour(hour, notional),
        cost_known=np.full(360, notional is not None),
        volume_buckets=volume_buckets or VolumeBuckets.none(),
    )


def values(b: Buckets, name: str, count: int) -> list[Any]:
    """The first `count` values of a feature: a number, or the name of the null kind."""
    assert name in FEATURE_NAMES
    column: Column = FUNCTIONS[name](b)
    names = {1: "gap", 2: "warm-up", 3: "undefined"}
    found = zip(column.values[:count].tolist(), column.kinds[:count].tolist(), strict=True)
    return [names[kind] if kind else value for value, kind in found]
