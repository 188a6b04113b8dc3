"""How the archive names its files: `BTCUSDT-aggTrades-2024-10-18.zip`, `BTCUSDT-1m-2024-10.zip`; where it has them."""

import calendar
import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal, get_args

from midas_ray.errors import DataError, UsageError

Kind = Literal["trades", "aggTrades", "klines", "bookTicker"]
KINDS: tuple[Kind, ...] = get_args(Kind)

MARKETS = {"binance-futures": "futures/um", "binance-spot": "spot"}
"""Folder of each venue in the archive."""

_INTERVAL = "1m"
_NAME = re.compile(r"([A-Z0-9_]{2,30})-([A-Za-z0-9]+)-(\d{4})-(\d{2})(?:-(\d{2}))?\.zip")


@dataclass(frozen=True, slots=True)
class ArchiveName:
    """What a file's name says: symbol in lower case, kind, and the UTC days it holds, both inclusive."""

    symbol: str
    kind: Kind
    first: date
    last: date

    @property
    def is_month(self) -> bool:
        return self.first != self.last

    @property
    def days(self) -> list[date]:
        return [self.first + timedelta(days=at) for at in range((self.last - self.first).days + 1)]

    @property
    def stem(self) -> str:
        """The name without `.zip`."""
        what = _INTERVAL if self.kind == "klines" else self.kind
        period = f"{self.first:%Y-%m}" if self.is_month else self.first.isoformat()
        return f"{self.symbol.upper()}-{what}-{period}"

    def url_path(self, venue: str) -> str:
        """Path below the archive's base URL, such as `data/spot/daily/trades/BTCUSDT/BTCUSDT-trades-2024-10-18.zip`."""
        period = "monthly" if self.is_month else "daily"
        interval = f"{_INTERVAL}/" if self.kind == "klines" else ""
        folder = f"data/{MARKETS[venue]}/{period}/{self.kind}/{self.symbol.upper()}/{interval}"
        return f"{folder}{self.stem}.zip"


def parse_name(name: str) -> ArchiveName:
    """What `name` (without folders) says. Raises DataError for a name or kind that is none of those imported."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise DataError(
            f"{name}: expected a file of the archive by its own name, such as BTCUSDT-aggTrades-2024-10-18.zip or "
            "BTCUSDT-1m-2024-10.zip; keep the names as they are published"
        )
    symbol, what, year, month, day = match.groups()
    if re.fullmatch(r"\d+[a-zA-Z]+", what) and what != _INTERVAL:
        raise DataError(f"{name}: expected {_INTERVAL} klines, found {what}; use the {_INTERVAL} file")
    kind = "klines" if what == _INTERVAL else what
    if kind not in KINDS or what == "klines":
        raise DataError(f"{name}: expected trades, aggTrades, bookTicker or {_INTERVAL} (klines), found {what}")
    try:
        first = date(int(year), int(month), int(day or 1))
    except ValueError:
        raise DataError(
            f"{name}: expected a date in the name, found {name[len(symbol) + len(what) + 2 : -4]}"
        ) from None
    last = first if day else first.replace(day=calendar.monthrange(first.year, first.month)[1])
    return ArchiveName(symbol.lower(), kind, first, last)


def wanted_days(download: tuple[str, ...], today: date) -> list[date]:
    """Days FROM to TO, both inclusive. today: the running UTC day. Raises UsageError."""
    if len(download) != 2:
        raise UsageError(f"--download: expected FROM TO such as 2024-10-01 2024-10-31, found {' '.join(download)}")
    try:
        first, last = (date.fromisoformat(text) for text in download)
    except ValueError:
        raise UsageError(f"--download: expected dates such as 2024-10-01, found {' '.join(download)}") from None
    if first > last:
        raise UsageError(f"--download: expected FROM <= TO, found {first} after {last}")
    if last >= today:
        raise UsageError(
            f"--download: expected days before {today} (today, UTC), found {last}: a day is published after its end"
        )
    return [first + timedelta(days=at) for at in range((last - first).days + 1)]
