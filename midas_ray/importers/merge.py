"""Frames of several files as one stream in the order of receive time; where a file does not go on from the last."""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from midas_ray.importers.entries import Addresses, LineFormat
from midas_ray.importers.survey import FileSurvey, Frame, SymbolSurvey, frames_of

MOST_SILENCE_NS = 60 * 10**9
"""A longer pause between two files without depth events counts as a time when nobody captured."""


class Received(Protocol):
    """Something with a receive time, ns."""

    @property
    def recv_ns(self) -> int: ...


Item = TypeVar("Item", bound=Received)


def in_time_order(firsts_ns: Sequence[int], opened: Callable[[int], Iterator[Item]]) -> Iterator[tuple[int, Item]]:
    """(index of its file, item) in order of receive time; items of one file stay in its order.

    firsts_ns: the first receive time of each file. opened: opens the file of an index, which happens as its time comes.
    """
    waiting = sorted(range(len(firsts_ns)), key=lambda index: firsts_ns[index], reverse=True)
    heap: list[tuple[int, int, Item, Iterator[Item]]] = []
    while waiting or heap:
        while waiting and (not heap or firsts_ns[waiting[-1]] <= heap[0][0]):
            index = waiting.pop()
            items = opened(index)
            first = next(items, None)
            if first is not None:
                heapq.heappush(heap, (first.recv_ns, index, first, items))
        if not heap:
            continue
        _, index, item, items = heap[0]
        yield index, item
        following = next(items, None)
        if following is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (following.recv_ns, index, following, items))


def merged(files: list[FileSurvey], fmt: LineFormat) -> Iterator[tuple[int, Frame]]:
    """(index of its file, frame) in order of receive time; frames of one file stay in its order."""
    addresses = Addresses()

    def opened(index: int) -> Iterator[Frame]:
        return (frame for _, frame in frames_of(files[index].path, fmt, addresses))

    return in_time_order([file.first_ns for file in files], opened)


def restarts(files: list[FileSurvey], symbol: str) -> set[int]:
    """Indices of the files that begin after all earlier ones of the symbol ended and do not continue them.

    Between them nobody captured: the journal starts anew there, so that the gap's cause is `down`.
    """
    return restarts_of({index: file.symbols[symbol] for index, file in enumerate(files) if symbol in file.symbols})


def restarts_of(surveys: Mapping[int, SymbolSurvey]) -> set[int]:
    """`restarts` of one symbol's part of each file."""
    found = set()
    latest: SymbolSurvey | None = None
    for index, survey in sorted(surveys.items(), key=lambda item: item[1].first_ns):
        if latest is not None and survey.first_ns >= latest.last_ns and not _continues(latest, survey):
            found.add(index)
        if latest is None or survey.last_ns >= latest.last_ns:
            latest = survey
    return found


def _continues(before: SymbolSurvey, after: SymbolSurvey) -> bool:
    if before.last_id is not None and after.first_prev_id is not None:
        return after.first_prev_id <= before.last_id
    return after.first_ns - before.last_ns <= MOST_SILENCE_NS
