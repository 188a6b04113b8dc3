"""The live features of one symbol, without I/O of its own: journal lines and the time in, rows of features out.

At any moment a row is what batch would give if the data ended here. It is looked at again whenever something came that
may have changed it: the last version is the one that batch gives.
"""

import numpy as np

from midas_ray.features.buckets import with_trades
from midas_ray.features.cost import CostNotional, CostStatistics
from midas_ray.features.daily import DAY_US
from midas_ray.features.day import LONGEST_WINDOW, history_days
from midas_ray.features.hour import hour_statistics
from midas_ray.features.hour_rows import HOUR_US, GridRows, Prints
from midas_ray.features.statistics import Statistics
from midas_ray.features.table import FeatureRows, feature_rows
from midas_ray.live.days import Days, Gap
from midas_ray.live.history import History, day_of
from midas_ray.live.hour import LiveHour
from midas_ray.live.parameters import Parameters
from midas_ray.live.replay import LiveReplay
from midas_ray.reconstruct.plan import SKEW_NS
from midas_ray.reconstruct.replay import first_recv_ns
from midas_ray.settings import BookSettings, Features
from midas_ray.venues import get_venue

CLOSE_AFTER_MS = 1000
"""A bucket is over so long after its end, whatever its streams have shown."""
LATE_EVERY_NS = 10**9
"""How often closed buckets are looked at again for what came late."""
_KEEP_NS = 2 * SKEW_NS
"""So long after an hour's end its rows stay in memory: what batch reads for it may arrive until then."""


class HistoryNeededError(Exception):
    """Rows are needed that are no longer in memory: replay the journals anew."""


class LiveSymbol:
    """Feed lines in order, ask for rows.

    eval_day_us: 00:00 of the first day whose rows are wanted; the history reaches far enough before it.
    """

    def __init__(self, settings: Features, symbol: str, history: History, eval_day_us: int) -> None:
        self.symbol = symbol
        self.closed_us: int | None = None
        self.too_late = 0
        """Hours to which something came after their rows had left memory."""
        self._bucket_us = settings.time_bucket_ms * 1000
        self._settings = settings
        self._history = history
        self._eval_day_us = eval_day_us
        self._days = Days(self._bucket_us)
        for hour_us, statistics in history.statistics.items():
            self._days.put(hour_us, statistics)
        self._prints: dict[int, Prints] = dict(history.prints)
        self._settled_gaps: list[Gap] = list(history.gaps)
        self._costs: dict[int, tuple[float, CostStatistics]] = {}
        book = BookSettings(**{name: getattr(settings, name) for name in BookSettings.model_fields})
        self._replay = LiveReplay(get_venue(settings.venue), symbol, history.first_hour, book)
        self._open: dict[int, LiveHour] = {}
        self._first_open_us = history.first_hour * HOUR_US
        self._before, self._marks_before = history.before, history.marks
        self._unlive_hours: set[int] = set()
        self._parameters = Parameters(settings, self._days, self._prints, history.first_data_us)
        self._dirty_us: int | None = None
        self._looked_ns = 0
        self._newest_recv_ns = 0
        self._shown_ns: int | None = None
        self._settle_gaps()

    @property
    def waits_for(self) -> list[str]:
        """Continuous streams that have shown nothing yet."""
        return [name for name in self._replay.declared if name not in self._replay.shown_ms]

    @property
    def newest_recv_ns(self) -> int:
        """Receive time of the last line; 0 before the first."""
        return self._newest_recv_ns

    def feed(self, block: bytes) -> None:
        """Whole lines of the journal. Raises DataError."""
        self._newest_recv_ns = max(self._newest_recv_ns, first_recv_ns(block[block.rfind(b"\n", 0, -1) + 1 :]))
        self._replay.feed([block])
        shown_ms = self._replay.closes_at_ms()
        next_us = 0 if self.closed_us is None else self.closed_us + self._bucket_us
        if self._shown_ns is None and shown_ms is not None and shown_ms * 1000 >= next_us:
            self._shown_ns = first_recv_ns(block)
        if self._hour_is_over():
            self._update()

    def close(self, now_ns: int) -> tuple[bool, int]:
        """Close the buckets that are over at `now_ns` (this machine's clock): whether the streams have shown it, and
        when they or the clock did."""
        replay, bucket_us = self._replay, self._bucket_us
        shown_ms = replay.closes_at_ms()
        by_streams = 0 if shown_ms is None else shown_ms * 1000 // bucket_us * bucket_us
        exchange_us = now_ns // 1000 + round(replay.offset_ms * 1000)
        by_clock = (exchange_us - CLOSE_AFTER_MS * 1000) // bucket_us * bucket_us
        closed_us = max(by_streams, by_clock, self.closed_us or 0)
        end_ns = (closed_us - round(replay.offset_ms * 1000)) * 1000
        clock_ns = end_ns + CLOSE_AFTER_MS * 10**6
        streams = by_streams >= closed_us
        shown_ns, self._shown_ns = self._shown_ns or end_ns, None if closed_us != self.closed_us else self._shown_ns
        self.closed_us = closed_us
        return streams, min(max(shown_ns, end_ns), clock_ns) if streams else clock_ns

    def changed(self, now_ns: int) -> bool:
        """Whether something came that may change a closed bucket, and it is time to look again."""
        earliest_ms = self._replay.earliest_ms
        late = earliest_ms is not None and self.closed_us is not None and earliest_ms * 1000 < self.closed_us
        return (late or self._dirty_us is not None) and now_ns - self._looked_ns >= LATE_EVERY_NS

    def rows(self, now_ns: int, from_us: int) -> list[FeatureRows]:
        """Rows of the closed buckets that may differ from when they were last given, and of all from `from_us` on.

        Raises HistoryNeededError, DataError.
        """
        assert self.closed_us is not None
        self._looked_ns = now_ns
        self._update()
        dirty_us, self._dirty_us = self._dirty_us, None
        wanted_us = max(min(from_us, from_us if dirty_us is None else dirty_us), self._eval_day_us + self._bucket_us)
        last_day_us = day_of(self.closed_us)
        for day_us in range(day_of(wanted_us), last_day_us + DAY_US, DAY_US):
            wanted_us = min(wanted_us, self._parameters.refresh(day_us))
        found = []
        for day_us in range(day_of(wanted_us), last_day_us + DAY_US, DAY_US):
            first_us = max(wanted_us, max(day_us, self._parameters.of(day_us).start_us) + self._bucket_us)
            last_us = min(self.closed_us, day_us + DAY_US)
            if first_us <= last_us:
                found.append(self._rows_of_day(day_us, first_us, last_us))
        return found

    def forget_day(self) -> None:
        """Once a day is over, what only the day before it needed may go."""
        if self.closed_us is None:
            return
        self._eval_day_us = max(self._eval_day_us, day_of(self.closed_us) - DAY_US)
        self._days.forget(self._eval_day_us - history_days(self._bucket_us) * DAY_US)
        self._settled_gaps = [gap for gap in self._settled_gaps if gap[1] >= self._eval_day_us - DAY_US]
        self._parameters.forget(self._eval_day_us - DAY_US)
        for each in (self._prints, self._costs):
            for start_us in [start_us for start_us in each if start_us < self._eval_day_us - DAY_US]:
                del each[start_us]

    # --- statistics of the hours ------------------------------------------------------------------------------------

    def _update(self) -> None:
        """Bring the statistics up to what was fed, and let go of hours that are over."""
        replay = self._replay
        first_us = self._first_open_us  # rows of a gap may be written once more behind their hour
        changed = {hour * HOUR_US for hour in replay.touched}
        self.too_late += sum(hour_us < first_us for hour_us in changed)
        for hour, rows in replay.take_rows():
            if hour * HOUR_US >= first_us:
                self._hour(hour * HOUR_US).add_rows(rows)
                changed.add(hour * HOUR_US)
        unlive = {hour * HOUR_US: rows for hour, rows in replay.unlive_rows() if hour * HOUR_US >= first_us}
        changed |= self._unlive_hours | set(unlive)
        self._unlive_hours = set(unlive)
        replay.touched.clear()
        replay.earliest_ms = None
        for hour_us in sorted(changed):
            if hour_us >= first_us:
                self._hour(hour_us)
        for hour_us in sorted(self._open):
            # An hour begins in the state that the one before it ends in.
            if hour_us in changed or hour_us - HOUR_US in changed:
                self._look_at(self._open[hour_us], unlive)
        self._settle_gaps()
        self._evict()

    def _hour(self, hour_us: int) -> LiveHour:
        if hour_us not in self._open:
            self._open[hour_us] = LiveHour(hour_us, self._bucket_us)
        return self._open[hour_us]

    def _look_at(self, hour: LiveHour, unlive: dict[int, GridRows]) -> None:
        earlier = self._open.get(hour.start_us - HOUR_US)
        is_first = hour.start_us == self._first_open_us
        before = earlier.closing_row() if earlier else self._before if is_first else None
        marks = earlier.marks if earlier else self._marks_before if is_first else None
        input_rows = hour.hour(self._replay, unlive.get(hour.start_us), before, marks)
        if hour.exists:
            self._stain(self._days.put(hour.start_us, hour_statistics(input_rows)))
            self._parameters.data_in(hour.start_us)
            prints = hour.volume_prints()
            if prints is not None:
                self._prints[hour.start_us] = prints

    def _settle_gaps(self) -> None:
        self._stain(self._days.set_gaps([*self._settled_gaps, *self._replay.trade_gaps_us()]))

    def _stain(self, ts_us: int | None) -> None:
        """Rows from here on may have changed."""
        if ts_us is not None:
            self._dirty_us = ts_us if self._dirty_us is None else min(self._dirty_us, ts_us)

    def _evict(self) -> None:
        """Hours whose rows are final keep their statistics alone."""
        replay = self._replay
        while self._hour_is_over():
            end_us = self._first_open_us + HOUR_US
            hour = self._open.pop(self._first_open_us, None)
            self._before = self._marks_before = None
            if hour is not None:
                self._before, self._marks_before = hour.closing_row(), hour.marks
                self._keep_cost(hour)
            self._first_open_us = end_us
            self._settled_gaps += [
                gap for gap in replay.trade_gaps_us() if gap[1] <= end_us and gap not in self._settled_gaps
            ]
            replay.forget(end_us // HOUR_US)
            self._settle_gaps()

    def _hour_is_over(self) -> bool:
        """Nothing more is awaited of the first hour in memory, and the book's rows are known up to its end."""
        end_us = self._first_open_us + HOUR_US
        return self._newest_recv_ns > end_us * 1000 + _KEEP_NS and self._replay.rows_until_ms * 1000 >= end_us

    def _keep_cost(self, hour: LiveHour) -> None:
        day_us = hour.start_us // DAY_US * DAY_US
        if day_us >= self._eval_day_us:
            quote = self._parameters.notional(day_us).quote
            if quote is not None:
                self._costs[hour.start_us] = quote, hour.cost(quote)

    # --- rows -------------------------------------------------------------------------------------------------------

    def _rows_of_day(self, day_us: int, first_us: int, last_us: int) -> FeatureRows:
        """Rows of the buckets of a day that end in [first, last]."""
        parameters = self._parameters.of(day_us)
        begin_us = self._window_start(day_us, first_us, parameters.start_us)
        statistics = self._days.window(begin_us, last_us)
        n = len(statistics.ts_us)
        first = (first_us - begin_us) // self._bucket_us - 1
        known_us = day_us + (parameters.notional.known_from + 1) * self._bucket_us
        return feature_rows(
            with_trades(
                statistics,
                bucket_us=self._bucket_us,
                first=first,
                start_us=parameters.start_us,
                price_source="midprice",
                cost=self._cost(day_us, first_us, last_us, parameters.notional).place(np.arange(first, n), n),
                cost_known=statistics.ts_us >= known_us,
                volume_buckets=parameters.volume,
            )
        )

    def _window_start(self, day_us: int, first_us: int, start_us: int) -> int:
        """A whole hour, early enough for every window of the bucket that ends at `first_us`, and for the close before
        them; never before what a day may rest on, nor before the data."""
        reach_us = max(DAY_US, LONGEST_WINDOW * self._bucket_us) + self._bucket_us
        begin_us = (first_us - reach_us) // HOUR_US * HOUR_US
        earliest_us = max(day_us - history_days(self._bucket_us) * DAY_US, start_us // HOUR_US * HOUR_US)
        if begin_us <= earliest_us:
            return earliest_us
        printed = [hour for hour in self._days.hours if hour < begin_us and _settles(self._days.hour(hour))]
        return max(min(begin_us, printed[-1] if printed else earliest_us), earliest_us)

    def _cost(self, day_us: int, first_us: int, last_us: int, notional: CostNotional) -> CostStatistics:
        """Costs of the buckets that end in [first, last]."""
        per_hour = HOUR_US // self._bucket_us
        hours = range((first_us - 1) // HOUR_US * HOUR_US, last_us, HOUR_US)
        parts = [self._cost_of_hour(hour_us, day_us, notional, per_hour) for hour_us in hours]
        skipped = (first_us - 1) // self._bucket_us - hours[0] // self._bucket_us
        count = (last_us - first_us) // self._bucket_us + 1
        joined = CostStatistics.joined(parts)
        return CostStatistics(joined.rows[skipped : skipped + count], joined.sum_bps[skipped : skipped + count])

    def _cost_of_hour(self, hour_us: int, day_us: int, notional: CostNotional, per_hour: int) -> CostStatistics:
        quote = notional.quote
        if quote is None:
            return CostStatistics.absent(per_hour)
        if hour_us in self._open:
            return self._open[hour_us].cost(quote)
        kept = self._costs.get(hour_us)
        if kept is not None and kept[0] == quote:
            return kept[1]
        old = self._history.cost(hour_us, quote)
        if old is None:
            known_us = day_us + notional.known_from * self._bucket_us
            if hour_us in self._days.hours and hour_us + HOUR_US > known_us:
                raise HistoryNeededError
            return CostStatistics.absent(per_hour)
        self._costs[hour_us] = quote, old
        return old


def _settles(hour: Statistics) -> bool:
    """Whether there is a print in the hour after which nothing was lost in its bucket: the last price for certain."""
    trades = hour.trades
    return bool(((trades.rows > 0) & (trades.last_us >= trades.settled_us - 1)).any())
