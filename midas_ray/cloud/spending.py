"""What was rented, from when until when, at which price: pure functions of a ledger's lines. Dollars, Unix seconds."""

import datetime
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from midas_ray.cloud.messages import Instance

HOUR_S = 3600.0
DAY_S = 86400.0
UNLISTED_S = 90.0
"""How long a new instance may be missing in the API's listings, and a destroyed one be in them."""
SAME_PRICE = 1e-6
"""Dollars an hour by which two prices of one instance have to differ to be two."""


class Rented(msgspec.Struct, frozen=True, kw_only=True, tag="rented", tag_field="what"):
    """An instance costs money from `at` on."""

    id: int
    at: float
    price: float
    """Dollars an hour, disk included."""
    label: str
    machine: int
    offer: int | None = None
    gpu: str
    disk_gb: float = 0.0


class Priced(msgspec.Struct, frozen=True, kw_only=True, tag="price", tag_field="what"):
    """It costs another price from `at` on."""

    id: int
    at: float
    price: float


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag="ended", tag_field="what"):
    """It costs nothing more from `at` on."""

    id: int
    at: float
    why: str


Record = Rented | Priced | Ended


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of time at one price."""

    begin: float
    end: float
    price: float

    def cost(self, begin: float, end: float) -> float:
        """Dollars of the part that lies in [begin, end)."""
        return self.price * max(0.0, min(self.end, end) - max(self.begin, begin)) / HOUR_S


@dataclass(slots=True)
class Interval:
    """One instance, from being rented until its end."""

    rented: Rented
    prices: list[tuple[float, float]] = field(default_factory=list)
    """(from when, dollars an hour) after the first price, rising."""
    ended: float | None = None
    why: str = ""

    @property
    def id(self) -> int:
        return self.rented.id

    @property
    def price(self) -> float:
        """The last one."""
        return self.prices[-1][1] if self.prices else self.rented.price

    def pieces(self, now: float) -> Iterator[Piece]:
        """Until its end, or until now."""
        last = now if self.ended is None else self.ended
        steps = [(self.rented.at, self.rented.price), *self.prices, (last, 0.0)]
        for (begin, price), (end, _) in itertools.pairwise(steps):
            if min(end, last) > begin:
                yield Piece(begin, min(end, last), price)

    def cost(self, begin: float, end: float) -> float:
        """Dollars in [begin, end); it is taken to run until `end` where it has not ended."""
        return sum(piece.cost(begin, end) for piece in self.pieces(end))


def fold(records: Iterable[Record]) -> list[Interval]:
    """The intervals that the ledger's lines tell of, in the order of their beginnings in it.

    A line that says what is known already changes nothing, so that two processes may both write it: of two ends the
    first counts, and an instance is rented again only after its end.
    """
    intervals: list[Interval] = []
    running: dict[int, Interval] = {}
    for record in records:
        known = running.get(record.id)
        match record:
            case Rented() if known is None:
                running[record.id] = Interval(record)
                intervals.append(running[record.id])
            case Priced() if known is not None and record.at >= known.rented.at:
                known.prices.append((max([record.at, *(at for at, _ in known.prices[-1:])]), record.price))
            case Ended() if known is not None:
                known.ended, known.why = max(record.at, known.rented.at), record.why
                del running[record.id]
            case _:
                pass
    return intervals


def spent(intervals: Iterable[Interval], begin: float, end: float) -> float:
    """Dollars of all in [begin, end)."""
    return sum(interval.cost(begin, end) for interval in intervals)


def day_begin(now: float) -> float:
    """00:00 UTC of the day."""
    return now - now % DAY_S


def month_begin(now: float) -> float:
    """00:00 UTC of the month's first day."""
    moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
    return datetime.datetime(moment.year, moment.month, 1, tzinfo=datetime.UTC).timestamp()


def differences(
    intervals: Sequence[Interval], listed: Iterable[Instance], seen: float, now: float, unseen_s: float
) -> list[Record]:
    """Lines that bring a ledger in line with what the API lists now.

    seen: when the listing was last compared. unseen_s: how long a node that nobody looks at may live on (the dead-man
    timer's time): what ended meanwhile is taken to have lived that long, not shorter, since a cap is judged by it. A
    rented head has no such timer: it is taken to have lived until now.
    """
    there = {instance.id: instance for instance in listed}
    last = {interval.id: interval for interval in intervals}
    records: list[Record] = []
    for interval in last.values():
        new = now - interval.rented.at < UNLISTED_S
        if interval.ended is None and interval.id not in there and not new:
            at = now if _is_head(interval.rented.label) else min(now, max(seen, interval.rented.at) + unseen_s)
            records.append(Ended(id=interval.id, at=at, why="the API does not list it any more"))
    for instance in there.values():
        known = last.get(instance.id)
        if known is None:
            records.append(_rented(instance, instance.start_date or now))
        elif known.ended is not None:
            if now - known.ended >= UNLISTED_S:
                records.append(_rented(instance, known.ended))
        elif instance.dph_total > 0 and abs(instance.dph_total - known.price) > SAME_PRICE:
            records.append(Priced(id=instance.id, at=now, price=instance.dph_total))
    return records


def _is_head(label: str) -> bool:
    place = label.split("/")[2:3]
    return bool(place) and place[0].startswith("h")


def _rented(instance: Instance, at: float) -> Rented:
    return Rented(
        id=instance.id,
        at=at,
        price=instance.dph_total,
        label=instance.label,
        machine=instance.machine_id,
        gpu=f"{instance.num_gpus} x {instance.gpu_name}",
    )
