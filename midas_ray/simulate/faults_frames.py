"""What a fault does to the frames of one connection. No I/O."""

import random
from collections.abc import Callable

from midas_ray.simulate.faults import Fault, Kind

Frame = str | bytes
"""A text or a binary message."""

GARBAGE: tuple[Frame, ...] = (
    "",
    "null",
    "{",
    "[1,2",
    "ping",
    '{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":17',
    '{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate"}}',
    '{"stream":"btcusdt@depth@100ms","data":null}',
    '{"stream":null,"data":{}}',
    '{"e":"noSuchEvent","E":1}',
    '{"result":null}',
    "<html><body>502 Bad Gateway</body></html>",
    b"\x00\xff\xfe binary",
    b"\x1f\x8b\x08\x00",
)
"""Messages that are none. None of them looks like a whole event of a book or a print."""


class Disturbance:
    """One fault on one connection. `frames` gives what is sent in the place of a frame; `left` what is still held.

    takes: whether a stream (its name on the wire) is the fault's.
    """

    def __init__(self, fault: Fault, takes: Callable[[str], bool], seed: str) -> None:
        self.fault = fault
        self.taken = 0
        self._takes = takes
        self._random = random.Random(seed)
        self._held: dict[str, Frame] = {}

    def frames(self, stream: str, frame: Frame) -> list[Frame]:
        """What goes out in the place of `frame`."""
        kind = self.fault.kind
        if kind is Kind.MALFORMED:
            self.taken += 1
            return [self._random.choice(GARBAGE), frame]
        if not self._takes(stream):
            return [frame]
        if stream in self._held:
            return [frame, self._held.pop(stream)]
        if self._random.random() >= self.fault.share:
            return [frame]
        self.taken += 1
        match kind:
            case Kind.DUPLICATE:
                return [frame, frame]
            case Kind.TRUNCATED:
                return [frame[: self._random.randrange(1, len(frame))]]
            case Kind.REORDER:
                self._held[stream] = frame
        return []

    def left(self) -> list[Frame]:
        """Frames held back when the fault ends."""
        held, self._held = list(self._held.values()), {}
        return held
