"""`midas features` as a command: mistakes in one line, and a small Ray end to end."""

import warnings
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from midas_ray import cli
from midas_ray.features.registry import FEATURE_NAMES
from midas_ray.storage import Storage
from tests.features.clean_data import HOUR_US, START_US, make_bars, make_market, write_bars, write_clean
from tests.features.serial import features_of, read_features


def midas(*arguments: str) -> int:
    return cli.main(["features", *arguments])


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


def test_no_clean_data_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert midas("--data-dir", str(tmp_path)) == 1
    assert "no clean data yet of binance-futures" in (message := one_line(capsys))
    assert "run midas reconstruct" in message
    assert list(tmp_path.iterdir()) == []


def test_unknown_symbol(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bars(Storage(str(tmp_path)), make_bars(5))
    assert midas("--data-dir", str(tmp_path), "--symbols", "nosuch") == 1
    assert "no clean data of nosuch" in (message := one_line(capsys))
    assert "found testusdt" in message


@pytest.mark.parametrize("bucket_ms", ["1500", "7000", "2400000"])
def test_a_bucket_that_does_not_tile_the_hour(
    bucket_ms: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert midas("--data-dir", str(tmp_path), "--time-bucket-ms", bucket_ms) == 2
    assert "expected whole seconds that divide an hour" in one_line(capsys)


def test_a_book_here_and_none_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = Storage(str(tmp_path))
    write_clean(storage, make_market(0.1, grid_ms=1000), "oneusdt")
    write_bars(storage, make_bars(5), "twousdt")
    assert midas("--data-dir", str(tmp_path)) == 2
    assert "found a book of oneusdt but none of twousdt: choose with --symbols" in one_line(capsys)


def test_other_schema_and_damaged_file(tmp_path: Path, ray_local: None, capsys: pytest.CaptureFixture[str]) -> None:
    storage = Storage(str(tmp_path))
    write_clean(storage, make_market(0.5, grid_ms=1000))
    trades = storage.list_files("clean/trades", ".parquet")[0]
    table = storage.read_parquet(trades)
    storage.write_parquet(trades, table, {"schema_version": "99"})
    assert midas("--data-dir", str(tmp_path)) == 1
    message = one_line(capsys)
    assert "expected clean schema version 1, found 99; rerun midas reconstruct" in message
    storage.write_bytes(trades, storage.read_bytes(trades)[:-100])
    assert midas("--data-dir", str(tmp_path)) == 1
    assert "not a readable Parquet file" in one_line(capsys)
    assert not storage.exists("features")


def test_a_damaged_hour_costs_its_days_alone(
    tmp_path: Path, ray_local: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Days before it and other symbols are computed; once it is mended, the rest is too."""
    storage, whole = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "whole"))
    first, second = make_market(1, grid_ms=1000, start_us=START_US - HOUR_US), make_market(1, grid_ms=1000)
    for each in (storage, whole):
        for market in (first, second):
            write_clean(each, market, "oneusdt")
            write_clean(each, market, "twousdt")
    path = storage.list_files("clean/trades/venue=binance-futures/symbol=oneusdt", ".parquet")[-1]
    good = storage.read_bytes(path)
    storage.write_bytes(path, good[:-100])
    assert midas("--data-dir", storage.data_dir) == 1
    output = capsys.readouterr()
    assert output.err.count("\n") == 1
    assert path in output.err
    assert "oneusdt: 1 of these days could not be computed" in output.out
    assert read_features(storage, "oneusdt")["ts"].dt.date().n_unique() == 2  # 00:00 closes the first day
    assert_frame_equal(read_features(storage, "twousdt"), features_of(whole, symbol="twousdt"), check_exact=True)
    storage.write_bytes(path, good)
    assert midas("--data-dir", storage.data_dir) == 0
    assert_frame_equal(read_features(storage, "oneusdt"), features_of(whole, symbol="oneusdt"), check_exact=True)


def test_bars_need_whole_minutes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bars(Storage(str(tmp_path)), make_bars(5))
    assert midas("--data-dir", str(tmp_path), "--time-bucket-ms", "30000") == 2
    assert "expected a multiple of 60000" in one_line(capsys)


def test_end_to_end_on_ray(tmp_path: Path, ray_local: None, capsys: pytest.CaptureFixture[str]) -> None:
    storage, serial = Storage(str(tmp_path / "ray")), Storage(str(tmp_path / "serial"))
    market = make_market(3, grid_ms=1000, start_us=START_US - HOUR_US)
    for each in (storage, serial):
        write_clean(each, market)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert midas("--data-dir", str(tmp_path / "ray")) == 0
    summary = capsys.readouterr().out
    assert "testusdt: 180 rows, 2026-01-04 23:01:00 to 2026-01-05 02:00:00 UTC, P = midprice" in summary
    assert "warm-up costs 60 rows; entirely null: none; 2 days computed, 0 up to date" in summary
    assert_frame_equal(read_features(storage), features_of(serial), check_exact=True)
    assert midas("--data-dir", str(tmp_path / "ray")) == 0
    assert "0 days computed, 2 up to date" in capsys.readouterr().out
    frame = pl.read_parquet(tmp_path / "ray/features/**/*.parquet", hive_partitioning=False)
    assert frame.columns == ["ts", "symbol", *FEATURE_NAMES, "coverage", "trades_coverage", "null_kinds"]
    assert frame.schema["null_kinds"] == pl.Binary
