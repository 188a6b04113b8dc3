"""Prices and sizes on their decimal grid, and prices on the tick that nearly all of a day's prices share."""

from dataclasses import dataclass, field
from datetime import date

import numpy as np
import numpy.typing as npt

from midas_ray.quality.findings import Findings

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

MIN_DISTINCT = 100
"""Different prices a day needs before a tick is inferred from them."""

ON_TICK_SHARE = 0.99
"""Share of the day's different prices that are multiples of the tick; the few others are off it."""

MAX_STRAYS = 20
"""More different prices beside a step than this are no strays: the exchange made the tick finer."""


def off_grid(values: FloatArray, decimals: int) -> npt.NDArray[np.bool_]:
    """Where a known value is not integer / 10^decimals, correctly rounded; False where NaN."""
    scale = float(10**decimals)
    bad: npt.NDArray[np.bool_] = (np.rint(values * scale) / scale != values) & ~np.isnan(values)
    return bad


@dataclass(slots=True)
class DayPrices:
    """The different prices of a symbol's day, each with where it was first seen.

    px: integers at `decimals`. first_us: time of the row. file: position in `paths`.
    """

    decimals: int = 0
    paths: list[str] = field(default_factory=list)
    px: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    first_us: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    file: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def add(self, px: FloatArray, ts_us: IntArray, decimals: int, path: str) -> None:
        """Known prices of a file with `decimals`, and their times."""
        if decimals > self.decimals:
            self.px = self.px * 10 ** (decimals - self.decimals)
            self.decimals = decimals
        self.paths.append(path)
        whole = np.rint(px * 10**decimals).astype(np.int64) * 10 ** (self.decimals - decimals)
        unique, first = np.unique(whole, return_index=True)
        times = np.concatenate([self.first_us, ts_us[first]])
        files = np.concatenate([self.file, np.full(len(unique), len(self.paths) - 1, dtype=np.int64)])
        self.px, kept = np.unique(np.concatenate([self.px, unique]), return_index=True)
        self.first_us, self.file = times[kept], files[kept]

    def tick(self) -> int | None:
        """The largest step (at `decimals`) that nearly all prices are multiples of; None where there are too few."""
        if len(self.px) < MIN_DISTINCT:
            return None
        step = max(int(np.gcd.reduce(self.px)), 1)
        grown = True
        while grown:
            grown = False
            for factor in (2, 5):
                on = int((self.px % (step * factor) == 0).sum())
                if on >= ON_TICK_SHARE * len(self.px) and len(self.px) - on <= MAX_STRAYS:
                    step, grown = step * factor, True
        return step


def check_ticks(days: dict[date, DayPrices], symbol: str, findings: Findings) -> float | None:
    """Note prices off the tick of their day; gives the tick of the last day that has one, in quote units.

    A price on the tick of the day before or after passes: the exchange may have changed the tick size in between.
    """
    decimals = max((day.decimals for day in days.values()), default=0)
    ticks: list[int | None] = []
    for day in days.values():
        tick = day.tick()
        ticks.append(None if tick is None else tick * 10 ** (decimals - day.decimals))
    for at, day in enumerate(days.values()):
        own = ticks[at]
        if own is None:
            continue
        px = day.px * 10 ** (decimals - day.decimals)
        off = np.ones(len(px), dtype=np.bool_)
        for step in {tick for tick in ticks[max(0, at - 1) : at + 2] if tick is not None}:
            off &= px % step != 0
        for row in np.flatnonzero(off).tolist():
            findings.add(
                "price_tick",
                symbol,
                day.paths[day.file[row]],
                f"price {px[row] / 10**decimals:.{decimals}f}",
                f"a multiple of the tick {own / 10**decimals:g}",
                int(day.first_us[row]),
            )
    known = [tick for tick in ticks if tick is not None]
    return known[-1] / 10**decimals if known else None
