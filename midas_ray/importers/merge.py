"""Frames of several files as one stream in the order of receive time; where a file does not go on from the last."""

import heapq
from collections.abc import Iterator

from midas_ray.importers.entries import Addresses, LineFormat
from midas_ray.importers.survey import FileSurvey, Frame, SymbolSurvey, frames_of

MOST_SILENCE_NS = 60 * 10**9
"""A longer pause between two files without depth events counts as a time when nobody captured."""


def merged(files: list[FileSurvey], fmt: LineFormat) -> Iterator[tuple[int, Frame]]:
    """(index of its file, frame) in order of receive time; frames of one file stay in its order. Files are opened as
    their time comes."""
    addresses = Addresses()
    waiting = sorted(range(len(files)), key=lambda index: files[index].first_ns, reverse=True)
    heap: list[tuple[int, int, Frame, Iterator[Frame]]] = []
    while waiting or heap:
        while waiting and (not heap or files[waiting[-1]].first_ns <= heap[0][0]):
            index = waiting.pop()
            opened = (frame for _, frame in frames_of(files[index].path, fmt, addresses))
            first = next(opened)
            heapq.heappush(heap, (first.recv_ns, index, first, opened))
        _, index, frame, frames = heap[0]
        yield index, frame
        following = next(frames, None)
        if following is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (following.recv_ns, index, following, frames))


def restarts(files: list[FileSurvey], symbol: str) -> set[int]:
    """Indices of the files that begin after all earlier ones of the symbol ended and do not continue them.

    Between them nobody captured: the journal starts anew there, so that the gap's cause is `down`.
    """
    surveys = {index: file.symbols[symbol] for index, file in enumerate(files) if symbol in file.symbols}
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
