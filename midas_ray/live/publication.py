"""One publication of a bucket: its row of features, and which version of it this is."""

from dataclasses import dataclass, replace
from typing import Literal

import msgspec
import numpy as np
import xxhash

from midas_ray.features.column import KindArray
from midas_ray.features.nulls import NullKind
from midas_ray.features.registry import FEATURE_NAMES
from midas_ray.features.statistics import FloatArray

ClosedBy = Literal["streams", "clock", "late", "restart"]
"""What made a row known: every continuous stream has shown the bucket's end (`streams`), a second has passed since
(`clock`), something came later (`late`), or it was made up for after a start of the process (`restart`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A bucket's row. values: (72,), NaN exactly where kinds: (72,) is not VALUE."""

    ts_us: int
    symbol: str
    revision: int
    """1 for the first, and one more each time that a later event has changed the row."""
    closed_by: ClosedBy
    closed_ns: int
    """When the bucket was over, by this machine's clock: never later than that, at most one poll earlier."""
    published_ns: int
    values: FloatArray
    kinds: KindArray
    coverage: float
    trades_coverage: float

    def as_revision(self, revision: int) -> "Publication":
        return replace(self, revision=revision)

    @property
    def revised(self) -> bool:
        return self.revision > 1

    @property
    def latency_s(self) -> float:
        """Seconds from the bucket's close to its publication."""
        return (self.published_ns - self.closed_ns) / 1e9

    @property
    def digest(self) -> bytes:
        """Of all that is known of the bucket: the same bits, the same digest."""
        rest = np.array([self.coverage, self.trades_coverage])
        return xxhash.xxh3_128_digest(self.values.tobytes() + self.kinds.tobytes() + rest.tobytes())


class Line(msgspec.Struct, kw_only=True, frozen=True):
    """A publication as one line of JSON; numbers keep every bit. null_kinds: 72 digits, in the order of `features`."""

    ts: str
    ts_us: int
    symbol: str
    revision: int
    revised: bool
    closed_by: ClosedBy
    closed_ns: int
    published_ns: int
    coverage: float
    trades_coverage: float
    features: dict[str, float | None]
    null_kinds: str


_decode = msgspec.json.Decoder(Line).decode


def to_line(publication: Publication) -> bytes:
    """With its newline."""
    p = publication
    known = (p.kinds == NullKind.VALUE).tolist()
    values = [value if is_known else None for value, is_known in zip(p.values.tolist(), known, strict=True)]
    line = Line(
        ts=f"{np.datetime64(p.ts_us, 'us').astype('datetime64[s]')}Z",
        ts_us=p.ts_us,
        symbol=p.symbol,
        revision=p.revision,
        revised=p.revised,
        closed_by=p.closed_by,
        closed_ns=p.closed_ns,
        published_ns=p.published_ns,
        coverage=p.coverage,
        trades_coverage=p.trades_coverage,
        features=dict(zip(FEATURE_NAMES, values, strict=True)),
        null_kinds="".join(map(str, p.kinds.tolist())),
    )
    return msgspec.json.encode(line) + b"\n"


def from_line(data: bytes) -> Publication:
    """Raises msgspec.DecodeError, KeyError where it is no such line."""
    line = _decode(data)
    values = [line.features[name] for name in FEATURE_NAMES]
    return Publication(
        ts_us=line.ts_us,
        symbol=line.symbol,
        revision=line.revision,
        closed_by=line.closed_by,
        closed_ns=line.closed_ns,
        published_ns=line.published_ns,
        values=np.array([np.nan if value is None else value for value in values]),
        kinds=np.frombuffer(line.null_kinds.encode(), np.uint8) - ord("0"),
        coverage=line.coverage,
        trades_coverage=line.trades_coverage,
    )
