"""Ctrl-C and SIGTERM: both unwind a command, and neither comes in the middle of what must not be cut."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived: unwind as for Ctrl-C, so that everything that was started is ended."""


@contextlib.contextmanager
def termination_unwinds() -> Iterator[None]:
    """Inside the block SIGTERM raises Terminated. Does nothing outside the main thread.

    Ray makes a plain KeyboardInterrupt of what a handler raises while Ray waits: outside the block it is Terminated.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = False

    def raise_terminated(_number: int, _frame: FrameType | None) -> None:
        nonlocal came
        came = True
        raise Terminated

    before = signal.signal(signal.SIGTERM, raise_terminated)
    try:
        yield
    except KeyboardInterrupt as interrupted:
        if came and not isinstance(interrupted, Terminated):
            raise Terminated from interrupted
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Inside the block Ctrl-C and SIGTERM wait; one that came is heeded at its end.

    Whatever handlers the block installs are replaced by those that were there before. Does nothing outside the main
    thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        signal.signal(number, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for arrived, frame in came[:1]:
        heed = before[signal.Signals(arrived)]
        if callable(heed):
            heed(arrived, frame)
