"""Zstandard frames of a journal, each handed on once its checksum is proven: no flipped bit goes unnoticed.

The library's stream reader takes a cut-off frame for the end of the data and says nothing: frames are driven here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import zstandard

HELD_BYTES = 64 * 2**20
"""Most text of a frame that waits for its checksum; a larger one is proven first and then read a second time."""

_MAGIC = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True, slots=True)
class Damage:
    """Here something is missing. cut_off: nothing follows, and what came before is whole."""

    reason: str
    cut_off: bool


def proven_pieces(stream: BinaryIO, chunk_bytes: int) -> Iterator[bytes | Damage]:
    """The text of a series of frames in pieces, and where it is damaged; the next whole frame goes on after that.

    A frame that is cut off by the end of the data gives what can be read of it: it has no checksum yet.
    """
    at = 0
    if not stream.read(1):
        yield Damage("empty: expected a Zstandard frame at least", cut_off=True)
        return
    while True:
        try:
            frame = _Frame(stream, at, chunk_bytes)
            yield from frame.pieces()
        except zstandard.ZstdError as error:
            yield Damage(f"damaged Zstandard data ({error})", cut_off=False)
            following = _next_magic(stream, at + 1, chunk_bytes)
            if following is None:
                return
            at = following
            continue
        if not frame.whole:
            if frame.begun:
                yield Damage("truncated: the last Zstandard frame is not complete", cut_off=True)
            return
        at = frame.end


class _Frame:
    """The frame that begins at byte `start` of the stream; `end` and `whole` are known after `pieces`."""

    def __init__(self, stream: BinaryIO, start: int, chunk_bytes: int) -> None:
        self._stream, self._start, self._chunk_bytes = stream, start, chunk_bytes
        self.end, self.begun, self.whole = start, False, False

    def pieces(self) -> Iterator[bytes]:
        """Its text, after its checksum. Raises ZstdError."""
        held: list[bytes] = []
        held_bytes = 0
        for piece in self._read():
            held_bytes += len(piece)
            if held_bytes <= HELD_BYTES:
                held.append(piece)
            else:
                held.clear()
        yield from held if held_bytes <= HELD_BYTES else self._read()

    def _read(self) -> Iterator[bytes]:
        self._stream.seek(self._start)
        self.end, self.begun, self.whole = self._start, False, False
        frame = zstandard.ZstdDecompressor().decompressobj()
        while not frame.eof and (chunk := self._stream.read(self._chunk_bytes)):
            self.begun = True
            yield frame.decompress(chunk)
            self.end += len(chunk) - len(frame.unused_data)
        self.whole = frame.eof


def _next_magic(stream: BinaryIO, start: int, chunk_bytes: int) -> int | None:
    """Position of the next bytes from `start` on that a frame may begin with."""
    stream.seek(start)
    held, at = b"", start
    while chunk := stream.read(chunk_bytes):
        held += chunk
        found = held.find(_MAGIC)
        if found >= 0:
            return at + found
        at += max(len(held) - len(_MAGIC) + 1, 0)
        held = held[-len(_MAGIC) + 1 :]
    return None
