"""`midas stats`: counts, completeness and gaps by hand."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from midas_ray import tables
from midas_ray.cli import main
from midas_ray.stats import collect_stats
from midas_ray.storage import Partition, Storage

VENUE = "binance-futures"
DAY = date(2026, 1, 5)
START = datetime(2026, 1, 5, 10, tzinfo=UTC)


def _write(storage: Storage, table: str, name: str, frame: pl.DataFrame, symbol: str = "btcusdt") -> None:
    storage.write_parquet(f"{Partition(table, VENUE, symbol, DAY).path}/{name}", frame.to_arrow())


def _book(first: datetime, states: list[str]) -> pl.DataFrame:
    schema = {"ts": tables.TIMESTAMP, "state": pl.Enum(tables.BOOK_STATES)}
    ts = [first + timedelta(milliseconds=100 * n) for n in range(len(states))]
    return pl.DataFrame({"ts": ts, "state": states}, schema=schema)


def _filled(root: Path) -> Storage:
    storage = Storage(str(root))
    raw = Partition("raw", VENUE, "btcusdt", DAY).path
    storage.write_bytes(f"{raw}/{int(START.timestamp()) * 10**9}-1.jsonl.zst", b"x" * 1000)
    storage.write_bytes(f"{raw}/{int(START.timestamp() + 60) * 10**9}-1.jsonl.zst.open", b"x" * 500)
    _write(storage, "clean/book", "10.parquet", _book(START, ["syncing", "live", "live", "live"]))
    _write(storage, "clean/book", "11.parquet", _book(START + timedelta(hours=1), ["gap", "live", "live", "live"]))
    _write(storage, "clean/trades", "10.parquet", pl.DataFrame({"ts": [START] * 7}, {"ts": tables.TIMESTAMP}))
    gaps = {"start": [START, START], "end": [START + timedelta(seconds=2.5), None]}
    _write(storage, "clean/gaps", "10.parquet", pl.DataFrame(gaps, dict.fromkeys(gaps, tables.TIMESTAMP)))
    _write(storage, "features", "features.parquet", pl.DataFrame({"ts": [START] * 3}, {"ts": tables.TIMESTAMP}))
    _write(storage, "features", "features.parquet", pl.DataFrame({"ts": [START]}, {"ts": tables.TIMESTAMP}), "ethusdt")
    return storage


def test_a_day_is_counted(tmp_path: Path) -> None:
    found = collect_stats(_filled(tmp_path), VENUE)
    assert list(found) == [("btcusdt", DAY), ("ethusdt", DAY)]
    day = found["btcusdt", DAY]
    assert (day.raw_files, day.growing_files, day.raw_bytes) == (2, 1, 1500)
    assert (day.rows["book"], day.rows["trades"], day.feature_rows) == (8, 7, 3)
    assert day.completeness == 6 / 8
    assert (day.gaps, day.longest_gap_s) == (2, 2.5)
    assert day.span == (START, START + timedelta(hours=1, milliseconds=300))
    assert found["ethusdt", DAY].completeness is None


def test_the_table_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _filled(tmp_path)
    assert main(["stats", "--data-dir", str(tmp_path), "--symbols", "btcusdt"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[1].split()[:4] == ["btcusdt", "2026-01-05", "2", "(1"]
    assert "75.00 %" in out
    assert "10:00:00 - 11:00:00" in out
    assert "1 symbol-days, 1.5 kB raw" in out


def test_nothing_there_and_a_damaged_file_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "--data-dir", str(tmp_path)]) == 1
    assert "expected data of any symbol of binance-futures, found none" in capsys.readouterr().err
    storage = _filled(tmp_path)
    storage.write_bytes(f"{Partition('clean/book', VENUE, 'btcusdt', DAY).path}/12.parquet", b"PAR1 nonsense")
    assert main(["stats", "--data-dir", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert "12.parquet: not a readable Parquet file" in err
    assert len(err.splitlines()) == 1
