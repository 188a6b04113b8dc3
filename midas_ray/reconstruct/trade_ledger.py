"""The ledger of trades: jumps of their ids, whose doing each is, and an end that nothing proves whole. No I/O."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from midas_ray.book import kernels as k
from midas_ray.book.events import IntArray
from midas_ray.book.sync import Gap, GapCause

MISSED_SLACK_NS = 2 * 10**9
"""How long after the trade that shows a jump the journal may say whose doing it is."""


class Loss(NamedTuple):
    """From here on trades may be missing. kinds: of the streams that were lost, None for all. data_ms: exchange time of
    the newest message before."""

    recv_ns: int
    cause: GapCause
    kinds: frozenset[str] | None
    data_ms: int


class LastTrade(NamedTuple):
    """A trade before others: its id in its own stream, and the last single trade it covers where that is known."""

    recv_ns: int
    ms: int
    id: int
    last_id: int | None
    source: str


@dataclass(slots=True)
class TradeBreaks:
    """What a journal says of its trade streams beside trades."""

    opens: list[Loss] = field(default_factory=list)
    missed: list[Loss] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)

    def cause(self, recv_ns: tuple[int, int], kinds: frozenset[str]) -> GapCause:
        """Whose doing it is that trades are missing between two that were received at these times."""
        first, last = min(recv_ns), max(recv_ns)
        if any(first <= loss.recv_ns <= last for loss in self.opens):
            return "down"
        # Prints of one read of a socket share a stamp; else one of the earlier print is about what is before that.
        said = [loss for loss in self.missed if first - (first == last) < loss.recv_ns <= last + MISSED_SLACK_NS]
        if said:
            return min(said, key=lambda loss: abs(loss.recv_ns - last)).cause
        lost = [loss for loss in self.losses if first <= loss.recv_ns <= last and _concerns(loss, kinds)]
        return lost[0].cause if lost else "venue"

    def after(self, recv_ns: int, kinds: frozenset[str]) -> Loss | None:
        """The loss that weighs most of those after the last trade, which was received at this time."""
        for losses, at_once_ns in ((self.opens, 0), (self.missed, 1), (self.losses, 0)):
            # A `missed` of the very moment of the last trade is about what is missing before that one.
            later = [loss for loss in losses if loss.recv_ns >= recv_ns + at_once_ns and _concerns(loss, kinds)]
            if later:
                return later[0]
        return None


def _concerns(loss: Loss, kinds: frozenset[str]) -> bool:
    return loss.kinds is None or bool(loss.kinds & kinds)


class Stretch(NamedTuple):
    """Consecutive hours that take their trades from one source. rows: (n, TRADE_COLUMNS), n > 0, in order of id."""

    source: str
    rows: IntArray


def jumps(stretches: list[Stretch], before: LastTrade | None, breaks: TradeBreaks) -> Iterator[Gap]:
    """Gaps between trades. Rows that are no prints count for continuity.

    Where the source changes, an aggregate trade's first single id says whether it follows the trade before.
    """
    last = before
    for source, rows in stretches:
        kinds = frozenset({source} if last is None else {source, last.source})
        first = rows[0]
        if last is not None and (gap_ids := _gap_between(last, source, first)) is not None:
            cause = breaks.cause((last.recv_ns, int(first[k.TRADE_RECV_NS])), kinds)
            yield Gap(last.ms, int(first[k.TRADE_MS]), cause, *gap_ids, int(first[k.TRADE_RECV_NS]))
        ids, times, recv_ns = (rows[:, column] for column in (k.TRADE_ID, k.TRADE_MS, k.TRADE_RECV_NS))
        for at in np.flatnonzero(np.diff(ids) > 1).tolist():
            cause = breaks.cause((int(recv_ns[at]), int(recv_ns[at + 1])), frozenset({source}))
            yield Gap(
                int(times[at]), int(times[at + 1]), cause, int(ids[at]) + 1, int(ids[at + 1]), int(recv_ns[at + 1])
            )
        last = last_trade(source, rows[-1])


def last_trade(source: str, row: IntArray) -> LastTrade:
    """The row as what comes before others."""
    columns = (k.TRADE_RECV_NS, k.TRADE_MS, k.TRADE_ID, k.TRADE_LAST_ID)
    recv_ns, ms, own_id, last_id = (int(row[column]) for column in columns)
    return LastTrade(recv_ns, ms, own_id, last_id, source)


def _gap_between(last: LastTrade, source: str, first: IntArray) -> tuple[int, int] | None:
    """(expected, found id) where ids are missing between two trades; None where none are."""
    if last.source == source:
        expected, found = last.id + 1, int(first[k.TRADE_ID])
    else:
        expected = -1 if last.last_id is None else last.last_id + 1
        found = int(first[k.TRADE_LAST_ID] - first[k.TRADE_COUNT] + 1)
    return (expected, found) if found > expected else None


def unproven_end(
    last: LastTrade | None, first_ms: int, kinds: frozenset[str], breaks: TradeBreaks, end_ms: int
) -> Gap | None:
    """From the last trade to the end of the data, where the stream was lost and no trade since proves the ids whole.

    Without any trade it starts at `first_ms`, where the data do; that they start there is no loss.
    """
    if last is None:
        losses = [loss for loss in breaks.losses if _concerns(loss, kinds) and loss.data_ms < end_ms]
        loss = losses[0] if losses else None
        start_ms, expected = first_ms, None
    else:
        loss = breaks.after(last.recv_ns, kinds)
        start_ms, expected = last.ms, last.id + 1
    if loss is None or loss.data_ms >= end_ms or start_ms >= end_ms:
        return None
    return Gap(start_ms, None, loss.cause, expected, None, None)
