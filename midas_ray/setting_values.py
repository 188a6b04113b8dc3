"""What a setting's text may say, and what it stands for: durations, sizes, moments, symbols, quantiles, lists.

Each kind is an annotated type that pydantic checks; a ValueError's text becomes the one line that a person reads.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

_DURATION_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration_s(text: str | float) -> float:
    """Seconds in `30s`, `10m`, `24h`, `7d`, `500ms` or a bare number of seconds. Raises ValueError otherwise."""
    if isinstance(text, int | float):
        return float(text)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*", text)
    if match is None:
        raise ValueError("expected a duration such as 30s, 10m, 24h or 7d")
    return float(match[1]) * _DURATION_UNIT_S[match[2] or "s"]


_SIZE_UNIT_BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}


def parse_size_bytes(text: str | float) -> float:
    """Bytes in `50GB`, `500MB`, `1.5TB` (decimal units) or a bare number of bytes. Raises ValueError otherwise."""
    if isinstance(text, int | float):
        return float(text)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?b)?\s*", text.lower())
    if match is None:
        raise ValueError("expected a size such as 500MB, 50GB or 2TB")
    return float(match[1]) * _SIZE_UNIT_BYTES[match[2] or "b"]


TOP_SYMBOLS = "top:"
"""`top:50` in place of symbols: the 50 most traded, as the venue says when collecting starts."""
MOST_TOP_SYMBOLS = 200


def top_count(symbols: tuple[str, ...]) -> int | None:
    """N where `symbols` is a lone `top:N`; None where symbols are named."""
    return int(symbols[0].removeprefix(TOP_SYMBOLS)) if symbols and symbols[0].startswith(TOP_SYMBOLS) else None


def _symbol_parts(value: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else list(value)
    return tuple(dict.fromkeys(part.strip().lower() for part in parts if part.strip()))


def _split_symbols(value: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    symbols = _symbol_parts(value)
    for symbol in symbols:
        if symbol.startswith(TOP_SYMBOLS):
            raise ValueError(f"{symbol!r} is for midas collect and midas up only: expected symbols such as btcusdt")
        if not re.fullmatch(r"[a-z0-9_]{2,30}", symbol):
            raise ValueError(f"{symbol!r} is not a symbol: expected letters and digits such as btcusdt")
    return symbols


def _split_symbols_or_top(value: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    symbols = _symbol_parts(value)
    if not any(symbol.startswith(TOP_SYMBOLS) for symbol in symbols):
        return _split_symbols(symbols)
    count = symbols[0].removeprefix(TOP_SYMBOLS)
    if len(symbols) > 1 or not (count.isdecimal() and 1 <= int(count) <= MOST_TOP_SYMBOLS):
        raise ValueError(f"expected top:1 to top:{MOST_TOP_SYMBOLS} alone, or symbols such as btcusdt,ethusdt")
    return (f"{TOP_SYMBOLS}{int(count)}",)


def _split_tables(value: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    tables = _symbol_parts(value)
    for table in tables:
        if table not in RETENTION_TABLES:
            raise ValueError(f"{table!r}: expected some of {', '.join(RETENTION_TABLES)}")
    return tables


def _split_words(value: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else list(value)
    return tuple(part.strip() for part in parts if part.strip())


DEFAULT_QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
REPORTED_QUANTILES = (0.1, 0.5, 0.9)
"""P10, P50 and P90: what is reported, whatever else is forecast."""


def _split_quantiles(value: str | tuple[float, ...] | list[float]) -> tuple[float, ...]:
    parts = value.split(",") if isinstance(value, str) else list(value)
    try:
        quantiles = tuple(float(part) for part in parts)
    except ValueError:
        raise ValueError("expected numbers such as 0.1,0.5,0.9") from None
    rising = all(low < high for low, high in zip((0.0, *quantiles), (*quantiles, 1.0), strict=True))
    if not rising or not set(REPORTED_QUANTILES) <= set(quantiles):
        raise ValueError("expected rising numbers between 0 and 1, among them 0.1, 0.5 and 0.9")
    return quantiles


def parse_moment_us(text: str | int) -> int:
    """Microseconds since 1970 of an ISO date or time, UTC unless it says otherwise. Raises ValueError otherwise."""
    if isinstance(text, int):
        return text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("expected a date or time such as 2026-11-01 or 2026-11-01T12:00") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


FORECASTERS = ("tft", "trailing", "ewma", "har", "linear", "lightgbm")
"""What `--forecasters` may name."""


def _split_forecasters(value: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    names = _symbol_parts(value)
    unknown = [name for name in names if name not in FORECASTERS]
    if unknown or not names:
        raise ValueError(f"expected some of {', '.join(FORECASTERS)}")
    return names


def _split_range(value: str | int | tuple[int, int] | list[int]) -> tuple[int, int]:
    """`2` or `1-4`: least and most."""
    given = list(value) if isinstance(value, tuple | list) else [value]
    words = [word for part in given for word in str(part).split("-")]  # the command line gives a list of one word
    try:
        least, most = int(words[0]), int(words[-1])
    except ValueError:
        raise ValueError("expected a number of workers such as 2, or least and most such as 1-4") from None
    if len(words) > 2 or not 1 <= least <= most <= MOST_WORKERS:
        raise ValueError(f"expected 1 to {MOST_WORKERS} workers, such as 2, or least and most such as 1-4")
    return least, most


def _split_numbers(value: str | tuple[float, ...] | list[float]) -> tuple[float, ...]:
    parts = value.split(",") if isinstance(value, str) else list(value)
    try:
        return tuple(float(part) for part in parts)
    except ValueError:
        raise ValueError("expected numbers, separated by commas") from None


def _check_range(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= value[0] <= value[1] < 1:
        raise ValueError("expected the least and the most of a range within 0 and 1, such as 0.001,0.01")
    return value


def _check_whole(value: tuple[int, ...]) -> tuple[int, ...]:
    if not value or min(value) < 1:
        raise ValueError("expected whole numbers from 1 on, such as 16,32")
    return value


MAX_DOLLARS_PER_GB = 0.02
"""Most that a rented node's traffic may cost by default, $ a GB each way: $20 a TB."""
PIPELINE_STAGES = ("reconstruct", "features", "validate", "train", "backtest")
"""In the order in which they follow one another."""


def _split_stages(value: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    names = _symbol_parts(value)
    if not names or any(name not in PIPELINE_STAGES for name in names):
        raise ValueError(f"expected some of {', '.join(PIPELINE_STAGES)}")
    return names


Range = Annotated[tuple[float, float], NoDecode, BeforeValidator(_split_numbers), AfterValidator(_check_range)]
PipelineStages = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_stages)]
Whole = Annotated[tuple[int, ...], NoDecode, BeforeValidator(_split_numbers), AfterValidator(_check_whole)]
MOST_WORKERS = 1024
WorkerRange = Annotated[tuple[int, int], NoDecode, BeforeValidator(_split_range)]
Symbols = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_symbols)]
Forecasters = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_forecasters)]
Moment = Annotated[int, BeforeValidator(parse_moment_us)]
Quantiles = Annotated[tuple[float, ...], NoDecode, BeforeValidator(_split_quantiles)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_words)]
ArchiveKinds = Annotated[
    tuple[Literal["trades", "aggTrades", "klines", "bookTicker"], ...], NoDecode, BeforeValidator(_split_words)
]
SymbolsOrTop = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_symbols_or_top)]
DurationS = Annotated[float, BeforeValidator(parse_duration_s)]
DataSize = Annotated[float, BeforeValidator(parse_size_bytes)]
RETENTION_TABLES = ("raw", "clean", "features", "feature_stats", "live_features")
RetentionTables = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_tables)]
VenueName = Literal["binance-futures", "binance-spot"]


def _check_depth_levels(value: int) -> int:
    if not 10 <= value <= 50:
        raise ValueError("expected 10 to 50 levels")
    return value


def _check_divides_hour(value_ms: int) -> int:
    if 3_600_000 % value_ms:
        raise ValueError("expected a divisor of one hour (3600000 ms), so that every hour begins on the grid")
    return value_ms


def _check_bucket(value_ms: int) -> int:
    if value_ms % 1000 or 3_600_000 % value_ms:
        raise ValueError("expected whole seconds that divide an hour, such as 10000 or 60000")
    return value_ms


def _as_number(value: object) -> object:
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else value


FromText = BeforeValidator(_as_number)
"""For a choice of numbers: flags and the environment give text, which a Literal would refuse."""
GridMs = Annotated[int, AfterValidator(_check_divides_hour)]
BucketMs = Annotated[int, AfterValidator(_check_bucket)]
