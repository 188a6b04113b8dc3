"""Messages of archives through the recorder into raw journals; a chain of ids for those that hold none."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import get_args

import msgspec

from midas_ray.book import kernels as k
from midas_ray.book.ladder import ASK, BID
from midas_ray.capture.recorder import Recorder
from midas_ray.errors import DataError
from midas_ray.importers import wire
from midas_ray.importers.archive import (
    MOST_PAUSE_NS,
    ArchiveFormat,
    ArchiveMessage,
    ArchiveSurvey,
    BookChange,
    Message,
)
from midas_ray.importers.journals import CONNECTION, Outcome, SymbolCapture
from midas_ray.importers.merge import in_time_order, restarts_of
from midas_ray.importers.survey import SymbolSurvey
from midas_ray.importers.units import utc_text
from midas_ray.settings import Import
from midas_ray.venues.base import StreamKind, Venue
from midas_ray.venues.messages import Level

HOUR_NS = 3600 * 10**9

SNAPSHOT_LEVELS = 1000
"""Levels a side that a whole book in an archive is known to be complete for: the REST answer it was made of may have
been cut off there, and buffered changes that were merged into it may lie beyond."""

_decode_levels = msgspec.json.Decoder(list[Level]).decode


@dataclass(slots=True)
class ArchiveOutcome(Outcome):
    """frames: messages by kind. wholes: whole books. levels: the most levels a side that one of them was known for.

    crossed: how often the archive's changes led to a crossed book, which then was given up until the next whole one.
    """

    frames: Counter[str] = field(default_factory=Counter)
    crossed: int = 0
    wholes: int = 0
    levels: int = 0


@dataclass(slots=True)
class _Writer:
    """The journal of one symbol. last_id: of the chain; book_file, book_ns: its last change's file and time."""

    recorder: Recorder
    last_ns: int
    hour: int
    last_id: int = 0
    book_file: int | None = None
    book_ns: int = 0


@dataclass(slots=True)
class ArchiveJournals:
    """Writes the journals of all wanted symbols under root/<symbol>."""

    venue: Venue
    fmt: ArchiveFormat
    files: Sequence[ArchiveSurvey]
    wanted: dict[str, SymbolCapture]
    root: Path
    settings: Import
    outcomes: dict[str, ArchiveOutcome] = field(init=False)
    _writers: dict[str, _Writer] = field(init=False, default_factory=dict)
    _restarts: dict[str, set[int]] = field(init=False, default_factory=dict)
    _next_n: Callable[[], int] = field(init=False, default_factory=lambda: itertools.count(1).__next__)

    def __post_init__(self) -> None:
        self.outcomes = {symbol: ArchiveOutcome() for symbol in self.wanted}
        for symbol, capture in self.wanted.items():
            covered = {index: self._covered(index, symbol) for index in capture.files}
            self._restarts[symbol] = restarts_of(covered)

    def run(self, advance: Callable[[int], None]) -> int:
        """Import everything; gives the number of messages. advance(n) is told of each n done."""
        done = 0

        def opened(index: int) -> Iterator[ArchiveMessage]:
            return self.fmt.messages(self.files[index], self.venue)

        for done, (index, message) in enumerate(in_time_order([file.first_ns for file in self.files], opened), 1):
            if message.symbol in self.wanted:
                self._record(index, message)
            if done % 2000 == 0:
                advance(2000)
        advance(done % 2000)
        for symbol in list(self._writers):
            self._close(symbol)
        return done

    def _frame(self, writer: _Writer, recv_ns: int, payload: bytes) -> None:
        """Record a message. Raises DataError where no decoder takes it: one of its columns is wrong then."""
        writer.recorder.frame(recv_ns, None, CONNECTION, payload)
        if writer.recorder.counters.undecodable:
            shown = payload[:300].decode("utf-8", "replace")
            raise DataError(
                f"{writer.recorder.symbol}: expected numbers and ids that a book takes, found {shown} received at "
                f"{utc_text(recv_ns)} UTC; correct the file"
            )

    def _covered(self, index: int, symbol: str) -> SymbolSurvey:
        first_ns, last_ns = self.files[index].covered
        return replace(self.files[index].symbols[symbol], first_ns=first_ns, last_ns=last_ns)

    def _record(self, index: int, message: ArchiveMessage) -> None:
        symbol, recv_ns = message.symbol, message.recv_ns
        writer = self._writers.get(symbol)
        if writer is not None and index in self._restarts[symbol]:
            self._restarts[symbol].discard(index)
            self._close(symbol)
            writer = None
        if writer is None:
            writer = self._open(symbol, recv_ns)
        writer.last_ns = recv_ns
        if recv_ns // HOUR_NS > writer.hour:
            writer.hour = recv_ns // HOUR_NS
            writer.recorder.set_streams(self._streams(symbol, writer.hour))
        if isinstance(message, Message):
            self._frame(writer, recv_ns, message.payload)
        elif message.is_whole:
            self._whole(writer, index, message)
        else:
            self._change(writer, index, message)

    def _streams(self, symbol: str, hour: int) -> list[StreamKind]:
        """Kinds that some file is about in an hour since the epoch."""
        first_ns, last_ns = hour * HOUR_NS, (hour + 1) * HOUR_NS - 1
        files = [self.files[index] for index in self.wanted[symbol].files]
        near = [file for file in files if file.covered[0] <= last_ns and file.covered[1] >= first_ns]
        return [kind for kind in get_args(StreamKind) if any(file.symbols[symbol].kinds[kind] for file in near)]

    def _open(self, symbol: str, recv_ns: int) -> _Writer:
        hour = recv_ns // HOUR_NS
        recorder = Recorder(
            self.venue,
            symbol,
            self.root / symbol,
            next_n=self._next_n,
            streams=self._streams(symbol, hour),
            max_bytes=self.settings.journal_max_mb * 2**20,
            level=self.settings.compression_level,
        )
        names = [self.files[index].path.name for index in self.wanted[symbol].files]
        recorder.open(
            recv_ns, None, imported_from=self.fmt.name, files=names, payloads="rebuilt", absent=list(self.fmt.lacks)
        )
        self.outcomes[symbol].runs += 1
        writer = self._writers[symbol] = _Writer(recorder, recv_ns, hour)
        return writer

    def _close(self, symbol: str) -> None:
        writer, outcome = self._writers.pop(symbol), self.outcomes[symbol]
        recorder = writer.recorder
        recorder.close(writer.last_ns, None, "end of the archive")
        outcome.frames += Counter(recorder.counters.frames)
        outcome.gaps += recorder.counters.resyncs
        outcome.divergences += recorder.counters.divergences
        outcome.ever_live |= recorder.book.clock_ms > 0

    def _change(self, writer: _Writer, index: int, change: BookChange) -> None:
        recorder, recv_ns = writer.recorder, change.recv_ns
        if index != writer.book_file and not self._goes_on(writer, recv_ns):
            self._give_up(writer, recv_ns, "a file that does not go on from the one before")
        writer.book_file, writer.book_ns = index, recv_ns
        previous_id = writer.last_id or recv_ns // 1000 - 1
        writer.last_id = max(previous_id + 1, recv_ns // 1000)
        ids = (previous_id + 1, writer.last_id, previous_id)
        payload = wire.depth(self.venue, change.symbol, change.exchange_ms, ids, change.bids, change.asks)
        self._frame(writer, recv_ns, payload)
        if recorder.book.live and _is_crossed(recorder):
            self.outcomes[change.symbol].crossed += 1
            recorder.abandon(recv_ns, None, "the archive's changes lead to a crossed book")

    def _goes_on(self, writer: _Writer, recv_ns: int) -> bool:
        if writer.book_file is None:
            return True
        return self.fmt.files_join == "where close" and abs(recv_ns - writer.book_ns) <= MOST_PAUSE_NS

    def _give_up(self, writer: _Writer, recv_ns: int, reason: str) -> None:
        """What comes next may not continue the book."""
        if writer.recorder.book.anchored:
            writer.recorder.event(recv_ns, None, CONNECTION, "disconnect", streams=["depth"])
            writer.recorder.abandon(recv_ns, None, reason)

    def _whole(self, writer: _Writer, index: int, change: BookChange) -> None:
        """A whole book: it stands after a break, else the archive would go on with changes."""
        recv_ns, outcome = change.recv_ns, self.outcomes[change.symbol]
        self._give_up(writer, recv_ns, "the archive begins the book anew")
        writer.book_file, writer.book_ns = index, recv_ns
        if not change.bids and not change.asks:
            return
        writer.last_id = max(writer.last_id + 1, recv_ns // 1000)
        (bids, known_bids), (asks, known_asks) = _known(change.bids, -1), _known(change.asks, 1)
        limit = min((count for count in (known_bids, known_asks) if count is not None), default=None)
        path = f"{self.venue.depth_path}?symbol={change.symbol.upper()}"
        path += f"&limit={max(len(bids), len(asks)) + 1 if limit is None else limit}"
        levels = (msgspec.json.encode(side)[1:-1].decode() for side in (bids, asks))
        payload = wire.snapshot(writer.last_id, change.exchange_ms, *levels)
        writer.recorder.rest(recv_ns, None, CONNECTION, payload, status=200, sent_ns=recv_ns, path=path)
        outcome.wholes += 1
        outcome.levels = max(outcome.levels, len(bids), len(asks))


def _known(levels_json: str, sign: int) -> tuple[list[Level], int | None]:
    """(levels that a side is complete for, best first; how many these are, None where the whole side is known)."""
    by_px = {sign * Decimal(level[0]): level for level in _decode_levels(f"[{levels_json}]".encode())}
    kept = [by_px[px] for px in sorted(by_px)[:SNAPSHOT_LEVELS] if Decimal(by_px[px][1]) > 0]
    return kept, None if len(by_px) < SNAPSHOT_LEVELS else len(kept)


def _is_crossed(recorder: Recorder) -> bool:
    bid, ask = recorder.book.ladder.top_keys[BID, 0], recorder.book.ladder.top_keys[ASK, 0]
    return bool(bid != k.LOWEST_KEY and ask != k.LOWEST_KEY and bid >= -ask)
