"""Surveyed captures through the recorder into raw journals, in a temporary folder until all is done."""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from midas_ray.capture.recorder import Recorder
from midas_ray.errors import DataError
from midas_ray.importers.entries import LineFormat, rest_path, rest_symbol
from midas_ray.importers.merge import merged, restarts
from midas_ray.importers.survey import FileSurvey, Frame
from midas_ray.settings import Import
from midas_ray.venues.base import StreamKind, Venue

CONNECTION = "import"


@dataclass(slots=True)
class SymbolCapture:
    """A symbol in all files together.

    files: the indices of those that hold it. owned: those whose unnamed snapshots are the symbol's.
    """

    symbol: str
    files: list[int] = field(default_factory=list)
    owned: set[int] = field(default_factory=set)
    kinds: Counter[str] = field(default_factory=Counter)
    snapshots: int = 0
    first_ns: int = 0
    last_ns: int = 0


@dataclass(slots=True)
class Outcome:
    """What the import of a symbol came to. runs: stretches between which nobody captured."""

    runs: int = 0
    gaps: int = 0
    divergences: int = 0
    undecodable: int = 0
    ever_live: bool = False
    out_of_order: int = 0
    """Lines received over a second before the one in front of them."""


def captures(files: Sequence[FileSurvey]) -> dict[str, SymbolCapture]:
    """What the files hold, by symbol. Raises DataError where a snapshot does not say whose it is."""
    found: dict[str, SymbolCapture] = {}
    symbols = sorted({symbol for file in files for symbol in file.symbols})
    for index, file in enumerate(files):
        for symbol, survey in file.symbols.items():
            each = found.setdefault(symbol, SymbolCapture(symbol, first_ns=survey.first_ns))
            each.files.append(index)
            each.kinds += survey.kinds
            each.snapshots += survey.snapshots
            each.first_ns = min(each.first_ns, survey.first_ns)
            each.last_ns = max(each.last_ns, survey.last_ns)
        if file.unnamed_snapshots:
            owner = found.setdefault(
                _owner(file, symbols), SymbolCapture(_owner(file, symbols), first_ns=file.first_ns)
            )
            if index not in owner.files:
                owner.files.append(index)
            owner.owned.add(index)
            owner.snapshots += file.unnamed_snapshots
    return dict(sorted(found.items()))


def _owner(file: FileSurvey, symbols: list[str]) -> str:
    """Symbol of the snapshots of a file that do not name it: the file's only one, else the one in its name."""
    candidates = list(file.symbols) or (symbols if len(symbols) == 1 else [])
    candidates = candidates or [symbol for symbol in symbols if symbol in file.path.name.lower()]
    if len(candidates) == 1:
        return candidates[0]
    raise DataError(
        f"{file.path}: expected depth snapshots of one symbol, found {len(candidates) or 'no'} symbols beside "
        f"{file.unnamed_snapshots} snapshots that do not name theirs; keep each symbol in its own file"
    )


def check_snapshots(capture: SymbolCapture) -> None:
    """Raises DataError where depth events have no snapshot to start from."""
    if capture.kinds["depth"] and not capture.snapshots:
        raise DataError(
            f"{capture.symbol}: expected a REST depth snapshot (lastUpdateId) beside {capture.kinds['depth']:,} depth "
            "events, found none, so that the book cannot start; add the file that holds it"
        )


OUT_OF_ORDER_NS = 1_000_000_000
"""A line received so much earlier than the one before it does not lie where its capture wrote it."""


class JournalImport:
    """Writes the journals of all wanted symbols under root/<symbol>."""

    def __init__(
        self,
        venue: Venue,
        files: list[FileSurvey],
        fmt: LineFormat,
        wanted: dict[str, SymbolCapture],
        root: Path,
        settings: Import,
    ) -> None:
        self.outcomes = {symbol: Outcome() for symbol in wanted}
        self._venue, self._files, self._format = venue, files, fmt
        self._wanted, self._root, self._settings = wanted, root, settings
        self._next_n = itertools.count(1).__next__
        self._recorders: dict[str, Recorder] = {}
        self._restarts = {symbol: restarts(files, symbol) for symbol in wanted}
        self._by_file = [
            [symbol for symbol, capture in wanted.items() if index in capture.files] for index in range(len(files))
        ]
        self._last_ns: dict[str, int] = {}

    def run(self, advance: Callable[[int], None]) -> None:
        """Import everything. advance(n) is told of each n lines done. Raises DataError where a book never starts."""
        done = 0
        for done, (index, frame) in enumerate(merged(self._files, self._format), 1):
            for symbol in self._symbols_of(index, frame):
                self._record(symbol, index, frame)
            if done % 2000 == 0:
                advance(2000)
        advance(done % 2000)
        for symbol in list(self._recorders):
            self._close(symbol)
        for symbol, capture in self._wanted.items():
            if capture.kinds["depth"] and not self.outcomes[symbol].ever_live:
                raise DataError(
                    f"{symbol}: expected a depth snapshot that joins the depth events, found {capture.snapshots} that "
                    "do not, so that the book cannot start; add the file that holds one"
                )

    def _symbols_of(self, index: int, frame: Frame) -> list[str]:
        """Whose journal a frame belongs into; what names no symbol (acks) into all of its file."""
        entry = frame.entry
        if entry.kind == "rest":
            symbol = rest_symbol(entry.url)
            if symbol is None and not entry.url:
                return [each for each, capture in self._wanted.items() if index in capture.owned]
            return [symbol] if symbol in self._wanted else []
        if frame.address is not None:
            kept = frame.address.symbol in self._wanted and frame.address.kind != "partial"
            return [frame.address.symbol] if kept else []
        return self._by_file[index]

    def _record(self, symbol: str, index: int, frame: Frame) -> None:
        recorder = self._recorders.get(symbol)
        if recorder is not None and index in self._restarts[symbol]:
            self._restarts[symbol].discard(index)
            self._close(symbol)
            recorder = None
        if recorder is None:
            recorder = self._open(symbol, frame.recv_ns)
        entry, recv_ns = frame.entry, frame.recv_ns
        if recv_ns < self._last_ns.get(symbol, recv_ns) - OUT_OF_ORDER_NS:
            self.outcomes[symbol].out_of_order += 1
        self._last_ns[symbol] = recv_ns
        if entry.kind == "ws":
            recorder.frame(recv_ns, None, CONNECTION, entry.payload)
        elif entry.kind == "rest":
            path = rest_path(entry.url) if entry.url else f"{self._venue.depth_path}?symbol={symbol.upper()}"
            recorder.rest(recv_ns, None, CONNECTION, entry.payload, status=200, sent_ns=recv_ns, path=path)
        else:
            if recorder.book.live:
                recorder.event(recv_ns, None, CONNECTION, "disconnect")
            recorder.event(recv_ns, None, CONNECTION, "connect", url=entry.url)

    def _open(self, symbol: str, recv_ns: int) -> Recorder:
        capture = self._wanted[symbol]
        recorder = Recorder(
            self._venue,
            symbol,
            self._root / symbol,
            next_n=self._next_n,
            streams=[kind for kind in get_args(StreamKind) if capture.kinds[kind]],
            max_bytes=self._settings.journal_max_mb * 2**20,
            level=self._settings.compression_level,
        )
        names = [self._files[index].path.name for index in capture.files]
        recorder.open(recv_ns, None, imported_from=self._format.name, files=names)
        self._recorders[symbol] = recorder
        self.outcomes[symbol].runs += 1
        return recorder

    def _close(self, symbol: str) -> None:
        recorder, outcome = self._recorders.pop(symbol), self.outcomes[symbol]
        recorder.close(self._last_ns[symbol], None, "end of the capture")
        outcome.gaps += recorder.counters.resyncs
        outcome.divergences += recorder.counters.divergences
        outcome.undecodable += recorder.counters.undecodable
        outcome.ever_live |= recorder.book.clock_ms > 0
