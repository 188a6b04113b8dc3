"""Whose frame is it? From a connection's messages to the symbols that they are of. No I/O."""

from collections.abc import Mapping

import msgspec

from midas_ray.capture.arrivals import Arrival, Note
from midas_ray.capture.symbol import SymbolCapture
from midas_ray.venues.base import StreamKind, frame_address

Addressees = list[tuple[SymbolCapture, StreamKind | None]]
"""Who keeps a frame, and its kind; None for control messages and what nobody knows."""


class Routes:
    """The streams of the symbols collected now, and the connections that carry them."""

    def __init__(self, symbols: Mapping[str, SymbolCapture]) -> None:
        self._symbols = symbols
        self._owners: dict[bytes, tuple[SymbolCapture | None, StreamKind]] = {}
        self._carried: dict[str, set[bytes]] = {}

    def know(self, capture: SymbolCapture) -> None:
        """The symbol's streams are collected."""
        for stream in capture.streams:
            self._owners[stream.name.encode()] = (capture if stream.symbol else None, stream.kind)

    def forget(self, capture: SymbolCapture) -> None:
        """The symbol is collected no more."""
        for stream in capture.streams:
            if stream.symbol:
                self._owners.pop(stream.name.encode(), None)

    def addressees(self, item: Arrival) -> Addressees:
        """Who keeps a frame. Control messages are of every symbol that the connection carries."""
        known = self._owners.get(item.stream)
        if known is not None:
            return self._named_in(item) if known[0] is None else [(known[0], known[1])]
        capture = self._symbols.get(item.stream.partition(b"@")[0].decode("utf-8", "replace"))
        if capture is not None:
            return [(capture, None)]
        if item.stream and not item.stream.startswith(b"!"):
            return []  # of a symbol that was removed while its last frames were on their way
        names = self._carried.get(item.conn, set())
        found = {id(owner): owner for name in names if (owner := self._owners.get(name, (None,))[0]) is not None}
        return [(capture, None) for capture in (found.values() or self._symbols.values())]

    def concerned(self, note: Note) -> list[tuple[SymbolCapture, set[StreamKind]]]:
        """The symbols that something on a connection concerns, and which of their streams."""
        if note.event == "connect":
            self._carried.setdefault(note.conn, set()).update(note.streams)
        elif note.event == "disconnect":
            self._carried.pop(note.conn, None)
        found: dict[str, set[StreamKind]] = {}
        for name in note.streams:
            owner, kind = self._owners.get(name, (None, None))
            if kind is not None:
                for capture in self._symbols.values() if owner is None else (owner,):
                    found.setdefault(capture.symbol, set()).add(kind)
        return [(self._symbols[symbol], kinds) for symbol, kinds in found.items() if symbol in self._symbols]

    def _named_in(self, item: Arrival) -> Addressees:
        """Whose message it is, of a stream of all symbols; other symbols' are not ours to keep."""
        try:
            address = frame_address(item.payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return [(capture, None) for capture in self._symbols.values()]
        capture = None if address is None else self._symbols.get(address[1])
        return [] if address is None or capture is None else [(capture, address[0])]
