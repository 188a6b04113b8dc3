"""Raw history of simulated markets, as a live collector would have written it, far faster than real time."""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from midas_ray.capture import journal
from midas_ray.errors import UsageError
from midas_ray.settings import StreamSettings
from midas_ray.simulate import journal_kernel as lines
from midas_ray.simulate import market_kernel as kernel
from midas_ray.simulate.journal_tables import STREAMS, make_segment, make_tables, make_writer
from midas_ray.simulate.market import BookSnapshot, Market, seed_of
from midas_ray.simulate.rest import snapshot_body
from midas_ray.simulate.symbols import spec_of
from midas_ray.simulate.truth import TruthWriter, write_truth
from midas_ray.simulate.wire import Format, Wire
from midas_ray.storage import Storage
from midas_ray.venues import Venue, get_venue

HOUR_NS = 3600 * 10**9
SPAN_US = 10_000_000
"""How far a market runs before its log is written out."""
FIRST_SNAPSHOT_US = 550_000
"""When the first snapshot is taken: in the middle of a depth message."""
ANSWER_NS = 350_000_000
"""From taking a snapshot to its arrival: some depth messages are buffered meanwhile."""
SNAPSHOT_LIMIT = 1000
THIN_SHARE = 0.2
"""A snapshot is fetched anew once a side knows fewer than this share of its levels, as the live collector does."""
BUFFER_BYTES = 1 << 20
MOST_PENDING_BLOCKS = 8
MONO_START_NS = 10**12


@dataclass(frozen=True, slots=True)
class HistorySummary:
    """What was written. json_bytes before, file_bytes after compression."""

    symbols: int
    seconds: float
    messages: int
    level_changes: int
    json_bytes: int
    file_bytes: int
    elapsed_s: float

    @property
    def times_real_time(self) -> float:
        """Symbol-seconds of history per second of work."""
        return self.symbols * self.seconds / self.elapsed_s

    def __str__(self) -> str:
        return (
            f"{self.messages:,} messages, {self.level_changes:,} level changes, {self.json_bytes / 1e6:,.0f} MB of "
            f"JSON in {self.file_bytes / 1e6:,.0f} MB, {self.elapsed_s:.1f} s: "
            f"{self.times_real_time:,.0f} x real time"
        )


@dataclass(frozen=True, slots=True)
class _Delivery:
    """A snapshot on its way to the collector."""

    book: BookSnapshot
    sent_us: int
    recv_ns: int
    first: bool


class SymbolHistory:
    """Writes one symbol's journal and truth from `start_ns` to `end_ns` (receive time, UTC)."""

    def __init__(
        self, storage: Storage, venue: Venue, symbol: str, seed: int, start_ns: int, end_ns: int,
        *, level_changes: float, compression_level: int, max_bytes: int,
    ) -> None:  # fmt: skip
        self._storage, self._venue = storage, venue
        self._root: Path = storage.local_path()
        self._level, self._max_bytes = compression_level, max_bytes
        self._end_ns = end_ns
        spot = not venue.has_previous_id
        self._now_us = start_ns // 1000
        spec = spec_of(symbol)
        self._market = Market(spec, seed, self._now_us, futures=not spot, level_changes=level_changes)
        self._wire = Wire(spec, spot)
        self._tables = make_tables(self._wire, symbol)
        self._truth = TruthWriter(venue.name, spec, self._now_us, end_ns // 1000)
        self._writer = make_writer(self._wire, BUFFER_BYTES)
        self._prepare_writer(start_ns, seed_of(seed, symbol, "latency") >> 1)
        self._segment: lines.Segment | None = None
        self._best = (spec.start_ticks - 1, spec.start_ticks)
        self._known: list[int | None] = [None, None]
        self._snapshot_levels = [0, 0]
        self._delivery: _Delivery | None = None
        self._recent: list[kernel.Ints] = []
        self._file = self._open_file(start_ns)
        self._hour = start_ns // HOUR_NS
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="history")
        self._pending: deque[Future[Any]] = deque()
        self.json_bytes = 0
        self.file_bytes = 0

    def _prepare_writer(self, start_ns: int, seed: int) -> None:
        ints, values = self._writer.ints, self._writer.values
        start_ms = start_ns // 10**6
        ints[lines.SEED] = seed
        ints[lines.LAST_RECV_NS] = start_ns
        ints[lines.MONO_OFFSET_NS] = start_ns - MONO_START_NS
        ints[lines.NEXT_KLINE_MS] = (start_ms // lines.KLINE_MS + 1) * lines.KLINE_MS
        ints[lines.NEXT_MARK_MS] = (start_ms // 1000 + 1) * 1000
        ints[lines.PREVIOUS_ID] = self._market.snapshot(1).last_update_id
        ints[lines.LAST_TRADE_ID] = self._market.next_trade_id - 1
        ints[lines.LAST_TRADE_MS] = start_ms
        ints[lines.WINDOW] = 1
        values[lines.B_START] = start_ms // lines.MINUTE_MS * lines.MINUTE_MS
        for field in (lines.B_OPEN, lines.B_HIGH, lines.B_LOW, lines.B_CLOSE):
            values[field] = self._market.spec.start_ticks
        values[lines.B_FIRST] = values[lines.B_LAST] = -1

    @property
    def messages(self) -> int:
        return int(self._writer.ints[lines.LINES])

    @property
    def level_changes(self) -> int:
        return int(self._writer.ints[lines.LEVELS])

    def write(self, on_hour: Callable[[], None]) -> None:
        """Write everything; `on_hour` is called after each hour. Raises StorageError; nothing unfinished stays."""
        try:
            self._write_opening()
            while self._write_some(on_hour):
                pass
            self._wait_for_writes(0)
        except BaseException:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._file.discard()
            raise
        self._pool.shutdown()

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
            self._rotate_if_large()
        elif self._delivery is not None and limit_ns == self._delivery.recv_ns:
            self._deliver(self._delivery)
        elif limit_ns == self._end_ns:
            self._event(self._end_ns, "collector", "shutdown", reason="end of history")
            self._close_file()
            on_hour()
            return False
        else:
            self._rotate(int(self._writer.ints[lines.NEXT_RECV_NS]))
            on_hour()
        return True

    def _next_segment(self) -> lines.Segment:
        """Run the market on; a full log ends a span early."""
        if self._delivery is None and self._is_thin():
            self._ask_snapshot(first=False)
        until_us = self._now_us + (FIRST_SNAPSHOT_US if self._snapshot_levels == [0, 0] else SPAN_US)
        log, done = self._market.advance(until_us)
        if len(log.steps):
            self._best = (int(log.steps[-1, kernel.S_TOP]), int(log.steps[-1, kernel.S_TOP + 2 * kernel.TOP_LEVELS]))
        if done:
            self._now_us = until_us
        self._truth.add(log)
        if self._delivery is not None:
            self._recent.append(log.changes.copy())
        hour = self._truth.take_hour(self._now_us)
        if hour:
            self._submit(write_truth, self._storage, hour)
        if done and self._snapshot_levels == [0, 0]:
            self._recent.append(log.changes.copy())
            self._ask_snapshot(first=True)
        return make_segment(log)

    def _ask_snapshot(self, *, first: bool) -> None:
        """Take a snapshot now; it arrives a little later."""
        now_us = self._now_us
        share = (now_us % 997) / 997
        book = self._market.snapshot(SNAPSHOT_LIMIT, share)
        self._snapshot_levels = [len(book.bids), len(book.asks)]
        self._delivery = _Delivery(book, now_us, now_us * 1000 + ANSWER_NS, first)

    def _is_thin(self) -> bool:
        for side, known in enumerate(self._known):
            if known is None:
                continue
            low, high = sorted((known, self._best[side]))
            lots = self._writer.book[side, np.arange(low, high + 1) & kernel.MASK]
            if np.count_nonzero(lots) < THIN_SHARE * self._snapshot_levels[side]:
                return True
        return False

    def _deliver(self, delivery: _Delivery) -> None:
        """Write the snapshot's line and let the collector's book take it over, brought forward by what came since."""
        book, ints = delivery.book, self._writer.ints
        for side, levels in enumerate((book.bids, book.asks)):
            self._take_over(side, levels, delivery.first)
        sent_id = int(ints[lines.PREVIOUS_ID])
        for row in np.concatenate(self._recent).tolist():
            if book.last_update_id < row[kernel.C_ID] <= sent_id:
                self._writer.book[row[kernel.C_SIDE], row[kernel.C_TICK] & kernel.MASK] = row[kernel.C_LOTS]
        self._delivery, self._recent = None, []
        ints[lines.N] += 1
        ints[lines.LINES] += 1
        ints[lines.LAST_RECV_NS] = delivery.recv_ns
        self._put(
            journal.rest_line(
                delivery.recv_ns,
                self._mono_ns(delivery.recv_ns),
                "rest",
                int(ints[lines.N]),
                snapshot_body(self._wire, book, delivery.sent_us // 1000).encode(),
                status=200,
                sent_ns=delivery.sent_us * 1000 - 20_000_000,
                path=f"{self._venue.depth_path}?symbol={self._wire.name}&limit={SNAPSHOT_LIMIT}",
            ),
            delivery.recv_ns,
        )

    def _take_over(self, side: int, levels: kernel.Ints, first: bool) -> None:
        """Replace what the collector knows by the snapshot, as deep as that goes (wholly by the first one)."""
        book = self._writer.book
        worst, best = int(levels[-1, 0]), int(levels[0, 0])
        cut_off = len(levels) >= SNAPSHOT_LIMIT
        if first or not cut_off:
            book[side] = 0
        low, high = sorted((worst, best))
        book[side, np.arange(low, high + 1) & kernel.MASK] = 0
        book[side, levels[:, 0] & kernel.MASK] = levels[:, 1]
        known = self._known[side]
        if not cut_off:
            self._known[side] = None
        elif first:
            self._known[side] = worst
        elif known is not None:
            self._known[side] = min(known, worst) if side == kernel.BID else max(known, worst)

    def _book_fields(self) -> dict[str, Any]:
        """Body of a `book` line: the collector's whole book."""
        ints, wire = self._writer.ints, self._wire
        sides = []
        for side, direction in ((kernel.BID, -1), (kernel.ASK, 1)):
            # The ring is unrolled from a little inside the best price of the last step.
            start = self._best[side] - direction * kernel.EDGE_TICKS * 4
            ticks = start + direction * np.arange(kernel.WIDTH)
            lots = self._writer.book[side, ticks & kernel.MASK]
            used = np.flatnonzero(lots)
            sides.append(
                [
                    (wire.number(tick, Format.PX), wire.number(size, Format.SZ))
                    for tick, size in zip(ticks[used].tolist(), lots[used].tolist(), strict=True)
                ]
            )
        known = [None if tick is None else wire.number(tick, Format.PX) for tick in self._known]
        return {
            **self._head_fields(int(ints[lines.LAST_TRADE_ID]), int(ints[lines.LAST_TRADE_MS])),
            "last_update_id": int(ints[lines.PREVIOUS_ID]),
            "after_n": int(ints[lines.N]),
            "T": int(ints[lines.BOOK_MS]),
            "known_bid": known[kernel.BID],
            "known_ask": known[kernel.ASK],
            "bids": sides[kernel.BID],
            "asks": sides[kernel.ASK],
        }

    def _head_fields(self, last_trade_id: int | None, last_trade_ms: int | None) -> dict[str, Any]:
        """What the head of every file says of the streams."""
        kinds = [kind for kind in STREAMS if kind in self._venue.kinds]
        return {"streams": sorted(kinds), "last_trade_id": last_trade_id, "last_trade_ms": last_trade_ms}

    def _mono_ns(self, recv_ns: int) -> int:
        return recv_ns - int(self._writer.ints[lines.MONO_OFFSET_NS])

    def _event(self, recv_ns: int, connection: str, event: str, **fields: Any) -> None:
        n = int(self._writer.ints[lines.N])
        line = journal.event_line(recv_ns, self._mono_ns(recv_ns), connection, n, event, **fields)
        self._put(line, recv_ns)

    def _write_opening(self) -> None:
        recv_ns = int(self._writer.ints[lines.LAST_RECV_NS])
        self._event(recv_ns, "collector", "unsynced", **self._head_fields(None, None))
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
        endpoints = self._venue.endpoints(self._venue.streams(self._market.spec.symbol, collected))
        for number, endpoint in enumerate(endpoints, 1):
            kinds = sorted(stream.kind for stream in endpoint.streams)
            self._event(recv_ns, f"a-{number}", "connect", streams=kinds, url=endpoint.url)

    def _rotate(self, recv_ns: int) -> None:
        """End the file and begin the next with the book, at the receive time of the next line."""
        self._event(recv_ns, "collector", "rotate")
        self._close_file()
        self._wait_for_writes(0)
        self._file = self._open_file(recv_ns)
        self._hour = recv_ns // HOUR_NS
        n = int(self._writer.ints[lines.N])
        self._put(journal.book_line(recv_ns, self._mono_ns(recv_ns), n, self._book_fields()), recv_ns)

    def _rotate_if_large(self) -> None:
        if self._file.raw_bytes < self._max_bytes:
            return
        self._wait_for_writes(0)
        if self._file.bytes_written >= self._max_bytes and self._delivery is None:
            self._rotate(int(self._writer.ints[lines.LAST_RECV_NS]) + 500)

    def _open_file(self, recv_ns: int) -> journal.JournalFile:
        return journal.JournalFile(self._root, self._venue.name, self._market.spec.symbol, recv_ns, level=self._level)

    def _close_file(self) -> None:
        def close(file: journal.JournalFile) -> None:
            self.json_bytes += file.raw_bytes
            self.file_bytes += file.close().stat().st_size

        self._submit(close, self._file)

    def _drain(self) -> None:
        """Hand the buffer to the thread that compresses."""
        ints = self._writer.ints
        size = int(ints[lines.POSITION])
        ints[lines.POSITION] = 0
        if size:
            self._put(self._writer.out[:size].tobytes(), int(ints[lines.LAST_RECV_NS]))

    def _put(self, data: bytes, recv_ns: int) -> None:
        self._submit(self._file.write, data, recv_ns)

    def _submit(self, work: Callable[..., Any], *arguments: Any) -> None:
        self._pending.append(self._pool.submit(work, *arguments))
        self._wait_for_writes(MOST_PENDING_BLOCKS)

    def _wait_for_writes(self, most: int) -> None:
        while len(self._pending) > most:
            self._pending.popleft().result()


def check_free(storage: Storage, venue: str, symbols: tuple[str, ...], start_ns: int, end_ns: int) -> None:
    """Raises UsageError where the data folder already holds raw files of these symbols in this span."""
    first = datetime.fromtimestamp(start_ns / 1e9, UTC).date()
    last = (datetime.fromtimestamp(end_ns / 1e9, UTC) - timedelta(microseconds=1)).date()
    for partition in storage.partitions("raw"):
        if partition.venue == venue and partition.symbol in symbols and first <= partition.date <= last:
            raise UsageError(
                f"DATA_DIR {storage.data_dir}: expected no raw files of {partition.symbol} from {first} to {last}, "
                f"found some of {partition.date}; choose another --data-dir or --start"
            )


def write_history(
    data_dir: str, venue: str, symbols: tuple[str, ...], seed: int, start_ns: int, duration_s: float,
    *, level_changes: float = 20.0, compression_level: int = 3, max_bytes: int = 512 * 2**20,
    on_hour: Callable[[str], None] = lambda _symbol: None,
) -> HistorySummary:  # fmt: skip
    """Raw journals of `symbols` from `start_ns` (UTC ns) for `duration_s`, the truth beside them in `truth/`.

    level_changes: mean distinct level changes in 100 ms: 20 a thin market, 105 like BTC. on_hour: called with the
    symbol after each hour. The same arguments give the same bytes for a symbol, whatever symbols stand around it.
    Raises UsageError, StorageError.
    """
    storage = Storage(data_dir)
    storage.check_writable()
    end_ns = start_ns + int(duration_s * 1e9)
    check_free(storage, venue, symbols, start_ns, end_ns)
    began = time.perf_counter()
    messages = level_count = json_bytes = file_bytes = 0
    for symbol in symbols:
        history = SymbolHistory(
            storage, get_venue(venue), symbol, seed, start_ns, end_ns,
            level_changes=level_changes, compression_level=compression_level, max_bytes=max_bytes,
        )  # fmt: skip
        history.write(lambda symbol=symbol: on_hour(symbol))  # type: ignore[misc]
        messages += history.messages
        level_count += history.level_changes
        json_bytes += history.json_bytes
        file_bytes += history.file_bytes
    elapsed_s = time.perf_counter() - began
    return HistorySummary(len(symbols), duration_s, messages, level_count, json_bytes, file_bytes, elapsed_s)
