"""What the later stages make of archives: features of each kind alone and together, and midas validate."""

import json
import zipfile
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from midas_ray.cli import main
from midas_ray.features.summary import symbol_summary
from midas_ray.storage import Storage
from tests.features.serial import plan_of, read_features, run_features
from tests.importers.vision.made_up import (
    DAY,
    NEXT_DAY,
    agg_trades,
    klines,
    quotes,
    run,
    single_trades,
    table,
    zip_file,
)

Capsys = pytest.CaptureFixture[str]


def features(root: Path, symbol: str = "btcusdt") -> tuple[pl.DataFrame, set[str]]:
    """(features of all days, names of those that are null throughout in the last day)."""
    storage = Storage(str(root / "data"))
    run_features(storage, symbol)
    frame = read_features(storage, symbol)
    path = storage.list_files("features", ".parquet")[-1]
    return frame, set(json.loads(storage.read_parquet_metadata(path)["null_features"]))


def validate(root: Path) -> int:
    return main(["validate", "--data-dir", str(root / "data")])


def test_trades_alone(tmp_path: Path) -> None:
    assert run(tmp_path, zip_file(tmp_path, "aggTrades", agg_trades(2000, step_ms=2_000))) == 0
    frame, null = features(tmp_path)
    assert {"midprice", "ofi", "effective_spread_bps", "funding_rate"} <= null
    assert null.isdisjoint({"open", "volume", "signed_volume", "trade_sign_autocorr", "roll_spread", "kyle_lambda"})
    trades = table(tmp_path, "trades").with_columns(end=pl.col("ts").dt.truncate("1m") + pl.duration(minutes=1))
    bars = trades.group_by("end").agg(
        pl.col("px").first().alias("open"), pl.col("px").max().alias("high"), pl.col("px").min().alias("low"),
        pl.col("px").last().alias("close"), pl.col("count").sum().alias("count"),
    )  # fmt: skip
    both = frame.join(bars, left_on="ts", right_on="end", suffix="_ours")
    inner = both[1:-1]  # before the first print and after the last one nothing is known
    assert len(both) == 67
    for name in ("open", "high", "low", "close"):
        assert inner[name].to_list() == inner[f"{name}_ours"].to_list()
    assert inner["number_of_trades"].to_list() == inner["count"].to_list()
    assert both["volume"][0] is None
    assert validate(tmp_path) == 0


def test_missing_ids_are_a_gap_in_the_features(tmp_path: Path) -> None:
    rows = agg_trades(200, step_ms=10_000)
    del rows[60]  # at 00:10:05
    run(tmp_path, zip_file(tmp_path, "aggTrades", rows))
    frame, _ = features(tmp_path)
    nulls = frame.filter(pl.col("volume").is_null())["ts"].dt.minute().to_list()
    assert nulls == [1, 10, 11, 34]  # the prints before and after the lost one lie in two minutes
    assert validate(tmp_path) == 0


def test_klines_alone(tmp_path: Path) -> None:
    assert run(tmp_path, zip_file(tmp_path, "1m", klines(120))) == 0
    frame, null = features(tmp_path)
    assert frame["taker_buy_volume"].to_list() == [3.5, 3.25, 3.0, 2.75] * 30
    assert {"vpin", "whale_volume", "midprice"} <= null
    assert "kyle_lambda" not in null
    assert validate(tmp_path) == 0


def test_best_quotes_alone(tmp_path: Path) -> None:
    rows = quotes(3000, step_ms=1_000)
    assert run(tmp_path, zip_file(tmp_path, "bookTicker", rows)) == 0
    frame, null = features(tmp_path)
    assert null.isdisjoint({"midprice", "spread_bps_mean", "liquidity_1", "imbalance_1", "ofi", "realized_volatility"})
    assert {"liquidity_5", "queue_imb_2", "bid_ladder_slope", "cost_to_buy_bps", "ofi_multilevel", "volume"} <= null
    tenth = frame.filter(pl.col("ts").dt.minute() == 10)
    last = [row for row in rows if row[5] < tenth["ts"].dt.epoch("ms")[0]][-1]
    assert tenth["midprice"].to_list() == pytest.approx([(float(last[1]) + float(last[3])) / 2])
    assert validate(tmp_path) == 0


def test_best_quotes_and_trades(tmp_path: Path) -> None:
    trades = single_trades(agg_trades(1500, step_ms=2_000))
    paths = [zip_file(tmp_path, "trades", trades), zip_file(tmp_path, "bookTicker", quotes(3000, step_ms=1_000))]
    assert run(tmp_path, *paths) == 0
    frame, null = features(tmp_path)
    assert null.isdisjoint({"midprice", "ofi", "volume", "effective_spread_bps", "kyle_lambda", "roll_spread"})
    assert frame["volume"].null_count() == 2  # before the first print, after the last one
    assert validate(tmp_path) == 0


def test_trades_of_days_without_quotes_are_kept(tmp_path: Path) -> None:
    first, second = agg_trades(1440), agg_trades(600, day=NEXT_DAY, first_id=2440)
    paths = [
        zip_file(tmp_path, "aggTrades", first),
        zip_file(tmp_path, "aggTrades", second, day=NEXT_DAY),
        zip_file(tmp_path, "bookTicker", quotes(60, step_ms=60_000)),
    ]
    assert run(tmp_path, *paths) == 0
    frame, null = features(tmp_path)
    assert {"midprice", "returns"} <= null
    assert frame["volume"].null_count() == 2
    assert len(frame) == 1440 + 600


def test_klines_and_trades_that_agree(tmp_path: Path, capsys: Capsys) -> None:
    trades = single_trades(agg_trades(600, step_ms=6_000))
    bars: list[list[object]] = []
    for start in range(0, 600, 10):
        part = trades[start : start + 10]
        px = [float(row[1]) for row in part]
        open_ms = part[0][4] // 60_000 * 60_000
        volume = f"{sum(float(row[2]) for row in part):.3f}"
        quote = sum(float(row[1]) * float(row[2]) for row in part)
        bars.append(
            [open_ms, px[0], max(px), min(px), px[-1], volume, open_ms + 59_999, f"{quote:.6f}", 10, 0, 0, 0]
        )  # fmt: skip
    assert run(tmp_path, zip_file(tmp_path, "trades", trades), zip_file(tmp_path, "1m", bars)) == 0
    _, null = features(tmp_path)
    assert "trade_sign_autocorr" not in null
    capsys.readouterr()
    assert validate(tmp_path) == 0
    said = capsys.readouterr().out
    assert "PASS    kline_differences" in said
    assert "116 bars compared" in said


@pytest.mark.parametrize("trades_first", [True, False])
def test_days_without_trades_come_from_klines(tmp_path: Path, trades_first: bool) -> None:
    days = [DAY, NEXT_DAY, NEXT_DAY + timedelta(days=1)]
    bars = [zip_file(tmp_path, "1m", klines(1440, day=day), day=day) for day in days]
    run(tmp_path, *bars[: 0 if trades_first else 3])
    if not trades_first:
        assert features(tmp_path)[0]["volume"].to_list() == [7.25] * 3 * 1440
    run(tmp_path, zip_file(tmp_path, "aggTrades", agg_trades(1440, day=NEXT_DAY), day=NEXT_DAY))
    run(tmp_path, *bars)
    frame, _ = features(tmp_path)
    assert len(frame) == 3 * 1440
    assert frame["volume"][:1440].to_list() == frame["volume"][2880:].to_list() == [7.25] * 1440
    assert set(frame["volume"][1440:2880].to_list()).isdisjoint({7.25})
    assert frame["volatility_100"][1440 + 200] is not None
    assert frame["volatility_100"][2880 + 200] is not None
    assert frame["returns"][2880] is not None  # the bars of the day before are there, too


def test_klines_of_days_without_the_book_are_said_to_be_unused(tmp_path: Path, capsys: Capsys) -> None:
    paths = [zip_file(tmp_path, "bookTicker", quotes(600, step_ms=1000)),
             zip_file(tmp_path, "1m", klines(60, day=NEXT_DAY), day=NEXT_DAY)]  # fmt: skip
    run(tmp_path, *paths)
    frame, _ = features(tmp_path)
    assert frame["ts"].dt.date().max() == DAY
    plan = plan_of(Storage(str(tmp_path / "data")), "btcusdt")
    assert symbol_summary(Storage(str(tmp_path / "data")), plan).endswith(
        "klines of 1 days are not used: the symbol has a book, but not on them"
    )


@pytest.mark.real
def test_a_real_day_of_agg_trades(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "binance-vision" / "APEUSDT-aggTrades-2024-10-18.zip"
    assert run(tmp_path, str(path)) == 0
    frame, _ = features(tmp_path, "apeusdt")
    with zipfile.ZipFile(path) as archive:
        text = archive.read("APEUSDT-aggTrades-2024-10-18.csv")
    exact = pl.Decimal(20, 8)
    raw = pl.read_csv(text, schema_overrides={"price": exact, "quantity": exact})
    ours = (
        raw.sort("transact_time", "agg_trade_id")
        .group_by(ts=(pl.col("transact_time") // 60_000 + 1) * 60_000, maintain_order=True)
        .agg(
            pl.col("price").first().alias("open"), pl.col("price").max().alias("high"),
            pl.col("price").min().alias("low"), pl.col("price").last().alias("close"),
            pl.col("quantity").sum().alias("volume"),
            (pl.col("last_trade_id") - pl.col("first_trade_id") + 1).sum().alias("number_of_trades"),
        )
        .with_columns(pl.col("open", "high", "low", "close", "volume").cast(pl.Float64))
    )  # fmt: skip
    both = frame.with_columns(pl.col("ts").dt.epoch("ms")).join(ours, on="ts", suffix="_csv", validate="1:1")
    assert (len(raw), len(frame), len(both)) == (45_342, 1_440, 1_440)
    known = both.filter(pl.col("open").is_not_null())
    assert len(known) == 1_438
    for name in ("open", "high", "low", "close", "volume", "number_of_trades"):
        assert known[name].to_list() == known[f"{name}_csv"].to_list()
    assert date(2024, 10, 18) == frame["ts"][0].date()
    assert validate(tmp_path) == 0
