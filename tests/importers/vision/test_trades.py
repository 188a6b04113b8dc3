"""trades and aggTrades into clean/trades: the rows, the metadata and the ledger that reconstruct would write."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from midas_ray import tables
from midas_ray.cli import main
from tests.importers.vision.made_up import (
    DAY,
    NEXT_DAY,
    agg_trades,
    hours,
    midnight_ms,
    reconstruct_all,
    run,
    single_trades,
    table,
    tree,
    zip_file,
)

Capsys = pytest.CaptureFixture[str]


def test_agg_trades_become_hours_of_clean_trades(tmp_path: Path, capsys: Capsys) -> None:
    rows = [
        [7, "0.70970", "19.0", 551, 551, midnight_ms() + 3_958, "false"],
        [8, "0.7096", "2254", 552, 556, midnight_ms() + 3_600_000, "true"],
    ]
    assert run(tmp_path, zip_file(tmp_path, "aggTrades", rows), "--symbol", "btcusdt") == 0
    found = table(tmp_path, "trades")
    assert dict(found.schema) == tables.TRADES
    assert found.rows() == [
        (datetime(2024, 10, 18, 0, 0, 3, 958000, UTC), "btcusdt", 7, 0.7097, 19.0, "buy", 1, None),
        (datetime(2024, 10, 18, 1, tzinfo=UTC), "btcusdt", 8, 0.7096, 2254.0, "sell", 5, None),
    ]
    assert hours(tmp_path, "trades") == ["2024-10-18/00", "2024-10-18/01"]
    path = next((tmp_path / "data").glob("clean/trades/*/*/*/00.parquet"))
    metadata = pl.read_parquet_metadata(path)
    assert {name: text for name, text in metadata.items() if name != "ARROW:schema" and "sha256" not in name} == {
        "schema_version": "1", "venue": "binance-futures", "trade_source": "aggTrade", "no_print_ids": "[]",
        "px_decimals": "4", "sz_decimals": "0", "archive_file": "BTCUSDT-aggTrades-2024-10-18.zip",
    }  # fmt: skip
    said = capsys.readouterr().out.splitlines()
    assert said[0] == (
        "btcusdt: clean/trades: 2 rows of aggTrades, 2024-10-18 00:00:03 to 2024-10-18 01:00:00 UTC; times in ms; "
        "1 files, 2 hours; no id missing in a day"
    )
    assert said[1] == "all 1 files agree with their .CHECKSUM"
    assert "null in the features: the order book" in said[2]


def reconstructed(root: Path, rows: list[list[Any]], kind: str) -> dict[str, pl.DataFrame]:
    """clean tables that reconstruct makes of the same trades, had they come over the exchange's stream."""
    lines = []
    for row in rows:
        ms = row[5]
        body = {"e": kind, "E": ms, "T": ms, "s": "BTCUSDT", "p": row[1], "q": row[2], "m": row[6] == "true"}
        body |= {"t": row[0], "X": "MARKET"} if kind == "trade" else {"a": row[0], "f": row[3], "l": row[4]}
        text = json.dumps({"stream": f"btcusdt@{kind}", "data": body}, separators=(",", ":"))
        lines.append(f"{(ms + 20) * 10**6} {text}\n")
    root.mkdir()
    (root / "capture.txt").write_text("".join(lines))
    assert main(["import", "lines", str(root / "capture.txt"), "--data-dir", str(root / "data")]) == 0
    reconstruct_all(root / "data")
    names = ["trades", "gaps"] if list((root / "data" / "clean").glob("gaps")) else ["trades"]
    return {name: table(root, name) for name in names}


@pytest.mark.parametrize("kind", ["trades", "aggTrades"])
def test_the_same_rows_metadata_and_ledger_as_reconstruct(tmp_path: Path, kind: str) -> None:
    rows = agg_trades(300, step_ms=47_000)
    del rows[40:43], rows[200]
    given = single_trades(rows) if kind == "trades" else rows
    expected = reconstructed(tmp_path / "raw", rows, "trade" if kind == "trades" else "aggTrade")
    assert run(tmp_path, zip_file(tmp_path, kind, given)) == 0
    found = table(tmp_path, "trades")
    assert found.drop("recv_ns").equals(expected["trades"].drop("recv_ns"))
    assert found["recv_ns"].null_count() == len(found) == 296
    assert table(tmp_path, "gaps").drop("first_recv_ns").equals(expected["gaps"].drop("first_recv_ns"))
    assert table(tmp_path, "gaps")["cause"].to_list() == ["venue", "venue"]
    for path in (tmp_path / "data").glob("clean/trades/*/*/*/*.parquet"):
        twin = tmp_path / "raw" / path.relative_to(tmp_path)
        mine, theirs = ({k: v for k, v in pl.read_parquet_metadata(each).items() if k != "ARROW:schema"}
                        for each in (path, twin))  # fmt: skip
        assert {name: text for name, text in mine.items() if not name.startswith("archive_")} == theirs


@pytest.mark.parametrize("header", [True, False])
def test_spot_columns_and_microseconds(tmp_path: Path, capsys: Capsys, header: bool) -> None:
    day = date(2025, 1, 1)
    start = midnight_ms(day) * 1000
    rows = [[1, "0.10000000", "5.00000000", 1, 1, start + 1, "True", "True"],
            [2, "0.10000001", "0.10000000", 2, 3, start + 2, "False", "True"]]  # fmt: skip
    path = zip_file(tmp_path, "aggTrades", rows, day=day, header=False)
    if header:  # nobody publishes spot with one so far; its column is known all the same
        from tests.importers.vision import made_up

        before = made_up.HEADERS["aggTrades"]
        made_up.HEADERS["aggTrades"] = before + ",is_best_match"
        path = zip_file(tmp_path, "aggTrades", rows, day=day)
        made_up.HEADERS["aggTrades"] = before
    assert run(tmp_path, path, "--venue", "binance-spot") == 0
    assert "times in us" in capsys.readouterr().out
    found = table(tmp_path, "trades", venue="binance-spot")
    assert found["ts"].dt.epoch("us").to_list() == [start + 1, start + 2]
    assert found["px"].to_list() == [0.1, 0.10000001]
    assert found["side"].to_list() == ["sell", "buy"]


def test_times_that_go_back_are_ordered_by_time_and_id(tmp_path: Path) -> None:
    rows = agg_trades(4)
    for row, ms in zip(rows, (3000, 1000, 2000, 1000), strict=True):
        row[5] = midnight_ms() + ms
    assert run(tmp_path, zip_file(tmp_path, "aggTrades", rows)) == 0
    assert table(tmp_path, "trades")["trade_id"].to_list() == [1001, 1003, 1002, 1000]


def test_hours_without_prints_between_two_are_known_to_be_empty(tmp_path: Path) -> None:
    rows = agg_trades(2, step_ms=3 * 3_600_000)
    assert run(tmp_path, zip_file(tmp_path, "aggTrades", rows)) == 0
    assert hours(tmp_path, "trades") == [f"2024-10-18/{hour:02d}" for hour in range(4)]
    assert len(table(tmp_path, "trades")) == 2


def test_the_same_files_again_change_nothing(tmp_path: Path, capsys: Capsys) -> None:
    path = zip_file(tmp_path, "aggTrades", agg_trades(50))
    run(tmp_path, path)
    stamps = {each: each.stat().st_mtime_ns for each in (tmp_path / "data").rglob("*") if each.is_file()}
    capsys.readouterr()
    assert run(tmp_path, path) == 0
    assert "1 days already imported from the same files" in capsys.readouterr().out
    assert stamps == {each: each.stat().st_mtime_ns for each in (tmp_path / "data").rglob("*") if each.is_file()}


def test_other_content_replaces_exactly_its_hours(tmp_path: Path) -> None:
    first = agg_trades(300)  # five hours
    second = agg_trades(10, day=NEXT_DAY, first_id=1300)
    run(tmp_path / "a", zip_file(tmp_path, "aggTrades", first), zip_file(tmp_path, "aggTrades", second, day=NEXT_DAY))
    shorter = agg_trades(100, seed=9)
    run(tmp_path / "a", zip_file(tmp_path, "aggTrades", shorter))
    run(tmp_path / "b", zip_file(tmp_path, "aggTrades", second, day=NEXT_DAY))
    run(tmp_path / "b", zip_file(tmp_path, "aggTrades", shorter))
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert len(table(tmp_path / "a", "trades")) == 110


ORDERS: dict[str, Callable[[list[str]], list[list[str]]]] = {
    "together": lambda paths: [paths],
    "one by one": lambda paths: [[path] for path in paths],
    "backwards": lambda paths: [[path] for path in reversed(paths)],
    "middle last": lambda paths: [[paths[0], paths[2]], [paths[1]]],
    "twice": lambda paths: [paths[:2], paths],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("missing", [0, 3])
def test_days_join_the_same_way_in_any_order(tmp_path: Path, order: str, missing: int) -> None:
    days = [date(2024, 10, 18 + at) for at in range(3)]
    paths = []
    for at, day in enumerate(days):
        rows = agg_trades(9, day=day, first_id=1000 + at * (9 + missing), first_ms=2 * 3_600_000 + at)
        paths.append(zip_file(tmp_path, "aggTrades", rows, day=day))
    for root, calls in (("a", ORDERS["together"](paths)), ("b", ORDERS[order](paths))):
        for call in calls:
            assert run(tmp_path / root, *call) == 0
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert hours(tmp_path / "a", "trades")[0] == "2024-10-18/02"
    assert hours(tmp_path / "a", "trades")[-1] == "2024-10-20/02"
    assert len(hours(tmp_path / "a", "trades")) == 49  # every hour between the first print and the last
    if missing:
        gaps = table(tmp_path / "b", "gaps")
        assert gaps["cause"].to_list() == ["venue", "venue"]
        assert (gaps["found_id"] - gaps["expected_id"]).to_list() == [3, 3]
    else:
        assert not hours(tmp_path / "b", "gaps")


def test_a_day_that_is_not_there_is_a_gap_down_until_it_comes(tmp_path: Path) -> None:
    days = [date(2024, 10, 18 + at) for at in range(3)]
    paths = [
        zip_file(tmp_path, "aggTrades", agg_trades(5, day=day, first_id=1000 + 5 * at), day=day)
        for at, day in enumerate(days)
    ]
    run(tmp_path, paths[0], paths[2])
    gaps = table(tmp_path, "gaps")
    assert gaps.select("stream", "cause", "expected_id", "found_id").rows() == [("trade", "down", 1005, 1010)]
    assert gaps["end"].to_list() == [datetime(2024, 10, 20, 0, 0, 5, tzinfo=UTC)]
    run(tmp_path, paths[1])
    assert not hours(tmp_path, "gaps")


@pytest.mark.parametrize("backwards", [False, True])
def test_single_trades_and_files_of_days_go_before_others(tmp_path: Path, capsys: Capsys, backwards: bool) -> None:
    rows = agg_trades(5)
    later = agg_trades(5, day=NEXT_DAY, first_id=1005)
    paths = [
        zip_file(tmp_path, "aggTrades", rows + later, day="2024-10"),
        zip_file(tmp_path, "aggTrades", rows, day=DAY),
        zip_file(tmp_path, "trades", single_trades(rows), day=DAY),
    ]
    for path in reversed(paths) if backwards else paths:
        assert run(tmp_path, path) == 0
    made_of = {
        each.parent.name: pl.read_parquet_metadata(each)["archive_file"]
        for each in (tmp_path / "data").glob("clean/trades/*/*/*/00.parquet")
    }
    assert made_of == {
        "date=2024-10-18": "BTCUSDT-trades-2024-10-18.zip", "date=2024-10-19": "BTCUSDT-aggTrades-2024-10.zip",
    }  # fmt: skip
    assert len(table(tmp_path, "trades")) == 10
    if backwards:
        assert "1 days left as they are, made from BTCUSDT-trades-2024-10-18.zip" in capsys.readouterr().out


def test_hours_made_from_raw_journals_are_never_overwritten(tmp_path: Path, capsys: Capsys) -> None:
    rows = agg_trades(30)
    reconstructed(tmp_path / "own", rows, "trade")
    before = tree(tmp_path / "own")
    capsys.readouterr()
    assert run(tmp_path / "own", zip_file(tmp_path, "aggTrades", rows)) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "date=2024-10-18/00.parquet, which is never overwritten" in said.err
    assert tree(tmp_path / "own") == before


def test_a_day_that_was_deleted_is_not_brought_back_in_part(tmp_path: Path) -> None:
    days = [date(2024, 10, 18 + at) for at in range(3)]
    paths = [
        zip_file(tmp_path, "aggTrades", agg_trades(5, day=day, first_id=1000 + 5 * at), day=day)
        for at, day in enumerate(days)
    ]
    run(tmp_path, *paths[:2])
    shutil.rmtree(tmp_path / "data/clean/trades/venue=binance-futures/symbol=btcusdt/date=2024-10-18")
    run(tmp_path, paths[2])
    assert hours(tmp_path, "trades")[0] == "2024-10-19/00"
    assert not hours(tmp_path, "gaps")
    run(tmp_path, paths[0])
    run(tmp_path / "b", *paths)
    assert tree(tmp_path) == tree(tmp_path / "b")
