"""Keeping a book in step with its exchange: a state machine without I/O, the same for live frames and for files.

Messages go in (`depth`, `snapshot`, `load_book`, `opened`, `blame`), actions come out (`FetchSnapshot`, `Gap`).
The one rule of what continues the book is `kernels.classify`. A snapshot that arrives while the book is live widens the
known depth without a gap: it is brought forward by the recent events, which it must join on to.
"""

from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from midas_ray.book import kernels as k
from midas_ray.book.events import DepthEvents
from midas_ray.book.ladder import NO_WINDOW, Ladder, Snapshot
from midas_ray.book.rows import RowSink
from midas_ray.book.scale import Scale

RECENT_MS = 30_000
"""How far back (exchange time) a snapshot may reach that widens a live book."""

BUFFER_MS = 60_000
"""How long (exchange time) events are buffered while waiting for a snapshot."""

REFETCH_MS = 10_000
"""Least exchange time between two snapshots asked for to widen the known depth."""

CHANGES_PER_CALL = 65_536
"""Most level changes that one call of the kernel takes (a single event may have more)."""

WINDOW_CHANGES = 4_096
"""A call with so many level changes is worth the window that it works on."""

THIN_SHARE = 0.2
"""A side is thin once fewer than this share of the snapshot's levels is still known."""

GapCause = Literal["venue", "network", "both-missed", "overrun", "disk", "down"]
StateName = Literal["live", "syncing", "gap"]
_STATE_NAMES: dict[int, StateName] = {k.LIVE: "live", k.SYNCING: "syncing", k.IN_GAP: "gap", k.NO_ROWS: "syncing"}


@dataclass(frozen=True, slots=True)
class FetchSnapshot:
    """Ask the venue for a snapshot. reason: `start`, `gap`, `too-old` or `thin` (the book stays live)."""

    reason: Literal["start", "gap", "too-old", "thin"]


@dataclass(frozen=True, slots=True)
class Gap:
    """A stream is unknown in (start_ms, end_ms] of exchange time. end_ms None: not recovered so far."""

    start_ms: int
    end_ms: int | None
    cause: GapCause
    expected_id: int | None
    found_id: int | None
    first_recv_ns: int | None


@dataclass(frozen=True, slots=True)
class Divergence:
    """A snapshot contradicts the live book at the same update id; the snapshot was taken over."""

    clock_ms: int
    last_id: int


Action = FetchSnapshot | Gap | Divergence


@dataclass(slots=True)
class _OpenGap:
    start_ms: int
    cause: GapCause
    expected_id: int
    found_id: int | None = None
    first_recv_ns: int | None = None


@dataclass(slots=True)
class _Span:
    """Events [first, stop) of a table."""

    events: DepthEvents
    first: int
    stop: int

    def running_ms(self, before_ms: int) -> npt.NDArray[np.int64]:
        """Exchange times as the running maximum, after events that have reached `before_ms`: the venue's clock may
        step back, and how events are cut into spans must not show."""
        times = self.events.table[self.first : self.stop, k.DEPTH_MS]
        return np.maximum(np.maximum.accumulate(times), before_ms)


class BookSync:
    """The book of one symbol and its state.

    sink: where grid rows go; None in live use. Actions of each call are returned in order.
    `finished` is True once the exchange clock has passed the sink's end: nothing more is written.
    """

    def __init__(self, sink: RowSink | None = None, scale: Scale | None = None) -> None:
        self.sink = sink
        self.scale = scale or Scale()
        self.ladder = Ladder()
        self.finished = False
        self.state = np.zeros(k.STATE_SIZE, np.int64)
        self.state[k.STATE] = k.NO_ROWS
        self._ofi = np.zeros(k.OFI_LEVELS, np.int64)
        self._ofi_known = np.full(1, k.OFI_LEVELS, np.int64)
        self._anchored = False
        self._buffer: deque[_Span] = deque()
        self._recent: deque[_Span] = deque()
        self._pending: Snapshot | None = None
        self._gap: _OpenGap | None = None
        self._blame: GapCause = "venue"
        self._seen_ms = 0
        self._asked_ms: int | None = None
        self._snapshot_levels = np.zeros(2, np.int64)

    @property
    def live(self) -> bool:
        return bool(self.state[k.STATE] == k.LIVE)

    @property
    def anchored(self) -> bool:
        """Whether there is a book that events are judged by; it waits for a snapshot otherwise."""
        return self._anchored

    @property
    def state_name(self) -> StateName:
        return _STATE_NAMES[int(self.state[k.STATE])]

    @property
    def last_id(self) -> int:
        """Update id of the last applied event or snapshot."""
        return int(self.state[k.LAST_ID])

    @property
    def clock_ms(self) -> int:
        """Exchange time of the last applied event: the running maximum along the chain."""
        return int(self.state[k.CLOCK_MS])

    @property
    def knows_until_ms(self) -> int:
        """Up to where rows are written once no more event comes before; without end while no collector runs."""
        return 2**62 if self.state[k.STATE] == k.NO_ROWS else max(self.clock_ms, self._seen_ms)

    def opened(self) -> list[Action]:
        """A collector starts: whatever was known before is not continued."""
        self._write_unlive_rows()
        actions = self._end_gap_of_the_last_run()
        self.state[k.STATE] = k.NO_ROWS
        self._anchored = False
        self._blame = "venue"
        self._buffer.clear()
        self.barrier()
        return [*actions, FetchSnapshot("start")]

    def abandoned(self) -> list[Action]:
        """Nothing that arrives continues the book or its snapshot any more (the venue's ids went back): begin anew."""
        self._write_unlive_rows()
        if self.live:
            self._gap = _OpenGap(self.clock_ms, self._blame, self.last_id)
            self.state[k.STATE] = k.IN_GAP
        self._anchored = False
        self._buffer.clear()
        self.barrier()
        return [FetchSnapshot("gap")]

    def blame(self, cause: GapCause) -> None:
        """Events may be missing from here on: a gap that shows at the next ones is of this cause."""
        self._blame = cause

    def barrier(self) -> None:
        """A file ends here: what is read from the next one alone must come to the same book."""
        self._recent.clear()
        self._pending = None

    def depth(self, events: DepthEvents, first: int = 0, stop: int | None = None) -> list[Action]:
        """Depth events [first, stop) in order of arrival."""
        return self._run(_Span(events, first, len(events) if stop is None else stop))

    def snapshot(self, snapshot: Snapshot) -> list[Action]:
        """A REST snapshot has arrived. One that is older than the snapshot the book waits with is left alone."""
        if self._anchored and not self.live and snapshot.last_id < self.last_id:
            return []
        if self.live:
            self._pending = snapshot
            self._asked_ms = self.clock_ms
            return self._widen()
        # Before the snapshot's id takes the place of the last one applied.
        self._write_unlive_rows(self._first_after_ms(snapshot.last_id))
        self._anchor(snapshot)
        waiting, self._buffer = self._buffer, deque()
        newest, reached_ms = self._seen_ms, 0
        actions: list[Action] = []
        for span in waiting:
            times = span.running_ms(reached_ms)
            reached_ms = int(times[-1])
            kept = np.flatnonzero(times >= newest - BUFFER_MS)
            if len(kept):
                actions += self._run(_Span(span.events, span.first + int(kept[0]), span.stop))
        return actions

    def load_book(self, snapshot: Snapshot, clock_ms: int) -> list[Action]:
        """The full book that heads a file. Continues a live book of the same id; else the book starts here."""
        self.barrier()
        if self.live and self.last_id >= snapshot.last_id:
            return []
        self._write_unlive_rows()
        gap = self._gap
        if self.live:
            gap = _OpenGap(self.clock_ms, self._run_end_cause, self.last_id)
        self._anchor(snapshot)
        self._buffer.clear()
        self.state[k.CLOCK_MS] = max(clock_ms, self.clock_ms)
        self.state[k.STATE] = k.LIVE
        self._reset_interval()
        self._gap = None
        if gap is None:
            return []
        return [Gap(gap.start_ms, clock_ms, gap.cause, gap.expected_id, snapshot.last_id, gap.first_recv_ns)]

    def finish(self) -> list[Action]:
        """The data end here: write the rows of an unfinished gap and report it as not recovered."""
        self._write_unlive_rows()
        if self.live or self._gap is None:
            return []
        gap = self._gap
        return [Gap(gap.start_ms, None, gap.cause, gap.expected_id, gap.found_id, gap.first_recv_ns)]

    def lost(self, cause: GapCause) -> Gap:
        """The live book's own end as a gap: its stream was lost, and other data go on."""
        return Gap(self.clock_ms, None, cause, self.last_id, None, None)

    def rescale(self, scale: Scale) -> None:
        """Go over to a wider decimal scale; rows written so far are handed on at the old one.

        Raises ValueError, nothing changed, where the book would not fit 64 bits.
        """
        old = self.scale
        self.ladder.check_fits(old, scale)
        if self.sink is not None:
            self.sink.flush()
        self.scale = scale
        self.ladder.rescale(old, scale)
        self._ofi *= 10 ** (scale.sz_decimals - old.sz_decimals)
        for spans in (self._buffer, self._recent):
            for span in spans:
                span.events = span.events.rescaled(old, scale)
        if self._pending is not None:
            self._pending = self._pending.rescaled(old, scale)

    @property
    def _run_end_cause(self) -> GapCause:
        """Why a live book ends where a file begins anew: its collector stopped, or its last lines are damaged."""
        return "disk" if self._blame == "disk" else "down"

    def _end_gap_of_the_last_run(self) -> list[Action]:
        """From the last event on that the earlier collector saw, the gap is `down`, whatever it was before."""
        gap, seen_ms = self._gap, max(self._seen_ms, self.clock_ms)
        if self.live:
            self._gap = _OpenGap(self.clock_ms, self._run_end_cause, self.last_id)
        elif gap is not None and gap.cause != "down":
            self._gap = _OpenGap(seen_ms, "down", gap.expected_id)
            if seen_ms > gap.start_ms:
                return [Gap(gap.start_ms, seen_ms, gap.cause, gap.expected_id, gap.found_id, gap.first_recv_ns)]
        return []

    def _anchor(self, snapshot: Snapshot) -> None:
        self.ladder.load(snapshot)
        self._snapshot_levels[:] = self.ladder.counts
        self.state[k.LAST_ID] = snapshot.last_id
        self._anchored = True

    def _reset_interval(self) -> None:
        """The running interval's sums are not known from its start."""
        self.state[k.N_UPDATES] = 0
        self.state[k.OFI_VALID] = 0
        self._ofi[:] = 0
        self._ofi_known[0] = k.OFI_LEVELS
        if self.sink is not None:
            step_ms = self.sink.step_ms
            self.state[k.NEXT_ROW_MS] = (self.clock_ms // step_ms + 1) * step_ms

    def _run(self, span: _Span) -> list[Action]:
        actions: list[Action] = []
        first, stop, table = span.first, span.stop, span.events.table
        while first < stop and not self.finished:
            if not self._anchored:
                self._buffer_up(_Span(span.events, first, stop))
                break
            until = stop
            if not self.live:
                self._see(table, first, first + 1)
                until = first + 1
            elif self._pending is not None:
                crossing = np.flatnonzero(table[first:stop, k.DEPTH_LAST_ID] >= self._pending.last_id)
                until = first + int(crossing[0]) + 1 if len(crossing) else stop
            was_live, last_id = self.live, self.last_id
            why, reached = self._replay(span.events, first, until)
            if was_live or self.live:
                self._remember(_Span(span.events, first, reached))
            if self.live and not was_live:
                actions += self._recovered()
            if self.last_id != last_id:
                self._blame = "venue"  # the chain went on over the break
            first = reached
            if why == k.PAST_THE_END:
                self.finished = True
            elif why == k.GAP_FOUND:
                actions += self._lost(table, reached)
            elif self.live:
                actions += self._widen()
        return actions

    def _replay(self, events: DepthEvents, first: int, until: int) -> tuple[int, int]:
        """Run the kernel, emptying the sink as often as it fills up. Gives (why, next event)."""
        ladder, sink, ends = self.ladder, self.sink or _NO_ROWS, events.table[:, k.DEPTH_LEVELS_END]
        while True:
            start = 0 if first == 0 else int(ends[first - 1])
            # Room for every change of a call is needed beforehand: short calls keep the book's arrays small.
            stop = min(until, max(first + 1, int(np.searchsorted(ends, start + CHANGES_PER_CALL, side="right"))))
            changes = int(ends[stop - 1]) - start
            ladder.reserve(changes)
            why, first, sink.n_rows = k.replay(
                *(events.table, first, stop, events.keys, events.sides, events.sizes),
                *(self.state, ladder.keys, ladder.sizes, ladder.counts, ladder.known),
                *(ladder.top_keys, ladder.top_sizes, ladder.top_known),
                *(ladder.window() if changes >= WINDOW_CHANGES else NO_WINDOW),
                *(self._ofi, self._ofi_known, sink.step_ms, sink.first_ms, sink.last_ms),
                *(sink.ints, sink.keys, sink.sizes, sink.known, sink.ofi, sink.n_rows),
            )
            if why == k.ROWS_FULL:
                sink.flush()
            elif why != k.END_OF_EVENTS or first >= until:
                return int(why), int(first)

    def _first_after_ms(self, last_id: int) -> int:
        """Exchange time of the first waiting event that may go on from `last_id`; of the last one seen if none may."""
        reached_ms = 0
        for span in self._buffer:
            table, times = span.events.table[span.first : span.stop], span.running_ms(reached_ms)
            reached_ms = int(times[-1])
            after = np.flatnonzero((table[:, k.DEPTH_LAST_ID] >= last_id) & (times >= self._seen_ms - BUFFER_MS))
            if len(after):
                return min(self._seen_ms, int(table[after[0], k.DEPTH_MS]))
        return self._seen_ms

    def _write_unlive_rows(self, until_ms: int | None = None) -> None:
        """Rows of a gap up to `until_ms`, at most and by default up to the last event seen in it."""
        until_ms = self._seen_ms if until_ms is None else until_ms
        if self.live or self.sink is None or until_ms <= self.clock_ms:
            return
        ladder, sink, finished = self.ladder, self.sink, False
        while not finished:
            sink.n_rows, finished = k.emit_rows(
                *(until_ms, sink.step_ms, sink.first_ms, sink.last_ms),
                *(self.state, ladder.top_keys, ladder.top_sizes, ladder.top_known, self._ofi, self._ofi_known),
                *(sink.ints, sink.keys, sink.sizes, sink.known, sink.ofi, sink.n_rows),
            )
            if not finished:
                sink.flush()

    def _see(self, table: np.ndarray, first: int, stop: int) -> None:
        """Note events that are not applied yet: from the first one seen after a start, rows say `syncing`."""
        first_ms = int(table[first, k.DEPTH_MS])
        if self.state[k.STATE] == k.NO_ROWS:
            self.state[k.STATE] = k.SYNCING
            self.state[k.N_UPDATES] = 0  # those of the run before are not of this row
            if self.sink is not None:
                step_ms = self.sink.step_ms
                self.state[k.NEXT_ROW_MS] = max(
                    (first_ms // step_ms + 1) * step_ms, (self.clock_ms // step_ms + 1) * step_ms
                )
        self._seen_ms = max(self._seen_ms, int(table[first:stop, k.DEPTH_MS].max()))

    def _buffer_up(self, span: _Span) -> None:
        self._see(span.events.table, span.first, span.stop)
        self._buffer.append(span)
        _forget_before(self._buffer, self._seen_ms - BUFFER_MS)

    def _remember(self, span: _Span) -> None:
        if span.stop > span.first:
            self._recent.append(span)
            _forget_before(self._recent, self.clock_ms - RECENT_MS)

    def _recovered(self) -> list[Action]:
        gap, self._gap = self._gap, None
        self._blame = "venue"
        if gap is None:
            return []
        return [Gap(gap.start_ms, self.clock_ms, gap.cause, gap.expected_id, gap.found_id, gap.first_recv_ns)]

    def _lost(self, table: np.ndarray, at: int) -> list[Action]:
        """Event `at` does not continue the book: a gap, or a snapshot older than all that is buffered."""
        self._anchored = False
        self.barrier()
        if not self.live:
            return [FetchSnapshot("too-old")]
        self._gap = _OpenGap(
            self.clock_ms,
            self._blame,
            self.last_id,
            int(table[at, k.DEPTH_PREV_ID]),
            int(table[at, k.DEPTH_RECV_NS]),
        )
        self.state[k.STATE] = k.IN_GAP
        return [FetchSnapshot("gap")]

    def _widen(self) -> list[Action]:
        """Take over a pending snapshot once the book has reached it; ask for one where a side grows thin."""
        pending = self._pending
        if pending is not None and self.last_id >= pending.last_id:
            self._pending = None
            return self._take_over(pending)
        if (
            pending is None
            and self._is_thin()
            and (self._asked_ms is None or self.clock_ms - self._asked_ms >= REFETCH_MS)
        ):
            self._asked_ms = self.clock_ms
            return [FetchSnapshot("thin")]
        return []

    def _is_thin(self) -> bool:
        for side in range(2):
            if self.ladder.known[side] == k.LOWEST_KEY:
                continue
            keys, _ = self.ladder.side(side)
            still_known = len(keys) - int(np.searchsorted(keys, self.ladder.known[side]))
            if still_known < THIN_SHARE * self._snapshot_levels[side]:
                return True
        return False

    def _take_over(self, snapshot: Snapshot) -> list[Action]:
        """Bring the snapshot forward by the recent events and merge it into the book. An old one is left alone."""
        newer = Ladder()
        newer.load(snapshot)
        last_id, reached_ms = snapshot.last_id, 0
        for span in self._recent:
            table, times = span.events.table, span.running_ms(reached_ms)
            reached_ms = int(times[-1])
            for at in range(span.first + int(np.searchsorted(times, self.clock_ms - RECENT_MS)), span.stop):
                action = k.classify(last_id, table[at, k.DEPTH_LAST_ID], table[at, k.DEPTH_PREV_ID])
                if action == k.GAP:
                    return []
                if action == k.APPLY:
                    newer.apply(span.events, at, at + 1)
                    last_id = int(table[at, k.DEPTH_LAST_ID])
        if last_id != self.last_id:
            return []
        agree = self.ladder.merge(newer)
        self._snapshot_levels[:] = newer.counts
        return [] if agree else [Divergence(self.clock_ms, self.last_id)]


def _forget_before(spans: deque[_Span], ms: int) -> None:
    while len(spans) > 1 and spans[0].events.table[spans[0].first : spans[0].stop, k.DEPTH_MS].max() < ms:
        spans.popleft()


_NO_ROWS = RowSink(step_ms=0, first_ms=0, last_ms=2**62, depth=1, on_chunk=lambda _chunk: None, capacity=1)
