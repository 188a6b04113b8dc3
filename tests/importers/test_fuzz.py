"""Spoilt archives: imported but for what is wrong, or refused in one line with nothing written; never a traceback."""

import gzip
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midas_ray.cli import main
from midas_ray.reconstruct.plan import hour_keys, plan_tasks, raw_files
from midas_ray.reconstruct.task import reconstruct_hours
from midas_ray.settings import BookSettings
from midas_ray.storage import Storage
from tests.importers.captures import lines_file, session, written
from tests.importers.test_cryptofeed import http_file, ws_file
from tests.importers.test_klines import csv_file, rows

PIECES = [
    *(
        b"\0",
        b"\n",
        b"\r\n",
        b'"',
        b"}",
        b"]",
        b",",
        b" ",
        b"-",
        b"e",
        b".",
        b"null",
        b"{}",
        b"[]",
        b"\xff\xfe",
        b"\xc3",
    ),
    *(b"1e400", b"NaN", b"99999999999999999999", b'"e":"trade"', b"\\u0000", b"{", b"0", b"9" * 30),
]


def spoilt(data: bytes, chance: random.Random) -> bytes:
    """The bytes with one to three things done to them."""
    for _ in range(chance.randint(1, 3)):
        at, stop = sorted(chance.choices(range(len(data) + 1), k=2))
        near = min(at + chance.randint(0, 40), len(data))
        piece = chance.choice(PIECES)
        match chance.randrange(7):
            case 0:
                data = data[:at] + piece + data[at:]
            case 1:
                data = data[:at] + data[near:]
            case 2:
                data = data[:at] + piece + data[near:]
            case 3:
                data = data[:at]
            case 4:
                data = data[:stop] + data[at:]
            case 5:
                data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
            case _:
                lines = data.splitlines(keepends=True)
                chance.shuffle(lines)
                data = b"".join(lines)
    return data


def lines(root: Path) -> tuple[str, list[str]]:
    return "lines", [lines_file(root / "a.txt", session())]


def zipped_lines(root: Path) -> tuple[str, list[str]]:
    return "lines", [lines_file(root / "a.txt.gz", session())]


def cryptofeed(root: Path) -> tuple[str, list[str]]:
    return "cryptofeed", [ws_file(root / "BINANCE_FUTURES.ws.0"), http_file(root / "BINANCE_FUTURES.http.0")]


def klines(root: Path) -> tuple[str, list[str]]:
    return "klines", [csv_file(root, rows(30))]


@pytest.mark.parametrize("made", [lines, zipped_lines, cryptofeed, klines])
@given(seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=25, derandomize=True)
def test_no_traceback_and_nothing_half_written(made: Callable[[Path], tuple[str, list[str]]], seed: int) -> None:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        name, paths = made(root)
        victim = Path(chance.choice(paths))
        if victim.suffix == ".gz" and chance.random() < 0.5:
            victim.write_bytes(gzip.compress(spoilt(gzip.decompress(victim.read_bytes()), chance)))
        else:
            victim.write_bytes(spoilt(victim.read_bytes(), chance))
        code = main(["import", name, *paths, "--data-dir", str(root / "data")])
        assert code in (0, 1, 2)
        files = [path for path in written(root) if not path.startswith("logs/")]
        if code:
            assert not [path for path in files if path.endswith((".zst", ".open", ".parquet"))]
        else:
            check(root / "data")


def check(data: Path) -> None:
    """What was written can be read: journals through reconstruct, bars as finite numbers."""
    storage = Storage(str(data))
    for symbol in storage.symbols("raw", "binance-futures"):
        files = raw_files(storage, "binance-futures", symbol)
        book = BookSettings(snapshot_interval_ms=1000)
        for task in plan_tasks("binance-futures", symbol, files, hour_keys(files, book), {}):
            assert not reconstruct_hours(str(data), task, book)["damaged"]
    for path in storage.list_files("clean/bars", ".parquet"):
        frame = pl.DataFrame(storage.read_parquet(path))
        numbers = frame.select(pl.col(pl.Float64)).drop_nulls()
        assert all(column.is_finite().all() for column in numbers)
        assert frame["ts"].is_sorted()
        assert frame["ts"].n_unique() == len(frame)
