"""One symbol's simulated history: market, journal's kernel, snapshots and files in step."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from midas_ray.capture import journal
from midas_ray.settings import StreamSettings
from midas_ray.simulate import journal_kernel as lines
from midas_ray.simulate import market_kernel as kernel
from midas_ray.simulate.collector_book import SNAPSHOT_LIMIT, CollectorBook
from midas_ray.simulate.journal_sink import JournalSink
from midas_ray.simulate.journal_tables import STREAMS, make_segment, make_tables, make_writer
from midas_ray.simulate.market import BookSnapshot, Market, seed_of
from midas_ray.simulate.rest import snapshot_body
from midas_ray.simulate.symbols import spec_of
from midas_ray.simulate.truth import TruthWriter, write_truth
from midas_ray.simulate.wire import Wire
from midas_ray.storage import Storage
from midas_ray.venues import Venue

HOUR_NS = 3600 * 10**9
SPAN_US = 10_000_000
"""How far a market runs before its log is written out."""
FIRST_SNAPSHOT_US = 550_000
"""When the first snapshot is taken: in the middle of a depth message."""
ANSWER_NS = 350_000_000
"""From taking a snapshot to its arrival: some depth messages are buffered meanwhile."""
REQUEST_NS = 20_000_000
BUFFER_BYTES = 1 << 20
MONO_START_NS = 10**12


@dataclass(frozen=True, slots=True)
class _Delivery:
    """A snapshot on its way to the collector; `changes` gathers what happens meanwhile."""

    book: BookSnapshot
    taken_us: int
    recv_ns: int
    changes: list[kernel.Ints]


class SymbolHistory:
    """Writes one symbol's journal and truth from `start_ns` to `end_ns` (receive time, UTC). Files grow in `folder`."""

    def __init__(
        self, storage: Storage, folder: Path, venue: Venue, symbol: str, seed: int, start_ns: int, end_ns: int,
        *, level_changes: float, compression_level: int, max_bytes: int,
    ) -> None:  # fmt: skip
        self._storage, self._venue, self._max_bytes, self._end_ns = storage, venue, max_bytes, end_ns
        spot, spec = not venue.has_previous_id, spec_of(symbol)
        self._now_us = start_ns // 1000
        self._until_us = self._now_us + FIRST_SNAPSHOT_US
        self._market = Market(spec, seed, self._now_us, futures=not spot, level_changes=level_changes)
        self._wire = Wire(spec, spot)
        self._tables = make_tables(self._wire, symbol)
        self._writer = make_writer(self._wire, BUFFER_BYTES)
        self._ints = self._writer.ints
        self._prepare_writer(start_ns, seed_of(seed, symbol, "latency") >> 1)
        self._truth = TruthWriter(venue.name, spec, self._now_us, end_ns // 1000)
        self._book = CollectorBook(self._writer.book, (spec.start_ticks - 1, spec.start_ticks))
        self._segment: lines.Segment | None = None
        self._delivery: _Delivery | None = None
        self._hour = start_ns // HOUR_NS
        self.sink = JournalSink(storage, folder, venue.name, symbol, compression_level)

    def _prepare_writer(self, start_ns: int, seed: int) -> None:
        ints, values = self._ints, self._writer.values
        start_ms = start_ns // 10**6
        ints[lines.SEED] = seed
        ints[lines.LAST_RECV_NS] = start_ns
        ints[lines.MONO_OFFSET_NS] = start_ns - MONO_START_NS
        ints[lines.NEXT_KLINE_MS] = (start_ms // lines.KLINE_MS + 1) * lines.KLINE_MS
        ints[lines.NEXT_MARK_MS] = (start_ms // 1000 + 1) * 1000
        ints[lines.PREVIOUS_ID] = self._market.snapshot(1).last_update_id
        ints[lines.LAST_TRADE_ID] = -1
        values[lines.B_START] = start_ms // lines.MINUTE_MS * lines.MINUTE_MS
        for field in (lines.B_OPEN, lines.B_HIGH, lines.B_LOW, lines.B_CLOSE):
            values[field] = self._market.spec.start_ticks
        values[lines.B_FIRST] = values[lines.B_LAST] = -1

    @property
    def messages(self) -> int:
        """Frames and REST answers written so far."""
        return int(self._ints[lines.LINES])

    @property
    def level_changes(self) -> int:
        """Level changes in the depth messages written so far."""
        return int(self._ints[lines.LEVELS])

    def write(self, on_hour: Callable[[], None]) -> None:
        """Write everything; `on_hour` is called after each hour. Raises StorageError; nothing unfinished stays."""
        try:
            self._write_opening()
            while self._write_some(on_hour):
                pass
            self.sink.close()
        except BaseException:
            self.sink.abandon()
            raise

    def _write_some(self, on_hour: Callable[[], None]) -> bool:
        """Write up to the next thing that stops the kernel and deal with that; false at the end of history."""
        if self._segment is None:
            self._segment = self._next_segment()
        limit_ns = min((self._hour + 1) * HOUR_NS, self._end_ns)
        if self._delivery is not None:
            limit_ns = min(limit_ns, self._delivery.recv_ns)
        why = lines.write_lines(self._writer, self._tables, self._segment, limit_ns)
        if why == lines.END_OF_LOG:
            self._segment = None
            return True
        self._drain()
        if why == lines.BUFFER_FULL:
            if self.sink.is_larger(self._max_bytes):
                self._rotate(int(self._ints[lines.LAST_RECV_NS]) + 500)
        elif self._delivery is not None and limit_ns == self._delivery.recv_ns:
            self._deliver(self._delivery)
        elif limit_ns == self._end_ns:
            self._event(self._end_ns, "collector", "shutdown", reason="end of history")
            on_hour()
            return False
        else:
            self._rotate(int(self._ints[lines.NEXT_RECV_NS]))
            on_hour()
        return True

    def _next_segment(self) -> lines.Segment:
        """Run the market on to the end of the span, or as far as its log holds."""
        if self._now_us == self._until_us:
            # Only at a span's end is the market where the clock is, so that a snapshot belongs to its time.
            if self._delivery is None and (not self._book.live or self._book.is_thin()):
                self._delivery = self._take_snapshot()
            self._until_us += SPAN_US
        log, done = self._market.advance(self._until_us)
        if done:
            self._now_us = self._until_us
        if len(log.steps):
            self._book.best = (int(log.steps[-1, kernel.S_TOP]), int(log.steps[-1, kernel.S_TOP_ASK]))
        if self._delivery is not None:
            self._delivery.changes.append(log.changes.copy())
        self._truth.add(log)
        hour = self._truth.take_hour(self._now_us)
        if hour:
            self.sink.submit(write_truth, self._storage, hour)
        return make_segment(log)

    def _take_snapshot(self) -> _Delivery:
        """A snapshot of the true book now; its id lies somewhere before the next change's."""
        book = self._market.snapshot(SNAPSHOT_LIMIT, id_share=self._now_us // 1000 % 997 / 997)
        return _Delivery(book, self._now_us, self._now_us * 1000 + ANSWER_NS, [])

    def _deliver(self, delivery: _Delivery) -> None:
        """Write the snapshot's line and let the collector's book take it over."""
        self._book.take_over(delivery.book, np.concatenate(delivery.changes), int(self._ints[lines.PREVIOUS_ID]))
        self._delivery = None
        self._ints[lines.N] += 1
        self._ints[lines.LINES] += 1
        self._ints[lines.LAST_RECV_NS] = delivery.recv_ns
        line = journal.rest_line(
            delivery.recv_ns,
            self._mono_ns(delivery.recv_ns),
            "rest",
            int(self._ints[lines.N]),
            snapshot_body(self._wire, delivery.book, delivery.taken_us // 1000).encode(),
            status=200,
            sent_ns=delivery.taken_us * 1000 - REQUEST_NS,
            path=f"{self._venue.depth_path}?symbol={self._wire.name}&limit={SNAPSHOT_LIMIT}",
        )
        self.sink.put(line, delivery.recv_ns)

    def _write_opening(self) -> None:
        recv_ns = int(self._ints[lines.LAST_RECV_NS])
        self.sink.open(recv_ns)
        self._write_head(recv_ns)
        self._event(recv_ns, "collector", "open", simulated=True)
        # All flags are given: what history holds does not follow this machine's environment.
        collected = StreamSettings(
            enable_trades=True,
            enable_liquidations=True,
            enable_klines=True,
            enable_book_ticker=False,
            enable_mark_price=True,
            depth_speed_ms=100,
        )
        streams = self._venue.streams(self._market.spec.symbol, collected)
        for number, route in enumerate(dict.fromkeys(stream.route for stream in streams), 1):
            kinds = sorted(stream.kind for stream in streams if stream.route == route)
            self._event(recv_ns, f"a-{number}", "connect", streams=kinds, route=route)

    def _write_head(self, recv_ns: int) -> None:
        """First line of a file: the book once it is live, and what is known of the streams."""
        ints = self._ints
        seen = ints[lines.LAST_TRADE_ID] >= 0
        fields: dict[str, Any] = {
            "streams": sorted(kind for kind in STREAMS if kind in self._venue.kinds),
            "last_trade_id": int(ints[lines.LAST_TRADE_ID]) if seen else None,
            "last_trade_ms": int(ints[lines.LAST_TRADE_MS]) if seen else None,
        }
        if not self._book.live:
            self._event(recv_ns, "collector", "unsynced", **fields)
            return
        n = int(ints[lines.N])
        fields |= self._book.fields(self._wire, int(ints[lines.PREVIOUS_ID]), n, int(ints[lines.BOOK_MS]))
        self.sink.put(journal.book_line(recv_ns, self._mono_ns(recv_ns), n, fields), recv_ns)

    def _rotate(self, recv_ns: int) -> None:
        """End the file and begin the next, at the receive time of the next line."""
        self._event(recv_ns, "collector", "rotate")
        self.sink.open(recv_ns)
        self._hour = recv_ns // HOUR_NS
        self._write_head(recv_ns)

    def _mono_ns(self, recv_ns: int) -> int:
        return recv_ns - int(self._ints[lines.MONO_OFFSET_NS])

    def _event(self, recv_ns: int, connection: str, event: str, **fields: Any) -> None:
        n = int(self._ints[lines.N])
        line = journal.event_line(recv_ns, self._mono_ns(recv_ns), connection, n, event, **fields)
        self.sink.put(line, recv_ns)

    def _drain(self) -> None:
        """Hand the kernel's buffer on."""
        size = int(self._ints[lines.POSITION])
        self._ints[lines.POSITION] = 0
        if size:
            self.sink.put(self._writer.out[:size].tobytes(), int(self._ints[lines.LAST_RECV_NS]))
