"""Calendar buckets of clean tables for the reference: coverage, means over a bucket, windows over buckets."""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from tests.features.reference.clean import HOUR_US, MINUTE_US, Cell, Clean, Column, Floats, Null, Print


def divided(above: float | Fraction, below: float | Fraction) -> Cell:
    return float(above / below) if below else Null.UNDEFINED


def number(value: float) -> Cell:
    return Null.UNDEFINED if math.isnan(value) else float(value)


def first_null(*cells: Cell) -> Null | None:
    """The reason that counts where several cells are needed."""
    return next((null for null in (Null.GAP, Null.WARM_UP, Null.UNDEFINED) if null in cells), None)


def sample_sd(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


@dataclass
class Buckets:
    """The buckets of `clean`, each known by its end t. Settings as of `midas features`."""

    clean: Clean
    bucket_us: int = MINUTE_US
    vpin_share: float = 1 / 288
    cost_notional: float | None = None

    @cached_property
    def times(self) -> list[int]:
        """Ends of the calendar buckets in which a collector ran."""
        return sorted(set((-(-self.clean.us // self.bucket_us) * self.bucket_us).tolist()))

    @property
    def for_an_hour(self) -> int:
        """Buckets that cover 60 minutes."""
        return -(-HOUR_US // self.bucket_us)

    @cached_property
    def _rows(self) -> dict[int, slice]:
        edges = np.array(self.times)
        begins, ends = (np.searchsorted(self.clean.us, at, "right").tolist() for at in (edges - self.bucket_us, edges))
        return {t: slice(begin, end) for t, begin, end in zip(self.times, begins, ends, strict=True)}

    def rows_of(self, t: int) -> slice:
        """Grid rows with ts in (t - D, t]."""
        return self._rows[t]

    def row_at(self, us: int) -> int | None:
        at = int(np.searchsorted(self.clean.us, us))
        return at if at < len(self.clean.us) and self.clean.us[at] == us else None

    def prints_of(self, t: int) -> list[Print]:
        """Prints with time in [t - D, t)."""
        start, end = (bisect_left(self.clean.prints, at, key=_us) for at in (t - self.bucket_us, t))
        return self.clean.prints[start:end]

    # Coverage

    def live_rows(self, t: int) -> int:
        return int(self.clean.live[self.rows_of(t)].sum())

    @cached_property
    def coverage(self) -> dict[int, float]:
        return {t: self.live_rows(t) / (self.bucket_us // self.clean.grid_us) for t in self.times}

    @cached_property
    def unheard(self) -> list[tuple[int, int]]:
        """Times [start, end), in us, without trades: no collector, the stream off, or a gap (start, end] of the ledger.

        From the start of the first bucket to the end of the last, rising, not overlapping.
        """
        c = self.clean
        begin, end = self.times[0] - self.bucket_us, self.times[-1]
        on = np.array([bool(c.streams[(us - 1) // HOUR_US] & {"trade", "aggTrade"}) for us in c.us.tolist()])
        listened = c.us[on]
        starts, ends = [begin, *listened.tolist()], [*(listened - c.grid_us).tolist(), end]
        spans = [span for span in zip(starts, ends, strict=True) if span[1] > span[0]]
        spans += [(start + 1, end + 1) for start, end in c.trade_gaps]
        merged: list[tuple[int, int]] = []
        for start, stop in sorted((max(start, begin), min(stop, end)) for start, stop in spans):
            if stop <= start:
                continue
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
            else:
                merged.append((start, stop))
        return merged

    def unheard_between(self, start: int, end: int) -> int:
        return sum(max(0, min(stop, end) - max(begin, start)) for begin, stop in self.unheard)

    @cached_property
    def trades_coverage(self) -> dict[int, float]:
        return {t: 1 - self.unheard_between(t - self.bucket_us, t) / self.bucket_us for t in self.times}

    def heard(self, t: int) -> bool:
        """All of the bucket's prints are known."""
        return self.trades_coverage.get(t, 0.0) == 1.0

    # Columns

    def each(self, one: Callable[[int], Cell]) -> Column:
        return {t: one(t) for t in self.times}

    def end_row(self, t: int) -> int | None:
        """The grid row at t, where the book was live."""
        row = self.row_at(t)
        return row if row is not None and self.clean.live[row] else None

    def end(self, per_row: Floats) -> Column:
        """Of the row at t; undefined where it lacks the number."""

        def one(t: int) -> Cell:
            row = self.end_row(t)
            return Null.GAP if row is None else number(float(per_row[row]))

        return self.each(one)

    def mean(self, per_row: Floats) -> Column:
        """Over the live rows of the bucket; undefined where over 5 % of them lack the number."""

        def one(t: int) -> Cell:
            rows = self.rows_of(t)
            inside = per_row[rows][self.clean.live[rows]]
            if not len(inside):
                return Null.GAP
            known = inside[~np.isnan(inside)].tolist()
            if len(inside) - len(known) > 0.05 * len(inside):
                return Null.UNDEFINED
            return math.fsum(known) / len(known)

        return self.each(one)

    def of_prints(self, formula: Callable[[list[Print]], Cell]) -> Column:
        return self.each(lambda t: formula(self.prints_of(t)) if self.heard(t) else Null.GAP)

    # Windows

    def window(self, column: Column, t: int, n: int) -> list[Cell]:
        """The n buckets of the calendar that end at t; where no collector ran a gap, before the data warm-up."""
        times = range(t - (n - 1) * self.bucket_us, t + 1, self.bucket_us)
        return [column.get(each, Null.GAP if each >= self.times[0] else Null.WARM_UP) for each in times]

    def whole(self, column: Column, t: int, n: int) -> Null | None:
        """Why a window that needs every bucket is not covered; None where it is. A window before the data: warm-up."""
        if column[t] is Null.GAP:
            return Null.GAP
        if t - n * self.bucket_us < self.times[0] - self.bucket_us:
            return Null.WARM_UP
        return Null.GAP if Null.GAP in self.window(column, t, n) else None

    def estimate(
        self,
        known: Callable[[int], bool],
        columns: Sequence[Column],
        n: int,
        min_obs: int,
        formula: Callable[..., Cell],
    ) -> Column:
        """From the buckets of a window in which every column is a number; `known` says that this bucket is covered.

        Warm-up under min_obs covered buckets; undefined where they are enough, but not the numbers among them.
        """

        def one(t: int) -> Cell:
            if not known(t):
                return Null.GAP
            sets = list(zip(*(self.window(column, t, n) for column in columns), strict=True))
            covered = [each for each in sets if Null.GAP not in each and Null.WARM_UP not in each]
            numbers = [each for each in covered if Null.UNDEFINED not in each]
            if len(covered) < min_obs:
                return Null.WARM_UP
            return formula(*map(list, zip(*numbers, strict=True))) if len(numbers) >= min_obs else Null.UNDEFINED

        return self.each(one)


def _us(each: Print) -> int:
    return each.us
