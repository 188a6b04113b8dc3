"""The record of forecasts and of their scores: DATA_DIR/forecasts/, JSON lines, appended and never rewritten.

`forecasts/venue=.../symbol=.../date=D/HH-60000ms.jsonl` holds forecasts by the UTC hour of their origin's bucket,
`HH-60000ms-scores.jsonl` what became of them. A kill can tear nothing but a last line, which is cut off at the next
start. Numbers keep every bit.
"""

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from midas_ray.errors import DataError, StorageError
from midas_ray.storage import Partition, Storage

TABLE = "forecasts"


class ForecastLine(msgspec.Struct, kw_only=True, frozen=True):
    """One forecast. value_bps and price are [horizon][quantile]."""

    ts: str
    ts_us: int
    symbol: str
    model: str
    revision: int
    """1 for the first of this origin; one more where a later event changed the features or another model took over."""
    made_ns: int
    """This machine's clock."""
    reference_price: float
    quantiles: list[float]
    value_bps: list[list[float]]
    price: list[list[float]]


class ScoreLine(msgspec.Struct, kw_only=True, frozen=True):
    """What became of the last revision of a forecast, once all its horizons are known. Lists are by horizon."""

    ts: str
    ts_us: int
    symbol: str
    model: str
    actual_bps: list[float]
    inside: list[bool]
    """From P10 to P90."""
    pinball_bps: list[float]
    """Mean over the quantiles."""
    trailing_pinball_bps: list[float] | None
    """Of zero return with trailing quantiles at the same origin; null where too little was realised."""


_encode = msgspec.json.Encoder().encode


Line = TypeVar("Line", ForecastLine, ScoreLine)


def iso(ts_us: int) -> str:
    return f"{datetime.fromtimestamp(ts_us / 1e6, UTC):%Y-%m-%dT%H:%M:%S}Z"


def _path(venue: str, symbol: str, bucket_us: int, ts_us: int, suffix: str) -> str:
    start = datetime.fromtimestamp((ts_us - bucket_us) // 10**6, UTC)
    folder = Partition(TABLE, venue, symbol, start.date()).path
    return f"{folder}/{start:%H}-{bucket_us // 1000}ms{suffix}.jsonl"


@dataclass(slots=True)
class ForecastRecord:
    """Appends to the record of one venue; knows what it said since `from_us`."""

    storage: Storage
    venue: str
    bucket_us: int
    from_us: int
    said: dict[tuple[str, int], ForecastLine] = field(default_factory=dict)
    """The last revision by (symbol, origin)."""
    scored: set[tuple[str, int]] = field(default_factory=set)

    def open(self, symbols: list[str]) -> None:
        """Read what was said since `from_us`, and cut off what a kill has torn. Raises DataError, StorageError."""
        for symbol in symbols:
            for path in self.storage.list_files(f"{TABLE}/venue={self.venue}/symbol={symbol}", ".jsonl"):
                if f"-{self.bucket_us // 1000}ms" not in path or _hour_us(path) < self.from_us - 3_600_000_000:
                    continue
                local = self.storage.local_path(path)
                if path.endswith("-scores.jsonl"):
                    self.scored |= {(scored.symbol, scored.ts_us) for scored in _read(local, ScoreLine)}
                    continue
                for line in _read(local, ForecastLine):
                    if line.ts_us >= self.from_us:
                        self.said[line.symbol, line.ts_us] = line

    def append(self, line: ForecastLine | ScoreLine) -> None:
        """Write one line whole. Raises StorageError."""
        is_score = isinstance(line, ScoreLine)
        path = _path(self.venue, line.symbol, self.bucket_us, line.ts_us, "-scores" if is_score else "")
        local = self.storage.local_path(path)
        data = _encode(line) + b"\n"
        try:
            local.parent.mkdir(parents=True, exist_ok=True)
            with local.open("ab", buffering=0) as stream:
                whole = stream.write(data) == len(data)
        except OSError as error:
            raise StorageError(f"cannot write {local}: {error.strerror}; free space or fix permissions") from None
        if not whole:  # the next start cuts off what is torn
            raise StorageError(f"cannot write {local}: the disk is full; free space")
        if isinstance(line, ScoreLine):
            self.scored.add((line.symbol, line.ts_us))
        else:
            self.said[line.symbol, line.ts_us] = line

    def forget(self, before_us: int) -> None:
        """Origins before this are final."""
        for key in [key for key in self.said if key[1] < before_us]:
            del self.said[key]
        self.scored = {key for key in self.scored if key[1] >= before_us}


def _hour_us(path: str) -> int:
    folder, _, name = path.rpartition("/")
    day, hour = folder.rpartition("date=")[2], name.partition("-")[0]
    return int(datetime.fromisoformat(f"{day}T{hour}:00:00+00:00").timestamp()) * 10**6


def _read(path: Path, kind: type[Line]) -> list[Line]:
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    try:
        return [msgspec.json.decode(line, type=kind) for line in data[:whole].splitlines()]
    except msgspec.DecodeError as error:
        raise DataError(f"{path}: expected lines of forecasts, found: {error}; move the file away") from None
