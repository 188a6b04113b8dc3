"""What a capture holds, read once before anything is written: symbols, streams, time unit, what forbids an import."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from midas_ray.errors import CorruptFileError, DataError
from midas_ray.importers.entries import Address, Addresses, Entry, LineFormat, is_plain, rest_path, rest_symbol
from midas_ray.importers.textfile import numbered_lines
from midas_ray.importers.units import EARLIEST_NS, LATEST_NS, Unit, unit_of, utc_text
from midas_ray.venues.base import Venue, frame_message
from midas_ray.venues.messages import DepthUpdate

MOST_OFFSET_MS = 3_600_000
"""A receive time further than this from the exchange's own is wrong: a unit, a time zone."""

_CLOCK_SAMPLES = 50
_CLOCK_EVERY = 500
_LATEST_EXCHANGE_MS = LATEST_NS // 10**6


class _Clock(msgspec.Struct, frozen=True):
    """The exchange's own time of a frame or an answer, ms."""

    E: int | None = None


class Frame(NamedTuple):
    """An entry with its receive time, ns, and what it is about; address None: no symbol's, or a REST answer."""

    recv_ns: int
    entry: Entry
    address: Address | None


@dataclass(slots=True)
class SymbolSurvey:
    """A symbol in a file. kinds: frames by kind. first_prev_id, last_id: the ends of its depth chain in file order."""

    kinds: Counter[str] = field(default_factory=Counter)
    snapshots: int = 0
    first_ns: int = 0
    last_ns: int = 0
    first_prev_id: int | None = None
    last_id: int | None = None


@dataclass(slots=True)
class FileSurvey:
    """A file. offset_ms: median of receive time minus exchange time, None where no frame tells the exchange's.

    unnamed_snapshots: REST snapshots that do not say whose they are. left_out: symbols that no folder can be named by.
    """

    path: Path
    unit: Unit
    first_ns: int
    last_ns: int = 0
    lines: int = 0
    offset_ms: float | None = None
    unnamed_snapshots: int = 0
    left_out: set[str] = field(default_factory=set)
    symbols: dict[str, SymbolSurvey] = field(default_factory=dict)


def frames_of(path: Path, fmt: LineFormat, addresses: Addresses) -> Iterator[tuple[Unit, Frame]]:
    """The file's frames in its own order, with the unit its first timestamp is in.

    Raises DataError for a file of another format or with a timestamp of no or another unit, CorruptFileError for one
    that is damaged or cut off.
    """
    unit: Unit | None = None
    for number, line, complete in numbered_lines(path, fmt.expected):
        try:
            entry = fmt.split(line)
            if entry.kind == "skip":
                continue
            unit = unit or unit_of(entry.stamp)
            recv_ns = -1 if unit is None else unit.to_ns(entry.stamp)
            if not complete and entry.payload:
                msgspec.json.decode(entry.payload, type=msgspec.Raw)
        except ValueError as error:
            if unit is not None and not complete:
                raise CorruptFileError(
                    f"{path}, line {number}: truncated in the middle of its last line; "
                    "fetch the file again, or remove that line"
                ) from None
            raise DataError(
                f"{path}, line {number}: expected {fmt.expected}, found {_shown(line)} ({error}); "
                "check FORMAT and the file"
            ) from None
        if not EARLIEST_NS <= recv_ns < LATEST_NS:
            wanted = "s, ms, us or ns" if unit is None else f"{unit.name} as on the first line"
            raise DataError(
                f"{path}, line {number}: expected a time from 2009 to 2100 in {wanted}, "
                f"found {_shown(entry.stamp)}; correct the timestamps"
            )
        assert unit is not None
        yield unit, Frame(recv_ns, entry, addresses.of(entry.payload) if entry.kind == "ws" else None)


def survey_file(path: Path, fmt: LineFormat, venue: Venue) -> FileSurvey:
    """Read a whole file. Raises DataError where its times contradict the exchange's or it is another venue's."""
    found: FileSurvey | None = None
    offsets: list[float] = []
    ends: dict[str, tuple[bytes, bytes]] = {}
    for unit, frame in frames_of(path, fmt, Addresses()):
        if found is None:
            found = FileSurvey(path, unit, frame.recv_ns)
        found.lines += 1
        found.last_ns = max(found.last_ns, frame.recv_ns)
        payload = frame.entry.payload
        if found.lines <= _CLOCK_SAMPLES or found.lines % _CLOCK_EVERY == 0:
            offsets += _offset_ms(frame, path)
        symbol = _count(found, frame, venue)
        if symbol is not None and frame.address is not None and frame.address.kind == "depth":
            ends[symbol] = (ends[symbol][0] if symbol in ends else payload, payload)
    if found is None:
        raise DataError(f"{path}: expected {fmt.expected}, found none; check FORMAT and the file")
    for symbol, (first, last) in ends.items():
        each = found.symbols[symbol]
        each.first_prev_id, each.last_id = _previous_id(first, path, venue), _depth(last, path).u
    _check_clock(found, offsets)
    return found


def _count(found: FileSurvey, frame: Frame, venue: Venue) -> str | None:
    """Add a frame to the survey; gives its symbol."""
    kind, symbol = "snapshot", None
    if frame.address is not None:
        kind, symbol = frame.address
    elif frame.entry.kind == "rest":
        if frame.entry.url and not rest_path(frame.entry.url).startswith(venue.depth_path):
            return None
        symbol = rest_symbol(frame.entry.url)
        if symbol is None:
            found.unnamed_snapshots += 1
    if symbol is None:
        return None
    if not is_plain(symbol):
        found.left_out.add(symbol)
        return None
    each = found.symbols.get(symbol)
    if each is None:
        each = found.symbols[symbol] = SymbolSurvey(first_ns=frame.recv_ns)
    each.last_ns = max(each.last_ns, frame.recv_ns)
    if frame.entry.kind == "rest":
        each.snapshots += 1
    else:
        each.kinds[kind] += 1
    return symbol


def _depth(payload: bytes, path: Path) -> DepthUpdate:
    try:
        return msgspec.json.decode(frame_message(payload), type=DepthUpdate)
    except ValueError as error:
        raise DataError(f"{path}: expected a depth event, found {_shown(payload)} ({error})") from None


def _previous_id(payload: bytes, path: Path, venue: Venue) -> int:
    """`pu` of a depth event. Raises DataError where the event is another venue's."""
    message = _depth(payload, path)
    if venue.has_previous_id != (message.pu is not None):
        found, other = ("no pu", "binance-spot") if venue.has_previous_id else ("pu", "binance-futures")
        raise DataError(
            f"{path}: expected depth events of {venue.name}, found {found} in them, as {other} sends them; "
            f"import with --venue {other}"
        )
    return message.U - 1 if message.pu is None else message.pu


def _offset_ms(frame: Frame, path: Path) -> list[float]:
    """Receive time minus the exchange's, as a list of one; empty where the frame tells no exchange time."""
    payload = frame.entry.payload
    try:
        body = payload if frame.entry.kind == "rest" else frame_message(payload)
        exchange_ms = msgspec.json.decode(body, type=_Clock).E
    except ValueError:
        return []
    if exchange_ms is None:
        return []
    if exchange_ms >= _LATEST_EXCHANGE_MS:
        raise DataError(
            f"{path}: expected exchange times (E) in ms, found {exchange_ms}, as streams opened with "
            "timeUnit=MICROSECOND send them; capture with the default unit"
        )
    return [frame.recv_ns / 1e6 - exchange_ms]


def _check_clock(found: FileSurvey, offsets: list[float]) -> None:
    if not offsets:
        return
    found.offset_ms = median(offsets)
    if abs(found.offset_ms) > MOST_OFFSET_MS:
        exchange_ns = round(found.first_ns - offsets[0] * 1e6, -6)
        raise DataError(
            f"{found.path}: its timestamps read as {found.unit.name} begin at {utc_text(found.first_ns)} UTC, but the "
            f"exchange's own times in its frames (E) at {utc_text(int(exchange_ns))} UTC, "
            f"{abs(found.offset_ms) / 3.6e6:.1f} h apart; expected receive times in UTC in s, ms, us or ns"
        )


def _shown(data: bytes) -> str:
    text = data[:60].decode("utf-8", "replace")
    return repr(text + ("..." if len(data) > 60 else ""))
