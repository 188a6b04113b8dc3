import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from midas_ray import tables
from midas_ray.errors import StorageError
from midas_ray.importers.klines_read import _said_by
from midas_ray.storage import Storage
from tests.importers.captures import run, written

Capsys = pytest.CaptureFixture[str]
START_MS = 1_767_225_600_000 - 2 * 60_000  # 2025-12-31 23:58 UTC
HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


def rows(count: int = 5, first: int = 0) -> list[list[Any]]:
    """Bars in Binance's columns, one a minute from START_MS."""
    found = []
    for at in range(first, first + count):
        open_ms = START_MS + at * 60_000
        found.append(
            [open_ms, 100.5 + at, 103.0 + at, 99.0 + at, 101.0 + at, 7.25, open_ms + 59_999, 730.0, 42, 3.5, 350.0, 0]
        )
    return found


def csv(bars: list[list[Any]], *, header: bool = True, unit_factor: float = 1) -> str:
    lines = [HEADER] if header else []
    for bar in bars:
        scaled = [int(bar[0] * unit_factor), *bar[1:6], int(bar[6] * unit_factor), *bar[7:]]
        lines.append(",".join(map(str, scaled)))
    return "\n".join(lines) + "\n"


def csv_file(root: Path, bars: list[list[Any]], name: str = "BTCUSDT-1m-2025-12-31.csv", **options: Any) -> str:
    (root / name).write_text(csv(bars, **options))
    return str(root / name)


def feather_file(
    root: Path, bars: list[list[Any]], name: str = "BTC_USDT_USDT-1m-futures.feather", unit: str = "ns"
) -> str:
    frame = pl.DataFrame(
        {
            "date": pl.Series([bar[0] for bar in bars], dtype=pl.Int64).cast(pl.Datetime("ms", "UTC")),
            **{column: [float(bar[at]) for bar in bars]
               for at, column in enumerate(("open", "high", "low", "close", "volume"), 1)},
        }
    ).with_columns(pl.col("date").dt.cast_time_unit(unit))  # type: ignore[arg-type]  # fmt: skip
    frame.write_ipc(root / name)
    return str(root / name)


def bars(root: Path, symbol: str = "btcusdt", venue: str = "binance-futures") -> pl.DataFrame:
    paths = sorted((root / "data").glob(f"clean/bars/venue={venue}/symbol={symbol}/date=*/*.parquet"))
    return pl.concat([pl.read_parquet(path, hive_partitioning=False) for path in paths])


def test_feather_becomes_hours_of_bars_with_ts_at_their_end(tmp_path: Path, capsys: Capsys) -> None:
    assert run(tmp_path, "klines", feather_file(tmp_path, rows())) == 0
    folder = "clean/bars/venue=binance-futures/symbol=btcusdt"
    assert written(tmp_path) == [f"{folder}/date=2025-12-31/23.parquet", f"{folder}/date=2026-01-01/00.parquet"]
    first = pl.read_parquet(tmp_path / "data" / folder / "date=2025-12-31/23.parquet", hive_partitioning=False)
    assert dict(first.schema) == tables.BARS
    assert first["ts"].to_list() == [datetime(2025, 12, 31, 23, 59, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)]
    assert first.row(0)[1:7] == ("btcusdt", 100.5, 103.0, 99.0, 101.0, 7.25)
    assert first.row(0)[7:] == (None, None, None, None)
    metadata = pl.read_parquet_metadata(tmp_path / "data" / folder / "date=2025-12-31/23.parquet")
    assert (metadata["schema_version"], metadata["venue"]) == ("1", "binance-futures")
    assert capsys.readouterr().out == (
        "btcusdt: 5 bars; 2025-12-31 23:58:00 to 2026-01-01 00:03:00 UTC; timestamps in ns; 0 minutes missing; "
        "source files 1, hours 2\n"
    )


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize(("unit", "factor"), [("s", 0.001), ("ms", 1), ("us", 1000), ("ns", 10**6)])
def test_csv_of_every_unit_with_and_without_header(
    tmp_path: Path, capsys: Capsys, header: bool, unit: str, factor: float
) -> None:
    assert run(tmp_path, "klines", csv_file(tmp_path, rows(), header=header, unit_factor=factor)) == 0
    assert f"timestamps in {unit};" in capsys.readouterr().out
    found = bars(tmp_path)
    assert found["ts"].dt.epoch("ms").to_list() == [START_MS + (at + 1) * 60_000 for at in range(5)]
    assert found.row(0)[2:] == (100.5, 103.0, 99.0, 101.0, 7.25, 730.0, 42, 3.5, 350.0)


def test_zips_of_the_archive_join(tmp_path: Path, capsys: Capsys) -> None:
    paths = []
    for day, first in (("2026-01-01", 2), ("2025-12-31", 0)):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(f"BTCUSDT-1m-{day}.csv", csv(rows(2, first), unit_factor=1000 if first else 1))
        (tmp_path / f"{day}.zip").write_bytes(buffer.getvalue())
        paths.append(str(tmp_path / f"{day}.zip"))
    assert run(tmp_path, "klines", *paths) == 0
    assert "btcusdt: 4 bars" in capsys.readouterr().out
    assert bars(tmp_path)["open"].to_list() == [100.5, 101.5, 102.5, 103.5]


def test_several_symbols_and_the_choice_among_them(tmp_path: Path, capsys: Capsys) -> None:
    paths = [feather_file(tmp_path, rows()), feather_file(tmp_path, rows(), "ETH_USDT_USDT-1m-futures.feather")]
    assert run(tmp_path, "klines", *paths, "--symbols", "ethusdt") == 0
    assert capsys.readouterr().out.startswith("ethusdt: 5 bars")
    assert not [name for name in written(tmp_path) if "btcusdt" in name]
    assert run(tmp_path, "klines", *paths) == 0
    assert len(bars(tmp_path)) == len(bars(tmp_path, "ethusdt")) == 5


def test_same_bars_again_change_nothing(tmp_path: Path, capsys: Capsys) -> None:
    path = feather_file(tmp_path, rows())
    run(tmp_path, "klines", path)
    before = {name: (tmp_path / "data" / name).stat().st_mtime_ns for name in written(tmp_path)}
    assert run(tmp_path, "klines", path) == 0
    assert {name: (tmp_path / "data" / name).stat().st_mtime_ns for name in written(tmp_path)} == before
    assert capsys.readouterr().out.endswith("hours 2, 2 of them unchanged\n")


def test_later_bars_join_earlier_ones_and_replace_the_same_minutes(tmp_path: Path) -> None:
    run(tmp_path, "klines", csv_file(tmp_path, rows(4)))
    changed = rows(3, 3)
    changed[0][4] = 103.75
    assert run(tmp_path, "klines", feather_file(tmp_path, changed)) == 0
    found = bars(tmp_path)
    assert found["close"].to_list() == [101.0, 102.0, 103.0, 103.75, 105.0, 106.0]
    assert found["quote_volume"].to_list() == [730.0, 730.0, 730.0, None, None, None]


def test_fuller_rows_of_the_same_bar_are_kept(tmp_path: Path) -> None:
    run(tmp_path, "klines", csv_file(tmp_path, rows()))
    run(tmp_path, "klines", feather_file(tmp_path, rows()))
    assert bars(tmp_path)["quote_volume"].to_list() == [730.0] * 5
    together = tmp_path / "together"
    together.mkdir()
    assert run(together, "klines", feather_file(tmp_path, rows()), csv_file(tmp_path, rows())) == 0
    assert bars(together)["number_of_trades"].to_list() == [42] * 5


def test_missing_minutes_are_said(tmp_path: Path, capsys: Capsys) -> None:
    run(tmp_path, "klines", csv_file(tmp_path, rows(2) + rows(2, 5)))
    assert "4 bars" in (told := capsys.readouterr().out)
    assert "3 minutes missing" in told


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("BTC_USDT_USDT-1m-futures.feather", ("btcusdt", "binance-futures", "1m")),
        ("ETH_BTC-1m.feather", ("ethbtc", "binance-spot", "1m")),
        ("1000SHIB_USDT_USDT-5m-futures.feather", ("1000shibusdt", "binance-futures", "5m")),
        ("BTCUSDT-1m-2025-05-04.csv", ("btcusdt", None, "1m")),
        ("BTCUSDT_1h.csv", ("btcusdt", None, "1h")),
        ("bars.csv", (None, None, None)),
    ],
)
def test_what_a_name_says(name: str, said: tuple[str | None, ...]) -> None:
    assert _said_by(name, name) == said


def test_name_that_tells_no_symbol(tmp_path: Path, capsys: Capsys) -> None:
    path = csv_file(tmp_path, rows(), "bars.csv")
    assert refused(tmp_path, capsys, path, code=2).endswith("found none; say it with --symbol btcusdt\n")
    assert run(tmp_path, "klines", path, "--symbol", "solusdt") == 0
    assert len(bars(tmp_path, "solusdt")) == 5


def refused(root: Path, capsys: Capsys, *arguments: str, code: int = 1) -> str:
    """The one line that a refused import says; nothing is written."""
    assert run(root, "klines", *arguments) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert not (root / "data").exists() or not written(root)
    return told.err


def test_unknown_symbol_and_wrong_venue(tmp_path: Path, capsys: Capsys) -> None:
    path = feather_file(tmp_path, rows())
    said = refused(tmp_path, capsys, path, "--symbols", "ethusdt", code=2)
    assert "--symbols ethusdt: expected symbols in the files, found btcusdt" in said
    said = refused(tmp_path, capsys, path, "--venue", "binance-spot", code=2)
    assert "import with --venue binance-futures" in said
    spot = feather_file(tmp_path, rows(), "BTC_USDT-1m.feather")
    assert "import with --venue binance-spot" in refused(tmp_path, capsys, spot, code=2)


def test_other_intervals_are_refused(tmp_path: Path, capsys: Capsys) -> None:
    hourly = [bar for bar in rows(200) if bar[0] % 3_600_000 == 0]
    said = refused(tmp_path, capsys, csv_file(tmp_path, hourly, "x.csv"), "--symbol", "btcusdt")
    assert "expected 1-minute bars, found bars 60 minutes apart" in said
    said = refused(tmp_path, capsys, csv_file(tmp_path, rows(), "BTCUSDT-5m-2025-12-31.csv"))
    assert "found 5m by the file's name" in said
    shifted = [[bar[0] + 1000, *bar[1:]] for bar in rows()]
    assert "open on the minute" in refused(tmp_path, capsys, csv_file(tmp_path, shifted))
    said = refused(tmp_path, capsys, feather_file(tmp_path, rows(), "BTC_USDT_USDT-1m-mark.feather"))
    assert "found mark candles" in said


def test_wrong_time_unit(tmp_path: Path, capsys: Capsys) -> None:
    said = refused(tmp_path, capsys, csv_file(tmp_path, rows(), unit_factor=10))
    assert "expected open times in s, ms, us or ns from 2009 to 2100, found '17672254800000'" in said
    mixed = [*rows(3), *([bar[0] * 1000, *bar[1:]] for bar in rows(2, 3))]
    assert "expected all open times in ms as the first" in refused(tmp_path, capsys, csv_file(tmp_path, mixed))


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_bars_that_cannot_be(tmp_path: Path, capsys: Capsys, at: int) -> None:
    wrong = rows()
    wrong[2][at] = {1: 500.0, 2: 1.0, 3: 150.0, 4: 0.5, 5: -1.0}[at]
    assert "expected 0 < low <= open, close <= high" in refused(tmp_path, capsys, csv_file(tmp_path, wrong))


@pytest.mark.parametrize("value", ["", "NaN", "inf", "abc"])
def test_values_that_are_no_numbers(tmp_path: Path, capsys: Capsys, value: str) -> None:
    wrong = rows()
    wrong[2][4] = value
    assert "expected a number in close, found" in refused(tmp_path, capsys, csv_file(tmp_path, wrong))


def test_files_that_contradict_each_other(tmp_path: Path, capsys: Capsys) -> None:
    changed = rows(3)
    changed[1][4] = 101.75
    said = refused(tmp_path, capsys, csv_file(tmp_path, rows()), feather_file(tmp_path, changed))
    assert "expected one bar a minute, found different ones that open at 2025-12-31 23:59:00 UTC" in said


def test_truncated_and_other_files(tmp_path: Path, capsys: Capsys) -> None:
    feather = Path(feather_file(tmp_path, rows(500)))
    feather.write_bytes(feather.read_bytes()[:-200])
    assert "truncated or damaged" in refused(tmp_path, capsys, str(feather))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("BTCUSDT-1m-2025-12-31.csv", csv(rows(500)))
    zipped = tmp_path / "BTCUSDT-1m.zip"
    for cut in (10, 1000, len(buffer.getvalue()) - 10):
        zipped.write_bytes(buffer.getvalue()[:cut])
        assert "truncated or damaged" in refused(tmp_path, capsys, str(zipped))
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("readme.txt", "x")
    assert "expected a zip of csv files, found readme.txt" in refused(tmp_path, capsys, str(zipped))
    other = tmp_path / "BTCUSDT-1m.csv"
    for content, said in (
        (b"", "found an empty file"),
        (b"agg_trade_id,price,quantity\n1,2,3\n", "open_time, open, high, low, close, volume not found"),
        (b"1,2,3\n", "expected 11 or 12 kline columns, found 3"),
        (b"\x00\x01\x02", "found other binary data"),
        ((HEADER + "\n").encode(), "expected bars, found none"),
    ):
        other.write_bytes(content)
        assert said in refused(tmp_path, capsys, str(other)), content


def test_failure_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Storage.stage_parquet
    calls: list[str] = []

    def full_disk(self: Storage, relative: str, *rest: Any) -> str:
        calls.append(relative)
        if len(calls) == 2:
            raise StorageError("cannot write: no space left on device")
        return stage(self, relative, *rest)

    monkeypatch.setattr(Storage, "stage_parquet", full_disk)
    assert run(tmp_path, "klines", feather_file(tmp_path, rows())) == 1
    assert written(tmp_path) == []


@pytest.mark.real
def test_real_klines(tmp_path: Path, real_data: Path, capsys: Capsys) -> None:
    path = real_data / "binance-futures-klines" / "BTC_USDT_USDT-1m-futures.feather"
    assert run(tmp_path, "klines", str(path)) == 0
    assert "btcusdt: 43,199 bars; 2025-05-04 15:33:00 to 2025-06-03 15:32:00 UTC" in capsys.readouterr().out
    source = pl.read_ipc(path)
    found = bars(tmp_path)
    assert found["ts"].dt.offset_by("-1m").dt.cast_time_unit("ns").to_list() == source["date"].to_list()
    for column in ("open", "high", "low", "close", "volume"):
        assert found[column].to_list() == source[column].to_list()


@pytest.mark.real
def test_archive_of_trades_is_no_archive_of_klines(tmp_path: Path, real_data: Path, capsys: Capsys) -> None:
    path = real_data / "binance-vision" / "APEUSDT-aggTrades-2024-10-18.zip"
    assert "not found among agg_trade_id" in refused(tmp_path, capsys, str(path))
