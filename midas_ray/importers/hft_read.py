"""hftbacktest's `.npz` of normalised events as checked numpy chunks, read as a stream (hftbacktest 2: `types.py`)."""

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from midas_ray.errors import CorruptFileError, DataError
from midas_ray.importers.units import EARLIEST_NS, LATEST_NS

EXPECTED = "hftbacktest's normalised events (.npz with the array `data`)"
CHUNK_ROWS = 500_000

EVENT: np.dtype[Any] = np.dtype(
    [
        ("ev", "<u8"),
        ("exch_ts", "<i8"),
        ("local_ts", "<i8"),
        ("px", "<f8"),
        ("qty", "<f8"),
        ("order_id", "<u8"),
        ("ival", "<i8"),
        ("fval", "<f8"),
    ]
)
EXCHANGE, LOCAL, BUY, SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28
DEPTH, TRADE, CLEAR, SNAPSHOT = 1, 2, 3, 4
"""Kinds of events, in the low byte of `ev`."""

_HEADER_ERRORS = (
    ValueError,
    LookupError,
    SyntaxError,
    TypeError,
    ArithmeticError,
    MemoryError,
    RecursionError,
    TokenError,
)
"""What numpy's reading of a header as Python raises where it is none."""

Events = npt.NDArray[np.void]


def read_events(path: Path, chunk_rows: int = CHUNK_ROWS) -> Iterator[tuple[int, Events]]:
    """(number of its first row, chunk) of the file's events in its order, checked.

    Raises DataError for another array or a row that no market has, CorruptFileError.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if "data.npy" not in archive.namelist():
                raise DataError(f"{path}: expected {EXPECTED}, found {', '.join(archive.namelist())[:80] or 'nothing'}")
            with archive.open("data.npy") as stream:
                rows = _read_array_header(path, cast(BinaryIO, stream))
                yield from _chunks(path, cast(BinaryIO, stream), rows, chunk_rows)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise CorruptFileError(
            f"{path}: expected {EXPECTED}, found a damaged file or another ({error}); check it"
        ) from None


def _read_array_header(path: Path, stream: BinaryIO) -> int:
    """Rows of the array. Raises DataError where it is no array of events."""
    try:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, _, dtype = read(stream)
    except _HEADER_ERRORS as error:
        raise DataError(f"{path}: expected {EXPECTED}, found no array that numpy reads ({error})") from None
    if dtype != EVENT or len(shape) != 1:
        hint = "; convert it with hftbacktest's data.utils.migration2" if dtype == np.float64 else ""
        raise DataError(
            f"{path}: expected {EXPECTED}: one column of {', '.join(EVENT.names or ())}, "
            f"found {str(dtype)[:120]} of shape {shape}{hint}"
        )
    return int(shape[0])


def _chunks(path: Path, stream: BinaryIO, rows: int, chunk_rows: int) -> Iterator[tuple[int, Events]]:
    first = 0
    while first < rows:
        wanted = min(chunk_rows, rows - first) * EVENT.itemsize
        data = stream.read(wanted)
        if len(data) != wanted:
            raise CorruptFileError(f"{path}: truncated: expected {rows:,} events, found fewer; fetch it again")
        events = np.frombuffer(data, EVENT)
        _check(path, first, events)
        yield first, events
        first += len(events)
    if stream.read(1):
        raise CorruptFileError(f"{path}: expected {rows:,} events, found more bytes than that; fetch it again")


def kind_of(events: Events) -> npt.NDArray[np.uint64]:
    """The low byte of each event's `ev`."""
    kinds: npt.NDArray[np.uint64] = events["ev"] & np.uint64(0xFF)
    return kinds


def has(events: Events, flag: int) -> npt.NDArray[np.bool_]:
    """Whether each event carries a flag."""
    found: npt.NDArray[np.bool_] = (events["ev"] & np.uint64(flag)) != 0
    return found


def _check(path: Path, first: int, events: Events) -> None:
    """Raises DataError at the first row that breaks a rule of the kinds that are read."""
    kinds = kind_of(events)
    is_level, is_clear = np.isin(kinds, (DEPTH, SNAPSHOT)), kinds == CLEAR
    is_read = np.isin(kinds, (DEPTH, TRADE, CLEAR, SNAPSHOT))
    one_side = has(events, BUY) != has(events, SELL)
    px, qty = events["px"], events["qty"]
    rules = {
        "a time from 2009 to 2100 in ns in exch_ts": (events["exch_ts"] >= EARLIEST_NS)
        & (events["exch_ts"] < LATEST_NS),
        "a time from 2009 to 2100 in ns in local_ts": (events["local_ts"] >= EARLIEST_NS)
        & (events["local_ts"] < LATEST_NS),
        "EXCH_EVENT or LOCAL_EVENT in ev": has(events, EXCHANGE | LOCAL),
        "either BUY_EVENT or SELL_EVENT in ev": one_side | is_clear,
        "a price above 0": (np.isfinite(px) & (px > 0)) | is_clear,
        "a quantity from 0": np.isfinite(qty) & (qty >= 0),
        "a quantity above 0 in a trade": (qty > 0) | is_level | is_clear,
    }
    for rule, holds in rules.items():
        wrong = np.flatnonzero(is_read & ~holds)
        if len(wrong):
            at = int(wrong[0])
            if kinds[at] == SNAPSHOT and events["exch_ts"][at] == 0:
                raise DataError(
                    f"{path}: expected events with their times, found a whole book without its time, as "
                    "create_last_snapshot writes it; leave that file out"
                )
            row = dict(zip(EVENT.names or (), events[at].item(), strict=True))
            raise DataError(
                f"{path}, event {first + at:,}: expected {rule}, found ev={row['ev']:#x} exch_ts={row['exch_ts']} "
                f"local_ts={row['local_ts']} px={row['px']} qty={row['qty']}; correct the file, or convert it again"
            )
