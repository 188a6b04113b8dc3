"""OHLCV of the features against the exchange's own bars: equal to the last bit, minute by minute, for made-up days."""

from pathlib import Path

import polars as pl
import pytest

from midas_ray.cli import main
from midas_ray.simulate.history import write_history
from midas_ray.storage import Storage
from tests.features.raw_market import make_features, reconstruct
from tests.features.serial import read_features

START_NS = (1_767_571_200 - 20 * 60) * 10**9  # 20 minutes before midnight
BARS = [
    *("open", "high", "low", "close", "volume", "quote_volume", "number_of_trades"),
    *("taker_buy_volume", "taker_buy_quote_volume"),
]


@pytest.mark.parametrize("seed", [1, 2])
def test_every_minute_equals_the_exchanges_bar(tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    write_history(str(tmp_path), "binance-futures", ("btcusdt",), seed, START_NS, 45 * 60.0)
    reconstruct(tmp_path, pack_bytes=1, grid_ms=1000)
    make_features(tmp_path)
    storage = Storage(str(tmp_path))
    paths = storage.list_files("clean/bars", ".parquet")
    bars = pl.concat([pl.DataFrame(storage.read_parquet(path)) for path in paths])
    names = [name for name in BARS if name in read_features(storage, "btcusdt").columns]
    both = read_features(storage, "btcusdt").select("ts", *names).join(bars, on="ts", suffix="_bar")
    known = both.filter(pl.col("volume").is_not_null())
    assert len(known) >= 40
    assert len(names) >= 7
    for name in names:
        assert known[name].to_list() == known[f"{name}_bar"].cast(pl.Float64).to_list(), name
    capsys.readouterr()
    assert main(["validate", "--data-dir", str(tmp_path)]) == 0
    assert "PASS    kline_differences         0" in capsys.readouterr().out
