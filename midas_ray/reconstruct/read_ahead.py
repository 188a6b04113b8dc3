"""Reading ahead in a thread: decompression goes on while the lines before are replayed, where a core is free."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_END = object()


def read_ahead(items: Iterator[T], most: int) -> Generator[T, None, None]:
    """The items in their order, up to `most` of them made beforehand. What making one raises is raised in its place."""
    thread = ThreadPoolExecutor(1)
    try:
        waiting: deque[Future[T | object]] = deque(thread.submit(next, items, _END) for _ in range(most))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(thread.submit(next, items, _END))
            yield item  # type: ignore[misc]
    finally:
        thread.shutdown(wait=True, cancel_futures=True)
